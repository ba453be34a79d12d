"""A grid: what it plans, and that failed, damaged and killed runs cost nothing but themselves."""

import os
import shutil
import signal
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from test_own_method import Mean

from cdgkd_utils.config import Params
from cdgkd_utils.data.load import load_windows
from cdgkd_utils.experiments import cluster, grid, runs
from cdgkd_utils.experiments.cluster import ClusterError, make_run
from cdgkd_utils.experiments.grid import ConfigError, GridConfig, collect, plan, read_config, run, status
from cdgkd_utils.experiments.recipes import RECIPES, Recipe, register, table_recipes
from cdgkd_utils.experiments.runs import RunError, read_run

CONFIGS = Path(__file__).parents[1] / "configs"
MINE = {"targets": "valence", "methods": ["eeg", "kd"], "folds": 1, "profile": "smoke"}  # eeg; a teacher, its student
OTHER = "0.3/0.1/0/1.6"


def config_of(folder, **changed):
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(MINE | changed))
    return read_config(path)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """A home in which the configuration ran undisturbed."""
    smoke, home = tmp_path_factory.getbasetemp() / "smoke_home", tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CDGKD_HOME", str(smoke))
        load_windows(Params(profile="smoke"), n_jobs=1)
        (home / "prepared").symlink_to(smoke / "prepared")
        patch.setenv("CDGKD_HOME", str(home))
        planned = plan(config_of(home))
        assert [one.error for one in run(planned, n_jobs=1, progress=False)] == [""] * 3
    return home


@pytest.fixture
def home(library, tmp_path, monkeypatch):
    """A home with windows and without runs."""
    monkeypatch.setenv("CDGKD_HOME", str(tmp_path))
    (tmp_path / "prepared").symlink_to((library / "prepared").resolve())
    return tmp_path


@pytest.fixture
def finished(library, home):
    shutil.copytree(library / "runs", home / "runs")
    return home


def outputs(home):
    """What results are made from, run by run."""
    return {path.name: read_run(path).logits.tobytes() for path in (home / "runs").iterdir() if path.name[0] != "."}


def folder_of(home, recipe):
    (found,) = (home / "runs").glob(f"{recipe}-*")
    return found


# ---- configurations ----------------------------------------------------------------------------


WRONG = [
    "seed: 1",
    "- 1",
    "a: [",
    "folds: -1",
    "protocol: window",
    "selection: first",
    "data_root: here",
]
WRONG += [f"{key}: moon" for key in ("datasets", "targets", "folds", "allow_leak", "methods", "world", "profile")]
WRONG += [f"methods: {names}" for names in ("[all, ce]", "[ce, ce]", "kd@moon")] + ["also: {eeg_rich: [ce]}"]
WRONG += [f"seeds: {seeds}" for seeds in ("[]", "[1, 1]", "[-1]", "[x]", "0", "1.5")] + [
    "world: [0.3/0.1/0, 0.3/0.1/0/0.8]"
]


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_configuration_names_its_file(text, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match="mine"):
        plan(read_config(path))


def test_committed_configurations_can_be_read_and_a_lost_one_is_named(tmp_path):
    assert [read_config(path).name == path.stem for path in CONFIGS.glob("*.yaml")]
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        read_config(tmp_path / "none.yaml")


def test_a_configuration_of_parameters_has_their_repetitions(tmp_path):
    params = Params(profile="bench", seed=3, dataset="twin_mahnob", world="eeg_rich")
    config = GridConfig.of(params, targets=("valence",))
    assert config.seeds == (3, 4, 5, 6, 7) and config.datasets == ("twin_mahnob",) and config.targets == ("valence",)
    assert config.params("twin_mahnob", 3) == replace(params, target="valence")
    root = GridConfig.of(Params(dataset="deap", data_root=str(tmp_path)))
    assert root.params("deap", 0).data_root == str(tmp_path.resolve()) and "kd_oracle" not in root.recipes("deap")


# ---- plans -------------------------------------------------------------------------------------


