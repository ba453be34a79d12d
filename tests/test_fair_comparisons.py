"""Guides teach what they stored, and rivals start alike, see the same batches and no test label."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from smoke_runs import SMOKE, fresh, same_log, stored

from cdgkd_utils.experiments import runs
from cdgkd_utils.experiments.recipes import RECIPES, TEACHER, table_recipes
from cdgkd_utils.experiments.runs import Experiment
from cdgkd_utils.experiments.study import Study
from cdgkd_utils.training import loop, predict


class Listener:
    """A loss that notes the rows of every mini-batch."""

    def __init__(self, loss):
        self.loss, self.batches = loss, []

    def __getattr__(self, name):
        return getattr(self.loss, name)

    def __call__(self, output, labels, rows):
        self.batches.append(rows.tolist())
        return self.loss(output, labels, rows)


@pytest.fixture
def trainings(monkeypatch):
    """Every training in order: its loss, its first weights and its mini-batches."""
    seen = []

    def spy(model, inputs, loss, settings, **options):
        listener = Listener(loss)
        start = {name: value.clone() for name, value in model.state_dict().items()}
        seen.append(SimpleNamespace(loss=loss, start=start, listener=listener, settings=settings))
        return loop.fit(model, inputs, listener, settings, **options)

    monkeypatch.setattr(runs, "fit", spy)
    return seen


def test_guides_are_trained_first_and_their_stored_logits_guide(experiment, trainings):
    experiment.run("cdgkd")
    records = [experiment.run(name) for name in (TEACHER, "ta1_drop", "ta2_drop")]
    assert len(trainings) == 4
    for place, training_ in enumerate(trainings[1:], 1):
        assert tuple(training_.loss.guide_logits) == tuple(r.name for r in records[:place])
        for guide, record in zip(training_.loss.guide_logits.values(), records, strict=False):
            assert np.array_equal(guide.numpy(), record.logits)
    assert [t.loss.drop_prob for t in trainings[1:]] == [0.5] * 3


def test_all_students_start_alike_and_see_the_same_batches(experiment, trainings):
    students = []
    for name in table_recipes(1):
        experiment.run(name)
        students.append(trainings[-1])
    first = students[0]
    for other in students[1:]:
        start = {name.removeprefix("video."): value for name, value in other.start.items()}  # AMBOKD's video peer
        assert all(torch.equal(first.start[n], start[n]) for n in first.start)
        assert other.listener.batches == first.listener.batches
    rows = first.listener.batches
    once = [row for batch in rows[: len(rows) // 2] for row in batch]
    assert sorted(once) == sorted(experiment.split.train.tolist())
    assert rows[: len(rows) // 2] != rows[len(rows) // 2 :]  # shuffled anew in each epoch


def test_a_guide_without_weight_changes_nothing(trained):
    """KD with weight 0 is cross-entropy: what is left would be an unfair start, order or dropout."""
    silent = trained.run(RECIPES["kd"].but(kd_weight=0.0))
    alone = trained.run("ce")
    assert np.array_equal(silent.logits, alone.logits)
    assert not np.array_equal(trained.run("kd").logits, alone.logits)


def test_students_see_no_eeg(study, trained, home):
    """With the EEG replaced by NaN, students train to the same weights and predict the same."""
    whole = {name: trained.run(name) for name in table_recipes(1)}
    deaf_study = Study(SMOKE, windows=replace(study.windows, eeg=np.full(study.windows.eeg.shape, np.nan, np.float32)))
    deaf = Experiment(deaf_study, "valence", 0)
    assert torch.isnan(deaf.inputs.eeg).all()
    before = stored(home)
    everything = torch.arange(len(deaf.inputs.labels))
    for name, record in whole.items():
        assert np.array_equal(predict(record.model(), deaf.inputs, everything).logits.numpy(), record.logits)
        if name in ("fitnets", "nst", "emotionkd", "ambokd", "checked"):
            continue  # they ask a network that does see EEG, for embeddings, a peer's answer or whether to distil
        again = deaf.run(name, again=True)
        assert np.array_equal(again.logits, record.logits) and same_log(again.log, record.log)
    assert stored(home) == before
    with pytest.raises(ValueError, match="not finite"):
        deaf.run("eeg", again=True)


def test_no_network_learns_from_test_labels(study, trained):
    record = trained.run("kd")
    swapped = fresh(study, trained)
    inputs = replace(trained.inputs, labels=trained.inputs.labels.clone())
    swapped.fold_data = replace(trained.fold_data, inputs=inputs)
    tested = np.concatenate([trained.split.rows["test_trial"], trained.split.rows["test_subject"]])
    swapped.inputs.labels[tested] = 1 - swapped.inputs.labels[tested]
    assert np.array_equal(swapped.run("kd", again=True).logits, record.logits)
    swapped.inputs.labels[trained.split.train] = 0
    assert not np.array_equal(swapped.run("kd", again=True).logits, record.logits)
