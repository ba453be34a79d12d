"""When a guide helps: worlds by what label and EEG tell of the face, one's own worlds, and two controls on digits."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import FigureBase
from matplotlib.ticker import MaxNLocator

from ..config import EEG_GAIN
from ..data.twin import World
from .panel import Panel, bound, picture, stops, whole
from .style import COLOURS, chance_line

HARM, HELP = COLOURS["student"], COLOURS["eeg"]
GAINS = LinearSegmentedColormap.from_list("gain", [HARM, "#F2F2F2", HELP])
KINDS = {"published": ("o", "published worlds"), "own": ("D", "tried here")}
WEIGHTS = {"shared": "seen by both", "brain": "seen by the brain only", "face": "shown by the face only"}
BORDER = 0.05  # margins below this are too small for a prediction
VERDICTS = {"held": COLOURS["eeg"], "against": COLOURS["student"], "not resolved": COLOURS["ce"]}


@picture(10.5, 4.4)
def draw_worlds(figure: FigureBase, points: pd.DataFrame, here: tuple[float, float] | None = None) -> None:
    """Worlds on the plane of what the label and what the EEG tell of the face, and their gains against the margin.

    `points`: ``world``, ``r_label, r_views`` (correlations with what the face shows, of the label and of the EEG's
    view), ``margin`` (their difference), ``gain`` of a guided student, its error ``se`` (points), ``kind`` ("published"
    or "own"). Example: ``cd.plot.draw_worlds(points, here=(0.4, 0.6))``, a world that is looked at.
    """
    gain, spread = points["gain"].to_numpy(float), 2 * points["se"].fillna(0).to_numpy(float)
    limit = float(np.max(np.abs(gain), initial=2.0))  # smaller gains do not look like large ones
    top = 1.12 * float(np.max(np.abs(gain) + spread, initial=limit))
    plane, against = figure.add_axes((0.062, 0.115, 0.4, 0.755)), figure.add_axes((0.605, 0.115, 0.38, 0.755))
    ends = [0, 0.85]
    plane.fill_between(ends, ends, 1.12, color=HELP, alpha=0.07, linewidth=0)
    plane.fill_between(ends, -0.11, ends, color=HARM, alpha=0.07, linewidth=0)
    plane.plot(ends, ends, color=COLOURS["chance"], linestyle="--", linewidth=1)
    plane.text(0.02, 0.98, "help expected", color=HELP, transform=plane.transAxes, va="top")
    plane.text(0.98, 0.02, "harm expected", color=HARM, transform=plane.transAxes, ha="right")
    plane.set(xlim=ends, ylim=(-0.11, 1.12), title="The rule: above the dashed border, help")
    plane.set(xlabel="what a label tells of the face (correlation)", ylabel="what the EEG tells of the face (corr.)")
    against.fill_between([0, 1.05], 0, top, color=HELP, alpha=0.07, linewidth=0)
    against.fill_between([-0.85, 0], -top, 0, color=HARM, alpha=0.07, linewidth=0)
    against.axhline(0, color=COLOURS["chance"], linestyle="--", linewidth=1)
    against.axvline(0, color=COLOURS["chance"], linestyle="--", linewidth=1)
    against.errorbar(points["margin"], gain, yerr=spread, fmt="none", ecolor=COLOURS["chance"], zorder=2)
    against.set(xlim=(-0.85, 1.05), ylim=(-top, top), title="What came out: in the shaded fields the rule is right")
    against.set(xlabel="margin: EEG minus label", ylabel="gain (points), with 2 standard errors")
    for kind, (shape, words) in KINDS.items():
        some = points[points["kind"] == kind]
        style = {"c": some["gain"], "cmap": GAINS, "vmin": -limit, "vmax": limit, "s": 46}
        style |= {"marker": shape, "edgecolors": "black", "linewidths": 0.8, "zorder": 3}
        plane.scatter(some["r_label"], some["r_views"], label=words if len(some) else None, **style)
        against.scatter(some["margin"], some["gain"], **style)
    _names(plane, points[~points["world"].astype(str).str.contains("/")].drop_duplicates("world"))
    if here is not None:
        star = {"markersize": 15, "markerfacecolor": "none", "markeredgecolor": "black", "linestyle": ""}
        plane.plot(*here, marker="*", clip_on=False, zorder=4, label="the world you have set", **star)
        against.axvline(here[1] - here[0], color="black", linestyle=":", linewidth=1.4)
    shades, place = ScalarMappable(Normalize(-limit, limit), GAINS), figure.add_axes((0.474, 0.115, 0.012, 0.755))
    bar = figure.colorbar(shades, cax=place)
    bar.set_ticks(MaxNLocator(4).tick_values(-limit, limit)[1:-1])
    bar.set_label("gain (points of expected accuracy)")
    figure.legend(*plane.get_legend_handles_labels(), loc="upper center", ncols=3, markerscale=0.8)


def _names(ax: Axes, points: pd.DataFrame) -> None:
    """Names beside points, on alternating sides from below upwards, so that neighbours do not touch."""
    for number, row in enumerate(points.sort_values(["r_views", "r_label"]).itertuples()):
        right = (number % 2 == 0 and row.r_label < 0.6) or row.r_label < 0.2
        where = {"xytext": (7 if right else -7, 0), "textcoords": "offset points", "ha": "left" if right else "right"}
        ax.annotate(row.world, (row.r_label, row.r_views), va="center", fontsize=7.5, zorder=5, **where)


@picture(8, lambda worlds, **_: 0.4 * len(worlds) + 1.1)
def draw_world_shares(figure: FigureBase, worlds: Mapping[str, World]) -> None:
    """What a rating is made of in each world. Example: ``cd.plot.draw_world_shares(cd.WORLDS)``."""
    shares = pd.DataFrame({name: [w.w_shared, w.w_eeg, w.w_video] for name, w in worlds.items()}).T
    shares = shares.set_axis(["shared", "brain only", "face only"], axis=1).assign(chance=1 - shares.sum(axis=1))
    height = 0.4 * len(worlds) + 1.1
    ax = figure.add_axes((0.15, 0.5 / height, 0.83, 1 - 0.95 / height))
    shares.plot.barh(stacked=True, ax=ax, width=0.7, color=[COLOURS[n] for n in ("fusion", "eeg", "video", "train")])
    ax.set(xlim=(0, 1), ylim=(len(worlds) - 0.5, -0.5), xlabel="share of a rating's variance")
    ax.legend(ncols=4, loc="lower center", bbox_to_anchor=(0.45, 1))


@picture(9.5, lambda table, *_, **__: 0.52 * len(table) + 1.0)
def draw_hypotheses(figure: FigureBase, table: pd.DataFrame, other: pd.DataFrame | None = None) -> None:
    """What was expected, what came out; `other`: unseen people. Example: ``cd.plot.draw_hypotheses(t, t2)``."""
    height = 0.52 * len(table) + 1.0
    ax = figure.add_axes((0.42, 0.55 / height, 0.43, 1 - 0.85 / height))
    for place, (name, row) in enumerate(table.iterrows()):
        shade = VERDICTS[row["verdict"]]
        ax.plot([row["low"], row["high"]], [place, place], color=shade, linewidth=2)
        ax.plot(row["mean"], place, "o", color=shade, markersize=8)
        if other is not None:
            same, low = other.loc[name], place + 0.25
            ax.plot([same["low"], same["high"]], [low, low], color=COLOURS["subject"], linewidth=1)
            ax.plot(same["mean"], low, "s", color=COLOURS["subject"], markerfacecolor="white")
        said = {"transform": ax.get_yaxis_transform(), "va": "center", "fontsize": 9}
        ax.text(1.01, place, f"{row['mean']:+.1f} {row['verdict']}", color=shade, **said)
    chance_line(ax, 0, vertical=True)
    labels = [f"{name}: {row['difference']}  (expected {row['expected']})" for name, row in table.iterrows()]
    ax.set_yticks(range(len(table)), labels)
    ax.set(ylim=(len(table) - 0.4, -0.6), xlabel="difference in expected accuracy (points), 95 % interval over seeds")
    ax.set_title("filled: unseen trials of known people" + ("; hollow: unseen people" if other is not None else ""))


def world_of(shared: float, brain: float, face: float, noise: float) -> World:
    """The world of these relative weights, and of chance in a rating as a share."""
    weights = np.array([shared, brain, face], float)
    if not (weights >= 0).all() or not weights.sum() > 0:
        raise ValueError(f"weights: expected 0 or more and at least one above 0, got {shared:g}, {brain:g}, {face:g}")
    return World(*((1 - noise) * weights / weights.sum()).tolist(), EEG_GAIN, "set by hand")


def world_sentence(world: World, row: Mapping[str, Any] | None = None) -> str:
    """A world in words: its shares, the rule's prediction, and what came out if it has been tried."""
    chance = 1 - world.w_shared - world.w_eeg - world.w_video
    sure = "help is expected" if world.margin > 0 else "harm is expected"
    expected = sure if abs(world.margin) >= BORDER else "on the border, neither help nor harm is to be expected"
    said = (
        f"A rating is {world.w_shared:.0%} what both see, {world.w_eeg:.0%} the brain's own, {world.w_video:.0%} the "
        f"face's own and {chance:.0%} chance. Of the face the EEG tells {world.r_views:.2f}, a label "
        f"{world.r_label:.2f}: margin {world.margin:+.2f}, {expected}."
    )
    if row is not None:
        said += " Tried: {alone:.1f} % alone, {taught:.1f} % taught, gain {gain:+.1f} points.".format(**row)
    return said


