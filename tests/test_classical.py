"""The support vector machine and fused decisions: separable and planted cases, exhaustive search, several classes."""

import numpy as np
import pytest
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from cdgkd_utils.methods.classical import choose_share, fit_svm, fused_log_probabilities, late_fusion

TRAIN = np.arange(160)


def blobs(gap, n=240, n_features=6, n_classes=2):
    """Windows of trials of 4, the classes `gap` standard deviations apart in each feature."""
    trials = np.arange(n) // 4
    labels = trials % n_classes
    return np.random.default_rng(0).normal(size=(n, n_features)) + gap * labels[:, None], labels, trials


@pytest.mark.parametrize("n_classes", [2, 3])
def test_separable_blobs_are_told_apart_with_confidence(n_classes):
    features, labels, trials = blobs(4, n_classes=n_classes)
    found = fit_svm(features, labels, trials, TRAIN, seed=0, n_classes=n_classes)
    assert found.shape == (240, n_classes) and found.dtype == np.float32
    np.testing.assert_allclose(np.exp(found).sum(1), 1, rtol=1e-5)
    assert (found.argmax(1) == labels).all()
    assert np.exp(found[np.arange(240), labels]).min() > 0.75


def test_probabilities_are_platts_sigmoid_of_held_out_trials():
    """Maximum likelihood by a fine grid over slope and offset, of scores that never saw the trial."""
    features, labels, trials = blobs(0.6)
    x = StandardScaler().fit(features[TRAIN]).transform(features)
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=3)
    dealt = list(folds.split(x[TRAIN], labels[TRAIN], trials[TRAIN]))
    # Scaling is part of what is held out.
    scores = np.empty(160)
    for others, mine in dealt:
        scaler = StandardScaler().fit(features[others])
        machine = SVC().fit(scaler.transform(features[others]), labels[others])
        scores[mine] = machine.decision_function(scaler.transform(features[mine]))
    n = np.bincount(labels[TRAIN])
    target = np.where(labels[TRAIN] == 1, (n[1] + 1) / (n[1] + 2), 1 / (n[0] + 2))
    slopes, offsets = np.meshgrid(np.linspace(0, 4, 401), np.linspace(-1, 1, 201))
    p = 1 / (1 + np.exp(-(slopes[..., None] * scores + offsets[..., None])))
    best = (target * np.log(p) + (1 - target) * np.log(1 - p)).sum(-1).argmax()
    margin = slopes.flat[best] * SVC().fit(x[TRAIN], labels[TRAIN]).decision_function(x) + offsets.flat[best]
    found = np.exp(fit_svm(features, labels, trials, TRAIN, seed=3)[:, 1])
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-margin)), atol=0.01)
    careless = cross_val_predict(SVC(), x[TRAIN], labels[TRAIN], cv=5, method="decision_function")
    assert not np.allclose(careless, scores, atol=0.01)


def test_each_trial_is_held_out_whole():
    """Trials carry a fingerprint and labels of chance: nothing can be known of another trial, and nothing is claimed.

    The planted leak takes every window for a trial of its own: the machine recognises held-out windows by the
    others of their trial, and is then confident, and wrong, about trials it has not seen.
    """
    trials, unseen = np.arange(240) // 4, np.arange(160, 240)
    confidence, loss = {"grouped": [], "fooled": []}, {"grouped": [], "fooled": []}
    for seed in range(8):
        rng = np.random.default_rng(seed)
        features = rng.normal(size=(60, 20))[trials] + rng.normal(0, 0.1, (240, 20))
        labels = rng.permutation(np.arange(60) % 2)[trials]
        for name, groups in (("grouped", trials), ("fooled", np.arange(240))):
            found = np.exp(fit_svm(features, labels, groups, TRAIN, seed=0))
            confidence[name].append(np.abs(found[unseen, 1] - 0.5).mean())
            loss[name].append(-np.log(found[unseen, labels[unseen]]).mean())
    assert np.mean(confidence["grouped"]) < 0.1 and np.mean(confidence["fooled"]) > 0.2
    assert np.mean(loss["grouped"]) == pytest.approx(np.log(2), abs=0.06)
    assert np.mean(loss["fooled"]) > 0.85


