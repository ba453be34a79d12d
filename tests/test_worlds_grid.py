"""A grid over several worlds: its cells and their order, what is refused, and windows that come and go."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import joblib
import numpy as np
import pytest
import yaml

from cdgkd_utils.experiments import grid
from cdgkd_utils.experiments import plan as planning
from cdgkd_utils.experiments.configs import ConfigError, read_config
from cdgkd_utils.experiments.engine import Outcome, forget_data
from cdgkd_utils.experiments.grid import run_missing
from cdgkd_utils.experiments.plan import plan_config

CONFIGS = Path(__file__).parents[1] / "configs"
OTHER = "0.3/0.1/0/1.6"
THREE = {
    "world": ["mixed", "eeg_rich", OTHER],
    "also": {"eeg_rich": ["cdgkd", "ce"], OTHER: ["kd@eeg", "ce#2"]},
    "methods": ["ce", "kd@eeg"],
    "seeds": [4, 7],
    "folds": 1,
    "profile": "smoke",
}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("CDGKD_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(joblib, "cpu_count", lambda *_: 1)  # starting processes takes longer than 120 windows
    forget_data()
    yield tmp_path / "home"
    forget_data()


def config_of(folder, **changed):
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(THREE | changed))
    return read_config(path)


# ---- cells and their order ---------------------------------------------------------------------


def test_each_world_has_its_methods(tmp_path):
    config = config_of(tmp_path)
    assert config.worlds == ("mixed", "eeg_rich", OTHER) and config.keep_windows
    assert config.recipes("twin") == config.recipes("twin", "mixed") == ["ce", "kd@eeg"]
    assert config.recipes("twin", "eeg_rich") == ["ce", "kd@eeg", "cdgkd"]  # each once
    assert config.recipes("twin", OTHER) == ["ce", "kd@eeg", "ce#2"]
    assert config.params("twin", 7).world == "mixed" and config.params("twin", 7, OTHER).world == OTHER


def test_cells_are_worlds_by_seeds_by_targets_by_methods(tmp_path):
    plan = plan_config(config_of(tmp_path))
    cells = [(c.params.world, c.params.seed, c.target, c.recipe) for c in plan.cells]
    expected = [
        (world, seed, target, method)
        for seed in (4, 7)
        for world, methods in (("mixed", []), ("eeg_rich", ["cdgkd"]), (OTHER, ["ce#2"]))
        for target in ("valence", "arousal")
        for method in ["ce", "kd@eeg", *methods]
    ]
    assert cells == expected and len(cells) == len(set(cells)) == 2 * 2 * (3 * 2 + 2)
    assert [c.repeat for c in plan.cells] == [0] * 16 + [1] * 16
    assert len({name for c in plan.cells for name in c.runs}) == len(cells)  # no run stands for two


def test_runs_go_seed_by_seed_and_the_world_of_the_faces_comes_first(tmp_path):
    runs = list(plan_config(config_of(tmp_path)).runs.values())
    places = list(dict.fromkeys((run.params.seed, run.params.world) for run in runs))
    assert places == [(seed, world) for seed in (4, 7) for world in ("mixed", "eeg_rich", OTHER)]
    assert len({run.data_key for run in runs}) == 6
    batches = grid._by_seed(runs)
    assert [run for batch in batches for run in batch] == runs
    assert [{run.params.seed for run in batch} for batch in batches] == [{4}, {7}]


def test_a_guide_is_of_its_own_world(tmp_path):
    runs = plan_config(config_of(tmp_path)).runs
    for run in runs.values():
        for guide in run.guides:
            same = ("params", "repeat", "target", "fold", "data_key")
            assert all(getattr(runs[guide], name) == getattr(run, name) for name in same)


def test_one_world_by_name_is_what_it_was(tmp_path):
    """The keys of a configuration do not depend on which other worlds stand beside."""
    alone = plan_config(config_of(tmp_path, world="eeg_rich", also={}, methods=["ce", "kd@eeg", "cdgkd"]))
    among = plan_config(config_of(tmp_path))
    assert set(alone.runs) == {name for name, run in among.runs.items() if run.params.world == "eeg_rich"}
    listed = plan_config(config_of(tmp_path, world=["eeg_rich"], also={}, methods=["ce", "kd@eeg", "cdgkd"]))
    assert list(listed.runs) == list(alone.runs) and listed.cells == alone.cells


def test_files_know_no_worlds(tmp_path, monkeypatch):
    asked = []

    def note(params, known_key=""):
        asked.append((params.dataset, params.seed))
        return SimpleNamespace(params=params, data_key="")

    monkeypatch.setattr(planning, "Study", note)
    monkeypatch.setattr(planning, "plan_study", lambda *_, **__: [])
    monkeypatch.setattr(planning, "_n_folds", lambda *_: 1)
    plan_config(config_of(tmp_path, datasets=["deap", "twin"], data_root={"deap": "here"}))
    assert asked == [("deap", 4), ("deap", 7), *[("twin", 4)] * 3, *[("twin", 7)] * 3]


def test_the_confirmations_configuration_is_valid():
    config = read_config(CONFIGS.parent / "studies" / "beyond.yaml")
    assert config.worlds[0] == "mixed" and len(config.worlds) == 13 and not config.keep_windows


# ---- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"world": ["mixed", "moon"]}, "parameter world: expected one of mixed, .*'moon'"),
        ({"world": "0.5/0.5/0.1"}, "parameter world: expected shares .* sum below 1"),
        ({"world": ["mixed", "0.1/0.2"]}, "parameter world: expected one of mixed"),
        ({"world": ["mixed", "mixed"]}, "world: expected each name once"),
        ({"world": []}, "world: expected one or more of mixed, shared_view"),
        ({"world": [0.3]}, "world: expected one or more of mixed"),
        ({"world": {"mixed": 1}}, "world: expected one or more of mixed"),
        ({"also": {"shared_view": ["ce"]}}, "also: shared_view is not among world: mixed, eeg_rich, 0.3/0.1/0/1.6"),
        ({"also": {"mixed": ["cdgdk"]}}, "also: recipe 'cdgdk': unknown method"),
        ({"also": {"mixed": ["ce@eeg"]}}, "also: recipe 'ce@eeg': ce does not learn from the fused teacher"),
        ({"also": {"mixed": ["all"]}}, "also: recipe 'all': unknown method"),
        ({"also": {"mixed": "cdgkd"}}, "also: expected methods by world, such as"),
        ({"also": ["cdgkd"]}, "also: expected methods by world, such as"),
        ({"methods": ["kd@moon"]}, "methods: recipe 'kd@moon': unknown guide 'moon'"),
        ({"methods": ["kd@eeg", "kd@eeg"]}, "methods: expected each name once"),
        ({"worlds": ["mixed"]}, "unknown key worlds; known: .*world"),
        ({"also": {0: ["ce"]}}, "also: 0 is not among world"),
        ({"world": [OTHER, "0.30/0.10/0/1.60"], "also": {}}, "world: expected each world once"),
        ({"keep_windows": "false"}, "keep_windows: expected true or false"),
        ({"keep_windows": 1}, "keep_windows: expected true or false"),
    ],
)
def test_each_wrong_value_is_one_clear_error(changed, said, tmp_path):
    with pytest.raises(ConfigError, match=f"^mine.yaml: .*{said}") as caught:
        config_of(tmp_path, **changed)
    assert "\n" not in str(caught.value)


# ---- windows that come and go ------------------------------------------------------------------


def tiny(folder):
    """Two worlds, one student and the EEG-only teacher."""
    return plan_config(
        config_of(folder, world=["mixed", OTHER], also={}, methods=["kd@eeg"], seeds=[0], targets=["valence"])
    )


def prepared(home):
    return {path.name for path in (home / "prepared").iterdir()} if (home / "prepared").is_dir() else set()


def outputs(home):
    found = {}
    for path in (home / "runs").iterdir():
        with np.load(path / "outputs.npz") as stored:
            found[path.name] = {name: stored[name].tobytes() for name in stored.files}
    return found


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A home in which windows stay."""
    home = tmp_path_factory.mktemp("kept")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CDGKD_HOME", str(home))
        patch.setattr(joblib, "cpu_count", lambda *_: 1)
        plan = tiny(home)
        assert not any(one.error for one in run_missing(plan.missing(), n_jobs=1, progress=False))
    assert prepared(home) == {run.data_key for run in plan.runs.values()}
    return home


