"""Guides that are no networks: shuffled, cross-fitted by subject, what the EEG sees, and the stored check."""

from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from planted import PLANTED, planted_study, planted_windows
from scipy.special import expit

from cdgkd_utils.data.splits import trial_ids
from cdgkd_utils.data.twin import eeg_posterior
from cdgkd_utils.experiments.losses import derive
from cdgkd_utils.experiments.losses import Guide
from cdgkd_utils.experiments.recipes import RECIPES
from cdgkd_utils.experiments.runs import Experiment
from cdgkd_utils.methods.guide_report import guide_report

TINY = replace(PLANTED, name="tiny", teacher_epochs=1, student_epochs=1)


@pytest.fixture(scope="module")
def planted():
    with pytest.MonkeyPatch.context() as patch:
        study = planted_study(patch, planted_windows(eeg=0.1, video=0.05), TINY)
        assert len(study.covariances)
        yield study


@pytest.fixture
def experiment(planted):
    return Experiment(planted, "valence", 0)


def guide_of(logits):
    """A finished run, as far as what is made from it asks."""
    return {"eeg": Guide(np.asarray(logits, np.float32), None, None, {})}


def planted_guide(experiment, seed=0):
    """Logits of a guide that knows of each trial something that its label does not say, and of each window a little."""
    rng = np.random.default_rng(seed)
    trials, labels = trial_ids(experiment.study.windows.index), experiment.study.labels("valence")
    knows = rng.normal(size=trials.max() + 1)[trials]
    score = 2 * labels - 1 + knows + 0.1 * rng.normal(size=len(labels))
    return np.stack([np.zeros(len(score)), score], axis=1).astype(np.float32), knows


def elsewhere(experiment):
    """Rows of no training trial."""
    return np.setdiff1d(np.arange(len(experiment.study.windows)), experiment.split.train)


def with_labels(data, rows):
    """The fold with the labels of some rows turned round."""
    labels = data.labels.copy()
    labels[rows] = 1 - labels[rows]
    return replace(data, labels=labels, inputs=replace(data.inputs, labels=torch.from_numpy(labels)))


# ---- shuffled ----------------------------------------------------------------------------------


def shuffled(experiment, logits):
    return derive(RECIPES["eeg_shuffled"], guide_of(logits), experiment.fold_data)[0]


def test_a_shuffled_guide_is_as_right_and_as_sure_as_it_was(experiment):
    logits, _ = planted_guide(experiment)
    moved, train, labels = shuffled(experiment, logits), experiment.split.train, experiment.study.labels("valence")
    for label in (0, 1):
        rows = train[labels[train] == label]
        assert sorted(map(tuple, moved[rows].tolist())) == sorted(map(tuple, logits[rows].tolist()))

    def told(answers):
        p = expit(answers[train, 1].astype(float))
        right = (p > 0.5) == labels[train]
        entropy, nll = -(p * np.log(p) + (1 - p) * np.log(1 - p)), -np.log(np.where(labels[train], p, 1 - p))
        return right.sum(), np.sort(entropy).tolist(), np.sort(nll).tolist()

    assert told(moved) == told(logits)


def test_a_shuffled_guide_moves_whole_trials(experiment):
    """Each logit is its window's number, so that it tells where it came from."""
    index, train, labels = experiment.study.windows.index, experiment.split.train, experiment.study.labels("valence")
    numbers = np.stack([np.arange(len(index)), np.arange(len(index))], axis=1)
    origin, trials = shuffled(experiment, numbers)[:, 0].astype(int), trial_ids(index)
    givers = {trial: set(trials[origin[train[trials[train] == trial]]]) for trial in np.unique(trials[train])}
    assert all(len(giver) == 1 for giver in givers.values())  # all windows of a trial from one
    assert sorted(trial for giver in givers.values() for trial in giver) == sorted(givers)  # and each gives once
    assert np.array_equal(index["window"].to_numpy()[origin[train]], index["window"].to_numpy()[train])
    assert np.array_equal(labels[origin[train]], labels[train])
    assert sum(giver == {trial} for trial, giver in givers.items()) <= 8  # one of each label stays, on average
    assert np.array_equal(origin[elsewhere(experiment)], elsewhere(experiment))


def test_a_shuffled_guide_knows_nothing_of_a_trial_but_its_label(experiment):
    logits, knows = planted_guide(experiment)
    train, labels = experiment.split.train, experiment.study.labels("valence")
    moved = shuffled(experiment, logits)
    n_trials = len(np.unique(trial_ids(experiment.study.windows.index)[train]))
    for answers, least, most in ((logits, 0.95, 1.0), (moved, -4 / np.sqrt(n_trials), 4 / np.sqrt(n_trials))):
        means = np.array([answers[train[labels[train] == label], 1].mean() for label in (0, 1)])
        within = answers[train, 1] - means[labels[train]]
        assert least <= np.corrcoef(within, knows[train])[0, 1] <= most


