"""A configuration is read strictly, and its runs, keys and order are known before anything is prepared."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from cdgkd_utils.config import PROFILES, Params
from cdgkd_utils.data.load import load_windows
from cdgkd_utils.experiments import plan as planning
from cdgkd_utils.experiments import runs, study
from cdgkd_utils.experiments.configs import ConfigError, read_config
from cdgkd_utils.experiments.cost import measured_cost
from cdgkd_utils.experiments.plan import Plan, plan_config, plan_study
from cdgkd_utils.experiments.recipes import RECIPES, TEACHER, table_recipes
from cdgkd_utils.experiments.runs import Experiment, run_key
from cdgkd_utils.experiments.study import Study, windows_key

CONFIGS = Path(__file__).parents[1] / "configs"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("CDGKD_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def written(folder, text):
    path = folder / "mine.yaml"
    path.write_text(text if isinstance(text, str) else yaml.safe_dump(text))
    return path


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("seed: 3", "unknown key seed; known: datasets, targets"),
        ("datasets: [twin, DEAP]", "datasets: expected one or more of twin, twin_mahnob, .*DEAP"),
        ("datasets: []", "datasets: expected one or more"),
        ("datasets: [twin, twin]", "datasets: expected each name once"),
        ("methods: [cdgdk]", "methods: recipe 'cdgdk': unknown method 'cdgdk'; known: eeg"),
        ("methods: [all, kd]", "methods: .*'all' alone"),
        ("methods: 3", "methods: expected one or more"),
        ("targets: [dominance]", "targets: expected one or more of valence, arousal"),
        ("seeds: 0", "seeds: expected a number of seeds"),
        ("seeds: true", "seeds: expected a number of seeds"),
        ("seeds: [1, 1]", "seeds: expected each seed once"),
        ("seeds: [-1]", "seeds: expected a number"),
        ("folds: many", "folds: expected the number of folds"),
        ("selection: best", "selection: expected one of '', 'best_val'"),
        ("protocol: leave", "protocol: expected one of trial.subject"),
        ("protocol: window", "parameter protocol: 'window' puts windows of one trial"),
        ("profile: fast", "parameter profile: expected one of smoke"),
        ("profile: 3", "parameter profile: expected str, got int"),
        ("datasets: [deap]", "data_root: no folder for deap"),
        ("data_root: x", "data_root: one folder for no data set of files"),
        ("datasets: [deap, mahnob]\ndata_root: x", "data_root: one folder for deap, mahnob; give one per"),
        ("data_root: {deap: x}", "data_root: deap is not among datasets"),
        ("data_root: {deap: 3}", "data_root: expected a folder"),
        ("seeds: 1\nseeds: 2", "key 'seeds' stands twice"),
        ("seeds: [1", "not valid YAML"),
        ("- twin", "expected lines 'key: value', got list"),
    ],
)
def test_each_wrong_configuration_is_one_clear_error(text, said, tmp_path):
    with pytest.raises(ConfigError, match=f"^mine.yaml: .*{said}") as caught:
        read_config(written(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text_is_named(tmp_path):
    (tmp_path / "mine.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"mine\.yaml: not "):
        read_config(tmp_path / "mine.yaml")


def test_a_configuration_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nosuch\.yaml: no such file; expected a grid's configuration, such as "):
        read_config(tmp_path / "nosuch.yaml")


def test_defaults_and_a_full_configuration(tmp_path):
    assert read_config(written(tmp_path, "")).seeds == (0,)
    config = read_config(written(tmp_path, {"seeds": 3, "datasets": ["deap", "twin"], "data_root": {"deap": "here"}}))
    assert config.seeds == (0, 1, 2) and config.name == "mine"
    assert config.params("deap", 2).data_root == str(Path("here").resolve()) and config.params("twin", 2).seed == 2
    assert config.params("twin", 0).data_root == ""


@pytest.mark.parametrize("name", ["smoke", "quick", "bench", "paper"])
def test_the_committed_configurations_are_valid(name):
    config = read_config(CONFIGS / f"{name}.yaml")
    if name != "paper":
        plan = plan_config(config)
        n_recipes = sum(len(config.recipes(dataset)) for dataset in config.datasets)
        n_folds = config.folds or PROFILES[config.profile].n_folds
        assert len(plan.cells) == n_recipes * len(config.targets) * len(config.seeds) * n_folds
    else:
        assert config.params("deap", 0).model_family == "reference"
    assert (name == "bench") == (len(config.seeds) == 32)


def test_guides_come_first_and_with_those_they_teach(tmp_path):
    config = read_config(written(tmp_path, {"methods": ["cdgkd", "cnn_svm"], "targets": ["valence"], "folds": 2}))
    plan = plan_config(config)
    names = list(plan.runs)
    assert {run.recipe.name for run in plan.runs.values()} == {
        *(TEACHER, "ta1_drop", "ta2_drop", "cdgkd"),
        *("cnn_svm", "face_cnn", "eeg_svm"),
    }
    assert len(names) == 7 * 2
    for place, run in enumerate(plan.runs.values()):
        assert all(names.index(guide) < place for guide in run.guides)
        assert [plan.runs[guide].recipe.name for guide in run.guides] == list(RECIPES[run.recipe.name].guides)
        assert {plan.runs[guide].fold for guide in run.guides} <= {run.fold}
    assert [run.fold for run in plan.runs.values()] == [0] * 7 + [1] * 7
    stages = {run.recipe.name: run.stage for run in plan.runs.values()}
    assert stages == {
        TEACHER: "teachers",
        "ta1_drop": "assistants",
        "ta2_drop": "assistants",
        "cdgkd": "students",
        "cnn_svm": "made from runs",
        "eeg_svm": "made from runs",
        "face_cnn": "other networks",
    }


def test_a_plan_prepares_nothing_and_has_the_keys_of_the_experiment(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("windows were asked for")

    monkeypatch.setattr(study, "load_windows", refuse)
    params = Params(profile="smoke")
    found = {}
    plan_study(Study(params), targets=["arousal"], recipes=["dense"], n_folds=1, selection="", runs=found)
    experiment = Experiment(Study(params), "arousal", 0)
    for run in found.values():
        assert run.key == run_key(experiment.spec(experiment.recipe(run.recipe.name)))
        assert run.name == run.folder.name == f"{run.recipe.name}-{run.key[:20]}"


@pytest.mark.parametrize("dataset", ["twin", "twin_mahnob"])
def test_the_windows_key_is_known_before_they_are_prepared(dataset, monkeypatch, tmp_path_factory):
    monkeypatch.setenv("CDGKD_HOME", str(tmp_path_factory.getbasetemp() / "smoke_home"))
    params = Params(profile="smoke", dataset=dataset)
    key = windows_key(params)
    assert key != windows_key(params, 1) == windows_key(replace(params, seed=1))
    if dataset == "twin":
        assert load_windows(params, n_jobs=1).meta["key"] == key


def test_a_tuned_recipe_is_all_its_settings_and_what_it_teaches_waits_for_all(monkeypatch):
    monkeypatch.setitem(PROFILES, "smoke", replace(PROFILES["smoke"], tuning_budget=3))
    found = {}
    cells = plan_study(
        Study(Params(profile="smoke")), targets=["valence"], recipes=["kd"], n_folds=1, selection="", runs=found
    )
    (cell,) = cells
    teachers = [run.name for run in found.values() if run.recipe.name == TEACHER]
    assert len(teachers) == 3 and len(cell.runs) == 3 and len(found) == 6
    assert all(found[name].guides == tuple(teachers) for name in cell.runs)
    assert {found[name].recipe.options.get("temperature") for name in cell.runs} == {2.0, 4.0}
    assert all(run.recipe.grid == () for run in found.values())


def test_equal_seeds_are_equal_runs_however_they_are_counted():
    options = {"targets": ["valence"], "recipes": ["ce"], "n_folds": 1, "selection": ""}
    one, two = {}, {}
    plan_study(Study(Params(profile="smoke", seed=3)), **options, runs=one)
    plan_study(Study(Params(profile="smoke", seed=1), repeat=2), **options, runs=two)
    assert list(one) == list(two)


def test_more_folds_than_there_are_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match=r"mine: folds: protocol trial\+subject has 3, got 4"):
        plan_config(read_config(written(tmp_path, {"folds": 4, "methods": ["ce"]})))
    loso = {"folds": 7, "methods": ["ce"], "protocol": "loso", "profile": "smoke"}
    with pytest.raises(ConfigError, match="folds: protocol loso has 6, got 7"):
        plan_config(read_config(written(tmp_path, loso)))
    assert len(plan_config(read_config(written(tmp_path, loso | {"folds": 0, "targets": "valence"}))).cells) == 6


def test_device_workers_paths_and_libraries_are_not_in_the_key(monkeypatch):
    def keys():
        found = {}
        plan_study(
            Study(Params(profile="smoke")), targets=["valence"], recipes=["kd"], n_folds=1, selection="", runs=found
        )
        return list(found)

    before = keys()
    monkeypatch.setenv("CDGKD_HOME", "/somewhere/else")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setattr(runs.torch, "__version__", "9.9")
    assert keys() == before


def test_the_cost_is_the_median_of_stored_runs_of_the_same_kind(home):
    found = {}
    plan_study(Study(Params(profile="smoke")), targets=["valence"], recipes=["kd"], n_folds=2, selection="", runs=found)
    plan = Plan(found, [])
    students = [run for run in found.values() if run.recipe.name == "kd"]
    for number, seconds in enumerate((1.0, 2.0, 9.0)):
        folder = home / "runs" / f"kd-{number:020x}"
        folder.mkdir(parents=True)
        (folder / "spec.json").write_text('{"family": "compact", "training": {"epochs": 2}}')
        (folder / "result.json").write_text(f'{{"seconds": {seconds}}}')
    (home / "runs" / f"kd-{7:020x}").mkdir()  # damaged: an estimate does without
    seconds, size, unknown = measured_cost(plan).of(plan.missing())
    assert seconds == 2 * 2.0 and unknown == len(found) - len(students) == 2
    assert size == pytest.approx(2 * sum(path.stat().st_size for path in folder.iterdir()), abs=4)


def test_stored_runs_are_not_missing(home):
    found = {}
    plan_study(Study(Params(profile="smoke")), targets=["valence"], recipes=["kd"], n_folds=1, selection="", runs=found)
    first = next(iter(found))
    os.makedirs(home / "runs" / first)
    assert [run.name for run in Plan(found, []).missing()] == list(found)[1:]
    assert planning.stored_names() == {first}


def test_no_data_set_of_files_is_asked_what_only_the_twin_knows(tmp_path):
    config = read_config(written(tmp_path, {"datasets": ["deap"], "data_root": {"deap": "x"}}))
    assert config.recipes("deap") == [name for table in (2, 1) for name in table_recipes(table, with_truth=False)]


def test_each_key_is_computed_once_for_all_that_it_teaches(monkeypatch):
    counted = []
    spec = Experiment.spec
    monkeypatch.setattr(Experiment, "spec", lambda self, recipe: counted.append(1) or spec(self, recipe))
    recipes = [name for table in (2, 1) for name in table_recipes(table)]
    found = {}
    study = Study(Params(profile="smoke"))
    plan_study(study, targets=["valence"], recipes=recipes, n_folds=2, selection="", runs=found)
    assert len(counted) <= 2 * len(found)  # as a run of its own, and as a guide
