"""What a teacher's embeddings and prototypes were at every epoch of its training, read back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

MODALITIES = ("eeg", "video")
PARTS = ("train", "val")


class HistoryError(RuntimeError):
    """A stored history cannot be read."""


@dataclass(frozen=True)
class History:
    """A training frame by frame; a frame is the state in which an epoch begins.

    Attributes
    ----------
    name : str
        Of the recipe.
    log : DataFrame
        The epoch log of the whole training.
    epochs : ndarray of int, shape (n_frames,)
        Epoch that each frame begins, ascending from 0.
    embeddings : dict of str to ndarray, shape (n_frames, n_shown, n_features), float32
        By modality, of the same windows in every frame, in evaluation mode.
    prototypes : dict of str to ndarray, shape (n_frames, n_classes, n_features), float32
        By modality, as the loss used them in that epoch.
    rows : ndarray of int, shape (n_shown,)
        Numbers of the windows.
    labels : ndarray of int, shape (n_shown,)
    parts : ndarray of str, shape (n_shown,)
        ``train`` or ``val``.
    """

    name: str
    log: pd.DataFrame
    epochs: np.ndarray
    embeddings: dict[str, np.ndarray]
    prototypes: dict[str, np.ndarray]
    rows: np.ndarray
    labels: np.ndarray
    parts: np.ndarray

    @property
    def seen(self) -> pd.DataFrame:
        """Rows of the log whose epochs begin with a frame."""
        return self.log.set_index("epoch").loc[self.epochs]


def read_history(path: Path) -> History:
    """Read a stored history.

    Parameters
    ----------
    path : Path
        As ``experiments.history.record_history`` returns it.

    Raises
    ------
    HistoryError
        The file is missing or damaged.
    """
    try:
        with np.load(path) as stored:
            return History(
                name=str(stored["name"]),
                log=pd.DataFrame.from_records(stored["log"]),
                epochs=stored["epochs"],
                embeddings={m: stored[m] for m in MODALITIES},
                prototypes={m: stored[f"prototypes_{m}"] for m in MODALITIES},
                rows=stored["rows"],
                labels=stored["labels"],
                parts=np.where(stored["is_train"], *PARTS),
            )
    except Exception as error:
        raise HistoryError(f"history {path.name} cannot be read ({error}); delete it and record again") from error
