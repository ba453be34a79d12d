"""A leakage audit: takes any index of windows and any split of it, and names every leak that they show.

The certificate of :mod:`.split` proves that the project's own split is clean; this module judges other people's.
The leaks are those of data-formats.md, section 4.3.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

from ..constants import RATINGS, WINDOW_SAMPLES
from .audit_findings import COLUMNS, Findings
from .protocols import Fold
from .split import LeakError, Split

# Only the recordings and the code can show these: no index or split does.
NOT_VISIBLE = (
    "features, filters or components learned from all data, unless named in fitted_on",
    "a face encoder tuned on the same people",
    "video that runs on into the spoken rating",
    "a test score that was looked at more than once",
)


def audit(
    index: pd.DataFrame,
    split: Split | Fold | Mapping[str, Iterable[int]],
    labels: np.ndarray | None = None,
    *,
    protocol: str | None = None,
    target: str | None = None,
    starts: np.ndarray | None = None,
    n_samples: int = WINDOW_SAMPLES,
    fitted_on: Mapping[str, Iterable[int]] | None = None,
    selected_on: Iterable[int] | None = None,
    guides: Mapping[str, Iterable[int] | pd.DataFrame] | None = None,
) -> pd.DataFrame:
    """Name the leaks of a split.

    Parameters
    ----------
    index : DataFrame
        One row per window, with ``subject`` and ``trial``; ``stimulus``, ``window`` and ratings are used if there.
    split : Split, Fold or mapping of str to rows
        Part names that start with ``test`` are tests, with ``val`` validation; all others train.
    labels : ndarray, shape (n_windows,), optional
        0 or 1.
    protocol : str, optional
        What the split claims to be, a name of ``protocols.PROTOCOLS``; a :class:`Fold` says it itself. A subject
        (``subject``, ``loso``) or stimulus (``stimulus``) that should be new is then a leak, else a note. A part
        called ``test_subject`` always claims new subjects.
    target : str, optional
        The rating that `labels` come from; lets the audit recompute medians.
    starts : ndarray, shape (n_windows,), optional
        First sample of each window within its trial; default: ``window * n_samples``.
    n_samples : int
        Length of a window.
    fitted_on : mapping of str to rows, optional
        What was estimated from which rows: normaliser, median threshold, PCA, baseline, feature selection.
    selected_on : rows, optional
        Rows on which the epoch or the settings were chosen; default: the validation part.
    guides : mapping of str to rows or DataFrame, optional
        What each teacher and assistant was fitted and selected on: rows of `index`, or, for one trained
        elsewhere, a table with ``subject`` and ``trial``.

    Returns
    -------
    DataFrame
        One row per finding: ``leak`` (name), ``kind`` ("leak" is forbidden, "note" limits what may be claimed),
        ``parts``, ``count``, ``example``, ``meaning``. Empty if nothing was found. ``NOT_VISIBLE`` lists what
        no audit of this kind can see.

    Raises
    ------
    ValueError
        The index lacks a column, or an argument has the wrong length or names no rating.
    """
    if missing := {"subject", "trial"} - set(index):
        raise ValueError(f"index: column {', '.join(sorted(missing))} missing; an audit needs subject and trial")
    for name, values in (("labels", labels), ("starts", starts)):
        if values is not None and len(values) != len(index):
            raise ValueError(f"{name}: expected one per row of the index, {len(index)}, got {len(values)}")
    if target is not None and (target not in RATINGS or target not in index):
        raise ValueError(f"target: expected a rating in the index, got {target!r}")
    protocol = protocol or getattr(split, "protocol", None)
    named = split.parts() if hasattr(split, "parts") else split
    parts = {name: _rows(rows) for name, rows in named.items()}
    for name, seen in (guides or {}).items():
        if isinstance(seen, pd.DataFrame) and not {"subject", "trial"} <= set(seen):
            raise ValueError(f"guides: the table of {name!r} needs the columns subject and trial")
    found = Findings(index, {name: rows[(rows >= 0) & (rows < len(index))] for name, rows in parts.items()}, protocol)
    for name, rows in parts.items():
        outside = rows[(rows < 0) | (rows >= len(index))]
        found.add("row outside the index", [name], outside, len(outside))
        values, counts = np.unique(rows, return_counts=True)
        found.add("row twice in a part", [name], values[counts > 1])
    found.shared_units()
    found.overlaps(starts, n_samples)
    found.selection(None if selected_on is None else _rows(selected_on))
    for name, rows in (fitted_on or {}).items():
        outside = np.setdiff1d(_rows(rows), found.joined("train"))
        found.add("fitted outside train", [name, *found.holders(outside)], outside, len(outside))
    for name, seen in (guides or {}).items():
        found.guide(name, seen if isinstance(seen, pd.DataFrame) else index.iloc[_rows(seen)])
    if labels is not None:
        found.labels(np.asarray(labels), target)
    return pd.DataFrame(found.rows, columns=COLUMNS)


def forbid_leaks(report: pd.DataFrame) -> None:
    """Stop where an audit found a leak (notes pass).

    Raises
    ------
    LeakError
        Names every leak with its parts.
    """
    leaks = report[report["kind"] == "leak"]
    if len(leaks):
        said = (f"{row.leak} ({row.parts}; {row.count}, such as {row.example})" for row in leaks.itertuples())
        raise LeakError("; ".join(said))


def _rows(rows: Iterable[int]) -> np.ndarray:
    rows = np.asarray(rows if isinstance(rows, np.ndarray) else list(rows))
    return np.flatnonzero(rows) if rows.dtype == bool else rows.astype(int)
