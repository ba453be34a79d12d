"""Evaluation protocols by name: who is held out, with an inner validation part held out the same way.

==========  =========================================  ==========================================
name        one fold holds out                         so the test score speaks of
==========  =========================================  ==========================================
subject     a share of the subjects                    new people
loso        one subject                                new people
trial       a share of each subject's trials           new trials of known people
stimulus    a share of the stimuli, for all subjects   new stimuli, seen by known people
window      windows, whatever trial they come from     nothing: it LEAKS, for demonstration only
==========  =========================================  ==========================================

All windows of a trial stand in one part, except in ``window``. Some libraries' names mislead: TorchEEG's
``KFoldGroupbyTrial`` cuts inside each trial.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from sklearn.model_selection import KFold, StratifiedGroupKFold

from ..constants import TARGETS
from .split import N_VAL_FOLDS, trial_ids

PROTOCOLS = ("subject", "loso", "trial", "stimulus", "window")
LEAKY = ("window",)
UNSEEN_SUBJECTS = ("subject", "loso")  # protocols whose test subjects must be new


@dataclass(frozen=True)
class Fold:
    """One fold of a protocol; unpacks as ``train, val, test``.

    Attributes
    ----------
    protocol : str
        A name in ``PROTOCOLS``.
    number : int
        0 .. n_folds - 1.
    train, val, test : ndarray of int
        Sorted rows of the windows' index.
    """

    protocol: str
    number: int
    train: np.ndarray
    val: np.ndarray
    test: np.ndarray

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter((self.train, self.val, self.test))

    def parts(self) -> dict[str, np.ndarray]:
        return {"train": self.train, "val": self.val, "test": self.test}

    @property
    def leaky(self) -> bool:
        """True where windows of one trial stand in several parts."""
        return self.protocol in LEAKY

    @property
    def label(self) -> str:
        """What every result of this fold has to carry."""
        return f"{self.protocol} (LEAKY)" if self.leaky else self.protocol

    def of_subject(self, index: pd.DataFrame, subject: int) -> Fold:
        """The same fold for a model of one person: only that subject's rows of each part."""
        mine = index["subject"].to_numpy() == subject
        return replace(self, **{name: rows[mine[rows]] for name, rows in self.parts().items()})


def protocol_folds(
    index: pd.DataFrame,
    labels: np.ndarray,
    protocol: str,
    *,
    n_folds: int = 5,
    seed: int = 0,
    allow_leak: bool = False,
) -> list[Fold]:
    """All folds of a protocol.

    Every row is tested in exactly one fold. Validation takes about a fifth of what is not tested, in the same
    units (subjects, trials or stimuli), so that what is selected there is selected for the same question.

    Parameters
    ----------
    index : DataFrame
        Needs ``subject`` and ``trial``, and ``stimulus`` for that protocol.
    labels : ndarray, shape (n_windows,)
        Constant within a trial; give all parts similar shares of high. Fixed-threshold ones are right here even
        where medians are used later: those depend on the split (:func:`median_labels`).
    protocol : str
        A name in ``PROTOCOLS``.
    n_folds : int
        2 or more; ``loso`` has one per subject whatever this says.
    seed : int
    allow_leak : bool
        Admits ``window``. Its folds say ``leaky`` and their `label` ends in "(LEAKY)".

    Returns
    -------
    list of Fold

    Raises
    ------
    ValueError
        The protocol is unknown or leaky, a column is missing, or there are too few units for the folds.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol: expected one of {', '.join(PROTOCOLS)}, got {protocol!r}")
    if protocol in LEAKY and not allow_leak:
        raise ValueError(
            f"protocol {protocol!r} puts windows of one trial into train and test, so its scores are inflated; "
            "choose another, or pass allow_leak=True to demonstrate it: its results are labelled LEAKY"
        )
    labels = np.asarray(labels)
    if labels.shape != (len(index),):
        raise ValueError(f"labels: expected one per row of the index, ({len(index)},), got shape {labels.shape}")
    folds = []
    for number, (rest, test) in enumerate(_deal(np.arange(len(index)), index, labels, protocol, n_folds, seed)):
        inner = list(_deal(rest, index, labels, protocol, N_VAL_FOLDS, seed, shrink=True))
        train, val = inner[number % len(inner)]
        folds.append(Fold(protocol, number, train, val, test))
    return folds


def _deal(
    rows: np.ndarray, index: pd.DataFrame, labels: np.ndarray, protocol: str, n_folds: int, seed: int, shrink=False
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Deal some rows into (kept, held out); `shrink`, for the inner draw, takes fewer folds where units are few."""
    if protocol == "trial":
        counts = index.iloc[rows].drop_duplicates(["subject", "trial"])["subject"].value_counts()
        n_folds = _possible(int(counts.min()), n_folds, "trials of the subject with fewest", shrink)
        held_in = _deal_each_subject(index.iloc[rows], labels[rows], n_folds, seed)
        for fold in range(n_folds):
            yield rows[held_in != fold], rows[held_in == fold]
        return
    if protocol == "window":
        n_folds = _possible(len(rows), n_folds, "windows", shrink)
        dealt = KFold(n_folds, shuffle=True, random_state=seed).split(rows)
    else:
        column = "stimulus" if protocol == "stimulus" else "subject"
        if column not in index:
            raise ValueError(f"protocol {protocol!r} needs the column {column!r} in the index")
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


