"""What the panels train: a watched run is the run itself, a try cuts one link only, a chain differs in its guides."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from smoke_runs import fresh, same_log, stored

from cdgkd_utils.experiments import panels, runs
from cdgkd_utils.experiments.panels import (
    chain_recipe,
    classifier_inputs,
    conditioned,
    exchanged,
    record_history,
    train_chain,
    train_try,
)
from cdgkd_utils.experiments.recipes import RECIPES, TEACHER
from cdgkd_utils.experiments.study import Study
from cdgkd_utils.training import fit

PLAIN = replace(RECIPES["fusion"], selection="last_epoch")
REBALANCED = replace(RECIPES[TEACHER], selection="last_epoch", grid=())


@pytest.fixture
def no_training(monkeypatch):
    def refuse():
        for module in (runs, panels):
            monkeypatch.setattr(module, "fit", lambda *_, **__: pytest.fail("a training was started"))

    return refuse


def stop(log):
    raise KeyboardInterrupt


# ---- histories ---------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", [PLAIN, REBALANCED])
def test_recording_changes_no_bit_of_the_run(recipe, study, library, home, tmp_path_factory, monkeypatch):
    experiment, told = fresh(study, library[0]), []
    history = record_history(experiment, recipe, on_epoch=lambda log: told.append(len(log)))
    recorded = experiment.run(recipe)
    assert told == [1, 2] and history.log.equals(recorded.log)
    monkeypatch.setenv("CDGKD_HOME", str(tmp_path_factory.mktemp("unwatched")))
    unwatched = fresh(study, library[0]).run(recipe)
    weights, other = recorded.model().state_dict(), unwatched.model().state_dict()
    assert same_log(recorded.log, unwatched.log) and np.array_equal(recorded.logits, unwatched.logits)
    assert all(torch.equal(weights[name], other[name]) for name in weights)


def test_frames_are_the_states_in_which_epochs_begin(experiment):
    """Rebuilt from trainings that stop earlier, window by window, in double precision."""
    seen = record_history(experiment, REBALANCED)
    assert seen.epochs.tolist() == [0, 1] == seen.seen.index.tolist() and seen.name == REBALANCED.name
    inputs = experiment.inputs
    for frame in range(2):
        model, _, loss, settings, seed = experiment.learner(REBALANCED)
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
        for m in ("eeg", "video"):  # half of the old prototype stays
            wanted = means[m] if frame == 0 else (means[m] + first[m]) / 2
            assert np.allclose(seen.prototypes[m][frame], wanted, atol=1e-4)


def test_a_history_lies_with_its_run_and_goes_with_it(experiment, home, no_training):
    with pytest.raises(KeyboardInterrupt):
        record_history(experiment, PLAIN, on_epoch=stop)
    assert not stored(home)
    first = record_history(experiment, PLAIN)
    experiment.run(PLAIN, again=True)  # takes the place of the recorded run
    second = record_history(experiment, PLAIN)
    assert second.log.equals(experiment.run(PLAIN).log) and same_log(first.log, second.log)
    (path,) = (home / "runs").glob("fusion-*/history.joblib")
    path.write_bytes(path.read_bytes()[:-200])  # a damaged one is recorded again
    third = record_history(experiment, PLAIN)
    assert all(np.array_equal(third.embeddings[m], first.embeddings[m]) for m in ("eeg", "video"))
    no_training()
    assert record_history(experiment, PLAIN).log.equals(experiment.run(PLAIN).log)


# ---- tries -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("percent", "n_cut"), [(100, 0), (70, 3), (50, 5), (0, 10)])
def test_signals_are_exchanged_in_a_circle_inside_each_person(percent, n_cut):
    rows, people = np.arange(100, 130), np.repeat([3, 1, 2], 10)
    source = exchanged(rows, people, percent, np.random.default_rng(0))
    assert sorted(source) == rows.tolist()  # none is lost or seen twice
    for person in (1, 2, 3):
        mine = people == person
        position = dict(zip(rows[mine], source[mine], strict=True))
        assert set(position) == set(position.values()) and (source[mine] != rows[mine]).sum() == n_cut
    more = exchanged(rows, people, 0, np.random.default_rng(0))
    assert set(rows[source != rows]) <= set(rows[more != rows])


def test_conditions_touch_one_modality_and_no_test_window(experiment):
    masks = torch.rand(experiment.inputs.frame_mask.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    whole, split = replace(experiment.inputs, frame_mask=masks), experiment.split
    data = replace(experiment.fold_data, inputs=whole)
    unseen = np.setdiff1d(np.arange(len(data.labels)), np.concatenate([split.train, split.val]))
    for signal, moved, kept in (((0, 100), "eeg", "video"), ((100, 0), "video", "eeg")):
        inputs = conditioned(data, *signal)
        before, after = whole.view(moved), inputs.view(moved)
        assert inputs.view(kept) is whole.view(kept) and torch.equal(after[unseen], before[unseen])
        for part in (split.train, split.val):  # the same signals, at other moments
            assert not torch.equal(after[part], before[part])
            assert torch.equal(before[part].sum(1).flatten(1).sort(0)[0], after[part].sum(1).flatten(1).sort(0)[0])
    # Frames and their mask move together.
    mask_of = {v.numpy().tobytes(): m.tolist() for v, m in zip(whole.video, whole.frame_mask, strict=True)}
    both = zip(inputs.video, inputs.frame_mask, strict=True)
    assert all(mask_of[v.numpy().tobytes()] == m.tolist() for v, m in both)


def test_with_all_its_signal_a_try_is_the_run(experiment):
    for optimiser, training in (("sgd", {}), ("adam", {"optimizer": "adam", "learning_rate": 1e-3})):
        log = train_try(experiment, strength=3, optimiser=optimiser)
        assert same_log(log, experiment.run(replace(REBALANCED.but(strength=3.0), training=training)).log)


def test_a_try_is_made_once_and_another_condition_is_another_try(experiment, home, no_training):
    told = []
    first = train_try(experiment, eeg_signal=40, on_epoch=lambda log: told.append(len(log)))
    assert told == [1, 2] and not same_log(first, train_try(experiment, video_signal=40))
    with pytest.raises(KeyboardInterrupt):
        train_try(experiment, on_epoch=stop)
    assert len(list((home / "tries").iterdir())) == 2
    params = replace(experiment.study.params, family="reference")
    reference = fresh(Study(params, windows=experiment.study.windows), experiment)
    no_training()
    assert train_try(experiment, eeg_signal=40).equals(first)
    assert train_try(reference, eeg_signal=40).equals(first)  # tried with the compact teacher
    for conditions in ({"eeg_signal": 50}, {"eeg_signal": 40, "strength": 1}, {"eeg_signal": 40, "optimiser": "adam"}):
        with pytest.raises(pytest.fail.Exception):
            train_try(experiment, **conditions)


# ---- chains ------------------------------------------------------------------------------------


def test_only_guides_and_dropping_differ_and_no_two_positions_are_one_run(experiment):
    whole = RECIPES["cdgkd"]
    corners = {(0, 0.0): RECIPES["kd"], (0, 0.5): RECIPES["kd_drop"], (2, 0.5): whole}
    assert all(chain_recipe(*place) == recipe for place, recipe in corners.items())
    recipe = chain_recipe(1, 0.75)
    assert recipe.guides == whole.guides[:2] and recipe.options == whole.options | {"drop_prob": 0.75}
    specs = [experiment.spec(experiment.recipe(chain_recipe(n, r))) for n in range(3) for r in (0.0, 0.25, 0.5, 0.75)]
    assert len({json.dumps(spec, sort_keys=True) for spec in specs}) == 12


def test_a_student_is_trained_once_and_told_in_numbers_of_validation_windows(trained, home):
    before, told = stored(home), []
    row = train_chain(trained, 2, 0.5, tell=lambda *args: told.append(args))
    assert stored(home) == before and not told
    record, teacher = trained.run("cdgkd"), trained.run(TEACHER)
    same = sum(record.logits[w].argmax() == teacher.logits[w].argmax() for w in trained.inputs.val.tolist())
    assert row == {
        "n_assistants": 2,
        "drop_prob": 0.5,
        "balanced_accuracy": pytest.approx(record.log["val_balanced_accuracy"][record.result["chosen_epoch"]]),
        "agreement": pytest.approx(same / len(trained.inputs.val)),
        "silent": pytest.approx(np.mean([not any(step) for step in record.kept])),
    }
    first = train_chain(trained, 1, 0.75, tell=lambda *args: told.append(args))
    assert [share for share, _ in told] == [0.5, 1.0] and train_chain(trained, 1, 0.75) == first
    assert len(stored(home) - before) == 1


def test_what_enters_the_classifiers_makes_the_stored_logits(trained):
    records = {"teacher": trained.run(TEACHER), "student": trained.run("cdgkd")}
    for name, values in classifier_inputs(trained, records).items():
        with torch.no_grad():
            logits = records[name].model().classifier(torch.from_numpy(values))
        np.testing.assert_allclose(logits, records[name].logits, atol=1e-5)
