"""How much a window-level split would have promised: the leak, measured."""

from __future__ import annotations

import numpy as np
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from ..data.splits.split import make_split, trial_ids, window_level_split
from ..data.types import Windows

PROTOCOLS = ("windows shuffled (leaky)", "unseen trials", "unseen subjects")


def measure_leak(windows: Windows, labels: np.ndarray, *, seed: int, n_repeats: int = 3) -> dict[str, np.ndarray]:
    """Accuracy of a nearest-neighbour reader of the face under three ways of splitting.

    The nearest neighbour of a window is often another window of the same trial (same pose, light, moment). If
    that neighbour may be in the training part, the label is copied, not recognised.

    Parameters
    ----------
    windows : Windows
    labels : ndarray, shape (n_windows,)
        May be permuted between trials: then nothing can be learned, and what is above chance is the leak alone.
    seed : int
    n_repeats : int
        Folds of the leak-free splits, at most 3, and as many shuffles of the leaky one.

    Returns
    -------
    dict of str to ndarray, shape (n_repeats,)
        Accuracy, 0 .. 1, by protocol.
    """
    faces = windows.video_at().mean(axis=1)
    scores: dict[str, list[float]] = {name: [] for name in PROTOCOLS}
    for repeat in range(n_repeats):
        leaky = window_level_split(len(labels), seed=seed + repeat)
        split = make_split(windows.index, labels, fold=repeat, seed=seed)
        parts = (leaky, (split.train, split.test_trial), (split.train, split.test_subject))
        for name, (train, test) in zip(PROTOCOLS, parts, strict=True):
            scaler = StandardScaler().fit(faces[train])
            reader = KNeighborsClassifier(1).fit(scaler.transform(faces[train]), labels[train])
            scores[name].append(reader.score(scaler.transform(faces[test]), labels[test]))
    return {name: np.array(values) for name, values in scores.items()}


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
