"""A grid survives what goes wrong around it, says in one line what went wrong inside; no wrong table is written."""

import json
import os
import shutil
import signal
import threading
import time
from dataclasses import replace

import pytest

from cdgkd_utils.cli import main
from cdgkd_utils.config import Params
from cdgkd_utils.data.load import load_windows
from cdgkd_utils.experiments import cluster, engine, runs
from cdgkd_utils.experiments.configs import read_config
from cdgkd_utils.experiments.engine import forget_data, make_run
from cdgkd_utils.experiments.failures import failures
from cdgkd_utils.experiments.grid import run_missing
from cdgkd_utils.experiments.plan import plan_config

CONFIG = "targets: valence\nmethods: [eeg, kd]\nfolds: 1\nprofile: smoke\n"  # eeg; a teacher and its student


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """A configuration, and a home in which it ran undisturbed."""
    smoke = tmp_path_factory.getbasetemp() / "smoke_home"
    home = tmp_path_factory.mktemp("undisturbed")
    config = home / "mine.yaml"
    config.write_text(CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CDGKD_HOME", str(smoke))
        load_windows(Params(profile="smoke"), n_jobs=1)
        (home / "prepared").symlink_to(smoke / "prepared")
        patch.setenv("CDGKD_HOME", str(home))
        assert main(["grid", "run", str(config), "--jobs", "1"]) == 0
        assert main(["grid", "collect", str(config)]) == 0
    forget_data()
    return config, home


@pytest.fixture
def config(library):
    return library[0]


@pytest.fixture
def home(library, tmp_path, monkeypatch):
    """A home with windows and without runs."""
    monkeypatch.setenv("CDGKD_HOME", str(tmp_path))
    (tmp_path / "prepared").symlink_to((library[1] / "prepared").resolve())
    yield tmp_path
    forget_data()


@pytest.fixture
def finished(library, home):
    """A home in which the configuration ran."""
    shutil.copytree(library[1] / "runs", home / "runs")
    return home


def tables(home):
    return {path.name: path.read_bytes() for path in sorted((home / "tables" / "mine").iterdir())}


def planned(config):
    return list(plan_config(read_config(config)).runs.values())


def folder_of(home, recipe):
    (found,) = (home / "runs").glob(f"{recipe}-*")
    return found


# ---- the commands ------------------------------------------------------------------------------


def test_plan_and_status_count_what_is_there(config, finished, capsys):
    shutil.rmtree(folder_of(finished, "kd"))
    assert main(["grid", "plan", str(config)]) == 0
    rows = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines()}
    assert rows["all"][1:5] == ["3", "2", "0", "1"] and rows["teachers"][1:5] == ["1", "1", "0", "0"]
    assert main(["grid", "status", str(config)]) == 0
    said = capsys.readouterr().out
    assert "2 of 3 runs are stored" in said and "kd" in said and "0 / 1" in said


def test_equal_runs_give_equal_bytes_and_a_hole_is_refused(config, finished, library, capsys):
    assert main(["grid", "collect", str(config)]) == 0
    assert tables(finished) == tables(library[1]) and set(tables(finished)) == {
        *("scores.csv", "table1.csv", "table2.csv", "claims.csv", "comparisons.csv"),
    }
    shutil.rmtree(finished / "tables")
    shutil.rmtree(folder_of(finished, "kd"))
    assert main(["grid", "collect", str(config)]) == 2
    said = capsys.readouterr().err
    assert "1 of 2 cells are done; the first hole is kd on twin, valence, repetition 0, fold 0" in said
    assert not (finished / "tables").exists()
    assert main(["grid", "collect", str(config), "--partial"]) == 0
    assert b"\n1,deap,valence,trial,kd" not in tables(finished)["scores.csv"]


