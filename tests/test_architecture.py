"""The house rules that a reader cannot see at one glance, checked on the syntax tree of every module.

Each checker takes a folder, so that a fault can be planted in a copy of a module to see it trip.
"""

import ast
import shutil
from pathlib import Path

import pytest

import cdgkd_utils

PACKAGE = Path(cdgkd_utils.__file__).parent
# A room imports from rooms to its left or from itself.
ROOMS = ("", "config", "data", "models", "methods", "training", "experiments", "deploy", "results", "viz", "outside")
CLI = ("cli", "cli_deploy", "cli_grid", "cli_teaching", "__main__")
OUTSIDE = (*CLI, "notebooks", "collecting", "publish", "teaching")
WITHOUT_TORCH = ("results", "viz")
NOT_FOR_RESULTS = ("torch", "models", "methods", "training", "experiments", "deploy")
MAX_LINES = 280
# The two places that draw from torch's global generator, with its state put back afterwards.
MAY_SEED = {("models/registry.py", "build_model"), ("training/loop.py", "deterministic")}
NUMPY_RANDOM = {"Generator", "SeedSequence", "default_rng", "BitGenerator", "PCG64"}


def modules(folder):
    """(path relative to the package, syntax tree) of each module."""
    for path in sorted(folder.rglob("*.py")):
        yield path.relative_to(folder), ast.parse(path.read_text(encoding="utf-8"))


def room_of(parts):
    """Room of a module given by its path inside the package; ``()`` is the package itself."""
    name = parts[0] if parts else ""
    return "outside" if name in OUTSIDE else name


def imported(path, tree):
    """Everything a module imports: absolute names as tuples, this package's as ("cdgkd_utils", *parts)."""
    here = ("cdgkd_utils", *path.with_suffix("").parts)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level] if node.level else ()
            base += tuple(node.module.split(".")) if node.module else ()
            # `from .. import config` names a module, `from ..config import home` a function of one.
            yield from ((*base, alias.name) for alias in node.names)


def wrong_directions(folder):
    faults = []
    for path, tree in modules(folder):
        room = room_of(path.with_suffix("").parts if path.name != "__init__.py" else path.parent.parts)
        for name in imported(path, tree):
            if name[0] == "cdgkd_utils":
                target = room_of(name[1:])
                target = target if target in ROOMS else ""  # a name of the package's own __init__
                if ROOMS.index(target) > ROOMS.index(room):
                    faults.append(f"{path} imports {'.'.join(name)}")
                name = name[1:]
            if room in WITHOUT_TORCH and name[0] in NOT_FOR_RESULTS:
                faults.append(f"{path} imports {'.'.join(name)}")
    return faults


