"""The method on real images, where its premise is known to hold: rebalancing, and guides whose labels are noisy."""

from __future__ import annotations

from collections.abc import Mapping

import ipywidgets
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase

from ..results.paper import display_name
from .panel import Panel, bound, picture
from .style import COLOURS, chance_line


def _dots(ax: Axes, table: pd.DataFrame, methods: list[str], shift: float = 0.0, **style: str) -> None:
    """Mean and standard error over seeds of each method, one row each."""
    found = table.groupby("method")["value"].agg(["mean", "sem"]).reindex(methods)
    place = np.arange(len(methods)) + shift
    ax.errorbar(found["mean"], place, xerr=found["sem"].fillna(0), linestyle="none", markersize=6, **style)
    ax.set(ylim=(len(methods) - 0.5, -0.5), yticks=range(len(methods)))
    ax.grid(axis="x")


@picture(9, 3.4)
def draw_control_fusion(
    figure: FigureBase, scores: pd.DataFrame, logs: Mapping[str, pd.DataFrame] | None = None
) -> None:
    """Grey digits with a colour that misleads: accuracy of fused networks without and with rebalancing, and weights.

    `scores`: ``method, seed, accuracy`` (share) and, where there are several, ``optimiser`` and ``colour`` (share of
    training images whose colour tells the label); `logs`: epoch logs by name, for the weight of the grey digit.
    Example: ``cd.plot.draw_control_fusion(scores, logs)``.
    """
    table = scores.assign(value=100 * scores["accuracy"])
    for column, only in (("optimiser", "training"), ("colour", 0.95)):
        table[column] = table.get(column, only)
    methods, panels = list(dict.fromkeys(table["method"])), sorted(table["colour"].unique())
    axes = np.atleast_1d(figure.subplots(1, len(panels) + bool(logs), width_ratios=[1] * (len(panels) + bool(logs))))
    figure.subplots_adjust(left=0.2, right=0.985, top=0.83, bottom=0.15, wspace=0.22)
    for ax, colour_share in zip(axes, panels, strict=False):
        mine = table[table["colour"] == colour_share]
        optimisers = list(dict.fromkeys(mine["optimiser"]))
        for number, (optimiser, shade) in enumerate(zip(optimisers, ("teacher", "student", "eeg"), strict=False)):
            shift = (number - (len(optimisers) - 1) / 2) * 0.25
            part = mine[mine["optimiser"] == optimiser]
            _dots(ax, part, methods, shift, marker="os^"[number], color=COLOURS[shade], label=str(optimiser))
        ax.set(xlabel="test accuracy (%), mean ± se", title=f"colour tells {100 * colour_share:g} % of training labels")
        ax.set_yticklabels([display_name(method) for method in methods] if ax is axes[0] else [])
    if logs:
        for (name, log), dash in zip(logs.items(), ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1))), strict=False):
            axes[-1].plot(log["epoch"], log["eeg_weight"], linestyle=dash, color=COLOURS["eeg"], label=name)
        axes[-1].set(xlabel="epoch (passes)", title="weight of the grey digit's branch")
        axes[-1].legend()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="upper left", ncols=3)


@picture(7.5, 3.2)
def draw_control_students(figure: FigureBase, scores: pd.DataFrame, flipped: float = 0.25) -> None:
    """Corrupted digits: what each guidance adds to a student of noisy labels, when `flipped` of them are wrong.

    `scores`: ``flipped, method, seed, accuracy`` (shares), the student without a guide as ``ce``.
    Example: ``cd.plot.draw_control_students(scores, flipped=0.25)``.
    """
    mine = scores[np.isclose(scores["flipped"], flipped)]
    if mine.empty:
        known = ", ".join(f"{value:g}" for value in sorted(scores["flipped"].unique()))
        raise ValueError(f"flipped: there are scores for {known}, got {flipped:g}")
    wide = 100 * mine.pivot(index="seed", columns="method", values="accuracy")
    methods = [method for method in dict.fromkeys(mine["method"]) if method != "ce"]
    gains = wide[methods].sub(wide["ce"], axis=0).melt(var_name="method", value_name="value")
    ax = figure.add_axes((0.2, 0.16, 0.62, 0.7))
    _dots(ax, gains, methods, marker="o", color=COLOURS["student"])
    chance_line(ax, 0, vertical=True)
    for place, method in enumerate(methods):
        said = {"transform": ax.get_yaxis_transform(), "va": "center", "fontsize": 8.5}
        gain = gains[gains["method"] == method]["value"]
        ax.text(1.02, place, f"{gain.mean():+.1f} ({gain.sem():.1f})", **said)
    ax.set_yticks(range(len(methods)), [display_name(method) for method in methods])
    ax.set_xlabel("points over the student without a guide, mean and standard error")
    title = f"{100 * flipped:g} % of labels flipped: without a guide {wide['ce'].mean():.1f} %, {len(wide)} seeds"
    ax.set_title(title)


def control_students(scores: pd.DataFrame) -> Panel:
    """Part: the share of flipped labels to choose; a guide is worth what it knows better than the label.

    Example: ``cd.plot.control_students(scores)``.
    """
    shares = sorted(float(share) for share in scores["flipped"].unique())
    options = [(f"{100 * share:g} %", share) for share in shares]
    slider = ipywidgets.SelectionSlider(options=options, value=shares[-1], description="labels flipped")
    settings = {f"{100 * share:g} % of labels flipped": {"flipped": share} for share in (shares[0], shares[-1])}
    return Panel(bound(draw_control_students, scores), {"flipped": slider}, static=settings)
