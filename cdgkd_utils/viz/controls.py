"""The method on real images, where its premise is known to hold: rebalancing, and guides whose labels are noisy."""

from __future__ import annotations

import ipywidgets
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase

from .panel import Panel, bound, picture
from .style import COLOURS, chance_line

STUDENTS = {"kd": "KD", "takd": "TAKD", "dense": "dense, no drop", "cdgkd": "CDGKD", "kd@eeg": "KD, clean-only guide"}


def _dots(
    ax: Axes, table: pd.DataFrame, value: str, methods: list[str], shift: float = 0.0, **style: str
) -> pd.DataFrame:
    """Mean and standard error over seeds of each method, one row each."""
    found = table.groupby("method")[value].agg(["mean", "sem"]).reindex(methods)
    place = np.arange(len(methods)) + shift
    ax.errorbar(found["mean"], place, xerr=found["sem"].fillna(0), linestyle="none", markersize=6, **style)
    ax.set(ylim=(len(methods) - 0.5, -0.5), yticks=range(len(methods)))
    ax.grid(axis="x")
    return found


@picture(10, 3.5)
def draw_control_fusion(figure: FigureBase, scores: pd.DataFrame, curves: pd.DataFrame) -> None:
    """Grey digits beside coloured ones whose colour misleads: test accuracy by rebalancing, and the weights.

    Example: ``cd.plot.draw_control_fusion(*fusion_control())``.
    """
    methods, panels = list(dict.fromkeys(scores["method"])), sorted(scores["agreement"].unique())
    axes = figure.subplots(1, len(panels) + 1)
    figure.subplots_adjust(left=0.12, right=0.985, top=0.82, bottom=0.15, wspace=0.2)
    for ax, agreement in zip(axes, panels, strict=False):
        mine = scores[scores["agreement"] == agreement]
        for number, optimizer in enumerate(dict.fromkeys(mine["optimizer"])):
            style = {"marker": "os^"[number], "color": COLOURS[("teacher", "student", "eeg")[number]]}
            part = mine[mine["optimizer"] == optimizer]
            _dots(
                ax,
                part,
                "accuracy",
                methods,
                0.24 * number - 0.12,
                label={"sgd": "SGD", "adam": "Adam"}.get(optimizer, optimizer),
                **style,
            )
        ax.set(xlabel="test accuracy (%), mean and se", title=f"colour right in {100 * agreement:g} % of training")
        ax.set_yticklabels(methods if ax is axes[0] else [])
    first = curves[(curves["agreement"] == panels[0]) & (curves["optimizer"] == scores["optimizer"].iloc[0])]
    mean = first.groupby(["method", "epoch"])["eeg_weight"].mean()
    shown = [method for method in methods if mean[method].max() > 0]
    for method, dash in zip(shown, ("-", "--", "-.", ":"), strict=False):
        axes[-1].plot(mean[method].index, mean[method], color=COLOURS["eeg"], linestyle=dash, label=method)
    axes[-1].set(xlabel="epoch (passes)", title="loss weight of the grey digit's branch", yscale="symlog")
    axes[-1].legend(loc="center right")
    n = scores["seed"].nunique()
    figure.suptitle(f"Grey digit (slow, right) and coloured digit (fast, misleading), {n} seeds", x=0.01, ha="left")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="upper right", ncols=3)


@picture(7.5, 3.0)
def draw_control_students(figure: FigureBase, scores: pd.DataFrame, flipped: float = 0.25) -> None:
    """Spoilt digits: what each guidance adds to a student of noisy labels, when a share of them is `flipped`.

    Example: ``cd.plot.draw_control_students(student_control(), flipped=0.25)``.
    """
    mine = scores[np.isclose(scores["flipped"], flipped)]
    if mine.empty:
        known = ", ".join(f"{value:g}" for value in sorted(scores["flipped"].unique()))
        raise ValueError(f"flipped: there are scores for {known}, got {flipped:g}")
    methods = [method for method in STUDENTS if method in set(mine["method"])]
    ax = figure.add_axes((0.2, 0.17, 0.62, 0.7))
    found = _dots(ax, mine, "gain", methods, marker="o", color=COLOURS["student"])
    chance_line(ax, 0, vertical=True)
    for place, row in enumerate(found.itertuples()):
        where = {"transform": ax.get_yaxis_transform(), "va": "center", "fontsize": 8.5}
        ax.text(1.02, place, f"{row.mean:+.1f} ({row.sem:.1f})", **where)
    ax.set_yticks(range(len(methods)), [STUDENTS[method] for method in methods])
    ax.set_xlabel("points over the student without a guide, mean and standard error")
    alone = mine[mine["method"] == "ce"]["accuracy"]
    ax.set_title(f"{100 * flipped:g} % of labels flipped; without a guide {alone.mean():.1f} %, {len(alone)} seeds")


def control_students(scores: pd.DataFrame) -> Panel:
    """Part: the share of flipped labels to choose; a guide is worth what it knows better than the label.

    Example: ``cd.plot.control_students(student_control(flipped=(0, 0.1, 0.25)))``.
    """
    shares = sorted(float(share) for share in scores["flipped"].unique())
    options = [(f"{100 * share:g} %", share) for share in shares]
    slider = ipywidgets.SelectionSlider(options=options, value=shares[-1], description="labels flipped")
    settings = {f"{100 * share:g} % of labels flipped": {"flipped": share} for share in (shares[0], shares[-1])}
    return Panel(bound(draw_control_students, scores), {"flipped": slider}, static=settings)
