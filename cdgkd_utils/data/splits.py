"""Leakage-free splits by protocol, the proof that a fold shares nothing, and the leak that a careless one measures.

Scales, teachers, assistants and student of a run share one fold: no guide has seen a window on which its student is
scored. Some libraries' names mislead: TorchEEG's ``KFoldGroupbyTrial`` cuts inside each trial.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from sklearn.model_selection import KFold, LeaveOneGroupOut, StratifiedGroupKFold, StratifiedKFold
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from .types import Windows

PROTOCOLS = (  # what one fold holds out, and what its test score speaks of
    "trial+subject",  # a third of the subjects, and trials of the others: new people, and new trials of known people
    "subject",  # a share of the subjects: new people
    "loso",  # one subject: new people
    "trial",  # a share of each subject's trials: new trials of known people
    "stimulus",  # a share of the stimuli, for all subjects: new stimuli, seen by known people
    "window",  # windows, whatever trial they come from: nothing, it LEAKS, for demonstration only
)
LEAKY = ("window",)  # shares trials between parts
N_SUBJECT_FOLDS, N_TRIAL_FOLDS, N_VAL_FOLDS = 3, 4, 5
_UNITS = {"trial": ["subject", "trial"], "subject": ["subject"], "stimulus": ["stimulus"]}
_PLURAL = {"trial": "trials", "subject": "subjects", "stimulus": "stimuli"}


class SplitError(ValueError):
    """The data do not allow this split; the message says why and what to do."""


class LeakError(AssertionError):
    """Parts of a fold share what its protocol keeps apart, or something has looked outside the training part."""


@dataclass(frozen=True, eq=False)
class Fold:
    """One fold; `rows`: ``train``, ``val``, then test parts, ``test_<label>`` or ``test_trial``, ``test_subject``."""

    protocol: str
    number: int
    rows: dict[str, np.ndarray]

    train = property(lambda self: self.rows["train"])
    val = property(lambda self: self.rows["val"])

    def parts(self) -> dict[str, np.ndarray]:
        return dict(self.rows)

    def tests(self) -> dict[str, np.ndarray]:
        return {name: rows for name, rows in self.rows.items() if name.startswith("test")}

    leaky = property(lambda self: self.protocol in LEAKY)  # windows of one trial stand in several parts

    @property
    def label(self) -> str:
        """What every result of this fold has to carry."""
        return f"{self.protocol} (LEAKY)" if self.leaky else self.protocol


def trial_ids(index: pd.DataFrame) -> np.ndarray:
    """One integer per (subject, trial), shape (n_windows,)."""
    return index.groupby(["subject", "trial"], sort=True).ngroup().to_numpy()


def make_folds(
    index: pd.DataFrame, labels: np.ndarray, protocol: str, *, n_folds: int = 3, seed: int = 0, allow_leak: bool = False
) -> list[Fold]:
    """All folds of a protocol.

    Every row is tested in exactly one fold (``trial+subject``: every subject is unseen in one). Validation takes about
    a fifth of what is not tested, in the same units (subjects, trials or stimuli): it asks the same question.

    Parameters
    ----------
    index : DataFrame
        Needs ``subject`` and ``trial``, and ``stimulus`` for that protocol.
    labels : ndarray of int, shape (n_windows,)
    protocol : str
        A name in ``PROTOCOLS``; ``window`` only if `allow_leak`, and its folds' `label` ends in "(LEAKY)".
    n_folds : int
        2 or more; ``trial+subject`` has 3 and ``loso`` one per subject whatever this says.

    Raises
    ------
    SplitError
        Too few units for the folds, a training part with one class only, a column that is missing.
    """
    if protocol not in PROTOCOLS:
        raise SplitError(f"protocol: expected one of {', '.join(PROTOCOLS)}, got {protocol!r}")
    if protocol in LEAKY and not allow_leak:
        raise SplitError(f"protocol {protocol!r} cuts inside trials and inflates scores; allow_leak=True shows it")
    labels = np.asarray(labels)
    if labels.shape != (len(index),):
        raise SplitError(f"labels: expected one per row of the index, ({len(index)},), got shape {labels.shape}")
    dealt = (_known_and_unseen if protocol == "trial+subject" else _one_test)(index, labels, protocol, n_folds, seed)
    folds = [Fold(protocol, number, rows) for number, rows in enumerate(dealt)]
    for fold in folds:
        if len(classes := np.unique(labels[fold.train])) < 2:
            what = f"all {len(fold.train)} training windows have label {classes}"
            raise SplitError(f"fold {fold.number} of protocol {protocol}: {what}; take more trials or another seed")
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
    rows: np.ndarray, trials: np.ndarray, subjects: np.ndarray, labels: np.ndarray | None, n_folds, fold, seed
) -> tuple[np.ndarray, np.ndarray]:
    """Deal whole trials of every subject; returns the rows that are kept and those held out.

    `trials`, `subjects` and `labels` are those of all windows. With labels only for parts of the training rows: a test
    part dealt by label copies each person's share of high, and knowing only who it is then beats chance on permuted
    labels. A subject, or label of a subject, with fewer trials than folds joins the others.
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
        # Validation by "loso" is dealt as by "subject"; where units are few, into fewer parts.
        inner = list(_deal(rest, index, labels, protocol.replace("loso", "subject"), N_VAL_FOLDS, seed, shrink=True))
        train, val = inner[number % len(inner)]
        yield {"train": train, "val": val, name: test}


