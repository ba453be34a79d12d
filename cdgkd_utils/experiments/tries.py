"""Trying a teacher under other conditions: less signal in one modality, another strength, another optimiser."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..config import home
from ..training import Inputs, fit
from .learner import fresh_learner
from .recipes import RECIPES, TEACHER
from .records import read_log, run_key
from .runs import Experiment

FORMAT = 1  # raise when what decides a try's log changes outside of the runs' stages
# SGD as for the compact networks in all tables; Adam needs smaller steps.
OPTIMISERS: dict[str, dict[str, object]] = {"sgd": {}, "adam": {"optimizer": "adam", "learning_rate": 1e-3}}
MAX_EPOCHS = 16


@dataclass(frozen=True)
class Try:
    """Conditions of one training.

    Attributes
    ----------
    eeg_signal, video_signal : int
        Percent of the windows that keep their own EEG or video; the others exchange it, see :func:`exchanged`.
    strength : float
        Of the rebalancing (alpha); 0 only measures.
    optimiser : {"sgd", "adam"}
    """

    eeg_signal: int = 100
    video_signal: int = 100
    strength: float = 10.0
    optimiser: str = "sgd"

    def __post_init__(self):
        for name in ("eeg_signal", "video_signal"):
            if not 0 <= getattr(self, name) <= 100:
                raise ValueError(f"{name}: expected 0 to 100 (percent of windows), got {getattr(self, name)}")
        if not 0 <= self.strength < float("inf"):
            raise ValueError(f"strength: expected 0 or more, got {self.strength}")
        if self.optimiser not in OPTIMISERS:
            raise ValueError(f"optimiser: expected one of {', '.join(OPTIMISERS)}, got {self.optimiser!r}")


def train_try(
    experiment: Experiment, *, on_epoch: Callable[[pd.DataFrame], None] | None = None, **conditions: int | float | str
) -> pd.DataFrame:
    """Train the compact teacher under other conditions; a try that was made before is read back.

    Nothing is tested on the test parts: a teacher that is tuned by hand must not see them.

    Parameters
    ----------
    experiment : Experiment
    on_epoch : callable, optional
        Gets the log so far after each epoch.
    **conditions
        Of :class:`Try`.

    Returns
    -------
    DataFrame
        The epoch log, without early stopping.

    Raises
    ------
    ValueError
        A condition is out of range, or the loss stopped being finite.
    KeyboardInterrupt
        The training was interrupted; nothing is stored.
    """
    wanted = Try(**conditions)
    compact = _compact(experiment)
    recipe = replace(RECIPES[TEACHER], selection="last_epoch", training=OPTIMISERS[wanted.optimiser], grid=())
    recipe = recipe.but(strength=float(wanted.strength))
    key = run_key({"run": compact.spec(recipe), "conditions": asdict(wanted), "epochs": MAX_EPOCHS, "format": FORMAT})
    path = home() / "tries" / f"{key[:20]}.csv"
    if not path.is_file():
        compact.inputs = conditioned(experiment, wanted)
        model, inputs, loss, settings, seed = fresh_learner(compact, recipe)
        settings = replace(settings, epochs=n_epochs(experiment))
        done = fit(model, inputs, loss, settings, seed=seed, on_epoch=on_epoch)
        if done.interrupted:
            raise KeyboardInterrupt("the try was interrupted; nothing was stored")
        _store(done.log, path)
    return read_log(path)


def n_epochs(experiment: Experiment) -> int:
    """Length of a try."""
    return min(MAX_EPOCHS, experiment.study.params.scale.teacher_epochs)


def _compact(experiment: Experiment) -> Experiment:
    """The same windows and fold, with the compact family, whose networks train in seconds."""
    study = replace(experiment.study, params=replace(experiment.study.params, family="compact"))
    study.windows = experiment.study.windows
    return Experiment(study, experiment.target, experiment.fold)


def _store(log: pd.DataFrame, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.stem}-", dir=path.parent)
    try:
        with open(handle, "w", encoding="utf-8") as file:
            log.to_csv(file, index=False)
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def exchanged(rows: np.ndarray, people: np.ndarray, percent: int, rng: np.random.Generator) -> np.ndarray:
    """Whose signal each window gets when only `percent` of them keep their own.

    Of every person the others exchange theirs in a circle: no signal is lost or seen twice, people keep their own
    signals, and only the link between a moment's signal and its rating is cut. With the same generator a smaller
    `percent` cuts the links of more windows, all of the larger one's among them.

    Parameters
    ----------
    rows : ndarray of int, shape (n_rows,)
        Of one part of the split.
    people : ndarray, shape (n_rows,)
        Person of each row.
    percent : int
        0 to 100.
    rng : numpy Generator

    Returns
    -------
    ndarray of int, shape (n_rows,)
        A permutation of `rows`.
    """
    source = rows.copy()
    for person in np.unique(people):
        mine = rng.permutation(np.flatnonzero(people == person))
        cut = mine[: round(len(mine) * (100 - percent) / 100)]
        source[cut] = rows[np.roll(cut, 1)]
    return source


def conditioned(experiment: Experiment, conditions: Try) -> Inputs:
    """The inputs of an experiment with less signal; windows of the test parts are left as they are.

    Parameters
    ----------
    experiment : Experiment
    conditions : Try
    """
    inputs, subjects = experiment.inputs, experiment.study.windows.index["subject"].to_numpy()
    moved: dict[str, Tensor] = {}
    for number, (percent, names) in enumerate(
        ((conditions.eeg_signal, ("eeg",)), (conditions.video_signal, ("video", "frame_mask")))
    ):
        source = np.arange(len(inputs.labels))
        for part, rows in enumerate((inputs.train.numpy(), inputs.val.numpy())):
            rng = np.random.default_rng([experiment.study.seed, experiment.fold, number, part])
            source[rows] = exchanged(rows, subjects[rows], percent, rng)
        if percent < 100:
            moved |= {name: inputs.view(name).index_select(0, torch.from_numpy(source)) for name in names}
    return replace(inputs, **moved)
