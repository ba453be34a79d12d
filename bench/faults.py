"""Kill a worker, the scheduler or the client of a grid at random moments, resume, and compare the tables byte by byte.

``python bench/faults.py [n_trials] [minutes]``: each trial starts a scheduler, two workers and a client on an empty
folder, kills one of them by SIGKILL, lets the rest go on, then resumes on this machine. It stops after so many minutes.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from cdgkd_utils.collecting import write_tables
from cdgkd_utils.experiments.configs import read_config
from cdgkd_utils.experiments.plan import plan_config

CONFIG = """\
datasets: [twin]
targets: [valence]
methods: [eeg, cnn_svm, fitnets, cdgkd]
seeds: 2
folds: 2
profile: smoke
"""
VICTIMS = ("worker", "scheduler", "client")
PATIENCE = 180  # s that a command may take before the trial counts as hung


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", *arguments]


def start(arguments: list[str], home: Path, log: Path) -> subprocess.Popen:
    """A process group of its own, so that it can be ended with its children."""
    options = {"env": environment(home), "stdout": log.open("a"), "stderr": subprocess.STDOUT}
    return subprocess.Popen(arguments, start_new_session=True, **options)


def environment(home: Path) -> dict[str, str]:
    quick = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "5s", "DASK_DISTRIBUTED__DEPLOY__LOST_WORKER_TIMEOUT": "5s"}
    return os.environ | {"CDGKD_HOME": str(home), "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"} | quick


def grid(action: str, config: Path, home: Path, *options: str) -> subprocess.CompletedProcess:
    arguments = command("cdgkd_utils", "grid", action, str(config), *options)
    return subprocess.run(arguments, env=environment(home), capture_output=True, text=True, timeout=PATIENCE)


def tables(config: Path, home: Path) -> dict[str, bytes]:
    os.environ["CDGKD_HOME"] = str(home)
    paths = write_tables(plan_config(read_config(config)), home / "tables")
    return {path.name: path.read_bytes() for path in paths}


def new_home(folder: Path, prepared: Path) -> Path:
    folder.mkdir()
    (folder / "prepared").symlink_to(prepared)
    return folder


def end(*processes: subprocess.Popen) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def n_stored(home: Path) -> int:
    runs = home / "runs"
    return sum(not name.startswith(".") for name in os.listdir(runs)) if runs.is_dir() else 0


def kill(victim: str, scheduler, workers, client, rng: np.random.Generator) -> None:
    if victim == "worker":
        nanny = workers[rng.integers(len(workers))]
        # Half the time the process that computes, which its nanny starts anew; half the time both.
        below = children(nanny.pid)
        if below and rng.random() < 0.5:
            os.kill(below[-1], signal.SIGKILL)
        else:
            os.killpg(nanny.pid, signal.SIGKILL)
    else:
        os.kill({"scheduler": scheduler, "client": client}[victim].pid, signal.SIGKILL)


def trial(victim: str, config: Path, home: Path, n_runs: int, rng: np.random.Generator) -> dict:
    """Returns what happened; the caller compares the tables."""
    file, log = home / "scheduler.json", home / "log.txt"
    arguments = command("distributed.cli.dask_scheduler", "--scheduler-file", str(file))
    scheduler = start([*arguments, "--port", "0", "--no-dashboard"], home, log)
    while not file.exists():
        time.sleep(0.05)
    arguments = command("distributed.cli.dask_worker", "--scheduler-file", str(file))
    options = ("--nthreads", "1", "--no-dashboard", "--memory-limit", "0", "--local-directory", str(home / "scratch"))
    workers = [start([*arguments, *options], home, log) for _ in range(2)]
    client = start(command("cdgkd_utils", "grid", "run", str(config), "--on", str(file)), home, log)
    try:
        # At a random share of the work, and a random moment after it.
        goal, deadline = int(rng.integers(0, n_runs)), time.monotonic() + PATIENCE
        while n_stored(home) < goal and client.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(float(rng.uniform(0, 0.3)))
        at = n_stored(home)
        kill(victim, scheduler, workers, client, rng)
        began = time.monotonic()
        # Without its scheduler a client must end by itself, with one worker less it must succeed.
        status = client.wait(PATIENCE)
        went_on = time.monotonic() - began
    finally:
        end(client, *workers, scheduler)
    after = n_stored(home)
    began = time.monotonic()
    resumed = grid("run", config, home, "--jobs", "1")
    said = [line for line in log.read_text().splitlines() if line.startswith("cdgkd_utils grid:")]
    return {
        "victim": victim,
        "killed at": at,
        "client's status": status,
        "seconds after": round(went_on, 1),
        "stored then": after,
        "resumed": resumed.returncode == 0,
        "seconds to resume": round(time.monotonic() - began, 1),
        "said": said[-1] if said else "",
    }


def main(n_trials: int, minutes: float) -> int:
    stop = time.monotonic() + 60 * minutes
    rng = np.random.default_rng(0)
    failed, counts = 0, dict.fromkeys(VICTIMS, 0)
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        config = Path(folder) / "faults.yaml"
        config.write_text(CONFIG)
        undisturbed = Path(folder) / "undisturbed"
        undisturbed.mkdir()
        done = grid("run", config, undisturbed, "--jobs", "1")
        if done.returncode:
            raise RuntimeError(done.stderr)
        expected, n_runs = tables(config, undisturbed), n_stored(undisturbed)
        print(f"{n_runs} runs in the undisturbed grid", flush=True)
        for number in range(n_trials):
            if time.monotonic() > stop:
                print(f"stopped after {minutes:g} minutes")
                break
            victim = VICTIMS[number % len(VICTIMS)]
            home = new_home(Path(folder) / f"trial{number}", undisturbed / "prepared")
            try:
                row = trial(victim, config, home, n_runs, rng)
                found = tables(config, home)
                row["equal"] = found == expected and n_stored(home) == n_runs
                right = row["equal"] and row["resumed"] and row["stored then"] >= row["killed at"]
                right = right and (victim != "worker" or row["client's status"] == 0)
            except Exception as error:
                row, right = {"victim": victim, "error": f"{type(error).__name__}: {error}"}, False
            failed += not right
            counts[victim] += 1
            print(json.dumps({"trial": number, **row, "right": right}), flush=True)
            shutil.rmtree(home)
    print(f"{sum(counts.values())} trials ({counts}), {failed} wrong")
    return min(failed, 1)


if __name__ == "__main__":
    given = [float(text) for text in sys.argv[1:]]
    sys.exit(main(*(int(given[0]) if given else 30, given[1] if len(given) > 1 else 25.0)))
