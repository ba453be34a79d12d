"""When a guide helps: worlds on the plane of what label and EEG tell of the face, and worlds of one's own."""

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
from .panel import Panel, picture
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
        for ax, x, y in ((plane, "r_label", "r_views"), (against, "margin", "gain")):
            label = words if len(some) and ax is plane else None
            ax.scatter(
                some[x], some[y], marker=shape, edgecolors="black", linewidths=0.8, zorder=3, label=label, **style
            )
    _names(plane, points[~points["world"].astype(str).str.contains("/")].drop_duplicates("world"))
    if here is not None:
        star = {"markersize": 15, "markerfacecolor": "none", "markeredgecolor": "black", "linestyle": ""}
        plane.plot(*here, marker="*", clip_on=False, zorder=4, label="the world you have set", **star)
        against.axvline(here[1] - here[0], color="black", linestyle=":", linewidth=1.4)
    if points.empty:
        against.text(0, 0, "no world has been tried yet", ha="center", va="center", fontsize=10)
    bar = figure.colorbar(
        ScalarMappable(Normalize(-limit, limit), GAINS), cax=figure.add_axes((0.474, 0.115, 0.012, 0.755))
    )
    bar.set_ticks(MaxNLocator(4).tick_values(-limit, limit)[1:-1])
    bar.set_label("gain (points of expected accuracy)")
    handles, names = plane.get_legend_handles_labels()
    if names:
        figure.legend(handles, names, loc="upper center", ncols=3, markerscale=0.8)


def _names(ax: Axes, points: pd.DataFrame) -> None:
    """Names beside points, on alternating sides from below upwards, so that neighbours do not touch."""
    for number, row in enumerate(points.sort_values(["r_views", "r_label"]).itertuples()):
        right = (number % 2 == 0 and row.r_label < 0.6) or row.r_label < 0.2
        where = {"xytext": (7 if right else -7, 0), "textcoords": "offset points", "ha": "left" if right else "right"}
        ax.annotate(row.world, (row.r_label, row.r_views), va="center", fontsize=7.5, zorder=5, **where)


@picture(8, lambda worlds, **_: 0.4 * len(worlds) + 1.1)
def draw_world_shares(figure: FigureBase, worlds: pd.DataFrame) -> None:
    """What a rating is made of in each world: ``w_shared, w_eeg, w_video`` by its name; the rest is chance.

    Example: ``cd.plot.draw_world_shares(lab.world_table())``.
    """
    shares = worlds[["w_shared", "w_eeg", "w_video"]].astype(float)
    shares = shares.set_axis(["shared", "brain only", "face only"], axis=1).assign(chance=1 - shares.sum(axis=1))
    height = 0.4 * len(worlds) + 1.1
    ax = figure.add_axes((0.15, 0.5 / height, 0.83, 1 - 0.95 / height))
    shares.plot.barh(stacked=True, ax=ax, width=0.7, color=[COLOURS[n] for n in ("fusion", "eeg", "video", "train")])
    ax.set(xlim=(0, 1), ylim=(len(worlds) - 0.5, -0.5), xlabel="share of a rating's variance")
    ax.legend(ncols=4, loc="lower center", bbox_to_anchor=(0.45, 1))


@picture(9.5, lambda table, *_, **__: 0.52 * len(table) + 1.0)
def draw_hypotheses(figure: FigureBase, table: pd.DataFrame, other: pd.DataFrame | None = None) -> None:
    """A family of hypotheses: what was expected, what came out, and the verdict; `other`: the same for unseen people.

    Columns ``difference, expected, mean, low, high, verdict``. Example: ``cd.plot.draw_hypotheses(tests, of_people)``.
    """
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
    expected = "help is expected" if world.margin > 0 else "harm is expected"
    if abs(world.margin) < BORDER:
        expected = "on the border, neither help nor harm is to be expected"
    said = (
        f"A rating is {world.w_shared:.0%} what both see, {world.w_eeg:.0%} the brain's own, {world.w_video:.0%} the "
        f"face's own and {chance:.0%} chance. Of the face the EEG tells {world.r_views:.2f}, a label "
        f"{world.r_label:.2f}: margin {world.margin:+.2f}, {expected}."
    )
    tried = (
        ""
        if row is None
        else "Tried: {alone:.1f} % alone, {taught:.1f} % taught, gain {gain:+.1f} points.".format(**row)
    )
    return f"{said} {tried}".strip()


def world_explorer(simulate: Callable[..., Mapping[str, Any]], published: pd.DataFrame) -> Panel:
    """Part: set what brain and face share, see what is expected, then train two students there.

    ``simulate(w_shared=…, w_eeg=…, w_video=…, tell=…)`` returns a row of :func:`draw_worlds` with ``alone, taught``.
    Example: ``cd.plot.world_explorer(lambda **shares: bank.gain(**shares).row(), points)``.
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

    start, wide = {"shared": 3, "brain": 3, "face": 3}, {"layout": {"width": "380px"}}
    controls = {
        name: ipywidgets.IntSlider(start[name], 0, 10, description=f"{words} (weight)", **wide)
        for name, words in WEIGHTS.items()
    }
    noise = {"value": 0.4, "min": 0.05, "max": 0.9, "step": 0.05}
    controls["noise"] = ipywidgets.FloatSlider(**noise, description="chance in a rating (share)", **wide)
    settings = {
        "one third each, 40 % chance": start | {"noise": 0.4},
        "mostly seen by both": start | {"shared": 10, "noise": 0.6},
    }
    return Panel(draw, controls, button=("Train two students here", train), text=text, static=settings)
