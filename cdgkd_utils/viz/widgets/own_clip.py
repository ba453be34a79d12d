"""A clip of one's own: a file or the webcam in, frames and P(high) over time out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from ...data.constants import WINDOW_SECONDS
from ..style import COLOURS
from .panel import Panel

MAX_SHOWN = 12  # windows whose middle frame stands above the line
Answered = tuple[str, np.ndarray, np.ndarray, np.ndarray]  # name, frames, mask, P(high)


def clip_figure(
    name: str,
    frames: np.ndarray,
    mask: np.ndarray,
    p_high: np.ndarray,
    *,
    target: str = "",
    truth: float = float("nan"),
) -> Figure:
    """The middle frame of each window above P(high) over time.

    Parameters
    ----------
    name : str
        Of the clip.
    frames : ndarray, shape (n_windows, 5, size, size, 3), uint8
        Of more than 12 windows, 12 evenly spaced ones are shown.
    mask : ndarray, shape (n_windows, 5), bool
    p_high : ndarray, shape (n_windows,)
        NaN where the student has no answer: a gap.
    target : str
        What is high.
    truth : float
        The true P(high) of a synthetic clip.

    Raises
    ------
    ValueError
        The arrays do not hold the same windows, or none.
    """
    n = len(p_high)
    if n == 0 or not len(frames) == len(mask) == n:
        raise ValueError(
            f"frames, mask and p_high: expected the same windows, got {len(frames)}, {len(mask)} and {n} of them"
        )
    shown = np.unique(np.linspace(0, n - 1, min(n, MAX_SHOWN)).round().astype(int))
    figure = plt.figure(figsize=(9.6, 3.9))
    grid = figure.add_gridspec(2, len(shown), height_ratios=(1, 1.9))
    for place, window in enumerate(shown):
        ax = figure.add_subplot(grid[0, place])
        there = np.flatnonzero(mask[window])
        if len(there):
            ax.imshow(frames[window, there[len(there) // 2]])
        else:
            ax.text(0.5, 0.5, "no face", ha="center", va="center", color=COLOURS["absent"], transform=ax.transAxes)
        ax.set_title(f"{WINDOW_SECONDS * window:.0f}–{WINDOW_SECONDS * (window + 1):.0f} s", loc="center", fontsize=8)
        ax.axis("off")
    line = figure.add_subplot(grid[1, :])
    edges = WINDOW_SECONDS * np.arange(n + 1)
    line.stairs(p_high, edges, baseline=None, color=COLOURS["student"], linewidth=2.4, label="student")
    line.axhline(0.5, color=COLOURS["chance"], linestyle="--", linewidth=1, label="undecided")
    if np.isfinite(truth):
        line.axhline(truth, color=COLOURS["high"], linestyle=":", label="true P(high) of this synthetic clip")
    line.set(xlim=(0, edges[-1]), ylim=(0, 1), xlabel="time (s)", ylabel=f"P(high {target})".replace(" )", ")"))
    line.set_title(name)
    line.legend(loc="upper left", bbox_to_anchor=(0, -0.3), ncols=3)
    return figure


def clip_alt(name: str, p_high: Sequence[float]) -> str:
    """What :func:`clip_figure` shows, in words."""
    known = [p for p in p_high if np.isfinite(p)]
    if not known:
        return f"{name}: no answer in any of {len(p_high)} windows"
    return (
        f"{name}: {len(p_high)} windows of 4 s; P(high) from {min(known):.2f} to {max(known):.2f}, "
        f"above one half in {sum(p > 0.5 for p in known)} of {len(known)}"
    )


def own_clip_panel(
    answer: Callable[[bytes, str], Answered], *, target: str = "", source: ipywidgets.Widget | None = None
) -> Panel:
    """A file (or what `source` recorded) answered at the press of a button.

    Parameters
    ----------
    answer : callable
        From a file's content and name to its name, frames, mask and P(high). A ValueError is shown as one sentence.
    target : str
    source : Widget, optional
        With ``value``: what :class:`ipywidgets.FileUpload` has, or bytes, as a :func:`webcam` has. Default: an upload.
    """
    source = source or ipywidgets.FileUpload(accept="video/*", multiple=False, description="choose a clip")
    answers: dict[str, Answered] = {}

    def draw(clip: Any, tell: Callable[[float, str], None]) -> Figure:
        name, content = _content(clip)
        tell(0.1, f"reading {name}")
        answers["last"] = answer(content, name)
        return clip_figure(*answers["last"], target=target)

    def alt(clip: Any) -> str:
        name, _, _, p_high = answers["last"]
        return clip_alt(name, p_high)

    return Panel(draw, {"clip": source}, alt=alt, button="Ask the student")


def webcam() -> ipywidgets.Widget:
    """A widget that records from the browser's camera on request; its ``value`` is the clip's content.

    Pictures go from the browser to this kernel and nowhere else.

    Raises
    ------
    ValueError
        The package anywidget is not installed.
    """
    if find_spec("anywidget") is None:
        raise ValueError(
            "the webcam needs the package anywidget; run: pip install -e '.[webcam]', or choose a video file"
        )
    from .webcam import Webcam

    return Webcam()


def clip_source() -> tuple[ipywidgets.Widget, str]:
    """The webcam where it can be used, else an upload; and a sentence that says which."""
    try:
        return webcam(), "webcam: press record, wait, then ask the student"
    except ValueError as error:
        upload = ipywidgets.FileUpload(accept="video/*", multiple=False, description="choose a clip")
        return upload, f"file upload ({error})"


def _content(clip: Any) -> tuple[str, bytes]:
    """Name and content of what a source holds."""
    if isinstance(clip, bytes | memoryview):
        name, content = "webcam recording", bytes(clip)
    elif clip:
        first = clip[0]
        name, content = first["name"], bytes(first["content"])
    else:
        name, content = "", b""
    if not content:
        raise ValueError("there is no clip yet; record or choose one first")
    return name, content
