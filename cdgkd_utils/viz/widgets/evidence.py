"""The figure of the table explorer: intervals of chosen rows, and paired differences with their tests."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...results.collect import Design
from ...results.display import display_name
from ...results.explorer import Choice, chosen_differences, chosen_intervals
from ...results.metrics import LOWER_IS_BETTER, METRIC_NAMES
from ...results.paper import DATASET_NAMES, PROTOCOL_NAMES, TABLE_TITLES, in_order
from ..style import COLOURS, chance_line
from ..tables import MARKERS
from .fixed import fixed_figure

WITH_CHANCE = ("accuracy", "balanced_accuracy", "expected_accuracy", "auc", "vote_accuracy", "vote_balanced_accuracy")
ROW, MARGINS = 0.36, (0.95, 0.6)  # inches: of one row; below and above all rows
NUMBERS = "{:>7}{:>8}{:>8}{:>7}"  # naive p, p, Holm's p, dz


@dataclass(frozen=True)
class Evidence:
    """Everything that can be chosen from: scores, tables and records of runs that are stored.

    Attributes
    ----------
    designs : tuple of Design
    tables : DataFrame
        Both long tables of all designs.
    records : DataFrame
        From :func:`~cdgkd_utils.results.explorer.run_records`, of all designs.
    """

    designs: tuple[Design, ...]
    tables: pd.DataFrame
    records: pd.DataFrame
    _seen: dict[tuple[str, Choice], pd.DataFrame] = field(default_factory=dict, repr=False, compare=False)

    def intervals(self, choice: Choice) -> pd.DataFrame:
        """:func:`~cdgkd_utils.results.explorer.chosen_intervals`, computed once."""
        if ("intervals", choice) not in self._seen:
            self._seen["intervals", choice] = chosen_intervals(self.tables, choice)
        return self._seen["intervals", choice]

    def differences(self, choice: Choice) -> pd.DataFrame:
        """:func:`~cdgkd_utils.results.explorer.chosen_differences`, computed once."""
        if ("differences", choice) not in self._seen:
            self._seen["differences", choice] = chosen_differences(self.designs, choice)
        return self._seen["differences", choice]

    def metrics(self) -> list[str]:
        """Scores that some run has, in their usual order."""
        present = set(pd.concat([design.scores["metric"] for design in self.designs]))
        return [metric for metric in METRIC_NAMES if metric in present and metric != "majority"]

    def protocols(self) -> list[str]:
        """Protocols of the scores, in order."""
        return in_order(protocol for design in self.designs for protocol in design.protocols)


def explorer_figure(evidence: Evidence, choice: Choice) -> Figure:
    """Intervals of the chosen rows, and beside them the reference minus each of them, with p values.

    Parameters
    ----------
    evidence : Evidence
    choice : Choice

    Returns
    -------
    Figure
        In %, and in percentage points; bars are 95 % intervals. ``naive`` is the p value of an ordinary t test over
        runs, ``p`` that of the test that allows for what runs share, ``Holm`` the same corrected for all differences
        shown, dz the mean difference over its standard deviation.

    Raises
    ------
    ValueError
        There is no such data, or the reference has no run.
    """
    means, differences = evidence.intervals(choice), evidence.differences(choice)
    rows, protocols = choice.rows, in_order(means["protocol"])
    height = ROW * (len(rows) + 0.6)
    total = height + sum(MARGINS)
    figure = fixed_figure(10.5, total)
    left, right = (figure.add_axes((x, MARGINS[0] / total, 0.27, height / total)) for x in (0.16, 0.46))
    for number, protocol in enumerate(protocols):
        shift = (number - (len(protocols) - 1) / 2) * 0.36
        mine = differences[differences["protocol"] == protocol]
        _bars(left, means[means["protocol"] == protocol], rows, protocol, shift)
        _bars(right, mine, rows, protocol, shift)
        _numbers(right, mine, rows, protocol, shift)
    if choice.metric in WITH_CHANCE:
        chance_line(left, vertical=True)
    right.axvline(0, color=COLOURS["chance"], linewidth=1, zorder=1)
    for ax in (left, right):
        ax.set(ylim=(len(rows) - 0.3, -0.9), yticks=range(len(rows)))
        ax.grid(axis="x")
    left.set_yticklabels([_named(row, means) for row in rows])
    right.set_yticklabels([])
    left.set_xlabel(textwrap.fill(f"{METRIC_NAMES[choice.metric]} (%)", 34))
    lower = ", lower is better" if choice.metric in LOWER_IS_BETTER else ""
    right.set_xlabel(f"{display_name(choice.reference)} minus row\n(percentage points{lower})")
    _line(right, -0.75, NUMBERS.format("naive", "p", "Holm", "dz"), "black")
    design = next(one for one in evidence.designs if one.layout == choice.dataset)
    done = f"{means['n_runs'].max()} of {means['n_expected'].max()} runs"
    said = (
        f"Table {choice.table} ({TABLE_TITLES[choice.table]}), {choice.target}; {DATASET_NAMES[choice.dataset]} columns"
    )
    figure.text(0.01, 1 - 0.22 / total, f"{said}; {design.data}, profile {design.profile}, {done}", fontsize=9.5)
    figure.legend(*left.get_legend_handles_labels(), loc="lower left", bbox_to_anchor=(0.0, 0.0), ncols=4)
    return figure


def explorer_alt(evidence: Evidence, choice: Choice) -> str:
    """What :func:`explorer_figure` shows, with its numbers."""
    means = evidence.intervals(choice)
    said = "; ".join(
        f"{PROTOCOL_NAMES[protocol]}: "
        + ", ".join(f"{display_name(row.method)} {row.cell}" for row in part.itertuples())
        for protocol, part in means.groupby("protocol", sort=False)
    )
    p = evidence.differences(choice)["p_holm"]
    smallest = "no p value is defined" if p.isna().all() else f"the smallest corrected p is {p.min():.3f}"
    return (
        f"Dots with intervals of {METRIC_NAMES[choice.metric]} for {len(choice.rows)} rows of table {choice.table}, "
        f"{choice.target}. {said}. Beside them {display_name(choice.reference)} minus each row; {smallest}."
    )


def _bars(ax: Axes, part: pd.DataFrame, rows: list[str], protocol: str, shift: float) -> None:
    """Means with intervals, one row each; what is not defined is not drawn."""
    part = part[part["mean"].notna()]
    places = np.array([rows.index(method) for method in part["method"]]) + shift
    mean = part["mean"].to_numpy(dtype=float)
    bars = np.nan_to_num(np.stack([mean - part["low"].to_numpy(float), part["high"].to_numpy(float) - mean]))
    style = {"color": _shade(protocol), "marker": MARKERS.get(protocol, "o"), "linestyle": "none", "linewidth": 1.2}
    ax.errorbar(mean, places, xerr=bars, label=PROTOCOL_NAMES[protocol], markersize=5, **style)


def _numbers(ax: Axes, part: pd.DataFrame, rows: list[str], protocol: str, shift: float) -> None:
    for row in part.itertuples():
        dz = "–" if np.isnan(row.dz) else f"{row.dz:.2f}"
        text = NUMBERS.format(p_text(row.p_naive), p_text(row.p), p_text(row.p_holm), dz)
        _line(ax, rows.index(row.method) + shift, text, _shade(protocol))


def _line(ax: Axes, place: float, text: str, shade: str) -> None:
    """Numbers beside a row, in columns."""
    where = {"transform": ax.get_yaxis_transform(), "va": "center", "family": "monospace", "fontsize": 7.5}
    ax.text(1.02, place, text, color=shade, **where)


def _named(method: str, means: pd.DataFrame) -> str:
    """A row's name, with the runs done where some are missing."""
    mine = means[means["method"] == method]
    done, expected = int(mine["n_runs"].min()), int(mine["n_expected"].max())
    return display_name(method) + ("" if done == expected else f" ({done} of {expected})")


def p_text(value: float) -> str:
    """A p value with three digits."""
    return "–" if np.isnan(value) else "<0.001" if value < 0.001 else f"{value:.3f}"


def _shade(protocol: str) -> str:
    return COLOURS["leak"] if "LEAKY" in protocol else COLOURS.get(f"test_{protocol}", COLOURS["trial"])
