"""Every run that a configuration asks for: planned before anything is prepared, made here or on a cluster of dask."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import queue
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from pathlib import Path

import dask
import pandas as pd
import torch
import yaml
from distributed import Client, Future, LocalCluster, as_completed, get_worker
from tqdm.auto import tqdm

from ..config import DATASETS, TARGETS, Params, home, n_cores
from ..training import training_device
from .recipes import RECIPES, Recipe, find_recipe, table_recipes
from .runs import Experiment, RunError, read_run, run_folder, run_key, set_aside
from .study import Study

SHARED = ("profile", "extractor", "crop", "family", "protocol", "allow_leak")
# As in the Makefile: one thread per process, and freed memory is kept for the next mini-batch (glibc).
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "1000000000", "MALLOC_TRIM_THRESHOLD_": "1000000000"}
CONNECT_SECONDS = 15.0  # for all that is said before a scheduler counts as found
GONE = "the scheduler went away; finished runs are stored: start the grid again"


class ConfigError(ValueError):
    """A configuration has an unknown key or a wrong value; the message names the file, the key and what to write."""


class ClusterError(RuntimeError):
    """There is no scheduler to work with, or it went away."""


@dataclass(frozen=True)
class GridConfig:
    """What a grid runs: every method on every fold, seed, target, world and data set.

    Attributes
    ----------
    name : str
        Of the file; the tables' folder has it too.
    datasets, targets : tuple of str
    methods : tuple of str
        Names that :func:`~.recipes.find_recipe` knows, or ``("all",)``: every row of both tables that a data set
        allows. What guides them comes with them.
    seeds : tuple of int
        Independent repetitions: of split and training and, on the twin, of the people.
    folds : int
        The first so many folds; 0 takes as many as the profile says (``loso``: all).
    selection : {"", "best_val", "last_epoch"}
        Epoch kept of every network; "" leaves it to the recipes.
    data_root : dict of str to str
        Folder by data set, for those that are files; one folder where there is one such data set.
    world : tuple of str
        Name the world in which faces are drawn (``mixed``) first: the others take them from there.
    also : dict of str to tuple of str
        Further methods in some worlds.
    profile, extractor, crop, family, protocol, allow_leak
        As in :class:`~cdgkd_utils.config.Params`.
    """

    name: str
    datasets: tuple[str, ...] = ("twin",)
    targets: tuple[str, ...] = TARGETS
    methods: tuple[str, ...] = ("all",)
    seeds: tuple[int, ...] = (0,)
    folds: int = 0
    selection: str = ""
    data_root: Mapping[str, str] | str = ""
    profile: str = "quick"
    world: tuple[str, ...] = (Params.world,)
    extractor: str = "hog"
    crop: str = "centre"
    family: str = "auto"
    protocol: str = "trial+subject"
    allow_leak: bool = False
    also: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self):
        def wrong(key: str, expected: str) -> ConfigError:
            return ConfigError(f"{self.name}: {key}: expected {expected}, got {getattr(self, key)!r}")

        kinds = {f.name: (type(f.default),) for f in fields(self)} | {"name": (str,), "also": (dict,)}
        kinds["data_root"] = (str, dict)
        for key, kind in kinds.items():
            if type(getattr(self, key)) not in kind:
                raise wrong(key, " or ".join(k.__name__ for k in kind))
        for key, known in (("datasets", DATASETS), ("targets", TARGETS), ("methods", ()), ("world", ()), ("seeds", ())):
            values = getattr(self, key)
            kind = int if key == "seeds" else str
            fitting = [
                type(v) is kind and (v in known if known else v != "" and (kind is str or v >= 0)) for v in values
            ]
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
    """Read a configuration from a YAML file, strictly.

    Raises
    ------
    ConfigError
        The file cannot be read, is no YAML mapping, has an unknown or doubled key, or a wrong value.
    """
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
class PlannedRun:
    """One run that a grid needs: one setting of a recipe (its `grid` is empty), and the names of those it waits for.

    `own` are the recipes of one's own that a worker has to know by name.
    """

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


def make_run(run: PlannedRun, home_folder: str, before: Sequence[Outcome] = ()) -> Outcome:
    """Make one run, in a worker process or in this one; a run without a target only prepares its windows."""
    failed = next((outcome for outcome in before if outcome.error), None)
    if failed is not None:
        return Outcome(run.name, failed.error, failed.blocked_by or failed.name)
    os.environ["CDGKD_HOME"] = home_folder
    try:
        if not run.target:
            _study(run.params, run.data_key)
            return Outcome(run.name)
        _choose_gpu()
        RECIPES.update({recipe.name: recipe for recipe in run.own})
        experiment = _experiment(run.params, run.data_key, run.target, run.fold, run.selection)
        if run_key(experiment.spec(run.recipe)) != run.key:
            raise RunError("the worker's code, CDGKD_PRECISION or CDGKD_BATCH is another than where it was planned")
        experiment.run(run.recipe)
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


def run(plan: Plan, *, on: str = "", n_jobs: int | None = None, progress: bool = True) -> list[Outcome]:
    """Make the runs that are missing or damaged, guides before those they teach; each is kept as it ends.

    Parameters
    ----------
    plan : Plan
    on : str
        A running scheduler: an address such as ``tcp://host:8786`` or the path of its scheduler file; "" uses this
        machine.
    n_jobs : int, optional
        Processes on this machine, one thread each; default: one per core, or one per GPU where networks are trained
        there. 1 works in this process.
    progress : bool
        Show a bar with the time left.

    Returns
    -------
    list of Outcome
        As they ended. A failed run is named there, and those that wait for it; the others go on.

    Raises
    ------
    ClusterError
        There is no scheduler, or it went away.
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
                _study.cache_clear()
            with _connected(on, n_jobs) as client:
                _run_on(client, [*(first.values() if on else ()), *missing], ended)
        else:
            done: dict[str, Outcome] = {}
            for one in missing:
                done[one.name] = make_run(one, str(home()), [done[guide] for guide in one.guides if guide in done])
                ended(done[one.name])
    _experiment.cache_clear()
    _study.cache_clear()
    return outcomes


