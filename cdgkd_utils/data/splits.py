"""Leakage-free splits by protocol, and the leak that a careless one would measure; :mod:`.fold` checks any fold.

=============  =================================================  ==========================================
protocol       one fold holds out                                 so the test score speaks of
=============  =================================================  ==========================================
trial+subject  a third of the subjects, and trials of the others  new people, and new trials of known people
subject        a share of the subjects                            new people
loso           one subject                                        new people
trial          a share of each subject's trials                   new trials of known people
stimulus       a share of the stimuli, for all subjects           new stimuli, seen by known people
window         windows, whatever trial they come from             nothing: it LEAKS, for demonstration only
=============  =================================================  ==========================================

One fold is shared by the scales, the teachers, the assistants, the student and the prototypes of a run, so no guide
has seen a window on which its student is scored. Some libraries' names mislead: TorchEEG's ``KFoldGroupbyTrial`` cuts
inside each trial.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd
from sklearn.model_selection import KFold, StratifiedGroupKFold, StratifiedKFold
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from .fold import LEAKY, Fold, LeakError, check_fold, trial_ids
from .types import Windows

__all__ = ["LEAKY", "PROTOCOLS", "Fold", "LeakError", "SplitError", "check_fold", "deal_trials", "leak_scores"]
__all__ += ["labels_permuted_between_trials", "make_folds", "trial_ids"]

PROTOCOLS = ("trial+subject", "subject", "loso", "trial", "stimulus", "window")
N_SUBJECT_FOLDS, N_TRIAL_FOLDS, N_VAL_FOLDS = 3, 4, 5


class SplitError(ValueError):
    """The data do not allow this split; the message says why and what to do."""


def make_folds(
    index: pd.DataFrame,
    labels: np.ndarray,
    protocol: str,
    *,
    n_folds: int = 3,
    seed: int = 0,
    allow_leak: bool = False,
) -> list[Fold]:
    """All folds of a protocol.

    Every row is tested in exactly one fold (``trial+subject``: every subject is unseen in one). Validation takes about
    a fifth of what is not tested, in the same units (subjects, trials or stimuli), so that what is selected there is
    selected for the same question.

    Parameters
    ----------
    index : DataFrame
        Needs ``subject`` and ``trial``, and ``stimulus`` for that protocol.
    labels : ndarray of int, shape (n_windows,)
        Constant within a trial.
    protocol : str
        A name in ``PROTOCOLS``; ``window`` only if `allow_leak`, and its folds' `label` ends in "(LEAKY)".
    n_folds : int
        2 or more; ``trial+subject`` has 3 and ``loso`` one per subject whatever this says.

    Raises
    ------
    SplitError
        The protocol is unknown or leaky, a column is missing, there are too few units for the folds, or the training
        part of a fold has one class only.
    """
    if protocol not in PROTOCOLS:
        raise SplitError(f"protocol: expected one of {', '.join(PROTOCOLS)}, got {protocol!r}")
    if protocol in LEAKY and not allow_leak:
        raise SplitError(
            f"protocol {protocol!r} puts windows of one trial into train and test, so its scores are inflated; "
            "choose another, or pass allow_leak=True to demonstrate it: its results are labelled LEAKY"
        )
    labels = np.asarray(labels)
    if labels.shape != (len(index),):
        raise SplitError(f"labels: expected one per row of the index, ({len(index)},), got shape {labels.shape}")
    deal = _known_and_unseen if protocol == "trial+subject" else _one_test
    folds = [Fold(protocol, k, rows) for k, rows in enumerate(deal(index, labels, protocol, n_folds, seed))]
    for fold in folds:
        if len(classes := np.unique(labels[fold.train])) < 2:
            raise SplitError(
                f"fold {fold.number} of protocol {protocol}: all {len(fold.train)} training windows have label "
                f"{', '.join(map(str, classes)) or 'none'}; take more trials, another seed or another target"
            )
    return folds


def _known_and_unseen(index: pd.DataFrame, labels: np.ndarray, _: str, __: int, seed: int) -> Iterator[dict]:
    """A third of the subjects, unseen; of the others a test quarter of the trials and, of the rest, a fifth."""
    subjects, trials, everything = index["subject"].to_numpy(), trial_ids(index), np.arange(len(index))
    if (n := len(np.unique(subjects))) < N_SUBJECT_FOLDS:
        raise SplitError(f"a split by subject needs at least {N_SUBJECT_FOLDS} subjects, the data have {n}")
    dealer = StratifiedGroupKFold(N_SUBJECT_FOLDS, shuffle=True, random_state=seed)
    for fold, (known, unseen) in enumerate(dealer.split(everything, labels, subjects)):
        rest, test_trial = deal_trials(known, trials, subjects, None, N_TRIAL_FOLDS, fold, seed)
        train, val = deal_trials(rest, trials, subjects, None, N_VAL_FOLDS, fold, seed)
        yield {"train": train, "val": val, "test_trial": test_trial, "test_subject": everything[unseen]}


def deal_trials(
    rows: np.ndarray,
    trials: np.ndarray,
    subjects: np.ndarray,
    labels: np.ndarray | None,
    n_folds: int,
    fold: int,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Deal whole trials of every subject; returns the rows that are kept and those held out.

    `trials`, `subjects` and `labels` are those of all windows. A test part is dealt without labels: dealt by label,
    each person's share of high copies that of the training part, and knowing only who it is beats chance on permuted
    labels. With labels (both alike in each part), for parts of the training rows. A subject, or label of a subject,
    with fewer trials than folds joins the others.
    """
    unique, first = np.unique(trials[rows], return_index=True)
    if len(unique) < n_folds:
        raise SplitError(f"{len(unique)} trials are too few for {n_folds} folds; use more trials")
    strata = pd.Series(subjects[rows][first]).astype(str)
    if labels is not None:
        strata += "/" + pd.Series(labels[rows][first]).astype(str)
    small = strata.map(strata.value_counts()) < n_folds
    strata[small] = strata[small].str.split("/").str[0]
    strata[strata.map(strata.value_counts()) < n_folds] = "rest"
    counts = strata.value_counts()
    strata = strata.where(strata.map(counts) >= n_folds, counts.index[0])  # so that every fold can be filled
    dealer = StratifiedKFold(n_folds, shuffle=True, random_state=seed)
    _, held = list(dealer.split(unique, strata))[fold]
    out = np.isin(trials[rows], unique[held])
    return rows[~out], rows[out]