def dotted(node):
    """``a.b.c`` of an attribute chain that starts at a name, else ""."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        base = dotted(node.value)
        return f"{base}.{node.attr}" if base else ""
    return ""


def forbidden_uses(folder):
    """Calls of print, ``sys.path``, and random numbers that no caller handed in."""
    faults = []
    for path, tree in modules(folder):
        owner = {}
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef):
                owner |= {id(node): function.name for node in ast.walk(function)}
        for node in ast.walk(tree):
            where = f"{path}:{getattr(node, 'lineno', 0)}"
            name = dotted(node)
            if isinstance(node, ast.Call) and dotted(node.func) == "print":
                faults.append(f"{where} prints")
            if name == "sys.path":
                faults.append(f"{where} uses sys.path")
            if name.startswith(("np.random.", "numpy.random.")) and name.split(".")[2] not in NUMPY_RANDOM:
                faults.append(f"{where} uses {name}")
            seeds = name in ("torch.manual_seed", "torch.seed", "torch.random.manual_seed")
            if seeds and (path.as_posix(), owner.get(id(node))) not in MAY_SEED:
                faults.append(f"{where} uses {name}")
        for name in imported(path, tree):
            if name[0] == "random" or name[:3] == ("numpy", "random", "seed"):
                faults.append(f"{path} imports {'.'.join(name)}")
    return faults


def too_long(folder):
    lines = {path.relative_to(folder): path.read_text().count("\n") for path in folder.rglob("*.py")}
    return [f"{path} has {n} lines" for path, n in lines.items() if n > MAX_LINES]


def undocumented(folder):
    """Modules, and public functions and classes at their top, without a docstring."""
    faults = []
    for path, tree in modules(folder):
        if path.name != "__main__.py" and not ast.get_docstring(tree):
            faults.append(f"{path}")
        faults += [
            f"{path}: {node.name}"
            for node in tree.body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            and not node.name.startswith("_")
            and not ast.get_docstring(node)
        ]
    return faults


@pytest.mark.parametrize("check", [wrong_directions, forbidden_uses, too_long, undocumented])
def test_the_package_keeps_the_rules(check):
    assert check(PACKAGE) == []


def test_every_module_stands_in_a_known_room():
    for path, _ in modules(PACKAGE):
        if path.name != "__init__.py" or path.parent.parts:
            assert room_of(path.with_suffix("").parts) in ROOMS, f"{path}: add its room to ROOMS"


@pytest.mark.parametrize(
    ("check", "module", "line", "said"),
    [
        (wrong_directions, "data/load.py", "from ..models import compact", "cdgkd_utils.models.compact"),
        (wrong_directions, "data/load.py", "from ..training import fit", "cdgkd_utils.training.fit"),
        (wrong_directions, "data/load.py", "from .. import results", "cdgkd_utils.results"),
        (wrong_directions, "config.py", "from .data.types import Windows", "data.types"),
        (wrong_directions, "models/compact.py", "import cdgkd_utils.methods.loss", "methods.loss"),
        (wrong_directions, "methods/loss.py", "def f():\n    from ..training import fit", "training.fit"),
        (wrong_directions, "viz/style.py", "from ..cli import main", "cli.main"),
        (wrong_directions, "__init__.py", "from .config import home", "config.home"),
        (wrong_directions, "results/metrics.py", "import torch", "torch"),
        (wrong_directions, "results/metrics.py", "from torch import nn", "torch.nn"),
        (wrong_directions, "viz/style.py", "from ..experiments.study import Study", "experiments.study"),
        (wrong_directions, "viz/style.py", "def f():\n    import torch.nn", "torch.nn"),
        (forbidden_uses, "data/load.py", "print('x')", "prints"),
        (forbidden_uses, "data/load.py", "import sys\nsys.path.append('.')", "sys.path"),
        (forbidden_uses, "data/load.py", "np.random.seed(0)", "np.random.seed"),
        (forbidden_uses, "data/load.py", "x = np.random.RandomState(0)", "np.random.RandomState"),
        (forbidden_uses, "data/load.py", "import random", "random"),
        (forbidden_uses, "data/load.py", "from numpy.random import seed", "numpy.random.seed"),
        (forbidden_uses, "training/loop.py", "torch.manual_seed(0)", "torch.manual_seed"),
        (forbidden_uses, "training/loop.py", "def other():\n    torch.manual_seed(0)", "torch.manual_seed"),
        (too_long, "data/load.py", "#\n" * 300, "data/load.py has"),
        (undocumented, "data/load.py", "def bare(): pass", "bare"),
        (undocumented, "data/load.py", "class Bare: pass", "Bare"),
    ],
)
def test_each_planted_fault_is_found(check, module, line, said, tmp_path):
    path = tmp_path / module
    path.parent.mkdir(exist_ok=True)
    shutil.copy(PACKAGE / module, path)
    assert check(tmp_path) == []
    path.write_text(f"{path.read_text()}\n{line}\n")
    (fault,) = check(tmp_path)
    assert said in fault and module in fault


def test_allowed_ways_are_not_faults(tmp_path):
    allowed = {
        "viz/x.py": '"""X."""\nfrom ..results.paper import ROWS\nfrom ..config import home\nfrom .. import __version__',
        "cli.py": '"""X."""\nfrom .experiments.grid import run_all',
        "experiments/x.py": '"""X."""\nimport torch\nfrom ..training import fit\nfrom .study import Study',
        "data/x.py": '"""X."""\nimport numpy as np\nrng = np.random.default_rng(0)\n\n\ndef _f(): pass',
        "models/x.py": '"""X."""\nimport torch\ng = torch.Generator().manual_seed(0)',
    }
    for name, text in allowed.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert [fault for check in (wrong_directions, forbidden_uses, undocumented) for fault in check(tmp_path)] == []
