"""The twin's EEG, faces and windows: the same whatever else is drawn, and the feeling where it belongs."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.signal import welch
from scipy.stats import spearmanr

from cdgkd_utils.data import windows as making
from cdgkd_utils.data.constants import BASELINE_SAMPLES, DEAP_EEG, RATINGS, TARGETS
from cdgkd_utils.data.features import hog768
from cdgkd_utils.data.twin import TwinSettings, plan_subject
from cdgkd_utils.data.twin.eeg import TASK_SITES, code_weights, synthesise_eeg, synthesise_trials
from cdgkd_utils.data.twin.face import PARAMETERS, face_track, render
from cdgkd_utils.data.video import box_reduce
from cdgkd_utils.data.windows import prepare_subject

SMALL = TwinSettings(n_subjects=2, n_trials=3, n_windows=2, seed=4)
FILMS = TwinSettings(layout="mahnob", n_subjects=2, n_trials=3, n_windows=9, seed=4)
ONE_HEAD = TwinSettings(n_trials=120, n_windows=1, seed=1)


@pytest.fixture(scope="module")
def recording():
    plan = plan_subject(ONE_HEAD, 1)
    return plan, synthesise_eeg(ONE_HEAD, plan)


def band_power(eeg, channel, low, high):
    freqs, power = welch(eeg[:, DEAP_EEG.index(channel)], 128, nperseg=256)
    return np.log(power[:, (freqs >= low) & (freqs <= high)].mean(axis=1))


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


def test_light_scales_the_picture():
    track = face_track(SMALL, plan_subject(SMALL, 1), 0)
    plain = render(replace(track, light=np.array([1.0, 0.0, 0.0])), track.times[:1])[0].astype(int)
    half = render(replace(track, light=np.array([0.5, 0.0, 0.0])), track.times[:1])[0]
    np.testing.assert_array_equal(half, plain // 2)
    place = np.linspace(-127 / 128, 127 / 128, 128)  # pixel centres between the edges -1 and 1
    sloped = render(replace(track, light=np.array([0.5, 0.4, -0.2])), track.times[:1])[0]
    expected = plain * (0.5 * (1 + 0.4 * place[None, :, None] - 0.2 * place[:, None, None]))
    assert np.abs(sloped - expected).max() <= 1


def test_expression_follows_the_feeling():
    settings = TwinSettings(n_trials=600, n_windows=4, seed=2)
    plan = plan_subject(settings, 1)
    mean = np.array([face_track(settings, plan, row).keys.mean(axis=0) for row in range(settings.n_trials)])
    for parameter, target, weight in (("mouth_curve", 0, 1.0), ("mouth_open", 1, 1.2), ("brow_tilt", 0, 0.8)):
        shown = mean[:, PARAMETERS.index(parameter)]
        slope = np.polyfit(plan.x_video[:, target], shown, 1)[0]
        # 1.5 gain, 0.775 mean envelope, the person's expressiveness, the row of M.
        assert slope == pytest.approx(1.5 * 0.775 * plan.identity.expressiveness * weight, rel=0.15)
        assert abs(np.polyfit(plan.x_video[:, 1 - target], shown, 1)[0]) < 0.1


def test_windows_are_the_pieces_of_the_recording():
    windows = prepare_subject(SMALL, 2)
    plan = plan_subject(SMALL, 2)
    eeg = synthesise_eeg(SMALL, plan)
    assert windows.eeg.shape == (6, 28, 512) and windows.eeg.dtype == np.float32
    third = windows.eeg[3]  # trial 2, window 1
    assert windows.index.loc[3, ["trial", "window"]].tolist() == [2, 1]
    np.testing.assert_array_equal(third[0], eeg[1, DEAP_EEG.index("Fp1"), 384 + 512 : 384 + 1024].astype(np.float32))
    np.testing.assert_array_equal(third[14], eeg[1, DEAP_EEG.index("Fp2"), 384 + 512 : 384 + 1024].astype(np.float32))
    track = face_track(SMALL, plan, 1)
    expected = hog768(box_reduce(render(track, np.array([4.4, 5.2, 6.0, 6.8, 7.6]))))
    np.testing.assert_allclose(windows.video[3], expected, atol=0.05)
    assert windows.frame_mask.all()
    np.testing.assert_array_equal(windows.index.loc[3, list(RATINGS)].astype(float), plan.ratings[1])
    assert windows.truth.loc[3, "posterior_arousal"] == plan.posterior[1, 1]
    assert windows.meta["synthetic"] is True and windows.meta["name"] == "synthetic twin (world mixed)"
    np.testing.assert_array_equal(windows.labels("valence"), np.repeat(plan.ratings[:, 0] > 5, 2))


def test_windows_of_films_are_filtered_pieces_of_the_recording():
    windows, plan = prepare_subject(FILMS, 2), plan_subject(FILMS, 2)
    row = int(np.argmin(plan.presentation))  # shown first, so first in the table
    (recording,) = synthesise_trials(FILMS, plan, [row])
    freqs = np.fft.rfftfreq(recording.shape[1], 1 / 128)
    spectrum = np.fft.rfft(recording)
    spectrum[:, (freqs < 4) | (freqs > 45)] = 0  # another filter than the twin's: no finite steepness
    expected = np.fft.irfft(spectrum, recording.shape[1])
    for window in (1, 2):
        start = 384 + 512 * window
        piece = expected[:28, start : start + 512][[0, 1, 2]]
        for got, want in zip(windows.eeg[window][[0, 1, 2]], piece, strict=True):
            assert np.corrcoef(got, want)[0, 1] > 0.97
    expected = hog768(box_reduce(render(face_track(FILMS, plan, row), np.array([4.4, 5.2, 6.0, 6.8, 7.6]))))
    np.testing.assert_allclose(windows.video[1], expected, atol=0.05)
    np.testing.assert_array_equal(windows.index.loc[1, "valence"], plan.ratings[row, 0])
    assert windows.index.loc[1, "stimulus"] == plan.stimulus[row]
    assert windows.truth.loc[1, "z_arousal"] == plan.z[row, 1]


def test_frames_without_a_face_are_masked_and_windows_without_any_left_out(monkeypatch):
    class Late:
        """Finds no face in the first six pictures of a clip."""

        size = 32

        def __call__(self, frames):
            found = np.arange(len(frames)) >= 6
            return np.repeat(found[:, None], 768, axis=1).astype(np.float32), found

    late = Late()
    monkeypatch.setattr(making, "open_extractor", lambda name: late)
    windows, plain = prepare_subject(SMALL, 1, "late"), plan_subject(SMALL, 1)
    assert windows.index[["trial", "window"]].to_numpy().tolist() == [[1, 1], [2, 1], [3, 1]]
    assert windows.frame_mask.tolist() == [[False, True, True, True, True]] * 3
    np.testing.assert_array_equal(windows.video.mean(axis=2), windows.frame_mask)
    np.testing.assert_array_equal(windows.truth["z_valence"], plain.z[:, 0])
    np.testing.assert_array_equal(windows.eeg[0, 0], synthesise_eeg(SMALL, plain)[0, 0, 896:].astype(np.float32))


def test_signals_follow_what_each_modality_sees_and_nothing_else():
    base = plan_subject(SMALL, 1)
    eeg, weights = synthesise_eeg(SMALL, base), code_weights()
    assert eeg.shape == (3, 32, 1408) and np.abs(eeg.sum(axis=1)).max() < 1e-9  # average reference
    assert 6 < np.median(np.sqrt((eeg**2).mean(axis=(0, 2)))) < 17
    assert weights[0, TASK_SITES.index("F3"), 1] == -0.7 and weights[0].sum() == 0  # valence: left against right
    # Equal views give equal signals to the last bit, whatever was rated, and however many trials follow.
    rated = replace(base, z=base.z + 1, ratings=base.ratings[::-1])
    np.testing.assert_array_equal(eeg, synthesise_eeg(SMALL, rated))
    more = replace(SMALL, n_trials=5)
    np.testing.assert_array_equal(eeg, synthesise_eeg(more, plan_subject(more, 1))[:3])
    # And a face that sees the same draws the same, although ratings and EEG differ.
    other_settings = replace(SMALL, w_eeg=0.4, eeg_gain=2.0)
    other = plan_subject(other_settings, 1)
    assert not np.array_equal(base.ratings, other.ratings)
    np.testing.assert_array_equal(face_track(SMALL, base, 1).keys, face_track(other_settings, other, 1).keys)
    mirrored, silent = replace(base, x_eeg=-base.x_eeg), replace(SMALL, eeg_gain=0.0)
    np.testing.assert_array_equal(synthesise_eeg(silent, base), synthesise_eeg(silent, mirrored))
    assert not np.array_equal(eeg, synthesise_eeg(SMALL, mirrored))


def test_what_is_missing_gives_no_windows():
    settings = TwinSettings(n_windows=1)
    windows, plan = prepare_subject(settings, 11), plan_subject(settings, 11)
    np.testing.assert_array_equal(windows.index["trial"], np.flatnonzero(plan.has_video) + 1)
    last = synthesise_eeg(settings, plan)[windows.index["trial"].iloc[-1] - 1]
    assert len(windows) == 37
    np.testing.assert_array_equal(windows.eeg[-1, 0], last[0, 384:].astype(np.float32))
    mask = prepare_subject(replace(SMALL, n_trials=1, n_windows=15), 1).frame_mask
    assert np.argwhere(~mask).tolist() == [[14, 4]]  # at 59.6 s, the clip ends at 59.05 s
    empty = prepare_subject(replace(FILMS, n_subjects=26, n_trials=1, n_windows=1), 12)
    assert len(empty) == 0 and empty.eeg.shape == (0, 28, 512) and len(empty.truth) == 0
    films = prepare_subject(replace(FILMS, n_trials=12, n_windows=10), 1)  # trials of different lengths
    counts = films.index.groupby("stimulus")["window"].max() + 1
    assert counts["107.avi"] == 8 and len(films) == 11 * 10 + 8 == len(films.eeg) == len(films.video)
    assert films.index["trial"].is_monotonic_increasing and films.index["liking"].isna().all()
    assert films.meta["name"] == "synthetic twin in MAHNOB-HCI's design (world mixed)"
