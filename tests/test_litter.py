"""`grid gc` deletes what no configuration needs and nobody works on, after asking, and nothing else."""

import io
import os
import time

import pytest

from cdgkd_utils.cli import main
from cdgkd_utils.experiments.configs import read_config
from cdgkd_utils.experiments.litter import find_litter
from cdgkd_utils.experiments.plan import plan_config

CONFIG = "targets: valence\nmethods: [eeg, kd]\nfolds: 1\nprofile: smoke\n"
DAY = 24 * 3600.0


@pytest.fixture
def plans(tmp_path):
    """A configuration that needs three runs, and one that needs only one of them."""
    both, only_eeg = tmp_path / "both.yaml", tmp_path / "eeg.yaml"
    both.write_text(CONFIG)
    only_eeg.write_text(CONFIG.replace("[eeg, kd]", "eeg"))
    return both, only_eeg


@pytest.fixture
def names(plans):
    """Names of the runs by recipe."""
    runs = plan_config(read_config(plans[0])).runs
    return {run.recipe.name: name for name, run in runs.items()}


@pytest.fixture
def key(plans):
    """Of the windows that every run needs."""
    (key,) = {run.data_key for run in plan_config(read_config(plans[0])).runs.values()}
    return key


def put(path, days=0.0, content="content", read_days=None):
    """A file of that age, and of that age since it was last read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    now = time.time()
    os.utime(path, (now - (days if read_days is None else read_days) * DAY, now - days * DAY))
    for folder in path.relative_to(path.anchor).parents:
        if folder.name in ("runs", "unfinished", "prepared"):
            break
        os.utime(path.anchor / folder, (now - days * DAY, now - days * DAY))
    return path


def gc(*configs, yes=True):
    return main(["grid", "gc", *map(str, configs), *(["--yes"] if yes else [])])


def listed(folder):
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def test_runs(plans, names, home, capsys):
    both, only_eeg = plans
    for name in names.values():
        put(home / "runs" / name / "spec.json")
    others = ["notes", ".unfinished-young", "ce-0123", "my-run-0123456789abcdef0123"]
    for name in others:
        put(home / "runs" / name / "spec.json")
    put(home / "runs" / ".unfinished-old" / "spec.json", days=2)
    put(home / "runs" / f"{names['eeg']}.damaged-1" / "spec.json")
    (home / "elsewhere").mkdir()
    (home / "runs" / f"ce-{3:020x}").symlink_to(home / "elsewhere")

    before = listed(home / "runs")
    assert gc(both, only_eeg) == 0  # together they need every run
    assert before - listed(home / "runs") == {".unfinished-old", f"{names['eeg']}.damaged-1"}
    assert gc(only_eeg) == 0
    assert listed(home / "runs") == {*others, names["eeg"], f"ce-{3:020x}"}
    assert (home / "elsewhere").is_dir() and "2 deleted" in capsys.readouterr().out


def test_checkpoints_of_stored_or_unwanted_runs_once_nobody_writes_them(plans, names, home):
    put(home / "runs" / names["eeg"] / "spec.json")
    unfinished = home / "unfinished"
    put(unfinished / f"{names['eeg']}.pt", days=2)  # stored
    put(unfinished / f"{names['kd']}.pt", days=400)  # to be gone on with
    put(unfinished / f"{names['fusion_rebalanced']}.pt", days=0.5)
    put(unfinished / f".{names['kd']}.pt-a1b2c3", days=2)  # left by a killed writer
    put(unfinished / f".{names['kd']}.pt-d4e5f6", days=0.5)  # of one that may be alive
    put(unfinished / "notes.txt", days=400)
    kept = {f"{names['kd']}.pt", f"{names['fusion_rebalanced']}.pt", f".{names['kd']}.pt-d4e5f6", "notes.txt"}
    assert gc(plans[0]) == 0
    assert listed(unfinished) == kept
    assert gc(plans[1]) == 0  # needs only eeg; the teacher's checkpoint is young
    assert listed(unfinished) == kept - {f"{names['kd']}.pt"}


def test_windows_that_no_run_needs_and_nobody_reads(plans, key, home):
    prepared = home / "prepared"
    foreign = {name: f"{place:032x}" for place, name in enumerate(("old", "young", "read", "parts", "live"))}
    put(prepared / key / "eeg.npy", days=400)
    put(prepared / foreign["old"] / "eeg.npy", days=8)
    put(prepared / foreign["young"] / "eeg.npy", days=6)
    put(prepared / foreign["read"] / "eeg.npy", days=400, read_days=1)
    put(prepared / f"{foreign['parts']}.parts" / "s01" / "eeg.npy", days=8)
    put(prepared / f"{foreign['live']}.parts" / "s01" / "eeg.npy", days=8)
    put(prepared / f"{foreign['live']}.parts" / "s02" / "eeg.npy", days=0)
    put(prepared / f"{key}.damaged-1" / "eeg.npy")
    put(prepared / ".unfinished-gc-x" / "eeg.npy", days=2)
    put(prepared / "mine" / "eeg.npy", days=400)
    (prepared / f"{9:032x}").symlink_to(prepared / "mine")
    kept = {key, foreign["young"], foreign["read"], f"{foreign['live']}.parts", "mine", f"{9:032x}"}
    assert gc(*plans) == 0
    assert listed(prepared) == kept and (prepared / "mine" / "eeg.npy").is_file()


def test_a_folder_that_vanishes_meanwhile_is_in_use(plans, home, monkeypatch):
    path = put(home / "prepared" / f"{1:032x}" / "eeg.npy", days=8)
    assert find_litter([plan_config(read_config(plans[0]))])["prepared windows"] == [path.parent]
    monkeypatch.setattr(type(path), "rglob", lambda self, pattern: [self / "gone"])
    assert find_litter([plan_config(read_config(plans[0]))])["prepared windows"] == []


def test_it_says_what_and_how_large_and_asks_first(plans, names, home, monkeypatch, capsys):
    for place in range(7):
        put(home / "runs" / f"ce-{place:020x}" / "spec.json", content="x" * 1000 * (place + 1))
    put(home / "unfinished" / f"{names['kd']}.pt", days=2, content="x" * 300_000)
    put(home / "prepared" / f"{1:032x}" / "eeg.npy", days=8, content="x" * 2_000_000)
    before = {path for path in home.rglob("*")}
    for answer in ("\n", "no\n", ""):
        monkeypatch.setattr("sys.stdin", io.StringIO(answer))
        assert gc(plans[1], yes=False) == 1
        assert {path for path in home.rglob("*")} == before
    said = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    for line in ("7 run folders (0.0 MB)", "1 checkpoints (0.3 MB)", "1 prepared windows (2.0 MB)"):
        assert line in said
    assert f"ce-{6:020x} 0.0 MB" in said and f"ce-{0:020x} 0.0 MB" not in said and "and 2 smaller ones" in said
    assert f"{1:032x} 2.0 MB" in said and any("nothing deleted" in line for line in said)
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert gc(plans[1], yes=False) == 0
    assert listed(home / "runs") == listed(home / "unfinished") == listed(home / "prepared") == set()
    assert gc(plans[1]) == 0 and "nothing to delete" in capsys.readouterr().out
