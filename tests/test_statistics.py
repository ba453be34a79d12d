"""Corrected intervals and tests, against hand calculation, scipy and simulation."""

import numpy as np
import pytest
from scipy import stats

from cdgkd_utils.results.statistics import holm, mean_interval, paired_test


def overlapping_runs(rng, n_sets, n_runs, n_train, n_test):
    """Scores with true mean 0 whose correlation is the one that the correction assumes."""
    correlation = n_test / (n_train + n_test)
    shared = rng.normal(size=(n_sets, 1)) * np.sqrt(correlation)
    return shared + rng.normal(size=(n_sets, n_runs)) * np.sqrt(1 - correlation)


def binomial_bounds(n, p):
    return stats.binom.ppf((1e-4, 1 - 1e-4), n, p) / n


def test_interval_by_hand():
    # mean 2, sd 1, n 3; factor 1/3 + 1/2 = 5/6; t(0.975, 2) = 4.302653
    interval = mean_interval([1, 2, 3], n_train=100, n_test=50)
    half = 4.302653 * np.sqrt(5 / 6)
    assert (interval.mean, interval.sd, interval.n) == (2, 1, 3)
    assert (interval.low, interval.high) == pytest.approx((2 - half, 2 + half), rel=1e-6)


def test_interval_without_test_windows_tends_to_the_ordinary_one():
    values = [1.0, 4.0, 2.0, 2.5]
    ordinary = stats.t.interval(0.9, 3, np.mean(values), stats.sem(values))
    assert mean_interval(values, 1e12, 1, confidence=0.9)[3:] == pytest.approx(ordinary)


def test_interval_covers_the_mean_as_often_as_it_says():
    runs = overlapping_runs(np.random.default_rng(0), 3000, 6, n_train=400, n_test=200)
    intervals = [mean_interval(row, 400, 200) for row in runs]
    covered = np.mean([i.low <= 0 <= i.high for i in intervals])
    low, high = binomial_bounds(3000, 0.95)
    assert low <= covered <= high


def test_false_positive_rate_is_held_and_the_naive_test_breaks_it():
    runs = overlapping_runs(np.random.default_rng(1), 3000, 9, n_train=400, n_test=200)
    tests = [paired_test(row, 400, 200) for row in runs]
    low, high = binomial_bounds(3000, 0.05)
    assert low <= np.mean([t["p"] < 0.05 for t in tests]) <= high
    assert np.mean([t["p_naive"] < 0.05 for t in tests]) > 0.3


def test_paired_test_by_hand_and_against_scipy():
    a, b = np.array([3.0, 5.0, 4.0, 8.0]), np.array([1.0, 4.0, 4.5, 5.0])
    result = paired_test(a - b, n_train=90, n_test=30)
    d = a - b
    t = d.mean() / (d.std(ddof=1) * np.sqrt(1 / 4 + 1 / 3))
    assert result["t"] == pytest.approx(t)
    assert result["p"] == pytest.approx(2 * stats.t.sf(t, 3))
    assert result["p_naive"] == pytest.approx(stats.ttest_rel(a, b).pvalue)
    assert result["dz"] == pytest.approx(d.mean() / d.std(ddof=1))
    assert result["n"] == 4
    assert result["p"] > result["p_naive"]


def test_interval_and_test_agree_on_where_significance_begins():
    d = np.array([0.2, 1.1, 0.7, 0.4, 0.9])
    low = mean_interval(d, 100, 40).low
    assert paired_test(d - low, 100, 40)["p"] == pytest.approx(0.05)


def test_sign_and_unit_of_the_differences():
    d = np.array([0.2, 1.1, -0.7, 0.4])
    one, negative, scaled = (paired_test(x, 100, 40) for x in (d, -d, 100 * d))
    assert negative["t"] == pytest.approx(-one["t"]) and negative["p"] == pytest.approx(one["p"])
    assert scaled["p"] == pytest.approx(one["p"]) and scaled["dz"] == pytest.approx(one["dz"])
    assert scaled["mean"] == pytest.approx(100 * one["mean"])


def test_few_runs_and_missing_runs():
    single = mean_interval([0.6], 10, 5)
    assert single.mean == 0.6 and single.n == 1 and np.isnan([single.sd, single.low, single.high]).all()
    nothing = mean_interval([float("nan")], 10, 5)
    assert nothing.n == 0 and np.isnan(nothing.mean)
    assert mean_interval([1, np.nan, 3], 10, 5) == mean_interval([1, 3], 10, 5)
    assert np.isnan([paired_test([0.3], 10, 5)[k] for k in ("t", "p", "p_naive", "dz")]).all()


def test_equal_differences_claim_nothing():
    same = paired_test([0.0, 0.0, 0.0], 10, 5)
    assert (same["t"], same["p"], same["dz"]) == (0.0, 1.0, 0.0)
    # 0.1 three times has a standard deviation of rounding error only, which an ordinary t test turns into p < 1e-30
    constant = paired_test([0.1, 0.1, 0.1], 10, 5)
    assert np.isnan([constant["t"], constant["p"], constant["p_naive"]]).all()
    assert constant["mean"] == pytest.approx(0.1)


def test_holm_by_hand():
    # sorted .01 .02 .03 .04 -> .04 .06 .06 .06 (the third may not fall below the second)
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.6, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([0.03]) == pytest.approx([0.03])
    assert holm([]).shape == (0,)


def test_holm_leaves_out_what_was_not_tested():
    adjusted = holm([0.01, np.nan, 0.04])
    assert adjusted[[0, 2]] == pytest.approx([0.02, 0.04]) and np.isnan(adjusted[1])


def test_holm_holds_the_family_rate():
    p = np.random.default_rng(2).random((3000, 5))
    any_claim = np.mean([(holm(row) < 0.05).any() for row in p])
    # for independent true nulls the family rate is 1 - (1 - 0.05/5)^5
    low, high = binomial_bounds(3000, 1 - 0.99**5)
    assert low <= any_claim <= high


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: mean_interval([1, 2], 0, 5), "n_train"),
        (lambda: paired_test([1, 2], 5, float("nan")), "n_test"),
        (lambda: mean_interval([1, 2], 5, 5, confidence=95), "confidence"),
        (lambda: holm([0.1, 1.2]), "p: "),
    ],
)
def test_wrong_input_is_named(call, name):
    with pytest.raises(ValueError, match=name):
        call()