def _one_test(index: pd.DataFrame, labels: np.ndarray, protocol: str, n_folds: int, seed: int) -> Iterator[dict]:
    name = f"test_{Fold(protocol, 0, {}).label}"
    for number, (rest, test) in enumerate(_deal(np.arange(len(index)), index, labels, protocol, n_folds, seed)):
        inner = list(_deal(rest, index, labels, protocol, N_VAL_FOLDS, seed, shrink=True))
        train, val = inner[number % len(inner)]
        yield {"train": train, "val": val, name: test}


def _deal(
    rows: np.ndarray, index: pd.DataFrame, labels: np.ndarray, protocol: str, n_folds: int, seed: int, shrink=False
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Deal some rows into (kept, held out); `shrink`, for the inner draw, takes fewer folds where units are few."""
    if protocol == "trial":
        counts = index.iloc[rows].drop_duplicates(["subject", "trial"])["subject"].value_counts()
        n_folds = _possible(int(counts.min()), n_folds, "trials of the subject with fewest", shrink)
        trials, subjects = trial_ids(index), index["subject"].to_numpy()
        yield from (deal_trials(rows, trials, subjects, None, n_folds, fold, seed) for fold in range(n_folds))
        return
    if protocol == "window":
        n_folds = _possible(len(rows), n_folds, "windows", shrink)
        dealt = KFold(n_folds, shuffle=True, random_state=seed).split(rows)
    else:
        column = "stimulus" if protocol == "stimulus" else "subject"
        if column not in index:
            raise SplitError(f"protocol {protocol!r} needs the column {column!r} in the index")
        units = index[column].to_numpy()[rows]
        n_units = len(np.unique(units))
        wanted = n_units if protocol == "loso" and not shrink else n_folds  # the inner draw is that of `subject`
        wanted = _possible(n_units, wanted, f"{column}s", shrink)
        if protocol == "loso" and not shrink:  # in order: fold k leaves out the k-th subject
            dealt = ((np.flatnonzero(units != unit), np.flatnonzero(units == unit)) for unit in np.unique(units))
        else:
            dealer = StratifiedGroupKFold(wanted, shuffle=True, random_state=seed)
            dealt = dealer.split(rows, labels[rows], units)
    for kept, held in dealt:
        yield rows[kept], rows[held]


def _possible(n_units: int, n_folds: int, unit: str, shrink: bool) -> int:
    """The number of folds, or an error where there are fewer units than that."""
    least = 2 if shrink else 3  # one unit is tested, one validates, one at least trains
    if n_units < least or n_folds < 2 or (n_units < n_folds and not shrink):
        raise SplitError(
            f"{n_folds} folds of {n_units} {unit}: expected 2 folds or more, and at least {least} units and as many as "
            "folds; take fewer folds or more data"
        )
    return min(n_units, n_folds) if shrink else n_folds


def leak_scores(
    windows: Windows, labels: Mapping[str, np.ndarray], *, seed: int, n_repeats: int = 3
) -> tuple[pd.DataFrame, dict[str, Fold]]:
    """What a nearest-neighbour reader of the face scores under a leaky and two honest protocols.

    The nearest neighbour of a window is often another window of the same trial (same pose, light, moment). If that
    neighbour may be in the training part, the label is copied, not recognised. `labels` by name, such as true ones and
    some permuted between trials; the first decide the folds, which are the same for all.

    Returns
    -------
    scores : DataFrame
        One row for each combination: ``protocol, labels, fold, accuracy, same_trial`` (shares, 0 .. 1).
    folds : dict of str to Fold
        The first fold of each protocol.
    """
    faces, trials, truth = windows.video_at().mean(axis=1), trial_ids(windows.index), next(iter(labels.values()))
    dealt = {
        "window": make_folds(windows.index, truth, "window", n_folds=N_TRIAL_FOLDS, seed=seed, allow_leak=True),
        "trial": (both := make_folds(windows.index, truth, "trial+subject", seed=seed)),
        "subject": both,
    }
    rows, first = [], {}
    for protocol, folds in dealt.items():
        for fold in folds[:n_repeats]:
            name = f"test_{protocol}" if protocol != "window" else next(iter(fold.tests()))
            test = fold.rows[name]
            first.setdefault(protocol, Fold(protocol, 0, {"train": fold.train, "val": fold.val, name: test}))
            scaler = StandardScaler().fit(faces[fold.train])
            reader = NearestNeighbors(n_neighbors=1).fit(scaler.transform(faces[fold.train]))
            nearest = fold.train[reader.kneighbors(scaler.transform(faces[test]), return_distance=False)[:, 0]]
            same = (trials[nearest] == trials[test]).mean()
            for kind, values in labels.items():
                right = (values[nearest] == values[test]).mean()
                rows.append((protocol, kind, fold.number, right, same))
    return pd.DataFrame(rows, columns=["protocol", "labels", "fold", "accuracy", "same_trial"]), first


def labels_permuted_between_trials(windows: Windows, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Labels dealt anew to the trials of each subject: same counts, no relation to the recording."""
    trials, subjects = trial_ids(windows.index), windows.index["subject"].to_numpy()
    _, first = np.unique(trials, return_index=True)
    by_trial = labels[first].copy()
    for subject in np.unique(subjects):
        mine = np.flatnonzero(subjects[first] == subject)
        by_trial[mine] = rng.permutation(by_trial[mine])
    return by_trial[trials]