def _deal(
    rows: np.ndarray, index: pd.DataFrame, labels: np.ndarray, protocol: str, n_folds: int, seed: int, shrink=False
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Deal some rows into (kept, held out); `shrink` takes fewer folds where units are few."""
    mine = index.iloc[rows]
    column = "stimulus" if protocol == "stimulus" else "subject"
    if column not in index:
        raise SplitError(f"protocol {protocol!r} needs the column {column!r} in the index")
    if protocol == "trial":
        counts = mine.drop_duplicates(["subject", "trial"])["subject"].value_counts()
        n_units, unit = int(counts.min()), "trials of the subject with fewest"
    else:
        n_units, unit = (len(rows), "windows") if protocol == "window" else (mine[column].nunique(), f"{column}s")
    n_folds = n_units if protocol == "loso" else n_folds
    least = 2 if shrink else 3  # one unit is tested, one validates, one at least trains
    if n_units < least or n_folds < 2 or (n_units < n_folds and not shrink):
        wanted = f"2 folds or more, and at least {least} units and as many as folds"
        raise SplitError(f"{n_folds} folds of {n_units} {unit}: expected {wanted}; take fewer folds or more data")
    n_folds = min(n_units, n_folds)
    if protocol == "trial":
        units = trial_ids(index), index["subject"].to_numpy(), None
        yield from (deal_trials(rows, *units, n_folds, fold, seed) for fold in range(n_folds))
        return
    dealer = {"window": KFold, "loso": LeaveOneGroupOut}.get(protocol, StratifiedGroupKFold)
    options = {} if protocol == "loso" else {"n_splits": n_folds, "shuffle": True, "random_state": seed}
    groups = None if protocol == "window" else mine[column].to_numpy()
    for kept, held in dealer(**options).split(rows, labels[rows], groups):
        yield rows[kept], rows[held]


def check_fold(
    fold: Fold, index: pd.DataFrame, labels=None, *, guides: dict | None = None, fitted_on: dict | None = None
) -> pd.DataFrame:
    """Prove that a fold shares nothing that its protocol keeps apart, and count what is in it.

    Parameters
    ----------
    fold : Fold
        From :func:`make_folds` or your own.
    index : DataFrame
        One row per window: ``subject``, ``trial`` and, if there, ``stimulus``.
    labels : ndarray of int, shape (n_windows,), optional
    guides, fitted_on : dict of str to rows of `index`, optional
        What each teacher or assistant was fitted and selected on (for one trained elsewhere, a table with ``subject``
        and ``trial``), and what else was estimated from which rows: scales, thresholds, components.

    Returns
    -------
    DataFrame
        One row per part: ``windows, trials, subjects`` and, if known, ``stimuli`` and how many windows each label has;
        ``shared_trials`` (also in another part), ``shared_subjects, shared_stimuli`` (also in train).

    Raises
    ------
    LeakError
        Names the leak, with an example. The protocol ``window`` shares trials by its definition; its label says so.
    """
    parts = fold.parts()
    values, counts = np.unique(np.concatenate(list(parts.values())), return_counts=True)
    if ((values < 0) | (values >= len(index))).any():
        raise LeakError(f"fold {fold.number} names windows outside the index of {len(index)}")
    if (counts > 1).any():
        raise LeakError(f"{(counts > 1).sum()} windows stand in two parts (or twice in one): {values[counts > 1][0]}")
    if labels is not None and (varies := pd.Series(labels).groupby(trial_ids(index)).nunique() > 1).any():
        raise LeakError(f"labels vary within {varies.sum()} trials: they belong to another index")
    units = [unit for unit, columns in _UNITS.items() if set(columns) <= set(index)]
    held = {name: {unit: _keys(index.iloc[part], unit) for unit in units} for name, part in parts.items()}
    for one, other in combinations(() if fold.leaky else parts, 2):
        _forbid(held[one]["trial"] & held[other]["trial"], "trial", one, other)
    for test, tested in fold.tests().items():
        new_person = fold.protocol in ("subject", "loso") or test == "test_subject"
        claims = {"trial": not fold.leaky, "subject": new_person, "stimulus": fold.protocol == "stimulus"}
        apart = [unit for unit, claimed in claims.items() if claimed]
        for unit in apart:
            for part in ("train", "val"):
                _forbid(held[test][unit] & held[part][unit], unit, test, part)
        for guide, seen in (guides or {}).items():
            learned = f"what guide {guide} learned from"
            if not isinstance(seen, pd.DataFrame):
                _forbid({(row,) for row in np.intersect1d(tested, seen)}, "window", test, learned)
                seen = index.iloc[np.asarray(seen)]
            for unit in apart:
                _forbid(held[test][unit] & _keys(seen, unit), unit, test, learned)
    for name, seen in (fitted_on or {}).items():
        if len(outside := np.setdiff1d(np.asarray(seen), fold.train)):
            raise LeakError(f"{name}: fitted on {len(outside)} windows outside the training part, such as {outside[0]}")
    table = {}
    for name, part in parts.items():
        table[name] = {"windows": len(part)} | {_PLURAL[unit]: len(held[name][unit]) for unit in units}
        if labels is not None:
            n_classes = max(2, int(np.max(labels)) + 1)
            names = ("low", "high") if n_classes == 2 else [f"class {k}" for k in range(n_classes)]
            table[name] |= dict(zip(names, np.bincount(labels[part], minlength=n_classes).tolist(), strict=True))
        others = set().union(*(held[other]["trial"] for other in parts if other != name))
        table[name]["shared_trials"] = len(held[name]["trial"] & others)
        table[name] |= {f"shared_{_PLURAL[u]}": len(held[name][u] & held["train"][u]) for u in units[1:]}
    return pd.DataFrame(table).T.rename_axis("part")


def _keys(frame: pd.DataFrame, unit: str) -> set[tuple]:
    return set(frame[_UNITS[unit]].drop_duplicates().itertuples(index=False, name=None))


def _forbid(shared: set, unit: str, one: str, other: str) -> None:
    if shared:
        example = ", ".join(map(str, min(shared)))
        raise LeakError(f"{len(shared)} {unit}(s) of {one} stand in {other} too, such as {example}")


def leak_scores(
    windows: Windows, labels: Mapping[str, np.ndarray], *, seed: int, n_repeats: int = 3
) -> tuple[pd.DataFrame, dict[str, Fold]]:
    """What a nearest-neighbour reader of the face scores under a leaky and two honest protocols.

    Where another window of its trial may train, a window's label is copied, not recognised. `labels` by name; the first
    decide the folds. Returns a table, ``protocol, labels, fold, accuracy, same_trial`` (shares), and first folds.
    """
    index, trials, truth = windows.index, trial_ids(windows.index), next(iter(labels.values()))
    faces = windows.video_at().mean(axis=1)
    leaky = make_folds(index, truth, "window", n_folds=N_TRIAL_FOLDS, seed=seed, allow_leak=True)
    honest = make_folds(index, truth, "trial+subject", seed=seed)
    rows, first = [], {}
    for protocol, folds in {"window": leaky, "trial": honest, "subject": honest}.items():
        for fold in folds[:n_repeats]:
            name = f"test_{protocol}" if protocol != "window" else next(iter(fold.tests()))
            test = fold.rows[name]
            first.setdefault(protocol, Fold(protocol, 0, {"train": fold.train, "val": fold.val, name: test}))
            scaler = StandardScaler().fit(faces[fold.train])
            reader = NearestNeighbors(n_neighbors=1).fit(scaler.transform(faces[fold.train]))
            nearest = fold.train[reader.kneighbors(scaler.transform(faces[test]), return_distance=False)[:, 0]]
            same = (trials[nearest] == trials[test]).mean()
            for kind, values in labels.items():
                rows.append((protocol, kind, fold.number, (values[nearest] == values[test]).mean(), same))
    return pd.DataFrame(rows, columns=["protocol", "labels", "fold", "accuracy", "same_trial"]), first


def labels_permuted_between_trials(windows: Windows, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Labels dealt anew to the trials of each subject: same counts, no relation to the recording."""
    by_trial = windows.index[["subject", "trial"]].assign(label=labels).groupby(["subject", "trial"])["label"].first()
    dealt = np.concatenate([rng.permutation(mine.to_numpy()) for _, mine in by_trial.groupby("subject")])
    return dealt[trial_ids(windows.index)]
