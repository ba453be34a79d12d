"""Corrected intervals and tests, against hand calculation, SciPy and simulation."""

import numpy as np
import pytest
from scipy import stats

from cdgkd_utils.results.statistics import effect_interval, holm, summarise


def overlapping_runs(rng, n_sets, n_runs, n_train, n_test):
    """Scores with true mean 0 whose correlation is the one that the correction assumes."""
    correlation = n_test / (n_train + n_test)
    shared = rng.normal(size=(n_sets, 1)) * np.sqrt(correlation)
    return shared + rng.normal(size=(n_sets, n_runs)) * np.sqrt(1 - correlation)


def binomial_bounds(n, p):
    return stats.binom.ppf((1e-4, 1 - 1e-4), n, p) / n


def test_interval_by_hand():
    # mean 2, sd 1, n 3; factor 1/3 + 1/2 = 5/6; t(0.975, 2) = 4.302653
    found = summarise([1, 2, 3], n_train=100, n_test=50)
    half = 4.302653 * np.sqrt(5 / 6)
    assert (found["mean"], found["sd"], found["n"]) == (2, 1, 3)
    assert (found["low"], found["high"]) == pytest.approx((2 - half, 2 + half), rel=1e-6)


def test_without_test_windows_everything_is_the_ordinary_test():
    values = np.array([1.0, 4.0, -2.0, 2.5])
    found, ordinary = summarise(values), stats.ttest_1samp(values, 0)
    assert (found["t"], found["p"], found["p_naive"]) == pytest.approx((ordinary.statistic, *[ordinary.pvalue] * 2))
    assert (found["low"], found["high"]) == pytest.approx(tuple(ordinary.confidence_interval(0.95)))
    assert (found["low90"], found["high90"]) == pytest.approx(tuple(ordinary.confidence_interval(0.90)))


def test_corrected_test_by_hand_and_against_scipy():
    a, b = np.array([3.0, 5.0, 4.0, 8.0]), np.array([1.0, 4.0, 4.5, 5.0])
    found, d = summarise(a - b, n_train=90, n_test=30), a - b
    t = d.mean() / (d.std(ddof=1) * np.sqrt(1 / 4 + 1 / 3))
    assert found["t"] == pytest.approx(t) and found["p"] == pytest.approx(2 * stats.t.sf(t, 3))
    assert found["p_naive"] == pytest.approx(stats.ttest_rel(a, b).pvalue)
    assert found["dz"] == pytest.approx(d.mean() / d.std(ddof=1))
    assert found["n"] == found["n_runs"] == 4 and found["p"] > found["p_naive"]
    assert summarise(d - found["low"], 90, 30)["p"] == pytest.approx(0.05)


def test_interval_covers_the_mean_and_the_test_holds_its_rate_where_the_naive_one_breaks_it():
    runs = overlapping_runs(np.random.default_rng(0), 1500, 9, n_train=400, n_test=200)
    found = [summarise(row, 400, 200) for row in runs]
    low, high = binomial_bounds(1500, 0.05)
    assert low <= np.mean([one["p"] < 0.05 for one in found]) <= high
    assert 1 - high <= np.mean([one["low"] <= 0 <= one["high"] for one in found]) <= 1 - low
    assert np.mean([one["p_naive"] < 0.05 for one in found]) > 0.3


def test_repetitions_by_hand_and_against_scipy():
    d, repeat = [1.0, 3.0, 0.0, 2.0, 5.0, np.nan, 4.0], [0, 0, 7, 7, 7, 2, 2]
    means = [2.0, 4.0, 7 / 3]
    found, expected = summarise(d, 300, 100, repeat), stats.ttest_1samp(means, 0.0)
    assert (found["n"], found["n_runs"], found["mean"]) == (3, 6, pytest.approx(np.mean(means)))
    assert (found["t"], found["p"]) == pytest.approx((expected.statistic, expected.pvalue))
    assert (found["low"], found["high"]) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert found["dz"] == pytest.approx(np.mean(means) / np.std(means, ddof=1))  # of the units that are tested


