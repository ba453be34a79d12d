"""The share of the video against exhaustive search, its limits, its ties, and what it may look at."""

import numpy as np
import pytest

from cdgkd_utils.methods.late_fusion import choose_share, fused_log_probabilities, late_fusion


def logits(p_high):
    p_high = np.asarray(p_high, dtype=float)
    return np.log(np.stack([1 - p_high, p_high], axis=1))


def noisy(labels, strength, seed=0):
    score = strength * (2 * labels - 1) + np.random.default_rng(seed).normal(0, 1, len(labels))
    return np.stack([np.zeros(len(labels)), score], axis=1)


@pytest.mark.parametrize("seed", range(5))
def test_exhaustive_search_finds_the_same(seed):
    rng = np.random.default_rng(seed)
    labels = (rng.random(60) < 0.3).astype(int)
    video, eeg = rng.normal(size=(60, 2)) + labels[:, None] * [0, 1], rng.normal(size=(60, 2))
    best = None
    for k in range(101):
        p = k / 100 * np.exp(video) / np.exp(video).sum(1, keepdims=True)
        p += (1 - k / 100) * np.exp(eeg) / np.exp(eeg).sum(1, keepdims=True)
        recalls = [np.mean(p[labels == c].argmax(1) == c) for c in (0, 1)]
        key = (-np.mean(recalls), -np.mean(np.log(p[range(60), labels])))
        if best is None or (key[0] < best[0] - 1e-12 or (abs(key[0] - best[0]) < 1e-12 and key[1] < best[1])):
            best = (*key, k / 100)
    assert choose_share(video, eeg, labels) == best[2]


def test_fused_probabilities_are_the_weighted_mean_and_add_up_to_one():
    video, eeg = np.random.default_rng(0).normal(size=(2, 7, 2))
    p_video, p_eeg = (np.exp(x) / np.exp(x).sum(1, keepdims=True) for x in (video, eeg))
    np.testing.assert_allclose(np.exp(fused_log_probabilities(video, eeg, 0.37)), 0.37 * p_video + 0.63 * p_eeg)
    np.testing.assert_allclose(np.exp(fused_log_probabilities(video, eeg, 0.0)), p_eeg)
    np.testing.assert_allclose(np.exp(fused_log_probabilities(video, eeg, 1.0)), p_video)
    sure = np.array([[1000.0, -1000.0]])
    assert np.isfinite(fused_log_probabilities(sure, -sure, 0.5)).all()


def test_a_modality_that_is_surely_wrong_gets_nothing():
    labels = np.arange(40) % 2
    right, wrong = logits(0.2 + 0.6 * labels), logits(1 - labels * 0.98 - 0.01)
    share, fused = late_fusion(right, wrong, labels, np.arange(40))
    assert share == 1.0
    np.testing.assert_allclose(fused, right, rtol=1e-6)
    assert late_fusion(wrong, right, labels, np.arange(40))[0] == 0.0


def test_balanced_accuracy_decides_before_cross_entropy():
    labels = np.array([0] * 8 + [1] * 2)
    always_low = logits(np.full(10, 0.1))  # 80 % accuracy, balanced 50 %
    fair = logits(np.r_[np.full(8, 0.49), 0.51, 0.51])  # all right, unsure
    assert choose_share(always_low, fair, labels) < 0.03


def test_ties_go_to_the_lower_cross_entropy_then_to_one_half():
    labels = np.arange(10) % 2
    sure, unsure = logits(0.1 + 0.8 * labels), logits(0.4 + 0.2 * labels)
    assert choose_share(sure, unsure, labels) == 1.0
    assert choose_share(unsure, sure, labels) == 0.0
    one = noisy(labels, 1.0)
    assert choose_share(one, one, labels) == 0.5


def test_rows_outside_validation_cannot_influence_the_share():
    labels = np.arange(200) % 2
    video, eeg, val = noisy(labels, 0.5), noisy(labels, 0.7, seed=1), np.arange(50)
    share, fused = late_fusion(video, eeg, labels, val)
    assert fused.shape == (200, 2) and fused.dtype == np.float32
    planted_video, planted_labels = video.copy(), labels.copy()
    planted_video[50:] = 50 * (2 * labels[50:, None] - 1) * [-1, 1]  # perfect on test
    planted_labels[50:] = 1 - labels[50:]
    again, planted_fused = late_fusion(planted_video, eeg, planted_labels, val)
    assert again == share
    np.testing.assert_array_equal(planted_fused[:50], fused[:50])
    assert choose_share(planted_video, eeg, labels) != share  # a choice on all rows would have seen the plant


def test_one_class_in_validation_is_scored_on_that_class():
    labels = np.ones(6, int)
    assert choose_share(logits(np.full(6, 0.9)), logits(np.full(6, 0.2)), labels) == 1.0


def test_what_does_not_fit_is_named():
    with pytest.raises(ValueError, match=r"expected shape \(n_windows, 2\)"):
        late_fusion(np.zeros((3, 2)), np.zeros((4, 2)), np.zeros(3, int), np.arange(3))
    with pytest.raises(ValueError, match="val_rows"):
        late_fusion(np.zeros((3, 2)), np.zeros((3, 2)), np.zeros(3, int), np.arange(0))
    with pytest.raises(ValueError, match="eeg_logits: expected numbers, 2 windows hold NaN"):
        late_fusion(np.zeros((3, 2)), np.array([[0, np.nan], [0, 1], [np.nan] * 2]), np.zeros(3, int), np.arange(3))