def test_cells_are_seeds_by_worlds_by_targets_by_methods(tmp_path):
    worlds = {"world": ["mixed", "eeg_rich", OTHER], "also": {"eeg_rich": ["cdgkd", "ce"], OTHER: ["kd@eeg", "ce#2"]}}
    config = config_of(tmp_path, **worlds, methods=["ce", "kd@eeg"], seeds=[4, 7], targets=["valence", "arousal"])
    planned = plan(config)
    assert [(c.params.world, c.params.seed, c.target, c.recipe) for c in planned.cells] == [
        (world, seed, target, method)
        for seed in (4, 7)
        for world, methods in (("mixed", []), ("eeg_rich", ["cdgkd"]), (OTHER, ["ce#2"]))
        for target in ("valence", "arousal")
        for method in ["ce", "kd@eeg", *methods]
    ]
    assert len({name for c in planned.cells for name in c.runs}) == len(planned.cells)  # no run stands for two
    seen = set()
    for one in planned.runs.values():  # guides first, and of the same place
        assert seen.issuperset((guide, one.params, one.target, one.fold) for guide in one.guides)
        seen.add((one.name, one.params, one.target, one.fold))
    alone = plan(config_of(tmp_path, world="eeg_rich", methods=["ce", "kd@eeg", "cdgkd"], seeds=[4, 7]))
    assert set(alone.runs) <= set(planned.runs)  # a world's keys do not depend on which others stand beside


def test_tuned_recipes_have_a_run_for_each_setting_and_folds_are_counted(tmp_path, monkeypatch):
    planned = plan(config_of(tmp_path, profile="paper", methods=["nst"], folds=1))
    (cell,) = planned.cells
    assert len(cell.runs) == 3 and all(len(planned.runs[name].guides) == 3 for name in cell.runs)
    with pytest.raises(ConfigError, match=r"folds: protocol trial\+subject has 3"):
        plan(config_of(tmp_path, folds=4))
    assert {c.recipe for c in plan(config_of(tmp_path, methods="all")).cells} == {*table_recipes(1), *table_recipes(2)}


def test_ten_thousand_runs_are_planned_in_five_seconds(tmp_path):
    config = config_of(tmp_path, methods="all", seeds=80, folds=3, profile="quick")
    start = time.process_time()
    assert len(plan(config).runs) >= 10_000 and time.process_time() - start < 5


def test_status_counts_what_is_there_and_partial_holds_over_several_worlds(finished):
    shutil.rmtree(folder_of(finished, "kd"))
    planned = plan(config_of(finished, world=[Params.world, "eeg_rich"]))
    assert status(planned)["done"].tolist() == [1, 0, 0, 0]
    with pytest.raises(RunError, match="1 of 4 cells are done; the first hole is kd on twin, valence, repetition 0"):
        collect(planned)
    ((cell, folder),) = collect(planned, partial=True)
    assert cell.params.world == Params.world and cell.recipe == "eeg" == folder.name.partition("-")[0]


# ---- faults inside a run -----------------------------------------------------------------------


def test_an_error_fails_its_run_and_what_waits_for_it_and_the_rest_goes_on(home, library, monkeypatch):
    planned, fit = plan(config_of(home)), runs.fit

    def fail(model, inputs, loss, settings, **options):
        if options["checkpoint"].name.startswith("fusion_rebalanced"):
            raise ValueError("the loss is\nnot finite")
        return fit(model, inputs, loss, settings, **options)

    with monkeypatch.context() as patch:
        patch.setattr(runs, "fit", fail)
        eeg, teacher, student = run(planned, n_jobs=1, progress=False)
    assert eeg.error == "" and teacher.error == "ValueError: the loss is not finite"
    assert (student.error, student.blocked_by) == (teacher.error, teacher.name)
    assert [path.name.partition("-")[0] for path in (home / "runs").iterdir()] == ["eeg"]
    assert [one.error for one in run(planned, n_jobs=1, progress=False)] == ["", ""]  # failed ones are tried anew
    assert outputs(home) == outputs(library)


