"""The mark of a folder that the twin wrote: who made it, and the latents behind its trials."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from ..constants import TARGETS
from ..types import DataError
from .tables import numbers_only, read_table

SYNTHETIC_FILE, TRUTH_FILE = "SYNTHETIC", "truth.csv"
_AGAIN = "write the folder again"
_LATENTS = [f"{kind}_{target}" for kind in ("z", "x_eeg", "x_video", "posterior") for target in TARGETS]


def read_mark(root: Path) -> dict | None:
    """Content of a folder's ``SYNTHETIC`` file, which only the twin's folders have.

    Returns
    -------
    dict or None
        With the twin's ``settings``; None for real data.

    Raises
    ------
    DataError
        The file is there but does not say how the twin was made.
    """
    path = root / SYNTHETIC_FILE
    if not path.exists():
        return None
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
        note["settings"]["world"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{path}: expected JSON with the twin's settings; {_AGAIN}") from error
    return note


def tree_name(layout: str, mark: dict | None) -> str:
    """What numbers computed from a folder may be called: `layout` itself only where no `mark` says otherwise."""
    return layout if mark is None else f"synthetic tree in {layout}'s layout (world {mark['settings']['world']})"


def read_truth(root: Path, mark: dict | None) -> pd.DataFrame | None:
    """The latents stored with a synthetic folder, one row per trial; None for real data.

    Returns
    -------
    DataFrame or None
        ``subject, trial`` and for both targets ``z_*, x_eeg_*, x_video_*, posterior_*``.

    Raises
    ------
    DataError
        The table is missing, or a value of it is no number.
    """
    if mark is None:
        return None
    path = root / TRUTH_FILE
    columns = ["subject", "trial", *_LATENTS]
    table = numbers_only(read_table(path, columns, _AGAIN), columns)
    if bad := [name for name in columns if table[name].isna().any()]:
        raise DataError(f"{path}: column {', '.join(bad)} has values that are no numbers; {_AGAIN}")
    return table
