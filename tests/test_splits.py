"""Splits: nothing leaks for any seed, a planted leak is caught, scaling sees training windows only."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from cdgkd_utils.data.normalise import Normaliser
from cdgkd_utils.data.splits.split import PARTS, LeakError, certify, make_split, trial_ids, window_level_split
from cdgkd_utils.data.types import Windows


def make_index(n_subjects=9, n_trials=12, n_windows=3):
    grid = np.stack(np.meshgrid(range(1, n_subjects + 1), range(1, n_trials + 1), range(n_windows), indexing="ij"), -1)
    return pd.DataFrame(grid.reshape(-1, 3), columns=["subject", "trial", "window"])


def trial_labels(index, seed=0):
    trials = trial_ids(index)
    return np.random.default_rng(seed).integers(0, 2, trials.max() + 1)[trials]


@pytest.mark.parametrize("seed", range(12))
def test_no_trial_in_two_parts_for_any_seed(seed):
    index = make_index()
    labels = trial_labels(index, seed)
    for fold in range(3):
        split = make_split(index, labels, fold=fold, seed=seed)
        keys = {
            name: set(map(tuple, index.iloc[rows][["subject", "trial"]].to_numpy()))
            for name, rows in split.parts().items()
        }
        for one in PARTS:
            for other in PARTS:
                assert one == other or not keys[one] & keys[other]
        unseen = set(index["subject"].iloc[split.test_subject])
        assert not unseen & set(index["subject"].iloc[np.concatenate([split.train, split.val, split.test_trial])])
        assert sum(len(rows) for rows in split.parts().values()) == len(index)
        certificate = certify(split, index, labels)
        assert (certificate["shared_trials"] == 0).all()
        assert certificate["windows"].sum() == len(index)
        assert (certificate["low"] + certificate["high"] == certificate["windows"]).all()


def test_each_subject_is_unseen_exactly_once_over_the_folds():
    index = make_index()
    labels = trial_labels(index)
    unseen = [set(index["subject"].iloc[make_split(index, labels, fold=f, seed=3).test_subject]) for f in range(3)]
    assert set.union(*unseen) == set(range(1, 10))
    assert sum(map(len, unseen)) == 9


def test_every_known_subject_is_in_train_and_test_trials():
    index = make_index(9, 20)
    split = make_split(index, trial_labels(index), fold=1, seed=0)
    subject = index["subject"].to_numpy()
    assert set(subject[split.train]) == set(subject[split.test_trial]) == set(subject[split.val])


def test_same_seed_same_split_other_seed_other_split():
    index = make_index()
    labels = trial_labels(index)
    one, same, other = (make_split(index, labels, fold=0, seed=s) for s in (5, 5, 6))
    assert np.array_equal(one.train, same.train)
    assert not np.array_equal(one.train, other.train)


def test_smallest_geometry_and_one_sided_subjects_still_split():
    index = make_index(6, 10, 2)
    labels = trial_labels(index)
    labels[index["subject"] == 2] = 1
    for fold in range(3):
        certify(make_split(index, labels, fold=fold, seed=0), index, labels)


def test_too_few_subjects_or_a_wrong_fold_is_said():
    index = make_index(2)
    with pytest.raises(ValueError, match="at least 3 subjects"):
        make_split(index, trial_labels(index), fold=0, seed=0)
    index = make_index()
    with pytest.raises(ValueError, match="fold must be"):
        make_split(index, trial_labels(index), fold=3, seed=0)


@pytest.mark.parametrize("fault", ["trial", "window", "subject", "range"])
def test_a_planted_leak_is_caught(fault):
    index = make_index()
    labels = trial_labels(index)
    split = make_split(index, labels, fold=0, seed=0)
    certify(split, index, labels)
    if fault == "trial":  # one window of a training trial moves to the test part
        leaky = replace(split, train=split.train[1:], test_trial=np.append(split.test_trial, split.train[0]))
    elif fault == "window":
        leaky = replace(split, val=np.append(split.val, split.train[0]))
    elif fault == "range":
        leaky = replace(split, val=np.append(split.val, len(index)))
    else:  # a whole trial of an unseen subject is trained on: no trial is shared, the subject is
        trials = trial_ids(index)
        moved = np.isin(np.arange(len(index)), split.test_subject) & (trials == trials[split.test_subject[0]])
        leaky = replace(
            split,
            train=np.append(split.train, np.flatnonzero(moved)),
            test_subject=np.setdiff1d(split.test_subject, np.flatnonzero(moved)),
        )
    with pytest.raises(LeakError):
        certify(leaky, index, labels)


def test_the_window_level_split_is_what_the_certificate_exists_for():
    index = make_index()
    labels = trial_labels(index)
    train, test = window_level_split(len(index), seed=0)
    assert len(np.intersect1d(train, test)) == 0
    split = make_split(index, labels, fold=0, seed=0)
    with pytest.raises(LeakError, match="trials of part"):
        certify(replace(split, train=train, val=test, test_trial=test[:0], test_subject=test[:0]), index, labels)


def make_windows(n_subjects=4):
    index = make_index(n_subjects, 4, 2)
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
