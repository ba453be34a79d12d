"""The student in use: what changes an answer, what an answer hangs on, whether probabilities are true, own clips."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import ipywidgets
import numpy as np
import pandas as pd
from matplotlib.figure import FigureBase
from matplotlib.patches import Rectangle

from ..data.constants import WINDOW_SECONDS
from ..deploy.perturb import GROUPS
from .panel import Panel, picture, whole
from .signals import draw_head
from .style import COLOURS, chance_line, colour

ROLES = {"ta1": "assistant 1", "ta2": "assistant 2"}
SCORES = {"accuracy": "accuracy (%)", "same": "windows answered the same (%)", "moved": "change of P(high) (points)"}
MAX_SHOWN = 12  # windows of a clip whose middle frame stands above the line


@picture(10, 4.2)
def draw_what_if(figure: FigureBase, look: Any) -> None:
    """One window after a change, and what each network says of it."""
    # One picture for all frames: ten axes would take longer than a move may.
    ax, n, size = figure.add_axes((0.02, 0.55, 0.96, 0.38)), len(look.frames), look.frames.shape[1]
    row, where = np.full((size, 2 * n * size, 3), 255, np.uint8), {"ha": "center", "fontsize": 8.5}
    for number, (frame, time, share) in enumerate(zip(look.frames, look.times, look.per_frame, strict=True)):
        left = 2 * number * size + size // 2
        if look.mask[number]:
            row[:, left : left + size] = frame
        else:
            ax.text(left + size / 2, size / 2, "no frame", va="center", color=COLOURS["absent"], **where)
        ax.text(left + size / 2, -0.04 * size, f"{time:.1f} s", va="bottom", **where)
        ax.text(left + size / 2, 1.04 * size, f"{100 * share:.0f} % of the weight", va="top", **where)
        for width, shade in ((size, "0.9"), (share * size, COLOURS["student"])):  # the full bar means 100 %
            ax.add_patch(Rectangle((left, 1.24 * size), width, 0.09 * size, color=shade, linewidth=0))
    ax.imshow(row)
    ax.set(xlim=(0, row.shape[1]), ylim=(1.36 * size, -0.2 * size), aspect="equal")
    ax.axis("off")
    ax.set_title("Frames after the change, and how much of the student's answer hangs on each", y=0.98)
    ax, rows = figure.add_axes((0.1, 0.19, 0.52, 0.26)), np.arange(len(look.after))
    ax.barh(rows, list(look.after.values()), color=[colour(role) for role in look.after], height=0.6)
    before = [look.before[role] for role in look.after]
    ax.plot(before, rows, "o", color="white", markeredgecolor="black", label="before the change")
    chance_line(ax, 0.5, vertical=True, label="undecided")
    if np.isfinite(look.truth):
        ax.axvline(look.truth, color=COLOURS["high"], linestyle=":", linewidth=1.6, label="true P(high)")
    ax.set_yticks(rows, [ROLES.get(role, role) for role in look.after])
    ax.set(xlim=(0, 1), ylim=(len(rows) - 0.5, -0.5), xlabel="P(high)")
    ax.legend(loc="upper left", bbox_to_anchor=(0, -0.34), ncols=3, handlelength=1.4, columnspacing=1.0)
    ax.set_title(f"P(high) after the change; the label is {'high' if look.label else 'low'}")
    if look.per_channel is not None:
        head = figure.add_axes((0.69, 0.02, 0.24, 0.42))
        image = draw_head(head, 100 * look.per_channel, (0, 100 * float(look.per_channel.max())), "Blues")
        head.set_title("teacher: weight of each EEG channel (%)", loc="center")
        figure.colorbar(image, cax=figure.add_axes((0.95, 0.06, 0.01, 0.32)))


def what_if(answers: Any) -> Panel:
    """Part: change a window's pictures or its EEG and see who is impressed. Example: ``cd.plot.what_if(what_if)``."""

    def real(value: float, high: float, step: float, text: str) -> ipywidgets.FloatSlider:
        return ipywidgets.FloatSlider(value, min=0, max=high, step=step, description=text, layout={"width": "300px"})

    parts = [("nothing", "none"), ("upper face", "upper"), ("lower face", "lower"), ("a box", "box")]
    controls = {
        "window": whole(0, 0, len(answers.rows) - 1, 1, "window"),
        "part": ipywidgets.Dropdown(options=parts, description="cover"),
        "share": whole(50, 0, 100, 5, "how much (%)"),
        "x": whole(50, 0, 100, 5, "box from left (%)"),
        "y": whole(50, 0, 100, 5, "box from top (%)"),
        "lost": whole(0, 0, 5, 1, "frames lost"),
        "blur": real(0, 8, 0.5, "blur (% of edge)"),
        "brightness": whole(0, -150, 150, 10, "light (grey levels)"),
        "contrast": real(1, 2, 0.1, "contrast (factor)"),
        "delay": whole(0, 0, 1600, 100, "video late (ms)"),
    }
    if any({"eeg", "signal"} & set(network.inputs) for network in answers.networks.values()):
        controls |= {
            "loose": ipywidgets.Dropdown(options=list(GROUPS), description="loose electrodes"),
            "blinks": whole(0, 0, 200, 25, "blinks (µV)"),
            "noise": whole(0, 0, 30, 1, "EEG noise (µV)"),
        }
    look = lru_cache(maxsize=4)(answers.look)

    @picture(*draw_what_if.size)
    def draw(figure: FigureBase, window: int = 0, **change: Any) -> None:
        draw_what_if(figure, look(window, **change))

    settings = {"as it is": {}, "lower face covered": {"part": "lower", "share": 45}, "darker": {"brightness": -100}}
    return Panel(draw, controls, static=settings)


