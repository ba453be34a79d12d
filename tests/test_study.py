"""A run under each protocol says what it tested, and tuning chooses on validation alone."""

import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from planted import PLANTED, planted_study, planted_windows

from cdgkd_utils.config import PROTOCOLS, Params
from cdgkd_utils.data.splits import LeakError, trial_ids
from cdgkd_utils.experiments import runs, study
from cdgkd_utils.experiments.recipes import RECIPES, TEACHER
from cdgkd_utils.experiments.runs import Experiment, check_guide, store_run
from cdgkd_utils.experiments.study import Study

BRIEF = replace(PLANTED, name="brief", teacher_epochs=1, student_epochs=1)
LABELS = {
    "trial+subject": {"test_trial", "test_subject"},
    "trial": {"test_trial"},
    "subject": {"test_subject"},
    "loso": {"test_loso"},
    "stimulus": {"test_stimulus"},
    "window": {"test_window (LEAKY)"},
}


@pytest.fixture(scope="module")
def by_protocol(tmp_path_factory):
    """One student and one fold under each protocol, all in one home."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("protocols")
        patch.setenv("CDGKD_HOME", str(home))
        windows = planted_windows(6, 10, 2)
        made = {}
        for protocol in PROTOCOLS:
            of_protocol = planted_study(patch, windows, BRIEF, protocol=protocol, allow_leak=protocol == "window")
            experiment = Experiment(of_protocol, "valence", 0)
            made[protocol] = SimpleNamespace(experiment=experiment, record=experiment.run("ce"))
        yield SimpleNamespace(**{"made": made, "home": home, "windows": windows})


def stored_parts(record):
    with np.load(record.folder / "outputs.npz") as outputs:
        return {name: outputs[name] for name in outputs.files if name.startswith(("train", "val", "test"))}


# ---- protocols ---------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_stored_parts_are_the_protocols_and_what_it_holds_out_was_not_seen(protocol, by_protocol):
    record, index = by_protocol.made[protocol].record, by_protocol.windows.index
    parts = stored_parts(record)
    assert set(parts) == {"train", "val"} | LABELS[protocol] and record.spec["protocol"] == protocol
    rows = np.concatenate(list(parts.values()))
    assert len(np.unique(rows)) == len(rows) == len(by_protocol.windows)
    trials = trial_ids(index)
    groups = [set(trials[part]) for part in parts.values()]
    assert (sum(map(len, groups)) > len(set().union(*groups))) == (protocol == "window")
    for name, column in (("test_subject", "subject"), ("test_loso", "subject"), ("test_stimulus", "stimulus")):
        if name in parts:
            values = index[column].to_numpy()
            assert not set(values[parts[name]]) & set(values[np.concatenate([parts["train"], parts["val"]])])


def test_leave_one_subject_out_has_a_fold_per_subject(by_protocol):
    of_loso = by_protocol.made["loso"].experiment.study
    subjects = by_protocol.windows.index["subject"].to_numpy()
    assert of_loso.n_folds() == 6 != of_loso.params.scale.n_folds
    tested = [set(subjects[of_loso.split("valence", fold).rows["test_loso"]]) for fold in range(6)]
    assert tested == [{subject} for subject in range(1, 7)]
    with pytest.raises(ValueError, match=r"fold must be 0\.\.5 under protocol loso, got 6"):
        of_loso.split("valence", 6)


@pytest.mark.parametrize("protocol", [p for p in PROTOCOLS if p != "window"])
def test_a_fold_that_leaks_stops_the_run(protocol, by_protocol, monkeypatch):
    """Planted: one window of a test trial changes over to the training part."""
    deal = study.make_folds

    def leaky(fold):
        name, rows = next(iter(fold.tests().items()))
        return replace(fold, rows=fold.rows | {"train": np.append(fold.train, rows[0]), name: rows[1:]})

    monkeypatch.setattr(study, "make_folds", lambda *given, **options: list(map(leaky, deal(*given, **options))))
    with pytest.raises(LeakError):
        Experiment(by_protocol.made[protocol].experiment.study, "valence", 1).run("ce")


# ---- guides ------------------------------------------------------------------------------------


@pytest.fixture
def guided(by_protocol, tmp_path, monkeypatch):
    """An experiment whose teacher is stored."""
    monkeypatch.setenv("CDGKD_HOME", str(tmp_path))
    experiment = Experiment(by_protocol.made["trial+subject"].experiment.study, "valence", 0)
    experiment.run(TEACHER)
    return SimpleNamespace(experiment=experiment, teacher=experiment.run(TEACHER))


def plant(guided, part, row):
    """The guide's record says that it saw one window more."""
    identity = guided.experiment.fold_data.identity()
    model = guided.teacher.model()
    store_run(guided.teacher, model, identity | {part: np.append(identity[part], row)}, again=True)


