"""One fold of a protocol, and the check that proves that it shares nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

LEAKY = ("window",)  # protocols that share trials between parts
_UNITS = {"trial": ["subject", "trial"], "subject": ["subject"], "stimulus": ["stimulus"]}


class LeakError(AssertionError):
    """Parts of a fold share what its protocol keeps apart, or something has looked outside the training part."""


@dataclass(frozen=True, eq=False)
class Fold:
    """One fold of a protocol.

    `rows` are those of the windows' index: ``train``, ``val``, then each test part, ``test_trial`` and ``test_subject``
    or ``test_<label>``.
    """

    protocol: str
    number: int
    rows: dict[str, np.ndarray]

    @property
    def train(self) -> np.ndarray:
        return self.rows["train"]

    @property
    def val(self) -> np.ndarray:
        return self.rows["val"]

    def parts(self) -> dict[str, np.ndarray]:
        """All parts by name, in the order of `rows`."""
        return dict(self.rows)

    def tests(self) -> dict[str, np.ndarray]:
        """The test parts by name."""
        return {name: rows for name, rows in self.rows.items() if name.startswith("test")}

    @property
    def leaky(self) -> bool:
        """True where windows of one trial stand in several parts."""
        return self.protocol in LEAKY

    @property
    def label(self) -> str:
        """What every result of this fold has to carry."""
        return f"{self.protocol} (LEAKY)" if self.leaky else self.protocol


def trial_ids(index: pd.DataFrame) -> np.ndarray:
    """One integer per (subject, trial), shape (n_windows,)."""
    return index.groupby(["subject", "trial"], sort=True).ngroup().to_numpy()


def check_fold(
    fold: Fold,
    index: pd.DataFrame,
    labels: np.ndarray | None = None,
    *,
    guides: Mapping[str, Iterable[int] | pd.DataFrame] | None = None,
    fitted_on: Mapping[str, Iterable[int]] | None = None,
) -> pd.DataFrame:
    """Prove that a fold shares nothing that its protocol keeps apart, and count what is in it.

    Parameters
    ----------
    fold : Fold
        From :func:`make_folds` or your own.
    index : DataFrame
        One row per window: ``subject``, ``trial`` and, if there, ``stimulus``.
    labels : ndarray of int, shape (n_windows,), optional
    guides : mapping of str to rows or DataFrame, optional
        What each teacher and assistant was fitted and selected on: rows of `index`, or, for one trained elsewhere, a
        table with ``subject`` and ``trial``.
    fitted_on : mapping of str to rows, optional
        What else was estimated from which rows: scales, thresholds, components.

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
    rows = np.concatenate(list(parts.values()))
    if rows.min(initial=0) < 0 or rows.max(initial=0) >= len(index):
        raise LeakError(f"fold {fold.number} names windows outside the index of {len(index)}")
    values, counts = np.unique(rows, return_counts=True)
    if (counts > 1).any():
        raise LeakError(f"{(counts > 1).sum()} windows stand in two parts (or twice in one): {values[counts > 1][0]}")
    units = {unit: columns for unit, columns in _UNITS.items() if set(columns) <= set(index)}
    held = {name: {unit: _keys(index.iloc[part], unit) for unit in units} for name, part in parts.items()}
    if not fold.leaky:
        for one, other in combinations(parts, 2):
            _forbid(held[one]["trial"] & held[other]["trial"], "trial", one, other)
    for test, tested in fold.tests().items():
        apart = _kept_apart(fold.protocol, test)
        for part in ("train", "val"):
            for unit in apart:
                _forbid(held[test][unit] & held[part][unit], unit, test, part)
        for guide, seen in (guides or {}).items():
            learned = f"what guide {guide} learned from"
            if not isinstance(seen, pd.DataFrame):
                _forbid({(row,) for row in np.intersect1d(tested, seen)}, "window", test, learned)
                seen = index.iloc[np.asarray(seen)]
            for unit in apart:
                _forbid(held[test][unit] & _keys(seen, unit), unit, test, learned)
    for name, seen in (fitted_on or {}).items():
        outside = np.setdiff1d(np.asarray(seen), fold.train)
        if len(outside):
            raise LeakError(f"{name}: fitted on {len(outside)} windows outside the training part, such as {outside[0]}")
    table = {name: {"windows": len(part)} for name, part in parts.items()}
    if labels is not None and (varies := pd.Series(labels).groupby(trial_ids(index)).nunique() > 1).any():
        raise LeakError(f"labels vary within {varies.sum()} trials: they belong to another index")
    for name, part in parts.items():
        others = set().union(*(held[other]["trial"] for other in parts if other != name))
        plural = {"trial": "trials", "subject": "subjects", "stimulus": "stimuli"}
        table[name] |= {plural[unit]: len(held[name][unit]) for unit in units}
        if labels is not None:
            n_classes = max(2, int(np.max(labels)) + 1)
            names = ("low", "high") if n_classes == 2 else [f"class {k}" for k in range(n_classes)]
            table[name] |= dict(zip(names, np.bincount(labels[part], minlength=n_classes).tolist(), strict=True))
        table[name]["shared_trials"] = len(held[name]["trial"] & others)
        for unit in list(units)[1:]:
            table[name][f"shared_{plural[unit]}"] = len(held[name][unit] & held["train"][unit])
    return pd.DataFrame(table).T.rename_axis("part")


def _kept_apart(protocol: str, test: str) -> list[str]:
    """Units of a test part that training must not have seen."""
    new = {"subject": protocol in ("subject", "loso") or test == "test_subject", "stimulus": protocol == "stimulus"}
    return [unit for unit, apart in ({"trial": protocol not in LEAKY} | new).items() if apart]


def _keys(frame: pd.DataFrame, unit: str) -> set[tuple]:
    return set(frame[_UNITS[unit]].drop_duplicates().itertuples(index=False, name=None))


def _forbid(shared: set, unit: str, one: str, other: str) -> None:
    if shared:
        example = ", ".join(map(str, min(shared)))
        raise LeakError(f"{len(shared)} {unit}(s) of {one} stand in {other} too, such as {example}")
