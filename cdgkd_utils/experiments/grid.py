"""Every run that a configuration asks for: planned before anything is prepared, made here or on a cluster of dask."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import pandas as pd
import torch
import yaml
from tqdm.auto import tqdm

from ..config import TARGETS, Params, home, n_cores
from ..training import training_device
from .cluster import Outcome, PlannedRun, connected, forget_data, make_run, run_on
from .recipes import RECIPES, find_recipe, table_recipes
from .runs import Experiment, RunError, read_run, run_folder, run_key, set_aside
from .study import Study

SHARED = ("profile", "extractor", "crop", "family", "protocol", "allow_leak")


class ConfigError(ValueError):
    """A configuration has an unknown key or a wrong value."""


@dataclass(frozen=True)
class GridConfig:
    """What a grid runs: every method on every fold, seed, target, world and data set."""

    name: str  # of the file, and of the tables' folder
    datasets: tuple[str, ...] = ("twin",)
    targets: tuple[str, ...] = TARGETS
    methods: tuple[str, ...] = ("all",)  # names as find_recipe knows them; "all" are the rows of both tables
    seeds: tuple[int, ...] = (0,)  # repetitions: of split and training and, on the twin, of the people
    folds: int = 0  # the first so many; 0 takes as many as the profile says (loso: all)
    selection: str = ""  # "best_val" or "last_epoch" for every network; "" leaves it to the recipes
    data_root: Mapping[str, str] | str = ""  # by data set, for those that are files; one folder where there is one
    profile: str = "quick"
    world: tuple[str, ...] = (Params.world,)  # first the one in which faces are drawn (mixed): others take them
    extractor: str = "hog"
    crop: str = "centre"
    family: str = "auto"
    protocol: str = "trial+subject"
    allow_leak: bool = False
    also: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # further methods by world

    def __post_init__(self):
        try:
            for key in ("datasets", "targets", "methods", "seeds", "world"):
                if not 0 < len(getattr(self, key)) == len(set(getattr(self, key))):
                    raise ValueError(f"{key}: expected one or more, each once, got {getattr(self, key)}")
            if type(self.folds) is not int or self.folds < 0 or self.selection not in ("", "best_val", "last_epoch"):
                raise ValueError("expected folds of 0 or more and selection best_val or last_epoch")
            if strange := set(self.also) - set(self.world):
                raise ValueError(f"also: expected worlds of {', '.join(self.world)}, got {strange}")
            for name in (*self.methods, *(name for names in self.also.values() for name in names)):
                if name != "all" or self.methods != ("all",):
                    find_recipe(name)
            at = [(dataset, seed, world) for dataset in self.datasets for seed in self.seeds for world in self.world]
            made = {replace(self.params(*place), target=target) for place in at for target in self.targets}
            if len(made) < len(at) * len(self.targets):
                raise ValueError("world: expected each world once")
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise ConfigError(f"{self.name}: {error}") from error

    @classmethod
    def of(cls, params: Params, **more) -> GridConfig:
        """What the tables of a notebook's parameters need: all of a profile's folds and repetitions."""
        seeds = tuple(params.seed + repeat for repeat in range(params.scale.n_repeats))
        shared = {name: getattr(params, name) for name in (*SHARED, "data_root")} | {"world": (params.world,)}
        return cls(**{"name": params.dataset, "datasets": (params.dataset,), "seeds": seeds} | shared | more)

    def params(self, dataset: str, seed: int, world: str = "") -> Params:
        """Parameters of one data set, seed and world; "" takes the first one."""
        root = self.data_root if isinstance(self.data_root, str) else self.data_root.get(dataset, "")
        root = root and str(Path(root).expanduser().resolve())
        shared = {name: getattr(self, name) for name in SHARED} | {"world": world or self.world[0]}
        return Params(dataset=dataset, data_root=root, target=self.targets[0], seed=seed, **shared)

    def recipes(self, dataset: str, world: str = "") -> list[str]:
        """Names of the recipes wanted on a data set in a world, largest networks first."""
        names, truth = self.methods, dataset.startswith("twin")
        if names == ("all",):
            names = [name for table in (2, 1) for name in table_recipes(table, with_truth=truth)]
        return list(dict.fromkeys([*names, *self.also.get(world or self.world[0], ())]))


def read_config(path: Path) -> GridConfig:
    """Read a configuration from a YAML file; ConfigError where anything in it is unknown or wrong."""
    path = Path(path)
    try:
        content = dict(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: expected lines 'key: value', as in configs/quick.yaml ({error})") from error
    known = {f.name: f.default for f in fields(GridConfig) if f.name != "name"}
    if unknown := {*content} - {*known}:
        raise ConfigError(f"{path.name}: unknown key {', '.join(map(str, unknown))}; known: {', '.join(known)}")
    if type(content.get("seeds")) is int:
        content["seeds"] = list(range(content["seeds"]))
    lists = {key: value if isinstance(value, list) else [value] for key, value in content.items()}
    return GridConfig(path.stem, **{k: tuple(lists[k]) if isinstance(known[k], tuple) else content[k] for k in content})


@dataclass(frozen=True)
class Cell:
    """One wanted recipe on one fold, and the runs behind it: several when it is tuned. `repeat` is its seed's place."""

    params: Params
    repeat: int
    target: str
    fold: int
    recipe: str
    runs: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """All runs of a grid by name, each after those it waits for, fold by fold; and its cells."""

    runs: dict[str, PlannedRun]
    cells: list[Cell]

    def missing(self, *, check: bool = False) -> list[PlannedRun]:
        """Runs that are not stored, in order; a `check` reads the others and sets those aside that are damaged."""
        folder = home() / "runs"
        stored = set(os.listdir(folder)) if folder.is_dir() else set()
        for one in self.runs.values() if check else ():
            if one.name in stored:
                try:
                    read_run(one.folder, one.key)
                except RunError as error:
                    set_aside(one.folder, error)
                    stored.remove(one.name)
        return [one for name, one in self.runs.items() if name not in stored]