def test_a_shuffle_is_drawn_from_seed_and_fold(experiment):
    guide, data = guide_of(planted_guide(experiment)[0]), experiment.fold_data

    def at(seed, fold):
        return derive(RECIPES["eeg_shuffled"], guide, replace(data, seed=seed, fold=fold))[0]

    assert np.array_equal(at(0, 0), at(0, 0)) and np.array_equal(at(5, 0), at(5, 0))
    assert not any(np.array_equal(at(0, 0), at(*place)) for place in ((5, 0), (0, 1)))


def test_a_shuffle_looks_at_training_labels_alone_and_leaves_its_guide_as_it_was(experiment):
    logits, _ = planted_guide(experiment)
    guide, data = guide_of(logits), experiment.fold_data
    first = derive(RECIPES["eeg_shuffled"], guide, data)[0]
    other = derive(RECIPES["eeg_shuffled"], guide, with_labels(data, elsewhere(experiment)))[0]
    assert np.array_equal(other, first) and np.array_equal(guide["eeg"].answers, logits)
    rows = np.flatnonzero(data.trials == data.trials[data.split.train[0]])
    assert not np.array_equal(derive(RECIPES["eeg_shuffled"], guide, with_labels(data, rows))[0], first)


# ---- what a perfect EEG-only teacher would say -------------------------------------------------


def test_the_eegs_oracle_says_its_posterior(study):
    data = SimpleNamespace(windows=study.windows, target="arousal")
    logits, result = derive(RECIPES["oracle_eeg"], {}, data)
    expected = eeg_posterior(study.windows, "arousal")
    assert logits.dtype == np.float32 and logits.shape == (len(study.windows), 2) and result == {}
    np.testing.assert_allclose(np.exp(logits.astype(float)), np.stack([1 - expected, expected], 1), atol=1e-6)
    assert not np.allclose(expected, eeg_posterior(study.windows, "valence"), atol=0.1)
    assert not np.allclose(expected, study.windows.posterior("arousal"), atol=0.1)  # the face's own part is not in it


@pytest.mark.parametrize("name", ["oracle_eeg", "oracle"])
def test_on_real_data_there_is_no_oracle(name, experiment, study):
    """Nor on the twin's files, which do not tell their world."""
    data = SimpleNamespace(windows=replace(experiment.study.windows, truth=None), target="valence")
    with pytest.raises(ValueError, match=f"^recipe {name}: .* is known on the (generated )?twin only"):
        derive(RECIPES[name], {}, data)
    settings = {name: value for name, value in study.windows.meta["settings"].items() if name != "world"}
    data.windows = replace(study.windows, meta={**study.windows.meta, "settings": settings})
    if name == "oracle_eeg":
        with pytest.raises(ValueError, match="generated twin only"):
            derive(RECIPES[name], {}, data)


# ---- the check, stored like a run --------------------------------------------------------------


def reported(data, logits):
    return derive(RECIPES["eeg_report"], guide_of(logits), data)


def test_the_report_is_that_of_the_training_rows(experiment):
    logits, _ = planted_guide(experiment)
    answers, result = reported(experiment.fold_data, logits)
    assert np.array_equal(answers, logits)  # it changes nothing
    rows, inputs = experiment.split.train, experiment.inputs
    index = experiment.study.windows.index.iloc[rows]
    by_hand = guide_report(
        expit(logits[rows, 1].astype(float) - logits[rows, 0]),
        experiment.study.labels("valence")[rows],
        inputs.video.numpy()[rows].mean(axis=1),  # no frame is missing
        [f"{one.subject} {one.trial:02d}" for one in index.itertuples()],
        seed=0,
        subjects=index["subject"],
    )
    expected, found = asdict(by_hand), dict(result["report"])
    assert found.pop("verdict") == expected.pop("verdict")
    assert found == pytest.approx(expected, nan_ok=True, rel=1e-4)


def test_the_report_knows_nothing_of_other_rows(experiment):
    logits, _ = planted_guide(experiment)
    data, rest = experiment.fold_data, elsewhere(experiment)
    video, mask, other = data.inputs.video.clone(), data.inputs.frame_mask.clone(), logits.copy()
    video[rest], mask[rest], other[rest] = torch.randn(len(rest), *video.shape[1:]), False, 50.0
    changed = with_labels(data, rest)
    changed = replace(changed, inputs=replace(changed.inputs, video=video, frame_mask=mask))
    assert repr(reported(changed, other)) != repr(reported(data, logits))  # its answers elsewhere
    assert repr(reported(changed, other)[1]) == repr(reported(data, logits)[1])  # to the bit; NaN is NaN


def test_the_report_listens_to_labels_faces_and_guide_of_training_rows(experiment):
    logits, _ = planted_guide(experiment)
    data, train = experiment.fold_data, experiment.inputs.train
    video = data.inputs.video.clone()
    video[train] = video[train.flip(0)]
    other_faces = replace(data, inputs=replace(data.inputs, video=video))
    expected = reported(data, logits)[1]["report"]
    changes = ((with_labels(data, train.numpy()), logits), (other_faces, logits), (data, -logits))
    found = [reported(*one)[1]["report"] for one in changes]
    assert all(report["margin"] != expected["margin"] for report in found)
    assert found[2]["r_guide"] == pytest.approx(-expected["r_guide"], abs=1e-6)  # 1 - p in place of p
