"""The what-if bench: one window and what four networks say about it, before and after something is changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache
from typing import Protocol

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..signals import electrode_positions
from ..style import COLOURS
from .fixed import fixed_figure
from .panel import Panel

ROLE_NAMES = {"teacher": "teacher", "ta1": "assistant 1", "ta2": "assistant 2", "student": "student"}


class Look(Protocol):
    """What is drawn of one window: the attributes of :class:`cdgkd_utils.deploy.bench.Look`."""

    frames: np.ndarray
    mask: np.ndarray
    times: np.ndarray
    before: Mapping[str, float]
    after: Mapping[str, float]
    per_frame: np.ndarray
    per_channel: np.ndarray | None
    label: int
    truth: float


def answer_bars(before: Mapping[str, float], after: Mapping[str, float], ax: Axes, truth: float = float("nan")) -> Axes:
    """P(high) of each network after a change (bar), and before it (open circle).

    Parameters
    ----------
    before, after : mapping of str to float
        By role, in the order to be drawn.
    ax : Axes
    truth : float
        The true P(high), drawn as a dotted line; NaN where nobody knows it.

    Raises
    ------
    ValueError
        The two do not hold the same roles.
    """
    if list(before) != list(after):
        raise ValueError(f"before and after: expected the same networks, got {list(before)} and {list(after)}")
    rows = np.arange(len(after))
    ax.barh(rows, list(after.values()), color=[COLOURS[role] for role in after], height=0.6)
    ax.plot(list(before.values()), rows, "o", color="white", markeredgecolor="black", label="before")
    ax.axvline(0.5, color=COLOURS["chance"], linestyle="--", linewidth=1, label="undecided")
    if np.isfinite(truth):
        ax.axvline(truth, color=COLOURS["high"], linestyle=":", linewidth=1.6, label="true P(high)")
    ax.set_yticks(rows, [ROLE_NAMES.get(role, role) for role in after])
    ax.set(xlim=(0, 1), ylim=(len(after) - 0.5, -0.5), xlabel="P(high)")
    ax.legend(loc="upper left", bbox_to_anchor=(0, -0.28), ncols=3, handlelength=1.4, columnspacing=1.0)
    return ax


def head_map(shares: np.ndarray, ax: Axes) -> Axes:
    """Shares of 28 EEG channels as dots on a head seen from above, nose up; the area of a dot is its share.

    Parameters
    ----------
    shares : ndarray, shape (28,)
        In ``constants.CHANNELS`` order.
    ax : Axes
    """
    if np.shape(shares) != (28,):
        raise ValueError(f"shares: expected one number for each of 28 channels, got shape {np.shape(shares)}")
    ax.add_patch(plt.Circle((0, 0), 1, fill=False, color="0.4", linewidth=1.2))
    ax.plot([-0.1, 0, 0.1], [0.995, 1.1, 0.995], color="0.4", linewidth=1.2)
    ax.scatter(*_places().T, s=2500 * np.asarray(shares), color=COLOURS["eeg"], alpha=0.75, linewidth=0)
    ax.scatter(*_places().T, s=3, color="0.3")
    ax.set(aspect="equal", xlim=(-1.15, 1.15), ylim=(-1.1, 1.2))
    ax.axis("off")
    return ax


@cache
def _places() -> np.ndarray:
    return electrode_positions()


def what_if_figure(look: Look) -> Figure:
    """One window after a change: its frames and their weight, what each network says, where the EEG counts."""
    # Places by hand and one picture for all frames: a layout engine and ten axes would take longer than a move may.
    figure = fixed_figure(10, 4.4)
    strip = figure.add_axes((0.02, 0.56, 0.96, 0.38))
    n, size = len(look.frames), look.frames.shape[1]
    step = 2 * size
    row = np.full((size, n * step, 3), 255, np.uint8)
    for number, (frame, time, share) in enumerate(zip(look.frames, look.times, look.per_frame, strict=True)):
        left = number * step + size // 2
        if look.mask[number]:
            row[:, left : left + size] = frame
        else:
            strip.text(left + size / 2, size / 2, "no frame", ha="center", va="center", color=COLOURS["absent"])
        strip.text(left + size / 2, -0.04 * size, f"{time:.1f} s", ha="center", va="bottom")
        strip.text(left + size / 2, 1.04 * size, f"{100 * share:.0f} % of the weight", ha="center", va="top")
        # The bar's full length is the width of a frame and means 100 %.
        for width, colour in ((size, "0.9"), (share * size, COLOURS["student"])):
            strip.add_patch(plt.Rectangle((left, 1.24 * size), width, 0.09 * size, color=colour, linewidth=0))
    strip.imshow(row)
    strip.set(xlim=(0, n * step), ylim=(1.36 * size, -0.2 * size), aspect="equal")
    strip.axis("off")
    figure.text(0.03, 0.965, "Frames after the change, and how much of the student's answer hangs on each")
    bars = figure.add_axes((0.10, 0.19, 0.52, 0.27))
    answer_bars(look.before, look.after, bars, look.truth)
    bars.set_title(f"P(high) after the change; the label is {'high' if look.label else 'low'}")
    if look.per_channel is not None:
        head = figure.add_axes((0.66, 0.03, 0.32, 0.42))
        head_map(look.per_channel, head)
        figure.text(0.82, 0.475, "teacher: weight of each EEG channel", ha="center", fontsize=9.5)
    return figure


def what_if_alt(look: Look) -> str:
    """What :func:`what_if_figure` shows, in words."""
    said = [f"{ROLE_NAMES.get(r, r)} {look.before[r]:.2f} to {look.after[r]:.2f}" for r in look.after]
    turned = [ROLE_NAMES.get(r, r) for r in look.after if (look.before[r] > 0.5) != (look.after[r] > 0.5)]
    return (
        f"{int(np.sum(look.mask))} of {len(look.mask)} face frames of one window and four bars. P(high): "
        f"{', '.join(said)}. {', '.join(turned) or 'Nobody'} changed the answer; the label is "
        f"{'high' if look.label else 'low'}."
    )


def what_if_static(looks: Mapping[str, Look]) -> Figure:
    """One window under several changes side by side: a frame above, four answers below.

    Parameters
    ----------
    looks : mapping of str to Look
        By the name of the change; up to about six.
    """
    figure, axes = plt.subplots(
        2, len(looks), figsize=(1.75 * len(looks) + 0.6, 3.9), sharey="row", squeeze=False, height_ratios=(1, 1.15)
    )
    for (name, look), (top, bars) in zip(looks.items(), axes.T, strict=True):
        shown = np.flatnonzero(look.mask)
        _picture(top, look.frames[shown[0] if len(shown) else 0], bool(len(shown)))
        top.set_title(name, loc="center", fontsize=9)
        answer_bars(look.before, look.after, bars, look.truth)
        bars.get_legend().remove()
    handles, labels = axes[1, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def face_maps(frames: Sequence[np.ndarray], maps: Sequence[np.ndarray], titles: Sequence[str]) -> Figure:
    """Faces under the change of the student's P(high) that covering each box makes.

    Parameters
    ----------
    frames : sequence of ndarray, shape (size, size, 3), uint8
    maps : sequence of ndarray, shape (n_boxes, n_boxes)
        P(high) as it is minus P(high) with the box covered.
    titles : sequence of str

    Raises
    ------
    ValueError
        Not one map and one title for each frame.
    """
    if not len(frames) == len(maps) == len(titles) > 0:
        raise ValueError(
            f"maps and titles: expected one per frame, got {len(frames)} frames, {len(maps)}, {len(titles)}"
        )
    figure, axes = plt.subplots(1, len(frames), figsize=(2.0 * len(frames) + 0.9, 2.4), squeeze=False)
    largest = max(float(np.abs(one).max()) for one in maps) or 1.0
    for ax, frame, one, title in zip(axes[0], frames, maps, titles, strict=True):
        extent = (0, frame.shape[1], frame.shape[0], 0)
        ax.imshow(frame.mean(axis=2), cmap="gray", extent=extent)
        image = ax.imshow(one, cmap="PuOr", vmin=-largest, vmax=largest, alpha=0.65, extent=extent)
        ax.set_title(title, loc="center")
        ax.axis("off")
    figure.colorbar(image, ax=list(axes[0]), shrink=0.8, label="share of P(high) it carries")
    return figure


def what_if_panel(look: Callable[..., Look], n_windows: int, groups: Sequence[str], *, with_eeg: bool = True) -> Panel:
    """Controls for everything that can be changed, above :func:`what_if_figure`.

    Parameters
    ----------
    look : callable
        From the window's number and the changes by name to what is drawn; ``Bench.look``.
    n_windows : int
    groups : sequence of str
        Of EEG channels that come loose together, "none" first.
    with_eeg : bool
        Whether a network reads EEG; without, its controls are left out.
    """

    def slider(kind: type, value: float, low: float, high: float, step: float, text: str) -> ipywidgets.Widget:
        return kind(value=value, min=low, max=high, step=step, description=text, continuous_update=False, **_WIDE)

    whole, real = ipywidgets.IntSlider, ipywidgets.FloatSlider
    parts = [("nothing", "none"), ("upper face", "upper"), ("lower face", "lower"), ("a box", "box")]
    controls = {
        "window": slider(whole, 0, 0, n_windows - 1, 1, "window"),
        "part": ipywidgets.Dropdown(options=parts, value="none", description="cover", **_WIDE),
        "share": slider(whole, 50, 0, 100, 5, "how much (%)"),
        "x": slider(whole, 50, 0, 100, 5, "box from left (%)"),
        "y": slider(whole, 50, 0, 100, 5, "box from top (%)"),
        "lost": slider(whole, 0, 0, 5, 1, "frames lost"),
        "blur": slider(real, 0, 0, 8, 0.5, "blur (% of edge)"),
        "brightness": slider(whole, 0, -150, 150, 10, "light (grey levels)"),
        "contrast": slider(real, 1, 0, 2, 0.1, "contrast (factor)"),
        "delay": slider(whole, 0, 0, 1600, 100, "video late (ms)"),
    }
    if with_eeg:
        controls |= {
            "loose": ipywidgets.Dropdown(options=list(groups), value="none", description="loose electrodes", **_WIDE),
            "blinks": slider(whole, 0, 0, 200, 25, "blinks (µV)"),
            "noise": slider(whole, 0, 0, 30, 1, "EEG noise (µV)"),
        }

    @lru_cache(maxsize=1)
    def last(**values: float) -> Look:
        return look(values.pop("window"), **values)

    def alt(**values: float) -> str:
        return what_if_alt(last(**values))

    return Panel(lambda **values: what_if_figure(last(**values)), controls, alt=alt)


_WIDE = {"style": {"description_width": "initial"}, "layout": ipywidgets.Layout(width="300px")}


def _picture(ax: Axes, frame: np.ndarray, exists: bool) -> None:
    ax.imshow(frame if exists else np.ones_like(frame, dtype=float))
    if not exists:
        ax.text(0.5, 0.5, "no frame", ha="center", va="center", color=COLOURS["absent"], transform=ax.transAxes)
    ax.axis("off")
