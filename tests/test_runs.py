"""A run is stored whole or not at all, found again by what decides it, and pairs with its rivals."""

import hashlib
import json
import os
import shutil
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from smoke_runs import SMOKE, fresh, same_log, stored

from cdgkd_utils.config import PROFILES
from cdgkd_utils.experiments import runs, stages
from cdgkd_utils.experiments.recipes import RECIPES, TEACHER, Recipe
from cdgkd_utils.experiments.runs import Experiment, RunError, read_run, run_key
from cdgkd_utils.training import TrainSettings, loop, predict

FILES = {"spec.json", "epochs.csv", "outputs.npz", "weights.safetensors", "result.json"}


@pytest.fixture
def no_training(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a training was started")

    return lambda: monkeypatch.setattr(runs, "fit", refuse)


# ---- stored whole or not at all ----------------------------------------------------------------


def test_a_stored_run_has_all_its_files_and_nothing_else(experiment, home):
    record = experiment.run("ce")
    assert stored(home) == {record.folder.name}
    assert record.folder.name == f"ce-{run_key(record.spec)[:20]}"
    assert {path.name for path in record.folder.iterdir()} == FILES
    assert {path.name for path in home.iterdir()} == {"runs"}


@pytest.mark.parametrize("stop", [OSError("no space left on device"), KeyboardInterrupt(), ValueError("bug")])
@pytest.mark.parametrize("half_way", ["save_file", "np.savez", "os.replace"])
def test_a_failure_while_storing_leaves_nothing(stop, half_way, experiment, home, monkeypatch):
    replace_file = os.replace

    def fail(*args, **_):
        if half_way == "os.replace" and Path(args[1]).suffix == ".pt":
            return replace_file(*args)  # a checkpoint, long before
        assert len(stored(home)) == 1  # the unfinished folder is there at this moment
        raise stop

    with monkeypatch.context() as patch:
        patch.setattr(f"cdgkd_utils.experiments.records.{half_way}", fail)
        with pytest.raises(type(stop)):
            experiment.run("ce")
    assert stored(home) == set()
    assert {path.name for path in experiment.run("ce").folder.iterdir()} == FILES


@pytest.mark.parametrize("first_epoch_done", [True, False])
def test_an_interrupted_training_stores_nothing_but_keeps_finished_guides(
    first_epoch_done, experiment, home, library, monkeypatch
):
    teacher = next(path.name for path in library[1].glob(f"{TEACHER}-*"))
    shutil.copytree(library[1] / teacher, home / "runs" / teacher)

    def stop(*_):
        raise KeyboardInterrupt

    if not first_epoch_done:
        monkeypatch.setattr(loop, "_one_epoch", stop)
    with pytest.raises(KeyboardInterrupt):
        experiment.run("kd", on_epoch=stop)
    assert stored(home) == {teacher}


# ---- read back ---------------------------------------------------------------------------------


def test_a_second_call_reads_back_what_was_trained(study, experiment, no_training):
    first = experiment.run("cdgkd")
    no_training()
    for again in (experiment.run("cdgkd"), fresh(study).run("cdgkd")):
        assert again.folder == first.folder and again.name == "cdgkd" and run_key(again.spec) == run_key(first.spec)
        assert again.log.equals(first.log)
        assert np.array_equal(again.logits, first.logits) and again.logits.dtype == np.float32
        assert np.array_equal(again.kept, first.kept) and again.kept.dtype == bool
        assert first.result.items() <= again.result.items()
    assert again.result["environment"]["torch"] == torch.__version__
    with pytest.raises(AssertionError, match="training was started"):
        experiment.run("ce")


def test_training_again_gives_the_same_and_keeps_the_stored_record(trained, home):
    first, names = trained.run("cdgkd"), stored(home)
    before = {path: path.stat().st_mtime_ns for path in first.folder.iterdir()}
    called = []
    again = trained.run("cdgkd", again=True, on_epoch=lambda log: called.append(len(log)))
    assert called == [1, 2]
    assert same_log(again.log, first.log)
    assert np.array_equal(again.logits, first.logits) and np.array_equal(again.kept, first.kept)
    assert {path: path.stat().st_mtime_ns for path in first.folder.iterdir()} == before
    assert stored(home) == names


@pytest.mark.parametrize("name", ["ce", "eeg", TEACHER])
def test_the_stored_network_gives_the_stored_logits(name, trained):
    record = trained.run(name)
    model = record.model()
    assert not model.training
    rows = torch.arange(len(trained.inputs.labels))
    assert np.array_equal(predict(model, trained.inputs, rows).logits.numpy(), record.logits)
    assert record.result["n_parameters"] == sum(p.numel() for p in model.parameters())
    assert ("eeg_share" in record.result) == (name == TEACHER)


def test_what_results_need_is_stored_beside_the_logits(study, trained):
    with np.load(trained.run("ce").folder / "outputs.npz") as outputs:
        for name, rows in trained.split.parts().items():
            assert np.array_equal(outputs[name], rows)
        assert np.array_equal(outputs["labels"], study.windows.labels("valence"))
        assert np.array_equal(outputs["posterior"], study.windows.posterior("valence"))
        for name in ("subject", "trial"):
            assert np.array_equal(outputs[name], study.windows.index[name])


@pytest.mark.parametrize("damage", ["cut", "gone"])
@pytest.mark.parametrize("file", sorted(FILES - {"weights.safetensors"}))
def test_a_damaged_run_is_an_error_that_names_its_folder(damage, file, study, trained):
    path = trained.run("ce").folder / file
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: 0 if file == "epochs.csv" else path.stat().st_size // 2])
    with pytest.raises(RunError, match=f"{path.parent.name} cannot be read .*; delete it and run again"):
        fresh(study).run("ce")


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_damaged_weights_are_an_error_that_names_the_folder(damage, trained):
    record = trained.run("ce")
    path = record.folder / "weights.safetensors"
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(RunError, match=record.folder.name):
        record.model()


def test_a_run_of_another_specification_is_not_taken(study, trained):
    record = trained.run("ce")
    with pytest.raises(RunError, match=f"{record.folder.name} was made from another specification"):
        read_run(record.folder, record.spec | {"seed": 1})
    (record.folder / "spec.json").write_text(json.dumps(record.spec | {"fold": 1}))
    with pytest.raises(RunError, match="another specification"):
        fresh(study).run("ce")


# ---- the key -----------------------------------------------------------------------------------


def test_the_key_is_the_sha256_of_canonical_json():
    expected = hashlib.sha256(b'{"a":[1,2],"b":{"c":"x","d":0.5}}').hexdigest()
    assert run_key({"b": {"d": 0.5, "c": "x"}, "a": [1, 2]}) == expected
    assert run_key({"b": {"c": "x", "d": 0.5}, "a": (1, 2)}) == expected


def key(
    recipe="cdgkd", *, target="valence", fold=0, seed=0, data="d", scale=SMOKE.scale, family="compact", protocol="p"
):
    """Key of a run without any data: an experiment asks its study for no more than this."""
    params = SimpleNamespace(scale=scale, model_family=family, protocol=protocol)
    study = SimpleNamespace(params=params, data_key=data, seed=seed)
    experiment = Experiment(study, target, fold)
    return run_key(experiment.spec(experiment.recipe(recipe)))


def test_equal_runs_have_equal_keys_and_the_recipes_all_differ():
    assert key() == key()
    assert len({key(name) for name in RECIPES}) == len(RECIPES)


@pytest.mark.parametrize(
    "change",
    [
        *({"target": "arousal"}, {"fold": 1}, {"seed": 1}, {"data": "e"}, {"recipe": "dense"}),
        *({"family": "reference"}, {"protocol": "loso"}),
    ],
)
def test_the_key_changes_with_target_fold_seed_data_and_recipe(change):
    assert key(**change) != key()


OTHER_VALUES = {
    "name": "mine",
    "model": "video",
    "table": 2,
    "loss": "ce",
    "options": {"kd_weight": 0.5},
    "guides": (TEACHER,),
    "kind": "bagged",
    "row": "other",
    "deployed": "student",
    "part": 3,
    "selection": "last_epoch",
    "training": {"learning_rate": 0.1},
    "grid": ({"kd_weight": 0.1},),
    "apart": "subject",
    "rated": 8,
}


@pytest.mark.parametrize("name", [f.name for f in fields(Recipe)])
def test_the_key_changes_with_each_field_of_the_recipe(name):
    wide = replace(SMOKE.scale, tuning_budget=3)  # with a budget of 1 the grid is never tried and does not count
    assert key(replace(RECIPES["cdgkd"], **{name: OTHER_VALUES[name]}), scale=wide) != key(scale=wide)


def test_a_grid_beyond_the_budget_does_not_change_the_key():
    assert key(replace(RECIPES["cdgkd"], grid=())) == key()


@pytest.mark.parametrize("name", ["student_epochs", "teacher_epochs", "patience"])
def test_the_key_changes_with_how_long_the_network_or_a_guide_is_trained(name):
    longer = replace(PROFILES["smoke"], **{name: 7})
    assert key(scale=longer) != key()
    assert (key("ce", scale=longer) != key("ce")) == (name != "teacher_epochs")  # a student without guides


@pytest.mark.parametrize("field", [f.name for f in fields(TrainSettings)])
def test_the_key_changes_with_each_training_setting(field, monkeypatch):
    before = key("ce")
    value = {"optimizer": "adamw", "selection": "last_epoch", "precision": "bfloat16"}.get(field, 77)
    settings = Experiment.settings
    monkeypatch.setattr(Experiment, "settings", lambda self, recipe: replace(settings(self, recipe), **{field: value}))
    assert key("ce") != before


def test_the_key_does_not_depend_on_what_decides_no_result():
    assert key(scale=replace(PROFILES["smoke"], name="other", n_folds=3, n_repeats=9, umap_points=1)) == key()


def test_the_key_changes_with_a_guide_and_with_a_guides_guide(monkeypatch):
    before = {name: key(name) for name in RECIPES}
    monkeypatch.setitem(RECIPES, TEACHER, RECIPES[TEACHER].but(strength=1.0))
    changed = {name for name in RECIPES if key(name) != before[name]}

    def hears(name):  # takd hears of the teacher only through two assistants
        return name == TEACHER or any(hears(guide) for guide in RECIPES[name].guides)

    assert changed == {name for name in RECIPES if hears(name)} and "takd" in changed and "emotionkd" not in changed


def test_the_key_changes_with_the_version_of_the_code(monkeypatch):
    before = key("ce"), key("kd"), key("oracle")
    monkeypatch.setitem(stages.VERSIONS, "loss/dense", 99)
    assert (key("ce"), key("oracle")) == (before[0], before[2]) and key("kd") != before[1]
