"""Intervals and paired tests for repeated hold-out runs, whose training sets overlap.

Runs that share training windows are correlated, so the ordinary standard error is too small and the ordinary
t test claims too much. Every function here replaces the factor 1/n of the variance of the mean by
1/n + n_test/n_train.

References
----------
C. Nadeau and Y. Bengio, Inference for the generalization error, Machine Learning 52, 2003, section 4.1.2.
S. Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6, 1979.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats

NAN = float("nan")


class Interval(NamedTuple):
    """Mean, standard deviation and interval of `n` runs, in the unit of the values."""

    mean: float
    sd: float
    n: int
    low: float
    high: float


def mean_interval(values: np.ndarray, n_train: float, n_test: float, confidence: float = 0.95) -> Interval:
    """Mean of repeated runs with a corrected t interval.

    Parameters
    ----------
    values : ndarray, shape (n_runs,)
        One score per run; NaN (no score) is left out.
    n_train, n_test : float
        Windows (or subjects) in the training and test part of a run, both in the same unit.
    confidence : float
        Coverage, between 0 and 1.

    Returns
    -------
    Interval
        ``sd`` and the bounds are NaN for a single run; for equal values the interval has no width. It covers
        the choice of split (and, on the twin, of people), not a change of data set.

    Raises
    ------
    ValueError
        A size is not positive or `confidence` is not between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence: expected a value between 0 and 1, got {confidence}")
    values = _finite(values)
    n, factor = len(values), _variance_factor(len(values), n_train, n_test)
    if n == 0:
        return Interval(NAN, NAN, 0, NAN, NAN)
    mean = float(values.mean())
    if n == 1:
        return Interval(mean, NAN, 1, NAN, NAN)
    sd = float(values.std(ddof=1))
    half = float(stats.t.ppf((1 + confidence) / 2, n - 1)) * sd * np.sqrt(factor)
    return Interval(mean, sd, n, mean - half, mean + half)


def paired_test(differences: np.ndarray, n_train: float, n_test: float) -> dict[str, float]:
    """Test whether the mean of paired differences is zero.

    Parameters
    ----------
    differences : ndarray, shape (n_runs,)
        One difference per shared run; NaN is left out.
    n_train, n_test : float
        As in :func:`mean_interval`.

    Returns
    -------
    dict
        ``n``, ``mean``, ``sd``, ``low``, ``high`` (corrected 95 % interval), ``t`` and ``p`` (corrected, two-sided),
        ``p_naive`` (ordinary paired t test, to show what it would have claimed) and ``dz`` (Cohen's effect
        size, mean / sd). Undefined entries are NaN: all tests with fewer than two runs, and tests of
        differences that are all equal to one value other than 0, because their variance is then unknown.
        Differences that are all 0 give t = 0, p = 1.

    Raises
    ------
    ValueError
        A size is not positive.
    """
    differences = _finite(differences)
    interval = mean_interval(differences, n_train, n_test)
    result = {"n": interval.n, "mean": interval.mean, "sd": interval.sd, "low": interval.low, "high": interval.high}
    if interval.n < 2:
        return result | {"t": NAN, "p": NAN, "p_naive": NAN, "dz": NAN}
    # Equal differences leave a standard deviation of rounding error only, never exactly 0.
    if np.ptp(differences) <= 1e-12 * max(1.0, float(np.abs(differences).max())):
        null = np.abs(differences).max() <= 1e-12
        p = 1.0 if null else NAN
        return result | {"t": 0.0 if null else NAN, "p": p, "p_naive": p, "dz": 0.0 if null else NAN}
    t = interval.mean / (interval.sd * np.sqrt(_variance_factor(interval.n, n_train, n_test)))
    return result | {
        "t": float(t),
        "p": float(2 * stats.t.sf(abs(t), interval.n - 1)),
        "p_naive": float(stats.ttest_1samp(differences, 0.0).pvalue),
        "dz": interval.mean / interval.sd,
    }


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's correction: p values that hold together as a family.

    Parameters
    ----------
    p : ndarray, shape (n_tests,)
        NaN marks a comparison that could not be tested; it stays NaN and does not count.

    Returns
    -------
    ndarray, shape (n_tests,)

    Raises
    ------
    ValueError
        A value lies outside [0, 1].
    """
    p = np.asarray(p, dtype=float)
    tested = np.flatnonzero(np.isfinite(p))
    if len(tested) and (p[tested].min() < 0 or p[tested].max() > 1):
        raise ValueError(f"p: expected values in [0, 1], got {p[tested].min()} .. {p[tested].max()}")
    adjusted = np.full(p.shape, np.nan)
    order = tested[np.argsort(p[tested], kind="stable")]
    weights = len(order) - np.arange(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(weights * p[order]), 1.0)
    return adjusted


def _finite(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, dtype=float).ravel()
    return values[np.isfinite(values)]


def _variance_factor(n: int, n_train: float, n_test: float) -> float:
    """The factor of the sample variance in the variance of the mean (Nadeau and Bengio, eq. 9)."""
    for name, size in (("n_train", n_train), ("n_test", n_test)):
        if not size > 0:
            raise ValueError(f"{name}: expected a positive number, got {size}")
    return 1 / max(n, 1) + n_test / n_train
