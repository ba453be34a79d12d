"""Running a plan on dask.distributed: one task per run, each waiting for its guides."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from distributed import Client, Future, as_completed
from tqdm.auto import tqdm

from ..config import Params, home
from .cluster import ClusterError, has_gpu_workers
from .failures import forget_failure, note_failure
from .plan import PlannedRun
from .records import RunError, run_key
from .runs import Experiment
from .study import Study

POLL_SECONDS = 0.05
GONE = "the scheduler went away; finished runs are stored: start the grid again"
MAX_STUDIES, MAX_EXPERIMENTS = 1, 2  # kept by a worker process: tasks come fold by fold


@dataclass(frozen=True)
class Outcome:
    """How a task ended.

    Attributes
    ----------
    name : str
        Of the run.
    error : str
        "" where the run is stored now.
    blocked_by : str
        Name of the run whose failure is the reason.
    """

    name: str
    error: str = ""
    blocked_by: str = ""


@lru_cache(maxsize=MAX_STUDIES)
def _study(params: Params, repeat: int, data_key: str) -> Study:
    if multiprocessing.parent_process() is not None:
        # Bars of a worker share no terminal; their default lock is a semaphore that a killed process leaks.
        tqdm.set_lock(threading.RLock())
    study = Study(params, repeat, known_key=data_key)
    if study.windows.meta["key"] != data_key:
        raise RunError("the windows are not those of the plan: data or code changed meanwhile; start the grid again")
    return study


@lru_cache(maxsize=MAX_EXPERIMENTS)
def _experiment(params: Params, repeat: int, data_key: str, target: str, fold: int, selection: str) -> Experiment:
    return Experiment(_study(params, repeat, data_key), target, fold, selection)


def forget_data() -> None:
    """Release the windows that this process keeps."""
    _experiment.cache_clear()
    _study.cache_clear()


def prepare(params: Params, repeat: int, data_key: str, home_folder: str) -> Outcome:
    """Prepare the windows of one repetition, so that no two processes do it at once."""
    os.environ["CDGKD_HOME"] = home_folder
    try:
        _study(params, repeat, data_key)
    except Exception as error:
        return Outcome(data_key, _one_line(error), data_key)
    return Outcome(data_key)


def make_run(run: PlannedRun, home_folder: str, before: Sequence[Outcome] = ()) -> Outcome:
    """Make one run, in a worker process or in this one.

    Parameters
    ----------
    run : PlannedRun
    home_folder : str
        Where everything is stored; on a cluster the same folder for all.
    before : sequence of Outcome
        Of what the run waits for.

    Returns
    -------
    Outcome
        An error is noted on disk too, so that only dying processes are the scheduler's business.
    """
    failed = next((outcome for outcome in before if outcome.error), None)
    if failed is not None:
        return Outcome(run.name, failed.error, failed.blocked_by or failed.name)
    os.environ["CDGKD_HOME"] = home_folder
    try:
        experiment = _experiment(run.params, run.repeat, run.data_key, run.target, run.fold, run.selection)
        if run_key(experiment.spec(run.recipe)) != run.key:
            raise RunError(
                "the worker's code, CDGKD_PRECISION or CDGKD_BATCH is another than where the grid was planned"
            )
        experiment.run(run.recipe)
    except Exception as error:
        note_failure(run, error)
        return Outcome(run.name, _one_line(error))
    forget_failure(run.name)
    return Outcome(run.name)


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if isinstance(error, RunError) else f"{type(error).__name__}: {text}"


def run_plan(
    client: Client, runs: Sequence[PlannedRun], on_outcome: Callable[[Outcome], None], *, prepared: bool = False
) -> None:
    """Submit runs and report each as it ends.

    Parameters
    ----------
    client : Client
    runs : sequence of PlannedRun
        Guides before those they teach; guides that are not among them are stored.
    on_outcome : callable
        Gets each :class:`Outcome`.
    prepared : bool
        The windows are there; else a task for each repetition's comes first.

    Raises
    ------
    ClusterError
        The scheduler went away. What is finished is stored.
    """
    futures, names = _submit(client, runs, prepared)
    try:
        for future in _ended(client, futures.values()):
            name = names.pop(future.key)
            futures.pop(future.key, None)
            on_outcome(_outcome(future, name))
            future.release()
    finally:
        if futures and client.status == "running":
            client.cancel(list(futures.values()))


def _submit(client: Client, runs: Sequence[PlannedRun], prepared: bool) -> tuple[dict[str, Future], dict[str, str]]:
    here = str(home())
    # Two grids on one scheduler must not share tasks: the one that ends first would take its own away.
    token = f"{os.getpid()}-{time.time_ns():x}"
    on_gpu = has_gpu_workers(client)
    windows: dict[str, Future] = {}
    futures: dict[str, Future] = {}
    for place, run in enumerate(runs):
        before: list[Future] = [futures[name] for guide in run.guides if (name := f"{guide}-{token}") in futures]
        if not prepared:
            if run.data_key not in windows:
                arguments = (run.params, run.repeat, run.data_key, here)
                key = f"windows-{run.data_key}-{token}"
                windows[run.data_key] = client.submit(prepare, *arguments, key=key, pure=False, priority=1)
            before.append(windows[run.data_key])
        options: dict[str, Any] = {"resources": {"GPU": 1}} if on_gpu and run.recipe.kind == "network" else {}
        key = f"{run.name}-{token}"
        # Fold by fold: a process goes on with the data it has, and tables fill from the top.
        futures[key] = client.submit(make_run, run, here, before, key=key, pure=False, priority=-place, **options)
    return futures, {f"{run.name}-{token}": run.name for run in runs}


def _ended(client: Client, futures: Iterable[Future]) -> Iterator[Future]:
    """Futures as they end, with an eye on the scheduler, whose end would otherwise be waited for."""
    waiting = as_completed(list(futures), loop=client.loop, raise_errors=False)
    n_left = waiting.count()
    while n_left:
        for future in waiting.next_batch(block=False) if not waiting.is_empty() else ():
            if future.status == "cancelled" or client.status != "running":
                raise ClusterError(GONE)
            n_left -= 1
            yield future
        if client.status != "running":
            raise ClusterError(GONE)
        time.sleep(POLL_SECONDS)


def _outcome(future: Future, name: str) -> Outcome:
    try:
        if future.status == "finished":
            return future.result()
        error = future.exception()
    except (OSError, CancelledError, TimeoutError) as lost:
        raise ClusterError(GONE) from lost
    # The task itself returns its errors: what is left are processes that died under it.
    return Outcome(name, f"its processes died again and again ({_one_line(error)}); out of memory?")
