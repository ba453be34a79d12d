"""Scores of one test set and the separation of two classes, against values computed by hand."""

import numpy as np
import pytest

from cdgkd_utils.results.metrics import METRICS, score, separation


def test_scores_by_hand():
    # predictions 1 1 0 0 1: right, right, right, wrong, wrong -> recall of high 2/3, of low 1/2
    y = np.array([1, 1, 0, 1, 0])
    scores = score(y, np.array([0.9, 0.6, 0.2, 0.4, 0.8]))
    assert scores["accuracy"] == pytest.approx(3 / 5)
    assert scores["balanced_accuracy"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    # F1 of high: precision 2/3, recall 2/3; of low: precision 1/2, recall 1/2
    assert scores["macro_f1"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert scores["majority"] == pytest.approx(3 / 5)
    assert "expected_accuracy" not in scores


def test_exactly_one_half_counts_as_low():
    assert score(np.array([0, 1]), np.array([0.5, 0.5]))["accuracy"] == 0.5
    assert score(np.array([0, 0]), np.array([0.5, 0.5]))["accuracy"] == 1.0


def test_expected_accuracy_by_hand_and_on_average_equal_to_the_observed():
    posterior = np.array([0.9, 0.2, 0.6])
    scores = score(np.array([1, 0, 0]), np.array([0.8, 0.7, 0.1]), posterior)
    assert scores["expected_accuracy"] == pytest.approx((0.9 + 0.2 + 0.4) / 3)

    rng = np.random.default_rng(0)
    posterior, probability = rng.random(400), rng.random(400)
    expected = score(rng.integers(0, 2, 400), probability, posterior)["expected_accuracy"]
    observed = [score((rng.random(400) < posterior).astype(int), probability)["accuracy"] for _ in range(600)]
    standard_error = np.sqrt(np.mean(posterior * (1 - posterior)) / 400 / 600)
    assert abs(np.mean(observed) - expected) < 4 * standard_error


def test_swapping_the_classes_changes_nothing():
    rng = np.random.default_rng(1)
    y, probability, posterior = rng.integers(0, 2, 101), rng.random(101), rng.random(101)
    one, other = score(y, probability, posterior), score(1 - y, 1 - probability, 1 - posterior)
    assert one == pytest.approx(other)
    assert set(one) == set(METRICS)
    assert all(0 <= value <= 1 for value in one.values())


def test_one_class_leaves_the_balanced_scores_undefined_without_a_warning(recwarn):
    scores = score(np.ones(4, int), np.array([0.9, 0.8, 0.1, 0.7]))
    assert scores["accuracy"] == 0.75 and scores["majority"] == 1.0
    assert np.isnan(scores["balanced_accuracy"]) and np.isnan(scores["macro_f1"])
    assert not recwarn.list


def test_always_the_majority_scores_the_majority_share_and_no_balanced_skill():
    y = np.array([1] * 7 + [0] * 3)
    scores = score(y, np.full(10, 0.99))
    assert scores["accuracy"] == scores["majority"] == 0.7
    assert scores["balanced_accuracy"] == 0.5


@pytest.mark.parametrize(
    ("y", "probability", "posterior", "name"),
    [
        ([], [], None, "y: "),
        ([0, 2], [0.1, 0.2], None, "y: "),
        ([0, 1], [0.1], None, "probability: "),
        ([0, 1], [-3.0, 2.0], None, "probability: .*not logits"),
        ([0, 1], [0.1, float("nan")], None, "probability: "),
        ([0, 1], [0.1, 0.2], [0.1, 0.2, 0.3], "posterior: "),
    ],
)
def test_wrong_input_is_named(y, probability, posterior, name):
    with pytest.raises(ValueError, match=name):
        score(np.array(y), np.array(probability), None if posterior is None else np.array(posterior))


def test_separation_by_hand():
    # class means (0, 0) and (4, 0); every window 1 away from its own mean -> 4 / 1
    embeddings = np.array([[0, 1], [0, -1], [4, 1], [4, -1]], float)
    labels = np.array([0, 0, 1, 1])
    result = separation(embeddings, labels)
    assert result["gap_within"] == pytest.approx(4)
    # a = 2 (other window of the class), b = mean(4, sqrt(20)) for every window
    b = (4 + np.sqrt(20)) / 2
    assert result["silhouette"] == pytest.approx((b - 2) / b)


def test_separation_ignores_shift_scale_rotation_and_names_of_classes():
    rng = np.random.default_rng(2)
    embeddings, labels = rng.normal(size=(60, 3)), rng.integers(0, 2, 60)
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    moved = separation(7 * embeddings @ rotation + 5, 1 - labels)
    assert moved == pytest.approx(separation(embeddings, labels))


def test_separation_is_undefined_for_one_class_and_checks_shapes():
    assert np.isnan(list(separation(np.eye(4), np.zeros(4, int)).values())).all()
    with pytest.raises(ValueError, match="embeddings and labels"):
        separation(np.eye(4), np.zeros(3, int))
