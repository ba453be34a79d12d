"""A family of hypotheses as one picture: what was expected, what came out, and the verdict."""

from __future__ import annotations

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from .style import COLOURS

VERDICTS = {"held": COLOURS["eeg"], "against": COLOURS["student"], "not resolved": COLOURS["ce"]}


def hypothesis_figure(table: pd.DataFrame, other: pd.DataFrame | None = None) -> Figure:
    """Mean difference and 95 % interval of each hypothesis.

    Parameters
    ----------
    table : DataFrame
        From :func:`~cdgkd_utils.results.beyond.hypothesis_table`: unseen trials of known people.
    other : DataFrame, optional
        The same for unseen people, drawn hollow below each.
    """
    figure, ax = plt.subplots(figsize=(9.5, 0.52 * len(table) + 1.3), layout="constrained")
    for place, (name, row) in enumerate(table.iterrows()):
        colour = VERDICTS[row["verdict"]]
        ax.plot([row["low"], row["high"]], [place, place], color=colour, linewidth=2)
        ax.plot(row["mean"], place, "o", color=colour, markersize=8)
        if other is not None:
            same = other.loc[name]
            ax.plot([same["low"], same["high"]], [place + 0.25, place + 0.25], color=COLOURS["subject"], linewidth=1)
            ax.plot(same["mean"], place + 0.25, "s", color=COLOURS["subject"], markerfacecolor="white", markersize=5)
        ax.annotate(
            f"{row['mean']:+.1f} {row['verdict']}",
            (1.01, place),
            xycoords=("axes fraction", "data"),
            color=colour if row["verdict"] != "not resolved" else COLOURS["chance"],
            va="center",
            fontsize=9,
        )
    ax.axvline(0, color=COLOURS["chance"], linestyle="--", linewidth=1)
    labels = [f"{name}: {row['difference']}  (expected {row['expected']})" for name, row in table.iterrows()]
    ax.set_yticks(range(len(table)), labels, fontsize=9)
    ax.set_ylim(len(table) - 0.4, -0.6)
    ax.set_xlabel("difference in expected accuracy in points, mean and 95 % interval over seeds")
    title = "filled: unseen trials of known people"
    ax.set_title(title + ("; hollow: unseen people" if other is not None else ""), fontsize=10, loc="left")
    return figure
