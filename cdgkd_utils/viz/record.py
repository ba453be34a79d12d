"""Saving a figure with the numbers it shows and where they came from, and marking a notebook as finished."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from matplotlib.figure import Figure

from .. import __version__
from ..config import Params, home


def save_figure(
    figure: Figure, name: str, params: Params, data: str, numbers: Mapping[str, object] | None = None
) -> Path:
    """Write ``<name>.png`` and, last, ``<name>.json`` into the figures' folder of the home.

    Parameters
    ----------
    figure : Figure
    name : str
        Begins with the notebook's number.
    params : Params
    data : str
        What the numbers may be called, such as the twin's name.
    numbers : mapping, optional
        Plain JSON values shown in the figure.

    Returns
    -------
    Path
        Of the picture.
    """
    folder = home() / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    picture = folder / f"{name}.png"
    temporary = folder / f".{name}.tmp.png"
    figure.savefig(temporary, dpi=120)
    os.replace(temporary, picture)
    provenance = params.overview() | {"data": data, "package": __version__}
    _write_json(folder / f"{name}.json", {"figure": name, "provenance": provenance, "numbers": dict(numbers or {})})
    return picture


def done(notebook: str, params: Params) -> None:
    """Mark a notebook as run to its end; what runs notebooks trusts this file, not their metadata."""
    _write_json(done_marker(notebook), {"notebook": notebook, "provenance": params.overview()})


def done_marker(notebook: str) -> Path:
    """Place of the mark."""
    return home() / "done" / f"{notebook}.json"


def _write_json(path: Path, content: Mapping[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, path)
