"""A grid's configuration: one YAML file, read strictly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import yaml

from ..config import DATASETS, PROTOCOLS, TARGETS, ParameterError, Params
from .recipes import RECIPES, table_recipes

SELECTIONS = ("", "best_val", "last_epoch")
SHARED = ("profile", "world", "extractor", "crop", "family", "protocol", "allow_leak")


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
        Names of recipes, or ``("all",)``: every row of both tables that a data set allows. What guides them comes
        with them.
    seeds : tuple of int
        Independent repetitions: of split and training and, on the twin, of the people.
    folds : int
        The first so many folds; 0 takes as many as the profile says (``loso``: all).
    selection : {"", "best_val", "last_epoch"}
        Epoch kept of every network; "" leaves it to the recipes.
    data_root : dict of str to str
        Folder by data set, for those that are files.
    profile, world, extractor, crop, family, protocol, allow_leak
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
    world: str = "mixed"
    extractor: str = "hog"
    crop: str = "centre"
    family: str = "auto"
    protocol: str = "trial+subject"
    allow_leak: bool = False

    def params(self, dataset: str, seed: int) -> Params:
        """Parameters of one data set and seed."""
        root = self.data_root if isinstance(self.data_root, str) else self.data_root.get(dataset, "")
        root = "" if dataset.startswith("twin") else str(Path(root).expanduser().resolve()) if root else ""
        shared = {name: getattr(self, name) for name in SHARED}
        return Params(dataset=dataset, data_root=root, target=self.targets[0], seed=seed, **shared)

    def recipes(self, dataset: str) -> list[str]:
        """Names of the recipes wanted on a data set, largest networks first."""
        if self.methods != ("all",):
            return list(self.methods)
        return [name for table in (2, 1) for name in table_recipes(table, with_truth=dataset.startswith("twin"))]


def read_config(path: Path) -> GridConfig:
    """Read a configuration.

    Raises
    ------
    ConfigError
        The file is no YAML mapping, has an unknown or doubled key, or a value of the wrong type or not among the
        choices.
    OSError
        The file cannot be read.
    """
    path = Path(path)
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Strict)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path.name}: not valid YAML ({' '.join(str(error).split())})") from error
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
            config.params(dataset, config.seeds[0])
    except ParameterError as error:
        raise ConfigError(f"{path.name}: {error}") from error
    _check_roots(path.name, config)
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

    choices = {"datasets": DATASETS, "targets": TARGETS, "methods": ("all", *RECIPES)}
    if key in choices:
        names = [value] if isinstance(value, str) else value
        expected = f"one or more of {', '.join(choices[key])}"
        if not isinstance(names, list) or not names or [n for n in names if n not in choices[key]]:
            raise wrong(expected)
        if len(set(names)) < len(names) or (key == "methods" and "all" in names and len(names) > 1):
            raise wrong("each name once, and 'all' alone")
        return tuple(names)
    if key == "seeds":
        numbers = list(range(value)) if type(value) is int else value
        if not isinstance(numbers, list) or not numbers or any(type(n) is not int or n < 0 for n in numbers):
            raise wrong("a number of seeds (32 are 0 to 31), or a list such as [0, 1, 2]")
        if len(set(numbers)) < len(numbers):
            raise wrong("each seed once")
        return tuple(numbers)
    if key == "folds" and (type(value) is not int or value < 0):
        raise wrong("the number of folds, 0 for as many as the profile has")
    if key == "selection" and value not in SELECTIONS:
        raise wrong(f"one of {', '.join(map(repr, SELECTIONS))}")
    if key == "protocol" and value not in PROTOCOLS:
        raise wrong(f"one of {', '.join(PROTOCOLS)}")
    if key == "data_root" and not (isinstance(value, str) or _is_mapping_of_folders(value)):
        raise wrong("a folder, or one folder per data set such as {deap: path, mahnob: path}")
    return value


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
