"""From tidy runs to the long results table. `paired` compares its rows, `display` makes it readable."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..data.constants import TARGETS
from .metrics import METRICS
from .paper import DATASETS, PROTOCOL_NAMES, PROTOCOLS, ROWS, VARIANTS, paper_accuracy
from .statistics import independent_repeats, mean_interval

if TYPE_CHECKING:
    from .collect import Design

CELL = ["table", "dataset", "target", "protocol"]
ONE_VALUE = [*CELL, "method", "repeat", "fold", "metric"]
RUN_COLUMNS = [*ONE_VALUE, "value", "n_train", "n_test", "profile", "data"]
LONG_COLUMNS = [*CELL, "method", "metric", "mean", "sd", "n_runs", "n_expected"]
LONG_COLUMNS += ["low", "high", "paper", "profile", "data", "interval"]
MIN_REPEATS = 3  # repetitions from which on their means are taken for the independent units
UNDEFINED = float("nan")


def results_table(
    runs: pd.DataFrame,
    table: int,
    n_expected: int,
    profile: str,
    data: str,
    datasets: Sequence[str] = DATASETS,
    protocols: Sequence[str] = PROTOCOLS,
    own_data: bool = False,
) -> pd.DataFrame:
    """Summarise the runs of one of the paper's tables, in long form, with the rows nobody ran yet.

    Parameters
    ----------
    runs : DataFrame
        One row per run and metric with the columns ``table, dataset, target, protocol, method, repeat, fold,
        metric, value, n_train, n_test, profile, data``; values are shares in [0, 1]. ``dataset`` says which
        data set of the paper the run stands for, ``data`` what was really used (such as a synthetic twin).
    table : {1, 2}
    n_expected : int
        Runs that make a cell complete (folds times repeats).
    profile, data : str
        What the numbers may be called; runs of another profile or other data are an error.
    datasets : sequence of str
        Data sets whose rows are wanted, run or not.
    protocols : sequence of str
        Protocols whose rows are wanted, run or not.
    own_data : bool
        Whether every repetition has data of its own, as on the twin; used from :data:`MIN_REPEATS` repetitions on.

    Returns
    -------
    DataFrame
        Columns :data:`LONG_COLUMNS`. ``mean, sd, low, high`` and ``paper`` in %. ``interval`` says what the 95 %
        interval, cut to 0 .. 100, allows for: "corrected" for overlapping training sets
        (:func:`~.statistics.mean_interval`), or over the means of "repetitions" that share no data
        (:func:`~.statistics.independent_repeats`). ``paper`` stands on accuracy rows only.
        Every method of the table has an accuracy row for every data set, target and protocol; one without runs has
        ``n_runs`` 0 and NaN.

    Raises
    ------
    ValueError
        A column is missing; a name is unknown; runs are doubled, mixed, too many, or not shares.
    """
    runs = checked_runs(runs, table)
    for column, wanted in (("profile", profile), ("data", data)):
        others = sorted(set(runs[column]) - {wanted})
        if others:
            raise ValueError(
                f"runs: {column} {', '.join(map(repr, others))} among the runs of {wanted!r}; filter first"
            )
    unwanted = sorted(set(runs["dataset"]) - set(datasets))
    if unwanted:
        raise ValueError(f"runs: dataset {', '.join(unwanted)} is not among {', '.join(datasets)}")
    unwanted = sorted(set(runs["protocol"]) - set(protocols))
    if unwanted:
        raise ValueError(f"runs: protocol {', '.join(unwanted)} is not among {', '.join(protocols)}")
    interval = interval_kind(runs, own_data)
    groups = dict(list(runs.groupby([*CELL, "method", "metric"])))
    rows = []
    for dataset in datasets:
        for target in TARGETS:
            for protocol in protocols:
                for method in ROWS[table]:
                    cell = (table, dataset, target, protocol, method)
                    for metric in ("accuracy", *[m for m in METRICS if m != "accuracy" and (*cell, m) in groups]):
                        summary = _summary(groups.get((*cell, metric)), cell, metric, n_expected, interval)
                        rows.append((*cell, metric, *summary, profile, data, interval))
    return pd.DataFrame(rows, columns=LONG_COLUMNS)


def interval_kind(runs: pd.DataFrame, own_data: bool) -> str:
    """What intervals and tests of these runs have to allow for: "repetitions" or "corrected"."""
    return "repetitions" if own_data and runs["repeat"].nunique() >= MIN_REPEATS else "corrected"


def _summary(group: pd.DataFrame | None, cell: tuple, metric: str, n_expected: int, interval: str) -> tuple:
    paper = paper_accuracy(cell[0], cell[4], *cell[1:3]) if metric == "accuracy" else UNDEFINED
    if group is None:
        return (UNDEFINED, UNDEFINED, 0, n_expected, UNDEFINED, UNDEFINED, paper)
    values = 100 * group["value"]
    found = mean_interval(values, group["n_train"].mean(), group["n_test"].mean())
    if found.n > n_expected:
        raise ValueError(f"runs: {found.n} runs of {cell}, {metric}, but n_expected is {n_expected}")
    bounds = found.low, found.high
    if interval == "repetitions":
        over_repeats = independent_repeats(values, group["repeat"])
        bounds = over_repeats["low"], over_repeats["high"]
    low, high = np.clip(bounds, 0.0, 100.0)
    return (found.mean, found.sd, found.n, n_expected, low, high, paper)


def both_tables(designs: Sequence[Design], table: int) -> pd.DataFrame:
    """One of the paper's tables for several data sets, in long form.

    Parameters
    ----------
    designs : sequence of Design
        From :func:`~.collect.collect_design`, each with its own layout.
    table : {1, 2}
    """
    parts = [
        results_table(d.scores, table, d.n_expected, d.profile, d.data, [d.layout], d.protocols, d.own_data)
        for d in designs
    ]
    return pd.concat(parts, ignore_index=True)


def ablation(long_tables: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """The poster's five variants: our mean accuracy and its interval beside the printed one, in %.

    Parameters
    ----------
    long_tables : DataFrame
        Both tables, from :func:`results_table`.
    dataset : str

    Returns
    -------
    DataFrame
        One row per variant; columns by target: one per protocol, and ``paper``, which prints DEAP only.
    """
    part = long_tables[(long_tables["dataset"] == dataset) & (long_tables["metric"] == "accuracy")]
    rows = {}
    for name, (table, method) in VARIANTS.items():
        row = {}
        for cell in part[(part["table"] == table) & (part["method"] == method)].itertuples():
            interval = "" if np.isnan(cell.low) else f" [{cell.low:.1f}, {cell.high:.1f}]"
            row[cell.target, PROTOCOL_NAMES[cell.protocol]] = f"{cell.mean:.1f}{interval}"
            row[cell.target, "paper"] = f"{cell.paper:.2f}"
        rows[name] = row
    frame = pd.DataFrame.from_dict(rows, orient="index")
    frame.columns = pd.MultiIndex.from_tuples(frame.columns, names=("target", "protocol"))
    return frame


def write_csv(table: pd.DataFrame, path: str | os.PathLike) -> Path:
    """Write `table` to `path` so that a reader sees the old file or the whole new one, never a part."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as stream:
            table.to_csv(stream, index=False, float_format="%.6g", lineterminator="\n")
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def checked_runs(runs: pd.DataFrame, table: int) -> pd.DataFrame:
    """The runs of `table`, or one clear error (see :func:`results_table`)."""
    if table not in ROWS:
        raise ValueError(f"table: expected one of {', '.join(map(str, ROWS))}, got {table!r}")
    missing = [column for column in RUN_COLUMNS if column not in runs]
    if missing:
        raise ValueError(f"runs: column {', '.join(missing)} is missing")
    runs = runs[runs["table"] == table]
    known_names = {"target": TARGETS, "protocol": PROTOCOL_NAMES, "method": ROWS[table], "metric": METRICS}
    for column, known in known_names.items():
        unknown = sorted(set(runs[column]) - set(known))
        if unknown:
            raise ValueError(f"runs: unknown {column} {', '.join(map(repr, unknown))}; known: {', '.join(known)}")
    doubled = runs[runs.duplicated(ONE_VALUE, keep=False)]
    if len(doubled):
        first = doubled.iloc[0]
        raise ValueError(
            f"runs: {len(doubled)} rows repeat the same run, first {first[ONE_VALUE].to_dict()}; keep one of each"
        )
    if not runs["value"].dropna().between(0, 1).all():
        bad = runs[~runs["value"].between(0, 1) & runs["value"].notna()].iloc[0]
        raise ValueError(f"runs: value {bad['value']} of {bad['method']}, {bad['metric']}: expected a share in [0, 1]")
    return runs
