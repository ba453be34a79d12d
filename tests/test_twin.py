"""The twin as a whole: the same numbers whatever else is drawn, and windows cut at the right places."""

from dataclasses import replace

import numpy as np
import pytest
from cdgkd_utils.data.twin.generator import prepare_twin, synthesise_peripheral

from cdgkd_utils.data.constants import BASELINE_SAMPLES, DEAP_EEG, RATINGS, WINDOW_SAMPLES
from cdgkd_utils.data.extractors.hog768 import box_reduce, hog768
from cdgkd_utils.data.twin import TwinSettings, plan_subject, prepare_subject
from cdgkd_utils.data.twin import generator as twin
from cdgkd_utils.data.twin.eeg import synthesise_eeg, synthesise_trials
from cdgkd_utils.data.twin.face import face_track, render

SMALL = TwinSettings(n_subjects=2, n_trials=3, n_windows=2, seed=4)


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("home")
        patch.setenv("CDGKD_HOME", str(folder))
        yield folder


def test_same_seed_same_data_and_independent_of_the_number_of_people_and_processes():
    one = prepare_twin(SMALL, progress=False)
    two = prepare_twin(replace(SMALL, n_subjects=3), n_jobs=2, progress=False)
    n = len(one)
    np.testing.assert_array_equal(one.eeg, two.eeg[:n])
    np.testing.assert_array_equal(one.video, two.video[:n])
    assert one.index.equals(two.index[:n]) and one.truth.equals(two.truth[:n])
    other = prepare_subject(replace(SMALL, seed=5), 1)
    assert not np.array_equal(other.eeg, one.eeg[: len(other)])
    assert not np.array_equal(one.eeg[: n // 2], one.eeg[n // 2 :])


def test_first_trials_do_not_depend_on_how_many_follow():
    few, more = plan_subject(SMALL, 1), plan_subject(replace(SMALL, n_trials=5), 1)
    np.testing.assert_array_equal(few.ratings, more.ratings[:3])
    np.testing.assert_array_equal(synthesise_eeg(SMALL, few), synthesise_eeg(replace(SMALL, n_trials=5), more)[:3])


def test_a_world_changes_signals_only_through_what_each_modality_sees():
    base = plan_subject(SMALL, 1)
    # Equal views give equal signals to the last bit, whatever was rated.
    rated = replace(base, z=base.z + 1, ratings=base.ratings[::-1])
    np.testing.assert_array_equal(synthesise_eeg(SMALL, base), synthesise_eeg(SMALL, rated))
    # And a face that sees the same draws the same, although ratings and EEG differ.
    other_settings = replace(SMALL, w_eeg=0.4, eeg_gain=2.0)
    other = plan_subject(other_settings, 1)
    assert not np.array_equal(base.ratings, other.ratings)
    np.testing.assert_array_equal(face_track(SMALL, base, 1).keys, face_track(other_settings, other, 1).keys)


def test_peripheral_channels_have_their_own_stream():
    plan = plan_subject(SMALL, 1)
    before = synthesise_eeg(SMALL, plan)
    peripheral = synthesise_peripheral(SMALL, plan)
    assert peripheral.shape == (3, 8, BASELINE_SAMPLES + 2 * WINDOW_SAMPLES) and np.isfinite(peripheral).all()
    np.testing.assert_array_equal(before, synthesise_eeg(SMALL, plan))


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


def test_clip_ends_before_its_eeg():
    windows = prepare_subject(replace(SMALL, n_trials=1, n_windows=15), 1)
    expected = np.ones((15, 5), dtype=bool)
    expected[14, 4] = False  # 59.6 s, the clip ends at 59.05 s
    np.testing.assert_array_equal(windows.frame_mask, expected)
    assert not windows.video[14, 4].any() and windows.video[14, 3].any()


def test_trials_without_a_clip_give_no_windows():
    settings = TwinSettings(n_windows=1)
    windows = prepare_subject(settings, 11)
    assert len(windows) == 37 and windows.index["presentation"].max() == 37
    kept = plan_subject(settings, 11).has_video
    np.testing.assert_array_equal(windows.index["trial"], np.flatnonzero(kept) + 1)
    eeg = synthesise_eeg(settings, plan_subject(settings, 11))
    last = windows.index["trial"].iloc[-1] - 1
    np.testing.assert_array_equal(windows.eeg[-1, 0], eeg[last, 0, 384:].astype(np.float32))


FILMS = TwinSettings(layout="mahnob", n_subjects=2, n_trials=3, n_windows=9, seed=4)


def test_trials_of_different_lengths():
    windows = prepare_subject(replace(FILMS, n_trials=12, n_windows=10), 1)
    counts = windows.index.groupby("stimulus")["window"].max() + 1
    assert counts["107.avi"] == 8 and counts["69.avi"] == 10
    assert len(windows) == 11 * 10 + 8 == len(windows.eeg) == len(windows.video)
    assert windows.index["trial"].is_monotonic_increasing and windows.frame_mask.all()
    assert windows.index["liking"].isna().all() and windows.meta["settings"]["layout"] == "mahnob"
    assert windows.meta["name"] == "synthetic twin in MAHNOB-HCI's design (world mixed)"


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


def test_people_without_eeg_or_video_give_no_windows():
    settings = replace(FILMS, n_subjects=26, n_trials=1, n_windows=1)
    for subject in (12, 15, 26):
        empty = prepare_subject(settings, subject)
        assert len(empty) == 0 and empty.eeg.shape == (0, 28, 512) and len(empty.truth) == 0
    both = prepare_twin(replace(settings, n_subjects=12), progress=False)
    assert sorted(both.index["subject"].unique()) == list(range(1, 12))
    assert (both.index.dtypes == prepare_subject(settings, 1).index.dtypes).all()


def test_trials_of_different_lengths_have_no_common_array():
    settings = replace(FILMS, n_trials=12)
    with pytest.raises(ValueError, match="differ in length"):
        synthesise_eeg(settings, plan_subject(settings, 1))


def test_frames_without_a_face_are_masked_and_windows_without_any_left_out(monkeypatch):
    class Late:
        """Finds no face in the first six pictures of a clip."""

        size, closed = 32, 0

        def __call__(self, frames):
            found = np.arange(len(frames)) >= 6
            return np.repeat(found[:, None], 768, axis=1).astype(np.float32), found

        def close(self):
            self.closed += 1

    late = Late()
    monkeypatch.setattr(twin, "open_extractor", lambda name: late)
    windows, plain = prepare_subject(SMALL, 1, "late"), plan_subject(SMALL, 1)
    assert windows.index[["trial", "window"]].to_numpy().tolist() == [[1, 1], [2, 1], [3, 1]]
    assert windows.frame_mask.tolist() == [[False, True, True, True, True]] * 3 and late.closed == 1
    np.testing.assert_array_equal(windows.video.mean(axis=2), windows.frame_mask)
    np.testing.assert_array_equal(windows.truth["z_valence"], plain.z[:, 0])
    np.testing.assert_array_equal(windows.eeg[0, 0], synthesise_eeg(SMALL, plain)[0, 0, 896:].astype(np.float32))
