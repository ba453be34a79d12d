"""Bootstrap intervals, and which interval assumes what.

A bootstrap takes what it resamples for independent. That is right for people and wrong for runs whose training
sets overlap, where it is as narrow as the ordinary t interval; it stands here to show this, and for people.

References
----------
B. Efron, Better bootstrap confidence intervals, Journal of the American Statistical Association 82, 1987 (BCa).
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from .statistics import NAN, Interval, mean_interval

METHODS = ("BCa", "percentile")


def bootstrap_interval(
    values: np.ndarray,
    rng: np.random.Generator,
    *,
    weights: np.ndarray | None = None,
    method: str = "BCa",
    confidence: float = 0.95,
    n_resamples: int = 4999,
) -> Interval:
    """Bootstrap interval of a mean over independent units, such as subjects.

    Parameters
    ----------
    values : ndarray, shape (n_units,)
        One score per unit; NaN is left out.
    rng : Generator
    weights : ndarray, shape (n_units,), optional
        Positive, such as windows per subject; the mean is weighted, and a unit drawn brings its weight along.
    method : {"BCa", "percentile"}
        BCa mends bias and skewness. Either is somewhat too narrow for few units.
    confidence : float
        Coverage, between 0 and 1.
    n_resamples : int

    Returns
    -------
    Interval
        ``mean`` weighted, ``sd`` of the unweighted values; the bounds are NaN for fewer than two units or equal
        values, which say nothing about their spread.

    Raises
    ------
    ValueError
        `confidence` is not between 0 and 1, `method` is another, or a weight is missing or not positive.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: expected a value between 0 and 1, got {confidence}")
    if method not in METHODS:
        raise ValueError(f"method: expected one of {', '.join(METHODS)}, got {method!r}")
    values = np.asarray(values, dtype=float).ravel()
    weights = np.ones(len(values)) if weights is None else np.asarray(weights, dtype=float).ravel()
    if weights.shape != values.shape or not (weights > 0).all():
        raise ValueError(f"weights: expected {len(values)} positive numbers, one per value")
    finite = np.isfinite(values)
    values, weights = values[finite], weights[finite]
    if len(values) == 0:
        return Interval(NAN, NAN, 0, NAN, NAN)
    mean = float(np.average(values, weights=weights))
    if len(values) == 1:
        return Interval(mean, NAN, 1, NAN, NAN)
    sd = float(values.std(ddof=1))
    if sd <= 1e-12 * max(1.0, float(np.abs(values).max())):
        return Interval(mean, 0.0, len(values), NAN, NAN)

    def weighted_mean(total: np.ndarray, weight: np.ndarray, axis: int) -> np.ndarray:
        return total.sum(axis=axis) / weight.sum(axis=axis)

    found = stats.bootstrap(
        (values * weights, weights),
        weighted_mean,
        paired=True,
        vectorized=True,
        n_resamples=n_resamples,
        confidence_level=confidence,
        method=method,
        rng=rng,
    ).confidence_interval
    return Interval(mean, sd, len(values), float(found.low), float(found.high))


def compare_intervals(
    values: np.ndarray, n_train: float, n_test: float, rng: np.random.Generator, confidence: float = 0.95
) -> pd.DataFrame:
    """The interval in use beside three that do not know of overlapping training sets.

    Parameters
    ----------
    values : ndarray, shape (n_runs,)
        One score per run; NaN is left out.
    n_train, n_test, confidence : float
        As in :func:`~.statistics.mean_interval`.
    rng : Generator

    Returns
    -------
    DataFrame
        Index ``interval``: "corrected t" (the one in every table), "ordinary t", "bootstrap, percentile" and
        "bootstrap, BCa" over runs. Columns ``low, high, width`` in the unit of the values, ``takes runs for``.

    Raises
    ------
    ValueError
        As in :func:`~.statistics.mean_interval`.
    """
    found = {"corrected t": mean_interval(values, n_train, n_test, confidence)}
    # The correction vanishes with the share of the data that is tested.
    found["ordinary t"] = mean_interval(values, 1.0, np.finfo(float).tiny, confidence)
    for method in reversed(METHODS):
        found[f"bootstrap, {method}"] = bootstrap_interval(values, rng, method=method, confidence=confidence)
    frame = pd.DataFrame({name: {"low": i.low, "high": i.high} for name, i in found.items()}).T
    frame["width"] = frame["high"] - frame["low"]
    frame["takes runs for"] = ["overlapping", "independent", "independent", "independent"]
    return frame.rename_axis("interval")
