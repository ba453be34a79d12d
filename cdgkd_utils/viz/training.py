"""Training as it happens and afterwards: curves, the modality balance, and who guided the student when.

The live figure and its static twin use the same drawing, so a stored notebook shows what the screen showed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .style import COLOURS, chance_line, colour


def _accuracy(ax: Axes, log: pd.DataFrame) -> None:
    for column, shade, label in (("train_accuracy", "train", "train"), ("val_accuracy", "student", "validation")):
        ax.plot(log["epoch"], 100 * log[column], color=COLOURS[shade], label=label, marker=".")
    chance_line(ax)
    ax.set(ylabel="accuracy (%)", title="Accuracy", ylim=(min(40, 100 * log["val_accuracy"].min() - 2), 102))


def _loss(ax: Axes, log: pd.DataFrame) -> None:
    for column, shade, label in (("train_loss", "train", "train"), ("val_loss", "student", "validation")):
        ax.plot(log["epoch"], log[column], color=COLOURS[shade], label=label, marker=".")
    ax.set(ylabel="loss (nats, as weighted)", title="Loss")


def _imbalance(ax: Axes, log: pd.DataFrame) -> None:
    ax.plot(log["epoch"], log["imbalance_ratio"], color=COLOURS["teacher"], marker=".", label="video / EEG")
    ax.axhline(1.0, color=COLOURS["chance"], linestyle="--", linewidth=1, label="balanced")
    ax.set(ylabel="ratio (no unit)", title="Above 1: video is ahead")


def _weights(ax: Axes, log: pd.DataFrame) -> None:
    for column, shade in (("eeg_weight", "eeg"), ("video_weight", "video")):
        ax.plot(log["epoch"], log[column], color=COLOURS[shade], label=column.split("_")[0], marker=".")
    highest = float(log[["eeg_weight", "video_weight"]].max(axis=None))
    ax.set(ylabel="loss weight (no unit)", title="Which modality gets help", ylim=(-0.05, max(0.2, 1.1 * highest)))


PANELS: dict[str, Callable[[Axes, pd.DataFrame], None]] = {
    "accuracy": _accuracy,
    "loss": _loss,
    "imbalance": _imbalance,
    "weights": _weights,
}


def panels(log: pd.DataFrame) -> tuple[str, ...]:
    """Which panels an epoch log can fill: the modality balance where it was logged, else the loss."""
    balance = ("imbalance_ratio", "video_weight", "eeg_weight")
    logged = all(column in log and log[column].notna().any() for column in balance)
    return ("accuracy", "imbalance", "weights") if logged else ("accuracy", "loss")


def training_curves(
    log: pd.DataFrame, axes: Sequence[Axes] | None = None, names: Sequence[str] | None = None
) -> Figure:
    """Draw an epoch log.

    Parameters
    ----------
    log : DataFrame
        One row per epoch: ``epoch, train_loss, train_accuracy, val_loss, val_accuracy`` and, for a teacher,
        ``imbalance_ratio, video_weight, eeg_weight``. Accuracies are shares.
    axes : sequence of Axes, optional
        One per panel; cleared first.
    names : sequence of str, optional
        Panels, of ``accuracy, loss, imbalance, weights``; default :func:`panels`.

    Returns
    -------
    Figure
    """
    names = panels(log) if names is None else names
    if axes is None:
        axes = plt.subplots(1, len(names), figsize=_size(names))[1]
    axes = np.atleast_1d(np.asarray(axes, dtype=object)).ravel()
    if len(axes) != len(names):
        raise ValueError(f"axes: expected {len(names)} for the panels {', '.join(names)}, got {len(axes)}")
    for ax, name in zip(axes, names, strict=True):
        ax.clear()
        PANELS[name](ax, log)
        ax.set_xlabel("epoch (passes over the training windows)" if len(names) < 3 else "epoch (passes)")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=3, columnspacing=1, handlelength=1.4)
    return axes[0].figure


def _size(names: Sequence[str]) -> tuple[float, float]:
    return (2.65 * len(names), 2.7) if len(names) > 2 else (3.5 * len(names), 2.9)


class LiveTraining:
    """A figure that is redrawn after every epoch, in JupyterLab and in a notebook run without a screen.

    A stored notebook keeps the last frame only. Outside a notebook nothing is shown, and :attr:`figure`
    still holds the picture.

    Parameters
    ----------
    title : str
    n_epochs : int, optional
        Length of the epoch axis, so that it does not move while training.

    Attributes
    ----------
    figure : Figure or None
        The picture after the last update.
    """

    def __init__(self, title: str = "", n_epochs: int | None = None):
        self.title = title
        self.n_epochs = n_epochs
        self.figure: Figure | None = None
        self._handle: Any = None

    def update(self, log: pd.DataFrame) -> None:
        """Redraw from the epochs finished so far; an empty log draws nothing."""
        if log.empty:
            return
        names = panels(log)
        if self.figure is None or len(self.figure.axes) != len(names):
            # Not made by pyplot, which would show the figure a second time at the end of the cell.
            self.figure = Figure(figsize=_size(names), layout="constrained")
            self.figure.subplots(1, len(names))
            self.figure.suptitle(self.title, fontsize=10)
        training_curves(log, self.figure.axes, names)
        if self.n_epochs:
            first = log["epoch"].iloc[0]
            for ax in self.figure.axes:
                ax.set_xlim(first - 0.3, first + self.n_epochs - 0.7)
        self._show()

    def _show(self) -> None:
        if not _in_notebook():
            return
        from IPython.display import Image, display

        buffer = BytesIO()
        self.figure.savefig(buffer, format="png", dpi=100)
        picture = Image(data=buffer.getvalue(), format="png", alt=self.title or "training curves")
        if self._handle is None:
            self._handle = display(picture, display_id=True)
        else:
            self._handle.update(picture)


def _in_notebook() -> bool:
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    return hasattr(get_ipython(), "kernel")


def guide_raster(kept: np.ndarray, names: Sequence[str], ax: Axes | None = None) -> Axes:
    """Which guide taught in which mini-batch: coloured where kept, white where dropped.

    Parameters
    ----------
    kept : ndarray of bool, shape (n_steps, n_guides)
    names : sequence of str
        Of the guides.

    Returns
    -------
    Axes
    """
    kept = np.asarray(kept, dtype=bool)
    if kept.ndim != 2 or kept.shape[1] != len(names) or not len(kept):
        raise ValueError(f"kept: expected shape (n_steps, {len(names)}) with at least one step, got {kept.shape}")
    ax = ax or plt.subplots(figsize=(7.5, 0.9 + 0.35 * len(names)))[1]
    shades = np.array([to_rgb(colour(name, number)) for number, name in enumerate(names)])
    image = np.where(kept.T[:, :, None], shades[:, None, :], 1.0)
    extent = (0.5, len(kept) + 0.5, len(names) - 0.5, -0.5)
    ax.imshow(image, aspect="auto", interpolation="nearest", extent=extent)
    ax.set_yticks(range(len(names)), [f"{n} ({100 * s:.0f} % kept)" for n, s in zip(names, kept.mean(0), strict=True)])
    for edge in np.arange(len(names) - 1) + 0.5:
        ax.axhline(edge, color="white", linewidth=3)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="training step (mini-batches)", ylabel="guide", title="Guides kept (colour) and dropped (white)")
    return ax


def guide_shares(log: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Share of the training loss that the labels and each guide contribute, over epochs.

    Parameters
    ----------
    log : DataFrame
        ``epoch``, ``loss_ce`` and one ``loss_kd_<guide>`` per guide: the terms as they enter the loss, with
        their weights.

    Returns
    -------
    Axes
        Stacked areas that add up to 100 %.
    """
    columns = ["loss_ce", *[column for column in log if column.startswith("loss_kd_")]]
    if len(columns) == 1 or "loss_ce" not in log:
        raise ValueError("log: expected the columns loss_ce and loss_kd_<guide>, as a guided student logs them")
    ax = ax or plt.subplots(figsize=(5.5, 2.9))[1]
    terms = log[columns].to_numpy(dtype=float)
    shares = 100 * terms / np.maximum(terms.sum(axis=1, keepdims=True), 1e-12)
    names = ["ce", *[column.removeprefix("loss_kd_") for column in columns[1:]]]
    shades = [colour(name, number) for number, name in enumerate(names)]
    labels = ["labels (CE)", *names[1:]]
    ax.stackplot(log["epoch"], shares.T, labels=labels, colors=shades, alpha=0.8, edgecolor="white", linewidth=0.8)
    ax.set(xlim=(log["epoch"].min(), log["epoch"].max()), ylim=(0, 100))
    ax.set(xlabel="epoch (passes over the training windows)", ylabel="share of the loss (%)")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), reverse=True)
    return ax


def agreement(matrix: np.ndarray, names: Sequence[str], ax: Axes | None = None) -> Axes:
    """Heat map of how often each pair of networks predicts the same class.

    Parameters
    ----------
    matrix : ndarray, shape (n_models, n_models)
        Shares in [0, 1].
    names : sequence of str

    Returns
    -------
    Axes
        Numbers in %.
    """
    matrix = np.asarray(matrix, dtype=float)
    if matrix.shape != (len(names), len(names)):
        raise ValueError(f"matrix: expected shape ({len(names)}, {len(names)}), got {matrix.shape}")
    ax = ax or plt.subplots(figsize=(1.9 + 0.6 * len(names), 1.2 + 0.5 * len(names)))[1]
    label = {"label": "same prediction (% of windows)"}
    low = min(50.0, 100 * float(np.nanmin(matrix)))
    sns.heatmap(100 * matrix, ax=ax, annot=True, fmt=".0f", cmap="cividis", vmin=low, vmax=100, cbar_kws=label)
    ax.set_xticks(np.arange(len(names)) + 0.5, names, rotation=30, ha="right")
    ax.set_yticks(np.arange(len(names)) + 0.5, names, rotation=0)
    ax.set(xlabel="network", ylabel="network")
    return ax
