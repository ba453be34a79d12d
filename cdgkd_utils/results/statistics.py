"""Intervals and paired tests for repeated hold-out runs, whose training sets overlap.

Runs that share training windows are correlated, so the ordinary standard error is too small and the ordinary
t test claims too much. `mean_interval`, `paired_test` and `effect_size` replace the factor 1/n of the variance of
the mean by 1/n + n_test/n_train. Rates of false claims: ``bench/false_positives.py``.

References
----------
C. Nadeau and Y. Bengio, Inference for the generalization error, Machine Learning 52, 2003, section 4.1.2.
R. R. Bouckaert and E. Frank, Evaluating the replicability of significance tests for comparing learning algorithms,
PAKDD 2004, section 3 (the same correction for repeated k-fold cross-validation).
S. Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6, 1979.
G. Cumming and S. Finch, A primer on confidence intervals, Educational and Psychological Measurement 61, 2001.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special, stats

NAN = float("nan")


class Interval(NamedTuple):
    """Mean, standard deviation and interval of `n` values, in their unit; what is not defined is NaN."""

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
        ``sd`` and the bounds are NaN for a single run. The bounds are NaN, and ``sd`` is 0, for equal values:
        that two runs agree does not mean that all would, and an interval without width would say so. The
        interval covers the choice of split (and, on the twin, of people), not a change of data set.

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
    if _all_equal(values):
        return Interval(mean, 0.0, n, NAN, NAN)
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
        ``p_naive`` (ordinary paired t test, to show what it would have claimed) and ``dz`` (see
        :func:`effect_size`). Undefined entries are NaN: all tests with fewer than two runs, and tests of
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
    if _all_equal(differences):
        null = np.allclose(differences, 0.0, atol=1e-12)
        p = 1.0 if null else NAN
        return result | {"t": 0.0 if null else NAN, "p": p, "p_naive": p, "dz": 0.0 if null else NAN}
    t = interval.mean / (interval.sd * np.sqrt(_variance_factor(interval.n, n_train, n_test)))
    return result | {
        "t": float(t),
        "p": float(2 * stats.t.sf(abs(t), interval.n - 1)),
        "p_naive": float(stats.ttest_1samp(differences, 0.0).pvalue),
        "dz": interval.mean / interval.sd,
    }


class EffectSize(NamedTuple):
    """Cohen's d of paired differences and its interval; without unit."""

    dz: float
    low: float
    high: float


def effect_size(differences: np.ndarray, n_train: float, n_test: float, confidence: float = 0.95) -> EffectSize:
    """How large a mean difference is beside its spread from run to run: dz = mean / sd.

    The spread is that of runs, not of people: dz says how steady a difference is over splits, and no more.

    Parameters
    ----------
    differences : ndarray, shape (n_runs,)
        One difference per shared run; NaN is left out.
    n_train, n_test, confidence : float
        As in :func:`mean_interval`.

    Returns
    -------
    EffectSize
        The bounds are the values of dz under which the observed corrected t, then noncentral t distributed (Cumming
        and Finch), cuts off a tail of (1 - `confidence`) / 2; so they exclude 0 exactly where :func:`paired_test`
        is significant. All NaN for fewer than two runs or equal differences, but dz = 0 where all are 0.

    Raises
    ------
    ValueError
        As in :func:`mean_interval`.
    """
    differences = _finite(differences)
    interval = mean_interval(differences, n_train, n_test, confidence)
    if np.isnan(interval.low):
        return EffectSize(0.0 if interval.mean == interval.sd == 0 else NAN, NAN, NAN)
    dz, scale = interval.mean / interval.sd, np.sqrt(_variance_factor(interval.n, n_train, n_test))
    t, tail = dz / scale, (1 - confidence) / 2
    # sd over its true value at 4000 equal steps of its distribution: given sd, t is normal around the noncentrality.
    # SciPy's own noncentral t distribution is NaN far from its centre, which the search visits.
    sds = np.sqrt(stats.chi2.ppf((np.arange(4000) + 0.5) / 4000, interval.n - 1) / (interval.n - 1))
    ends = np.sort(t * sds[[0, -1]]) + np.array([-10.0, 10.0])

    def bound(share: float) -> float:
        return scale * float(optimize.brentq(lambda shift: special.ndtr(t * sds - shift).mean() - share, *ends))

    return EffectSize(float(dz), bound(1 - tail), bound(tail))


def independent_repeats(differences: np.ndarray, repeat: np.ndarray) -> dict[str, float]:
    """Ordinary t test of the mean difference of each repetition, for repetitions that share no data.

    On the twin every repetition draws new people, so only the folds of one repetition overlap, and
    :func:`paired_test`, which takes all runs for overlapping, claims too little. On files all repetitions split
    the same people, and this test claims too much.

    Parameters
    ----------
    differences : ndarray, shape (n_runs,)
        One difference per shared run; NaN is left out.
    repeat : ndarray, shape (n_runs,)
        Repetition of each run.

    Returns
    -------
    dict
        ``n`` (repetitions), ``mean``, ``low``, ``high`` (95 %), ``t``, ``p``; undefined as in :func:`paired_test`.

    Raises
    ------
    ValueError
        The lengths differ.
    """
    differences, repeat = np.asarray(differences, dtype=float).ravel(), np.asarray(repeat).ravel()
    if differences.shape != repeat.shape:
        raise ValueError(f"repeat: expected {len(differences)} values, one per difference, got {len(repeat)}")
    kept = np.isfinite(differences)
    means = [differences[kept & (repeat == number)].mean() for number in np.unique(repeat[kept])]
    mean = float(np.mean(means)) if means else NAN
    test = {"n": len(means), "mean": mean, "low": NAN, "high": NAN, "t": NAN, "p": NAN}
    if len(means) < 2 or _all_equal(means):
        return test | ({"t": 0.0, "p": 1.0} if len(means) > 1 and np.allclose(means, 0.0, atol=1e-12) else {})
    result = stats.ttest_1samp(means, 0.0)
    low, high = result.confidence_interval(0.95)
    return test | {"low": float(low), "high": float(high), "t": float(result.statistic), "p": float(result.pvalue)}


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


def _all_equal(values: ArrayLike) -> bool:
    """Equal up to rounding, which leaves a standard deviation that is tiny but not 0."""
    return bool(np.ptp(values) <= 1e-12 * max(1.0, float(np.abs(values).max())))


def _variance_factor(n: int, n_train: float, n_test: float) -> float:
    """The factor of the sample variance in the variance of the mean (Nadeau and Bengio, eq. 9)."""
    for name, size in (("n_train", n_train), ("n_test", n_test)):
        if not size > 0:
            raise ValueError(f"{name}: expected a positive number, got {size}")
    return 1 / max(n, 1) + n_test / n_train
