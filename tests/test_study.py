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
from cdgkd_utils.training import loop

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
def test_the_stored_parts_are_named_after_the_protocol(protocol, by_protocol):
    record = by_protocol.made[protocol].record
    parts = stored_parts(record)
    assert set(parts) == {"train", "val"} | LABELS[protocol] and record.spec["protocol"] == protocol
    rows = np.concatenate(list(parts.values()))
    assert len(np.unique(rows)) == len(rows) == len(by_protocol.windows)
    trials = trial_ids(by_protocol.windows.index)
    groups = [set(trials[part]) for part in parts.values()]
    shared = sum(map(len, groups)) - len(set().union(*groups))
    assert (shared > 0) == (protocol == "window")


@pytest.mark.parametrize(
    ("protocol", "column"),
    [("subject", "subject"), ("loso", "subject"), ("stimulus", "stimulus"), ("trial+subject", "subject")],
)
def test_what_a_protocol_holds_out_was_neither_trained_nor_selected_on(protocol, column, by_protocol):
    parts = stored_parts(by_protocol.made[protocol].record)
    values = by_protocol.windows.index[column].to_numpy()
    tested = parts["test_subject" if protocol == "trial+subject" else f"test_{protocol}"]
    assert not set(values[tested]) & set(values[np.concatenate([parts["train"], parts["val"]])])


def test_unseen_trials_are_those_of_known_people(by_protocol):
    subjects = by_protocol.windows.index["subject"].to_numpy()
    parts = stored_parts(by_protocol.made["trial"].record)
    assert set(subjects[parts["test_trial"]]) == set(subjects[parts["train"]]) == set(subjects)
    both = stored_parts(by_protocol.made["trial+subject"].record)
    assert set(subjects[both["test_trial"]]) == set(subjects[both["train"]]) < set(subjects)


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


def test_runs_of_one_protocol_are_not_read_back_for_another(by_protocol, monkeypatch):
    folders = {made.record.folder for made in by_protocol.made.values()}
    assert len(folders) == len(PROTOCOLS) == len(list((by_protocol.home / "runs").iterdir()))
    monkeypatch.setattr(runs, "fit", lambda *_, **__: pytest.fail("a training was started"))
    for protocol, made in by_protocol.made.items():
        again = Experiment(made.experiment.study, "valence", 0).run("ce")
        assert again.folder == made.record.folder and again.spec["protocol"] == protocol
        assert np.array_equal(again.logits, made.record.logits)


def test_a_protocol_dealt_into_more_folds_is_another_run(by_protocol, monkeypatch):
    """Fold 0 of five is not fold 0 of three; how many of three are run changes none of them."""

    def key(n_folds, protocol="trial"):
        profile = replace(BRIEF, name=f"{n_folds} folds", n_folds=n_folds)
        experiment = Experiment(
            planted_study(monkeypatch, by_protocol.windows, profile, protocol=protocol), "valence", 0
        )
        return runs.run_key(experiment.spec(experiment.recipe("ce"))), experiment.split.rows["test_trial"]

    (two, tested_two), (three, tested_three), (five, tested_five) = map(key, (2, 3, 5))
    assert two == three and np.array_equal(tested_two, tested_three)
    assert five != three and not np.array_equal(tested_five, tested_three)


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


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_guide_of_another_fold_is_told_apart(protocol, by_protocol, guided):
    made = by_protocol.made[protocol]
    check_guide("same fold", made.record, made.experiment.split)
    with pytest.raises(LeakError, match="guide other fold saw windows of part 'test_"):
        check_guide("other fold", made.record, made.experiment.study.split("valence", 1))


# ---- tuning ------------------------------------------------------------------------------------


def tuned_by(budget):
    return replace(PLANTED, name=f"budget {budget}", teacher_epochs=2, student_epochs=2, tuning_budget=budget)


@pytest.fixture
def tuning(tmp_path, monkeypatch):
    """Experiments by budget on the same windows, which are noisy enough for settings to differ."""
    monkeypatch.setenv("CDGKD_HOME", str(tmp_path))
    windows = planted_windows(6, 20, 2, eeg=0.1, video=0.05)
    return lambda budget: Experiment(planted_study(monkeypatch, windows, tuned_by(budget)), "valence", 0)


def stored_names(experiment_home):
    return {path.name for path in (experiment_home / "runs").iterdir()}


TUNED = sorted(name for name, recipe in RECIPES.items() if recipe.grid)


