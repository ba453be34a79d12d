"""Features of the baselines: energies in closed form, a second computation by loops, and the law of scale."""

import numpy as np
import pytest
from scipy.signal import butter, freqz, lfilter

from cdgkd_utils.data.constants import BANDS
from cdgkd_utils.data.eeg_features import VIEWS, band_power_steps, differential_entropy, rescaled, wavelet_log_energy
from cdgkd_utils.models.compact import band_covariances

TIMES = np.arange(512) / 128
# Daubechies, Ten Lectures on Wavelets, table 6.1, N = 4.
DB4 = (0.230377813309, 0.714846570553, 0.630880767930, -0.027983769417)
DB4 += (-0.187034811719, 0.030841381836, 0.032883011667, -0.010597401785)


def gain(frequency):
    """Squared magnitude of the low-pass filter at an angle per sample; the high-pass is its mirror image."""
    return abs(np.sum(np.array(DB4) * np.exp(-1j * frequency * np.arange(8)))) ** 2


@pytest.mark.parametrize(("hertz", "strongest"), [(5, 0), (11, 1), (23, 2), (41, 3)])
def test_sine_has_the_energy_that_the_filter_bank_lets_through(hertz, strongest):
    eeg = np.zeros((1, 2, 512))
    eeg[0, 1] = 3 * np.sin(2 * np.pi * hertz * TIMES + 0.3)
    energy = np.exp(wavelet_log_energy(eeg).reshape(2, 4).astype(float))
    angle, left, expected = 2 * np.pi * hertz / 128, 512 * 9 / 2, {}
    for level in (1, 2, 3, 4):
        # Half of a tone's energy is lost with every second sample; the filters' squared gains add up to 2.
        expected[level] = left * gain(np.pi - angle) / 2
        left, angle = left * gain(angle) / 2, 2 * angle
    np.testing.assert_allclose(energy[1], [expected[level] for level in (4, 3, 2, 1)], rtol=1e-4, atol=1e-6)
    assert energy[1].argmax() == strongest and (energy[0] < 1e-9).all()


def test_sine_of_whole_periods_has_half_its_squared_amplitude_in_every_step_and_a_burst_its_own():
    eeg = np.zeros((1, 28, 512))
    eeg[0, 3] = 3 * np.sin(2 * np.pi * 10 * TIMES)
    power = np.exp(band_power_steps(eeg)).reshape(8, 28, 4)
    np.testing.assert_allclose(power[:, 3, list(BANDS).index("alpha")], 4.5, rtol=1e-4)
    power[:, 3, 1] = 0
    assert power.max() < 1e-6
    amplitude = np.where((TIMES >= 2.5) & (TIMES < 3), 8, 1)
    power = band_power_steps((amplitude * np.sin(2 * np.pi * 20 * TIMES))[None, None]).reshape(8, 4)[:, 2]
    assert power.argmax() == 5 and (np.delete(power, 5) < power[5] - 2).all()


def test_band_power_one_sinusoid_at_a_time():
    eeg = np.random.default_rng(1).normal(0, 10, (2, 3, 512))
    expected = np.empty((2, 8, 3, 4))
    for window, chan, band in np.ndindex(2, 3, 4):
        low, high = list(BANDS.values())[band]
        x, kept = eeg[window, chan], np.zeros(512)
        for k in range(257):
            if low <= k / 4 < high:
                cos, sin = np.cos(2 * np.pi * k / 4 * TIMES), np.sin(2 * np.pi * k / 4 * TIMES)
                kept += 2 / 512 * ((x @ cos) * cos + (x @ sin) * sin)
        for step in range(8):
            expected[window, step, chan, band] = np.log(np.mean(kept[64 * step : 64 * (step + 1)] ** 2))
    np.testing.assert_allclose(band_power_steps(eeg), expected.reshape(2, 8, 12), atol=1e-4)
    power = np.exp(band_power_steps(eeg)).reshape(2, 8, 3, 4).mean(1)
    variance = band_covariances(eeg).diagonal(dim1=2, dim2=3).transpose(1, 2).numpy()
    np.testing.assert_allclose(power, variance, rtol=1e-4)  # what the networks' front end computes


def test_entropy_of_white_noise_has_the_closed_form_of_its_share():
    found = differential_entropy(np.random.default_rng(3).normal(0, 7, (1, 2, 400_000)))
    assert found.shape == (1, 2, 5)
    for band, edges in enumerate([(1, 4), (4, 8), (8, 13), (13, 30), (30, 45)]):
        _, response = freqz(*butter(5, edges, btype="bandpass", fs=128), worN=1 << 16)
        share = np.mean(np.abs(response) ** 2)
        np.testing.assert_allclose(found[..., band], 0.5 * np.log(2 * np.pi * np.e * 49 * share), atol=0.02)


def test_entropy_is_that_of_a_loop_in_double_precision():
    windows = np.random.default_rng(1).normal(0, 10, (3, 5, 512)).astype(np.float32)
    expected = np.empty((3, 5, 4))
    for window, chan, band in np.ndindex(expected.shape):
        b, a = butter(5, list(BANDS.values())[band], btype="bandpass", fs=128)
        variance = np.var(lfilter(b, a, windows[window, chan].astype(float)))
        expected[window, chan, band] = np.log(2 * np.pi * np.e * variance) / 2
    np.testing.assert_allclose(differential_entropy(windows, BANDS), expected, rtol=1e-6)


@pytest.mark.parametrize("name", VIEWS)
def test_the_law_of_scale_half_precision_blocks_and_flat_channels(name, tmp_path):
    rng = np.random.default_rng(5)
    eeg, scales = rng.normal(0, 10, (5, 28, 512)).astype(np.float16), rng.uniform(0.5, 20, (5, 28))
    np.save(tmp_path / "eeg.npy", eeg)
    single = eeg.astype(np.float32)
    features = VIEWS[name](single)
    found = rescaled(name, features, scales)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, VIEWS[name](single / scales[:, :, None]), atol=2e-4)
    degree = 1 if name == "entropy" else 2
    np.testing.assert_allclose(VIEWS[name](8 * single), features + degree * np.log(8), atol=1e-4)
    np.testing.assert_array_equal(VIEWS[name](np.load(tmp_path / "eeg.npy", mmap_mode="r")), features)
    np.testing.assert_allclose(np.concatenate([VIEWS[name](single[:2]), VIEWS[name](single[2:])]), features, atol=1e-5)
    single[0, 5] = 0
    flat = VIEWS[name](single)
    assert np.isfinite(flat).all() and flat[0].min() < flat[1].min() - 5
    assert VIEWS[name](single[:0]).shape == (0, *flat.shape[1:])
    with pytest.raises(ValueError, match=r"eeg: expected shape .* got \(28, 512\)"):
        VIEWS[name](np.zeros((28, 512)))
