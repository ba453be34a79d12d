"""What the engine of a grid costs: ``python bench/grid.py``.

Small runs on the smoke profile's windows in a temporary home. 64 of them on two processes against the same 64 in one,
by wall time, start-up of the processes stated beside it; what the engine adds to a run; memory over 1,000 runs; the
time to plan 10,000.
"""

from __future__ import annotations

import contextlib
import gc
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from distributed import Client, Worker
from measurement import Measurement, ratio, report, rounds

from cdgkd_utils.config import TARGETS, Params
from cdgkd_utils.data.load import load_windows
from cdgkd_utils.experiments.cluster import connected, n_cores
from cdgkd_utils.experiments.configs import GridConfig
from cdgkd_utils.experiments.engine import Outcome, forget_data, make_run, run_plan
from cdgkd_utils.experiments.grid import raise_failures
from cdgkd_utils.experiments.plan import PlannedRun, plan_config
from cdgkd_utils.experiments.recipes import RECIPES
from cdgkd_utils.experiments.runs import Experiment, run_key
from cdgkd_utils.experiments.study import Study

SMOKE = Params(profile="smoke")
N_RUNS, REPEATS = 64, 5
PAIRS = 9  # rounds of one process against two: a shared machine scatters by a tenth within minutes
EPOCHS = 200  # of the 64 runs: about 0.3 s each; a run of the quick profile takes about 0.8 s
N_MANY, N_PLANNED = 1000, 10_000


@contextlib.contextmanager
def smoke_homes() -> Iterator[Path]:
    """A folder whose subfolder ``first`` is a home with prepared windows; `fresh_home` makes others from it."""
    before = os.environ.get("CDGKD_HOME")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CDGKD_HOME"] = str(Path(folder) / "first")
        load_windows(SMOKE, n_jobs=1)
        try:
            yield Path(folder)
        finally:
            forget_data()
            os.environ.pop("CDGKD_HOME")
            if before is not None:
                os.environ["CDGKD_HOME"] = before


def fresh_home(folder: Path) -> None:
    """Go on in a home that has the windows and no run."""
    place = Path(tempfile.mkdtemp(dir=folder))
    (place / "prepared").symlink_to(folder / "first" / "prepared")
    os.environ["CDGKD_HOME"] = str(place)


def small_runs(n_runs: int, epochs: int) -> list[PlannedRun]:
    """Students trained without a guide that differ in their learning rate alone."""
    study = Study(SMOKE)
    experiment = Experiment(study, "valence", 0)
    runs = []
    for place in range(n_runs):
        training = {"epochs": epochs, "patience": 0, "learning_rate": 1e-3 * (1 + place / n_runs)}
        recipe = replace(RECIPES["ce"], training=training)
        key = run_key(experiment.spec(experiment.recipe(recipe)))
        at = {"params": SMOKE, "repeat": 0, "target": "valence", "fold": 0, "selection": ""}
        where = {"data_key": study.data_key, "epochs": epochs, "guides": ()}
        runs.append(PlannedRun(f"ce-{key[:20]}", key, experiment.recipe(recipe), **at, **where))
    return runs


def in_this_process(runs: list[PlannedRun]) -> None:
    forget_data()
    raise_failures([make_run(run, os.environ["CDGKD_HOME"]) for run in runs])


def by_engine(client: Client, runs: list[PlannedRun]) -> None:
    client.run(forget_data)
    outcomes: list[Outcome] = []
    run_plan(client, runs, outcomes.append, prepared=True)
    raise_failures(outcomes)


def without_engine(runs: list[PlannedRun], home_folder: str) -> None:
    """The same runs as plain calls in one process of the cluster."""
    os.environ["CDGKD_HOME"] = home_folder
    experiment = Experiment(Study(SMOKE), "valence", 0)
    for run in runs:
        experiment.run(run.recipe)


def in_halves(client: Client, runs: list[PlannedRun]) -> None:
    """The same runs as plain calls, half of them in either process of the cluster: what this machine allows."""
    addresses = sorted(client.scheduler_info(n_workers=-1)["workers"])
    halves = {address: runs[place :: len(addresses)] for place, address in enumerate(addresses)}
    client.run(its_half, halves, os.environ["CDGKD_HOME"])


def its_half(halves: dict[str, list[PlannedRun]], home_folder: str, dask_worker: Worker) -> None:
    without_engine(halves[dask_worker.address], home_folder)  # `Client.run` fills in the worker by that name


