"""The tug-of-war player: both modalities' embeddings and prototypes over the epochs of a training, in a fixed frame."""

from __future__ import annotations

import ipywidgets
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ...experiments.panels import MODALITIES, PARTS, History
from ..embeddings import CLASSES
from ..style import COLOURS, chance_line
from ..training import PANELS
from .fixed import FixedFigure
from .panel import Panel
from .scene import Scene, balance_at, strip_epochs

NAMES = {"eeg": "EEG", "video": "video"}
PART_NAMES = dict(zip(PARTS, ("training", "validation"), strict=True))


def _cloud(ax: Axes, scene: Scene, name: str, m: str, frame: int, part: str, size: float = 1.0) -> None:
    """Windows as dots, prototypes as stars with the way they have come."""
    history = scene.histories[name]
    inside, reach = history.parts == part, scene.reach[m]
    for k, label in enumerate(CLASSES):
        xy = scene.points[name, m][frame, inside & (history.labels == k)].clip(-reach, reach)
        ax.scatter(*xy.T, s=9 * size, color=COLOURS[label], marker="os"[k], alpha=0.5, linewidth=0, label=label)
    for k, label in enumerate(CLASSES):
        way = scene.stars[name, m][: frame + 1, k]
        ax.plot(*way.T, color=COLOURS[label], linewidth=1.4 * size)
        star = {"s": 170 * size, "marker": "*", "color": COLOURS[label], "edgecolor": "white", "zorder": 4}
        ax.scatter(*way[-1], **star, label=f"prototype {label}")
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), xticks=[], yticks=[], aspect="equal")


def draw_moment(scene: Scene, epoch: int, part: str = "train") -> Figure:
    """A row per teacher: EEG and video embeddings as `epoch` begins, ratio and weights with a cursor there.

    Parameters
    ----------
    scene : Scene
    epoch : int
    part : {"train", "val"}
        Windows shown.

    Returns
    -------
    Figure
    """
    frame, n_rows = scene.frame(epoch), len(scene.histories)
    height = 2.55 * n_rows + 0.75
    # The layout engine would take longer than the drawing, and move the frame between two epochs.
    fig = FixedFigure(figsize=(10.8, height))
    grid = {"bottom": 0.95 / height, "top": 1 - 0.3 / height, "hspace": 0.2}
    left, right = (
        grid | {"left": 0.03, "right": 0.455, "wspace": 0.15},
        grid | {"left": 0.53, "right": 0.99, "wspace": 0.34},
    )
    axes = np.hstack([fig.subplots(n_rows, 2, squeeze=False, gridspec_kw=half) for half in (left, right)])
    panels = ("imbalance", _second_panel(scene))
    for line, (name, history) in zip(axes, scene.histories.items(), strict=True):
        numbers = balance_at(scene, name, epoch, part)
        for ax, m in zip(line, MODALITIES, strict=False):
            _cloud(ax, scene, name, m, frame, part)
            first, second = 100 * scene.explained[m]
            ax.set_title(f"{name}: {NAMES[m]}, gap {numbers[f'gap_{m}']:.2f}")
            ax.set(xlabel=f"PCA 1 ({first:.0f} % of the variance)", ylabel=f"PCA 2 ({second:.0f} %)")
        _curves(line[2:], panels, history, epoch, numbers)
    for number, column in enumerate(axes.T):
        for ax in column[:-1]:
            ax.tick_params(labelbottom=False)
            ax.set_xlabel("")
        if number > 1:
            _same_limits(column)
        place = column[-1].get_position()
        if number != 1:
            entries = column[0].get_legend_handles_labels()
            options = {"ncols": len(entries[1]), "columnspacing": 1.0, "handlelength": 1.3}
            fig.legend(*entries, loc="lower left", bbox_to_anchor=(place.x0 - 0.02, 0.0), **options)
    return fig


def _second_panel(scene: Scene) -> str:
    """The weights, or the accuracy where no teacher gives any help."""
    helped = any((h.log[["eeg_weight", "video_weight"]] > 0).any(axis=None) for h in scene.histories.values())
    return "weights" if helped else "accuracy"


def _curves(axes: np.ndarray, panels: tuple[str, str], history: History, epoch: int, numbers: dict[str, float]) -> None:
    """Epoch log with a cursor at `epoch`."""
    values = {
        "imbalance": f"ratio {numbers['imbalance_ratio']:.2f}",
        "weights": f"EEG weight {numbers['eeg_weight']:.2f}",
        "accuracy": f"validation {100 * history.log.set_index('epoch')['val_accuracy'][epoch]:.0f} %",
    }
    for ax, panel in zip(axes, panels, strict=True):
        PANELS[panel](ax, history.log)
        ax.axvline(epoch, color=COLOURS["fusion"], linewidth=1.4, zorder=0)
        ax.set(title=f"epoch {epoch}: {values[panel]}", xlabel="epoch (passes)")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))


def _same_limits(axes: np.ndarray) -> None:
    low, high = zip(*(ax.get_ylim() for ax in axes), strict=True)
    for ax in axes:
        ax.set_ylim(min(low), max(high))


