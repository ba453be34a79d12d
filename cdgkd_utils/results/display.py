"""The long results table as people read it: in a notebook and in a terminal."""

from __future__ import annotations

import math
import textwrap
from typing import Any

import pandas as pd

from ..data.constants import TARGETS
from .metrics import LOWER_IS_BETTER, METRIC_NAMES
from .paper import DATASET_NAMES, METHODS, PROTOCOL_NAMES, ROWS, TABLE_TITLES, in_order, paper_accuracy

UNDEFINED = float("nan")
# Columns of `as_text` by metric: beside the accuracy, and in the block below it.
FIRST_METRICS = {"balanced_accuracy": "bal", "macro_f1": "F1", "expected_accuracy": "exp"}
FURTHER_METRICS = {"auc": "AUC", "vote_accuracy": "vote", "worst_subject": "worst"}
FURTHER_METRICS |= {"ece": "ECE", "ece_mass": "ECEm", "brier": "Brier"}
INTERVALS = {
    "corrected": "corrected for overlapping training sets",
    "repetitions": "over repetitions, each with people of its own",
}


def readable(long_table: pd.DataFrame, dataset: str = "deap", metric: str = "accuracy") -> pd.DataFrame:
    """The table as people read it: methods down, target and protocol across.

    Parameters
    ----------
    long_table : DataFrame
        From :func:`~.tables.results_table` (one table of the paper).
    dataset : str
    metric : str

    Returns
    -------
    DataFrame
        Strings. A cell reads ``63.1 ± 1.2 [60.9, 65.3] n=3/3`` (mean ± sd over runs, 95 % interval, runs done
        of runs expected), without interval where all runs are equal, or ``0 of 3``; the last row is the
        majority class, and beside each target stands the paper's accuracy. Rows marked * are controls that the
        paper does not have.

    Raises
    ------
    ValueError
        The long table has no rows for `dataset`, or holds more than one table.
    """
    part = one_table(long_table, dataset)
    table, n_expected = (int(part[column].iloc[0]) for column in ("table", "n_expected"))
    lookup = {(r.method, r.target, r.protocol): r for r in part[part["metric"] == metric].itertuples()}
    majorities = part[part["metric"] == "majority"].groupby(["target", "protocol"])["mean"].mean()
    columns: dict[tuple[str, str], list[str]] = {}
    for target in TARGETS:
        for protocol in in_order(part["protocol"]):
            cells = [cell_text(lookup.get((method, target, protocol)), n_expected) for method in ROWS[table]]
            majority = majorities.get((target, protocol), UNDEFINED)
            columns[target, PROTOCOL_NAMES[protocol]] = [*cells, _number(majority, 1)]
        numbers = [paper_accuracy(table, method, dataset, target) for method in ROWS[table]]
        columns[target, "paper"] = [*(_number(number, 2) for number in numbers), "–"]
    names = [display_name(method) for method in ROWS[table]]
    frame = pd.DataFrame(columns, index=pd.Index([*names, "majority class"], name="method"))
    frame.columns.names = ("target", "protocol")
    return frame


