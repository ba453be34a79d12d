"""Figures whose parts have fixed places: nothing is measured before drawing, so a control answers sooner."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure


class FixedFigure(Figure):
    """A figure that never gets a layout, however often it is shown and saved.

    ``layout="none"`` alone would not do: whenever a figure has been saved, Matplotlib gives it the style's layout.
    """

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.set_layout_engine()

    def set_layout_engine(self, layout: Any = None, **kwargs: Any) -> None:
        """Keep the parts where they are, whatever layout is asked for."""
        super().set_layout_engine("none")


def fixed_figure(width: float, height: float) -> Figure:
    """An empty figure of `width` × `height` in whose axes are placed by hand."""
    return plt.figure(figsize=(width, height), FigureClass=FixedFigure)
