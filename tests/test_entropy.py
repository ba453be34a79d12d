"""Differential entropy against its closed form, a loop, and laws of scale."""

import numpy as np
import pytest
from scipy.signal import butter, freqz, lfilter

from cdgkd_utils.data.constants import BANDS
from cdgkd_utils.data.entropy import differential_entropy


def test_white_noise_has_the_closed_form_of_a_normal_variable():
    """The variance in a band is sigma² times the mean of the filter's squared gain."""
    found = differential_entropy(np.random.default_rng(0).normal(0, 7, (4, 400_000)))
    for band, edges in enumerate(BANDS.values()):
        _, gain = freqz(*butter(5, edges, btype="bandpass", fs=128), worN=1 << 16)
        expected = 0.5 * np.log(2 * np.pi * np.e * 49 * np.mean(np.abs(gain) ** 2))
        np.testing.assert_allclose(found[:, band], expected, atol=0.01)


def test_sine_in_the_middle_of_a_band_has_half_its_squared_amplitude():
    times = np.arange(64_000) / 128
    found = differential_entropy(3 * np.sin(2 * np.pi * 20 * times))
    assert found.shape == (4,)
    assert found[2] == pytest.approx(0.5 * np.log(2 * np.pi * np.e * 4.5), abs=0.01)
    assert (found[[0, 1, 3]] < found[2] - 3).all()


def test_one_by_one_gives_the_same(monkeypatch):
    windows = np.random.default_rng(1).normal(0, 10, (3, 5, 512)).astype(np.float32)
    expected = np.empty((3, 5, 4))
    for window, chan, band in np.ndindex(expected.shape):
        b, a = butter(5, list(BANDS.values())[band], btype="bandpass", fs=128)
        variance = np.var(lfilter(b, a, windows[window, chan].astype(float)))
        expected[window, chan, band] = np.log(2 * np.pi * np.e * variance) / 2
    np.testing.assert_allclose(differential_entropy(windows), expected, rtol=1e-12)
    monkeypatch.setattr("cdgkd_utils.data.entropy._BLOCK", 700)  # one window at a time
    np.testing.assert_allclose(differential_entropy(windows), expected, rtol=1e-12)


def test_scale_adds_its_logarithm():
    windows = np.random.default_rng(2).normal(size=(2, 512))
    np.testing.assert_allclose(differential_entropy(8 * windows), differential_entropy(windows) + np.log(8), rtol=1e-9)
    assert (differential_entropy(np.zeros((1, 512))) == -np.inf).all()


@pytest.mark.parametrize("edges", [(0, 4), (30, 64), (8, 8)])
def test_impossible_band_is_named(edges):
    with pytest.raises(ValueError, match="bands: mu is"):
        differential_entropy(np.zeros((1, 512)), bands={"mu": edges})
