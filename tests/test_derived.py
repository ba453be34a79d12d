"""Runs without a network of their own: cross-fitted and averaged guides, late fusion, the SVM, the truth."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from planted import PLANTED, planted_study, planted_windows

from cdgkd_utils.data.splits import trial_ids
from cdgkd_utils.experiments import runs
from cdgkd_utils.experiments.losses import calibrated_temperature, derive
from cdgkd_utils.experiments.losses import Guide
from cdgkd_utils.experiments.recipes import N_PARTS, RECIPES
from cdgkd_utils.experiments.runs import Experiment
from cdgkd_utils.experiments.study import part_rows
from cdgkd_utils.training import loop

SHORT = replace(PLANTED, name="short", teacher_epochs=2, student_epochs=2)
PARTS = RECIPES["oof"].guides


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """An experiment with the cross-fitted teachers, the late fusions and their halves stored; training rows by run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CDGKD_HOME", str(tmp_path_factory.mktemp("derived")))
        experiment = Experiment(planted_study(patch, planted_windows(eeg=0.1, video=0.05), SHORT), "valence", 0)
        seen = []

        def spy(model, inputs, loss, settings, **options):
            seen.append(SimpleNamespace(train=inputs.train.tolist(), batches=[]))

            class Listener:
                def __getattr__(self, name):
                    return getattr(loss, name)

                def __call__(self, output, labels, rows):
                    seen[-1].batches += rows.tolist()
                    return loss(output, labels, rows)

            return loop.fit(model, inputs, Listener(), settings, **options)

        patch.setattr(runs, "fit", spy)
        fitted = {}
        for name in (*PARTS, "face_cnn", "eeg_lstm"):
            experiment.run(name)
            fitted[name] = seen[-1]
        for name in ("eeg_svm", "oof", "bagged", "cnn_svm", "cnn_lstm", "oracle"):
            experiment.run(name)
        yield SimpleNamespace(experiment=experiment, fitted=fitted)


def guides_of(experiment, name):
    return {guide: guide_of(experiment.run(guide).logits) for guide in RECIPES[name].guides}


def guide_of(logits):
    return Guide(np.asarray(logits, np.float32), None, None, {})


def with_labels(data, rows):
    """The fold with the labels of some rows turned round."""
    labels = data.labels.copy()
    labels[rows] = 1 - labels[rows]
    return replace(data, labels=labels, inputs=replace(data.inputs, labels=torch.from_numpy(labels)))


# ---- the parts ---------------------------------------------------------------------------------


def test_the_parts_deal_every_training_trial_once_to_each_subject(planted):
    experiment = planted.experiment
    index, split = experiment.study.windows.index, experiment.split
    trials, subjects = trial_ids(index), index["subject"].to_numpy()
    parts = [part_rows(experiment.fold_data, part) for part in range(N_PARTS)]
    assert sorted(np.concatenate(parts).tolist()) == sorted(split.train.tolist())
    for part in parts:
        kept = np.setdiff1d(split.train, part)
        assert not set(trials[part]) & set(trials[kept])
        assert set(subjects[part]) == set(subjects[kept]) == set(subjects[split.train])
    for rows in (split.val, split.rows["test_trial"], split.rows["test_subject"]):
        assert not np.isin(rows, np.concatenate(parts)).any()


def test_a_subjects_base_rate_in_a_part_is_that_of_the_rest(planted):
    """Else a network that missed a part would know from the subject which label is likelier there."""
    experiment = planted.experiment
    labels, subjects = experiment.study.labels("valence"), experiment.study.windows.index["subject"].to_numpy()
    for part in range(N_PARTS):
        rows = part_rows(experiment.fold_data, part)
        kept = np.setdiff1d(experiment.split.train, rows)
        for subject in np.unique(subjects[rows]):
            inside, outside = (labels[r[subjects[r] == subject]].mean() for r in (rows, kept))
            # Two or three trials of a part cannot have the exact share; one trial more or less is 1/2.
            assert abs(inside - outside) <= 0.5


@pytest.mark.parametrize("part", range(N_PARTS))
def test_the_network_of_a_part_is_trained_on_all_else(part, planted):
    fitted = planted.fitted[PARTS[part]]
    expected = sorted(
        set(planted.experiment.split.train.tolist()) - set(part_rows(planted.experiment.fold_data, part).tolist())
    )
    assert sorted(fitted.train) == expected
    assert sorted(fitted.batches) == sorted(2 * expected)  # every row once in each of the two epochs


# ---- out of fold, bagged -----------------------------------------------------------------------


def wrong_rows(logits, planted):
    """Training rows whose answer, apart from the temperature, is not that of the one network that missed them."""
    experiment = planted.experiment
    stored = {name: experiment.run(name).logits.astype(float) for name in PARTS}
    wrong = []
    for row in experiment.split.train.tolist():
        (unseen,) = (name for name in PARTS if row not in planted.fitted[name].batches)
        if not np.allclose(logits[row], stored[unseen][row], atol=1e-5):
            wrong.append(row)
    return wrong


