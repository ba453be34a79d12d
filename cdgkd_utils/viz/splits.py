"""Who is tested on what: the split as a picture."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch

from .style import COLOURS, colour

PART_NAMES = {"val": "validation", "test_trial": "test: unseen trials", "test_subject": "test: unseen subjects"}


def split_diagram(index: pd.DataFrame, split: Mapping[str, np.ndarray], ax: Axes | None = None) -> Axes:
    """Subjects down, trials across, each trial in the colour of the part that holds its windows.

    Parameters
    ----------
    index : DataFrame
        One row per window with the columns ``subject`` and ``trial``.
    split : mapping
        Name of each part to its rows of `index`.

    Returns
    -------
    Axes
        A trial with windows in two parts is drawn in the colour "leak" and counted in the title; a trial in
        no part stays white.
    """
    ax = ax or plt.subplots(figsize=(7.5, 3.8))[1]
    trials = index[["subject", "trial"]].drop_duplicates().sort_values(["subject", "trial"])
    column = trials.groupby("subject").cumcount()
    place = {(row.subject, row.trial): column[row.Index] for row in trials.itertuples()}
    subjects = sorted(trials["subject"].unique())
    parts = list(split)
    grid = np.zeros((len(subjects), column.max() + 1), dtype=int)
    leak = len(parts) + 1
    for number, name in enumerate(parts, start=1):
        for subject, trial in index.iloc[split[name]][["subject", "trial"]].drop_duplicates().itertuples(index=False):
            cell = subjects.index(subject), place[subject, trial]
            grid[cell] = number if grid[cell] == 0 else leak
    colours = [colour(name, number) for number, name in enumerate(parts)]
    ax.pcolormesh(
        np.arange(grid.shape[1] + 1) + 0.5,
        np.arange(len(subjects) + 1) - 0.5,
        grid,
        cmap=ListedColormap(["white", *colours, COLOURS["leak"]]),
        vmin=-0.5,
        vmax=leak + 0.5,
        edgecolor="white",
        linewidth=0.4,
    )
    ax.set_yticks(range(len(subjects)), [f"s{subject:02d}" for subject in subjects], fontsize=6.5)
    n_leaks = int((grid == leak).sum())
    title = "no trial in two parts" if n_leaks == 0 else f"LEAK: {n_leaks} trials have windows in two parts"
    ax.set(xlabel="trial (number within the subject)", ylabel="subject", title=title)
    ax.invert_yaxis()
    handles = [Patch(color=shade, label=PART_NAMES.get(name, name)) for name, shade in zip(parts, colours, strict=True)]
    if n_leaks:
        handles.append(Patch(color=COLOURS["leak"], label="in two parts"))
    ax.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=len(handles))
    return ax