@picture(9.6, lambda table, *_, **__: 2.2 * -(-table["change"].nunique() // 4) + 0.6)
def draw_sweep(figure: FigureBase, table: pd.DataFrame, score: str = "accuracy") -> None:
    """A score of each network against the strength of each change. Example: ``cd.plot.draw_sweep(table, "moved")``."""
    names = list(dict.fromkeys(table["change"]))
    n_rows = -(-len(names) // 4)
    axes, height = figure.subplots(n_rows, 4, sharey=True, squeeze=False).flat, 2.2 * n_rows + 0.6
    edges = {"left": 0.08, "right": 0.99, "top": 1 - 0.25 / height, "bottom": 0.85 / height}
    figure.subplots_adjust(**edges, hspace=0.62, wspace=0.12)
    for ax, name in zip(axes, names, strict=False):
        mine = table[table["change"] == name]
        for role, line in mine.groupby("role", sort=False):
            style = {"linewidth": 2.4 if role == "student" else 1.4, "marker": "o", "markersize": 3.5}
            ax.plot(line["strength"], 100 * line[score], color=colour(role), label=ROLES.get(role, role), **style)
        if score == "accuracy":
            chance_line(ax)
        ax.set(title=name, xlabel=mine["unit"].iloc[0], xticks=sorted(set(mine["strength"])))
    for ax in list(axes)[len(names) :]:
        ax.axis("off")
    figure.supylabel(SCORES[score], fontsize=9, x=0.005)
    entries = figure.axes[0].get_legend_handles_labels()
    figure.legend(*entries, loc="lower center", ncols=len(entries[1]))


@picture(6.4, 3.2)
def draw_reliability(figure: FigureBase, labels: np.ndarray, answers: Mapping[str, np.ndarray]) -> None:
    """Observed against predicted P(high) in ten bins. Example: ``cd.plot.draw_reliability(y, {"student": p})``."""
    from sklearn.calibration import calibration_curve

    ax = figure.add_axes((0.08, 0.15, 0.42, 0.75))
    ax.plot([0, 1], [0, 1], color=COLOURS["chance"], linestyle="--", linewidth=1, label="true probabilities")
    for (name, p), shape in zip(answers.items(), ("o-", "s--", "^:", "D-."), strict=False):
        observed, predicted = calibration_curve(labels, p, n_bins=10, strategy="quantile")
        ax.plot(predicted, observed, shape, label=name)
    ax.set(xlim=(0, 1), ylim=(0, 1), xlabel="predicted P(high)", ylabel="observed share of high", aspect="equal")
    ax.set_title("On the line, a probability means what it says")
    ax.legend(loc="upper left", bbox_to_anchor=(1.02, 1))


@picture(lambda frames, *_, **__: 2.0 * len(frames) + 1.0, 2.3)
def draw_face_maps(figure: FigureBase, frames: Sequence, maps: Sequence, titles: Sequence[str]) -> None:
    """Faces under what covering each box changes. Example: ``cd.plot.draw_face_maps([face], [a_map], ["0.71"])``."""
    axes, width = figure.subplots(1, len(frames), squeeze=False)[0], 2.0 * len(frames) + 1.0
    figure.subplots_adjust(left=0.02, right=1 - 1.0 / width, top=0.86, bottom=0.04, wspace=0.08)
    most = max(float(np.abs(one).max()) for one in maps) or 1.0
    for ax, frame, one, title in zip(axes, frames, maps, titles, strict=True):
        place = {"extent": (0, frame.shape[1], frame.shape[0], 0)}
        ax.imshow(frame.mean(axis=2), cmap="gray", **place)
        image = ax.imshow(one, cmap="PuOr", vmin=-most, vmax=most, alpha=0.65, **place)
        ax.set_title(title, loc="center")
        ax.axis("off")
    bar = figure.add_axes((1 - 0.85 / width, 0.12, 0.12 / width, 0.66))
    figure.colorbar(image, cax=bar).set_label("P(high) it carries")


@picture(9.6, 3.9)
def draw_clip(figure: FigureBase, name: str, frames, mask, p_high, target: str = "", truth: float = np.nan) -> None:
    """The middle frame of each window of a clip above P(high) over time (NaN: no answer)."""
    n = len(p_high)
    shown = np.unique(np.linspace(0, n - 1, min(n, MAX_SHOWN)).round().astype(int))
    for place, window in enumerate(shown):
        ax, there = figure.add_axes((0.06 + 0.93 * place / len(shown), 0.62, 0.9 / len(shown), 0.3)), mask[window]
        if there.any():
            some = np.flatnonzero(there)
            ax.imshow(frames[window, some[len(some) // 2]])
        else:
            ax.text(0.5, 0.5, "no face", ha="center", va="center", color=COLOURS["absent"])
            ax.set_aspect("equal")
        ax.set_title(f"{WINDOW_SECONDS * window:.0f}–{WINDOW_SECONDS * (window + 1):.0f} s", loc="center", fontsize=8)
        ax.axis("off")
    ax, edges = figure.add_axes((0.06, 0.2, 0.93, 0.35)), WINDOW_SECONDS * np.arange(n + 1)
    ax.stairs(p_high, edges, baseline=None, color=COLOURS["student"], linewidth=2.4, label="student")
    chance_line(ax, 0.5, label="undecided")
    if np.isfinite(truth):
        ax.axhline(truth, color=COLOURS["high"], linestyle=":", label="true P(high) of this synthetic clip")
    ax.set(xlim=(0, edges[-1]), ylim=(0, 1), xlabel="time (s)", ylabel=f"P(high {target})".replace(" )", ")"))
    figure.text(0.06, 0.955, name)
    ax.legend(loc="upper left", bbox_to_anchor=(0, -0.28), ncols=3)


def own_clip(answer: Callable, target: str = "", example: tuple | None = None, truth: float = np.nan) -> Panel:
    """Part: a clip of one's own, answered at the press of a button; `example` is one that is shown before.

    ``answer(content, name)`` gives name, frames, mask and P(high). Example: ``lab.own_clip(one, clip)``.
    """
    shown = {"last": (*example, target, truth) if example is not None else None}

    @picture(*draw_clip.size)
    def draw(figure: FigureBase, clip: Any) -> None:
        if shown["last"] is None:
            raise ValueError("there is no clip yet; choose one, then ask the student")
        draw_clip(figure, *shown["last"])

    def ask(tell: Callable[[float, str], None], clip: Any) -> None:
        if not clip:
            raise ValueError("there is no clip yet; choose one first")
        tell(0.1, f"reading {clip[0]['name']}")
        shown["last"] = (*answer(bytes(clip[0]["content"]), clip[0]["name"]), target)

    upload = ipywidgets.FileUpload(accept="video/*", multiple=False, description="choose a clip")
    static = None if example is None else lambda: draw_clip(*example, target, truth)
    return Panel(draw, {"clip": upload}, button=("Ask the student", ask), static=static)
