"""Training as it happens and afterwards: curves, the balance of modalities, and teachers tried."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets
import pandas as pd
from IPython import get_ipython
from IPython.display import Image, display
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.ticker import MaxNLocator

from .panel import Panel, blank, describe, picture, png
from .style import COLOURS, chance_line

NAMES = {"eeg": "EEG", "video": "video"}
DASHES = (":", "-", "--", "-.")
BALANCE = ("imbalance_ratio", "video_weight", "eeg_weight")
TITLES = {"accuracy": "Accuracy", "loss": "Loss", "ratio": "Above 1: video is ahead", "weights": "Who gets help"}
UNITS = {"accuracy": "accuracy (%)", "loss": "loss (nats)", "ratio": "imbalance ratio", "weights": "loss weight"}


def _lines(kind: str) -> list[tuple[str, str, str, float]]:
    """Columns of the log, colours, names and factors of one panel."""
    if kind in ("accuracy", "loss"):
        factor = 100 if kind == "accuracy" else 1
        return [(f"train_{kind}", "train", "training", factor), (f"val_{kind}", "student", "validation", factor)]
    if kind == "ratio":
        return [("imbalance_ratio", "teacher", "video / EEG", 1)]
    return [(f"{m}_weight", m, NAMES[m], 1) for m in NAMES]


def _panels(log: pd.DataFrame) -> tuple[str, ...]:
    logged = all(column in log and log[column].notna().any() for column in BALANCE)
    return ("accuracy", "ratio", "weights") if logged else ("accuracy", "loss")


def draw_curve(ax: Axes, log: pd.DataFrame, kind: str) -> None:
    """One panel of an epoch log."""
    for column, shade, name, factor in _lines(kind):
        ax.plot(log["epoch"], factor * log[column], color=COLOURS[shade], label=name, marker=".")
    if kind == "accuracy":
        chance_line(ax)
    elif kind == "ratio":
        chance_line(ax, 1.0, label="balanced")
    elif kind == "weights":
        ax.set_ylim(-0.05, max(0.2, 1.1 * float(log[list(BALANCE[1:])].max(axis=None))))
    ax.set(xlabel="epoch (passes)", ylabel=UNITS[kind], title=TITLES[kind])
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))


@picture(8.2, 2.7)
def draw_training(
    figure: FigureBase, log: pd.DataFrame, panels: Sequence[str] | None = None, chosen: int | None = None
) -> None:
    """An epoch log: accuracy, and the balance of modalities where it was logged, else the loss.

    Parameters
    ----------
    log : DataFrame
        One row per epoch, as ``run.log``.
    panels : sequence of {"accuracy", "loss", "ratio", "weights"}, optional
    chosen : int, optional
        The epoch whose network is handed on; drawn as a line.

    Example: ``cd.plot.draw_training(run.log, chosen=run.result["chosen_epoch"])``.
    """
    panels = _panels(log) if panels is None else tuple(panels)
    if unknown := set(panels) - set(TITLES):
        raise ValueError(f"panels: expected some of {', '.join(TITLES)}, got {', '.join(sorted(unknown))}")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    figure.subplots_adjust(left=0.075, right=0.99, top=0.84, bottom=0.32, wspace=0.3)
    for ax, kind in zip(axes, panels, strict=True):
        draw_curve(ax, log, kind)
        if chosen is not None:
            ax.axvline(
                chosen,
                color=COLOURS["fusion"],
                linewidth=1.2,
                label="_" if kind == "accuracy" else "handed on",
                zorder=0,
            )
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.26), ncols=4, columnspacing=0.9, handlelength=1.2)


class LiveTraining:
    """A picture that is drawn again after every epoch, for ``on_epoch``; a stored notebook keeps the last.

    Example: ``run = lab.run("fusion", on_epoch=cd.plot.LiveTraining("plain fusion", 24).update)``.
    """

    def __init__(self, title: str = "", n_epochs: int | None = None):
        self.title, self.n_epochs, self.figure, self._handle = title, n_epochs, None, None

    def update(self, log: pd.DataFrame) -> None:
        """Draw the epochs finished so far; an empty log draws nothing."""
        if log.empty:
            return
        self.figure = blank(*draw_training.size)
        draw_training(self.figure, log)
        self.figure.suptitle(self.title, fontsize=10, y=0.99)
        if self.n_epochs:
            first = log["epoch"].iloc[0]
            for ax in self.figure.axes:
                ax.set_xlim(first - 0.3, first + self.n_epochs - 0.7)
        if get_ipython() is None:
            return
        image = Image(data=png(self.figure), format="png", alt=describe(self.figure))
        if self._handle is None:
            self._handle = display(image, display_id=True)
        else:
            self._handle.update(image)


@picture(8.2, 3.0)
def draw_branches(figure: FigureBase, logs: Mapping[str, pd.DataFrame]) -> None:
    """How well the nearest prototype of each modality names training windows, by teacher.

    Parameters
    ----------
    logs : mapping of str to DataFrame
        Epoch logs by the teacher's name, at most four.

    Example: ``cd.plot.draw_branches({"plain": plain.log, "rebalanced": rebalanced.log})``.
    """
    axes = figure.subplots(1, 2, sharey=True)
    figure.subplots_adjust(left=0.075, right=0.99, top=0.9, bottom=0.17, wspace=0.08)
    for ax, m in zip(axes, NAMES, strict=True):
        for dash, (name, log) in zip(DASHES, logs.items(), strict=False):
            ax.plot(log["epoch"], 100 * log[f"proto_accuracy_{m}"], dash, color=COLOURS[m], label=name)
        chance_line(ax)
        ax.set(xlabel="epoch (passes)", title=f"{NAMES[m]} branch, training windows")
        ax.legend()
    axes[0].set_ylabel("nearest prototype, accuracy (%)")


# ---- teachers tried -----------------------------------------------------------------------------

Tries = Sequence[tuple[Mapping[str, Any], pd.DataFrame]]


def _conditions(c: Mapping[str, Any]) -> str:
    return f"EEG {c['eeg_signal']} %, video {c['video_signal']} %, strength {c['strength']:g}, {c['optimiser']}"


def tries_table(tries: Tries) -> pd.DataFrame:
    """Conditions and outcome of every try, numbered from 1; ratio, weights and branches as the last epoch begins.

    Example: ``cd.plot.tries_table(panel.tries)``.
    """
    rows = {}
    for number, (conditions, log) in enumerate(tries, 1):
        last, best = log.iloc[-1], log["val_balanced_accuracy"].idxmax()
        rows[number] = {
            "conditions": _conditions(conditions),
            "best validation (%)": round(100 * log["val_balanced_accuracy"][best], 1),
            "in epoch": int(log["epoch"][best]),
            **{name.replace("_", " "): round(last[name], 2) for name in BALANCE},
            **{f"{NAMES[m]} branch (%)": round(100 * last[f"proto_accuracy_{m}"], 1) for m in NAMES},
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("try")


@picture(9.6, 3.9)
def draw_tries(figure: FigureBase, tries: Tries) -> None:
    """Validation accuracy, imbalance ratio and weights of the last four tries.

    Parameters
    ----------
    tries : sequence of (conditions, log)
        Conditions by name: ``eeg_signal, video_signal`` (percent of windows with their own signal), ``strength,
        optimiser``; the epoch log of that training.

    Example: ``cd.plot.draw_tries([(conditions, train_try(experiment, **conditions))])``.
    """
    if not tries:
        raise ValueError("tries: none yet; press the button to train one")
    axes = figure.subplots(1, 3)
    figure.subplots_adjust(left=0.06, right=0.99, top=0.92, bottom=0.31, wspace=0.27)
    first = max(0, len(tries) - 4)
    looks = (("teacher", "-"), ("student", "--"), ("ta2", "-."), ("ta1", ":"))  # told apart by lightness and dashes
    for number, (conditions, log) in enumerate(tries[first:], first):
        shade, dash = looks[number % 4]  # a try keeps its line while others come and go
        drawn = (100 * log["val_balanced_accuracy"], log["imbalance_ratio"], log["eeg_weight"] - log["video_weight"])
        for ax, values in zip(axes, drawn, strict=True):
            label = f"try {number + 1}: {_conditions(conditions)}"
            ax.plot(log["epoch"], values, color=COLOURS[shade], linestyle=dash, label=label)
    for ax, value, said in zip(axes, (50, 1, 0), ("chance", "balanced", "no help"), strict=True):
        chance_line(ax, value, label=said)
        ax.set_xlabel("epoch (passes)")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0].set(ylabel="balanced accuracy (%)", title="Validation windows")
    axes[1].set(ylabel="imbalance ratio", title="Above 1: video is ahead")
    axes[2].set(ylabel="EEG weight − video weight", title="Help: above 0 EEG, below 0 video")
    entries = zip(*axes[0].get_legend_handles_labels(), strict=True)
    figure.legend(*zip(*list(entries)[:-1], strict=True), loc="lower left", ncols=2, handlelength=2.6)


def rebalancing_tries(train: Callable[..., pd.DataFrame], tries: Tries = (), n_epochs: int | None = None) -> Panel:
    """Part: weaken a modality, set the strength of the rebalancing and the optimiser, and train the teacher again.

    Parameters
    ----------
    train : callable
        ``train(on_epoch=…, **conditions)`` to an epoch log, such as ``partial(train_try, experiment)``.
    tries : sequence of (conditions, log)
        Made before. ``panel.tries`` grows with every press.
    n_epochs : int, optional
        Of a training, for the progress bar.

    Example: ``cd.plot.rebalancing_tries(partial(train_try, experiment))``.
    """
    made = list(tries)

    @picture(*draw_tries.size)
    def draw(figure: FigureBase, **_: Any) -> None:
        draw_tries(figure, made)

    def press(tell: Callable[[float, str], None], **conditions: Any) -> None:
        def on_epoch(log: pd.DataFrame) -> None:
            tell(len(log) / (n_epochs or 2 * len(log)), f"epoch {len(log)}")

        made.append((conditions, train(**conditions, on_epoch=on_epoch)))

    share = {"min": 0, "max": 100, "step": 10, "value": 100}
    strengths, optimisers = (0, 1, 3, 10, 30, 100), [("SGD", "sgd"), ("Adam", "adam")]
    panel = Panel(
        draw,
        {
            "eeg_signal": ipywidgets.IntSlider(**share, description="windows with their own EEG (%)"),
            "video_signal": ipywidgets.IntSlider(**share, description="windows with their own video (%)"),
            "strength": ipywidgets.SelectionSlider(options=strengths, value=10, description="strength"),
            "optimiser": ipywidgets.Dropdown(options=optimisers, description="optimiser"),
        },
        button=("Train", press),
        text=lambda **_: tries_table(made).to_html(border=0),
    )
    panel.tries = made
    return panel