def cpu_time(client: Client, one: Callable[[], None], two: Callable[[], None]) -> tuple[float, float]:
    """CPU seconds of the same runs in this process and in those of the cluster."""
    before = time.process_time()
    one()
    here, started = time.process_time() - before, sum(client.run(time.process_time).values())
    two()
    return here, sum(client.run(time.process_time).values()) - started


def two_processes(folder: Path) -> Iterator[Measurement]:
    if n_cores() < 2:
        yield Measurement(f"{N_RUNS} runs: one process over two", None, at_least=1.8, note="needs two cores")
        return
    runs, tiny = small_runs(N_RUNS, EPOCHS), small_runs(2, 1)
    start = time.perf_counter()
    with connected("", 2) as client:
        fresh_home(folder)
        by_engine(client, tiny)  # makes both import what a run needs
        ready = time.perf_counter() - start

        def one() -> None:
            fresh_home(folder)
            in_this_process(runs)

        def two() -> None:
            fresh_home(folder)
            by_engine(client, runs)

        def two_plain() -> None:
            fresh_home(folder)
            in_halves(client, runs)

        alone, shared, plain = rounds([one, two, two_plain], PAIRS, time.perf_counter).T
        cpu = [cpu_time(client, one, two) for _ in range(2)]  # apart: asking the processes takes time of its own
    yield ratio(f"{N_RUNS} runs: one process over two", alone, shared, at_least=1.8, note="wall time, start-up apart")
    yield ratio(f"{N_RUNS} runs: one process over two without the engine", alone, plain,
                note="wall time; either process makes half by plain calls: what this machine allows")  # fmt: skip
    both, single = [pair[1] for pair in cpu], [pair[0] for pair in cpu]
    yield ratio(f"{N_RUNS} runs: CPU time of both processes over that of one", both, single,
                note="above 1 is what working side by side costs, whatever else runs on the machine")  # fmt: skip
    yield Measurement("start-up of two processes", ready, "s", note="wall time, once per grid, with a first run")
    yield Measurement(f"{N_RUNS} runs in one process", float(np.median(alone)), "s", alone.min(), alone.max())


def overhead(folder: Path) -> Iterator[Measurement]:
    runs = small_runs(N_RUNS, 1)
    with connected("", 1) as client:

        def engine() -> None:
            fresh_home(folder)
            by_engine(client, runs)

        def plain() -> None:
            fresh_home(folder)
            client.run(without_engine, runs, os.environ["CDGKD_HOME"])

        with_it, without = rounds([engine, plain], REPEATS, time.perf_counter).T
    added = 1e3 * (with_it - without) / N_RUNS
    yield Measurement("engine's share of a run", float(np.median(added)), "ms", added.min(), added.max(), at_most=50,
                      note="wall time on one worker, less the same runs as plain calls there")  # fmt: skip


def resident() -> float:
    """MB of memory that this process holds now."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def memory(folder: Path) -> Iterator[Measurement]:
    name = f"growth of memory from run 200 to run {N_MANY:,}"
    if not Path("/proc/self/statm").exists():
        yield Measurement(name, None, "%", at_most=5, note="this system does not tell a process its memory")
        return
    fresh_home(folder)
    held, start = [], time.process_time()
    for place, run in enumerate(small_runs(N_MANY, 1), 1):
        raise_failures([make_run(run, os.environ["CDGKD_HOME"])])
        if place % 100 == 0:
            held.append(resident())
    early = held[1]
    yield Measurement(name, 100 * (held[-1] / early - 1), "%", at_most=5, note=f"{early:.0f} MB at run 200")
    each = 1e3 * (time.process_time() - start) / N_MANY
    yield Measurement("a run of one epoch, stored", each, "ms", note="CPU time")


def planning() -> Iterator[Measurement]:
    def config(n_seeds: int) -> GridConfig:
        twins = ("twin", "twin_mahnob")
        return GridConfig("plan", twins, TARGETS, ("all",), tuple(range(n_seeds)), folds=1, profile="quick")

    n_seeds = -(-N_PLANNED // len(plan_config(config(1)).runs))
    start = time.process_time()
    plan = plan_config(config(n_seeds))
    spent = time.process_time() - start
    yield Measurement(f"planning {N_PLANNED:,} runs", spent * N_PLANNED / len(plan.runs), "s", at_most=5,
                      note=f"CPU time; {len(plan.runs):,} runs planned")  # fmt: skip


def measurements() -> Iterator[Measurement]:
    yield from planning()
    with smoke_homes() as folder:
        for part in (two_processes, overhead, memory):
            yield from part(folder)


if __name__ == "__main__":
    torch.set_num_threads(1)
    report(measurements, __doc__)
