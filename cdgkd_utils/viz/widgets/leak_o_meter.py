"""The leak-o-meter: what a protocol keeps apart, what its parts share, and the accuracy that comes of it."""

from __future__ import annotations

from collections.abc import Mapping

import ipywidgets
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ...data.splits.audit import audit
from ...data.splits.protocols import LEAKY, Fold
from ...data.splits.split import trial_ids
from ..splits import split_diagram
from ..steps import left_html
from ..style import COLOURS, chance_line, colour
from .fixed import fixed_figure
from .panel import Panel

LABELS = {"true": "true labels", "permuted": "permuted labels"}
DEALT = {
    "window": "single windows are dealt",
    "trial": "whole trials are dealt",
    "subject": "whole subjects are dealt",
}
SQUARES = ("train", "validation", "test", "in two parts", "not used")


def shared_units(index: pd.DataFrame, fold: Fold) -> pd.DataFrame:
    """What stands in the test part and, of it, also in the training part: the certificate in numbers.

    Parameters
    ----------
    index : DataFrame
        One row per window, with ``subject``, ``trial`` and ``stimulus``.
    fold : Fold

    Returns
    -------
    DataFrame
        By unit (``windows, trials, subjects, stimuli``): ``test`` and ``shared``, both counts.
    """
    units = {
        "windows": np.arange(len(index)),
        "trials": trial_ids(index),
        "subjects": index["subject"].to_numpy(),
        "stimuli": index["stimulus"].to_numpy(),
    }
    rows = {
        name: {
            "test": len(np.unique(values[fold.test])),
            "shared": len(np.intersect1d(values[fold.test], values[fold.train])),
        }
        for name, values in units.items()
    }
    return pd.DataFrame(rows).T


def reading(scores: pd.DataFrame, protocol: str, labels: str) -> pd.DataFrame:
    """The folds of one protocol with one kind of labels.

    Parameters
    ----------
    scores : DataFrame
        ``protocol, labels, fold, accuracy, same_trial``, the last two as shares, 0 .. 1.
    protocol, labels : str

    Raises
    ------
    ValueError
        There are none.
    """
    for name, value in (("protocol", protocol), ("labels", labels)):
        if value not in set(scores[name]):
            raise ValueError(f"{name}: expected one of {', '.join(scores[name].unique())}, got {value!r}")
    return scores[(scores["protocol"] == protocol) & (scores["labels"] == labels)]


def leak_figure(
    index: pd.DataFrame, folds: Mapping[str, Fold], scores: pd.DataFrame, majority: float, protocol: str, labels: str
) -> Figure:
    """Who trains and who is tested in one fold, what both share, and the accuracy over the folds.

    Parameters
    ----------
    index : DataFrame
        As in :func:`shared_units`.
    folds : mapping of str to Fold
        The fold that is drawn, by protocol.
    scores : DataFrame
        As in :func:`reading`.
    majority : float
        Share of the commoner class, 0 .. 1.
    protocol : str
        A name in `folds`.
    labels : {"true", "permuted"}

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        The protocol or the labels are not in `scores`.
    """
    shown = reading(scores, protocol, labels)
    figure = fixed_figure(10.5, 3.9)
    split_diagram(index, folds[protocol].parts(), figure.add_axes((0.06, 0.2, 0.46, 0.7)))
    meter = figure.add_axes((0.59, 0.2, 0.12, 0.7))
    _meter(meter, {labels: shown}, majority)
    figure.legend(*meter.get_legend_handles_labels(), loc="lower center", bbox_to_anchor=(0.66, 0.0), ncols=2)
    _certificate(figure.add_axes((0.76, 0.2, 0.23, 0.7)), shared_units(index, folds[protocol]), shown)
    return figure


def leak_static(index: pd.DataFrame, folds: Mapping[str, Fold], scores: pd.DataFrame, majority: float) -> Figure:
    """All positions of the leak-o-meter beside each other; parameters as in :func:`leak_figure`."""
    figure = fixed_figure(10.5, 6.6)
    column = 0.95 / len(folds)
    width = column - 0.05
    for place, (name, fold) in enumerate(folds.items()):
        left = 0.06 + place * column
        above = split_diagram(index, fold.parts(), figure.add_axes((left, 0.56, width, 0.37)))
        above.get_legend().remove()
        above.set(title=f"{fold.label}: {DEALT.get(name, '')}", xlabel="trial", ylabel="" if place else "subject")
        kinds = {kind: reading(scores, name, kind) for kind in scores["labels"].unique()}
        meter = figure.add_axes((left, 0.08, 0.42 * width, 0.31))
        _meter(meter, kinds, majority)
        if place:
            meter.set_ylabel("")
        beside = figure.add_axes((left + 0.46 * width, 0.08, 0.54 * width, 0.31))
        _certificate(beside, shared_units(index, fold), kinds["true"])
    lines, names = meter.get_legend_handles_labels()
    figure.legend([*_squares(), *lines], [*SQUARES, *names], loc="center", bbox_to_anchor=(0.5, 0.465), ncols=7)
    return figure


