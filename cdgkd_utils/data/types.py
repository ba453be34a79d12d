"""The few types that cross rooms: trials, as a reader yields them, and windows, as models see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from .constants import TARGETS


class DataError(ValueError):
    """A file of a data set is missing, damaged or contradicts another file.

    The message names the file, what was expected there and what to do.
    """


Rows = np.ndarray | slice | int
ALL = slice(None)


@dataclass(frozen=True)
class Trial:
    """One stimulus presentation of one subject."""

    subject: int  # 1-based as on disk
    trial: int  # identity within the subject (DEAP: Experiment_id)
    presentation: int  # place in the session, 1-based (DEAP: Trial; names the video file)
    stimulus: str  # identity of the stimulus, for splits by stimulus
    eeg: np.ndarray  # (28, n_times): the stimulus in µV at 128 Hz, channels in constants.CHANNELS order
    baseline: np.ndarray  # (28, 384): the 3 s before playback, in µV
    ratings: Mapping[str, float]  # valence, arousal, dominance, liking on the 1..9 scale
    video: Path | None  # the face clip; its time 0 is the first sample of `eeg`
    video_rate: float | None = None  # frames per second where the clip's header is known to be wrong (MAHNOB-HCI)


@dataclass
class Windows:
    """Windows of all trials, ready for splitting.

    Windows in memory have float32 arrays; those from the cache have read-only memory maps of float16. Compute in
    float32: take rows with :meth:`eeg_at` and :meth:`video_at`, or cast after indexing. In float16 itself a sum of
    squared µV overflows at 65,504, and a mean is rounded.

    Attributes
    ----------
    eeg : ndarray, shape (n_windows, 28, 512), float32 or float16
        EEG in µV.
    video : ndarray, shape (n_windows, 5, 768), float32 or float16
        Features of five frames per window; rows of invalid frames are zero.
    frame_mask : ndarray, shape (n_windows, 5), bool
        True where the frame exists.
    index : DataFrame
        One row per window: ``subject, trial, presentation, stimulus, window`` and the four ratings.
    truth : DataFrame or None
        Twin only, one row per window: for each target ``z_*, x_eeg_*, x_video_*, posterior_*``.
    meta : dict
        ``name`` (what the numbers may be called), ``synthetic`` (bool), ``key`` (of what decides the numbers),
        ``excluded`` (what was left out: a list of (subject, trial, reason)), ``settings``.
    """

    eeg: np.ndarray
    video: np.ndarray
    frame_mask: np.ndarray
    index: pd.DataFrame
    truth: pd.DataFrame | None = None
    meta: dict = field(default_factory=dict)

    @classmethod
    def joined(cls, parts: Sequence[Windows], meta: dict | None = None) -> Windows:
        """Windows of several people, one after another in memory; `meta` is by default the first part's."""
        filled = [part for part in parts if len(part)] or [parts[0]]
        arrays = (np.concatenate([getattr(p, name) for p in filled]) for name in ("eeg", "video", "frame_mask"))
        index = pd.concat([part.index for part in filled], ignore_index=True)
        truth = None if filled[0].truth is None else pd.concat([part.truth for part in filled], ignore_index=True)
        return cls(*arrays, index, truth, parts[0].meta if meta is None else meta)

    def __len__(self) -> int:
        return len(self.index)

    def eeg_at(self, rows: Rows = ALL) -> np.ndarray:
        """EEG of the given windows in µV, shape (n, 28, 512), float32; not to be written to.

        Parameters
        ----------
        rows : ndarray of int or bool, slice, or int
            A single number gives the window's (28, 512). Default: all, at 57 kB each.
        """
        return np.asarray(self.eeg[rows], np.float32)

    def video_at(self, rows: Rows = ALL) -> np.ndarray:
        """Features of the given windows, shape (n, 5, 768), float32; not to be written to. `rows` as in `eeg_at`."""
        return np.asarray(self.video[rows], np.float32)

    def labels(self, target: str, threshold: float = 5.0) -> np.ndarray:
        """Binary labels, 1 where the rating is above `threshold`.

        Parameters
        ----------
        target : {"valence", "arousal"}
        threshold : float
            A rating equal to it counts as low (DEAP paper, TSception).

        Returns
        -------
        ndarray, shape (n_windows,), int64
        """
        if target not in TARGETS:
            raise ValueError(f"target must be one of {', '.join(TARGETS)}, got {target!r}")
        return (self.index[target].to_numpy() > threshold).astype(np.int64)

    def posterior(self, target: str) -> np.ndarray | None:
        """The true P(y = 1 | latent) of each window, shape (n_windows,); None for real data."""
        return None if self.truth is None else self.truth[f"posterior_{target}"].to_numpy()
