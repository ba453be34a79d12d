"""Trying a teacher under other conditions: only the link that was cut is cut, and nothing else differs from a run."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from smoke_runs import fresh, same_log

from cdgkd_utils.experiments import tries
from cdgkd_utils.experiments.recipes import RECIPES
from cdgkd_utils.experiments.tries import Try, conditioned, exchanged, n_epochs, train_try


@pytest.mark.parametrize(("percent", "n_cut"), [(100, 0), (70, 3), (50, 5), (0, 10)])
def test_signals_are_exchanged_in_a_circle_inside_each_person(percent, n_cut):
    rows = np.arange(100, 130)
    people = np.repeat([3, 1, 2], 10)
    source = exchanged(rows, people, percent, np.random.default_rng(0))
    assert sorted(source) == rows.tolist()  # none is lost or seen twice
    person_of = dict(zip(rows, people, strict=True))
    assert all(person_of[a] == person_of[b] for a, b in zip(rows, source, strict=True))
    for person in (1, 2, 3):
        mine = people == person
        assert (source[mine] != rows[mine]).sum() == n_cut
        position = dict(zip(rows[mine], source[mine], strict=True))
        start = next((row for row, other in position.items() if other != row), None)
        walked = [start]
        while start is not None and position[walked[-1]] != start:
            walked.append(position[walked[-1]])
        assert start is None or len(walked) == n_cut  # one circle


def test_less_signal_cuts_more_links_and_a_single_window_keeps_its_own():
    rows, people = np.arange(20), np.repeat([1, 2], 10)
    cut = {
        percent: set(np.flatnonzero(exchanged(rows, people, percent, np.random.default_rng(5)) != rows))
        for percent in (80, 50, 20)
    }
    assert cut[80] < cut[50] < cut[20]
    assert exchanged(np.array([7]), np.array([1]), 0, np.random.default_rng(0)).tolist() == [7]


def test_conditions_touch_one_modality_and_no_test_window(experiment):
    masks = torch.rand(experiment.inputs.frame_mask.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    whole, split = replace(experiment.inputs, frame_mask=masks), experiment.split
    experiment.inputs = whole
    subjects = experiment.study.windows.index["subject"].to_numpy()
    for conditions, moved, kept in (
        (Try(eeg_signal=0), ["eeg"], ["video", "frame_mask"]),
        (Try(video_signal=0), ["video", "frame_mask"], ["eeg"]),
    ):
        inputs = conditioned(experiment, conditions)
        assert all(inputs.view(name) is whole.view(name) for name in kept)
        assert torch.equal(inputs.labels, whole.labels) and torch.equal(inputs.train, whole.train)
        seen = np.concatenate([split.train, split.val])
        unseen = np.setdiff1d(np.arange(len(whole.labels)), seen)
        for name in moved:
            assert torch.equal(inputs.view(name)[unseen], whole.view(name)[unseen])
        before, after = whole.view(moved[0]), inputs.view(moved[0])
        for part in (split.train, split.val):
            for person in np.unique(subjects[part]):
                mine = part[subjects[part] == person]
                changed = sum(not torch.equal(before[row], after[row]) for row in mine)
                assert changed == (len(mine) if len(mine) > 1 else 0)
                # The same signals, at other moments.
                assert torch.equal(before[mine].sum(1).flatten(1).sort(0)[0], after[mine].sum(1).flatten(1).sort(0)[0])
    # Frames and their mask move together.
    mask_of = {v.numpy().tobytes(): m.tolist() for v, m in zip(whole.video, whole.frame_mask, strict=True)}
    both = zip(inputs.video, inputs.frame_mask, strict=True)
    assert all(mask_of[v.numpy().tobytes()] == m.tolist() for v, m in both)


def test_with_all_its_signal_a_try_is_the_run(experiment):
    recipe = replace(RECIPES["fusion_rebalanced"], selection="last_epoch", grid=()).but(strength=3.0)
    for optimiser, training in (("sgd", {}), ("adam", {"optimizer": "adam", "learning_rate": 1e-3})):
        log = train_try(experiment, strength=3, optimiser=optimiser)
        assert same_log(log, experiment.run(replace(recipe, training=training)).log)


def test_strength_0_trains_as_plain_fusion_does(experiment):
    log = train_try(experiment, strength=0)
    plain = experiment.run(replace(RECIPES["fusion"], selection="last_epoch")).log
    columns = ["imbalance_ratio", "val_loss", "train_loss", "proto_accuracy_eeg", "train_accuracy"]
    assert log[columns].equals(plain[columns])


def test_a_try_is_made_once_and_another_condition_is_another_try(experiment, home, monkeypatch):
    told = []
    first = train_try(experiment, eeg_signal=40, on_epoch=lambda log: told.append(len(log)))
    assert told == list(range(1, n_epochs(experiment) + 1)) == [1, 2]
    other = train_try(experiment, video_signal=40)
    assert not same_log(first, other) and len(list((home / "tries").iterdir())) == 2
    monkeypatch.setattr(tries, "fit", lambda *_, **__: pytest.fail("a training was started"))
    assert train_try(experiment, eeg_signal=40).equals(first)
    for conditions in ({"eeg_signal": 50}, {"eeg_signal": 40, "strength": 1}, {"eeg_signal": 40, "optimiser": "adam"}):
        with pytest.raises(pytest.fail.Exception):
            train_try(experiment, **conditions)


def test_an_interrupted_try_is_not_stored(experiment, home):
    def stop(log):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_try(experiment, on_epoch=stop)
    assert not (home / "tries").exists()


def test_the_reference_family_is_tried_with_the_compact_teacher(experiment):
    log = train_try(experiment)
    study = replace(experiment.study, params=replace(experiment.study.params, family="reference"))
    study.windows = experiment.study.windows
    assert train_try(fresh(study, experiment), strength=10.0).equals(log)
    assert log["train_loss"].notna().all()


def test_no_column_of_a_try_was_scored_on_a_test_part(experiment, monkeypatch):
    """All that the training may touch are training and validation rows."""
    rows_seen = []
    of = type(experiment.inputs).of
    monkeypatch.setattr(
        type(experiment.inputs), "of", lambda self, model, rows: rows_seen.append(rows) or of(self, model, rows)
    )
    train_try(experiment, video_signal=30)
    allowed = np.concatenate([experiment.split.train, experiment.split.val])
    assert np.isin(torch.cat(rows_seen).numpy(), allowed).all()


@pytest.mark.parametrize(
    ("conditions", "said"),
    [
        ({"eeg_signal": -10}, "eeg_signal: expected 0 to 100"),
        ({"video_signal": 101}, "video_signal: expected 0 to 100"),
        ({"strength": -1.0}, "strength: expected 0 or more, got -1.0"),
        ({"strength": float("nan")}, "strength: expected 0 or more, got nan"),
        ({"optimiser": "lbfgs"}, "optimiser: expected one of sgd, adam, got 'lbfgs'"),
    ],
)
def test_wrong_conditions_are_named(conditions, said):
    with pytest.raises(ValueError, match=said):
        Try(**conditions)
