"""Every name in the documents' tables exists, and every link and file that a text cites is in the repository."""

import importlib
import re
import subprocess
from functools import reduce
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
METHOD = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
EQUATIONS = re.findall(r"^\|.*\| `((?:methods|models|data|results)\.[\w.]+)` \|$", METHOD, re.M)
FILES = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
TEXTS = [name for name in FILES if name.endswith((".md", ".py", ".ipynb", ".yaml", ".yml", ".toml"))]
MADE = {"model_card.md", "RESULTS.md"}  # written by commands


@pytest.mark.parametrize("name", EQUATIONS)
def test_a_function_of_the_equation_table_exists(name):
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        try:
            module = importlib.import_module(".".join(["cdgkd_utils", *parts[:length]]))
        except ModuleNotFoundError:
            continue
        reduce(getattr, parts[length:], module)
        return
    pytest.fail(f"no module of {name}")


def test_the_table_is_there():
    assert len(EQUATIONS) > 40


@pytest.mark.parametrize("name", [name for name in TEXTS if name.endswith(".md")])
def test_links_lead_to_files_that_are_here(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s#]+)", text):
        if not re.match(r"[a-z]+:", link) and Path(link).name not in MADE:
            assert (ROOT / name).parent.joinpath(link).exists(), f"{name}: {link}"


@pytest.mark.parametrize("name", TEXTS)
def test_no_text_cites_a_document_that_is_not_in_the_repository(name):
    here = {Path(file).name for file in FILES} | MADE
    text = (ROOT / name).read_text(encoding="utf-8")
    missing = {one for one in re.findall(r"[\w-]+\.md\b", text) if one not in here}
    for place in re.findall(r"`((?:docs|configs|studies|bench|figures|tests)/[\w./-]+\.\w+)`", text):
        if not (ROOT / place).exists() and Path(place).name not in MADE:
            missing.add(place)
    assert not missing
