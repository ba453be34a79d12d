"""Further scores of every row of a table, beside its accuracy."""

from __future__ import annotations

from typing import Any

import pandas as pd

from .display import FURTHER_METRICS, display_name, one_table
from .paper import ROWS

# Accuracy, what mends its blind spots, what counts trials and people, calibration.
MEASURES = {"accuracy": "accuracy", "balanced_accuracy": "balanced", "macro_f1": "macro-F1"}
MEASURES |= {metric: FURTHER_METRICS[metric] for metric in ("auc", "vote_accuracy", "worst_subject", "ece")}


def measures(long_table: pd.DataFrame, dataset: str, target: str, protocol: str) -> pd.DataFrame:
    """Every row of a table under several scores, for one target and protocol.

    Parameters
    ----------
    long_table : DataFrame
        From :func:`~.tables.results_table` (one table of the paper).
    dataset, target, protocol : str

    Returns
    -------
    DataFrame
        Strings, ``mean ± sd`` over runs in %; columns as in :data:`MEASURES` (vote: accuracy of trial votes, worst:
        accuracy of the worst subject, ECE: calibration error, where lower is better) and ``n``, runs done of runs
        expected. The last row is the majority class: its accuracy is a measurement, the rest follows from always
        giving one answer. A method without runs has dashes.

    Raises
    ------
    ValueError
        There are no such rows, or rows of more than one table.
    """
    part = one_table(long_table, dataset)
    part = part[(part["target"] == target) & (part["protocol"] == protocol)]
    if part.empty:
        raise ValueError(f"long_table: no rows of {dataset}, {target}, {protocol}")
    cells = {(row.method, row.metric): row for row in part.itertuples()}
    rows = {}
    for method in ROWS[int(part["table"].iloc[0])]:
        counted = cells[method, "accuracy"]
        rows[display_name(method)] = [_mean_sd(cells.get((method, metric))) for metric in MEASURES]
        rows[display_name(method)].append(f"{counted.n_runs}/{counted.n_expected}")
    majority = part.loc[part["metric"] == "majority", "mean"].mean()
    rows["majority class"] = [*_of_one_answer(majority), "–"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=[*MEASURES.values(), "n"]).rename_axis("method")


def _mean_sd(row: Any | None) -> str:
    if row is None or row.n_runs == 0 or pd.isna(row.mean):
        return "–"
    return f"{row.mean:.1f}" + ("" if pd.isna(row.sd) else f" ± {row.sd:.1f}")


def _of_one_answer(share: float) -> list[str]:
    """Scores of always giving one answer, for an average share of the commoner class in %."""
    known = {"accuracy": "–" if pd.isna(share) else f"{share:.1f}", "balanced_accuracy": "50.0", "auc": "50.0"}
    return [known.get(metric, "–") for metric in MEASURES]
