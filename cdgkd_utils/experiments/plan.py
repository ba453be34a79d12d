"""What a grid has to run: every run with its key and the runs it waits for, before anything is prepared."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..config import Params, home
from ..data.splits.split import N_SUBJECT_FOLDS
from .configs import ConfigError, GridConfig
from .naming import find_recipe
from .recipes import Recipe
from .runs import Experiment, run_folder, run_key
from .study import Study

STAGES = ("teachers", "assistants", "students", "other networks", "made from runs")


@dataclass(frozen=True)
class PlannedRun:
    """One run that a grid needs.

    Attributes
    ----------
    name : str
        Of its folder.
    key : str
    recipe : Recipe
        One setting: its `grid` is empty.
    params : Params
    repeat, target, fold, selection
        As of its :class:`~.runs.Experiment`.
    data_key : str
        Of the windows.
    epochs : int
    guides : tuple of str
        Names of the runs it waits for.
    """

    name: str
    key: str
    recipe: Recipe
    params: Params
    repeat: int
    target: str
    fold: int
    selection: str
    data_key: str
    epochs: int
    guides: tuple[str, ...]

    @property
    def folder(self) -> Path:
        return run_folder(self.recipe.name, self.key)

    @property
    def stage(self) -> str:
        """Name in ``STAGES``."""
        if self.recipe.kind != "network":
            return "made from runs"
        if self.recipe.model.startswith("ta"):
            return "assistants"
        return {"teacher": "teachers", "student": "students", "ambokd": "students"}.get(
            self.recipe.model, "other networks"
        )

    @property
    def like(self) -> tuple[str, str, int]:
        """What runs of about equal cost share: recipe, family, epochs."""
        return self.recipe.name, self.params.model_family, self.epochs


@dataclass(frozen=True)
class Cell:
    """One wanted recipe on one fold, and the runs behind it: several when it is tuned.

    Attributes
    ----------
    repeat : int
        Place of its seed among the grid's.
    """

    params: Params
    repeat: int
    target: str
    fold: int
    recipe: str
    runs: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """All runs of a grid, each after those it waits for, fold by fold.

    Attributes
    ----------
    runs : dict of str to PlannedRun
        By name.
    cells : list of Cell
    keep_windows : bool
        As in :class:`~.configs.GridConfig`.
    """

    runs: dict[str, PlannedRun]
    cells: list[Cell]
    keep_windows: bool = True

    def missing(self) -> list[PlannedRun]:
        """Runs that are not stored, in order."""
        stored = stored_names()
        return [run for name, run in self.runs.items() if name not in stored]


def stored_names() -> set[str]:
    """Names of everything in the runs' folder."""
    folder = home() / "runs"
    return set(os.listdir(folder)) if folder.is_dir() else set()


def plan_config(config: GridConfig) -> Plan:
    """The runs that a configuration asks for.

    Raises
    ------
    ConfigError
        More folds are asked for than the protocol has.
    DataError
        A folder of files is missing or cannot be used.
    """
    runs: dict[str, PlannedRun] = {}
    cells: list[Cell] = []
    for dataset in config.datasets:
        data_key = ""
        for place, seed in enumerate(config.seeds):
            for world in config.worlds if dataset.startswith("twin") else config.worlds[:1]:
                study = Study(config.params(dataset, seed, world), known_key=data_key)
                data_key = "" if study.params.is_twin else study.data_key  # files are the same for every seed
                found = plan_study(
                    study,
                    targets=config.targets,
                    recipes=config.recipes(dataset, world),
                    n_folds=_n_folds(config, study),
                    selection=config.selection,
                    runs=runs,
                )
                cells += [replace(cell, repeat=place) for cell in found]
    return Plan(runs, cells, config.keep_windows)


def _n_folds(config: GridConfig, study: Study) -> int:
    if not config.folds:
        return study.n_folds()
    protocol, scale = study.params.protocol, study.params.scale
    most = {"trial+subject": N_SUBJECT_FOLDS, "loso": None}.get(protocol, max(scale.n_folds, 3))
    most = study.n_folds() if most is None else most
    if config.folds > most:
        raise ConfigError(f"{config.name}: folds: protocol {protocol} has {most}, got {config.folds}")
    return config.folds


def plan_study(
    study: Study,
    *,
    targets: Iterable[str],
    recipes: Sequence[str],
    n_folds: int,
    selection: str,
    runs: dict[str, PlannedRun],
) -> list[Cell]:
    """Add the runs of one repetition to `runs`, guides first.

    Returns
    -------
    list of Cell
        One per target, fold and recipe.
    """
    cells = []
    for target in targets:
        for fold in range(n_folds):
            experiment = Experiment(study, target, fold, selection)
            names: dict[str, tuple[str, ...]] = {}
            for recipe in recipes:
                _add(recipe, experiment, names, runs)
                cells.append(Cell(study.params, study.repeat, target, fold, recipe, names[recipe]))
    return cells


def _add(
    name: str, experiment: Experiment, names: dict[str, tuple[str, ...]], runs: dict[str, PlannedRun]
) -> tuple[str, ...]:
    if name not in names:
        guides = tuple(run for guide in find_recipe(name).guides for run in _add(guide, experiment, names, runs))
        study, found = experiment.study, []
        for recipe in experiment.variants(name):
            spec = experiment.spec(recipe)
            key = run_key(spec)
            run = PlannedRun(
                name=f"{recipe.name}-{key[:20]}",  # of its folder: kd@fused is kd
                key=key,
                recipe=recipe,
                params=study.params,
                repeat=study.repeat,
                target=experiment.target,
                fold=experiment.fold,
                selection=experiment.selection,
                data_key=spec["data"],
                epochs=spec["training"]["epochs"],
                guides=guides,
            )
            found.append(runs.setdefault(run.name, run).name)
        names[name] = tuple(found)
    return names[name]
