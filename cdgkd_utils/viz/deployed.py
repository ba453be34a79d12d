"""How a finished student stands up to trouble, and whether its probabilities are true."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .style import COLOURS, chance_line
from .widgets.what_if import ROLE_NAMES

SCORES = {
    "accuracy": "accuracy (%)",
    "same": "windows answered the same (%)",
    "moved": "mean change of P(high) (% points)",
}


def sweep_figure(table: pd.DataFrame, score: str = "accuracy", n_columns: int = 4) -> Figure:
    """One small picture per change: a score of each network against the strength of the change.

    Parameters
    ----------
    table : DataFrame
        From ``Bench.sweep``: ``change, unit, strength, role`` and the scores, shares.
    score : {"accuracy", "same", "moved"}
    n_columns : int

    Raises
    ------
    ValueError
        There is no such score.
    """
    if score not in SCORES:
        raise ValueError(f"score: expected one of {', '.join(SCORES)}, got {score!r}")
    names = list(dict.fromkeys(table["change"]))
    n_rows = -(-len(names) // n_columns)
    figure, axes = plt.subplots(n_rows, n_columns, figsize=(9.6, 2.1 * n_rows + 0.4), sharey=True, squeeze=False)
    for ax, name in zip(axes.flat, names, strict=False):
        mine = table[table["change"] == name]
        for role, line in mine.groupby("role", sort=False):
            style = {"linewidth": 2.4 if role == "student" else 1.4, "marker": "o", "markersize": 3.5}
            ax.plot(line["strength"], 100 * line[score], color=COLOURS[role], label=ROLE_NAMES.get(role, role), **style)
        if score == "accuracy":
            chance_line(ax)
        ax.set(title=name, xlabel=mine["unit"].iloc[0], xticks=sorted(set(mine["strength"])))
    for ax in axes.flat[len(names) :]:
        ax.axis("off")
    figure.supylabel(SCORES[score], fontsize=9)
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def reliability_lines(curves: Mapping[str, pd.DataFrame], ax: Axes | None = None) -> Axes:
    """Observed share of high against predicted P(high), one line per set of predictions.

    Parameters
    ----------
    curves : mapping of str to DataFrame
        By what the legend says; from ``results.calibration.reliability``.
    ax : Axes, optional
    """
    ax = ax or plt.subplots(figsize=(5.2, 3.0))[1]
    ax.plot([0, 1], [0, 1], color=COLOURS["chance"], linestyle="--", linewidth=1, label="true probabilities")
    for (name, curve), shape in zip(curves.items(), ("o-", "s--", "^:", "D-."), strict=False):
        ax.plot(curve["predicted"], curve["observed"], shape, label=name)
    ax.set(xlim=(0, 1), ylim=(0, 1), xlabel="predicted P(high)", ylabel="observed share of high", aspect="equal")
    ax.legend(loc="upper left", bbox_to_anchor=(1.02, 1))
    return ax
