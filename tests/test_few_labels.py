"""Few labels: who is rated is drawn blindly, and what nobody rated reaches no network."""

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from planted import PLANTED, planted_study, planted_windows
from scipy.special import log_softmax, rel_entr, softmax

from cdgkd_utils.data.splits import trial_ids
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


def result(experiment, name, home, monkeypatch):
    """Stored in a home of its own, with its guides: a label is not in a run's key."""
    monkeypatch.setenv("CDGKD_HOME", str(home))
    record = experiment.run(name)
    return record.logits, record.log.drop(columns="seconds"), record.result["chosen_epoch"]


@pytest.mark.parametrize("name", ["ce#3", "kd@eeg#3", "kd@ce#3", "cdgkd#3"])
def test_ratings_that_were_given_are_used_and_no_others(name, experiment, tmp_path, monkeypatch):
    rated = rated_rows(experiment.fold_data, 3)
    every = experiment.inputs.every_row
    rows = {"unrated": every[~torch.isin(every, torch.cat(list(rated)))], "train": rated[0], "val": rated[1]}
    one = result(experiment, name, tmp_path / "a", monkeypatch)
    for part, turned in rows.items():
        two = result(flipped(experiment, turned), name, tmp_path / part, monkeypatch)
        same = np.array_equal(one[0], two[0]) and one[1].equals(two[1]) and one[2] == two[2]
        assert same == (part == "unrated")


# ---- the loss ----------------------------------------------------------------------------------

N = 6
ROWS = torch.tensor([4, 1, 9, 0, 7, 3])
LABELS = torch.tensor([1, UNRATED, 0, UNRATED, UNRATED, 1])
GUIDE = torch.randn(12, 2, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("labels", [LABELS, torch.full((N,), UNRATED), torch.tensor([1, 0, 0, 1, 1, 0])])
def test_only_rated_windows_have_a_cross_entropy(labels):
    """In float64, window by window: cross-entropy over rated windows, divergence over all."""
    logits, (weight, t) = torch.randn(N, 2, generator=torch.Generator().manual_seed(2)), (0.7, 2.0)
    x, guide = logits.double().numpy(), GUIDE.double().numpy()[ROWS.numpy()]
    ce = [-log_softmax(x[i])[label] for i, label in enumerate(labels.tolist()) if label != UNRATED]
    kd = [t**2 * rel_entr(softmax(guide[i] / t), softmax(x[i] / t)).sum() for i in range(N)]
    ce, kd = (1 - weight) * (sum(ce) / len(ce) if ce else 0.0), weight * sum(kd) / N
    value = DenseGuidance({"eeg": GUIDE}, kd_weight=weight, temperature=t)(ModelOutput(logits, {}), labels, ROWS)
    assert value.total.item() == pytest.approx(ce + kd, rel=1e-5)
    assert value.parts["loss_ce"] == pytest.approx(ce, rel=1e-5)
    assert value.parts["loss_kd_eeg"] == pytest.approx(kd, rel=1e-5)


def test_all_ratings_by_number_are_the_usual_training(experiment, tmp_path, monkeypatch):
    """kd#n with n as large as there are trials differs from kd in its name only."""
    few, usual = (result(experiment, name, tmp_path / name, monkeypatch) for name in ("kd#40", "kd"))
    assert np.array_equal(few[0], usual[0])
    few[1].columns = [column.replace("#40", "") for column in few[1].columns]
    assert few[1].equals(usual[1])