def test_a_ranking_that_turns_round_on_other_trials_is_not_used():
    """Trials lie in pairs of unlike class, far from other pairs: whoever did not see a trial takes its partner's."""
    trials = np.arange(80) // 4
    labels = trials % 2
    features = np.eye(10)[trials // 2] + np.random.default_rng(0).normal(0, 0.05, (20, 10))[trials]
    found = fit_svm(features, labels, trials, np.arange(80), seed=0)
    np.testing.assert_allclose(np.exp(found), 0.5, atol=0.05)


def test_rows_outside_training_are_not_touched_and_units_do_not_matter():
    features, labels, trials = blobs(0.5)
    expected = fit_svm(features, labels, trials, TRAIN, seed=1)
    planted, other_labels = features.copy(), labels.copy()
    planted[160:], other_labels[160:] = 1e6 * np.random.default_rng(1).normal(size=(80, 6)), 7
    np.testing.assert_array_equal(fit_svm(planted, other_labels, trials, TRAIN, seed=1)[TRAIN], expected[TRAIN])
    np.testing.assert_allclose(fit_svm(1e3 * features - 5e4, labels, trials, TRAIN, seed=1), expected, atol=1e-4)


def test_a_class_of_one_trial_is_named():
    features, labels, trials = blobs(1)
    for rows, n_classes, got in ((np.arange(12), 2, "2 and 1"), (TRAIN, 3, "20 and 20 and 0")):
        with pytest.raises(ValueError, match=f"2 trials or more .* got {got} by class"):
            fit_svm(features, labels, trials, rows, seed=0, n_classes=n_classes)


def logits(p_high):
    p_high = np.asarray(p_high, dtype=float)
    return np.log(np.stack([1 - p_high, p_high], axis=1))


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_exhaustive_search_finds_the_same_share(seed, n_classes):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, n_classes, 60)
    video, eeg = rng.normal(size=(60, n_classes)) + np.eye(n_classes)[labels], rng.normal(size=(60, n_classes))
    best = None
    for k in range(101):
        p = k / 100 * np.exp(video) / np.exp(video).sum(1, keepdims=True)
        p += (1 - k / 100) * np.exp(eeg) / np.exp(eeg).sum(1, keepdims=True)
        np.testing.assert_allclose(np.exp(fused_log_probabilities(video, eeg, k / 100)), p)
        recalls = [np.mean(p[labels == c].argmax(1) == c) for c in range(n_classes)]
        key = (-np.mean(recalls), -np.mean(np.log(p[range(60), labels])))
        if best is None or (key[0] < best[0] - 1e-12 or (abs(key[0] - best[0]) < 1e-12 and key[1] < best[1])):
            best = (*key, k / 100)
    assert choose_share(video, eeg, labels) == best[2]


def test_the_shares_limits_and_ties():
    labels = np.arange(40) % 2
    right, wrong = logits(0.2 + 0.6 * labels), logits(1 - labels * 0.98 - 0.01)
    share, fused = late_fusion(right, wrong, labels, np.arange(40))
    assert share == 1.0 and late_fusion(wrong, right, labels, np.arange(40))[0] == 0.0
    np.testing.assert_allclose(fused, right, rtol=1e-6)
    sure, unsure = logits(0.1 + 0.8 * labels), logits(0.4 + 0.2 * labels)
    assert choose_share(sure, unsure, labels) == 1.0  # equal accuracy: lower cross-entropy
    assert choose_share(sure, sure, labels) == 0.5
    few = np.array([0] * 8 + [1] * 2)
    always_low, fair = logits(np.full(10, 0.1)), logits(np.r_[np.full(8, 0.49), 0.51, 0.51])
    assert choose_share(always_low, fair, few) < 0.03  # balanced accuracy before cross-entropy
    extreme = np.array([[1000.0, -1000.0]])
    assert np.isfinite(fused_log_probabilities(extreme, -extreme, 0.5)).all()


def test_rows_outside_validation_cannot_influence_the_share():
    rng, labels, val = np.random.default_rng(0), np.arange(200) % 2, np.arange(50)
    video, eeg = (np.stack([np.zeros(200), s * (2 * labels - 1) + rng.normal(size=200)], axis=1) for s in (0.5, 0.7))
    share, _ = late_fusion(video, eeg, labels, val)
    planted = video.copy()
    planted[50:] = 50 * (2 * labels[50:, None] - 1) * [-1, 1]  # perfect on test
    assert late_fusion(planted, eeg, labels, val)[0] == share != choose_share(planted, eeg, labels)
