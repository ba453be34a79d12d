"""Scores of one test set against values computed by hand, scikit-learn and loops; guides and chains likewise."""

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sklearn_metrics

from cdgkd_utils.results.metrics import (
    METRICS,
    MIN_WINDOWS,
    ChainAnswers,
    calibration_error,
    entropy,
    error_if_calibrated,
    guide_quality,
    high_probability,
    knows_only_who,
    probabilities,
    score,
    separation,
)


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
    assert scores["ece"] == pytest.approx((0.1 + 0.4 + 0.2 + 0.6 + 0.8) / 5)  # five bins of one window each
    assert set(METRICS) - set(scores) == {"expected_accuracy", "vote_accuracy", "worst_subject", "who"}


@pytest.mark.parametrize("seed", range(4))
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
    assert score(y, np.column_stack([1 - probability, probability])) == pytest.approx(scores)


def test_ten_classes_against_scikit_learn():
    rng = np.random.default_rng(3)
    y = rng.integers(0, 10, 500)
    p = probabilities(rng.normal(size=(500, 10)) + 1.5 * np.eye(10)[y])
    scores = score(y, p)
    assert scores["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(y, p.argmax(axis=1)))
    assert scores["macro_f1"] == pytest.approx(sklearn_metrics.f1_score(y, p.argmax(axis=1), average="macro"))
    assert scores["auc"] == pytest.approx(sklearn_metrics.roc_auc_score(y, p, multi_class="ovr"))
    sure = calibration_error((p.argmax(axis=1) == y).astype(int), p.max(axis=1))
    assert scores["ece"] == pytest.approx(sure)


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
    assert np.isnan(scores["worst_subject"])  # nobody has ten windows
    rng, p, one = np.random.default_rng(0), np.array([0.1, 0.2, 0.3, 0.7, 0.8, 0.9]), np.ones(6, int)
    for _ in range(20):  # the mean is 1/2 up to rounding, and a tie in any order
        assert score(np.zeros(6, int), rng.permutation(p), subject=one, trial=one)["vote_accuracy"] == 1


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


def test_expected_accuracy_by_hand_and_on_average_equal_to_the_observed():
    posterior = np.array([0.9, 0.2, 0.6])
    scores = score(np.array([1, 0, 0]), np.array([0.8, 0.7, 0.1]), posterior)
    assert scores["expected_accuracy"] == pytest.approx((0.9 + 0.2 + 0.4) / 3)
    rng = np.random.default_rng(0)
    posterior, probability = rng.random(400), rng.random(400)
    expected = score(rng.integers(0, 2, 400), probability, posterior)["expected_accuracy"]
    observed = [((rng.random(400) < posterior) == (probability > 0.5)).mean() for _ in range(600)]
    standard_error = np.sqrt(np.mean(posterior * (1 - posterior)) / 400 / 600)
    assert abs(np.mean(observed) - expected) < 4 * standard_error


def test_swapping_the_classes_changes_nothing():
    rng = np.random.default_rng(1)
    y, probability, posterior = np.repeat(rng.integers(0, 2, 50), 2), rng.random(100), rng.random(100)
    trials = {"subject": np.arange(100) // 20, "trial": np.arange(100) // 2}
    one = score(y, probability, posterior, **trials)
    assert one == pytest.approx(score(1 - y, 1 - probability, 1 - posterior, **trials))
    assert all(0 <= value <= 1 for value in one.values())


def test_one_class_leaves_the_balanced_scores_undefined_without_a_warning(recwarn):
    trials = {"subject": np.ones(4), "trial": np.arange(4)}
    scores = score(np.ones(4, int), np.array([0.9, 0.8, 0.1, 0.7]), **trials)
    assert scores["accuracy"] == scores["vote_accuracy"] == 0.75 and scores["majority"] == 1.0
    assert np.isnan([scores[name] for name in ("balanced_accuracy", "macro_f1", "auc")]).all()
    assert not recwarn.list


@pytest.mark.parametrize(
    ("y", "probability", "more", "name"),
    [
        ([], [], {}, "y: "),
        ([0, 2], [0.1, 0.2], {}, "y: "),
        ([0, 1], [0.1], {}, "probability: "),
        ([0, 1], [-3.0, 2.0], {}, "probability: .*not logits"),
        ([0, 1], [0.1, float("nan")], {}, "probability: "),
        ([0, 1], [0.1, 0.2], {"posterior": [0.1, 0.2, 0.3]}, "posterior: "),
    ],
)
def test_wrong_input_is_named(y, probability, more, name):
    with pytest.raises(ValueError, match=name):
        score(np.array(y), np.array(probability), **{key: np.array(value) for key, value in more.items()})


def test_knowing_only_who_by_hand():
    # Training: ann says high 2 of 3, bob low 2 of 2, cy 1 of 2: a tie, and the whole part says low, 4 of 7.
    subject = np.array(["ann"] * 3 + ["bob"] * 2 + ["cy"] * 2 + ["ann", "bob", "cy", "cy", "dan"])
    labels = np.array([1, 1, 0, 0, 0, 1, 0, 1, 1, 0, 0, 1])
    train = np.arange(7)
    assert knows_only_who(labels, subject, train, np.array([7, 8, 9, 10])) == 3 / 4
    assert np.isnan(knows_only_who(labels, subject, train, np.array([7, 11])))  # nobody knows dan


def test_calibration_of_true_probabilities_lies_within_its_floor():
    y, p = np.array([0, 1, 1, 0]), np.array([0.1, 0.2, 0.95, 1.0])  # a bin holds its upper edge
    assert calibration_error(y, p) == pytest.approx((0.1 + 0.8 + 2 * 0.475) / 4)
    rng = np.random.default_rng(0)
    p, trial = rng.random(3000), np.arange(3000)
    y = (rng.random(3000) < p).astype(int)
    floor = error_if_calibrated(p, trial, rng)
    assert np.quantile(floor, 0.001) < calibration_error(y, p) < np.quantile(floor, 0.999)
    # One label per trial: ten windows of one trial tell as much as one.
    few = error_if_calibrated(np.repeat(p[:300], 10), np.repeat(np.arange(300), 10), rng)
    assert np.mean(few) == pytest.approx(np.mean(error_if_calibrated(p[:300], trial[:300], rng)), rel=0.1)


@pytest.mark.filterwarnings("error")
def test_probabilities_by_hand_and_of_huge_logits():
    logits = np.array([[0.0, 0.0], [0.0, np.log(3.0)], [np.log(3.0), 0.0], [5.0, 5.0 + np.log(9.0)]])
    assert np.allclose(high_probability(logits), [0.5, 0.75, 0.25, 0.9], rtol=1e-12)
    assert np.allclose(probabilities(2 * logits, 2.0), probabilities(logits))
    huge = high_probability(np.array([[0, 3e38], [3e38, 0], [-3e38, 3e38], [0, 800]], np.float32))
    assert np.allclose(huge, [1, 0, 1, 1])


def test_separation_by_hand_and_its_symmetries():
    # class means (0, 0) and (4, 0); every window 1 away from its own mean -> 4 / 1
    embeddings, labels = np.array([[0, 1], [0, -1], [4, 1], [4, -1]], float), np.array([0, 0, 1, 1])
    b = (4 + np.sqrt(20)) / 2  # mean distance to the other class; 2 to the other window of one's own
    assert separation(embeddings, labels) == pytest.approx({"gap_within": 4, "silhouette": (b - 2) / b})
    rng = np.random.default_rng(2)
    embeddings, labels = rng.normal(size=(60, 3)), rng.integers(0, 2, 60)
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    moved = separation(7 * embeddings @ rotation + 5, 1 - labels)
    assert moved == pytest.approx(separation(embeddings, labels))
    assert np.isnan(list(separation(np.eye(4), np.zeros(4, int)).values())).all()


def test_what_a_guide_knows_and_remembers(tmp_path):
    """A guide that says the truth knows no chance; one that says the labels remembers nothing else."""
    rng = np.random.default_rng(0)
    posterior = rng.uniform(0.1, 0.9, 4000)
    labels = (rng.random(4000) < posterior).astype(int)
    said = {"truth": posterior, "memory": np.where(labels == 1, 0.9, 0.1)}
    for name, p in said.items():
        (tmp_path / name).mkdir()
        logits = np.column_stack([np.log(1 - p), np.log(p)])
        parts = {"train": np.arange(4000), "labels": labels, "posterior": posterior, "logits": logits}
        np.savez(tmp_path / name / "outputs.npz", **parts)
    found = guide_quality({name: tmp_path / name for name in said})
    assert found.loc["truth", "r_posterior"] == pytest.approx(1) and abs(found.loc["truth", "r_noise"]) < 0.05
    assert found.loc["memory", "r_noise"] > 0.7 and found.loc["memory", "agreement"] == 1
    assert found.loc["memory", "nll"] == pytest.approx(-np.log(0.9))
    assert found.loc["memory", "entropy"] == pytest.approx(-0.9 * np.log(0.9) - 0.1 * np.log(0.1))


def test_a_chain_by_hand():
    logits = {"teacher": np.array([[0, 2.0], [1, 0], [0, 1]]), "student": np.array([[0, 1.0], [0, 1], [1, 0]])}
    index = pd.DataFrame({"subject": [1, 1, 1], "trial": [1, 2, 3], "window": 0})
    chain = ChainAnswers(logits, labels=np.array([1, 0, 0]), parts={"train": np.array([0, 1])}, index=index)
    agreement = chain.agreement("train")
    assert agreement.loc["teacher", "labels"] == 1 and agreement.loc["student", "labels"] == 0.5
    assert (agreement == agreement.T).all(axis=None) and chain.guides == ["teacher"]
    assert entropy(np.array([[0.5, 0.5], [1.0, 0.0]])) == pytest.approx([np.log(2), 0])