def one_table(long_table: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """The rows of `dataset`; a ValueError if there are none or they are of several tables."""
    part = long_table[long_table["dataset"] == dataset]
    if part["table"].nunique() != 1:
        raise ValueError(
            f"long_table: expected rows of one table for dataset {dataset!r}, "
            f"found tables {sorted(set(part['table']))} and datasets {sorted(set(long_table['dataset']))}"
        )
    return part


def display_name(method: str) -> str:
    """Name of a method in tables and figures; controls are marked with *."""
    return METHODS[method].name + (" *" if METHODS[method].control else "")


def cell_text(row: Any | None, n_expected: int) -> str:
    """One cell of :func:`readable` from a row of the long table, or from None where there is no row."""
    if row is None or row.n_runs == 0:
        return f"0 of {n_expected}"
    count = f"n={row.n_runs}/{row.n_expected}"
    if row.n_runs == 1:
        return f"{row.mean:.1f} {count}"
    if math.isnan(row.low):
        return f"{row.mean:.1f} ± {row.sd:.1f} {count}"
    return f"{row.mean:.1f} ± {row.sd:.1f} [{row.low:.1f}, {row.high:.1f}] {count}"


def _number(value: float, digits: int) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def caption(long_table: pd.DataFrame, dataset: str = "deap") -> str:
    """What a table shows, under which profile and on which data."""
    part = one_table(long_table, dataset)
    number, profile, data = part[["table", "profile", "data"]].iloc[0]
    return (
        f"Table {number}, {TABLE_TITLES[number]}, in the paper's {DATASET_NAMES[dataset]} columns; "
        f"data: {data}; profile: {profile}"
    )


def as_text(long_table: pd.DataFrame, dataset: str = "deap") -> str:
    """The table for a terminal: two blocks per target, at most 140 columns.

    Parameters
    ----------
    long_table : DataFrame
        From :func:`~.tables.results_table`.
    dataset : str

    Returns
    -------
    str
        All in %. The first block of a target holds accuracy as in :func:`readable` and the means of
        :data:`FIRST_METRICS`, the second those of :data:`FURTHER_METRICS` for methods that were run; a metric
        that no row has, such as expected accuracy where the truth is not known, is left out.
    """
    part = one_table(long_table, dataset)
    present = set(part["metric"])
    first, further = (
        {metric: name for metric, name in short.items() if metric in present}
        for short in (FIRST_METRICS, FURTHER_METRICS)
    )
    wide = readable(part, dataset)
    blocks = [textwrap.fill(caption(part, dataset), 140)]
    for target in TARGETS:
        block = pd.DataFrame(index=wide.index)
        for protocol in in_order(part["protocol"]):
            label = PROTOCOL_NAMES[protocol]
            block[f"{label}: accuracy"] = wide[target, label].str.replace(" n=", " ")
            for metric, name in first.items():
                block[f"{name}|{protocol}"] = _means(part, target, protocol, metric)
        block["paper"] = wide[target, "paper"]
        blocks.append(f"{target}\n{_block_text(block)}")
        block = pd.DataFrame(index=wide.index)
        for protocol in in_order(part["protocol"]):
            for place, (metric, name) in enumerate(further.items()):
                title = name if place else f"{PROTOCOL_NAMES[protocol]}: {name}"
                block[f"{title}|{protocol}"] = _means(part, target, protocol, metric)
        scored = block[(block != "–").any(axis=1)]
        if len(scored):
            blocks.append(f"{target}, further scores\n{_block_text(scored)}")
    legend = ", ".join(f"{name} = {METRIC_NAMES[metric]}" for metric, name in (first | further).items())
    blocks.append(
        f"mean ± sd [95 % interval, {INTERVALS[part['interval'].iloc[0]]}] runs done/expected, in %. "
        f"* control, not in the paper.\n{textwrap.fill(legend, 140)}"
    )
    if further.keys() & set(LOWER_IS_BETTER):
        blocks[-1] += f"\nLower is better: {', '.join(further[m] for m in LOWER_IS_BETTER if m in further)}."
    return "\n\n".join(blocks)


def _means(part: pd.DataFrame, target: str, protocol: str, metric: str) -> list[str]:
    """Mean of a metric per row of the readable table; the majority class has none."""
    chosen = part[(part["target"] == target) & (part["protocol"] == protocol) & (part["metric"] == metric)]
    mean = dict(zip(chosen["method"], chosen["mean"], strict=True))
    methods = (*ROWS[int(part["table"].iloc[0])], "majority class")
    return [_number(mean.get(method, UNDEFINED), 1) for method in methods]


def _block_text(block: pd.DataFrame) -> str:
    """Columns of one name in several protocols are told apart by what follows "|", which is not shown."""
    return block.rename_axis(None).rename(columns=lambda c: c.split("|")[0]).to_string(justify="right")
