"""Few labels: who is rated is drawn blindly, and what nobody rated reaches no network."""

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from planted import PLANTED, planted_study, planted_windows
from torch.nn import functional as F

from cdgkd_utils.data.splits import trial_ids
from cdgkd_utils.experiments.recipes import find_recipe
from cdgkd_utils.experiments.runs import Experiment
from cdgkd_utils.experiments.study import rated_rows
from cdgkd_utils.methods.distillation import DenseGuidance
from cdgkd_utils.methods.loss import UNRATED
from cdgkd_utils.models.output import ModelOutput

TINY = replace(PLANTED, name="tiny", teacher_epochs=2, student_epochs=2)


# ---- who is rated ------------------------------------------------------------------------------


def blind(n_train=12, n_val=3, n_subjects=4, seed=0, fold=0):
    """All that the draw may know: subjects, trials and parts. There are no labels and no ratings to look at."""
    axes = (range(1, n_subjects + 1), range(1, n_train + n_val + 3), range(3))
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    index = pd.DataFrame(grid, columns=["subject", "trial", "window"])
    parts = np.random.default_rng(8).permutation(n_train + n_val + 2)[index["trial"] - 1]  # two trials are of no part
    known = (index["subject"] < n_subjects).to_numpy()  # the last person is not known
    rows = {
        "train": np.flatnonzero((parts < n_train) & known),
        "val": np.flatnonzero((parts >= n_train) & (parts < n_train + n_val) & known),
    }
    inputs = SimpleNamespace(**{name: torch.from_numpy(part) for name, part in rows.items()})
    return SimpleNamespace(seed=seed, index=index, trials=trial_ids(index), fold=fold, inputs=inputs)


def trials_of(data, rows):
    """Rated trials by subject."""
    return {subject: set(group["trial"]) for subject, group in data.index.iloc[rows.numpy()].groupby("subject")}


@pytest.mark.parametrize("n_rated", [1, 2, 3, 5, 8, 12, 40])
def test_each_known_person_rates_so_many_whole_trials(n_rated):
    data = blind()
    rated, inputs, trials = rated_rows(data, n_rated), data.inputs, data.trials
    for rows, part in ((rated[0], inputs.train), (rated[1], inputs.val)):
        assert rows.dtype == torch.int64 and rows.tolist() == sorted(set(rows.tolist()))
        assert set(rows.tolist()) <= set(part.tolist())
        rest = np.setdiff1d(part.numpy(), rows.numpy())
        assert not set(trials[rest]) & set(trials[rows.numpy()])  # a trial is rated or it is not
    expected = {1: (1, 1), 2: (2, 1), 3: (3, 1), 5: (5, 1), 8: (8, 2), 12: (12, 3), 40: (12, 3)}[n_rated]
    for subject in (1, 2, 3):
        counts = tuple(len(trials_of(data, rows)[subject]) for rows in rated)
        assert counts == expected
    assert set(trials_of(data, rated[0])) == {1, 2, 3}


def test_fewer_are_always_among_more():
    data = blind()
    draws = [rated_rows(data, n) for n in range(1, 14)]
    for fewer, more in pairwise(draws):
        assert set(fewer[0].tolist()) <= set(more[0].tolist())
        assert set(fewer[1].tolist()) <= set(more[1].tolist())


def test_seed_and_fold_and_person_draw_anew():
    places = ((0, 0), (1, 0), (0, 1), (0, 0))
    draws = [rated_rows(blind(seed=seed, fold=fold), 4)[0].tolist() for seed, fold in places]
    assert draws[0] == draws[3] and draws[0] != draws[1] != draws[2] != draws[0]
    chosen = trials_of(blind(), rated_rows(blind(), 4)[0])
    assert len({frozenset(trials) for trials in chosen.values()}) == 3


def test_a_persons_ratings_do_not_depend_on_who_else_is_there():
    many, few = blind(n_subjects=6), blind(n_subjects=3)
    ours, theirs = (trials_of(one, rated_rows(one, 4)[0]) for one in (many, few))
    assert {subject: ours[subject] for subject in theirs} == theirs


# ---- what reaches a network --------------------------------------------------------------------


@pytest.fixture
def experiment(tmp_path, monkeypatch):
    monkeypatch.setenv("CDGKD_HOME", str(tmp_path))
    windows = planted_windows(n_subjects=6, n_trials=20)
    return Experiment(planted_study(monkeypatch, windows, TINY), "valence", 0)


def flipped(experiment, rows):
    """The experiment with the labels of some rows turned round, wherever they are asked for."""
    labels = experiment.inputs.labels.clone()
    labels[rows] = 1 - labels[rows]
    changed = Experiment(experiment.study, experiment.target, experiment.fold)
    changed.fold_data = replace(experiment.fold_data, inputs=replace(experiment.inputs, labels=labels))
    return changed


def unrated(experiment, n_rated):
    """Every row but the rated ones: of training, validation and both tests."""
    rated = torch.cat(list(rated_rows(experiment.fold_data, n_rated)))
    every = experiment.inputs.every_row
    return every[~torch.isin(every, rated)]


def result(experiment, name, home, monkeypatch):
    """Stored in a home of its own, with its guides: a label is not in a run's key."""
    monkeypatch.setenv("CDGKD_HOME", str(home))
    record = experiment.run(name)
    return record.logits, record.log.drop(columns="seconds"), record.result["chosen_epoch"]


@pytest.mark.parametrize("name", ["ce#3", "kd@eeg#3", "kd@ce#3", "cdgkd#3"])
def test_ratings_that_were_not_given_change_nothing(name, experiment, tmp_path, monkeypatch):
    changed = flipped(experiment, unrated(experiment, 3))
    one, two = (
        result(which, name, tmp_path / home, monkeypatch) for home, which in (("a", experiment), ("b", changed))
    )
    assert np.array_equal(one[0], two[0]) and one[1].equals(two[1]) and one[2] == two[2]


