"""A run is stored whole or not at all, found again by what decides it, and made anew where it is damaged."""

import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from smoke_runs import SMOKE, fresh, same_log, stored

from cdgkd_utils.experiments import runs
from cdgkd_utils.experiments.recipes import RECIPES, TEACHER, find_recipe
from cdgkd_utils.experiments.runs import Experiment, RunError, read_run, run_key
from cdgkd_utils.training import predict

FILES = {"spec.json", "epochs.csv", "outputs.npz", "weights.safetensors", "result.json"}


def test_a_stored_run_has_all_its_files_and_says_where_and_with_what_it_was_made(experiment, home):
    record = experiment.run("ce")
    assert stored(home) == {record.folder.name} == {f"ce-{run_key(record.spec)[:20]}"}
    assert {path.name for path in record.folder.iterdir()} == FILES
    environment = record.result["environment"]
    assert (environment["device"], environment["precision"]) == ("cpu", "float32") and {"torch", "python"} <= set(
        environment
    )
    with pytest.raises(RunError, match="another specification"):
        read_run(record.folder, run_key(record.spec | {"seed": 1}))


@pytest.mark.parametrize(("half_way", "stop"), [("save_file", OSError("disk full")), ("np.savez", KeyboardInterrupt())])
def test_a_failure_while_storing_leaves_nothing(half_way, stop, experiment, home, monkeypatch):
    def fail(*args, **_):
        assert len(stored(home)) == 1  # the unfinished folder is there at this moment
        raise stop

    monkeypatch.setattr(f"cdgkd_utils.experiments.records.{half_way}", fail)
    with pytest.raises(type(stop)):
        experiment.run("ce")
    assert stored(home) == set()


def test_a_second_call_reads_back_what_was_trained(study, experiment, monkeypatch):
    first = experiment.run("cdgkd")
    monkeypatch.setattr(runs, "fit", lambda *_, **__: pytest.fail("a training was started"))
    for again in (experiment.run("cdgkd"), fresh(study).run("cdgkd")):
        assert again.folder == first.folder and again.name == "cdgkd" and run_key(again.spec) == run_key(first.spec)
        assert again.log.equals(first.log) and again.result == first.result
        assert np.array_equal(again.logits, first.logits) and again.logits.dtype == np.float32
        assert np.array_equal(again.kept, first.kept) and again.kept.dtype == bool


def test_training_again_takes_the_place_of_the_stored_run(trained, home):
    """What is returned is what is stored, also where another device would round otherwise."""
    first, names = trained.run("ce"), stored(home)
    (first.folder / "history.joblib").write_text("of the old run")
    called = []
    again = trained.run("ce", again=True, on_epoch=lambda log: called.append(len(log)))
    assert called == [1, 2] and same_log(again.log, first.log) and np.array_equal(again.logits, first.logits)
    on_disk = read_run(again.folder)
    assert on_disk.log.equals(again.log) and on_disk.result == again.result and stored(home) == names
    assert trained.run("ce") is again and {path.name for path in again.folder.iterdir()} == FILES
    predict(again.model(), trained.inputs, trained.inputs.val)


@pytest.mark.parametrize("name", ["ce", "eeg", TEACHER])
def test_the_stored_network_gives_the_stored_logits(name, trained):
    record = trained.run(name)
    model = record.model()
    assert not model.training
    assert np.array_equal(predict(model, trained.inputs, trained.inputs.every_row).logits.numpy(), record.logits)
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


@pytest.mark.parametrize("file", sorted(FILES))
def test_a_damaged_run_is_set_aside_and_made_anew(file, study, trained, home):
    whole = trained.run("ce")
    path = whole.folder / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink() if file in ("epochs.csv", "result.json") else path.write_bytes(content)
    with pytest.raises(RunError, match=f"{path.parent.name} cannot be read"):
        read_run(path.parent)
    with pytest.warns(UserWarning, match=f"set aside as .damaged-{path.parent.name}"):
        again = fresh(study, trained).run("ce")
    assert np.array_equal(again.logits, whole.logits) and read_run(again.folder).result == again.result
    assert sum(name.startswith(".damaged-") for name in stored(home)) == 1


