"""What folders of both data sets share: tables, files in the wrong place, the mark of a folder that the twin wrote."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from .constants import TARGETS
from .types import DataError

SYNTHETIC_FILE, TRUTH_FILE = "SYNTHETIC", "truth.csv"


def read_table(path: Path, columns: Sequence[str], remedy: str) -> pd.DataFrame:
    """Read a CSV table and insist on some columns, as numbers: NaN where there is none."""
    try:
        table = pd.read_csv(path)
    except FileNotFoundError as error:
        raise DataError(f"{path}: missing{lies_at(path.parents[1], path.name)}; {remedy}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); {remedy}") from error
    except (ValueError, OverflowError) as error:  # undecodable, empty or ragged
        raise DataError(f"{path}: not a readable CSV table ({' '.join(str(error).split())}); {remedy}") from error
    if missing := [name for name in columns if name not in table.columns]:
        found = " ".join(", ".join(map(str, table.columns)).split())
        raise DataError(f"{path}: column {', '.join(missing)} missing, found {found}; {remedy}")
    return table.assign(**{name: pd.to_numeric(table[name], errors="coerce") for name in columns})


def lies_at(root: Path, pattern: str, depth: int = 3) -> str:
    """Where a file lies that is not where it belongs: one folder deeper, or spelt in another case; empty if nowhere."""
    for folder, folders, files in os.walk(root):
        here = Path(folder).relative_to(root)
        if len(here.parts) >= depth:
            folders.clear()
        folders.sort()
        if found := sorted(name for name in [*files, *folders] if re.fullmatch(pattern, name, re.IGNORECASE)):
            return f" (there is {here / found[0]}: move or rename it)"
    return ""


def read_mark(root: Path) -> dict | None:
    """Content of a folder's ``SYNTHETIC`` file, which only the twin's folders have; None for real data."""
    path = root / SYNTHETIC_FILE
    if not path.exists():
        return None
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
        note["settings"]["world"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{path}: expected JSON with the twin's settings; write the folder again") from error
    return note


def tree_name(layout: str, mark: dict | None) -> str:
    """What numbers computed from a folder may be called: `layout` itself only where no `mark` says otherwise."""
    return layout if mark is None else f"synthetic tree in {layout}'s layout (world {mark['settings']['world']})"


def read_truth(root: Path, mark: dict | None) -> pd.DataFrame | None:
    """The latents of a synthetic folder, one row per trial: ``subject, trial, z_*, ..., posterior_*``; else None."""
    if mark is None:
        return None
    latents = [f"{kind}_{target}" for kind in ("z", "x_eeg", "x_video", "posterior") for target in TARGETS]
    table = read_table(root / TRUTH_FILE, ["subject", "trial", *latents], "write the folder again")
    if table[["subject", "trial", *latents]].isna().to_numpy().any():
        raise DataError(f"{root / TRUTH_FILE}: holds values that are no numbers; write the folder again")
    return table