def film_strip(scene: Scene, n_frames: int = 6, part: str = "train") -> Figure:
    """The static twin: a row per modality and teacher, a column per epoch, and the curves below.

    Parameters
    ----------
    scene : Scene
    n_frames : int
        Columns at most, evenly spaced from the first frame to the last.
    part : {"train", "val"}

    Returns
    -------
    Figure
    """
    epochs = strip_epochs(scene, n_frames)
    rows = [(m, name) for m in MODALITIES for name in scene.histories]
    # In inches, from the top: a title, the clouds, their legend, the curves.
    side, legend, curves = 1.52, 0.35, 2.3
    height = 0.3 + side * len(rows) + legend + curves
    fig = FixedFigure(figsize=(9.6, height))
    grid = {"left": 0.055, "right": 0.99, "top": 1 - 0.3 / height, "bottom": (legend + curves) / height}
    grid |= {"wspace": 0.05, "hspace": 0.16}
    axes = fig.subplots(len(rows), len(epochs), squeeze=False, gridspec_kw=grid)
    for number, (line, (m, name)) in enumerate(zip(axes, rows, strict=True)):
        for ax, epoch in zip(line, epochs, strict=True):
            _cloud(ax, scene, name, m, scene.frame(epoch), part, size=0.55)
            gap = balance_at(scene, name, epoch, part)[f"gap_{m}"]
            ax.set_title(f"epoch {epoch}, gap {gap:.2f}" if number == 0 else f"gap {gap:.2f}", fontsize=8, pad=3)
        line[0].set_ylabel(f"{NAMES[m]}, {name}", fontsize=8.5)
    fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="center", ncols=4, bbox_to_anchor=(0.5, curves / height))
    below = {"left": 0.055, "right": 0.99, "top": (curves - 0.42) / height, "bottom": 0.45 / height, "wspace": 0.17}
    _strip_curves(fig.subplots(1, 2, gridspec_kw=below), scene, epochs)
    return fig


def _strip_curves(axes: np.ndarray, scene: Scene, epochs: list[int]) -> None:
    """Ratio and, of teachers that get help, the EEG's weight over epochs; else how well both branches are read."""
    columns = ["imbalance_ratio", "eeg_weight"]
    if _second_panel(scene) == "accuracy":
        columns = ["imbalance_ratio", "proto_accuracy_eeg", "proto_accuracy_video"]
    dashes = (":", "-", "--", "-.") if len(scene.histories) > 1 else ("-",)
    for column in columns:
        ax = axes[int(column != "imbalance_ratio")]
        m = next((m for m in MODALITIES if m in column.split("_")), "teacher")
        for dash, (name, history) in zip(dashes, scene.histories.items(), strict=False):
            label = f"{NAMES[m]}, {name}" if column.startswith("proto") else name
            scale = 100 if column.startswith("proto") else 1
            ax.plot(history.log["epoch"], scale * history.log[column], dash, color=COLOURS[m], label=label)
    for ax in axes:
        for epoch in epochs:
            ax.axvline(epoch, color=COLOURS["fusion"], linewidth=0.7, alpha=0.5, zorder=0)
        ax.set_xlabel("epoch (passes; lines: pictures above)")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0].axhline(1.0, color=COLOURS["chance"], linestyle="--", linewidth=1, label="balanced")
    axes[0].set(ylabel="ratio (no unit)", title="Imbalance ratio; above 1: video is ahead")
    if len(columns) == 2:
        axes[1].set(ylabel="loss weight (no unit)", title="EEG weight: the help it gets")
    else:
        chance_line(axes[1])
        axes[1].set(ylabel="accuracy (%)", title="Nearest prototype, training windows")
    for ax in axes:
        ax.legend(fontsize=8)


def tug_of_war_alt(scene: Scene, epoch: int, part: str) -> str:
    """What a moment shows, in words and numbers."""
    told = []
    for name in scene.histories:
        n = balance_at(scene, name, epoch, part)
        told.append(
            f"{name}: the class clouds are {n['gap_eeg']:.2f} (EEG) and {n['gap_video']:.2f} (video) spreads apart, "
            f"imbalance ratio {n['imbalance_ratio']:.2f}, EEG weight {n['eeg_weight']:.2f}"
        )
    return f"Embeddings of {PART_NAMES[part]} windows at the beginning of epoch {epoch}. " + "; ".join(told) + "."


def tug_of_war_panel(scene: Scene) -> Panel:
    """An epoch slider with a play button, and the choice of the windows.

    Parameters
    ----------
    scene : Scene
    """
    epochs = [int(epoch) for epoch in scene.epochs]
    slider = ipywidgets.SelectionSlider(options=epochs, value=epochs[-1], description="epoch", continuous_update=False)
    part = ipywidgets.ToggleButtons(
        options=[(f"{name} windows", part) for part, name in PART_NAMES.items()], style={"button_width": "auto"}
    )
    return Panel(
        lambda epoch, part: draw_moment(scene, epoch, part),
        {"epoch": slider, "part": part},
        alt=lambda epoch, part: tug_of_war_alt(scene, epoch, part),
    )
