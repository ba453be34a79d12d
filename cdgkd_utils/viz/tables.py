"""The results tables as figures."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..data.constants import TARGETS
from ..results.metrics import METRIC_NAMES
from ..results.paper import CEILING, PROTOCOL_NAMES, ROWS, TABLE_TITLES, display_name, in_order
from ..results.tables import one_table
from .style import COLOURS, chance_line

OFFSETS = {"trial": -0.17, "subject": 0.17}  # rows, so that the two protocols do not hide each other
MARKERS = {"trial": "o", "subject": "s"}


def dot_plot(
    long_table: pd.DataFrame,
    table: int,
    target: str,
    metric: str = "accuracy",
    dataset: str = "deap",
    ax: Axes | None = None,
    legend: bool = True,
) -> Axes:
    """One target of a results table: mean and interval of every method, beside the paper's number.

    Parameters
    ----------
    long_table : DataFrame
        From ``results.tables.results_table``; may hold both tables.
    table : {1, 2}
    target : {"valence", "arousal"}
    metric : str
    dataset : str
    ax : Axes, optional
    legend : bool
        Off where several panels share one.

    Returns
    -------
    Axes
        Dots are means over runs, bars 95 % intervals, open diamonds the paper's accuracies (drawn for
        the metric accuracy only), all in %. A method without runs is grey; beside an incomplete one stands how
        many of the expected runs are done (in the protocol with fewer).

    Raises
    ------
    ValueError
        There are no such rows.
    """
    part = one_table(long_table[long_table["table"] == table], dataset)
    part = part[part["target"] == target]
    if part.empty:
        raise ValueError(f"target: the table has no rows for {target!r}")
    methods = ROWS[table]
    ax = ax or plt.subplots(figsize=(7.5, min(4.5, 1.6 + 0.26 * len(methods))))[1]
    for protocol in in_order(part["protocol"]):
        _draw_protocol(ax, part[part["protocol"] == protocol], protocol, metric, methods)
    if metric == "accuracy":
        printed = part.drop_duplicates("method").set_index("method")["paper"].dropna()
        style = {"marker": "D", "s": 34, "facecolor": "none", "edgecolor": COLOURS["student"], "zorder": 4}
        ax.scatter(printed, [methods.index(method) for method in printed.index], label="paper", **style)
    chance_line(ax, vertical=True)

    done = part[part["metric"] == metric].groupby("method")["n_runs"].min().reindex(methods, fill_value=0)
    n_expected = int(part["n_expected"].iloc[0])
    ax.set_yticks(range(len(methods)), [display_name(method) for method in methods])
    # Panels that share this axis hide their labels, so there may be none to colour.
    labels = dict(zip(methods, ax.get_yticklabels(), strict=False))
    for row, method in enumerate(methods):
        if done[method] == n_expected:
            continue
        if done[method] == 0 and method in labels:
            labels[method].set_color(COLOURS["absent"])
        where = {"transform": ax.get_yaxis_transform(), "va": "center", "ha": "left"}
        ax.text(1.01, row, f"{done[method]} of {n_expected}", color=COLOURS["absent"], fontsize=8, **where)
    ax.set(ylim=(len(methods) - 0.5, -0.5), xlabel=f"{METRIC_NAMES[metric]} (%)", ylabel="")
    ax.grid(axis="x")
    profile, data = part[["profile", "data"]].iloc[0]
    counts = sorted(set(done[done > 0])) or [0]
    n = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]}–{counts[-1]}"
    ax.set_title(
        f"Table {table} ({TABLE_TITLES[table]}), {target}\n{data}, profile {profile}, n = {n} of {n_expected} runs"
    )
    if legend:
        ax.legend(loc="upper center", bbox_to_anchor=(0.4, -0.14), ncols=3, columnspacing=1.2)
    return ax


def table_figure(long_table: pd.DataFrame, table: int, metric: str = "accuracy", dataset: str = "deap") -> Figure:
    """Both targets of a results table side by side, as :func:`dot_plot` draws them.

    Returns
    -------
    Figure
        What the data may be called, the profile and n stand in its title.
    """
    figure, axes = plt.subplots(1, len(TARGETS), figsize=(8, 1.9 + 0.24 * len(ROWS[table])), sharey=True)
    for ax, target in zip(axes, TARGETS, strict=True):
        dot_plot(long_table, table, target, metric, dataset, ax, legend=False)
        about = ax.get_title(plt.rcParams["axes.titlelocation"]).split("\n")[1]
        ax.set_title(target)
    figure.suptitle(f"Table {table}: {TABLE_TITLES[table]}. {about}", fontsize=9.5)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4)
    return figure


def _draw_protocol(ax: Axes, part: pd.DataFrame, protocol: str, metric: str, methods: tuple[str, ...]) -> None:
    shown = part[(part["metric"] == metric) & (part["n_runs"] > 0)]
    rows = np.array([methods.index(method) for method in shown["method"]]) + OFFSETS.get(protocol, 0.0)
    mean = shown["mean"].to_numpy()
    # A single run has no interval; its bar has no length instead of making matplotlib drop the dot.
    bars = np.nan_to_num(np.stack([mean - shown["low"], shown["high"] - mean]))
    style = {"color": _colour(protocol), "marker": MARKERS.get(protocol, "o"), "linestyle": "none", "linewidth": 1.2}
    ax.errorbar(mean, rows, xerr=bars, label=PROTOCOL_NAMES[protocol], markersize=5, **style)
    majority = part.loc[part["metric"] == "majority", "mean"].mean()
    if metric in ("accuracy", "expected_accuracy") and not np.isnan(majority):
        label = f"majority, {PROTOCOL_NAMES[protocol]}"
        ax.axvline(majority, color=_colour(protocol), linestyle=":", linewidth=1.1, label=label, zorder=1)
    ceiling = shown.loc[shown["method"] == CEILING, "mean"]
    if len(ceiling):
        label = f"ceiling (true posterior), {PROTOCOL_NAMES[protocol]}"
        ax.axvline(ceiling.item(), color=_colour(protocol), linestyle="-.", linewidth=0.9, label=label, zorder=1)


def _colour(protocol: str) -> str:
    return COLOURS.get(protocol, COLOURS["absent"] if "LEAKY" in protocol else COLOURS["trial"])
