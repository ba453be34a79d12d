"""A grid's configuration: one YAML file, read strictly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

import yaml

from ..config import DATASETS, PROTOCOLS, TARGETS, WORLDS, ParameterError, Params
from .naming import find_recipe
from .recipes import RECIPES, table_recipes

SELECTIONS = ("", "best_val", "last_epoch")
SHARED = ("profile", "extractor", "crop", "family", "protocol", "allow_leak")


class ConfigError(ValueError):
    """A configuration has an unknown key or a wrong value; the message names the file, the key and what to write."""


@dataclass(frozen=True)
class GridConfig:
    """What a grid runs: every method on every fold, seed, target and data set.

    Attributes
    ----------
    name : str
        Of the file; the tables' folder has it too.
    datasets : tuple of str
    targets : tuple of str
    methods : tuple of str
        Names that :func:`~.naming.find_recipe` knows, or ``("all",)``: every row of both tables that a data set
        allows. What guides them comes with them.
    also : mapping of str to tuple of str
        Further methods in some worlds.
    seeds : tuple of int
        Independent repetitions: of split and training and, on the twin, of the people.
    folds : int
        The first so many folds; 0 takes as many as the profile says (``loso``: all).
    selection : {"", "best_val", "last_epoch"}
        Epoch kept of every network; "" leaves it to the recipes.
    data_root : dict of str to str
        Folder by data set, for those that are files.
    world : str or tuple of str
        One or several. Name the world in which faces are drawn (``mixed``) first: the others take them from there.
    keep_windows : bool
        False: prepare the windows seed by seed, and delete them when their runs are made.
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
    world: str | tuple[str, ...] = "mixed"
    keep_windows: bool = True
    extractor: str = "hog"
    crop: str = "centre"
    family: str = "auto"
    protocol: str = "trial+subject"
    allow_leak: bool = False
    also: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def worlds(self) -> tuple[str, ...]:
        return (self.world,) if isinstance(self.world, str) else self.world

    def params(self, dataset: str, seed: int, world: str = "") -> Params:
        """Parameters of one data set, seed and world; "" takes the first one."""
        root = self.data_root if isinstance(self.data_root, str) else self.data_root.get(dataset, "")
        root = "" if dataset.startswith("twin") else str(Path(root).expanduser().resolve()) if root else ""
        shared = {name: getattr(self, name) for name in SHARED}
        shared["world"] = world or self.worlds[0]
        return Params(dataset=dataset, data_root=root, target=self.targets[0], seed=seed, **shared)

    def recipes(self, dataset: str, world: str = "") -> list[str]:
        """Names of the recipes wanted on a data set in a world, largest networks first."""
        names = self.methods
        if names == ("all",):
            truth = dataset.startswith("twin")
            names = (name for table in (2, 1) for name in table_recipes(table, with_truth=truth))
        return list(dict.fromkeys([*names, *self.also.get(world or self.worlds[0], ())]))


def read_config(path: Path) -> GridConfig:
    """Read a configuration.

    Raises
    ------
    ConfigError
        The file is not there, is no YAML mapping, has an unknown or doubled key, or a value of the wrong type or not
        among the choices.
    OSError
        The file cannot be read.
    """
    path = Path(path)
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Strict)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path.name}: not valid YAML ({' '.join(str(error).split())})") from error
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path}: no such file; expected a grid's configuration, such as configs/quick.yaml"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path.name}: not UTF-8 text ({error.reason}); write it as plain text") from error
    content = {} if content is None else content
    if not isinstance(content, dict):
        raise ConfigError(f"{path.name}: expected lines 'key: value', got {type(content).__name__}")
    known = [f.name for f in fields(GridConfig) if f.name != "name"]
    if unknown := [str(key) for key in content if key not in known]:
        raise ConfigError(f"{path.name}: unknown key {', '.join(unknown)}; known: {', '.join(known)}")
    values = {key: _value(path.name, key, value) for key, value in content.items()}
    config = GridConfig(path.stem, **values)
    try:
        for dataset in config.datasets:
            for world in config.worlds:
                config.params(dataset, config.seeds[0], world)
    except ParameterError as error:
        raise ConfigError(f"{path.name}: {error}") from error
    known = [config.params(config.datasets[0], config.seeds[0], world).world for world in config.worlds]
    if len(set(known)) < len(known):
        raise ConfigError(f"{path.name}: world: expected each world once, got {', '.join(config.worlds)}")
    _check_roots(path.name, config)
    if strange := [world for world in config.also if world not in config.worlds]:
        raise ConfigError(
            f"{path.name}: also: {', '.join(map(str, strange))} is not among world: {', '.join(config.worlds)}"
        )
    return config