@pytest.mark.parametrize("seen", ["train", "val"])
@pytest.mark.parametrize("tested", ["test_trial", "test_subject"])
def test_a_guide_that_saw_a_test_window_teaches_nobody(seen, tested, guided):
    split = guided.experiment.split
    check_guide("teacher", guided.teacher, split)
    plant(guided, seen, split.rows[tested][3])
    with pytest.raises(LeakError, match=f"guide {TEACHER} saw windows of part '{tested}'"):
        Experiment(guided.experiment.study, "valence", 0).run("kd")
    assert {path.name.split("-")[0] for path in guided.teacher.folder.parent.iterdir()} == {TEACHER}


# ---- tuning ------------------------------------------------------------------------------------


@pytest.fixture
def tuned(tmp_path, monkeypatch):
    """An experiment with a budget of three settings, on windows noisy enough for these to differ."""
    monkeypatch.setenv("CDGKD_HOME", str(tmp_path))
    profile = replace(PLANTED, name="tuned", teacher_epochs=2, student_epochs=2, tuning_budget=3)
    return Experiment(planted_study(monkeypatch, planted_windows(6, 20, 2, eeg=0.1, video=0.05), profile), "valence", 0)


@pytest.mark.parametrize(
    ("scores", "chosen"),
    [
        ([(0.6, 0.5), (0.7, 0.9), (0.5, 0.1)], 1),  # balanced accuracy first
        ([(0.6, 0.5), (0.6, 0.7), (0.6, 0.4)], 2),  # then the lower loss
        ([(0.6, 0.5), (0.6, 0.5), (0.6, 0.5)], 0),  # then the declared setting
    ],
)
def test_the_setting_with_the_best_score_of_the_kept_epoch_is_taken(scores, chosen):
    records = []
    for accuracy, loss in scores:  # the other epochs are decoys
        log = pd.DataFrame({"val_balanced_accuracy": [0.99, accuracy, 0.98], "val_loss": [0.0, loss, 0.0]})
        records.append(SimpleNamespace(log=log, result={"chosen_epoch": 1}))
    assert max(records, key=runs.validation_score) is records[chosen]


@pytest.mark.parametrize("name", ["ce_ls", TEACHER])
def test_tuning_takes_the_best_of_the_stored_settings_and_reads_no_test_label(name, tuned, tmp_path, monkeypatch):
    record, split = tuned.run(name), tuned.split
    candidates = [tuned.run(replace(RECIPES[name].but(**o), grid=())) for o in ({}, *RECIPES[name].grid)]
    assert (
        len({c.folder for c in candidates}) == 1 + len(RECIPES[name].grid) == len(list((tmp_path / "runs").iterdir()))
    )
    assert record.folder == max(candidates, key=runs.validation_score).folder
    (tmp_path / "runs").rename(tmp_path / "first")

    def with_turned(rows):
        other, labels = Experiment(tuned.study, "valence", 0), tuned.inputs.labels.clone()
        labels[rows] = 1 - labels[rows]
        other.fold_data = replace(tuned.fold_data, inputs=replace(tuned.inputs, labels=labels))
        return other.run(name)

    again = with_turned(np.concatenate([split.rows["test_trial"], split.rows["test_subject"]]))
    assert again.spec == record.spec and np.array_equal(again.logits, record.logits)
    shutil.rmtree(tmp_path / "runs")
    assert not with_turned(split.val).log["val_loss"].equals(record.log["val_loss"])  # what the choice does read


def test_given_windows_are_studied_and_need_a_key(by_protocol):
    windows = by_protocol.windows
    with pytest.raises(ValueError, match="expected meta\\['key'\\]"):
        Study(Params(profile="smoke"), windows=replace(windows, meta={"name": "mine"}))
    given = Study(Params(profile="smoke"), windows=windows)
    assert given.windows is windows and given.data_key == windows.meta["key"]