def leak_alt(scores: pd.DataFrame, protocol: str, labels: str) -> str:
    """What the picture of :func:`leak_figure` says, in one sentence."""
    shown = reading(scores, protocol, labels)
    return (
        f"Protocol {protocol}, {LABELS.get(labels, labels)}: mean test accuracy {_percent(shown['accuracy'])} over "
        f"{len(shown)} folds; {_percent(shown['same_trial'])} of the test windows have their nearest face in a "
        "training window of the same trial. A grid of subjects and trials shows which part holds each trial."
    )


def leak_panel(index: pd.DataFrame, labels: np.ndarray, folds: Mapping[str, Fold], scores: pd.DataFrame) -> Panel:
    """The leak-o-meter: protocol and labels to choose, the audit of the split below the picture.

    Parameters
    ----------
    index, folds, scores
        As in :func:`leak_figure`.
    labels : ndarray, shape (n_windows,)
        The true ones, for the audit and the majority's share.
    """
    majority = majority_share(labels)
    audits = {name: audit(index, fold, labels) for name, fold in folds.items()}

    def draw(protocol: str, labels: str) -> tuple[Figure, str]:
        return leak_figure(index, folds, scores, majority, protocol, labels), findings_html(audits[protocol])

    words = {"description_width": "initial"}
    controls = {
        "protocol": ipywidgets.ToggleButtons(
            options=[(f"{name}s", name) for name in folds],
            value=next(reversed(folds)),
            description="what is dealt to training and test as a whole",
            style=words,
        ),
        "labels": ipywidgets.ToggleButtons(
            options=[("true", "true"), ("permuted", "permuted")],
            description="labels (permuted: between trials)",
            style=words,
        ),
    }
    return Panel(draw, controls, alt=lambda protocol, labels: leak_alt(scores, protocol, labels))


def majority_share(labels: np.ndarray) -> float:
    """Accuracy of always giving the commoner answer, 0 .. 1."""
    return float(max(np.mean(labels), 1 - np.mean(labels)))


def findings_html(findings: pd.DataFrame) -> str:
    """An audit's findings as a table, leaks first; a sentence where there are none."""
    if findings.empty:
        return "<p>The audit finds nothing.</p>"
    table = findings.sort_values("kind", kind="stable")[["leak", "kind", "parts", "count", "meaning"]]
    return left_html(table.rename(columns={"leak": "the audit finds"}).set_index("the audit finds"))


def _meter(ax: Axes, kinds: Mapping[str, pd.DataFrame], majority: float) -> None:
    """Mean accuracies as bars, in % with a dot per fold; permuted labels are hatched."""
    for place, (kind, shown) in enumerate(kinds.items()):
        values = 100 * shown["accuracy"].to_numpy()
        shade = COLOURS["leak" if shown["protocol"].iloc[0] in LEAKY else "fusion"]
        hatch = "" if kind == "true" else "///"
        ax.bar(place, values.mean(), width=0.7, color=shade, alpha=0.45, hatch=hatch, edgecolor="white", linewidth=0)
        ax.scatter(np.full(len(values), place), values, s=14, color="0.2", zorder=3)
        ax.text(place, values.max() + 3, f"{values.mean():.1f}", ha="center", va="bottom")
    ax.set_xticks(range(len(kinds)), [LABELS.get(kind, kind).replace(" ", "\n") for kind in kinds])
    ax.set(ylim=(0, 112), yticks=range(0, 101, 25), xlim=(-0.6, len(kinds) - 0.4), ylabel="test accuracy (%)")
    ax.set_title(f"mean of {len(values)} folds")
    chance_line(ax)
    ax.axhline(100 * majority, color=COLOURS["chance"], linestyle=":", linewidth=1, label="majority class")


def _certificate(ax: Axes, shared: pd.DataFrame, shown: pd.DataFrame) -> None:
    """What the parts share, as lines of text."""
    ax.axis("off")
    ax.set_title("of the test part, in training")
    for place, (name, row) in enumerate(shared.iterrows()):
        leaks = name in ("windows", "trials") and row["shared"] > 0
        text = f"{row['shared']} of {row['test']} {name}" + (" (LEAK)" if leaks else "")
        weight = "bold" if leaks else "normal"
        ax.text(0, 0.9 - 0.13 * place, text, transform=ax.transAxes, fontsize=8.5, fontweight=weight, va="top")
    same = f"nearest face is of the\nsame trial: {_percent(shown['same_trial'])}"
    ax.text(0, 0.9 - 0.13 * len(shared) - 0.06, same, transform=ax.transAxes, fontsize=8.5, va="top")


def _percent(shares: pd.Series) -> str:
    return f"{100 * shares.mean():.1f} %"


def _squares() -> list[Patch]:
    """Legend handles of the split diagrams."""
    shades = [colour(name, number) for number, name in enumerate(("train", "val", "test"))]
    return [*(Patch(color=shade) for shade in shades), Patch(color=COLOURS["leak"]), Patch(fc="white", ec="0.6")]
