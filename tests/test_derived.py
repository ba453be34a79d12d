"""Runs without a network of their own: cross-fitted, averaged and shuffled guides, late fusion, SVM, truth, check."""

from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from planted import PLANTED, planted_study, planted_windows
from scipy.special import expit, softmax

from cdgkd_utils.data.splits import trial_ids
from cdgkd_utils.data.twin import eeg_posterior
from cdgkd_utils.experiments import runs
from cdgkd_utils.experiments.losses import Guide, calibrated_temperature, derive
from cdgkd_utils.experiments.recipes import N_PARTS, RECIPES
from cdgkd_utils.experiments.runs import Experiment
from cdgkd_utils.experiments.study import part_rows
from cdgkd_utils.methods.guide_report import guide_report
from cdgkd_utils.training import loop

SHORT = replace(PLANTED, name="short", teacher_epochs=2, student_epochs=2)
PARTS = RECIPES["oof"].guides


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """An experiment, and for each network trained in it the training rows that its loss was asked about."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CDGKD_HOME", str(tmp_path_factory.mktemp("derived")))
        experiment = Experiment(planted_study(patch, planted_windows(eeg=0.1, video=0.05), SHORT), "valence", 0)
        seen = []

        def spy(model, inputs, loss, settings, **options):
            seen.append([])

            class Listener:
                def __getattr__(self, name):
                    return getattr(loss, name)

                def __call__(self, output, labels, rows):
                    seen[-1] += rows.tolist()
                    return loss(output, labels, rows)

            return loop.fit(model, inputs, Listener(), settings, **options)

        patch.setattr(runs, "fit", spy)
        for name in PARTS:
            experiment.run(name)
        heard = dict(zip(PARTS, seen, strict=True))
        for name in ("oof", "bagged", "cnn_svm", "cnn_lstm", "oracle"):
            experiment.run(name)
        yield SimpleNamespace(experiment=experiment, heard=heard)


@pytest.fixture
def experiment(planted):
    return planted.experiment


def guide_of(logits):
    return {"eeg": Guide(np.asarray(logits, np.float32), None, None, {})}


def with_labels(data, rows):
    """The fold with the labels of some rows turned round."""
    labels = data.labels.copy()
    labels[rows] = 1 - labels[rows]
    return replace(data, labels=labels, inputs=replace(data.inputs, labels=torch.from_numpy(labels)))


def elsewhere(experiment):
    """Rows of no training trial."""
    return np.setdiff1d(np.arange(len(experiment.study.windows)), experiment.split.train)


# ---- cross-fitted and averaged guides ----------------------------------------------------------


def test_the_parts_deal_every_training_trial_once_to_each_subject(planted, experiment):
    data, train = experiment.fold_data, experiment.split.train
    trials, subjects, labels = data.trials, data.index["subject"].to_numpy(), data.labels
    parts = [part_rows(data, part) for part in range(N_PARTS)]
    assert sorted(np.concatenate(parts).tolist()) == sorted(train.tolist())
    for name, part in zip(PARTS, parts, strict=True):
        kept = np.setdiff1d(train, part)
        assert not set(trials[part]) & set(trials[kept])
        assert sorted(planted.heard[name]) == sorted(2 * kept.tolist())  # once in each of the two epochs
        for subject in np.unique(subjects[train]):  # else it would be known from the subject which label is likelier
            inside, outside = (labels[r[subjects[r] == subject]].mean() for r in (part, kept))
            assert abs(inside - outside) <= 0.5  # two or three trials of a part cannot have the exact share


def test_out_of_fold_answers_are_those_of_the_network_that_missed_the_trial(planted, experiment):
    record, bagged = experiment.run("oof"), experiment.run("bagged").logits
    logits, stored = record.logits * record.result["temperature"], {name: experiment.run(name).logits for name in PARTS}
    np.testing.assert_allclose(bagged, sum(stored.values()) / N_PARTS, atol=1e-5)
    np.testing.assert_allclose(logits[elsewhere(experiment)], bagged[elsewhere(experiment)], atol=1e-5)
    for row in experiment.split.train.tolist():
        (unseen,) = (name for name in PARTS if row not in planted.heard[name])
        np.testing.assert_allclose(logits[row], stored[unseen][row], atol=1e-5)


@pytest.mark.parametrize("truth", [0.4, 1.0, 7.0])
def test_the_temperature_agrees_with_a_grid_search(truth):
    """Labels drawn from softmax(logits / truth): a network that is too sure by that factor."""
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(600, 2)) * truth * 2
    labels = (rng.random(600) < expit((logits[:, 1] - logits[:, 0]) / truth)).astype(int)

    def loss(t):
        return -np.log(softmax(logits / t, axis=1)[np.arange(600), labels]).mean()

    found, grid = calibrated_temperature(logits, labels), np.geomspace(0.1, 20, 160)
    assert loss(found) <= min(map(loss, grid)) + 1e-9 and truth / 1.5 < found < truth * 1.5
    certain = np.array([[2.0, 0.0], [0.0, 2.0]])
    assert calibrated_temperature(certain, np.array([1, 0])) == pytest.approx(20, rel=1e-3)


# ---- what may be read --------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cnn_svm", "cnn_lstm"])
def test_the_weight_of_a_late_fusion_is_the_videos_and_chosen_on_validation_alone(name, experiment):
    record, split = experiment.run(name), experiment.split
    guides = {one: Guide(experiment.run(one).logits, None, None, {}) for one in RECIPES[name].guides}
    others = np.setdiff1d(np.arange(len(experiment.study.windows)), split.val)
    logits, result = derive(RECIPES[name], guides, with_labels(experiment.fold_data, others))
    share = record.result["video_share"]
    assert np.array_equal(logits, record.logits) and result["video_share"] == share
    assert derive(RECIPES[name], guides, with_labels(experiment.fold_data, split.val))[1]["video_share"] != share
    p_face, p_eeg = (softmax(guide.answers.astype(float), axis=1) for guide in guides.values())
    np.testing.assert_allclose(np.exp(record.logits), share * p_face + (1 - share) * p_eeg, atol=1e-5)


def test_the_svm_learns_from_training_labels_alone(experiment):
    record, data = experiment.run("eeg_svm"), experiment.fold_data
    logits, _ = derive(RECIPES["eeg_svm"], {}, with_labels(data, elsewhere(experiment)))
    assert np.array_equal(logits, record.logits)
    logits, _ = derive(RECIPES["eeg_svm"], {}, with_labels(data, experiment.split.train))
    assert not np.allclose(logits, record.logits, atol=1e-2)


# ---- the truth ---------------------------------------------------------------------------------


def test_the_oracles_say_the_posterior_and_there_is_none_on_real_data(experiment, study):
    said = np.exp(experiment.run("oracle").logits.astype(float))
    np.testing.assert_allclose(said[:, 1], experiment.study.windows.truth["posterior_valence"], atol=1e-6)
    data = SimpleNamespace(windows=study.windows, target="arousal")
    expected = eeg_posterior(study.windows, "arousal")
    said = np.exp(derive(RECIPES["oracle_eeg"], {}, data)[0].astype(float))
    np.testing.assert_allclose(said, np.stack([1 - expected, expected], 1), atol=1e-6)
    assert not np.allclose(expected, study.windows.posterior("arousal"), atol=0.1)  # the face's own part is not in it
    certain = SimpleNamespace(posterior=lambda target: np.array([0.0, 1.0]))
    logits, _ = derive(RECIPES["oracle"], {}, SimpleNamespace(windows=certain, target="arousal"))
    np.testing.assert_allclose(softmax(logits.astype(float), axis=1)[:, 1], [1e-6, 1 - 1e-6], atol=1e-7)
    real = SimpleNamespace(windows=replace(study.windows, truth=None), target="valence")
    for name in ("oracle_eeg", "oracle"):
        with pytest.raises(ValueError, match=f"^recipe {name}: .* twin only"):
            derive(RECIPES[name], {}, real)


# ---- shuffled ----------------------------------------------------------------------------------


def planted_guide(experiment, seed=0):
    """Logits of a guide that knows of each trial something that its label does not say, and of each window a little."""
    rng, trials = np.random.default_rng(seed), trial_ids(experiment.study.windows.index)
    knows = rng.normal(size=trials.max() + 1)[trials]
    score = 2 * experiment.study.labels("valence") - 1 + knows + 0.1 * rng.normal(size=len(trials))
    return np.stack([np.zeros(len(score)), score], axis=1).astype(np.float32)


def test_a_shuffled_guide_moves_whole_trials_and_is_as_right_and_as_sure_as_it_was(experiment):
    """Each logit is its window's number, so that it tells where it came from."""
    data, train = experiment.fold_data, experiment.split.train
    index, labels, trials, rest = data.index, data.labels, data.trials, elsewhere(experiment)
    guide = guide_of(np.stack([np.arange(len(index))] * 2, axis=1))
    origin = derive(RECIPES["eeg_shuffled"], guide, data)[0][:, 0].astype(int)
    givers = {trial: set(trials[origin[train[trials[train] == trial]]]) for trial in np.unique(trials[train])}
    assert all(len(giver) == 1 for giver in givers.values())  # all windows of a trial from one
    assert sorted(trial for giver in givers.values() for trial in giver) == sorted(givers)  # and each gives once
    assert np.array_equal(index["window"].to_numpy()[origin[train]], index["window"].to_numpy()[train])
    assert np.array_equal(labels[origin[train]], labels[train]) and np.array_equal(origin[rest], rest)
    assert sum(giver == {trial} for trial, giver in givers.items()) <= 8  # one of each label stays, on average
    for changed, same in (
        (with_labels(data, rest), True),
        (replace(data, seed=5), False),
        (replace(data, fold=1), False),
    ):
        again = derive(RECIPES["eeg_shuffled"], guide, changed)[0][:, 0].astype(int)
        assert np.array_equal(again, origin) == same