def world_explorer(simulate: Callable[..., Mapping[str, Any]], published: pd.DataFrame) -> Panel:
    """Part: set what brain and face share, see what is expected, then train two students there.

    ``simulate(w_shared=…, w_eeg=…, w_video=…, tell=…)`` returns a row of :func:`draw_worlds` with ``alone, taught``.
    Example: ``cd.plot.world_explorer(lab.simulate_world, lab.published_worlds()["points"])``.
    """
    tried: dict[tuple[float, ...], dict[str, Any]] = {}

    def shares(world: World) -> dict[str, float]:
        return {name: getattr(world, name) for name in ("w_shared", "w_eeg", "w_video")}

    @picture(*draw_worlds.size)
    def draw(figure: FigureBase, **values: float) -> None:
        world, own = world_of(**values), pd.DataFrame([*tried.values()])
        points = published if own.empty else own if published.empty else pd.concat([published, own], ignore_index=True)
        draw_worlds(figure, points, (world.r_label, world.r_views))

    def text(**values: float) -> str:
        world = world_of(**values)
        return f"<p>{html.escape(world_sentence(world, tried.get(tuple(shares(world).values()))))}</p>"

    def train(tell: Callable[[float, str], None], **values: float) -> None:
        world = shares(world_of(**values))
        if tuple(world.values()) in tried:
            raise ValueError("this world is known: its point is in the picture; move a slider for another one")
        tried[tuple(world.values())] = {**simulate(**world, tell=tell), "kind": "own"}

    start = {"shared": 3, "brain": 3, "face": 3, "noise": 0.4}
    controls = {name: whole(3, 0, 10, 1, f"{words} (weight)", "380px") for name, words in WEIGHTS.items()}
    noise = {"value": 0.4, "min": 0.05, "max": 0.9, "step": 0.05, "layout": {"width": "380px"}}
    controls["noise"] = ipywidgets.FloatSlider(**noise, description="chance in a rating (share)")
    frames = {"one third each, 40 % chance": start, "mostly seen by both": start | {"shared": 10, "noise": 0.6}}
    return Panel(draw, controls, button=("Train two students here", train), text=text, static=frames)


