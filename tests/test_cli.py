"""The command line: it writes what it says, refuses in one line, and prints both tables at one glance."""

import os
import subprocess
import sys
from dataclasses import fields

import pandas as pd
import pytest
from test_tables import made_up

from cdgkd_utils import cli
from cdgkd_utils.cli import main
from cdgkd_utils.config import Params, home
from cdgkd_utils.data.load import load_windows
from cdgkd_utils.results.tables import results_table, write_csv


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
    given = {
        "dataset": "deap",
        "target": "arousal",
        "profile": "bench",
        "seed": 7,
        "world": "eeg_rich",
        "family": "reference",
    }
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


def stored_tables():
    for number, methods in ((1, ("ce", "kd", "cdgkd")), (2, ("eeg", "fusion", "fusion_rebalanced"))):
        write_csv(results_table(made_up(methods, table=number), number), home() / "tables" / f"table{number}.csv")


def test_run_ends_with_both_tables_at_one_glance(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CDGKD_HOME", str(tmp_path))
    stored_tables()
    cli._show_tables()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) + 9 <= 45  # nine lines for nine notebooks
    assert max(map(len, lines[:-3])) <= 120
    text = "\n".join(lines)
    long = pd.read_csv(tmp_path / "tables" / "table1.csv")
    row = long.query("method == 'cdgkd' and metric == 'accuracy' and protocol == 'trial' and target == 'arousal'").iloc[
        0
    ]
    assert f"{row['mean']:.1f} ± {row['sd']:.1f} (65.97)" in text and "63.02" in text
    assert "notebooks" in lines[-3] and "figures" in lines[-3] and "RESULTS.md" in lines[-1]


@pytest.mark.parametrize("encoding", ["cp932", "ascii", "utf-8"])
def test_a_pipe_that_knows_no_dash_gets_the_tables_all_the_same(encoding, tmp_path, monkeypatch):
    monkeypatch.setenv("CDGKD_HOME", str(tmp_path))
    stored_tables()
    show = (
        "from cdgkd_utils import cli; cli._run = lambda args: cli._show_tables(); raise SystemExit(cli.main(['run']))"
    )
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    result = subprocess.run([sys.executable, "-c", show], capture_output=True, check=False, env=environment)
    assert result.returncode == 0, result.stderr
    assert "CDGKD" in result.stdout.decode(encoding)


def test_module_can_be_run():
    command = [sys.executable, "-m", "cdgkd_utils", "twin", "--out", "x", "--layout", "amigos"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2 and "choose from" in result.stderr and "Traceback" not in result.stderr
