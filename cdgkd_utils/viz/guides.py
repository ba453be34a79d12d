"""How much guides remember."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from .style import COLOURS


def memory_gap(seen: pd.Series, unseen: pd.Series, unseen_name: str, ax: Axes | None = None) -> Axes:
    """Negative log-likelihood of each guide on what its student is taught with, and on what nobody was trained on.

    Parameters
    ----------
    seen, unseen : Series
        In nats, by the guide's name; column ``nll`` of ``results.guides.guide_quality`` for two parts.
    unseen_name : str
        What the second part is called in the legend.
    ax : Axes, optional

    Returns
    -------
    Axes
        Two dots per guide, joined; the dashed line is ln 2, a guide that always says one half.

    Raises
    ------
    ValueError
        The two do not name the same guides in the same order.
    """
    if list(seen.index) != list(unseen.index):
        raise ValueError(f"seen and unseen: expected the same guides, got {list(seen.index)} and {list(unseen.index)}")
    ax = ax or plt.subplots(figsize=(6.5, 1.2 + 0.35 * len(seen)))[1]
    rows = np.arange(len(seen))
    ax.hlines(rows, seen, unseen, color=COLOURS["absent"], linewidth=1.5, zorder=1)
    style = {"linestyle": "none", "markersize": 7}
    ax.plot(seen, rows, "o", color=COLOURS["train"], markeredgecolor="black", label="training windows", **style)
    ax.plot(unseen, rows, "o", color=COLOURS["test_trial"], label=unseen_name, **style)
    ax.axvline(
        np.log(2), color=COLOURS["chance"], linestyle="--", linewidth=1, label="ln 2 (always one half)", zorder=0
    )
    ax.set_yticks(rows, list(seen.index))
    ax.set(xlim=(0, None), ylim=(len(seen) - 0.5, -0.5), xlabel="negative log-likelihood of the labels (nats)")
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=8)
    return ax
