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

from ..config import DATASETS, TARGETS, Params, home, n_cores
from ..training import training_device
from .cluster import Outcome, PlannedRun, connected, forget_data, make_run, run_on
from .recipes import RECIPES, find_recipe, table_recipes
from .runs import Experiment, RunError, read_run, run_key, set_aside
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
        def wrong(key: str, expected: str) -> ConfigError:
            return ConfigError(f"{self.name}: {key}: expected {expected}, got {getattr(self, key)!r}")

        special = {"name": str, "also": dict, "data_root": str | dict}
        for key, kind in ({f.name: type(f.default) for f in fields(self)} | special).items():
            if not isinstance(getattr(self, key), kind) or (kind is int and getattr(self, key) is True):
                raise wrong(key, getattr(kind, "__name__", kind))
        for key in ("datasets", "targets", "methods", "world", "seeds"):
            values, known = getattr(self, key), {"datasets": DATASETS, "targets": TARGETS}.get(key, ())
            kind = int if key == "seeds" else str
            fitting = (type(v) is kind and v in (known or values) and (kind is str or v >= 0) for v in values)
            if not values or len(set(values)) < len(values) or not all(fitting):
                raise wrong(key, f"one or more of {', '.join(known) or 'them'}, each once")
        if self.folds < 0 or self.selection not in ("", "best_val", "last_epoch"):
            raise ConfigError(f"{self.name}: expected folds of 0 or more and selection best_val or last_epoch")
        if strange := [world for world in self.also if world not in self.world]:
            raise wrong("also", f"only worlds of {', '.join(self.world)}, not {strange}")
        read = {name for name in self.datasets if not name.startswith("twin")}
        if set(self.data_root) != read if isinstance(self.data_root, dict) else len(read) != bool(self.data_root):
            raise wrong("data_root", f"one folder for each of {', '.join(read) or 'no data set of files'}")
        try:
            for name in (*self.methods, *(one for names in self.also.values() for one in names)):
                if name != "all" or self.methods != ("all",):
                    find_recipe(name)
            worlds = {self.params(data, 0, world).world for data in self.datasets for world in self.world}
        except ValueError as error:
            raise ConfigError(f"{self.name}: {error}") from error
        if len(worlds) < len(self.world):
            raise wrong("world", "each world once")

    @classmethod
    def of(cls, params: Params, **more) -> GridConfig:
        """What the tables of a notebook's parameters need: all of a profile's folds and repetitions."""
        seeds = tuple(params.seed + repeat for repeat in range(params.scale.n_repeats))
        shared = {name: getattr(params, name) for name in (*SHARED, "data_root")} | {"world": (params.world,)}
        return cls(**{"name": params.dataset, "datasets": (params.dataset,), "seeds": seeds} | shared | more)

    def params(self, dataset: str, seed: int, world: str = "") -> Params:
        """Parameters of one data set, seed and world; "" takes the first one."""
        root = self.data_root if isinstance(self.data_root, str) else self.data_root.get(dataset, "")
        root = "" if dataset.startswith("twin") or not root else str(Path(root).expanduser().resolve())
        shared = {name: getattr(self, name) for name in SHARED} | {"world": world or self.world[0]}
        return Params(dataset=dataset, data_root=root, target=self.targets[0], seed=seed, **shared)

    def recipes(self, dataset: str, world: str = "") -> list[str]:
        """Names of the recipes wanted on a data set in a world, largest networks first."""
        names, truth = self.methods, dataset.startswith("twin")
        if names == ("all",):
            names = [name for table in (2, 1) for name in table_recipes(table, with_truth=truth)]
        return list(dict.fromkeys([*names, *self.also.get(world or self.world[0], ())]))


