"""The leak demonstration shows a leak where there is one, and none where there is none."""

import numpy as np
import pandas as pd

from cdgkd_utils.data.splits.split import trial_ids
from cdgkd_utils.data.types import Windows
from cdgkd_utils.experiments.leak import PROTOCOLS, labels_permuted_between_trials, measure_leak


def make_windows(within):
    """Faces with a fingerprint per trial and `within` sd of noise per window; labels are pure chance."""
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(range(1, 10), range(1, 21), range(4), indexing="ij"), -1).reshape(-1, 3)
    index = pd.DataFrame(grid, columns=["subject", "trial", "window"])
    fingerprint = rng.normal(size=(180, 1, 768))[trial_ids(index)]
    video = fingerprint + within * rng.normal(size=(len(index), 5, 768))
    windows = Windows(
        np.zeros((len(index), 28, 512), np.float32), video.astype(np.float32), np.ones((len(index), 5), bool), index
    )
    return windows, rng.integers(0, 2, 180)[trial_ids(index)]


def test_with_trial_fingerprints_a_window_split_scores_everything_and_honest_splits_chance():
    scores = measure_leak(*make_windows(0.1), seed=0)
    leaky, trial, subject = (scores[name].mean() for name in PROTOCOLS)
    # Three of four sibling windows train on average, so nearly every test window finds a sibling.
    assert leaky > 0.95
    assert 0.3 < trial < 0.7
    assert 0.3 < subject < 0.7


def test_without_fingerprints_there_is_no_leak_to_find():
    windows, labels = make_windows(0.1)
    windows.video[:] = np.random.default_rng(1).normal(size=windows.video.shape)
    assert abs(measure_leak(windows, labels, seed=0)[PROTOCOLS[0]].mean() - 0.5) < 0.08


def test_permuted_labels_keep_counts_and_trials_and_lose_their_place():
    windows, labels = make_windows(0.1)
    new = labels_permuted_between_trials(windows, labels, np.random.default_rng(0))
    frame = windows.index.assign(old=labels, new=new)
    assert (frame.groupby(["subject", "trial"])["new"].nunique() == 1).all()
    sums = frame.groupby("subject")[["old", "new"]].sum()
    assert (sums["old"] == sums["new"]).all()
    assert (labels != new).mean() > 0.3