@pytest.mark.parametrize(
    ("scores", "chosen"),
    [
        ([(0.6, 0.5), (0.7, 0.9), (0.5, 0.1)], 1),  # balanced accuracy first
        ([(0.6, 0.5), (0.6, 0.7), (0.6, 0.4)], 2),  # then the lower loss
        ([(0.6, 0.5), (0.6, 0.5), (0.6, 0.5)], 0),  # then the declared setting
    ],
)
def test_the_setting_with_the_best_validation_score_is_taken(scores, chosen, tuning, monkeypatch):
    """The score is that of the epoch which was kept; the others, decoys here, do not count."""
    experiment, asked = tuning(3), []

    def stored(recipe, **_):
        accuracy, loss = scores[len(asked)]
        asked.append(recipe)
        log = pd.DataFrame({"val_balanced_accuracy": [0.99, accuracy, 0.98], "val_loss": [0.0, loss, 0.0]})
        return SimpleNamespace(log=log, result={"chosen_epoch": 1}, number=len(asked) - 1)

    recipe = experiment.recipe("fitnets")
    monkeypatch.setattr(experiment, "run", stored)
    assert experiment._tuned(recipe, progress=False).number == chosen
    assert [r.options for r in asked] == [{"weight": 10.0}, {"weight": 1.0}, {"weight": 100.0}]
    assert all(r.grid == () for r in asked)


@pytest.mark.parametrize("name", ["ce_ls", TEACHER, "fitnets"])
def test_the_record_is_the_best_of_the_stored_candidates(name, tuning, tmp_path, monkeypatch):
    experiment = tuning(3)
    record = experiment.run(name)
    candidates = [experiment.run(replace(RECIPES[name].but(**o), grid=())) for o in ({}, *RECIPES[name].grid)]
    assert len({c.folder for c in candidates}) == 1 + len(RECIPES[name].grid)
    assert {c.folder.name for c in candidates} <= stored_names(tmp_path)
    best = None
    for candidate in candidates:
        row = candidate.log.iloc[candidate.result["chosen_epoch"]]
        score = (row["val_balanced_accuracy"], -row["val_loss"])
        if best is None or score > best[0]:
            best = (score, candidate)
    assert record.folder == best[1].folder and np.array_equal(record.logits, best[1].logits)
    before = stored_names(tmp_path)
    monkeypatch.setattr(runs, "fit", lambda *_, **__: pytest.fail("a training was started"))
    again = Experiment(experiment.study, "valence", 0)
    assert again.run(name).folder == record.folder and stored_names(tmp_path) == before


def test_a_larger_budget_starts_from_the_runs_of_a_smaller_one(tuning, tmp_path):
    trained = []
    for budget in (1, 2, 3):
        tuning(budget).run(TEACHER)
        trained.append(stored_names(tmp_path))
    assert [len(names) for names in trained] == [1, 2, 3]
    assert trained[0] < trained[1] < trained[2]


def test_a_tuned_recipe_can_be_trained_again(tuning, monkeypatch):
    experiment, trained = tuning(3), []
    first = experiment.run(TEACHER)
    monkeypatch.setattr(runs, "fit", lambda *a, **o: trained.append(1) or loop.fit(*a, **o))
    heard = []
    again = experiment.run(TEACHER, again=True, on_epoch=heard.append)
    assert len(trained) == 3 and len(heard) == 3 * 2 and np.array_equal(again.logits, first.logits)


def test_a_guide_is_tuned_before_it_teaches(tuning):
    experiment = tuning(3)
    learner = experiment.learner(RECIPES["kd"], {TEACHER: experiment.guide(TEACHER)})
    assert np.array_equal(learner.loss.guide_logits[0].numpy(), experiment.run(TEACHER).logits)
    assert experiment.run("kd").spec["guides"] == [runs.run_key(experiment.spec(experiment.recipe(TEACHER)))]


@pytest.mark.parametrize("name", ["ce_ls", TEACHER])
def test_test_labels_do_not_influence_the_choice(name, tuning, tmp_path):
    first = tuning(3)
    record, split = first.run(name), first.split

    def choice_with_turned(rows):
        shutil.rmtree(tmp_path / "runs")
        other = Experiment(first.study, "valence", 0)
        labels = first.inputs.labels.clone()
        labels[rows] = 1 - labels[rows]
        other.fold_data = replace(first.fold_data, inputs=replace(first.inputs, labels=labels))
        return other.run(name)

    again = choice_with_turned(np.concatenate([split.rows["test_trial"], split.rows["test_subject"]]))
    assert again.spec == record.spec and np.array_equal(again.logits, record.logits)
    columns = ["val_balanced_accuracy", "val_loss"]
    assert again.log[columns].equals(record.log[columns])
    turned = choice_with_turned(split.val)  # what the choice does read
    assert not turned.log[columns].equals(record.log[columns])


def test_given_windows_are_studied_and_need_a_key(by_protocol):
    windows = by_protocol.windows
    with pytest.raises(ValueError, match="expected meta\\['key'\\]"):
        Study(Params(profile="smoke"), windows=replace(windows, meta={"name": "mine"}))
    given = Study(Params(profile="smoke"), windows=windows)
    assert given.windows is windows and given.data_key == windows.meta["key"]
