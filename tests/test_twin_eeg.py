"""The twin's EEG: reference, size, and the code where it belongs."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import welch
from scipy.stats import spearmanr

from cdgkd_utils.data.constants import BASELINE_SAMPLES, DEAP_EEG, TARGETS, WINDOW_SAMPLES
from cdgkd_utils.data.twin import TwinSettings, plan_subject
from cdgkd_utils.data.twin.eeg import TASK_SITES, _fade, code_weights, synthesise_eeg

ONE_HEAD = TwinSettings(n_trials=120, n_windows=1, seed=1)


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("home")
        patch.setenv("CDGKD_HOME", str(folder))
        yield folder


@pytest.fixture(scope="module")
def recording(home):
    plan = plan_subject(ONE_HEAD, 1)
    return plan, synthesise_eeg(ONE_HEAD, plan)


def band_power(eeg, channel, low, high):
    freqs, power = welch(eeg[:, DEAP_EEG.index(channel)], 128, nperseg=256)
    return np.log(power[:, (freqs >= low) & (freqs <= high)].mean(axis=1))


def test_eeg_shape_reference_and_size(recording):
    _, eeg = recording
    assert eeg.shape == (120, 32, BASELINE_SAMPLES + WINDOW_SAMPLES) and eeg.dtype == np.float64
    assert np.abs(eeg.sum(axis=1)).max() < 1e-9  # average reference
    rms = np.sqrt((eeg**2).mean(axis=(0, 2)))
    assert rms.min() > 4 and rms.max() < 20 and 6 < np.median(rms) < 17  # one head; people differ


def test_code_stands_in_the_eeg_but_not_in_its_baseline(recording):
    plan, eeg = recording
    parts = {"stimulus": eeg[:, :, BASELINE_SAMPLES:], "baseline": eeg[:, :, :BASELINE_SAMPLES]}
    tests = {
        # target, what the code does, expected sign
        ("valence", 1): lambda x: band_power(x, "F4", 8, 12) - band_power(x, "F3", 8, 12),
        ("arousal", -1): lambda x: band_power(x, "P3", 8, 12) + band_power(x, "P4", 8, 12),
    }
    for (target, sign), measure in tests.items():
        felt = plan.x_eeg[:, TARGETS.index(target)]
        assert sign * spearmanr(measure(parts["stimulus"]), felt).statistic > 0.5
        assert abs(spearmanr(measure(parts["baseline"]), felt).statistic) < 0.35
    asymmetry = tests[("valence", 1)](parts["stimulus"])
    low, high = plan.x_eeg[:, 0] < -0.7, plan.x_eeg[:, 0] > 0.7
    assert asymmetry[low].mean() < asymmetry.mean() < asymmetry[high].mean()


def test_no_gain_no_code():
    settings = replace(ONE_HEAD, n_trials=2, eeg_gain=0.0)
    plan = plan_subject(settings, 1)
    mirrored = replace(plan, x_eeg=-plan.x_eeg)
    np.testing.assert_array_equal(synthesise_eeg(settings, plan), synthesise_eeg(settings, mirrored))
    settings = replace(settings, eeg_gain=None)
    assert not np.array_equal(synthesise_eeg(settings, plan), synthesise_eeg(settings, mirrored))


def test_code_weights_by_hand():
    weights = code_weights()
    assert weights.shape == (2, 11, 4)
    assert weights[0, TASK_SITES.index("F3"), 1] == -0.7 and weights[0].sum() == 0  # valence: left against right
    assert weights[1].sum() == pytest.approx(4 * -0.5 + 3 * 0.4 + 2 * 0.3)


def test_windows_share_each_sample_and_own_their_middle():
    fade = _fade(3)
    np.testing.assert_allclose(fade.sum(axis=0), 1)
    assert fade[0, 0] == 1 and fade[1, BASELINE_SAMPLES + 256] == 1 and fade[3, -1] == 1
    border = BASELINE_SAMPLES
    np.testing.assert_allclose(fade[0, border - 1], fade[1, border])  # symmetric about the border
