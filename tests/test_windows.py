"""From trials to windows: where they begin, what they hold, what is left out by name; scales from training alone."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cdgkd_utils.data import windows as cutting
from cdgkd_utils.data.types import Normaliser, Trial, Windows
from cdgkd_utils.data.windows import FRAME_OFFSETS, window_starts, windows_from_trials

RATINGS = {"valence": 6.0, "arousal": 4.0, "dominance": 5.0, "liking": 9.0}


def test_starts_lie_on_the_grid_apart_and_evenly():
    assert (window_starts(15 * 512 + 511, 3) // 512).tolist() == [2, 7, 12]  # the middles of three thirds
    assert (window_starts(5 * 512, 0) // 512).tolist() == [0, 1, 2, 3, 4] and len(window_starts(1024, 7)) == 2
    for n_fitting, n_windows in ((n, k) for n in range(1, 31) for k in range(1, n + 1)):
        starts = window_starts(n_fitting * 512 + 100, n_windows)
        assert len(starts) == n_windows and (starts % 512 == 0).all() and starts[-1] <= (n_fitting - 1) * 512
        steps = np.diff(starts) // 512
        assert (steps >= 1).all() and (len(steps) == 0 or steps.max() - steps.min() <= 1)
    for arguments in ((511, 1), (1024, -1)):
        with pytest.raises(ValueError, match="n_samples"):
            window_starts(*arguments)


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
    assert found.index["trial"].tolist() == [2, 2, 3, 3, 3] and found.index["window"].tolist() == [0, 1, 0, 1, 2]
    assert found.index["presentation"].tolist() == [7, 7, 6, 6, 6] and (found.index["subject"] == 3).all()
    assert found.index["stimulus"].tolist() == ["film 2"] * 2 + ["film 3"] * 3 and (found.index["liking"] == 9).all()
    np.testing.assert_array_equal(found.eeg[:, 0, 0], [20_000, 20_512, 30_000, 30_512, 31_024])
    np.testing.assert_array_equal(found.eeg[4, 27], 31_024 + np.arange(512))
    np.testing.assert_allclose(found.video[:, :, 5], 4 * found.index["window"].to_numpy()[:, None] + FRAME_OFFSETS)
    assert found.frame_mask.all() and found.meta == {"excluded": []}


def test_windows_without_a_frame_are_left_out_by_name(clips):
    found = windows_from_trials([trial(1, 4), trial(2, 2)], 0)  # 4 s of clip for 16 s of EEG
    assert found.index[["trial", "window"]].to_numpy().tolist() == [[1, 0], [2, 0], [2, 1]]
    ((subject, number, reason),) = found.meta["excluded"]
    assert (subject, number) == (3, 1) and "4.avi" in reason and "1, 2, 3" in reason
    few = windows_from_trials([trial(1, 4)], 2)  # windows 1 and 3: none can be seen
    assert len(few) == 0 and few.eeg.shape == (0, 28, 512) and list(few.index) == list(found.index)


def test_scales_come_from_training_rows_alone():
    """The EEG of subject s has a standard deviation of s; subject 4 has no training window."""
    grid = np.stack(np.meshgrid(range(1, 5), range(1, 5), range(2), indexing="ij"), -1)
    index = pd.DataFrame(grid.reshape(-1, 3), columns=["subject", "trial", "window"])
    rng, subjects = np.random.default_rng(0), index["subject"].to_numpy()
    eeg = (rng.normal(size=(32, 28, 512)) * subjects[:, None, None]).astype(np.float32)
    video, mask = rng.normal(2, 3, size=(32, 5, 768)).astype(np.float32), np.ones((32, 5), bool)
    mask[::3, 4] = False
    windows, train = Windows(eeg, video, mask, index), np.flatnonzero(subjects < 4)
    normaliser = Normaliser.fit(windows, train)
    scaled, z = normaliser.eeg(windows), normaliser.video(windows)
    for subject in (1, 2, 3):
        np.testing.assert_allclose(scaled[subjects == subject].std(axis=(0, 2)), 1, atol=1e-4)
    np.testing.assert_allclose(scaled[subjects == 4].std(), 2, atol=0.05)  # by the median scale, 2
    assert (z[~mask] == 0).all() and np.abs(z).max() <= 5
    np.testing.assert_allclose(z[train][mask[train]].std(axis=0), 1, atol=0.02)
    eeg[subjects == 4], video[subjects == 4] = np.nan, np.nan
    again = Normaliser.fit(windows, train)
    assert np.array_equal(again.video_mean, normaliser.video_mean) and set(again.eeg_scale) == {1, 2, 3}
    assert all(np.array_equal(again.eeg_scale[s], normaliser.eeg_scale[s]) for s in (1, 2, 3))
