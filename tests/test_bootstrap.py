"""Bootstrap intervals, against an own loop, limits and coverage."""

import numpy as np
import pytest
from scipy import stats

from cdgkd_utils.results.bootstrap import bootstrap_interval, compare_intervals
from cdgkd_utils.results.statistics import mean_interval


def rng(seed=0):
    return np.random.default_rng(seed)


def test_percentile_against_a_loop():
    values = rng().gamma(2.0, size=12)
    draws = rng(1)
    means = [np.mean([values[draws.integers(12)] for _ in range(12)]) for _ in range(4000)]
    interval = bootstrap_interval(values, rng(2), method="percentile")
    # The quantile of 4000 draws has a standard error of about 0.05 sd of the mean here.
    assert (interval.low, interval.high) == pytest.approx(np.quantile(means, (0.025, 0.975)), abs=0.3 * np.std(means))
    assert (interval.mean, interval.sd, interval.n) == pytest.approx((values.mean(), values.std(ddof=1), 12))


def test_weighted_percentile_against_a_loop():
    values, weights = np.array([0.2, 0.9, 0.5, 0.6, 0.7, 0.4]), np.array([9.0, 1.0, 2.0, 5.0, 1.0, 3.0])
    draws, means = rng(1), []
    for _ in range(4000):
        people = draws.integers(6, size=6)
        means.append((values[people] * weights[people]).sum() / weights[people].sum())
    interval = bootstrap_interval(values, rng(2), weights=weights, method="percentile")
    assert interval.mean == pytest.approx((values * weights).sum() / 21)
    assert (interval.low, interval.high) == pytest.approx(np.quantile(means, (0.025, 0.975)), abs=0.3 * np.std(means))


@pytest.mark.parametrize("method", ["BCa", "percentile"])
def test_symmetries(method):
    values, weights = rng().random(15), rng(1).integers(1, 9, 15)
    one = bootstrap_interval(values, rng(3), weights=weights, method=method)
    again = bootstrap_interval(values, rng(3), weights=7 * weights, method=method)
    moved = bootstrap_interval(100 * values + 5, rng(3), weights=weights, method=method)
    assert again[3:] == pytest.approx(one[3:])
    assert moved[3:] == pytest.approx([100 * bound + 5 for bound in one[3:]])
    assert bootstrap_interval(values, rng(4), weights=weights, method=method)[3:] != one[3:]  # the seed decides
    assert one.low < one.mean < one.high
    wider = bootstrap_interval(values, rng(3), weights=weights, method=method, confidence=0.99)
    assert wider.low < one.low and wider.high > one.high


def test_bca_follows_skewness():
    values = np.array([0.0] * 12 + [1.0, 2.0, 6.0])
    bca, percentile = (bootstrap_interval(values, rng(), method=method) for method in ("BCa", "percentile"))
    assert bca.high > percentile.high and bca.low > percentile.low


def test_many_units_give_the_ordinary_interval():
    values = rng().normal(size=600)
    ordinary = stats.norm.interval(0.95, values.mean(), values.std(ddof=1) / np.sqrt(600))
    width = ordinary[1] - ordinary[0]
    for method in ("BCa", "percentile"):
        interval = bootstrap_interval(values, rng(1), method=method, n_resamples=1999)
        assert interval[3:] == pytest.approx(ordinary, abs=0.1 * width)


def test_few_equal_and_missing_units():
    assert np.isnan(bootstrap_interval([], rng()).mean)
    single = bootstrap_interval([0.4, np.nan], rng(), weights=[2, 3])
    assert (single.mean, single.n) == (0.4, 1) and np.isnan([single.sd, single.low, single.high]).all()
    equal = bootstrap_interval([0.1] * 6, rng())
    assert equal.mean == pytest.approx(0.1) and equal.sd == 0 and np.isnan([equal.low, equal.high]).all()
    with_gap = bootstrap_interval([1, np.nan, 3, 4], rng(), weights=[1, 8, 2, 3])
    assert with_gap == bootstrap_interval([1, 3, 4], rng(), weights=[1, 2, 3])


def test_intervals_side_by_side():
    values = np.array([60.1, 63.2, 64.0, 61.7, 66.3, 62.2])
    frame = compare_intervals(values, 200, 100, rng())
    assert frame.index.tolist() == ["corrected t", "ordinary t", "bootstrap, percentile", "bootstrap, BCa"]
    assert frame.loc["corrected t", ["low", "high"]].tolist() == list(mean_interval(values, 200, 100)[3:])
    ordinary = stats.t.interval(0.95, 5, values.mean(), stats.sem(values))
    assert frame.loc["ordinary t", ["low", "high"]].tolist() == pytest.approx(ordinary)
    # sqrt((1/6 + 1/2) / (1/6)) = 2
    assert frame.loc["corrected t", "width"] == pytest.approx(2 * frame.loc["ordinary t", "width"])
    assert (frame["width"].iloc[2:] < frame.loc["ordinary t", "width"]).all()
    assert frame["takes runs for"].tolist() == ["overlapping"] + ["independent"] * 3


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"confidence": 95}, "confidence"),
        ({"method": "bca"}, "method: expected one of BCa, percentile"),
        ({"weights": [1, 2]}, "weights: expected 3"),
        ({"weights": [1, 2, 0]}, "weights: expected 3 positive"),
        ({"weights": [1, 2, np.nan]}, "weights"),
    ],
)
def test_wrong_input_is_named(changes, name):
    with pytest.raises(ValueError, match=name):
        bootstrap_interval([0.1, 0.2, 0.4], rng(), **changes)
