"""All recipes on all folds, repetitions and targets of a profile, on the cores of this machine."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import joblib
from tqdm.auto import tqdm

from ..config import TARGETS, Params
from .recipes import RECIPES
from .runs import Experiment
from .study import Study


@lru_cache(maxsize=1)
def _study(params: Params, repeat: int) -> Study:
    """A process keeps the data of the repetition it worked on last."""
    return Study(params, repeat)


def run_fold(params: Params, target: str, repeat: int, fold: int, recipes: Sequence[str]) -> list[tuple[int, Path]]:
    """Run the recipes of one fold, guides first.

    Returns
    -------
    list of (repeat, folder)
        Of the finished runs.
    """
    experiment = Experiment(_study(params, repeat), target, fold)
    return [(repeat, experiment.run(name).folder) for name in recipes]


def run_all(
    params: Params,
    *,
    targets: Sequence[str] = TARGETS,
    recipes: Sequence[str] = tuple(RECIPES),
    n_jobs: int = -1,
    progress: bool = True,
) -> list[tuple[int, Path]]:
    """Run (or read back) everything that a profile's tables need.

    Finished runs are kept as they end, so an interrupted call goes on where it stopped.

    Parameters
    ----------
    params : Params
        ``target`` is ignored.
    targets, recipes : sequence of str
    n_jobs : int
        Processes, one thread each; -1 is one per core.
    progress : bool
        Show a bar over folds.

    Returns
    -------
    list of (repeat, folder)
    """
    scale = params.scale
    tasks = [
        (params, target, repeat, fold, tuple(recipes))
        for repeat in range(scale.n_repeats)
        for target in targets
        for fold in range(scale.n_folds)
    ]
    for repeat in range(scale.n_repeats):
        Study(params, repeat).windows  # noqa: B018  prepared once here, not by every process at the same time
    finished = joblib.Parallel(n_jobs=n_jobs, return_as="generator_unordered")(
        joblib.delayed(run_fold)(*task) for task in tasks
    )
    bar = tqdm(finished, total=len(tasks), desc="folds", disable=not progress)
    return sorted(run for runs in bar for run in runs)
