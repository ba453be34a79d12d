"""A recorded training is the run itself, and its frames are what the network was as each epoch began."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from smoke_runs import fresh, same_log, stored

from cdgkd_utils.experiments import history, runs
from cdgkd_utils.experiments.history import N_SHOWN, history_path, record_history
from cdgkd_utils.experiments.learner import fresh_learner
from cdgkd_utils.experiments.recipes import RECIPES
from cdgkd_utils.results.history import HistoryError, read_history
from cdgkd_utils.training import fit

PLAIN = replace(RECIPES["fusion"], selection="last_epoch")
REBALANCED = replace(RECIPES["fusion_rebalanced"], selection="last_epoch", grid=())


@pytest.fixture
def no_training(monkeypatch):
    return lambda: monkeypatch.setattr(runs, "fit", lambda *_, **__: pytest.fail("a training was started"))


def same_run(a, b):
    weights, other = a.model().state_dict(), b.model().state_dict()
    return (
        same_log(a.log, b.log)
        and np.array_equal(a.logits, b.logits)
        and weights.keys() == other.keys()
        and all(torch.equal(weights[name], other[name]) for name in weights)
    )


@pytest.mark.parametrize("recipe", [PLAIN, REBALANCED, RECIPES["fusion"]])
def test_recording_changes_no_bit_of_the_run(recipe, study, library, home, tmp_path_factory, monkeypatch):
    experiment = fresh(study, library[0])
    told = []
    read_history(record_history(experiment, recipe, on_epoch=lambda log: told.append(len(log))))
    assert told == [1, 2]
    recorded = experiment.run(recipe)
    monkeypatch.setenv("CDGKD_HOME", str(tmp_path_factory.mktemp("unwatched")))
    unwatched = fresh(study, library[0]).run(recipe)
    assert unwatched.folder != recorded.folder and unwatched.folder.name == recorded.folder.name
    assert same_run(recorded, unwatched)


def test_frames_are_the_states_in_which_epochs_begin(experiment):
    """Rebuilt from trainings that stop earlier, window by window, in double precision."""
    seen = read_history(record_history(experiment, REBALANCED))
    assert seen.epochs.tolist() == [0, 1] and seen.name == REBALANCED.name
    inputs = experiment.inputs
    for frame in range(2):
        model, _, loss, settings, seed = fresh_learner(experiment, REBALANCED)
        if frame:
            fit(model, inputs, loss, replace(settings, epochs=1), seed=seed)
        model.eval()
        means = {}
        with torch.no_grad():
            for m in ("eeg", "video"):
                one_by_one = [model(*inputs.of(model, row[None])).features[m][0].numpy() for row in inputs.train]
                train = np.array(one_by_one, dtype=np.float64)
                labels = inputs.labels[inputs.train].numpy()
                means[m] = np.stack([train[labels == k].mean(axis=0) for k in (0, 1)])
                shown = np.isin(inputs.train.numpy(), seen.rows)
                assert np.allclose(seen.embeddings[m][frame, seen.parts == "train"], train[shown], atol=1e-4)
        if frame == 0:
            first = means
        for m in ("eeg", "video"):
            # Half of the old prototype stays.
            wanted = means[m] if frame == 0 else (means[m] + first[m]) / 2
            assert np.allclose(seen.prototypes[m][frame], wanted, atol=1e-4)


def test_shown_windows_are_of_train_and_validation_only_and_alike_for_all_recipes(experiment):
    seen, other = (read_history(record_history(experiment, recipe)) for recipe in (PLAIN, REBALANCED))
    split = experiment.split
    assert np.array_equal(seen.rows, other.rows) and np.array_equal(seen.labels, study_labels(experiment)[seen.rows])
    for part, rows in (("train", split.train), ("val", split.val)):
        mine = seen.rows[seen.parts == part]
        assert set(mine) <= set(rows) and len(set(mine)) == len(mine) == min(N_SHOWN, len(rows))
    # Both teachers start from the same weights.
    assert all(np.array_equal(seen.embeddings[m][0], other.embeddings[m][0]) for m in ("eeg", "video"))


def study_labels(experiment):
    return experiment.study.labels(experiment.target)


def test_a_stored_history_is_read_back_and_the_run_with_it(experiment, home, no_training):
    path = record_history(experiment, PLAIN)
    assert {file.name for file in path.parent.iterdir()} == {path.name}
    assert len(stored(home)) == 1 and not (home / "unfinished").exists()
    log = experiment.run(PLAIN).log
    no_training()
    assert record_history(experiment, PLAIN) == path
    assert same_log(read_history(path).log, log) and experiment.run(PLAIN) is not None
    with pytest.raises(pytest.fail.Exception, match="training was started"):
        record_history(experiment, PLAIN, again=True)


def test_a_recorded_training_does_not_go_on_from_a_checkpoint(experiment, home):
    """Else its first frames would be missing."""

    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        experiment.run(PLAIN, on_epoch=stop)
    assert list((home / "unfinished").iterdir())
    assert read_history(record_history(experiment, PLAIN)).epochs.tolist() == [0, 1]


def test_an_interrupted_recording_leaves_no_history(experiment, home):
    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        record_history(experiment, PLAIN, on_epoch=stop)
    assert not (home / "histories").exists() and not stored(home)


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(path.read_bytes()[:-200]), lambda path: flip(path)])
def test_a_damaged_history_is_named_when_read_and_recorded_again(damage, experiment):
    path = record_history(experiment, PLAIN)
    whole = read_history(path)
    damage(path)
    with pytest.raises(HistoryError, match=rf"history {path.name} cannot be read .*record again"):
        read_history(path)
    again = read_history(record_history(experiment, PLAIN))
    assert all(np.array_equal(again.embeddings[m], whole.embeddings[m]) for m in ("eeg", "video"))


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def test_long_trainings_keep_every_few_epochs(experiment, monkeypatch):
    monkeypatch.setattr(history, "MAX_FRAMES", 2)
    monkeypatch.setattr(type(experiment), "settings", long_settings(type(experiment).settings))
    seen = read_history(record_history(experiment, REBALANCED))
    assert seen.epochs.tolist() == [0, 3] and seen.log["epoch"].tolist() == [0, 1, 2, 3, 4]
    assert seen.seen.index.tolist() == [0, 3]
    assert seen.embeddings["eeg"].shape[0] == seen.prototypes["video"].shape[0] == 2
    every = history_path(experiment, REBALANCED)
    monkeypatch.setattr(history, "MAX_FRAMES", 5)
    assert history_path(experiment, REBALANCED) != every
    full = read_history(record_history(experiment, REBALANCED))
    for m in ("eeg", "video"):
        assert np.array_equal(full.embeddings[m][[0, 3]], seen.embeddings[m])
        assert np.array_equal(full.prototypes[m][[0, 3]], seen.prototypes[m])


def long_settings(settings):
    return lambda self, recipe: replace(settings(self, recipe), epochs=5)


@pytest.mark.parametrize("recipe", ["ogm_ge", "ce", replace(PLAIN, options={"source": "batch"})])
def test_what_has_no_prototypes_of_epochs_is_refused(recipe, experiment):
    with pytest.raises(ValueError, match="expected loss 'rebalanced' with prototypes of whole epochs"):
        record_history(experiment, recipe)


def test_of_a_tuned_recipe_the_chosen_setting_is_recorded(study, library, home):
    experiment = fresh(study, library[0])
    scale = replace(study.params.scale, tuning_budget=2)
    tuned = replace(RECIPES["fusion_rebalanced"], selection="last_epoch")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(study.params), "scale", scale)
        path = record_history(experiment, tuned)
        assert len(stored(home)) == 2
        chosen = experiment.run(tuned)
    assert same_log(read_history(path).log, chosen.log)
