"""All recipes on all folds, repetitions and targets: on the cores of this machine, or on a cluster."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from tqdm.auto import tqdm

from ..config import TARGETS, Params, home
from .cluster import connected, n_cores
from .engine import Outcome, forget_data, make_run, run_plan
from .plan import Cell, Plan, PlannedRun, plan_study
from .recipes import table_recipes
from .records import RunError, check_run
from .runs import Experiment
from .study import Study


def run_missing(
    runs: Sequence[PlannedRun],
    *,
    on: str = "",
    n_jobs: int | None = None,
    progress: bool = True,
    keep_windows: bool = True,
) -> list[Outcome]:
    """Make runs, guides before those they teach; each is kept as it ends, whatever happens to the others.

    Parameters
    ----------
    runs : sequence of PlannedRun
        In a plan's order; guides that are not among them are stored.
    on : str
        A running scheduler, as in :func:`~.cluster.connected`; "" uses this machine.
    n_jobs : int, optional
        Processes on this machine, one thread each; default: one per core. 1 works in this process.
    progress : bool
        Show a bar with the time left.
    keep_windows : bool
        False: seed by seed, and windows that were not there before are deleted after their runs.

    Returns
    -------
    list of Outcome
        As they ended.

    Raises
    ------
    ClusterError
        There is no scheduler, or it went away.
    """
    outcomes: list[Outcome] = []
    if not runs:
        return outcomes
    batches = [runs] if keep_windows else _by_seed(runs)
    n_jobs = min(n_jobs or n_cores(), len(runs))
    here = not on and n_jobs == 1
    with contextlib.nullcontext() if here else connected(on, n_jobs) as client, _bar(len(runs), progress) as bar:

        def ended(outcome: Outcome) -> None:
            outcomes.append(outcome)
            bar.update()
            if outcome.error:
                bar.set_postfix(failed=sum(bool(one.error) for one in outcomes))

        for batch in batches:
            with contextlib.nullcontext() if keep_windows else _passing(batch):
                if not on:
                    prepare_here(batch)
                if client is None:
                    _run_here(batch, ended)
                else:
                    run_plan(client, batch, ended, prepared=not on)
    return outcomes


def _by_seed(runs: Sequence[PlannedRun]) -> list[list[PlannedRun]]:
    batches: dict[tuple[str, int], list[PlannedRun]] = {}
    for run in runs:
        batches.setdefault((run.params.dataset, run.params.seed + run.repeat), []).append(run)
    return list(batches.values())


@contextlib.contextmanager
def _passing(runs: Sequence[PlannedRun]) -> Iterator[None]:
    """Delete the windows of these runs in the end, however it comes, unless they were there before."""
    folders = {home() / "prepared" / run.data_key for run in runs}
    mine = [folder for folder in folders if not folder.exists()]
    try:
        yield
    finally:
        for folder in mine:
            shutil.rmtree(folder, ignore_errors=True)


def _bar(total: int, progress: bool) -> tqdm:
    return tqdm(total=total, desc="runs", unit="run", disable=not progress, smoothing=0.05)


def _run_here(runs: Sequence[PlannedRun], ended: Callable[[Outcome], None]) -> None:
    done: dict[str, Outcome] = {}
    try:
        for run in runs:
            before = [done[guide] for guide in run.guides if guide in done]
            done[run.name] = make_run(run, str(home()), before)
            ended(done[run.name])
    finally:
        forget_data()


def prepare_here(runs: Iterable[PlannedRun]) -> None:
    """Prepare windows that are not there yet, with all cores of this machine, before any run needs them."""
    first = {run.data_key: run for run in runs}
    for key, run in first.items():
        if not (home() / "prepared" / key).is_dir() and Study(run.params, run.repeat).windows.meta["key"] != key:
            raise RunError("the windows are not those of the plan: the files changed meanwhile; start again")


def run_all(
    params: Params,
    *,
    targets: Sequence[str] = TARGETS,
    recipes: Sequence[str] | None = None,
    selection: str = "",
    n_jobs: int | None = None,
    progress: bool = True,
) -> list[tuple[int, Path]]:
    """Run (or read back) everything that a profile's tables need.

    Finished runs are kept as they end, so an interrupted call goes on where it stopped.

    Parameters
    ----------
    params : Params
        ``target`` is ignored.
    targets : sequence of str
    recipes : sequence of str, optional
        Default: every row of both tables that these data allow; guides and components come with them.
    selection : str
        "last_epoch" keeps every network's last epoch, guides included, instead of the best on validation.
    n_jobs : int, optional
        Processes, one thread each; default: one per core. 1 works in this process.
    progress : bool
        Show a bar over the runs that are missing.

    Returns
    -------
    list of (repeat, folder)

    Raises
    ------
    RunError
        Some runs failed, or a stored one is damaged; the others are stored.
    """
    if recipes is None:
        recipes = [name for table in (2, 1) for name in table_recipes(table, with_truth=params.is_twin)]
    plan, known_key = Plan({}, []), ""
    for repeat in range(params.scale.n_repeats):
        study = Study(params, repeat, known_key)
        known_key = "" if params.is_twin else study.data_key  # files are the same for every repetition
        options = {"targets": targets, "recipes": recipes, "n_folds": study.n_folds(), "selection": selection}
        plan.cells.extend(plan_study(study, **options, runs=plan.runs))
    raise_failures(run_missing(plan.missing(), n_jobs=n_jobs, progress=progress))
    return sorted((cell.repeat, folder) for cell, folder in cell_folders(plan))


def raise_failures(outcomes: Sequence[Outcome]) -> None:
    """One error for all runs that failed.

    Raises
    ------
    RunError
        Names the first, and how many did.
    """
    failed = [outcome for outcome in outcomes if outcome.error]
    if failed:
        first = next((one for one in failed if not one.blocked_by), failed[0])
        raise RunError(f"{len(failed)} of {len(outcomes)} runs failed; {first.name}: {first.error}")


def cell_folders(plan: Plan, cells: Iterable[Cell] | None = None) -> list[tuple[Cell, Path]]:
    """The folder behind each cell, checked; of a tuned recipe that of the setting that validation chose.

    Parameters
    ----------
    plan : Plan
    cells : iterable of Cell, optional
        Whose runs are all stored; default: all of the plan.

    Raises
    ------
    RunError
        A run is damaged, or not what its key says.
    """
    checked: set[str] = set()
    found = []
    for cell in plan.cells if cells is None else cells:
        runs = [plan.runs[name] for name in cell.runs]
        for run in runs:
            if run.name not in checked:
                check_run(run.folder, run.key)
                checked.add(run.name)
        folder = runs[0].folder
        if len(runs) > 1:
            study = Study(runs[0].params, runs[0].repeat, runs[0].data_key)
            folder = Experiment(study, cell.target, cell.fold, runs[0].selection).run(cell.recipe).folder
        found.append((cell, folder))
    return found
