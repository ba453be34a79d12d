"""Leakage-free splits, their certificate, and normalisation fitted on training windows only.

One :class:`Split` is shared by the normaliser, the teachers, the assistants, the student and the prototypes
of a run, so no guide has seen a window on which its student is scored (method.md, section 7).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

PARTS = ("train", "val", "test_trial", "test_subject")
N_SUBJECT_FOLDS = 3
N_TRIAL_FOLDS = 4
N_VAL_FOLDS = 5


class LeakError(AssertionError):
    """Two parts of a split share a trial, a subject or a window."""


@dataclass(frozen=True)
class Split:
    """Rows of the windows' index that belong to each part.

    Attributes
    ----------
    train, val : ndarray of int
        Trials of the known subjects, for fitting and for selection.
    test_trial : ndarray of int
        Unseen trials of the known subjects (protocol ``trial``).
    test_subject : ndarray of int
        All trials of the unseen subjects (protocol ``subject``).
    """

    train: np.ndarray
    val: np.ndarray
    test_trial: np.ndarray
    test_subject: np.ndarray

    def parts(self) -> dict[str, np.ndarray]:
        return {name: getattr(self, name) for name in PARTS}


def trial_ids(index: pd.DataFrame) -> np.ndarray:
    """One integer per (subject, trial), shape (n_windows,)."""
    return index.groupby(["subject", "trial"], sort=True).ngroup().to_numpy()


def make_split(index: pd.DataFrame, labels: np.ndarray, *, fold: int, seed: int) -> Split:
    """Hold out a third of the subjects and, of the others, unseen trials and validation trials.

    Subjects are dealt by ``StratifiedGroupKFold`` (3 folds); inside the known subjects whole trials are dealt,
    stratified by subject and label, into a test quarter and, of the rest, a validation fifth.

    Parameters
    ----------
    index : DataFrame
        Needs the columns ``subject`` and ``trial``.
    labels : ndarray, shape (n_windows,)
        Constant within a trial.
    fold : int
        0 .. 2: which third of the subjects is unseen.
    seed : int
        Shuffles all three draws.

    Returns
    -------
    Split

    Raises
    ------
    ValueError
        The fold is out of range, or there are fewer than 3 subjects or too few trials.
    """
    if not 0 <= fold < N_SUBJECT_FOLDS:
        raise ValueError(f"fold must be 0..{N_SUBJECT_FOLDS - 1}, got {fold}")
    n_subjects = index["subject"].nunique()
    if n_subjects < N_SUBJECT_FOLDS:
        raise ValueError(f"a split by subject needs at least {N_SUBJECT_FOLDS} subjects, the data have {n_subjects}")
    rows = np.arange(len(index))
    subjects = index["subject"].to_numpy()
    dealer = StratifiedGroupKFold(N_SUBJECT_FOLDS, shuffle=True, random_state=seed)
    known, unseen = list(dealer.split(rows, labels, subjects))[fold]

    trials = trial_ids(index)
    rest, test_trial = deal_trials(known, trials, subjects, labels, N_TRIAL_FOLDS, fold, seed)
    train, val = deal_trials(rest, trials, subjects, labels, N_VAL_FOLDS, fold, seed)
    return Split(train, val, test_trial, rows[unseen])


def deal_trials(
    rows: np.ndarray, trials: np.ndarray, subjects: np.ndarray, labels: np.ndarray, n_folds: int, fold: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Deal whole trials, stratified by subject and label; a stratum too small to stratify joins its subject.

    Parameters
    ----------
    rows : ndarray of int
        Windows to deal.
    trials, subjects, labels : ndarray, shape (n_windows,)
        Of all windows.
    n_folds, fold : int
        Number of folds, and which of them is held out.
    seed : int

    Returns
    -------
    kept, held_out : ndarray of int

    Raises
    ------
    ValueError
        There are fewer trials than folds.
    """
    unique, first = np.unique(trials[rows], return_index=True)
    strata = pd.Series([f"{s}/{y}" for s, y in zip(subjects[rows][first], labels[rows][first], strict=True)])
    small = strata.map(strata.value_counts()) < n_folds
    strata[small] = strata[small].str.split("/").str[0]
    strata[strata.map(strata.value_counts()) < n_folds] = "rest"
    if len(unique) < n_folds:
        raise ValueError(f"{len(unique)} trials are too few for {n_folds} folds; use more trials")
    dealer = StratifiedKFold(n_folds, shuffle=True, random_state=seed)
    _, held = list(dealer.split(unique, _merge_rare(strata, n_folds)))[fold]
    out = np.isin(trials[rows], unique[held])
    return rows[~out], rows[out]


def _merge_rare(strata: pd.Series, n_folds: int) -> pd.Series:
    """Give a last rare stratum to the largest one, so that every fold can be filled."""
    counts = strata.value_counts()
    return strata.where(strata.map(counts) >= n_folds, counts.index[0])


def window_level_split(n_windows: int, *, seed: int, n_folds: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """The LEAKY protocol, for demonstration only: windows shuffled over everything.

    Returns
    -------
    train, test : ndarray of int
    """
    order = np.random.default_rng(seed).permutation(n_windows)
    held = n_windows // n_folds
    return np.sort(order[held:]), np.sort(order[:held])


def certify(split: Split, index: pd.DataFrame, labels: np.ndarray) -> pd.DataFrame:
    """Prove that a split leaks nothing and count what is in it.

    Returns
    -------
    DataFrame
        One row per part: ``windows, trials, subjects, low, high, shared_trials`` (trials also in another
        part, always 0) and ``shared_subjects`` (subjects also in ``train``).

    Raises
    ------
    LeakError
        A window or trial stands in two parts, an unseen subject was trained on, a window stands twice,
        or a window's number is not in the index.
    """
    trials, subjects = trial_ids(index), index["subject"].to_numpy()
    parts = split.parts()
    everything = np.concatenate(list(parts.values()))
    if len(np.unique(everything)) != len(everything):
        raise LeakError("a window stands in two parts of the split (or twice in one)")
    if everything.min() < 0 or everything.max() >= len(index):
        raise LeakError(f"the split names windows outside the index of {len(index)}")
    certificate = []
    for name, rows in parts.items():
        others = np.concatenate([r for other, r in parts.items() if other != name])
        shared = np.intersect1d(trials[rows], trials[others])
        if len(shared):
            raise LeakError(f"{len(shared)} trials of part {name!r} stand in another part too")
        known = np.intersect1d(subjects[rows], subjects[split.train])
        if name == "test_subject" and len(known):
            raise LeakError(f"subjects {known.tolist()} of part 'test_subject' were trained on")
        certificate.append(
            {
                "part": name,
                "windows": len(rows),
                "trials": len(np.unique(trials[rows])),
                "subjects": len(np.unique(subjects[rows])),
                "low": int((labels[rows] == 0).sum()),
                "high": int((labels[rows] == 1).sum()),
                "shared_trials": len(shared),
                "shared_subjects": len(known),
            }
        )
    return pd.DataFrame(certificate).set_index("part")
