"""Workers, the scheduler or the client of a grid die by SIGKILL at random moments: what is resumed is byte-equal.

``CDGKD_KILLS=30 pytest -m slow tests/test_faults.py`` kills thirty times; by default three, one of each kind.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from cdgkd_utils.experiments.grid import plan, read_config, run
from cdgkd_utils.experiments.runs import read_run
from cdgkd_utils.publish import write_tables

CONFIG = "targets: valence\nmethods: [eeg, cnn_svm, fitnets, cdgkd]\nseeds: 2\nfolds: 2\nprofile: smoke\n"
VICTIMS = ("worker", "scheduler", "client")
PATIENCE = 180  # s that a command may take before the trial counts as hung
N_KILLS = int(os.environ.get("CDGKD_KILLS", "3"))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    home = tmp_path_factory.mktemp("undisturbed")
    (home / "faults.yaml").write_text(CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CDGKD_HOME", str(home))
        planned = plan(read_config(home / "faults.yaml"))
        assert not any(one.error for one in run(planned, n_jobs=1, progress=False))
        yield home, contents(planned, home)


def contents(planned, home):
    """Tables and, of each run, its outputs as bytes."""
    tables = {path.name: path.read_bytes() for path in write_tables(planned, home / "tables")}
    return tables | {one.name: read_run(one.folder, one.key).logits.tobytes() for one in planned.runs.values()}


def start(home, *arguments):
    """A process group of its own, so that it can be ended with its children."""
    quick = {"CDGKD_HOME": str(home), "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    quick |= {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "5s"}
    options = {"stdout": (home / "log.txt").open("a"), "stderr": subprocess.STDOUT, "start_new_session": True}
    return subprocess.Popen([sys.executable, "-m", *arguments], env=os.environ | quick, **options)


def kill(victim, scheduler, workers, client, rng):
    if victim != "worker":
        os.kill({"scheduler": scheduler, "client": client}[victim].pid, signal.SIGKILL)
        return
    nanny = workers[rng.integers(len(workers))]
    below = Path(f"/proc/{nanny.pid}/task/{nanny.pid}/children").read_text().split()
    if below and rng.random() < 0.5:  # half the time the process that computes, which its nanny starts anew
        os.kill(int(below[-1]), signal.SIGKILL)
    else:
        os.killpg(nanny.pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(N_KILLS))
def test_a_grid_of_which_a_part_is_killed_is_resumed_to_the_same_bytes(number, undisturbed, tmp_path, monkeypatch):
    whole, expected = undisturbed
    victim, rng = VICTIMS[number % len(VICTIMS)], np.random.default_rng(number)
    (tmp_path / "prepared").symlink_to(whole / "prepared")
    file, config = tmp_path / "scheduler.json", whole / "faults.yaml"
    scheduler = start(
        tmp_path, "distributed.cli.dask_scheduler", "--scheduler-file", str(file), "--port", "0", "--no-dashboard"
    )
    while not file.exists() or not file.read_text():
        time.sleep(0.05)
    options = ("--scheduler-file", str(file), "--nthreads", "1", "--no-dashboard", "--memory-limit", "0")
    scratch = ("--local-directory", str(tmp_path / "scratch"))
    workers = [start(tmp_path, "distributed.cli.dask_worker", *options, *scratch) for _ in range(2)]
    client = start(tmp_path, "cdgkd_utils", "grid", "run", str(config), "--on", str(file))
    runs, n_runs = tmp_path / "runs", sum(not one.endswith(".csv") for one in expected)

    def n_stored():
        return sum(name[0] != "." for name in os.listdir(runs)) if runs.is_dir() else 0

    try:  # at a random share of the work, and a random moment after it
        goal, deadline = int(rng.integers(0, n_runs)), time.monotonic() + PATIENCE
        while n_stored() < goal and client.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(float(rng.uniform(0, 0.3)))
        kill(victim, scheduler, workers, client, rng)
        status = client.wait(PATIENCE)  # without its scheduler it must end by itself
    finally:
        for process in (client, *workers, scheduler):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    monkeypatch.setenv("CDGKD_HOME", str(tmp_path))
    planned = plan(read_config(config))
    assert victim != "worker" or (status == 0 and not planned.missing()), (tmp_path / "log.txt").read_text()[-2000:]
    assert not any(one.error for one in run(planned, n_jobs=1, progress=False))
    assert contents(planned, tmp_path) == expected
