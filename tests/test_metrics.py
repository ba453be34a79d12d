"""Scores of one test set and the separation of two classes, against values computed by hand."""

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from cdgkd_utils.results.metrics import LOWER_IS_BETTER, METRICS, MIN_WINDOWS, score, separation, trial_codes

NEEDS_TRIALS = {"vote_accuracy", "vote_balanced_accuracy", "worst_subject"}


def test_scores_by_hand():
    # predictions 1 1 0 0 1: right, right, right, wrong, wrong -> recall of high 2/3, of low 1/2
    y = np.array([1, 1, 0, 1, 0])
    scores = score(y, np.array([0.9, 0.6, 0.2, 0.4, 0.8]))
    assert scores["accuracy"] == pytest.approx(3 / 5)
    assert scores["balanced_accuracy"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    # F1 of high: precision 2/3, recall 2/3; of low: precision 1/2, recall 1/2
    assert scores["macro_f1"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert scores["majority"] == pytest.approx(3 / 5)
    # (high, low) pairs: .9 beats .2 and .8; .6 and .4 beat .2 only -> 4 of 6
    assert scores["auc"] == pytest.approx(4 / 6)
    assert scores["brier"] == pytest.approx((0.01 + 0.16 + 0.04 + 0.36 + 0.64) / 5)
    # five bins of one window each
    assert scores["ece"] == pytest.approx((0.1 + 0.4 + 0.2 + 0.6 + 0.8) / 5)
    assert set(METRICS) - set(scores) == {"expected_accuracy", *NEEDS_TRIALS}
    assert set(LOWER_IS_BETTER) <= set(METRICS)


@pytest.mark.parametrize("seed", range(5))
def test_against_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    y = (rng.random(200) < 0.3).astype(int)
    probability = np.round(np.clip(0.3 * y + rng.random(200), 0, 1), 1 if seed % 2 else 3)  # with and without ties
    predicted, scores = probability > 0.5, score(y, probability)
    assert scores["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(y, predicted))
    assert scores["balanced_accuracy"] == pytest.approx(sklearn_metrics.balanced_accuracy_score(y, predicted))
    assert scores["macro_f1"] == pytest.approx(sklearn_metrics.f1_score(y, predicted, average="macro"))
    assert scores["auc"] == pytest.approx(sklearn_metrics.roc_auc_score(y, probability))
    assert scores["brier"] == pytest.approx(sklearn_metrics.brier_score_loss(y, probability))


def test_the_two_calibration_errors_differ_by_their_bins():
    # All in the bin (0.9, 1]: predicted 0.95, observed 1/2. Of equal mass: ten bins of one window each.
    y = np.array([0, 1] * 5)
    scores = score(y, np.linspace(0.905, 0.995, 10))
    assert scores["ece"] == pytest.approx(0.45)
    assert scores["ece_mass"] == pytest.approx(np.abs(np.linspace(0.905, 0.995, 10) - y).mean())


def test_auc_limits():
    y = np.array([0, 0, 1, 1])
    assert score(y, np.array([0.1, 0.2, 0.3, 0.4]))["auc"] == 1
    assert score(y, np.array([0.9, 0.8, 0.3, 0.4]))["auc"] == 0
    assert score(y, np.full(4, 0.7))["auc"] == 0.5
    # order counts, not size
    p = np.random.default_rng(0).random(50)
    y = np.arange(50) % 2
    assert score(y, p)["auc"] == score(y, p**3)["auc"]


# Subject 1, trials 1 and 2; subject 2, trial 1, which is another trial than subject 1's.
VOTES = [
    # subject, trial, label, probability
    (1, 1, 1, 0.9),
    (1, 1, 1, 0.4),
    (1, 1, 1, 0.4),  # mean 0.567: high, although two of three windows say low
    (1, 2, 0, 0.1),
    (1, 2, 0, 0.9),  # mean exactly 1/2: a tie counts as low
    (2, 1, 1, 0.2),  # a trial of one window, wrong
]


def test_votes_by_hand():
    subject, trial, y, probability = (np.array(column) for column in zip(*VOTES, strict=True))
    scores = score(y, probability, subject=subject, trial=trial)
    assert scores["accuracy"] == pytest.approx(2 / 6)
    assert scores["vote_accuracy"] == pytest.approx(2 / 3)
    assert scores["vote_balanced_accuracy"] == pytest.approx((1 / 2 + 1) / 2)
    assert np.isnan(scores["worst_subject"])  # nobody has ten windows


def test_a_tie_stays_a_tie_in_any_order_of_the_windows():
    p = np.array([0.1, 0.2, 0.3, 0.7, 0.8, 0.9])  # sums to 3 up to rounding
    rng = np.random.default_rng(0)
    for _ in range(20):
        one = np.ones(6, int)
        assert score(np.zeros(6, int), rng.permutation(p), subject=one, trial=one)["vote_accuracy"] == 1


def test_trials_of_one_window_vote_as_their_window():
    rng = np.random.default_rng(4)
    y, probability = rng.integers(0, 2, 60), rng.random(60)
    scores = score(y, probability, subject=rng.integers(0, 4, 60), trial=np.arange(60))
    assert scores["vote_accuracy"] == scores["accuracy"]
    assert scores["vote_balanced_accuracy"] == pytest.approx(scores["balanced_accuracy"])


def test_votes_and_worst_subject_against_loops_and_whatever_the_order_and_names():
    rng = np.random.default_rng(6)
    subject, trial = np.repeat(["ann", "bob", "cy"], 40), np.tile(np.repeat(np.arange(8), 5), 3)
    label = {(s, t): rng.integers(0, 2) for s in np.unique(subject) for t in range(8)}
    y = np.array([label[pair] for pair in zip(subject, trial, strict=True)])
    p = np.clip(0.2 * y + rng.random(120) * 0.8, 0, 1)
    scores = score(y, p, subject=subject, trial=trial)
    votes = {pair: np.mean(p[(subject == pair[0]) & (trial == pair[1])]) > 0.5 for pair in label}
    assert scores["vote_accuracy"] == pytest.approx(np.mean([votes[pair] == label[pair] for pair in label]))
    assert scores["worst_subject"] == min(
        np.mean((p > 0.5)[subject == s] == y[subject == s]) for s in ("ann", "bob", "cy")
    )
    order = rng.permutation(120)
    renamed = np.unique(subject, return_inverse=True)[1]
    assert score(y[order], p[order], subject=renamed[order], trial=trial[order] + 7) == pytest.approx(scores)


def test_the_worst_subject_has_enough_windows():
    subject = np.repeat([3, 5, 8], [MIN_WINDOWS, 2 * MIN_WINDOWS, MIN_WINDOWS - 1])
    right = np.concatenate(
        [np.arange(MIN_WINDOWS) < 7, np.arange(2 * MIN_WINDOWS) < 13, np.zeros(MIN_WINDOWS - 1, bool)]
    )
    scores = score(np.ones(len(right), int), np.where(right, 0.8, 0.2), subject=subject, trial=np.arange(len(right)))
    assert scores["worst_subject"] == 13 / (2 * MIN_WINDOWS)


def test_trials_are_numbered_over_subjects():
    assert trial_codes([1, 1, 11, 2, 1], [12, 1, 2, 1, 12]).tolist() == [1, 0, 3, 2, 1]
    codes = trial_codes(np.repeat(np.arange(30), 20), np.tile(np.arange(20), 30))
    assert np.unique(codes).tolist() == list(range(600))


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
    y, probability, posterior = np.repeat(rng.integers(0, 2, 50), 2), rng.random(100), rng.random(100)
    trials = {"subject": np.arange(100) // 20, "trial": np.arange(100) // 2}
    one = score(y, probability, posterior, **trials)
    other = score(1 - y, 1 - probability, 1 - posterior, **trials)
    assert one == pytest.approx(other)
    assert tuple(one) == METRICS
    assert all(0 <= value <= 1 for value in one.values())


def test_one_class_leaves_the_balanced_scores_undefined_without_a_warning(recwarn):
    scores = score(np.ones(4, int), np.array([0.9, 0.8, 0.1, 0.7]))
    assert scores["accuracy"] == 0.75 and scores["majority"] == 1.0
    assert np.isnan([scores[name] for name in ("balanced_accuracy", "macro_f1", "auc")]).all()
    voted = score(np.ones(4, int), np.array([0.9, 0.8, 0.1, 0.7]), subject=np.ones(4), trial=np.arange(4))
    assert voted["vote_accuracy"] == 0.75 and np.isnan(voted["vote_balanced_accuracy"])
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


@pytest.mark.parametrize(
    ("trials", "name"),
    [
        ({"trial": [1, 1, 2]}, "both or neither"),
        ({"subject": [1, 1], "trial": [1, 2]}, "expected 3 values"),
        ({"subject": [1, 1, 1], "trial": [1, 2]}, "one value per window"),
        ({"subject": [1, 1, 1], "trial": [1, 1, 2]}, "y: 1 trials hold windows of both labels"),
    ],
)
def test_wrong_trials_are_named(trials, name):
    with pytest.raises(ValueError, match=name):
        score(np.array([0, 1, 1]), np.array([0.1, 0.2, 0.3]), **{key: np.array(v) for key, v in trials.items()})


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
