"""Code that decides results cannot change under an unchanged version: old runs would pass for new ones.

After a change, raise the part's number in ``VERSIONS`` of ``cdgkd_utils/experiments/stages.py``, then record it:
``python tests/test_stage_versions.py``. A change that leaves every result bit-equal may keep the number:
``python tests/test_stage_versions.py --same-results``.
"""

import ast
import json
import shutil
import sys
from pathlib import Path

import pytest

from cdgkd_utils.experiments import stages
from cdgkd_utils.experiments.losses import LOSSES
from cdgkd_utils.experiments.recipes import KINDS, RECIPES
from cdgkd_utils.experiments.stages import PACKAGE, SOURCES, VERSIONS, normalised, stage_digests, stage_versions

RECORD = Path(__file__).with_name("stage_versions.json")
# Imported by what runs, but deciding no number of a run: settings and names that are in the key themselves, the
# windows (their own key has the digest of the code that makes them), and where things are stored.
DECIDE_NOTHING = (
    "__init__.py",
    "config.py",
    *("data/", "models/__init__.py", "models/baselines/__init__.py", "methods/__init__.py"),
    *("training/__init__.py", "training/checkpoint.py"),
    *(f"experiments/{name}.py" for name in ("__init__", "recipes", "records", "stages")),
)


def changed_parts(digests, versions, recorded):
    """What is wrong with each part, in words that say what to do."""
    faults = []
    for part in sorted(set(digests) | set(recorded)):
        old = recorded.get(part)
        if old is None or part not in digests:
            faults.append(f"{part}: new or gone; run python {RECORD.parent.name}/{Path(__file__).name}")
        elif versions[part] == old["version"] and digests[part] != old["digest"]:
            faults.append(f"{part}: its source changed under version {old['version']}; raise it in VERSIONS")
        elif versions[part] != old["version"] or digests[part] != old["digest"]:
            faults.append(f"{part}: version {versions[part]} is not recorded; run python tests/{Path(__file__).name}")
    return faults


def test_no_source_changed_under_its_version():
    assert changed_parts(stage_digests(), VERSIONS, json.loads(RECORD.read_text())) == []


def test_every_part_has_a_version_and_sources():
    assert set(VERSIONS) == set(SOURCES)
    assert {f"loss/{name}" for name in LOSSES} == {part for part in VERSIONS if part.startswith("loss/")}
    kinds = {f"kind/{name}" for name in KINDS if name != "network"}
    assert kinds == {part for part in VERSIONS if part.startswith("kind/")}


def imports(path):
    """Modules of the package that a module imports, as paths inside the package."""
    here = path.relative_to(PACKAGE).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = here[: len(here) - node.level] + tuple((node.module or "").split(".") if node.module else ())
            for end in (base, *((*base, alias.name) for alias in node.names)):
                for candidate in (Path(*end, "__init__.py"), Path(*end).with_suffix(".py") if end else Path("x")):
                    if (PACKAGE / candidate).is_file():
                        yield candidate.as_posix()


def closure(*names):
    found, left = set(), list(names)
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += imports(PACKAGE / name)
    return found


def files_of(*parts):
    return {path.relative_to(PACKAGE).as_posix() for part in parts for path in stages.stage_sources(part)}


def without(names):
    return {name for name in names if not name.startswith(DECIDE_NOTHING) or name in files_of("training")}


def test_every_module_behind_a_run_belongs_to_a_part():
    assert without(closure("experiments/runs.py")) <= files_of(*SOURCES)


@pytest.mark.parametrize("part", [part for part in SOURCES if part != "training"])
def test_a_part_lists_all_that_its_modules_import(part):
    mine = files_of(part)
    leaves = {name for name in mine if name != "experiments/derived.py"}  # it imports the methods of all kinds
    assert without(closure(*leaves)) <= mine | files_of("training")


@pytest.fixture
def package(tmp_path):
    """A copy of the package's sources."""
    shutil.copytree(PACKAGE, tmp_path / "package", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "package"


def recorded_now():
    return {part: {"version": VERSIONS[part], "digest": digest} for part, digest in stage_digests().items()}


@pytest.mark.parametrize(
    ("module", "old", "new", "parts"),
    [
        ("methods/nst.py", "return ", "return 0.5 * ", {"loss/nst"}),
        ("models/peers.py", "class Peers", "class Others", {"model/ambokd"}),
        ("training/loop.py", "n_epochs", "n_passes", {"training"}),
    ],
)
def test_a_planted_change_is_found_in_the_parts_it_concerns(module, old, new, parts, package):
    path = package / module
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    faults = changed_parts(stage_digests(package), VERSIONS, recorded_now())
    assert {fault.partition(":")[0] for fault in faults} == parts
    assert all("raise it in VERSIONS" in fault for fault in faults)
    raised = VERSIONS | {part: VERSIONS[part] + 1 for part in parts}
    faults = changed_parts(stage_digests(package), raised, recorded_now())
    assert len(faults) == len(parts) and all("is not recorded" in fault for fault in faults)


def test_comments_docstrings_and_layout_do_not_count(package):
    before = stage_digests(package)
    for path in (package / "methods").glob("*.py"):
        source = path.read_text()
        path.write_text(source.replace('"""', '"""Once more: ', 1).replace("\n\n\n", "\n\n# A note.\n\n\n"))
    assert stage_digests(package) == before
    plain = 'def f(x):\n    """One."""\n    return {"a": x}\n'
    other = "def f(x):  # why\n    '''Two.'''\n\n    return {\n        'a': x,\n    }\n"
    assert normalised(plain) == normalised(other)
    assert normalised(plain) != normalised(plain.replace('"a"', '"b"'))
    assert normalised("x = 1") != normalised("x = True") != normalised("x = 1.0")
    assert normalised('def f():\n    return "text"') != normalised("def f():\n    return")


def test_a_source_that_is_gone_is_an_error(package):
    (package / "methods/nst.py").unlink()
    with pytest.raises(FileNotFoundError, match=r"methods/nst\.py"):
        stage_digests(package)


def test_a_run_holds_the_versions_of_its_own_parts():
    of = lambda name, family="compact": set(stage_versions(RECIPES[name], family))  # noqa: E731
    assert of("cdgkd") == {"training", "loss/dense", "model/compact"}
    assert of("ambokd") == {"training", "loss/ambokd", "model/compact", "model/ambokd"}
    assert of("ce", "reference") == {"training", "loss/ce", "model/reference"}
    assert of("eeg_svm") == {"training", "kind/svm"}


if __name__ == "__main__":
    old = json.loads(RECORD.read_text()) if RECORD.is_file() else {}
    found = changed_parts(stage_digests(), VERSIONS, old)
    refused = [fault for fault in found if "raise it" in fault]
    if refused and "--same-results" not in sys.argv[1:]:
        sys.exit("\n".join(refused))
    RECORD.write_text(json.dumps(recorded_now(), indent=1) + "\n")