def test_windows_go_and_results_are_the_same_to_the_bit(kept, home, tmp_path, monkeypatch):
    plan, there = tiny(tmp_path), []
    make_run = grid.make_run
    monkeypatch.setattr(grid, "make_run", lambda *given: there.append(prepared(home)) or make_run(*given))
    ended = run_missing(plan.missing(), n_jobs=1, progress=False, keep_windows=False)
    assert len(ended) == 4 and not any(one.error for one in ended)
    assert there == [{run.data_key for run in plan.runs.values()}] * 4  # while runs are made, windows are there
    assert prepared(home) == set()
    assert outputs(home) == outputs(kept)
    assert run_missing(plan.missing(), n_jobs=1, progress=False, keep_windows=False) == [] and prepared(home) == set()


def test_windows_drawn_without_a_bank_give_the_same_results(kept, home, tmp_path):
    """As when a grid goes on after the runs of the faces' world are made and its windows are gone."""
    plan = tiny(tmp_path)
    other = [run for run in plan.missing() if run.params.world == OTHER]
    run_missing(other, n_jobs=1, progress=False, keep_windows=False)
    assert prepared(home) == set()
    assert outputs(home) == {name: arrays for name, arrays in outputs(kept).items() if name in {r.name for r in other}}


@pytest.fixture
def pretended(monkeypatch, home):
    """Runs of which none is made: windows are folders, and what runs see of them is noted."""
    there, asked = [], []

    def prepare(runs):
        asked.append(list(runs))
        for run in runs:
            (home / "prepared" / run.data_key).mkdir(parents=True, exist_ok=True)

    def make(run, *_):
        there.append((run.params.seed, prepared(home)))
        return Outcome(run.name)

    monkeypatch.setattr(grid, "prepare_here", prepare)
    monkeypatch.setattr(grid, "make_run", make)
    return there, asked