class _Strict(yaml.SafeLoader):
    """YAML whose mappings say everything once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        names = [self.construct_object(key, deep=True) for key, _ in node.value]
        if doubled := {name for name in names if names.count(name) > 1}:
            raise yaml.constructor.ConstructorError(None, None, f"{doubled} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


def read_config(path: Path) -> GridConfig:
    """Read a configuration from a YAML file; ConfigError where anything in it is unknown, doubled or wrong."""
    path = Path(path)
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Strict) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path}: expected a grid's configuration, such as configs/quick.yaml ({reason})") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path.name}: expected lines 'key: value', got {type(content).__name__}")
    known = {f.name: f.default for f in fields(GridConfig) if f.name != "name"}
    if unknown := [str(key) for key in content if key not in known]:
        raise ConfigError(f"{path.name}: unknown key {', '.join(unknown)}; known: {', '.join(known)}")
    if type(content.get("seeds")) is int:
        content["seeds"] = range(content["seeds"])
    for key in (key for key in content if isinstance(known[key], tuple)):
        value = content[key]
        content[key] = tuple(value) if isinstance(value, list | range) else (value,)
    if isinstance(also := content.get("also"), dict):
        content["also"] = {str(world): tuple(names or ()) for world, names in also.items()}
    return GridConfig(path.stem, **content)


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
    for dataset in config.datasets:
        data_key = ""
        for repeat, seed in enumerate(config.seeds):
            for world in config.world if dataset.startswith("twin") else config.world[:1]:
                study = Study(config.params(dataset, seed, world), data_key=data_key)
                data_key = "" if study.params.is_twin else study.data_key  # files are the same for every seed
                n_folds = study.n_folds()
                most = n_folds if study.params.protocol == "loso" else study.params.scale.dealt_folds
                if config.folds > most:
                    raise ConfigError(f"{config.name}: folds: protocol {study.params.protocol} has {most}")
                for target in config.targets:
                    for fold in range(config.folds or n_folds):
                        experiment = Experiment(study, target, fold, config.selection)
                        names: dict[str, tuple[str, ...]] = {}
                        for recipe in config.recipes(dataset, world):
                            behind = _add(recipe, experiment, names, runs, own)
                            cells.append(Cell(study.params, repeat, target, fold, recipe, behind))
    return Plan(runs, cells)


def _add(name: str, experiment: Experiment, names: dict, runs: dict[str, PlannedRun], own: tuple) -> tuple[str, ...]:
    """Add the runs behind a recipe, guides first; returns their names."""
    if name not in names:
        guides = tuple(one for guide in find_recipe(name).guides for one in _add(guide, experiment, names, runs, own))
        found, (study, target, fold) = [], (experiment.study, experiment.target, experiment.fold)
        for recipe in experiment.variants(name):
            key = run_key(experiment.spec(recipe))
            run = f"{recipe.name}-{key[:20]}"  # of its folder: kd@fused is kd
            place = (study.params, target, fold, experiment.selection, study.data_key)
            runs.setdefault(run, PlannedRun(run, key, recipe, *place, guides, own))
            found.append(run)
        names[name] = tuple(found)
    return names[name]


def run(plan: Plan, *, on: str = "", n_jobs: int | None = None, progress: bool = True) -> list[Outcome]:
    """Make the runs that are missing or damaged, guides before those they teach; each is kept as it ends.

    A failed run is named in the outcomes, and those that wait for it; the others go on.

    Parameters
    ----------
    plan : Plan
    on : str
        A running scheduler: ``tcp://host:8786`` or the path of its scheduler file; "" uses this machine.
    n_jobs : int, optional
        Processes here; default: one per core, or per GPU if there are any. 1 works in this process.
    progress : bool
        Show a bar with the time left.
    """
    missing = plan.missing(check=True)
    first = {one.data_key: replace(one, name=one.data_key, target="", guides=()) for one in reversed(missing)}
    on_gpu = training_device().type == "cuda"
    n_jobs = min(n_jobs or (torch.cuda.device_count() if on_gpu else n_cores()), len(missing))
    outcomes: list[Outcome] = []
    if not missing:
        return outcomes
    hidden = {} if progress else {"disable": True}
    with tqdm(total=len(missing), desc="runs", unit="run", smoothing=0.05, **hidden) as bar:

        def ended(outcome: Outcome) -> None:
            outcomes.append(outcome)
            bar.update()
            if outcome.error:
                bar.set_postfix(failed=sum(bool(one.error) for one in outcomes))

        if on or n_jobs > 1:
            if not on:  # with all cores of this machine, before any run needs them
                for one in first.values():
                    make_run(one, str(home()))
                forget_data()
            with connected(on, n_jobs) as client:
                run_on(client, [*(first.values() if on else ()), *missing], ended)
        else:
            done: dict[str, Outcome] = {}
            for one in missing:
                done[one.name] = make_run(one, str(home()), [done[guide] for guide in one.guides if guide in done])
                ended(done[one.name])
    forget_data()
    return outcomes


def status(plan: Plan) -> pd.DataFrame:
    """Cells by data, world and wanted recipe, and how many are done."""
    missing = {one.name for one in plan.missing()}
    columns = ["data", "world", "recipe", "cells", "done"]
    rows = [
        (cell.params.dataset, cell.params.world * cell.params.is_twin, cell.recipe, 1, missing.isdisjoint(cell.runs))
        for cell in plan.cells
    ]
    return pd.DataFrame(rows, columns=columns).groupby(["data", "world", "recipe"], sort=False).sum()


def collect(plan: Plan, *, partial: bool = False) -> list[tuple[Cell, Path]]:
    """The folder behind each cell; of a tuned recipe that of the setting that validation chose.

    RunError where runs are damaged, or missing (unless `partial`, which leaves their cells out).
    """
    missing = {one.name for one in plan.missing()}
    whole = [cell for cell in plan.cells if missing.isdisjoint(cell.runs)]
    if len(whole) < len(plan.cells) and not (partial and whole):
        hole = next(cell for cell in plan.cells if not missing.isdisjoint(cell.runs))
        raise RunError(
            f"{len(whole)} of {len(plan.cells)} cells are done; the first hole is {hole.recipe} on "
            f"{hole.params.dataset}, {hole.target}, repetition {hole.repeat}, fold {hole.fold}: "
            "'grid run' fills them, --partial accepts them"
        )
    for name in dict.fromkeys(name for cell in whole for name in cell.runs):
        read_run(plan.runs[name].folder, plan.runs[name].key)
    found = []
    for cell in whole:
        runs = [plan.runs[name] for name in cell.runs]
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
