"""The command line: it writes what it says and refuses in one line."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from cdgkd_utils.cli import main
from cdgkd_utils.config import Params
from cdgkd_utils.data.deap import open_tree, trials_of
from cdgkd_utils.data.features import hog768
from cdgkd_utils.data.load import load_windows, twin_settings
from cdgkd_utils.data.twin import prepare_subject
from cdgkd_utils.data.windows import trial_frames


def test_twin_command_writes_a_folder_that_the_reader_reads(tmp_path, capsys):
    out = tmp_path / "tree"
    small = ["--subjects", "1", "--trials", "2", "--seconds", "4", "--size", "64", "--world", "eeg_rich", "--seed", "5"]
    assert main(["twin", "--layout", "deap", "--out", str(out), *small]) == 0
    assert "dataset='deap'" in capsys.readouterr().out
    trials = list(trials_of(open_tree(out)))
    assert [trial.trial for trial in trials] == [1, 2] and trials[0].eeg.shape == (28, 512)
    note = open_tree(out).synthetic
    assert note["settings"]["world"] == "eeg_rich" and note["settings"]["seed"] == 5
    assert "No person was recorded" in note["warning"]

    assert main(["twin", "--out", str(out), *small]) == 2
    assert "not empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["tree"]


def test_twin_command_writes_the_other_layout(tmp_path, monkeypatch):
    monkeypatch.setenv("CDGKD_HOME", str(tmp_path / "home"))
    out = tmp_path / "tree"
    small = ["--subjects", "1", "--trials", "1", "--seconds", "4", "--size", "64", "--seed", "5"]
    assert main(["twin", "--layout", "mahnob", "--out", str(out), *small]) == 0
    params = Params(dataset="mahnob", data_root=str(out), profile="smoke", seed=5)
    windows = load_windows(params, n_jobs=1)
    assert windows.index[["subject", "trial", "window"]].to_numpy().tolist() == [[1, 2, 0]]
    assert windows.meta["name"] == "synthetic tree in MAHNOB-HCI's layout (world mixed)"
    assert windows.meta["excluded"] == [] and windows.truth is not None
    direct = prepare_subject(replace(twin_settings(params), n_trials=1, n_windows=1), 1)
    assert np.corrcoef(windows.eeg.ravel(), direct.eeg.ravel())[0, 1] > 0.9999
    frames, mask, _ = (part[0] for part in trial_frames(params, windows, [0], size=64))
    np.testing.assert_allclose(hog768(frames), windows.video[0], atol=5e-4)  # stored in half precision
    assert mask.all()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["twin", "--layout", "amigos", "--out", "x"], "'amigos'"),
        (["twin", "--layout", "mahnob", "--out", "x", "--subjects", "31"], "n_subjects"),
        (["twin", "--layout", "mahnob", "--out", "x", "--seconds", "7"], "max_seconds"),
        (["twin", "--layout", "mahnob", "--out", "x", "--raw"], "leave --raw out"),
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
    command = [sys.executable, "-m", "cdgkd_utils", "twin", "--out", "x", "--layout", "amigos"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2 and "choose from" in result.stderr and "Traceback" not in result.stderr
