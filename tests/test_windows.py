"""From trials to windows: where they begin, which frames they hold, and what is left out by name."""

from pathlib import Path

import numpy as np
import pytest

from cdgkd_utils.data import windows as cutting
from cdgkd_utils.data.types import Trial
from cdgkd_utils.data.windows import FRAME_OFFSETS, window_starts, windows_from_trials

RATINGS = {"valence": 6.0, "arousal": 4.0, "dominance": 5.0, "liking": 9.0}


def test_starts_by_hand():
    def in_windows(n_samples, n_windows):
        return (window_starts(n_samples, n_windows) // 512).tolist()

    assert in_windows(5 * 512 + 511, 0) == [0, 1, 2, 3, 4]
    assert in_windows(15 * 512, 3) == [2, 7, 12]  # the middles of three thirds
    assert in_windows(15 * 512, 1) == [7] and in_windows(2 * 512, 7) == [0, 1]


@pytest.mark.parametrize("n_fitting", range(1, 31))
def test_starts_lie_on_the_grid_apart_and_evenly(n_fitting):
    for n_windows in range(1, n_fitting + 1):
        starts = window_starts(n_fitting * 512 + 100, n_windows)
        assert len(starts) == n_windows and (starts % 512 == 0).all() and starts[-1] <= (n_fitting - 1) * 512
        steps = np.diff(starts) // 512
        assert (steps >= 1).all() and (len(steps) == 0 or steps.max() - steps.min() <= 1)


def test_what_cannot_be_cut_is_said():
    for arguments, said in (((511, 1), "512 samples"), ((1024, -1), "n_windows")):
        with pytest.raises(ValueError, match=said):
            window_starts(*arguments)
    with pytest.raises(ValueError, match="crop: expected one of centre, face"):
        windows_from_trials([], 1, crop="nose")


def trial(number, n_windows):
    """Each sample is its own number; the clip's name says how many seconds of it there are."""
    eeg = np.arange(512.0 * n_windows) + 10_000 * number + np.zeros((28, 1))
    return Trial(3, number, 9 - number, f"film {number}", eeg, eeg[:, :384], RATINGS, Path(f"{4 * number}.avi"))


@pytest.fixture
def clips(monkeypatch):
    """Clips of as many seconds as their name says; a frame's features are the time it was asked for."""

    def described(path, times, extract, crop, rate):
        features = np.repeat(np.asarray(times, np.float32)[:, None], 768, axis=1)
        there = np.asarray(times) < int(path.stem)
        return features * there[:, None], there

    monkeypatch.setattr(cutting, "describe_faces", described)


def test_a_window_holds_its_samples_its_frames_and_its_trial(clips):
    found = windows_from_trials([trial(2, 2), trial(3, 3)], 0)
    assert found.index[["subject", "trial", "presentation", "window"]].to_numpy().tolist() == [
        [3, 2, 7, 0],
        [3, 2, 7, 1],
        [3, 3, 6, 0],
        [3, 3, 6, 1],
        [3, 3, 6, 2],
    ]
    assert found.index["stimulus"].tolist() == ["film 2"] * 2 + ["film 3"] * 3 and (found.index["liking"] == 9).all()
    np.testing.assert_array_equal(found.eeg[:, 0, 0], [20_000, 20_512, 30_000, 30_512, 31_024])
    np.testing.assert_array_equal(found.eeg[4, 27], 31_024 + np.arange(512))
    np.testing.assert_allclose(found.video[:, :, 5], 4 * found.index["window"].to_numpy()[:, None] + FRAME_OFFSETS)
    assert found.frame_mask.all() and found.meta == {"dropped": 0, "excluded": []}


def test_windows_without_a_frame_are_left_out_by_name_and_frames_after_the_end_are_masked(clips):
    found = windows_from_trials([trial(1, 4), trial(2, 2)], 0)  # 4 s of clip for 16 s of EEG
    assert found.index[["trial", "window"]].to_numpy().tolist() == [[1, 0], [2, 0], [2, 1]]
    ((subject, number, reason),) = found.meta["excluded"]
    assert (subject, number, found.meta["dropped"]) == (3, 1, 3) and "4.avi" in reason and "1, 2, 3" in reason
    few = windows_from_trials([trial(1, 4)], 2)  # windows 1 and 3: none can be seen
    assert len(few) == 0 and few.eeg.shape == (0, 28, 512) and list(few.index) == list(found.index)