@pytest.mark.parametrize("action", ["plan", "run", "status", "collect", "retry", "gc"])
def test_a_wrong_configuration_is_one_line(action, tmp_path, capsys):
    (tmp_path / "bad.yaml").write_text("seed: 1")
    assert main(["grid", action, str(tmp_path / "bad.yaml")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "bad.yaml: unknown key seed" in said
    assert main(["grid", action, str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml" in capsys.readouterr().err


# ---- faults inside a run -----------------------------------------------------------------------


def fail_for(monkeypatch, name, error):
    fit = runs.fit

    def maybe(model, inputs, loss, settings, **options):
        if options["checkpoint"].name.startswith(name):
            raise error
        return fit(model, inputs, loss, settings, **options)

    monkeypatch.setattr(runs, "fit", maybe)


def test_an_error_fails_its_run_and_what_waits_for_it_and_the_rest_goes_on(config, home, library, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        fail_for(patch, "fusion_rebalanced", ValueError("the loss is\nnot finite"))
        assert main(["grid", "run", str(config), "--jobs", "1"]) == 1
    said = capsys.readouterr().out
    (line,) = (line for line in said.splitlines() if line.startswith("failed:"))
    assert "ValueError: the loss is not finite (1 runs wait for it)" in line
    assert [path.name.partition("-")[0] for path in (home / "runs").iterdir()] == ["eeg"]
    (name,) = failures()
    assert name.startswith("fusion_rebalanced-")
    assert "Traceback" in json.loads((home / "failed" / f"{name}.json").read_text())["traceback"]

    assert main(["grid", "run", str(config), "--jobs", "1"]) == 1  # not tried again unasked
    assert "2 runs are left out" in capsys.readouterr().out
    assert main(["grid", "status", str(config)]) == 0
    assert f"failed: {name}: ValueError" in capsys.readouterr().out
    assert main(["grid", "collect", str(config)]) == 2

    assert main(["grid", "retry", str(config), "--jobs", "1"]) == 0
    assert failures() == {} and not (home / "failed").exists()
    assert main(["grid", "collect", str(config)]) == 0
    assert tables(home) == tables(library[1])


def test_a_full_disk_is_one_line_and_leaves_no_part(config, home, monkeypatch, capsys):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cdgkd_utils.experiments.records.save_file", full)
    assert main(["grid", "run", str(config), "--jobs", "1"]) == 1
    assert "OSError: [Errno 28] No space left on device" in capsys.readouterr().out
    assert list((home / "runs").iterdir()) == []


@pytest.mark.parametrize("file", ["result.json", "spec.json", "epochs.csv", "outputs.npz"])
@pytest.mark.parametrize("damage", ["cut", "gone", "changed"])
def test_a_damaged_run_never_enters_a_table_and_retry_makes_it_anew(file, damage, config, finished, library, capsys):
    path = folder_of(finished, "eeg") / file
    whole = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(whole[:-20] if damage == "cut" else whole.replace(whole[20:22], b"~~", 1))
    assert main(["grid", "collect", str(config)]) == 2
    said = capsys.readouterr().err
    assert path.parent.name in said and "delete it and run again" in said and said.count("\n") == 1
    assert not (finished / "tables").exists()
    assert main(["grid", "retry", str(config), "--jobs", "1"]) == 0
    assert f"moved to {path.parent.name}.damaged-1" in capsys.readouterr().out
    assert main(["grid", "collect", str(config)]) == 0
    assert tables(finished) == tables(library[1])


def test_a_student_of_a_damaged_guide_fails_with_the_guides_name(config, finished, capsys):
    shutil.rmtree(folder_of(finished, "kd"))
    teacher = folder_of(finished, "fusion_rebalanced")
    (teacher / "outputs.npz").write_bytes(b"")
    assert main(["grid", "run", str(config), "--jobs", "1"]) == 1
    assert f"run folder {teacher.name} cannot be read" in capsys.readouterr().out


def test_code_of_another_version_makes_nothing(config, home, monkeypatch):
    run = planned(config)[0]
    monkeypatch.setitem(runs.stage_versions.__globals__["VERSIONS"], "training", 99)
    outcome = make_run(run, str(home))
    assert "another than where the grid was planned" in outcome.error and not (home / "runs").exists()


def test_windows_that_changed_since_the_plan_are_refused(config, home, monkeypatch):
    outcome = make_run(replace(planned(config)[0], data_key="0" * 32), str(home))
    assert "the windows are not those of the plan" in outcome.error and not (home / "runs").exists()


def test_two_grids_on_one_folder_end_with_the_same_runs(config, home, library):
    """The second finds each run stored while it works on it: the first rename wins."""
    everything = planned(config)
    for run in everything:
        assert make_run(run, str(home)).error == ""
    forget_data()
    before = {path: path.stat().st_mtime_ns for path in (home / "runs").rglob("*")}
    assert [outcome.error for outcome in run_missing(everything, n_jobs=1, progress=False)] == [""] * 3
    assert {path: path.stat().st_mtime_ns for path in (home / "runs").rglob("*")} == before
    assert main(["grid", "collect", str(config)]) == 0 and tables(home) == tables(library[1])


# ---- faults around it --------------------------------------------------------------------------


def test_killed_workers_lose_nothing(config, home, library, monkeypatch):
    """All processes die by SIGKILL while they work; others take their place, and the tables are the same."""
    submit = engine._submit

    def and_kill(client, *arguments):
        pids = [info["pid"] for info in client.run(_pid).values()]

        def kill():
            time.sleep(0.2)
            for pid in pids:
                os.kill(pid, signal.SIGKILL)

        found = submit(client, *arguments)
        threading.Thread(target=kill, daemon=True).start()
        return found

    monkeypatch.setattr(engine, "_submit", and_kill)
    assert main(["grid", "run", str(config), "--jobs", "2"]) == 0
    assert main(["grid", "collect", str(config)]) == 0 and tables(home) == tables(library[1])
    assert failures() == {}


def _pid():
    return {"pid": os.getpid()}


def test_no_scheduler_is_one_line(config, home, tmp_path, capsys, monkeypatch):
    assert main(["grid", "run", str(config), "--on", str(tmp_path / "none.json")]) == 2
    assert "no such file; start 'dask scheduler --scheduler-file" in capsys.readouterr().err
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 0.5)
    assert main(["grid", "run", str(config), "--on", "tcp://127.0.0.1:9"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--on tcp://127.0.0.1:9: no scheduler answers there" in line