def test_sign_and_unit_of_the_differences():
    d = np.array([0.2, 1.1, -0.7, 0.4])
    one, negative, scaled = (summarise(x, 100, 40) for x in (d, -d, 100 * d))
    assert negative["t"] == pytest.approx(-one["t"]) and negative["p"] == pytest.approx(one["p"])
    assert scaled["p"] == pytest.approx(one["p"]) and scaled["dz"] == pytest.approx(one["dz"])
    assert scaled["mean"] == pytest.approx(100 * one["mean"])
    assert scaled["detectable"] == pytest.approx(100 * one["detectable"])
    assert effect_interval(negative) == pytest.approx(tuple(-x for x in effect_interval(one)[::-1]))


def test_few_missing_and_equal_runs():
    single = summarise([0.6], 10, 5)
    assert single["mean"] == 0.6 and single["n"] == 1
    assert np.isnan([single[name] for name in ("sd", "low", "t", "p", "p_naive", "dz", "detectable")]).all()
    assert summarise([np.nan])["n"] == 0 and np.isnan(summarise([])["mean"])
    assert summarise([1, np.nan, 3], 10, 5) == summarise([1, 3], 10, 5)
    # 0.1 seven times has a standard deviation of rounding error only, of which a t test makes p < 1e-30
    for values in ([0.6, 0.6], [0.1] * 7, [71.3, 71.3 + 1e-13]):
        found = summarise(values, 10, 5)
        assert found["sd"] == 0 and np.isnan([found["low"], found["t"], found["p"]]).all()
        assert np.isnan(effect_interval(found)).all()
    zero = summarise([0.0, 0.0, 0.0], 10, 5)
    assert (zero["t"], zero["p"], zero["dz"]) == (0.0, 1.0, 0.0)
    equal = summarise([1.0, 2.0, 2.0, 1.0], repeat=[0, 0, 1, 1])  # unequal runs, equal means of repetitions
    assert equal["n"] == 2 and equal["sd"] > 0 and np.isnan(equal["p"])


def test_effect_interval_against_its_definition_and_excludes_zero_where_significant():
    d = np.array([3.0, 1.0, 2.0, 2.5])
    found, scale = summarise(d, n_train=90, n_test=30), np.sqrt(1 / 4 + 1 / 3)
    low, high = effect_interval(found)
    # Were dz at its lower (upper) bound, a t as large (small) as this would come in 2.5 % of cases.
    assert stats.nct.sf(found["t"], 3, low / scale) == pytest.approx(0.025, abs=2e-5)
    assert stats.nct.cdf(found["t"], 3, high / scale) == pytest.approx(0.025, abs=2e-5)
    # Far out the spread alone decides: dz times the quantiles of sd over its true value, chi-square / 2.
    expected = 1000 * np.sqrt(stats.chi2.ppf((0.025, 0.975), 2) / 2)
    huge = effect_interval(summarise(np.array([100.0, 100.1, 99.9]), 300, 100))
    assert huge == pytest.approx(tuple(expected), rel=1e-3)
    edge = d - found["low"]  # p = 0.05
    bounds = [effect_interval(summarise(edge + shift, 90, 30))[0] for shift in (0, 0.01, -0.01)]
    assert bounds[0] == pytest.approx(0, abs=1e-4) and bounds[1] > 0 > bounds[2]


def test_the_detectable_difference_is_found_in_four_of_five():
    rng = np.random.default_rng(4)
    size = np.mean([summarise(rng.normal(size=20))["detectable"] for _ in range(300)])
    found = [summarise(size + rng.normal(size=20))["p"] < 0.05 for _ in range(1500)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.05)


def test_holm_by_hand():
    # sorted .01 .02 .03 .04 -> .04 .06 .06 .06 (the third may not fall below the second)
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.6, 0.9]) == pytest.approx([1.0, 1.0]) and holm([]).shape == (0,)
    adjusted = holm([0.01, np.nan, 0.04])  # what was not tested does not count
    assert adjusted[[0, 2]] == pytest.approx([0.02, 0.04]) and np.isnan(adjusted[1])


def test_holm_holds_the_family_rate():
    p = np.random.default_rng(2).random((3000, 5))
    any_claim = np.mean([(holm(row) < 0.05).any() for row in p])
    low, high = binomial_bounds(3000, 1 - 0.99**5)  # of independent true nulls
    assert low <= any_claim <= high
