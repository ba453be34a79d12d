"""The support-vector machine: blobs, an independent calibration, and a leak planted between windows of a trial."""

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from cdgkd_utils.methods.svm import fit_svm

TRAIN = np.arange(160)


def blobs(gap, n=240, n_features=6):
    """Windows of trials of 4, the classes `gap` standard deviations apart in each feature."""
    trials = np.arange(n) // 4
    labels = trials % 2
    return np.random.default_rng(0).normal(size=(n, n_features)) + gap * labels[:, None], labels, trials


def test_separable_blobs_are_told_apart_with_confidence():
    features, labels, trials = blobs(4)
    found = fit_svm(features, labels, trials, TRAIN, seed=0)
    assert found.shape == (240, 2) and found.dtype == np.float32
    np.testing.assert_allclose(np.exp(found).sum(1), 1, rtol=1e-5)
    assert (found.argmax(1) == labels).all()
    assert np.exp(found[np.arange(240), labels]).min() > 0.9


def test_probabilities_are_those_of_scikit_learns_own_calibration():
    features, labels, trials = blobs(0.6)
    features *= np.random.default_rng(1).uniform(0.1, 30, 6)
    scaled = StandardScaler().fit(features[TRAIN]).transform(features)
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=3)
    splits = list(folds.split(scaled[TRAIN], labels[TRAIN], trials[TRAIN]))
    other = CalibratedClassifierCV(SVC(gamma=1 / 6), method="sigmoid", cv=splits, ensemble=False)
    expected = other.fit(scaled[TRAIN], labels[TRAIN]).predict_proba(scaled)
    np.testing.assert_allclose(np.exp(fit_svm(features, labels, trials, TRAIN, seed=3)), expected, atol=2e-3)


def test_each_trial_is_held_out_whole():
    """Trials carry a fingerprint and labels of chance: nothing can be known of another trial, and nothing is claimed.

    The planted leak takes every window for a trial of its own: the machine recognises held-out windows by the
    others of their trial, and is then confident, and wrong, about trials it has not seen.
    """
    trials, unseen = np.arange(240) // 4, np.arange(160, 240)
    confidence, loss = {"grouped": [], "fooled": []}, {"grouped": [], "fooled": []}
    for seed in range(8):
        rng = np.random.default_rng(seed)
        features = rng.normal(size=(60, 20))[trials]
        labels = rng.permutation(np.arange(60) % 2)[trials]
        features = features + rng.normal(0, 0.1, (240, 20))
        for name, groups in (("grouped", trials), ("fooled", np.arange(240))):
            found = np.exp(fit_svm(features, labels, groups, TRAIN, seed=0))
            confidence[name].append(np.abs(found[unseen, 1] - 0.5).mean())
            loss[name].append(-np.log(found[unseen, labels[unseen]]).mean())
    assert np.mean(confidence["grouped"]) < 0.1 and np.mean(confidence["fooled"]) > 0.2
    assert np.mean(loss["grouped"]) == pytest.approx(np.log(2), abs=0.06)
    assert np.mean(loss["fooled"]) > 0.85


def test_a_ranking_that_turns_round_on_other_trials_is_not_used():
    """Each trial alone at its place, neighbours of the other class: held-out scores are worse than chance."""
    trials = np.arange(80) // 4
    labels = trials % 2
    features = trials[:, None] + np.random.default_rng(0).normal(0, 0.01, (80, 1))
    found = fit_svm(features, labels, trials, np.arange(80), seed=0, gamma=50.0)
    np.testing.assert_allclose(np.exp(found), 0.5, atol=0.01)


def test_rows_outside_training_are_not_touched():
    features, labels, trials = blobs(0.5)
    expected = fit_svm(features, labels, trials, TRAIN, seed=1)
    planted, other_labels = features.copy(), labels.copy()
    planted[160:], other_labels[160:] = 1e6 * np.random.default_rng(1).normal(size=(80, 6)), 7
    np.testing.assert_array_equal(fit_svm(planted, other_labels, trials, TRAIN, seed=1)[TRAIN], expected[TRAIN])
    planted[3] += 5  # a training row does matter
    assert not np.array_equal(fit_svm(planted, other_labels, trials, TRAIN, seed=1)[TRAIN], expected[TRAIN])


def test_unit_and_offset_of_a_feature_do_not_matter_and_a_constant_one_is_harmless():
    features, labels, trials = blobs(0.7)
    expected = fit_svm(features, labels, trials, TRAIN, seed=0, gamma=0.2)
    other = np.concatenate([1e3 * features - 5e4, np.ones((240, 1))], axis=1)
    np.testing.assert_allclose(fit_svm(other, labels, trials, TRAIN, seed=0, gamma=0.2), expected, atol=1e-3)


def test_same_seed_same_numbers_and_the_global_state_is_left_alone():
    features, labels, trials = blobs(0.5)
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - what is guarded
    one, same = (fit_svm(features, labels, trials, TRAIN, seed=4) for _ in range(2))
    np.testing.assert_array_equal(one, same)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_what_does_not_fit_is_named():
    features, labels, trials = blobs(1)
    with pytest.raises(ValueError, match=r"2 trials or more .* got 2 low and 1 high"):
        fit_svm(features, labels, trials, np.arange(12), seed=0)
    with pytest.raises(ValueError, match=r"features, labels and groups.*\(239,\)"):
        fit_svm(features, labels[1:], trials, TRAIN, seed=0)
    features[200, 2] = np.nan
    with pytest.raises(ValueError, match="1 windows hold others"):
        fit_svm(features, labels, trials, TRAIN, seed=0)
