"""All recipes on all folds, repetitions and targets of a profile, on the cores of this machine."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import lru_cache
from itertools import product
from pathlib import Path

from tqdm.auto import tqdm

from ..config import TARGETS, Params
from .recipes import table_recipes
from .runs import Experiment
from .study import Study


@lru_cache(maxsize=1)
def _study(params: Params, repeat: int) -> Study:
    """A process keeps the data of the repetition it worked on last."""
    return Study(params, repeat)


def run_fold(
    params: Params, target: str, repeat: int, fold: int, recipes: Sequence[str], selection: str = ""
) -> list[tuple[int, Path]]:
    """Run the recipes of one fold, guides first.

    Returns
    -------
    list of (repeat, folder)
        Of the finished runs.
    """
    experiment = Experiment(_study(params, repeat), target, fold, selection)
    return [(repeat, experiment.run(name).folder) for name in recipes]


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
        Processes, one thread each; default: one per core.
    progress : bool
        Show a bar over folds.

    Returns
    -------
    list of (repeat, folder)
    """
    if recipes is None:
        recipes = [name for table in (2, 1) for name in table_recipes(table, with_truth=params.is_twin)]
    # Asking for the folds prepares the windows, once here and not by every process at the same time.
    tasks = [
        (params, target, repeat, fold, tuple(recipes), selection)
        for repeat in range(params.scale.n_repeats)
        for target, fold in product(targets, range(Study(params, repeat).n_folds()))
    ]
    # Not joblib: it replaces processes whose memory grows, and they would load torch and the windows again.
    pool = ProcessPoolExecutor(min(n_jobs or os.cpu_count(), len(tasks)), multiprocessing.get_context("spawn"))
    try:
        futures = [pool.submit(run_fold, *task) for task in tasks]
        bar = tqdm(as_completed(futures), total=len(tasks), desc="folds", disable=not progress)
        return sorted(run for future in bar for run in future.result())
    finally:
        pool.shutdown(cancel_futures=True)