class _Strict(yaml.SafeLoader):
    """YAML whose mappings say everything once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        names = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key, name in zip(node.value, names, strict=True):
            if names.count(name) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"key {name!r} stands twice", key[0].start_mark)
        return super().construct_mapping(node, deep)


def _value(file: str, key: str, value: object) -> object:
    def wrong(expected: str) -> ConfigError:
        return ConfigError(f"{file}: {key}: expected {expected}, got {value!r}")

    choices = {"datasets": DATASETS, "targets": TARGETS, "methods": ("all", *RECIPES), "world": ()}
    if key in choices:
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            raise wrong(f"one or more of {', '.join(choices[key] or WORLDS)}")
        if key == "methods":
            _check_methods(file, key, names)
        elif choices[key] and [name for name in names if name not in choices[key]]:
            raise wrong(f"one or more of {', '.join(choices[key])}")
        if len(set(names)) < len(names) or (key == "methods" and "all" in names and len(names) > 1):
            raise wrong("each name once, and 'all' alone")
        return names[0] if key == "world" and len(names) == 1 else tuple(names)
    if key == "also":
        if not isinstance(value, dict) or not all(isinstance(names, list) for names in value.values()):
            raise wrong("methods by world, such as {mixed: [cdgkd, dense]}")
        for names in value.values():
            _check_methods(file, key, names)
        return {world: tuple(names) for world, names in value.items()}
    if key == "seeds":
        numbers = list(range(value)) if type(value) is int else value
        if not isinstance(numbers, list) or not numbers or any(type(n) is not int or n < 0 for n in numbers):
            raise wrong("a number of seeds (32 are 0 to 31), or a list such as [0, 1, 2]")
        if len(set(numbers)) < len(numbers):
            raise wrong("each seed once")
        return tuple(numbers)
    if key == "folds" and (type(value) is not int or value < 0):
        raise wrong("the number of folds, 0 for as many as the profile has")
    if key == "keep_windows" and type(value) is not bool:
        raise wrong("true or false")
    if key == "selection" and value not in SELECTIONS:
        raise wrong(f"one of {', '.join(map(repr, SELECTIONS))}")
    if key == "protocol" and value not in PROTOCOLS:
        raise wrong(f"one of {', '.join(PROTOCOLS)}")
    if key == "data_root" and not (isinstance(value, str) or _is_mapping_of_folders(value)):
        raise wrong("a folder, or one folder per data set such as {deap: path, mahnob: path}")
    return value


def _check_methods(file: str, key: str, names: list) -> None:
    for name in names:
        if name == "all" and key == "methods":
            continue
        try:
            find_recipe(str(name))
        except ValueError as error:
            raise ConfigError(f"{file}: {key}: {error}") from error


def _is_mapping_of_folders(value: object) -> bool:
    return isinstance(value, dict) and all(k in DATASETS and isinstance(v, str) for k, v in value.items())


def _check_roots(file: str, config: GridConfig) -> None:
    read = [name for name in config.datasets if not name.startswith("twin")]
    if isinstance(config.data_root, str):
        if config.data_root and len(read) != 1:
            raise ConfigError(
                f"{file}: data_root: one folder for {', '.join(read) or 'no data set of files'}; give one per data "
                "set, such as {deap: path, mahnob: path}"
            )
    elif unused := sorted(set(config.data_root) - set(read)):
        raise ConfigError(f"{file}: data_root: {', '.join(unused)} is not among datasets, or is no data set of files")
    if lacking := [name for name in read if not config.params(name, 0).data_root]:
        raise ConfigError(f"{file}: data_root: no folder for {', '.join(lacking)}; expected {{{lacking[0]}: path}}")