# The method on real images, where its premise is known to hold: rebalancing, and guides whose labels are noisy.
STUDENTS = {"kd": "KD", "takd": "TAKD", "dense": "dense, no drop", "cdgkd": "CDGKD", "kd@eeg": "KD, clean-only guide"}


def _dots(ax: Axes, table: pd.DataFrame, value: str, methods: list[str], shift: float = 0.0, **style) -> pd.DataFrame:
    """Mean and standard error over seeds of each method, one row each."""
    found = table.groupby("method")[value].agg(["mean", "sem"]).reindex(methods)
    place = np.arange(len(methods)) + shift
    ax.errorbar(found["mean"], place, xerr=found["sem"].fillna(0), linestyle="none", markersize=6, **style)
    ax.set(ylim=(len(methods) - 0.5, -0.5), yticks=range(len(methods)))
    ax.grid(axis="x")
    return found


@picture(10, 3.5)
def draw_control_fusion(figure: FigureBase, scores: pd.DataFrame, curves: pd.DataFrame) -> None:
    """Grey digits beside misleading coloured ones. Example: ``cd.plot.draw_control_fusion(*lab.control_fusion())``."""
    methods, panels = list(dict.fromkeys(scores["method"])), sorted(scores["agreement"].unique())
    axes = figure.subplots(1, len(panels) + 1)
    figure.subplots_adjust(left=0.12, right=0.985, top=0.82, bottom=0.15, wspace=0.2)
    for ax, agreement in zip(axes, panels, strict=False):
        mine = scores[scores["agreement"] == agreement]
        for number, optimizer in enumerate(dict.fromkeys(mine["optimizer"])):
            style = {"marker": "os^"[number], "color": COLOURS[("teacher", "student", "eeg")[number]]}
            part = mine[mine["optimizer"] == optimizer]
            style["label"] = {"sgd": "SGD", "adam": "Adam"}.get(optimizer, optimizer)
            _dots(ax, part, "accuracy", methods, 0.24 * number - 0.12, **style)
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
    """What guidance adds to a student of spoilt digits with a share of labels `flipped`."""
    mine = scores[np.isclose(scores["flipped"], flipped)]
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
    """Part: the share of flipped labels to choose. Example: ``cd.plot.control_students(lab.control_students())``."""
    shares = sorted(float(share) for share in scores["flipped"].unique())
    slider = stops([(f"{100 * share:g} %", share) for share in shares], shares[-1], "labels flipped")
    settings = {f"{100 * share:g} % of labels flipped": {"flipped": share} for share in (shares[0], shares[-1])}
    return Panel(bound(draw_control_students, scores), {"flipped": slider}, static=settings)