@pytest.mark.parametrize("name", ["ce#3", "kd@eeg#3"])
@pytest.mark.parametrize("part", ["train", "val"])
def test_ratings_that_were_given_are_used(name, part, experiment, tmp_path, monkeypatch):
    changed = flipped(experiment, rated_rows(experiment.fold_data, 3)[part == "val"])
    one, two = (
        result(which, name, tmp_path / home, monkeypatch) for home, which in (("a", experiment), ("b", changed))
    )
    assert not one[1].equals(two[1])
    if part == "train":
        assert not np.array_equal(one[0], two[0])


@pytest.mark.parametrize("name", ["ce#3", "eeg#3", "fusion_rebalanced#3"])
def test_a_network_without_guides_has_the_rated_rows_alone(name, experiment):
    inputs, rated = experiment.learner(find_recipe(name)).inputs, rated_rows(experiment.fold_data, 3)
    assert inputs.train.equal(rated[0]) and inputs.val.equal(rated[1])
    known = torch.cat(list(rated))
    assert inputs.labels[known].equal(experiment.inputs.labels[known])
    assert (inputs.labels[unrated(experiment, 3)] == UNRATED).all()


def test_a_network_with_guides_hears_them_on_every_training_row(experiment):
    guide = SimpleNamespace(logits=torch.zeros(len(experiment.inputs.labels), 2))
    inputs = experiment.learner(find_recipe("kd@eeg#3"), {"eeg#3": guide}).inputs
    rated = rated_rows(experiment.fold_data, 3)
    assert inputs.train.equal(experiment.inputs.train) and inputs.val.equal(rated[1])
    assert sorted(torch.nonzero(inputs.labels != UNRATED)[:, 0].tolist()) == sorted(torch.cat(list(rated)).tolist())


# ---- the loss ----------------------------------------------------------------------------------

N = 6
ROWS = torch.tensor([4, 1, 9, 0, 7, 3])
LABELS = torch.tensor([1, UNRATED, 0, UNRATED, UNRATED, 1])
GUIDE = torch.randn(12, 2, generator=torch.Generator().manual_seed(1))


def learners_logits():
    return torch.randn(N, 2, generator=torch.Generator().manual_seed(2)).requires_grad_()


def loss_of(labels, kd_weight=0.7, logits=None):
    loss = DenseGuidance({"eeg": GUIDE}, kd_weight=kd_weight, temperature=2.0)
    return loss(ModelOutput(logits, {}), labels, ROWS)


def by_hand(logits, labels, kd_weight=0.7, temperature=2.0):
    """In float64, window by window: cross-entropy over rated windows, divergence over all."""
    x, guide = logits.detach().double().numpy(), GUIDE.double().numpy()[ROWS.numpy()]

    def log_p(v):
        return v - np.log(np.exp(v).sum())

    ce = [-log_p(x[i])[label] for i, label in enumerate(labels.tolist()) if label != UNRATED]
    kd = []
    for i in range(N):
        q, p = log_p(guide[i] / temperature), log_p(x[i] / temperature)
        kd.append(temperature**2 * sum(np.exp(q[k]) * (q[k] - p[k]) for k in (0, 1)))
    return (1 - kd_weight) * (sum(ce) / len(ce) if ce else 0.0), kd_weight * sum(kd) / N


@pytest.mark.parametrize("labels", [LABELS, torch.full((N,), UNRATED), torch.tensor([1, 0, 0, 1, 1, 0])])
def test_only_rated_windows_have_a_cross_entropy(labels):
    logits = learners_logits()
    value, (ce, kd) = loss_of(labels, logits=logits), by_hand(logits, labels)
    assert value.total.item() == pytest.approx(ce + kd, rel=1e-5)
    assert value.parts["loss_ce"] == pytest.approx(ce, rel=1e-5)
    assert value.parts["loss_kd_eeg"] == pytest.approx(kd, rel=1e-5)


def gradient(labels, **options):
    logits = learners_logits()
    (found,) = torch.autograd.grad(loss_of(labels, logits=logits, **options).total, logits)
    return found


def guides_gradient(kd_weight=0.7):
    """λ T (softmax(x / T) − softmax(g / T)) / n, the closed form."""
    x, guide = learners_logits().detach() / 2, GUIDE[ROWS] / 2
    return kd_weight * 2 * (F.softmax(x, 1) - F.softmax(guide, 1)) / N


def test_an_unrated_windows_gradient_is_the_guides_alone():
    found, heard = gradient(LABELS), guides_gradient()
    none = LABELS == UNRATED
    torch.testing.assert_close(found[none], heard[none])
    told = F.softmax(learners_logits().detach(), 1)[~none] - F.one_hot(LABELS[~none], 2)
    torch.testing.assert_close(found[~none], heard[~none] + 0.3 * told / 3)  # a mean over the three rated windows


def test_a_batch_that_nobody_rated_teaches_by_its_guides():
    labels = torch.full((N,), UNRATED)
    found = gradient(labels)
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found, guides_gradient())
    assert loss_of(labels, logits=learners_logits()).parts["loss_ce"] == 0


def test_all_ratings_by_number_are_the_usual_training(experiment, tmp_path, monkeypatch):
    """kd#n with n as large as there are trials differs from kd in its name only."""
    few, usual = (result(experiment, name, tmp_path / name, monkeypatch) for name in ("kd#40", "kd"))
    assert np.array_equal(few[0], usual[0])
    few[1].columns = [column.replace("#40", "") for column in few[1].columns]
    assert few[1].equals(usual[1])