def plan(config: GridConfig) -> Plan:
    """The runs that a configuration asks for."""
    runs: dict[str, PlannedRun] = {}
    cells: list[Cell] = []
    own = tuple(recipe for recipe in RECIPES.values() if recipe.source)

    def add(name: str, experiment: Experiment, names: dict) -> tuple[str, ...]:
        """Add the runs behind a recipe, guides first; returns their names."""
        if name not in names:
            guides = tuple(one for guide in find_recipe(name).guides for one in add(guide, experiment, names))
            study, found = experiment.study, []
            for recipe in experiment.variants(name):
                key = run_key(experiment.spec(recipe))
                found.append(run_folder(recipe.name, key).name)  # kd@fused is kd
                place = (study.params, experiment.target, experiment.fold, experiment.selection, study.data_key)
                runs.setdefault(found[-1], PlannedRun(found[-1], key, recipe, *place, guides, own))
            names[name] = tuple(found)
        return names[name]

    for dataset in config.datasets:
        data_key = ""
        for repeat, seed in enumerate(config.seeds):
            for world in config.world if dataset.startswith("twin") else config.world[:1]:
                study = Study(config.params(dataset, seed, world), data_key=data_key)
                data_key = "" if study.params.is_twin else study.data_key  # files are the same for every seed
                n_folds, loso = study.n_folds(), study.params.protocol == "loso"
                if config.folds > (most := n_folds if loso else study.params.scale.dealt_folds):
                    raise ConfigError(f"{config.name}: folds: protocol {study.params.protocol} has {most}")
                for target in config.targets:
                    for fold in range(config.folds or n_folds):
                        experiment, names = Experiment(study, target, fold, config.selection), {}
                        for recipe in config.recipes(dataset, world):
                            behind = add(recipe, experiment, names)
                            cells.append(Cell(study.params, repeat, target, fold, recipe, behind))
    return Plan(runs, cells)


