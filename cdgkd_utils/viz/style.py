"""One style, one colour and one name per idea, and figures saved with their numbers."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from IPython import get_ipython
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from .. import __version__
from ..config import Params, home
from .panel import DRAWING, describe

STYLE_FILE = Path(__file__).with_name("cdgkd.mplstyle")

# Okabe and Ito's palette for modalities and networks, Tol's "muted" for classes and protocols: both are told apart by
# readers with a colour vision deficiency.
COLOURS = {
    **{"eeg": "#0072B2", "video": "#E69F00", "fusion": "#009E73", "ce": "#999999"},
    **{"teacher": "#000000", "ta1": "#CC79A7", "ta2": "#56B4E9", "student": "#D55E00"},
    **{"low": "#332288", "high": "#CC6677", "train": "#BBBBBB", "val": "#DDCC77"},
    **{"trial": "#1B1B1B", "test_trial": "#1B1B1B", "subject": "#44AA99", "test_subject": "#44AA99"},
    **{"leak": "#FF00C8", "chance": "#666666", "absent": "#A0A0A0"},
}
ROLES = {"assistant 1": "ta1", "assistant 2": "ta2"}
PARTS = {
    **{"train": "training", "val": "validation", "test": "test"},
    **{"test_trial": "unseen trials", "test_subject": "unseen subjects"},
    "test_window (LEAKY)": "shuffled windows",
}


def use() -> None:
    """Apply the project's style to all figures made from now on; a notebook stores alternative texts with them."""
    plt.style.use(STYLE_FILE)
    if shell := get_ipython():
        plt.switch_backend(plt.get_backend())  # loading the notebooks' backend later would undo the next line
        shell.display_formatter.formatters["image/png"].for_type(Figure, _stored)


def _stored(figure: Figure) -> tuple[bytes, dict[str, str]]:
    buffer = BytesIO()
    with DRAWING:
        figure.savefig(buffer, format="png", dpi=figure.dpi, bbox_inches="tight")
    return buffer.getvalue(), {"alt": describe(figure)}


def colour(name: str, position: int = 0) -> str:
    """Fixed colour of a modality, network, class or part, or the palette's colour number `position`."""
    palette = plt.rcParams["axes.prop_cycle"].by_key()["color"]
    return COLOURS.get(ROLES.get(name, name), palette[position % len(palette)])


def part_name(part: str) -> str:
    """What a part of the split is called in figures."""
    return PARTS.get(part, part.removeprefix("test_"))


def chance_line(ax: Axes, value: float = 50.0, *, vertical: bool = False, label: str = "chance") -> None:
    """The level of guessing (in the axis' unit) as a labelled dashed line."""
    draw = ax.axvline if vertical else ax.axhline
    draw(value, color=COLOURS["chance"], linestyle="--", linewidth=1, label=label, zorder=1)


def html_table(frame: pd.DataFrame) -> str:
    """A table of sentences as HTML, set from the left and never cut short."""
    named = frame.rename_axis(None)  # a name of the index would take a line of its own
    left = [{"selector": "th, td", "props": "text-align: left; white-space: normal"}]
    return Styler(named, uuid="table", cell_ids=False).set_table_styles(left).to_html()


def save_figure(
    figure: Figure, name: str, params: Params, data: str, numbers: Mapping[str, object] | None = None
) -> Path:
    """Write ``<name>.png`` and, last, ``<name>.json`` into the figures' folder of the home; returns the picture's path.

    `data` is what the numbers may be called, `numbers` are plain JSON values. Example: ``lab.save(fig, "03_balance")``.
    """
    picture = home() / "figures" / f"{name}.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    temporary = picture.with_name(f".{name}.tmp.png")
    with DRAWING:
        figure.savefig(temporary, dpi=figure.dpi * 1.2, bbox_inches="tight")
    os.replace(temporary, picture)
    provenance = params.overview() | {"data": data, "package": __version__}
    _write(picture.with_suffix(".json"), {"figure": name, "provenance": provenance, "numbers": dict(numbers or {})})
    return picture


def done(notebook: str, params: Params) -> None:
    """Mark a notebook as run to its end; what runs notebooks trusts this file, not their metadata."""
    _write(done_marker(notebook), {"notebook": notebook, "provenance": params.overview()})


def done_marker(notebook: str) -> Path:
    """Place of the mark."""
    return home() / "done" / f"{notebook}.json"


def _write(path: Path, content: Mapping[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, path)
