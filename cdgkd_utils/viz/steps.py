"""The preparation of a trial, step by step: as a table, and as the same seconds of one channel after each step."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from pandas.io.formats.style import Styler

from ..data.constants import WINDOW_SECONDS
from ..data.steps.step import Step
from ..data.windows import FRAME_OFFSETS
from .style import COLOURS

# Of a trace's sd: a step that changes less only chose, cut or stored.
_UNCHANGED = 0.01


def step_table(steps: Sequence[Step]) -> pd.DataFrame:
    """One row per step.

    Returns
    -------
    DataFrame
        By ``step``: ``shape``, ``rate (Hz)`` (samples or frames), ``unit``, ``what happens``.
    """
    rows = [
        {
            "step": step.name,
            "shape": " × ".join(map(str, step.shape)),
            "rate (Hz)": f"{step.sfreq:g}",
            "unit": step.unit,
            "what happens": step.what,
        }
        for step in steps
    ]
    return pd.DataFrame(rows).set_index("step")


def left_html(table: pd.DataFrame) -> str:
    """A table of sentences as HTML, for ``IPython.display.HTML``: set from the left and never cut short.

    The first of several columns (the shapes of :func:`step_table`) stays on one line.
    """
    styles = [{"selector": "th, td", "props": "text-align: left; white-space: normal"}]
    if table.shape[1] > 1:
        styles.append({"selector": "td.col0", "props": "white-space: nowrap"})
    named = table.rename_axis(None)  # a name of the index would take a line of its own
    return Styler(named, uuid="steps", cell_ids=False).set_table_styles(styles).to_html()


def changing_steps(steps: Sequence[Step], channel: str, first: float, seconds: float) -> list[Step]:
    """The steps that hold a channel and change it, without those that only choose channels, cut or store.

    Parameters
    ----------
    steps : sequence of Step
    channel : str
    first, seconds : float
        As in :meth:`~cdgkd_utils.data.steps.step.Step.trace`.
    """
    found: list[Step] = []
    for step in steps:
        if channel not in step.rows:
            continue
        if found and found[-1].sfreq == step.sfreq:
            before, after = (x.trace(channel, first, seconds)[1].astype(float) for x in (found[-1], step))
            if np.abs(after - before).max() <= _UNCHANGED * before.std():
                continue
        found.append(step)
    return found


def step_figure(steps: Sequence[Step], channel: str = "Fp1", first: float = 1.0, seconds: float = 2.0) -> Figure:
    """The same seconds of one channel after each step that changes it, and the pictures of their window.

    Parameters
    ----------
    steps : sequence of Step
        From :func:`~cdgkd_utils.data.steps.chain.preprocessing_steps`.
    channel : str
    first, seconds : float
        Where the stretch begins, in s after the clip's start, and its length, within one window.

    Returns
    -------
    Figure
        A panel for each step with its own scale; below, the five pictures, titled by their times.

    Raises
    ------
    ValueError
        No step has the channel, or one does not hold the stretch.
    """
    drawn = changing_steps(steps, channel, first, seconds)
    if not drawn:
        raise ValueError(f"channel: no step holds {channel!r}")
    figure = plt.figure(figsize=(7.5, 0.85 * len(drawn) + 1.9), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=[0.85 * len(drawn) + 0.4, 1.5])
    axes = above.subplots(len(drawn), 1, sharex=True, squeeze=False)[:, 0]
    for ax, step in zip(axes, drawn, strict=True):
        ax.plot(*step.trace(channel, first, seconds), color=COLOURS["eeg"], linewidth=0.9)
        ax.set(ylabel=step.unit)
        ax.set_title(f"{step.name}, {step.sfreq:g} Hz", loc="left", fontsize=9)
        ax.locator_params(axis="y", nbins=3)
        ax.ticklabel_format(axis="y", useOffset=False)
    axes[-1].set(xlim=(first, first + seconds), xlabel=f"time since the clip's start (s), channel {channel}")
    above.align_ylabels(axes)
    (frames,) = (step for step in steps if step.name == "frames")
    start = first // WINDOW_SECONDS * WINDOW_SECONDS
    for ax, picture, offset in zip(
        below.subplots(1, len(FRAME_OFFSETS)), frames.signal[frames.starts.index(start)], FRAME_OFFSETS, strict=True
    ):
        ax.imshow(picture)
        ax.axis("off")
        ax.set_title(f"{start + offset:.1f} s", loc="center", fontsize=9)
    return figure