def test_windows_of_one_seed_are_there_at_a_time(pretended, home, tmp_path):
    there, asked = pretended
    plan = plan_config(config_of(tmp_path))
    keys = {seed: {run.data_key for run in plan.runs.values() if run.params.seed == seed} for seed in (4, 7)}
    run_missing(plan.missing(), n_jobs=1, progress=False, keep_windows=False)
    assert [len(runs) for runs in asked] == [len(plan.runs) // 2] * 2 and len(there) == len(plan.runs)
    assert all(seen == keys[seed] for seed, seen in there)
    assert prepared(home) == set()


def test_windows_that_were_there_stay(pretended, home, tmp_path):
    plan = plan_config(config_of(tmp_path))
    mine = next(run.data_key for run in plan.runs.values() if (run.params.seed, run.params.world) == (7, "eeg_rich"))
    for name in (mine, "of another grid"):
        (home / "prepared" / name).mkdir(parents=True)
        (home / "prepared" / name / "eeg.npy").write_text(name)
    run_missing(plan.missing(), n_jobs=1, progress=False, keep_windows=False)
    assert prepared(home) == {mine, "of another grid"}
    assert (home / "prepared" / mine / "eeg.npy").read_text() == mine


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
@pytest.mark.parametrize("place", ["make_run", "prepare_here"])
def test_windows_go_whatever_happens(error, place, pretended, home, tmp_path, monkeypatch):
    plan, ours, calls = plan_config(config_of(tmp_path)), getattr(grid, place), []
    before = next(iter(plan.runs.values())).data_key
    (home / "prepared" / before).mkdir(parents=True)

    def fail_the_second_time(*given):
        result = ours(*given)
        calls.append(1)
        if len(calls) == 2:
            assert prepared(home) > {before}
            raise error("in the middle")
        return result

    monkeypatch.setattr(grid, place, fail_the_second_time)
    with pytest.raises(error, match="in the middle"):
        run_missing(plan.missing(), n_jobs=1, progress=False, keep_windows=False)
    assert prepared(home) == {before}


def test_windows_stay_by_default(pretended, home, tmp_path):
    plan = plan_config(config_of(tmp_path))
    run_missing(plan.missing(), n_jobs=1, progress=False)
    assert prepared(home) == {run.data_key for run in plan.runs.values()}


def test_windows_left_behind_would_be_noticed(pretended, home, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)
    run_missing(plan_config(config_of(tmp_path)).missing(), n_jobs=1, progress=False, keep_windows=False)
    assert prepared(home) != set()