def test_a_student_of_a_damaged_teacher_finds_it_made_anew(study, trained, home):
    teacher, student = trained.run(TEACHER), trained.run("kd")
    shutil.rmtree(student.folder)
    weights = teacher.folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(RunError, match=r"weights\.safetensors is not what was stored"):
        teacher.model()
    with pytest.warns(UserWarning, match="set aside"):
        again = fresh(study, trained).run("kd")
    assert np.array_equal(again.logits, student.logits)


def test_a_folder_of_runs_may_lie_elsewhere(study, library, home, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("scratch")
    (home / "runs").symlink_to(elsewhere)
    record = fresh(study, library[0]).run("ce")
    assert fresh(study, library[0]).run("ce").folder == record.folder == home / "runs" / record.folder.name
    assert [path.name for path in elsewhere.iterdir()] == [record.folder.name]


# ---- the key -----------------------------------------------------------------------------------


def key(
    recipe="cdgkd", *, target="valence", fold=0, seed=0, data="d", scale=SMOKE.scale, family="compact", protocol="p"
):
    """Key of a run without any data: an experiment asks its study for no more than this."""
    params = SimpleNamespace(scale=scale, model_family=family, protocol=protocol)
    experiment = Experiment(SimpleNamespace(params=params, data_key=data, seed=seed), target, fold)
    return run_key(experiment.spec(experiment.recipe(recipe)))


def test_the_key_changes_with_all_that_decides_a_result_and_the_recipes_all_differ(monkeypatch):
    changes = [{"target": "arousal"}, {"fold": 1}, {"seed": 1}, {"data": "e"}, {"recipe": "dense"}]
    changes += [{"family": "reference"}, {"protocol": "loso"}]
    changes += [{"scale": replace(SMOKE.scale, **{n: 7})} for n in ("student_epochs", "teacher_epochs", "patience")]
    assert len({key(), *(key(**change) for change in changes)}) == 1 + len(changes) and key() == key()
    names = [*RECIPES, "kd@eeg", "kd@video", "kd+eeg", "kd#2", "kd#3", "kd@eeg#2", "ce#2", "cdgkd@eeg", "cdgkd+eeg"]
    assert len({key(name) for name in names}) == len(names) and key("kd@fused") == key("kd")
    assert key(replace(RECIPES["ce"], table=2, row="other")) == key("ce") != key(RECIPES["ce"].but(label_smoothing=0.1))
    before = key("ce"), key("oracle")
    monkeypatch.setattr(runs, "RESULTS_VERSION", 99)
    assert key("ce") != before[0] and key("oracle") != before[1]


def test_the_key_does_not_depend_on_what_decides_no_result(monkeypatch):
    monkeypatch.setenv("CDGKD_DEVICE", "cuda")
    before = key()
    monkeypatch.setenv("CDGKD_DEVICE", "cpu")
    assert key(scale=replace(SMOKE.scale, name="other", n_folds=3, n_repeats=9, umap_points=1)) == before


def test_the_key_changes_with_a_guide_and_with_a_guides_guide(monkeypatch):
    before = {name: key(name) for name in RECIPES}
    monkeypatch.setitem(RECIPES, TEACHER, RECIPES[TEACHER].but(strength=1.0))
    changed = {name for name in RECIPES if key(name) != before[name]}

    def hears(name):  # takd hears of the teacher only through two assistants
        return name == TEACHER or any(hears(guide) for guide in find_recipe(name).guides)

    assert changed == {name for name in RECIPES if hears(name)} and "takd" in changed and "emotionkd" not in changed


def test_precision_and_batch_from_the_environment_are_in_the_key_and_wrong_ones_refused(monkeypatch):
    plain = key()
    for name, value in (("CDGKD_PRECISION", "BFloat16 "), ("CDGKD_BATCH", " 20 ")):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            assert key() != plain
            for wrong in ("half", "1", "²"):
                patch.setenv(name, wrong)
                with pytest.raises(ValueError, match=r"precision must be|batch_size >= 2"):
                    key()
            patch.setenv(name, " ")
            assert key() == plain


def test_a_batch_of_ones_own_fills_the_steps(trained, monkeypatch):
    monkeypatch.setenv("CDGKD_BATCH", "20")
    kept = trained.run("kd_drop").kept
    assert len(trained.inputs.train) == 48 and len(kept) == 2 * 3 and torch.is_tensor(trained.inputs.train)
