"""Alternative texts of figures, made of the words that the figures themselves bear."""

from __future__ import annotations

import matplotlib.pyplot as plt
from IPython import get_ipython
from IPython.core.pylabtools import print_figure
from matplotlib.axes import Axes
from matplotlib.figure import Figure

MAX_PANELS = 6


def describe(figure: Figure) -> str:
    """Panels, axes and curves of a figure, in one text for those who do not see it.

    Parameters
    ----------
    figure : Figure

    Returns
    -------
    str
        Titles, axis labels with their units and legend entries, at most of `MAX_PANELS` panels; what the figure
        means is left to the text around it.
    """
    panels = [text for text in map(_panel, figure.axes) if text]
    more = len(panels) - MAX_PANELS
    title = _line(figure.get_suptitle())
    keys = [_line(text.get_text()) for legend in figure.legends for text in legend.get_texts()]
    parts = [title, *panels[:MAX_PANELS], f"and {more} more panels" if more > 0 else "", _listed("key: ", keys)]
    return ". ".join(part for part in parts if part) or "a figure without words"


def _panel(ax: Axes) -> str:
    if not ax.get_visible():
        return ""
    title, x, y = (_line(text) for text in (ax.get_title() or ax.get_title("left"), ax.get_xlabel(), ax.get_ylabel()))
    legend = ax.get_legend()
    axes = f"{y} against {x}" if x and y else x or y
    keys = _listed("with ", [_line(text.get_text()) for text in legend.get_texts()] if legend else [])
    return ": ".join(part for part in (title, " ".join(part for part in (axes, keys) if part)) if part)


def _line(text: str) -> str:
    return " ".join(text.replace("$", "").split())


def _listed(lead: str, words: list[str]) -> str:
    return lead + ", ".join(words) if words else ""


def _png(figure: Figure) -> tuple[bytes | str | None, dict[str, str]]:
    """A figure as notebooks show it, and what is stored beside it."""
    return print_figure(figure, bbox_inches="tight", base64=True), {"alt": describe(figure)}


def record() -> None:
    """Store an alternative text beside every figure that a notebook shows from now on; elsewhere do nothing."""
    if shell := get_ipython():
        plt.switch_backend(plt.get_backend())  # loading the notebooks' backend later would undo the next line
        shell.display_formatter.formatters["image/png"].for_type(Figure, _png)
