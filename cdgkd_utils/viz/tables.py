"""The results tables as pictures: both in the poster's layout, the claims, and any choice of rows with its tests."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import ipywidgets
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase

from ..data.constants import TARGETS
from ..results import paper
from ..results.metrics import METRIC_NAMES
from ..results.paper import DATASET_NAMES, POSTER_ROWS, PROTOCOL_NAMES, ROWS, TABLE_TITLES, display_name, in_order
from ..results.statistics import compare
from ..results.tables import results_table, runs_behind
from .panel import Panel, buttons, picture
from .style import COLOURS, chance_line, html_table

MARKERS = {"trial": "o", "subject": "s"}
WITH_CHANCE = ("accuracy", "balanced_accuracy", "expected_accuracy", "auc", "vote_accuracy", "worst_subject")
FLOORS = {"majority": ":", "who": "-."}


def _shade(protocol: str) -> str:
    return COLOURS["leak"] if "LEAKY" in protocol else COLOURS.get(f"test_{protocol}", COLOURS["trial"])


def _bars(ax: Axes, part: pd.DataFrame, rows: Sequence[str], protocols: Sequence[str]) -> None:
    """Means with intervals, one row each, protocols beside each other; what is not defined is not drawn."""
    for number, protocol in enumerate(protocols):
        mine = part[(part["protocol"] == protocol) & part["mean"].notna() & part["method"].isin(rows)]
        place = [rows.index(method) + (number - (len(protocols) - 1) / 2) * 0.34 for method in mine["method"]]
        mean = mine["mean"].to_numpy(float)
        reach = np.nan_to_num(np.stack([mean - mine["low"].to_numpy(float), mine["high"].to_numpy(float) - mean]))
        style = {"color": _shade(protocol), "marker": MARKERS.get(protocol, "D"), "linestyle": "none", "markersize": 4}
        ax.errorbar(mean, place, xerr=reach, label=PROTOCOL_NAMES[protocol], linewidth=1.1, **style)
    ax.set(ylim=(len(rows) - 0.4, -0.6), yticks=range(len(rows)))
    ax.grid(axis="x")


def _rows_of(table: int) -> list[str]:
    rest = {1: ("ce",), 2: ("eeg", "video", "fusion")}[table]
    return [method for method in ROWS[table] if method in (*POSTER_ROWS[table], *rest)]


RESULTS_HEIGHT = 0.27 * sum(len(_rows_of(table)) for table in (1, 2)) + 2.1


@picture(10.5, RESULTS_HEIGHT)
def draw_results(figure: FigureBase, scores: pd.DataFrame) -> None:
    """Accuracy in the poster's layout: a block for each table, a column for each data set and target of a world.

    Dots are means over runs, bars 95 % intervals, diamonds the paper's accuracies. `scores` from ``collect``, of which
    the first world is shown. Example: ``cd.plot.draw_results(lab.tables().scores)``.
    """
    scores = scores[scores["world"] == scores["world"].iloc[0]]
    there = set(zip(scores["dataset"], scores["target"], strict=True))
    columns, shown = [c for c in paper.COLUMNS if c in there], {table: _rows_of(table) for table in (1, 2)}
    grid = {"height_ratios": [len(shown[1]), len(shown[2])], "width_ratios": [1] * len(columns)}
    axes = figure.subplots(2, len(columns), squeeze=False, sharex=True, sharey="row", gridspec_kw=grid)
    edges = {"top": 1 - 0.62 / RESULTS_HEIGHT, "bottom": 1.0 / RESULTS_HEIGHT, "left": 0.16, "right": 0.985}
    figure.subplots_adjust(**edges, hspace=0.5 / RESULTS_HEIGHT, wspace=0.08)
    for line, table in zip(axes, (1, 2), strict=True):
        long = results_table(scores, table)
        for ax, (dataset, target) in zip(line, columns, strict=True):
            part = long[(long["dataset"] == dataset) & (long["target"] == target)]
            protocols = in_order(part["protocol"])
            _bars(ax, part[part["metric"] == "accuracy"], shown[table], protocols)
            printed = part.drop_duplicates("method").set_index("method")["paper"].dropna()
            printed = printed[[method for method in printed.index if method in shown[table]]]
            style = {"marker": "D", "s": 26, "facecolor": "none", "edgecolor": COLOURS["student"], "zorder": 4}
            ax.scatter(printed, [shown[table].index(method) for method in printed.index], label="paper", **style)
            for floor, dash in FLOORS.items():
                for protocol in protocols:
                    level = part[(part["metric"] == floor) & (part["protocol"] == protocol)]["mean"].mean()
                    if np.isfinite(level):
                        label = f"{METRIC_NAMES[floor]}, {PROTOCOL_NAMES[protocol]}"
                        ax.axvline(level, color=_shade(protocol), linestyle=dash, linewidth=1, label=label)
            chance_line(ax, vertical=True)
            if table == 1:
                ax.set_title(f"{DATASET_NAMES[dataset]}, {target}", loc="center")
        line[0].set_yticklabels([display_name(method) for method in shown[table]])
        line[0].set_ylabel(f"Table {table}: {TABLE_TITLES[table]}")
    for ax in axes[1]:
        ax.set_xlabel(f"{METRIC_NAMES['accuracy']} (%)")
    first = scores.iloc[0]
    runs = scores.groupby(["dataset", "method"])[["repeat", "fold"]].apply(lambda x: len(x.drop_duplicates())).max()
    title = f"{first['data']}, profile {first['profile']}, up to {runs} runs a row; * not the paper's"
    figure.suptitle(title, fontsize=9.5, y=1 - 0.08 / RESULTS_HEIGHT, va="top")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="lower center", ncols=4, columnspacing=1.2)


@picture(9.5, lambda claims, **_: 0.5 * claims["claim"].nunique() + 1.2)
def draw_claims(figure: FigureBase, claims: pd.DataFrame) -> None:
    """What runs say to each claim, world by world. Example: ``cd.plot.draw_claims(lab.tables().claims())``."""
    names, worlds = list(dict.fromkeys(claims["claim"])), list(dict.fromkeys(claims["world"]))
    height = 0.5 * len(names) + 1.2
    ax = figure.add_axes((0.4, 0.62 / height, 0.47, 1 - 1.0 / height))
    looks = (("fusion", "o"), ("ce", "s"), ("student", "^"), ("eeg", "D"), ("ta1", "v"), ("low", "P"))
    for number, (world, (shade, marker)) in enumerate(zip(worlds, looks, strict=False)):
        mine = claims[claims["world"] == world]
        place = [names.index(claim) + (number - (len(worlds) - 1) / 2) * 0.7 / len(worlds) for claim in mine["claim"]]
        reach = np.nan_to_num(np.stack([mine["mean"] - mine["low"], mine["high"] - mine["mean"]]).astype(float))
        style = {"fmt": marker, "color": COLOURS[shade], "linewidth": 1.8, "markersize": 6}
        ax.errorbar(mine["mean"], place, xerr=reach, label=world or str(mine["data"].iloc[0]), **style)
        for y, row in zip(place, mine.itertuples(), strict=True):
            where = {"transform": ax.get_yaxis_transform(), "va": "center", "fontsize": 8, "color": COLOURS[shade]}
            ax.text(1.02, y, f"{row.mean:+.1f} {row.verdict}", **where)
    chance_line(ax, 0, vertical=True, label="no difference")
    ax.set_yticks(range(len(names)), names)
    for edge in np.arange(1, len(names)) - 0.5:
        ax.axhline(edge, color="0.9", linewidth=0.8, zorder=0)
    ax.set(ylim=(len(names) - 0.5, -0.5), xlabel="difference to the best rival (points), 95 % interval")
    figure.legend(*ax.get_legend_handles_labels(), loc="upper center", ncols=len(worlds) + 1)


def _p(value: float) -> str:
    return "–" if np.isnan(value) else "<0.001" if value < 0.001 else f"{value:.3f}"


def _height(*_, methods: Sequence[str], reference: str, **__) -> float:
    return 0.36 * (len({*methods, reference}) + 1) + 1.6


def table_explorer(scores: pd.DataFrame, table: int = 1) -> Panel:
    """Part: rows of a table with intervals, the compared row minus each of them, and the runs behind the numbers.

    p is of the corrected test, Holm's over all differences shown; dz is the mean difference over its deviation.
    Example: ``cd.plot.table_explorer(lab.tables().scores)``.
    """
    scores = scores[scores["world"] == scores["world"].iloc[0]]

    def methods(table: int) -> tuple:
        return tuple((display_name(method), method) for method in ROWS[table])

    def follow(controls: dict[str, ipywidgets.Widget]) -> None:
        options, shown = methods(controls["table"].value), POSTER_ROWS[controls["table"].value]
        if controls["methods"].options != options:
            for name, value in (("methods", shown), ("reference", shown[-1])):
                controls[name].options = options
                controls[name].value = value

    @lru_cache(maxsize=64)
    def choice(table: int, dataset: str, target: str, metric: str, rows: tuple, reference: str) -> tuple:
        mine = scores[(scores["dataset"] == dataset) & (scores["target"] == target)]
        mine = mine[mine["metric"].isin([metric, "accuracy"])]
        if mine[mine["metric"] == metric].empty:
            raise ValueError(f"scores: no {metric} of {target} in the design of {DATASET_NAMES[dataset]}")
        long = results_table(mine, table)
        means = long[(long["metric"] == metric) & long["method"].isin(rows)]
        if not (means["method"] == reference).any():
            raise ValueError(f"compared row: {display_name(reference)} has no run here")
        return means, compare(mine, table, reference, [row for row in rows if row != reference], metric)

    @picture(10.5, _height)
    def draw(figure, table: int, dataset: str, target: str, metric: str, methods: tuple, reference: str) -> None:
        rows = [method for method in ROWS[table] if method in (*methods, reference)]
        if not methods:
            raise ValueError(f"rows: choose at least one row of table {table}")
        means, tests = choice(table, dataset, target, metric, tuple(rows), reference)
        protocols, height = in_order(means["protocol"]), _height(methods=methods, reference=reference)
        left, right = (figure.add_axes((x, 0.95 / height, 0.28, 1 - 1.6 / height)) for x in (0.16, 0.48))
        for ax, part, level in ((left, means, 50), (right, tests, 0)):
            _bars(ax, part, rows, protocols)
            if ax is right or metric in WITH_CHANCE:
                chance_line(ax, level, vertical=True)
        left.set_yticklabels([display_name(method) for method in rows])
        right.set_yticklabels([])
        left.set_xlabel(f"{METRIC_NAMES[metric]} (%)")
        right.set_xlabel(f"{display_name(reference)} minus row (points)")
        words = {"transform": right.get_yaxis_transform(), "va": "center", "family": "monospace", "fontsize": 7.5}
        right.text(1.02, -0.75, "{:>7}{:>8}{:>7}".format("p", "Holm", "dz"), **words)
        for row in tests.itertuples():
            place = rows.index(row.method) + (protocols.index(row.protocol) - (len(protocols) - 1) / 2) * 0.34
            text = f"{_p(row.p):>7}{_p(row.p_holm):>8}{row.dz:>7.2f}".replace("nan", "  –")
            right.text(1.02, place, text, color=_shade(row.protocol), **words)
        first, done = means.iloc[0], f"{means['n_runs'].max()} of {means['n_expected'].max()} runs"
        title = f"Table {table} ({TABLE_TITLES[table]}), {target}, {DATASET_NAMES[dataset]} columns"
        figure.suptitle(f"{title}; {first['data']}, {first['profile']}, {done}", x=0.01, ha="left", fontsize=9.5)
        figure.legend(*left.get_legend_handles_labels(), loc="lower left", ncols=4)

    def behind(table: int, dataset: str, target: str, metric: str, reference: str, **_: Any) -> str:
        parts, mine = [], scores[(scores["method"] == reference) & (scores["target"] == target)]
        for protocol in in_order(scores["protocol"]):
            runs = runs_behind(mine, table, reference, dataset, target, protocol, metric)
            said = f"{display_name(reference)}, {PROTOCOL_NAMES[protocol]}: the {len(runs)} runs behind the number"
            listed = html_table(runs.round(2).astype(str).set_index("repeat"))
            parts.append(f"<details><summary>{said}</summary>{listed}</details>")
        return "".join(parts)

    known = [metric for metric in METRIC_NAMES if metric in set(scores["metric"]) and metric not in FLOORS]
    menu = ipywidgets.Dropdown
    designs = [(name, key) for key, name in DATASET_NAMES.items() if key in set(scores["dataset"])]
    several = {"options": methods(table), "value": POSTER_ROWS[table], "rows": 8}
    controls = {
        "dataset": buttons(designs, "data in the design of"),
        "table": buttons([(f"{n}: {TABLE_TITLES[n]}", n) for n in sorted(ROWS)], "table", value=table),
        "target": buttons([t for t in TARGETS if t in set(scores["target"])], "target"),
        "metric": menu(options=[(METRIC_NAMES[metric], metric) for metric in known], description="score"),
        "methods": ipywidgets.SelectMultiple(**several, description="rows (Ctrl or Shift for several)"),
        "reference": menu(options=methods(table), value=POSTER_ROWS[table][-1], description="compared row"),
    }
    return Panel(draw, controls, text=behind, follow=follow)