def test_out_of_fold_answers_are_those_of_the_network_that_missed_the_trial(planted):
    record = planted.experiment.run("oof")
    logits = record.logits * record.result["temperature"]
    assert wrong_rows(logits, planted) == []
    stored = [planted.experiment.run(name).logits for name in PARTS]
    split = planted.experiment.split
    for row in np.concatenate([split.val, split.rows["test_trial"], split.rows["test_subject"]]).tolist():
        for k in (0, 1):
            mean = sum(float(logits_[row, k]) for logits_ in stored) / N_PARTS
            assert math.isclose(logits[row, k], mean, rel_tol=1e-4, abs_tol=1e-5)


def negative_log_likelihood(logits, labels, temperature):
    """Mean over windows, by the definition."""
    total = 0.0
    for (low, high), label in zip((logits / temperature).tolist(), labels.tolist(), strict=True):
        top = max(low, high)
        total += top + math.log(math.exp(low - top) + math.exp(high - top)) - (low, high)[label]
    return total / len(labels)


@pytest.mark.parametrize("truth", [0.4, 1.0, 2.5, 7.0])
def test_the_temperature_agrees_with_a_grid_search(truth):
    """Labels drawn from softmax(logits / truth): a network that is too sure by that factor."""
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(600, 2)) * truth * 2
    p_high = 1 / (1 + np.exp((logits[:, 0] - logits[:, 1]) / truth))
    labels = (rng.random(600) < p_high).astype(int)
    grid = np.geomspace(0.1, 20, 160)
    scores = [negative_log_likelihood(logits, labels, t) for t in grid]
    best = grid[int(np.argmin(scores))]
    found = calibrated_temperature(logits, labels)
    step = grid[1] / grid[0]
    assert best / step <= found <= best * step
    assert negative_log_likelihood(logits, labels, found) <= min(scores) + 1e-9
    assert truth / 1.5 < found < truth * 1.5


def test_the_temperature_stops_at_its_bounds():
    logits = np.array([[2.0, 0.0], [0.0, 2.0]])
    assert calibrated_temperature(logits, np.array([0, 1])) == pytest.approx(0.1, rel=1e-3)
    assert calibrated_temperature(logits, np.array([1, 0])) == pytest.approx(20, rel=1e-3)


def test_the_bagged_guide_is_the_mean(planted):
    stored = [planted.experiment.run(name).logits for name in PARTS]
    bagged = planted.experiment.run("bagged").logits
    for row in range(0, len(bagged), 7):
        for k in (0, 1):
            assert math.isclose(bagged[row, k], sum(float(s[row, k]) for s in stored) / N_PARTS, abs_tol=1e-6)


# ---- the truth ---------------------------------------------------------------------------------


def test_the_oracle_says_the_posterior(planted):
    logits = planted.experiment.run("oracle").logits.astype(float)
    expected = planted.experiment.study.windows.truth["posterior_valence"]
    assert np.allclose(np.exp(logits).sum(axis=1), 1, atol=1e-6)
    assert np.allclose(np.exp(logits[:, 1]), expected, atol=1e-6)


@pytest.mark.parametrize(("p", "answer"), [(0.0, 1e-6), (1.0, 1 - 1e-6)])
def test_a_certain_oracle_stays_finite(p, answer):
    truth = SimpleNamespace(posterior=lambda target: np.array([p]))
    logits, _ = derive(RECIPES["oracle"], {}, SimpleNamespace(windows=truth, target="arousal"))
    assert np.isfinite(logits).all()
    assert torch.tensor(logits).double().softmax(1)[0, 1].item() == pytest.approx(answer, abs=1e-7)


# ---- fusions and the SVM read what they may ----------------------------------------------------


@pytest.mark.parametrize("name", ["cnn_svm", "cnn_lstm"])
def test_the_weight_of_a_late_fusion_is_chosen_on_validation_alone(name, planted):
    experiment = planted.experiment
    record, guides, split = experiment.run(name), guides_of(experiment, name), experiment.split
    elsewhere = np.concatenate([split.train, split.rows["test_trial"], split.rows["test_subject"]])
    logits, result = derive(RECIPES[name], guides, with_labels(experiment.fold_data, elsewhere))
    assert np.array_equal(logits, record.logits) and result["video_share"] == record.result["video_share"]
    _, other = derive(RECIPES[name], guides, with_labels(experiment.fold_data, split.val))
    assert other["video_share"] != record.result["video_share"]


def test_a_late_fusion_weighs_the_face_first(planted):
    """The share is the video's: k p_face + (1 − k) p_eeg."""
    experiment = planted.experiment
    record = experiment.run("cnn_lstm")
    p_face, p_eeg = (
        torch.from_numpy(experiment.run(name).logits).double().softmax(1).numpy() for name in ("face_cnn", "eeg_lstm")
    )
    share = record.result["video_share"]
    assert np.allclose(np.exp(record.logits), share * p_face + (1 - share) * p_eeg, atol=1e-5)
    assert not np.allclose(p_face, p_eeg, atol=1e-2) and share != 0.5


def test_the_svm_learns_from_training_labels_alone(planted):
    experiment = planted.experiment
    record, split = experiment.run("eeg_svm"), experiment.split
    elsewhere = np.concatenate([split.val, split.rows["test_trial"], split.rows["test_subject"]])
    logits, _ = derive(RECIPES["eeg_svm"], {}, with_labels(experiment.fold_data, elsewhere))
    assert np.array_equal(logits, record.logits)
    logits, _ = derive(RECIPES["eeg_svm"], {}, with_labels(experiment.fold_data, split.train))
    assert not np.allclose(logits, record.logits, atol=1e-2)