def _run_on(client: Client, runs: Sequence[PlannedRun], ended: Callable[[Outcome], None]) -> None:
    # Two grids on one scheduler must not share tasks: the one that ends first would take its own away.
    token = f"{os.getpid()}-{time.time_ns():x}"
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    declared = any(worker["resources"].get("GPU", 0) for worker in workers)
    futures: dict[str, Future] = {}
    for place, one in enumerate(runs):
        before = [futures[name] for name in (*one.guides, one.data_key) if name in futures]
        options = {"resources": {"GPU": 1}} if declared and one.target and one.recipe.kind == "network" else {}
        # Fold by fold: a process goes on with the data it has, and tables fill from the top.
        options |= {"key": f"{one.name}-{token}", "pure": False, "priority": -place}
        futures[one.name] = client.submit(make_run, one, str(home()), before, **options)
    names = {future.key: name for name, future in futures.items()}
    windows = {one.data_key for one in runs}
    waiting = as_completed(list(futures.values()), loop=client.loop, raise_errors=False)
    try:
        while futures:
            for future in waiting.next_batch(block=False) if not waiting.is_empty() else ():
                name = names[future.key]
                if client.status != "running" or future.status == "cancelled":
                    raise ClusterError(GONE)
                if future.status == "finished":
                    outcome = future.result()
                else:  # the task itself returns its errors: what is left are processes that died under it
                    reason = " ".join(str(future.exception()).split())
                    outcome = Outcome(name, f"its processes died again and again ({reason}); out of memory?")
                del futures[name]
                if name not in windows:
                    ended(outcome)
                future.release()
            if client.status != "running":  # as_completed would wait for ever
                raise ClusterError(GONE)
            time.sleep(0.05)
    except (OSError, CancelledError, TimeoutError) as lost:
        raise ClusterError(GONE) from lost
    finally:
        if futures and client.status == "running":
            client.cancel(list(futures.values()))


