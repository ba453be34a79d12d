"""Reliability, calibration errors and Brier score, against values worked out by hand and known limits."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from cdgkd_utils.results.calibration import brier, calibration_error, error_if_calibrated, reliability


def looped_error(y, probability, n_bins=10):
    """Equal-width ECE, bin by bin, closed on the right."""
    total = 0.0
    for k in range(n_bins):
        low, high = k / n_bins, (k + 1) / n_bins
        inside = [i for i, p in enumerate(probability) if low < p <= high or (k == 0 and p == 0)]
        if inside:
            total += len(inside) / len(y) * abs(np.mean([probability[i] - y[i] for i in inside]))
    return total


def test_equal_width_by_hand():
    # (0.8, 0.9]: 0.85, 0.9 -> predicted 0.875, observed 1/2; (0.6, 0.7]: 0.65, observed 1; (0.1, 0.2]: 0.2, observed 0
    y, p = [1, 0, 1, 0], [0.85, 0.9, 0.65, 0.2]
    assert calibration_error(y, p) == pytest.approx((2 * 0.375 + 0.35 + 0.2) / 4)
    table = reliability(y, p)
    assert table["n_windows"].tolist() == [1, 1, 2]
    assert table["predicted"].to_numpy() == pytest.approx([0.2, 0.65, 0.875])
    assert table["observed"].to_numpy() == pytest.approx([0, 1, 0.5])


def test_equal_mass_by_hand():
    # two bins of three: predicted (.1 + .2 + .3) / 3 = .2, observed 1/3; predicted .8, observed 2/3
    y, p = [0, 1, 0, 1, 1, 0], [0.1, 0.2, 0.3, 0.7, 0.8, 0.9]
    assert calibration_error(y, p, 2, equal_mass=True) == pytest.approx(2 / 15)
    # 0.6 four times must not be torn apart, wherever the windows stand: one bin of five, one of one
    y, p = np.array([1, 0, 1, 0, 0, 1]), np.array([0.6, 0.6, 0.6, 0.6, 0.1, 0.9])
    assert reliability(y, p, 2, equal_mass=True)["n_windows"].tolist() == [5, 1]
    for order in (np.arange(6), np.arange(6)[::-1], np.array([3, 0, 5, 1, 4, 2])):
        expected = (abs(2.5 - 2) + abs(0.9 - 1)) / 6
        assert calibration_error(y[order], p[order], 2, equal_mass=True) == pytest.approx(expected)


def test_a_bin_holds_its_upper_edge():
    for k in range(1, 10):
        table = reliability([1, 0], [k / 10, k / 10 + 1e-9])
        assert table["n_windows"].tolist() == [1, 1], k
    assert reliability([0, 1, 1], [0.0, 0.1, 1.0])["n_windows"].tolist() == [2, 1]


@pytest.mark.parametrize("n_bins", [1, 4, 10, 15])
def test_against_a_loop_and_scikit_learn(n_bins):
    rng = np.random.default_rng(n_bins)
    p = rng.random(501)
    y = (rng.random(501) < p**2).astype(int)
    assert calibration_error(y, p, n_bins) == pytest.approx(looped_error(y, p, n_bins))
    table = reliability(y, p, n_bins)
    observed, predicted = calibration_curve(y, p, n_bins=n_bins)
    assert table["observed"].to_numpy() == pytest.approx(observed)
    assert table["predicted"].to_numpy() == pytest.approx(predicted)
    weighted = (table["n_windows"] * (table["predicted"] - table["observed"]).abs()).sum() / 501
    assert calibration_error(y, p, n_bins) == pytest.approx(weighted)
    assert brier(y, p) == pytest.approx(brier_score_loss(y, p))


@pytest.mark.parametrize("n", [100, 103, 7])
def test_bins_of_equal_mass_hold_equal_mass(n):
    rng = np.random.default_rng(n)
    counts = reliability(rng.integers(0, 2, n), rng.beta(5, 1, n), equal_mass=True)["n_windows"]
    assert counts.sum() == n and counts.max() - counts.min() <= 1


def test_limits():
    y = np.array([0, 1, 1, 0, 1])
    for equal_mass in (False, True):
        assert calibration_error(y, y, equal_mass=equal_mass) == 0
        assert calibration_error(y, 1 - y, equal_mass=equal_mass) == 1
        # one bin, whatever the cut: distance of the constant from the share of high
        assert calibration_error(y, np.full(5, 0.9), equal_mass=equal_mass) == pytest.approx(0.3)
        assert np.isnan(calibration_error([], [], equal_mass=equal_mass))
        assert reliability([], [], equal_mass=equal_mass).empty
    assert brier(y, y) == 0 and brier(y, 1 - y) == 1 and brier(y, np.full(5, 0.5)) == 0.25
    assert np.isnan(brier([], []))


def test_a_soft_truth_is_taken_as_it_is():
    p = np.random.default_rng(0).random(50)
    assert calibration_error(p, p) == 0 and brier(p, p) == 0
    assert calibration_error(0.7 * p, p) == pytest.approx(0.3 * p.mean())  # every bin is overrated


def test_never_below_the_error_of_the_predicted_class():
    # Leaning to high: P(high) 0.9 where 0.8 is true, 0.2 where 0.1 is true. Folded, the two errors cancel.
    y = np.array([1] * 8 + [0] * 2 + [1] + [0] * 9)
    p = np.array([0.9] * 10 + [0.2] * 10)
    assert calibration_error(y, p) == pytest.approx(0.1)
    rng = np.random.default_rng(3)
    for _ in range(20):
        p = rng.random(200)
        y = (rng.random(200) < rng.random() * p).astype(int)
        right = ((p > 0.5) == y).astype(float)
        assert calibration_error(y, p) >= calibration_error(right, np.maximum(p, 1 - p)) - 1e-12


def test_error_of_true_probabilities_by_hand():
    # One trial at 0.3: its label is 1 (error 0.7) with chance 0.3, else 0 (error 0.3); mean 0.42.
    drawn = error_if_calibrated(np.full(6, 0.3), np.zeros(6), np.random.default_rng(0), 4000)
    assert set(np.round(drawn, 9)) == {0.3, 0.7}
    assert abs(drawn.mean() - 0.42) < 4 * 0.4 * np.sqrt(0.3 * 0.7 / 4000)


def test_the_floor_falls_with_trials_and_not_with_windows():
    p = np.linspace(0.05, 0.95, 40)
    few = error_if_calibrated(p, np.arange(40), np.random.default_rng(0), 400).mean()
    cut = error_if_calibrated(np.repeat(p, 9), np.repeat(np.arange(40), 9), np.random.default_rng(0), 400).mean()
    many = error_if_calibrated(np.tile(p, 25), np.arange(1000), np.random.default_rng(0), 400).mean()
    assert cut == pytest.approx(few)  # nine windows of each trial say nothing new
    assert many < few / 3  # 25 times the trials: about a fifth


def test_true_probabilities_fall_within_their_floor_and_sharpened_ones_do_not():
    rng = np.random.default_rng(5)
    true = rng.random(600)
    y = (rng.random(600) < true).astype(int)
    sharp = true**4 / (true**4 + (1 - true) ** 4)
    for p, within in ((true, True), (sharp, False)):
        floor = error_if_calibrated(p, np.arange(600), np.random.default_rng(0))
        assert (calibration_error(y, p) < np.quantile(floor, 0.999)) == within


def test_draws_follow_the_seed():
    p, trial = np.random.default_rng(1).random(30), np.arange(30) // 3
    one, again, other = (error_if_calibrated(p, trial, np.random.default_rng(s), 5) for s in (0, 0, 1))
    assert one.tolist() == again.tolist() != other.tolist()


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: calibration_error([0, 1], [0.5]), "y and probability"),
        (lambda: calibration_error([0, 1], [0.5, 1.5]), "probability: .*not logits"),
        (lambda: calibration_error([0, 1], [0.5, np.nan]), "probability: "),
        (lambda: calibration_error([0, 2], [0.5, 0.5]), "y: "),
        (lambda: reliability([0, 1], [0.5, 0.5], 0), "n_bins"),
        (lambda: brier([[0]], [[1]]), "y and probability"),
        (lambda: error_if_calibrated([], [], np.random.default_rng(0)), "at least one window"),
        (lambda: error_if_calibrated([0.5], [1, 2], np.random.default_rng(0)), "one value each per window"),
    ],
)
def test_wrong_input_is_named(call, name):
    with pytest.raises(ValueError, match=name):
        call()
