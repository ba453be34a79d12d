"""Scales come from training windows alone."""

import numpy as np
import pandas as pd

from cdgkd_utils.data.normalise import Normaliser
from cdgkd_utils.data.types import Windows


def make_windows(n_subjects=4):
    """The EEG of subject s has a standard deviation of s."""
    grid = np.stack(np.meshgrid(range(1, n_subjects + 1), range(1, 5), range(2), indexing="ij"), -1)
    index = pd.DataFrame(grid.reshape(-1, 3), columns=["subject", "trial", "window"])
    rng = np.random.default_rng(0)
    eeg = rng.normal(size=(len(index), 28, 512)).astype(np.float32) * index["subject"].to_numpy()[:, None, None]
    video = rng.normal(2, 3, size=(len(index), 5, 768)).astype(np.float32)
    mask = np.ones((len(index), 5), bool)
    mask[::3, 4] = False
    return Windows(eeg.astype(np.float32), video, mask, index)


def test_normaliser_reads_training_rows_only():
    windows = make_windows()
    train = np.flatnonzero((windows.index["subject"] < 3) & (windows.index["trial"] < 3))
    before = Normaliser.fit(windows, train)
    others = np.setdiff1d(np.arange(len(windows)), train)
    windows.eeg[others] = np.nan
    windows.video[others] = np.nan
    after = Normaliser.fit(windows, train)
    assert np.array_equal(before.video_mean, after.video_mean)
    assert all(np.array_equal(before.eeg_scale[s], after.eeg_scale[s]) for s in (1, 2))
    assert set(after.eeg_scale) == {1, 2}


def test_normalised_training_data_have_unit_scale_and_missing_frames_are_zero():
    windows = make_windows()
    train = np.flatnonzero(windows.index["subject"] < 4)
    normaliser = Normaliser.fit(windows, train)
    eeg, video = normaliser.eeg(windows), normaliser.video(windows)
    for subject in (1, 2, 3):
        rows = np.flatnonzero(windows.index["subject"] == subject)
        np.testing.assert_allclose(eeg[rows].std(axis=(0, 2)), 1, atol=1e-4)
    # subject 4 was generated with sd 4 and has no training window: it is divided by the median scale, 2
    rows = np.flatnonzero(windows.index["subject"] == 4)
    np.testing.assert_allclose(eeg[rows].std(), 2, atol=0.05)
    assert (video[~windows.frame_mask] == 0).all()
    np.testing.assert_allclose(video[train][windows.frame_mask[train]].std(axis=0), 1, atol=0.02)
    assert np.abs(video).max() <= 5