@contextlib.contextmanager
def _connected(on: str, n_workers: int) -> Iterator[Client]:
    """A client of a scheduler; one that is started here ends with the block."""
    if on:
        with _remote(on) as client:
            yield client
        return
    settings = {
        "distributed.scheduler.allowed-failures": 5,  # deaths of workers under one task: it must be the reason
        "distributed.nanny.pre-spawn-environ": ENVIRONMENT,
        # What dask measures of its own processes takes up to a twentieth of a core from the runs.
        "distributed.worker.profile.enabled": False,
        "distributed.admin.system-monitor.interval": "5s",
        "distributed.admin.system-monitor.gil.enabled": False,
        "distributed.admin.tick.interval": "500ms",
    }
    # No memory limit of dask's own: it would pause or kill a run at a share of this machine that suits nobody.
    options = {"threads_per_worker": 1, "memory_limit": 0, "silence_logs": "CRITICAL"}
    # No dashboard; its port would be taken by another grid on this machine.
    options |= {"dashboard_address": "127.0.0.1:0", "scheduler_kwargs": {"dashboard": False}}
    with (
        dask.config.set(settings),
        LocalCluster(n_workers=n_workers, **options) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def _remote(on: str) -> Client:
    """A client of a running scheduler, within one deadline for all that is said before it counts as found."""
    address = on
    if "://" not in on:
        try:
            address = json.loads(Path(on).expanduser().read_text())["address"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ClusterError(
                f"--on {on}: expected the file of a running scheduler ('dask scheduler --scheduler-file {on}'): {error}"
            ) from error
    found: queue.Queue = queue.Queue()

    def connect() -> None:
        try:
            found.put(Client(address, timeout=CONNECT_SECONDS, set_as_default=False))
        except Exception as error:
            found.put(error)

    threading.Thread(target=connect, daemon=True).start()
    with contextlib.suppress(queue.Empty):
        client = found.get(timeout=CONNECT_SECONDS)
        if isinstance(client, Client):
            return client
    raise ClusterError(f"--on {on}: no scheduler answers at {address}; is it running?")


def status(plan: Plan) -> pd.DataFrame:
    """Runs by data, world and wanted recipe: how many there are and how many are stored."""
    missing = {one.name for one in plan.missing()}
    rows = [
        {
            "data": cell.params.dataset,
            "world": cell.params.world if cell.params.is_twin else "",
            "recipe": cell.recipe,
            "cells": 1,
            "done": missing.isdisjoint(cell.runs),
        }
        for cell in plan.cells
    ]
    return pd.DataFrame(rows).groupby(["data", "world", "recipe"], sort=False).sum()


def collect(plan: Plan, *, partial: bool = False) -> list[tuple[Cell, Path]]:
    """The folder behind each cell, checked; of a tuned recipe that of the setting that validation chose.

    Raises
    ------
    RunError
        Runs are missing (unless `partial`, which leaves their cells out) or damaged.
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
    found, checked = [], {}
    for cell in whole:
        runs = [plan.runs[name] for name in cell.runs]
        for one in runs:
            if one.name not in checked:
                checked[one.name] = read_run(one.folder, one.key)
        folder = runs[0].folder
        if len(runs) > 1:
            study = Study(cell.params, data_key=runs[0].data_key)
            folder = Experiment(study, cell.target, cell.fold, runs[0].selection).run(cell.recipe).folder
        found.append((cell, folder))
    return found


def run_all(params: Params, *, n_jobs: int | None = None, progress: bool = True, **more) -> list[tuple[int, Path]]:
    """Run, or read back, everything that a profile's tables need; `more` are fields of :class:`GridConfig`.

    Returns
    -------
    list of (repetition, folder)

    Raises
    ------
    RunError
        Names the first run that failed, and how many did; the others are stored.
    """
    planned = plan(GridConfig.of(params, **more))
    outcomes = run(planned, n_jobs=n_jobs, progress=progress)
    failed = sorted((one for one in outcomes if one.error), key=lambda one: bool(one.blocked_by))
    if failed:
        raise RunError(f"{len(failed)} of {len(outcomes)} runs failed; {failed[0].name}: {failed[0].error}")
    return sorted((cell.repeat, folder) for cell, folder in collect(planned))
