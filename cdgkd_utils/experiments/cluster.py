"""Making planned runs in processes: of this machine, or of a cluster of dask that is running somewhere."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import dask
import torch
from distributed import Client, LocalCluster, get_worker
from tqdm.auto import tqdm

from ..config import Params, home
from .recipes import RECIPES, Recipe
from .runs import Experiment, RunError, run_folder, run_key
from .study import Study

# As in the Makefile: one thread per process, and freed memory is kept for the next mini-batch (glibc).
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "1000000000", "MALLOC_TRIM_THRESHOLD_": "1000000000"}
CONNECT_SECONDS = 15.0  # for all that is said before a scheduler counts as found
GONE = "the scheduler went away; finished runs are stored: start the grid again"


class ClusterError(RuntimeError):
    """There is no scheduler to work with, or it went away."""


@dataclass(frozen=True)
class PlannedRun:
    """One run: one setting of a recipe, the names of the runs it waits for, and all recipes of the user's own."""

    name: str
    key: str
    recipe: Recipe
    params: Params
    target: str
    fold: int
    selection: str
    data_key: str
    guides: tuple[str, ...]
    own: tuple[Recipe, ...] = ()

    @property
    def folder(self) -> Path:
        return run_folder(self.recipe.name, self.key)


@dataclass(frozen=True)
class Outcome:
    """How a run ended: `error` is "" where it is stored now; `blocked_by` names the run whose failure is the reason."""

    name: str
    error: str = ""
    blocked_by: str = ""


@lru_cache(maxsize=1)
def _study(params: Params, data_key: str) -> Study:
    if multiprocessing.parent_process() is not None:
        # Bars of a worker share no terminal; their default lock is a semaphore that a killed process leaks.
        tqdm.set_lock(threading.RLock())
    study = Study(params)
    if study.windows.meta["key"] != data_key:
        raise RunError("the windows are not those of the plan: data or code changed meanwhile; start the grid again")
    return study


@lru_cache(maxsize=2)  # tasks come fold by fold
def _experiment(params: Params, data_key: str, target: str, fold: int, selection: str) -> Experiment:
    return Experiment(_study(params, data_key), target, fold, selection)


def forget_data() -> None:
    """Release the windows that this process keeps."""
    _experiment.cache_clear()
    _study.cache_clear()


def make_run(run: PlannedRun, home_folder: str, before: Sequence[Outcome] = ()) -> Outcome:
    """Make one run, in a worker process or in this one; a run without a target only prepares its windows."""
    for failed in (outcome for outcome in before if outcome.error):
        return Outcome(run.name, failed.error, failed.blocked_by or failed.name)
    os.environ["CDGKD_HOME"] = home_folder
    try:
        if run.target:
            _choose_gpu()
            RECIPES.update({recipe.name: recipe for recipe in run.own})
            experiment = _experiment(run.params, run.data_key, run.target, run.fold, run.selection)
            if run_key(experiment.spec(run.recipe)) != run.key:
                raise RunError("the worker's code, CDGKD_PRECISION or CDGKD_BATCH is another than where it was planned")
            experiment.run(run.recipe)
        else:
            _study(run.params, run.data_key)
    except Exception as error:
        text = " ".join(str(error).split())
        return Outcome(run.name, text if isinstance(error, RunError) else f"{type(error).__name__}: {text}")
    return Outcome(run.name)


def _choose_gpu() -> None:
    """Deal the GPUs of a machine to its worker processes, by the number in a worker's name or address."""
    n_gpus = torch.cuda.device_count()
    if n_gpus > 1 and os.environ.get("CDGKD_DEVICE", "auto") in ("", "auto", "cuda"):
        with contextlib.suppress(ValueError):  # in no worker
            number = re.search(r"\d*$", str(get_worker().name)).group()
            os.environ["CDGKD_DEVICE"] = f"cuda:{int(number or 0) % n_gpus}"


def run_on(client: Client, runs: Sequence[PlannedRun], ended: Callable[[Outcome], None]) -> None:
    """Make runs on a cluster, each after those before it that it waits for; `ended` gets how each ended."""
    token = f"{os.getpid()}-{time.time_ns():x}"  # two grids on one scheduler share no tasks
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    declared = any(worker["resources"].get("GPU", 0) for worker in workers)
    futures = {}
    for place, one in enumerate(runs):
        before = [futures[name] for name in (*one.guides, one.data_key) if name in futures]
        options = {"resources": {"GPU": 1}} if declared and one.target and one.recipe.kind == "network" else {}
        # Fold by fold: a process goes on with the data it has, and tables fill from the top.
        options |= {"key": f"{one.name}-{token}", "pure": False, "priority": -place}
        futures[one.name] = client.submit(make_run, one, str(home()), before, **options)
    windows = {one.data_key for one in runs}
    try:
        while futures:
            for name in [name for name, future in futures.items() if future.done()]:
                future = futures.pop(name)
                if client.status != "running" or future.status == "cancelled":
                    raise ClusterError(GONE)
                if future.status == "finished":
                    outcome = future.result()
                else:  # the task itself returns its errors: what is left are processes that died under it
                    outcome = Outcome(name, f"its processes died again and again ({future.exception()}); no memory?")
                if name not in windows:
                    ended(outcome)
            if client.status != "running":
                raise ClusterError(GONE)
            time.sleep(0.05)
    except (OSError, CancelledError, TimeoutError) as lost:
        raise ClusterError(GONE) from lost
    finally:
        if futures and client.status == "running":
            client.cancel(list(futures.values()))


@contextlib.contextmanager
def connected(on: str, n_workers: int) -> Iterator[Client]:
    """A client of a running scheduler (its address or file), or of processes here that end with the block."""
    if on:
        with _remote(on) as client:
            yield client
        return
    # A task is to blame for the fifth death of a worker. The profile would take a twentieth of a core from the runs.
    settings = {
        "scheduler.allowed-failures": 5,
        "nanny.pre-spawn-environ": ENVIRONMENT,
        "worker.profile.enabled": False,
    }
    settings = {f"distributed.{name}": value for name, value in settings.items()}
    # No memory limit of dask's own, which would pause or kill a run; no dashboard, whose port may be taken.
    options = {"threads_per_worker": 1, "memory_limit": 0, "silence_logs": "CRITICAL"}
    options |= {"dashboard_address": "127.0.0.1:0", "scheduler_kwargs": {"dashboard": False}}
    with (
        dask.config.set(settings),
        LocalCluster(n_workers=n_workers, **options) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def _remote(on: str) -> Client:
    """A client of a running scheduler, within one deadline for all that is said before it counts as found."""
    try:
        address = on if "://" in on else json.loads(Path(on).expanduser().read_text())["address"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ClusterError(
            f"--on {on}: expected the file of a running scheduler ('dask scheduler --scheduler-file {on}'): {error}"
        ) from error
    found: list[Client] = []

    def connect() -> None:
        with contextlib.suppress(Exception):
            found.append(Client(address, timeout=CONNECT_SECONDS, set_as_default=False))

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(CONNECT_SECONDS)
    if not found:
        raise ClusterError(f"--on {on}: no scheduler answers at {address}; is it running?")
    return found[0]