# ---- the check, stored like a run --------------------------------------------------------------


def test_the_report_is_that_of_the_training_rows_and_reads_nothing_else(experiment):
    logits, data, rows = planted_guide(experiment), experiment.fold_data, experiment.split.train
    answers, result = derive(RECIPES["eeg_report"], guide_of(logits), data)
    assert np.array_equal(answers, logits)  # it changes nothing
    by_hand = guide_report(
        expit(logits[rows, 1].astype(float) - logits[rows, 0]),
        data.labels[rows],
        data.inputs.video.numpy()[rows].mean(axis=1),  # no frame is missing
        [f"{one.subject} {one.trial:02d}" for one in data.index.iloc[rows].itertuples()],
        seed=0,
        subjects=data.index["subject"].iloc[rows],
    )
    expected, found = asdict(by_hand), dict(result["report"])
    assert found.pop("verdict") == expected.pop("verdict")
    assert found == pytest.approx(expected, nan_ok=True, rel=1e-4)
    rest, other = elsewhere(experiment), logits.copy()
    video, mask = data.inputs.video.clone(), data.inputs.frame_mask.clone()
    video[rest], mask[rest], other[rest] = torch.randn(len(rest), *video.shape[1:]), False, 50.0
    changed = with_labels(data, rest)
    changed = replace(changed, inputs=replace(changed.inputs, video=video, frame_mask=mask))
    assert repr(derive(RECIPES["eeg_report"], guide_of(other), changed)[1]) == repr(result)  # to the bit; NaN is NaN
