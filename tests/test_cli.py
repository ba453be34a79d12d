"""The command line: it writes what it says and refuses in one line."""

import subprocess
import sys

import pytest

from cdgkd_utils.cli import main
from cdgkd_utils.data.deap import open_tree, read_deap


def test_twin_command_writes_a_folder_that_the_reader_reads(tmp_path, capsys):
    out = tmp_path / "tree"
    small = ["--subjects", "1", "--trials", "2", "--seconds", "4", "--size", "64", "--world", "eeg_rich", "--seed", "5"]
    assert main(["twin", "--layout", "deap", "--out", str(out), *small]) == 0
    assert "dataset='deap'" in capsys.readouterr().out
    trials = list(read_deap(out))
    assert [trial.trial for trial in trials] == [1, 2] and trials[0].eeg.shape == (28, 512)
    note = open_tree(out).synthetic
    assert note["settings"]["world"] == "eeg_rich" and note["settings"]["seed"] == 5
    assert "No person was recorded" in note["warning"]

    assert main(["twin", "--out", str(out), *small]) == 2
    assert "not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["tree"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["twin", "--layout", "mahnob", "--out", "x"], "'mahnob'"),
        (["twin"], "--out"),
        (["twins", "--out", "x"], "'twins'"),
        ([], "command"),
        (["twin", "--out", "x", "--subjects", "two"], "--subjects"),
        (["twin", "--out", "x", "--subjects", "0"], "n_subjects"),
        (["twin", "--out", "x", "--seconds", "7"], "seconds"),
        (["twin", "--out", "x", "--size", "100"], "frame_size"),
        (["twin", "--out", "x", "--world", "flat"], "'flat'"),
        (["twin", "--out", "x", "--seed", "-1"], "seed"),
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


def test_module_can_be_run(tmp_path):
    command = [sys.executable, "-m", "cdgkd_utils", "twin", "--out", "x", "--layout", "mahnob"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2 and "choose from" in result.stderr and "Traceback" not in result.stderr