def _deal_each_subject(index: pd.DataFrame, labels: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    """The fold that holds out each row: every subject's trials are dealt in turn, those of one label first.

    So each fold holds out trials of every subject, also where a subject has too few of a label to stratify.
    """
    rng = np.random.default_rng(seed)
    trials, subjects = trial_ids(index), index["subject"].to_numpy()
    _, first = np.unique(trials, return_index=True)
    order = np.lexsort((rng.random(len(first)), labels[first], subjects[first]))
    subjects = subjects[first][order]
    fold_of_trial = np.empty(len(first), int)
    for subject in np.unique(subjects):
        mine = order[subjects == subject]
        fold_of_trial[mine] = (rng.integers(n_folds) + np.arange(len(mine))) % n_folds
    return fold_of_trial[trials]


def _possible(n_units: int, n_folds: int, unit: str, shrink: bool) -> int:
    """The number of folds, or an error where there are fewer units than that."""
    least = 2 if shrink else 3  # one unit is tested, one validates, one at least trains
    if n_units < least or n_folds < 2 or (n_units < n_folds and not shrink):
        raise ValueError(
            f"{n_folds} folds of {n_units} {unit}: expected 2 folds or more, and at least {least} units and as many as "
            "folds; take fewer folds or more data"
        )
    return min(n_units, n_folds) if shrink else n_folds


def median_labels(index: pd.DataFrame, train: np.ndarray, target: str) -> tuple[np.ndarray, pd.Series]:
    """Labels split at each subject's median rating, the medians taken from training trials only.

    Parameters
    ----------
    index : DataFrame
        Needs ``subject``, ``trial`` and the column `target`.
    train : ndarray of int
        Training rows; no other row's rating moves a threshold.
    target : {"valence", "arousal"}

    Returns
    -------
    labels : ndarray, shape (n_windows,), int64
        1 where the rating is above the subject's threshold; equal counts as low, as with the fixed threshold.
    thresholds : Series
        By subject. One without training trials has the median of the others' thresholds: a median of its own
        would be learned from test labels.

    Raises
    ------
    ValueError
        The target is unknown or there is no training row.
    """
    if target not in TARGETS:
        raise ValueError(f"target must be one of {', '.join(TARGETS)}, got {target!r}")
    if not len(train):
        raise ValueError("train: no rows; medians need training trials")
    # One rating per trial: a trial with more windows must not count more often.
    trials = index.iloc[train].drop_duplicates(["subject", "trial"])
    known = trials.groupby("subject")[target].median()
    thresholds = known.reindex(np.unique(index["subject"]), fill_value=known.median()).rename(target)
    thresholds.index.name = "subject"
    labels = (index[target].to_numpy() > thresholds.loc[index["subject"]].to_numpy()).astype(np.int64)
    return labels, thresholds


def describe_folds(folds: list[Fold], index: pd.DataFrame, labels: np.ndarray) -> pd.DataFrame:
    """What each part of each fold holds.

    Returns
    -------
    DataFrame
        By fold and part: ``windows, trials, subjects, high`` (share, 0..1), under the protocol's label.
    """
    trials, subjects = trial_ids(index), index["subject"].to_numpy()
    rows = [
        {
            "protocol": fold.label,
            "fold": fold.number,
            "part": name,
            "windows": len(part),
            "trials": len(np.unique(trials[part])),
            "subjects": len(np.unique(subjects[part])),
            "high": float(np.mean(labels[part])) if len(part) else np.nan,
        }
        for fold in folds
        for name, part in fold.parts().items()
    ]
    return pd.DataFrame(rows).set_index(["protocol", "fold", "part"])