@pytest.mark.parametrize("file", ["weights.safetensors", "outputs.npz"])
def test_a_damaged_run_never_enters_a_table_and_the_next_run_makes_it_anew(file, finished, library):
    planned, path = plan(config_of(finished)), folder_of(finished, "fusion_rebalanced") / file
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(RunError, match=path.parent.name):
        collect(plan(config_of(finished, methods=["fusion_rebalanced"])))
    shutil.rmtree(folder_of(finished, "kd"))
    with pytest.warns(UserWarning, match="set aside"):
        assert [one.error for one in run(planned, n_jobs=1, progress=False)] == ["", ""]
    assert outputs(finished) == outputs(library) and run(planned, progress=False) == []


def test_other_code_or_windows_than_planned_make_nothing(home, monkeypatch):
    one = next(iter(plan(config_of(home)).runs.values()))
    assert "windows" in make_run(replace(one, data_key="0" * 32), str(home)).error
    monkeypatch.setattr(runs, "RESULTS_VERSION", 99)
    assert "code" in make_run(one, str(home)).error and not (home / "runs").exists()


# ---- processes ---------------------------------------------------------------------------------


def test_two_processes_end_as_one_with_a_method_of_ones_own_and_killed_workers(home, library, monkeypatch):
    """All processes die by SIGKILL while they work; others take their place."""
    submit, killed = grid.run_on, []

    def and_kill(client, *arguments):
        def kill():
            time.sleep(0.5)
            for pid in client.run(os.getpid).values():
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

        threading.Thread(target=kill, daemon=True).start()
        return submit(client, *arguments)

    monkeypatch.setattr(grid, "run_on", and_kill)
    register(Recipe("own", model=Mean, loss="dense", options={"kd_weight": 0.9}, guides=("eeg",)))
    try:
        outcomes = run(plan(config_of(home, methods=["eeg", "kd", "own", "kd@own"])), n_jobs=2, progress=False)
    finally:
        del RECIPES["own"]
    assert killed and [one.error for one in outcomes] == [""] * 5
    found = outputs(home)
    assert {name: found[name] for name in outputs(library)} == outputs(library) and len(found) == 5


def test_gpus_are_dealt_to_the_workers_of_a_machine(monkeypatch):
    class Worker:
        name = None

    monkeypatch.setattr(cluster.torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(cluster, "get_worker", lambda: Worker)
    found = []
    for Worker.name in (0, 1, 2, "gpu-3", "tcp://127.0.0.1:40001"):
        monkeypatch.setenv("CDGKD_DEVICE", "auto")
        cluster._choose_gpu()
        found.append(os.environ["CDGKD_DEVICE"])
    assert found == ["cuda:0", "cuda:1", "cuda:0", "cuda:1", "cuda:1"]
    monkeypatch.setenv("CDGKD_DEVICE", "cuda:0")  # what the user says stays
    cluster._choose_gpu()
    assert os.environ["CDGKD_DEVICE"] == "cuda:0"


def test_a_scheduler_file_that_is_none_is_one_line_at_once(finished, tmp_path):
    planned, file = plan(config_of(finished, methods="ce")), tmp_path / "scheduler.json"
    for content in ("", '{"type": "Sched', '{"type": "Scheduler"}', "[]"):
        file.write_text(content)
        with pytest.raises(ClusterError, match="expected the file of a running scheduler"):
            run(planned, on=str(file), progress=False)


@pytest.mark.parametrize("listens", [True, False])
def test_a_scheduler_that_does_not_answer_is_given_up_after_one_deadline(listens, finished, monkeypatch):
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 1.0)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        if listens:  # and says nothing
            silent.listen()
        start = time.monotonic()
        with pytest.raises(ClusterError, match="no scheduler answers at tcp"):
            run(
                plan(config_of(finished, methods="ce")), on=f"tcp://127.0.0.1:{silent.getsockname()[1]}", progress=False
            )
        assert time.monotonic() - start < 4
