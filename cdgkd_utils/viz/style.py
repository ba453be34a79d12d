"""One style file and one colour per idea, everywhere.

The colours come from two palettes made for readers with colour vision deficiency: Okabe and Ito's for modalities and
networks, Tol's "muted" for classes and protocols.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from . import alt

STYLE_FILE = Path(__file__).with_name("cdgkd.mplstyle")

COLOURS = {
    "eeg": "#0072B2",
    "video": "#E69F00",
    "fusion": "#009E73",
    "teacher": "#000000",
    "ta1": "#CC79A7",
    "ta2": "#56B4E9",
    "student": "#D55E00",
    "ce": "#999999",
    "low": "#332288",
    "high": "#CC6677",
    "trial": "#1B1B1B",
    "subject": "#44AA99",
    "train": "#BBBBBB",
    "val": "#DDCC77",
    "test_trial": "#1B1B1B",
    "test_subject": "#44AA99",
    "leak": "#FF00C8",
    "chance": "#666666",
    "absent": "#A0A0A0",
}


def use() -> None:
    """Apply the project's style to all figures made from now on; in a notebook, store alternative texts with them."""
    plt.style.use(STYLE_FILE)
    alt.record()


def colour(name: str, position: int = 0) -> str:
    """Fixed colour of `name`, or the palette's colour number `position` for a name without one."""
    palette = plt.rcParams["axes.prop_cycle"].by_key()["color"]
    return COLOURS.get(name, palette[position % len(palette)])


def chance_line(ax: Axes, value: float = 50.0, *, vertical: bool = False) -> None:
    """Draw the chance level of two balanced classes (in the axis' unit) as a labelled dashed line."""
    draw = ax.axvline if vertical else ax.axhline
    draw(value, color=COLOURS["chance"], linestyle="--", linewidth=1, label="chance", zorder=1)
