"""Corrected intervals and tests, against hand calculation, scipy and simulation."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from cdgkd_utils.results.statistics import effect_size, holm, independent_repeats, mean_interval, paired_test

BENCH = Path(__file__).parents[1] / "bench" / "false_positives.py"


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


def test_rates_of_false_positives_with_real_learners():
    rates = runpy.run_path(str(BENCH))["false_positives"]
    design = {"n": 60, "n_folds": 3, "n_repeats": 8, "n_sims": 200, "seed": 1, "bootstrap": False}
    same, new = rates(new_data=False, **design), rates(new_data=True, **design)
    _, held = binomial_bounds(200, 0.05)
    # One data set split again and again: only the correction holds the rate, however many runs are made.
    assert same["corrected"] <= held
    assert same["naive"] > 0.25 and same["by repetition"] > 0.25
    # New data in every repetition: its means are independent, and the correction is never needed.
    assert new["by repetition"] <= held and new["corrected"] <= held


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


def test_equal_values_have_no_interval():
    for values in ([0.6, 0.6], [0.1] * 7, [0.0, 0.0], [71.3, 71.3 + 1e-13]):
        interval = mean_interval(values, 10, 5)
        assert interval.mean == pytest.approx(values[0]) and interval.sd == 0 and interval.n == len(values)
        assert np.isnan([interval.low, interval.high]).all()
    assert mean_interval([0.6, 0.6 + 1e-6], 10, 5).low < 0.6  # unequal, however little


def test_effect_size_by_hand_and_against_the_definition_of_its_bounds():
    d = np.array([3.0, 1.0, 2.0, 2.5])
    effect = effect_size(d, n_train=90, n_test=30)
    scale = np.sqrt(1 / 4 + 1 / 3)
    t = d.mean() / d.std(ddof=1) / scale
    assert effect.dz == pytest.approx(d.mean() / d.std(ddof=1))
    # Were dz at its lower (upper) bound, a t as large (small) as this would come in 2.5 % of cases.
    assert stats.nct.sf(t, 3, effect.low / scale) == pytest.approx(0.025, abs=2e-5)
    assert stats.nct.cdf(t, 3, effect.high / scale) == pytest.approx(0.025, abs=2e-5)
    assert effect.low < effect.dz < effect.high


def test_effect_size_is_free_of_unit_and_sign():
    d = np.array([0.2, 1.1, -0.7, 0.4, np.nan])
    one, scaled, negative = (effect_size(x, 100, 40) for x in (d, 100 * d, -d))
    assert scaled == pytest.approx(one)
    assert (negative.dz, negative.low, negative.high) == pytest.approx((-one.dz, -one.high, -one.low))
    narrower = effect_size(d, 100, 40, confidence=0.5)
    assert one.low < narrower.low < narrower.high < one.high


def test_effect_size_excludes_zero_where_the_test_is_significant():
    d = np.array([0.2, 1.1, 0.7, 0.4, 0.9])
    edge = d - mean_interval(d, 100, 40).low  # p = 0.05
    assert effect_size(edge, 100, 40).low == pytest.approx(0, abs=1e-4)
    assert effect_size(edge + 0.01, 100, 40).low > 0 > effect_size(edge - 0.01, 100, 40).low


def test_interval_of_the_effect_size_covers_it():
    # Two subsets of runs share `correlation`; seen from a run, the spread is sqrt(1 - correlation).
    correlation, shift = 200 / 600, 1.2
    runs = overlapping_runs(np.random.default_rng(3), 250, 6, n_train=400, n_test=200) + shift
    effects = [effect_size(row, 400, 200) for row in runs]
    true = shift / np.sqrt(1 - correlation)
    low, high = binomial_bounds(250, 0.95)
    assert low <= np.mean([e.low <= true <= e.high for e in effects]) <= high


def test_a_huge_effect_still_has_bounds():
    effect = effect_size(np.array([100.0, 100.1, 99.9]), 300, 100)
    assert effect.dz == pytest.approx(1000)
    # Far out the spread alone decides: dz times the quantiles of sd over its true value, chi-square / 2.
    assert (effect.low, effect.high) == pytest.approx(1000 * np.sqrt(stats.chi2.ppf((0.025, 0.975), 2) / 2), rel=1e-3)


def test_no_effect_size_without_spread():
    for d in ([0.3], [0.0], [0.1, 0.1, 0.1], [0.0, 0.0], []):
        effect = effect_size(d, 10, 5)
        assert np.isnan([effect.low, effect.high]).all()
        assert effect.dz == pytest.approx(paired_test(d, 10, 5)["dz"], nan_ok=True)


def test_independent_repeats_by_hand_and_against_scipy():
    d, repeat = [1.0, 3.0, 0.0, 2.0, 5.0, np.nan, 4.0], [0, 0, 7, 7, 7, 2, 2]
    means = [2.0, 4.0, 7 / 3]
    result, expected = independent_repeats(d, repeat), stats.ttest_1samp(means, 0.0)
    assert (result["n"], result["mean"]) == (3, pytest.approx(np.mean(means)))
    assert (result["t"], result["p"]) == pytest.approx((expected.statistic, expected.pvalue))
    assert (result["low"], result["high"]) == pytest.approx(tuple(expected.confidence_interval(0.95)))


def test_independent_repeats_without_spread():
    one = independent_repeats([1.0, 2.0], [0, 0])
    assert one["n"] == 1 and one["mean"] == 1.5 and np.isnan([one["t"], one["p"], one["low"]]).all()
    equal = independent_repeats([1.0, 2.0, 2.0, 1.0], [0, 0, 1, 1])
    assert equal["n"] == 2 and np.isnan([equal["t"], equal["p"], equal["low"]]).all()
    zero = independent_repeats([1.0, -1.0, 0.0, 0.0], [0, 0, 1, 1])
    assert (zero["t"], zero["p"]) == (0.0, 1.0)
    assert independent_repeats([np.nan], [0])["n"] == 0


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
        (lambda: effect_size([1, 2], -1, 5), "n_train"),
        (lambda: independent_repeats([1, 2], [0]), "repeat: expected 2"),
    ],
)
def test_wrong_input_is_named(call, name):
    with pytest.raises(ValueError, match=name):
        call()
