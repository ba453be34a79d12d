"""The command line: it writes what it says, refuses in one line, and prints both tables at one glance."""

import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from test_tables import made_up, write_run

from cdgkd_utils import cli
from cdgkd_utils.cli import main
from cdgkd_utils.config import Params
from cdgkd_utils.data.load import load_windows
from cdgkd_utils.experiments import grid
from cdgkd_utils.results.tables import results_table


def test_twin_command_writes_a_folder_that_can_be_read(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CDGKD_HOME", str(tmp_path / "home"))
    out = tmp_path / "tree"
    small = ["--subjects", "1", "--trials", "1", "--seconds", "4", "--size", "64", "--seed", "5"]
    assert main(["twin", "--layout", "mahnob", "--out", str(out), *small]) == 0
    assert "dataset='mahnob'" in capsys.readouterr().out
    params = Params(dataset="mahnob", data_root=str(out), profile="smoke", seed=5)
    windows = load_windows(params, n_jobs=1)
    assert windows.index[["subject", "trial", "window"]].to_numpy().tolist() == [[1, 2, 0]]
    assert windows.meta["excluded"] == [] and windows.truth is not None
    assert main(["twin", "--layout", "mahnob", "--out", str(out), *small]) == 2
    assert "not empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["twin", "--layout", "amigos", "--out", "x"], "'amigos'"),
        (["twin", "--layout", "mahnob", "--out", "x", "--subjects", "31"], "n_subjects"),
        (["twin", "--layout", "mahnob", "--out", "x", "--raw"], "leave --raw out"),
        (["twin"], "--out"),
        (["twins", "--out", "x"], "'twins'"),
        ([], "command"),
        (["twin", "--out", "x", "--subjects", "two"], "--subjects"),
        (["twin", "--out", "x", "--world", "flat"], "'flat'"),
        (["twin", "--out", "x", "--seed", "-1"], "seed"),
        (["run", "--profile", "quik"], "'quik'"),
        (["run", "--world", "1/1/1"], "world: expected shares"),
        (["run", "--protocol", "window"], "allow_leak=True"),
        (["run", "--dataset", "deap", "--data-root", "nowhere"], "nowhere"),
        (["grid", "plan", "nothing.yaml"], "nothing.yaml"),
        (["grid"], "action"),
    ],
)
def test_wrong_input_is_one_line_and_status_2(arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    try:
        status = main(arguments)
    except SystemExit as stop:  # argparse leaves this way
        status = stop.code
    streams = capsys.readouterr()
    assert status == 2 and streams.out == ""
    assert said in streams.err and streams.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_every_parameter_is_a_flag_of_run_and_export(monkeypatch):
    given = {"dataset": "deap", "target": "arousal", "profile": "bench", "seed": 7, "world": "eeg_rich"}
    given |= {"family": "reference"}
    given |= {"extractor": "timm:x", "crop": "face", "protocol": "loso", "allow_leak": True}
    assert {*given, "data_root"} == {field.name for field in fields(Params)}
    flags = [f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}") for name, value in given.items()]
    for command, seen in (("run", "_run"), ("export", "_export")):
        found = []
        monkeypatch.setattr(cli, seen, lambda args, found=found: found.append(cli._params(args)))
        more = ["--out=x", "--method=kd@eeg"] if command == "export" else ["--only=3"]
        assert main([command, *flags, *more]) == 0 and found == [Params(**given)]


def test_a_relative_data_root_means_what_it_means_here(tmp_path, monkeypatch):
    found = []
    monkeypatch.setattr(cli, "_export", lambda args: found.append(cli._params(args).data_root))
    monkeypatch.chdir(tmp_path)
    assert main(["export", "--out=x", "--dataset=deap", "--data-root=files"]) == 0
    assert found == [str(tmp_path / "files")]


def long_tables():
    rows = {2: ("eeg", "fusion", "fusion_rebalanced"), 1: ("ce", "kd", "cdgkd")}
    return [results_table(made_up(methods, table=number), number) for number, methods in rows.items()]


def test_run_ends_with_both_tables_at_one_glance(capsys):
    cli._show_tables(long_tables())
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) + 9 <= 45  # nine lines for nine notebooks
    assert max(map(len, lines)) <= 120
    row = long_tables()[1].query("method == 'cdgkd' and metric == 'accuracy' and protocol == 'trial'").iloc[-1]
    assert f"{row['mean']:.1f} ± {row['sd']:.1f} (65.97)" in "\n".join(lines)  # arousal on DEAP
    assert "notebooks" in lines[-3] and "figures" in lines[-3] and "RESULTS.md" in lines[-1]


def test_the_tables_are_those_of_the_stored_runs(tmp_path, monkeypatch):
    runs = [(0, write_run(tmp_path / f"{name}{f}", name=name, fold=f)) for name in ("ce", "fusion") for f in (0, 1)]
    monkeypatch.setenv("CDGKD_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(grid, "run_all", lambda *_, **__: runs)
    two, one = cli._write_tables(Params(dataset="deap", data_root="x", profile="smoke"))
    for long, method in ((one, "ce"), (two, "fusion")):
        ran = long[(long["method"] == method) & (long["metric"] == "accuracy") & (long["protocol"] == "trial")]
        assert ran["mean"].tolist() == [75.0]
    made = sorted(path.name for path in (tmp_path / "home" / "tables").iterdir())
    assert made == ["scores.csv", "table1.csv", "table2.csv"]


@pytest.mark.parametrize("encoding", ["cp932", "ascii", "utf-8"])
def test_a_pipe_that_knows_no_dash_gets_the_tables_all_the_same(encoding):
    show = "from test_cli import *; cli._run = lambda _: cli._show_tables(long_tables()); main(['run'])"
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    where = {"env": environment, "cwd": Path(__file__).parent}
    result = subprocess.run([sys.executable, "-c", show], capture_output=True, check=False, **where)
    assert result.returncode == 0 and not result.stderr, result.stderr
    assert "CDGKD" in result.stdout.decode(encoding)