def run(plan: Plan, *, on: str = "", n_jobs: int | None = None, progress: bool = True) -> list[Outcome]:
    """Make the runs that are missing or damaged, guides before those they teach; each is kept as it ends.

    A failed run is named in the outcomes, and those that wait for it; the others go on. `on` is a running scheduler
    (``tcp://host:8786``, or the path of its scheduler file), "" this machine, whose processes `n_jobs` counts: by
    default one per core, or per GPU if there are any; 1 works in this process.
    """
    missing = plan.missing(check=True)
    first = {one.data_key: replace(one, name=one.data_key, target="", guides=()) for one in reversed(missing)}
    on_gpu = training_device().type == "cuda"
    n_jobs = min(n_jobs or (torch.cuda.device_count() if on_gpu else n_cores()), len(missing))
    outcomes: dict[str, Outcome] = {}
    hidden = {} if progress and missing else {"disable": True}  # else TQDM_DISABLE decides
    with tqdm(total=len(missing), desc="runs", unit="run", smoothing=0.05, **hidden) as bar:

        def ended(outcome: Outcome) -> None:
            outcomes[outcome.name] = outcome
            bar.update()
            if outcome.error:
                bar.set_postfix(failed=sum(bool(one.error) for one in outcomes.values()))

        if missing and (on or n_jobs > 1):
            if not on:  # with all cores of this machine, before any run needs them
                for one in first.values():
                    make_run(one, str(home()))
                forget_data()
            with connected(on, n_jobs) as client:
                run_on(client, [*(first.values() if on else ()), *missing], ended)
        else:
            for one in missing:
                ended(make_run(one, str(home()), [outcomes[guide] for guide in one.guides if guide in outcomes]))
    forget_data()
    return list(outcomes.values())


def status(plan: Plan) -> pd.DataFrame:
    """Cells by data, world and wanted recipe, and how many are done."""
    missing = {one.name for one in plan.missing()}
    columns = ["data", "world", "recipe", "cells", "done"]
    rows = [
        (cell.params.dataset, cell.params.world * cell.params.is_twin, cell.recipe, 1, missing.isdisjoint(cell.runs))
        for cell in plan.cells
    ]
    return pd.DataFrame(rows, columns=columns).groupby(columns[:3], sort=False).sum()


def collect(plan: Plan, *, partial: bool = False) -> list[tuple[Cell, Path]]:
    """The folder behind each cell; of a tuned recipe that of the setting that validation chose.

    RunError where runs are damaged, or missing (unless `partial`, which leaves their cells out).
    """
    missing = {one.name for one in plan.missing()}
    holes = [cell for cell in plan.cells if not missing.isdisjoint(cell.runs)]
    n_done = len(plan.cells) - len(holes)
    if holes and not (partial and n_done):
        raise RunError(
            f"{n_done} of {len(plan.cells)} cells are done; the first hole is {holes[0].recipe} on "
            f"{holes[0].params.dataset}, {holes[0].target}, repetition {holes[0].repeat}, fold {holes[0].fold}: "
            "'grid run' fills them, --partial accepts them"
        )
    found = []
    for cell in plan.cells:
        if missing.isdisjoint(cell.runs):
            runs = [plan.runs[name] for name in cell.runs]
            for one in runs:
                read_run(one.folder, one.key)
            if len(runs) > 1:
                study = Study(cell.params, data_key=runs[0].data_key)
                runs = [Experiment(study, cell.target, cell.fold, runs[0].selection).run(cell.recipe)]
            found.append((cell, runs[0].folder))
    return found


def run_all(params: Params, *, n_jobs: int | None = None, progress: bool = True, **more) -> list[tuple[int, Path]]:
    """Run, or read back, what a profile's tables need: (repetition, folder) pairs; `more` are fields of GridConfig."""
    planned = plan(GridConfig.of(params, **more))
    outcomes = run(planned, n_jobs=n_jobs, progress=progress)
    failed = sorted((one for one in outcomes if one.error), key=lambda one: bool(one.blocked_by))
    if failed:
        raise RunError(f"{len(failed)} of {len(outcomes)} runs failed; {failed[0].name}: {failed[0].error}")
    return sorted((cell.repeat, folder) for cell, folder in collect(planned))
