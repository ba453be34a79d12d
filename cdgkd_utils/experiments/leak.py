"""How much a window-level split would have promised: the leak, measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from ..data.splits.protocols import Fold
from ..data.splits.split import make_split, trial_ids, window_level_split
from ..data.types import Windows

PROTOCOLS = ("window", "trial", "subject")


@dataclass(frozen=True)
class FaceReader:
    """A nearest-neighbour reader of the face under one protocol, whatever the labels are.

    Attributes
    ----------
    folds : tuple of Fold
    nearest : tuple of ndarray of int
        For each fold, the training window whose face is most like that of each test window.
    """

    folds: tuple[Fold, ...]
    nearest: tuple[np.ndarray, ...]

    def accuracy(self, labels: np.ndarray) -> np.ndarray:
        """Share of test windows whose nearest window has their label, shape (n_folds,), 0 .. 1."""
        return self._share(labels)

    def same_trial(self, index: pd.DataFrame) -> np.ndarray:
        """Share of test windows whose nearest window is of their own trial, shape (n_folds,), 0 .. 1."""
        return self._share(trial_ids(index))

    def _share(self, values: np.ndarray) -> np.ndarray:
        pairs = zip(self.folds, self.nearest, strict=True)
        return np.array([np.mean(values[fold.test] == values[nearest]) for fold, nearest in pairs])


def read_faces(windows: Windows, labels: np.ndarray, *, seed: int, n_repeats: int = 3) -> dict[str, FaceReader]:
    """Find the nearest face of each test window under three protocols.

    The nearest neighbour of a window is often another window of the same trial (same pose, light, moment). If
    that neighbour may be in the training part, the label is copied, not recognised.

    Parameters
    ----------
    windows : Windows
    labels : ndarray, shape (n_windows,)
        Give the parts of the leak-free splits similar shares of high.
    seed : int
    n_repeats : int
        Folds of the leak-free splits, at most 3, and as many shuffles of the leaky one.

    Returns
    -------
    dict of str to FaceReader
        By protocol, in the order of ``PROTOCOLS``.
    """
    faces = windows.video_at().mean(axis=1)
    folds: dict[str, list[Fold]] = {name: [] for name in PROTOCOLS}
    for repeat in range(n_repeats):
        train, test = window_level_split(len(labels), seed=seed + repeat)
        split = make_split(windows.index, labels, fold=repeat, seed=seed)
        folds["window"].append(Fold("window", repeat, train, np.array([], int), test))
        folds["trial"].append(Fold("trial", repeat, split.train, split.val, split.test_trial))
        folds["subject"].append(Fold("subject", repeat, split.train, split.val, split.test_subject))
    return {
        name: FaceReader(tuple(dealt), tuple(_nearest(faces, fold) for fold in dealt)) for name, dealt in folds.items()
    }


def _nearest(faces: np.ndarray, fold: Fold) -> np.ndarray:
    scaler = StandardScaler().fit(faces[fold.train])
    reader = NearestNeighbors(n_neighbors=1).fit(scaler.transform(faces[fold.train]))
    return fold.train[reader.kneighbors(scaler.transform(faces[fold.test]), return_distance=False)[:, 0]]


def measure_leak(windows: Windows, labels: np.ndarray, *, seed: int, n_repeats: int = 3) -> dict[str, np.ndarray]:
    """Accuracy of the nearest-neighbour reader of the face; parameters as in :func:`read_faces`.

    Returns
    -------
    dict of str to ndarray, shape (n_repeats,)
        Accuracy, 0 .. 1, by protocol.
    """
    readers = read_faces(windows, labels, seed=seed, n_repeats=n_repeats)
    return {name: reader.accuracy(labels) for name, reader in readers.items()}


def leak_scores(
    readers: Mapping[str, FaceReader], index: pd.DataFrame, labels: Mapping[str, np.ndarray]
) -> pd.DataFrame:
    """What the reader scores under each protocol, with each kind of labels, in each fold.

    Parameters
    ----------
    readers : mapping of str to FaceReader
        From :func:`read_faces`.
    index : DataFrame
        Of the windows.
    labels : mapping of str to ndarray, shape (n_windows,)
        Such as true ones and some that are permuted between trials; the folds are the same for all.

    Returns
    -------
    DataFrame
        One row for each combination: ``protocol, labels, fold, accuracy, same_trial`` (shares, 0 .. 1).
    """
    rows = []
    for name, reader in readers.items():
        same_trial = reader.same_trial(index)
        for kind, values in labels.items():
            for fold, accuracy, same in zip(reader.folds, reader.accuracy(values), same_trial, strict=True):
                key = {"protocol": name, "labels": kind, "fold": fold.number}
                rows.append(key | {"accuracy": accuracy, "same_trial": same})
    return pd.DataFrame(rows)


def labels_permuted_between_trials(windows: Windows, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Labels dealt anew to the trials of each subject: same counts, no relation to the recording.

    Returns
    -------
    ndarray, shape (n_windows,)
        Still constant within a trial.
    """
    trials, subjects = trial_ids(windows.index), windows.index["subject"].to_numpy()
    _, first = np.unique(trials, return_index=True)
    by_trial = labels[first].copy()
    for subject in np.unique(subjects):
        mine = np.flatnonzero(subjects[first] == subject)
        by_trial[mine] = rng.permutation(by_trial[mine])
    return by_trial[trials]
