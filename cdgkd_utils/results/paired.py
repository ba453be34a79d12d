"""Methods compared on the runs they share."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .paper import ROWS
from .statistics import effect_size, holm, independent_repeats, mean_interval, paired_test
from .tables import CELL, checked_runs, interval_kind

PAIRED_COLUMNS = [*CELL, "reference", "method", "metric", "n", "mean", "sd", "low", "high", "dz", "dz_low", "dz_high"]
PAIRED_COLUMNS += ["t", "p", "p_holm", "p_naive", "p_repeats", "low_repeats", "high_repeats"]


def paired(runs: pd.DataFrame, table: int, reference: str, metric: str = "accuracy") -> pd.DataFrame:
    """Compare one method with every other on the runs they share.

    Parameters
    ----------
    runs : DataFrame
        As in :func:`~.tables.results_table`.
    table : {1, 2}
    reference : str
        Method key; differences are reference minus method.
    metric : str

    Returns
    -------
    DataFrame
        One row per data set, target, protocol and method: ``table, dataset, target, protocol, reference, method,
        metric, n`` (shared runs), ``mean, sd, low, high`` of the difference in percentage points, ``dz`` with its
        interval ``dz_low, dz_high``, ``t``, ``p`` (Nadeau-Bengio), ``p_holm`` (over the methods of one target and
        protocol), ``p_naive``, and ``p_repeats, low_repeats, high_repeats``
        (:func:`~.statistics.independent_repeats`), which are valid where every repetition draws its own data, as on
        the twin, and nowhere else.

    Raises
    ------
    ValueError
        As in :func:`~.tables.results_table`, or `reference` or `metric` has no run.
    """
    runs = checked_runs(runs, table)
    chosen = runs[runs["metric"] == metric]
    if reference not in set(chosen["method"]):
        raise ValueError(
            f"reference: no run of {reference!r} with metric {metric!r} in table {table}; "
            f"methods there: {', '.join(sorted(set(chosen['method']))) or 'none'}"
        )
    families = []
    for key, group in chosen.groupby(CELL, sort=False):
        by_run = group.pivot(index=["repeat", "fold"], columns="method", values="value")
        if reference not in by_run:
            continue
        sizes = group["n_train"].mean(), group["n_test"].mean()
        family = pd.DataFrame(
            {**dict(zip(CELL, key, strict=True)), "reference": reference, "method": method, "metric": metric}
            | _compared(100 * (by_run[reference] - by_run[method]), *sizes)
            for method in ROWS[table]
            if method in by_run and method != reference
        )
        if len(family):
            families.append(family.assign(p_holm=holm(family["p"])))
    if not families:
        return pd.DataFrame(columns=PAIRED_COLUMNS)
    return pd.concat(families, ignore_index=True)[PAIRED_COLUMNS]


def _compared(differences: pd.Series, n_train: float, n_test: float) -> dict[str, float]:
    """All that `paired` says of differences, whose index holds the repetition and fold of each run."""
    effect = effect_size(differences, n_train, n_test)
    by_repeat = independent_repeats(differences, differences.index.get_level_values("repeat"))
    more = {f"{name}_repeats": by_repeat[name] for name in ("p", "low", "high")}
    return paired_test(differences, n_train, n_test) | {"dz_low": effect.low, "dz_high": effect.high} | more


def pooled_difference(
    runs: pd.DataFrame, table: int, better: str, than: tuple[str, ...], metric: str, *, own_data: bool = False
) -> dict[str, float]:
    """By how much one method is better than others, all comparisons of a run taken together.

    Parameters
    ----------
    runs : DataFrame
        As in :func:`~.tables.results_table`; may hold several data sets.
    table : {1, 2}
    better : str
    than : tuple of str
        Those without runs are left out.
    metric : str
    own_data : bool
        Whether every repetition has data of its own, as in :func:`~.tables.results_table`.

    Returns
    -------
    dict
        ``n`` (runs that made every comparison), ``mean, low, high`` in percentage points: of the difference
        averaged, within a run, over methods, targets, protocols and data sets.
    """
    runs = checked_runs(runs, table)
    chosen = runs[(runs["metric"] == metric) & runs["method"].isin([better, *than])]
    values = chosen.pivot(index=["repeat", "fold"], columns=["dataset", "target", "protocol", "method"], values="value")
    differences = pd.DataFrame(
        {name: 100 * (values[(*name[:3], better)] - values[name]) for name in values if name[3] != better}
    )
    by_run = differences.dropna().mean(axis=1)
    interval = mean_interval(by_run.to_numpy(), chosen["n_train"].mean(), chosen["n_test"].mean())
    bounds = {"low": interval.low, "high": interval.high}
    if interval_kind(runs, own_data) == "repetitions":
        over_repeats = independent_repeats(by_run.to_numpy(), np.asarray(by_run.index.get_level_values("repeat")))
        bounds = {name: over_repeats[name] for name in bounds}
    return {"n": interval.n, "mean": interval.mean, **bounds}


def side_by_side(
    runs: pd.DataFrame, table: int, better: str, other: str, metric: str, *, dataset: str, target: str, protocol: str
) -> pd.DataFrame:
    """One comparison under three ideas of what is independent.

    Parameters
    ----------
    runs : DataFrame
        As in :func:`~.tables.results_table`.
    table : {1, 2}
    better, other : str
        Method keys; the difference is `better` minus `other`.
    metric, dataset, target, protocol : str

    Returns
    -------
    DataFrame
        Index ``independent``: "runs" (the ordinary t test), "runs, corrected" (Nadeau-Bengio), and "repetitions"
        where there are two or more of them. Columns ``n, difference, low, high`` in percentage points, ``p`` and
        ``dz, dz_low, dz_high``.

    Raises
    ------
    ValueError
        As in :func:`~.tables.results_table`, or one of the two methods has no such run.
    """
    runs = checked_runs(runs, table)
    wanted = {"dataset": dataset, "target": target, "protocol": protocol, "metric": metric}
    chosen = runs[(runs[list(wanted)] == pd.Series(wanted)).all(axis=1)]
    if lacking := {better, other} - set(chosen["method"]):
        raise ValueError(f"runs: no run of {', '.join(sorted(lacking))} in table {table} with {wanted}")
    by_run = chosen.pivot(index=["repeat", "fold"], columns="method", values="value")
    difference = (100 * (by_run[better] - by_run[other])).dropna()
    # The correction vanishes with the share of the data that is tested.
    alone = (1.0, np.finfo(float).tiny)
    units = {
        "runs": (difference, alone),
        "runs, corrected": (difference, (chosen["n_train"].mean(), chosen["n_test"].mean())),
        "repetitions": (difference.groupby("repeat").mean(), alone),
    }
    rows = {}
    for name, (values, sizes) in units.items():
        if name != "repetitions" or len(values) > 1:
            test, effect = paired_test(values.to_numpy(), *sizes), effect_size(values.to_numpy(), *sizes)
            rows[name] = {"n": test["n"], "difference": test["mean"], **{k: test[k] for k in ("low", "high", "p")}}
            rows[name] |= {"dz": effect.dz, "dz_low": effect.low, "dz_high": effect.high}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("independent")
