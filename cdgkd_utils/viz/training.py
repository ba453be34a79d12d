"""Training as it happens and afterwards: curves, the balance of modalities, and teachers and students tried."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import ipywidgets
import numpy as np
import pandas as pd
from IPython import get_ipython
from IPython.display import Image, display
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from .panel import Panel, blank, buttons, describe, picture, png, stops, whole
from .style import COLOURS, chance_line

NAMES = {"eeg": "EEG", "video": "video"}
DASHES = (":", "-", "--", "-.")
BALANCE = ("imbalance_ratio", "video_weight", "eeg_weight")
ASSISTANTS, DROPS = (0, 1, 2), (0.0, 0.25, 0.5, 0.75)
SEEN = (("train", "training"), ("student", "validation"))
PANELS = {  # title, unit, and of each line: column, colour, name
    "accuracy": ("Accuracy", "accuracy (%)", (("train_accuracy", *SEEN[0]), ("val_accuracy", *SEEN[1]))),
    "loss": ("Loss", "loss (nats)", (("train_loss", *SEEN[0]), ("val_loss", *SEEN[1]))),
    "ratio": ("Above 1: video is ahead", "imbalance ratio", (("imbalance_ratio", "teacher", "video / EEG"),)),
    "weights": ("Who gets help", "loss weight", (("eeg_weight", "eeg", "EEG"), ("video_weight", "video", "video"))),
}


def draw_curve(ax: Axes, log: pd.DataFrame, kind: str) -> None:
    """One panel of an epoch log."""
    title, unit, lines = PANELS[kind]
    for column, shade, name in lines:
        values = 100 * log[column] if kind == "accuracy" else log[column]
        ax.plot(log["epoch"], values, color=COLOURS[shade], label=name, marker=".")
    if kind == "accuracy":
        chance_line(ax)
    elif kind == "ratio":
        chance_line(ax, 1.0, label="balanced")
    elif kind == "weights":
        ax.set_ylim(-0.05, max(0.2, 1.1 * float(log[["eeg_weight", "video_weight"]].max(axis=None))))
    _epochs(ax, title=title, ylabel=unit)


def _epochs(ax: Axes, **words: str) -> None:
    ax.set(xlabel="epoch (passes)", **words)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))


@picture(8.2, 2.7)
def draw_training(figure: FigureBase, log: pd.DataFrame) -> None:
    """An epoch log: accuracy, and the balance where it was logged, else the loss. Example: in :class:`LiveTraining`."""
    logged = all(column in log and log[column].notna().any() for column in BALANCE)
    panels = ("accuracy", "ratio", "weights") if logged else ("accuracy", "loss")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    figure.subplots_adjust(left=0.075, right=0.99, top=0.84, bottom=0.32, wspace=0.3)
    for ax, kind in zip(axes, panels, strict=True):
        draw_curve(ax, log, kind)
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.26), ncols=4, columnspacing=0.9, handlelength=1.2)


class LiveTraining:
    """A picture after every epoch. Example: ``lab.run("ce", on_epoch=cd.plot.LiveTraining("alone", 24).update)``."""

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
        if get_ipython() is not None:
            image = Image(data=png(self.figure), format="png", alt=describe(self.figure))
            self._handle = self._handle or display(display_id=True)
            self._handle.update(image)


@picture(8.2, 3.0)
def draw_branches(figure: FigureBase, logs: Mapping[str, pd.DataFrame]) -> None:
    """How well nearest prototypes name training windows. Example: ``cd.plot.draw_branches({"a": log})``."""
    axes = figure.subplots(1, 2, sharey=True)
    figure.subplots_adjust(left=0.075, right=0.99, top=0.9, bottom=0.17, wspace=0.08)
    for ax, m in zip(axes, NAMES, strict=True):
        for dash, (name, log) in zip(DASHES, logs.items(), strict=False):
            ax.plot(log["epoch"], 100 * log[f"proto_accuracy_{m}"], dash, color=COLOURS[m], label=name)
        chance_line(ax)
        _epochs(ax, title=f"{NAMES[m]} branch, training windows")
        ax.legend()
    axes[0].set_ylabel("nearest prototype, accuracy (%)")


def _conditions(c: Mapping[str, Any]) -> str:
    return f"EEG {c['eeg_signal']} %, video {c['video_signal']} %, strength {c['strength']:g}, {c['optimiser']}"


def tries_table(tries: Sequence[tuple]) -> pd.DataFrame:
    """Conditions and outcome of every try, numbered from 1; ratio, weights and branches as the last epoch begins."""
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
def draw_tries(figure: FigureBase, tries: Sequence[tuple]) -> None:
    """Validation accuracy, imbalance ratio and weights of the last four tries: (conditions, epoch log)."""
    if not tries:
        raise ValueError("tries: none yet; press the button to train one")
    axes = figure.subplots(1, 3)
    figure.subplots_adjust(left=0.06, right=0.99, top=0.92, bottom=0.31, wspace=0.27)
    first = max(0, len(tries) - 4)
    looks = (("teacher", "-"), ("student", "--"), ("ta2", "-."), ("ta1", ":"))  # told apart by lightness and dashes
    for number, (conditions, log) in enumerate(tries[first:], first):
        shade, dash = looks[number % 4]  # a try keeps its line while others come and go
        drawn = (100 * log["val_balanced_accuracy"], log["imbalance_ratio"], log["eeg_weight"] - log["video_weight"])
        style = {"color": COLOURS[shade], "linestyle": dash, "label": f"try {number + 1}: {_conditions(conditions)}"}
        for ax, values in zip(axes, drawn, strict=True):
            ax.plot(log["epoch"], values, **style)
    for ax, value, said in zip(axes, (50, 1, 0), ("chance", "balanced", "no help"), strict=True):
        chance_line(ax, value, label=said)
    _epochs(axes[0], ylabel="balanced accuracy (%)", title="Validation windows")
    _epochs(axes[1], ylabel="imbalance ratio", title="Above 1: video is ahead")
    _epochs(axes[2], ylabel="EEG weight − video weight", title="Help: above 0 EEG, below 0 video")
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles[:-1], names[:-1], loc="lower left", ncols=2, handlelength=2.6)


def rebalancing_tries(
    train: Callable[..., pd.DataFrame], tries: Sequence[tuple] = (), n_epochs: int | None = None
) -> Panel:
    """Part: weaken a modality, set the strength of the rebalancing and the optimiser, and train the teacher again.

    ``train(on_epoch=…, **conditions)`` returns an epoch log; `tries` were made before, and ``panel.tries`` grows.
    Example: ``cd.plot.rebalancing_tries(lab.train_try, n_epochs=lab.n_epochs)``.
    """
    made = list(tries)

    @picture(*draw_tries.size)
    def draw(figure: FigureBase, **_: Any) -> None:
        draw_tries(figure, made)

    def press(tell: Callable[[float, str], None], **conditions: Any) -> None:
        def on_epoch(log: pd.DataFrame) -> None:
            tell(len(log) / (n_epochs or 2 * len(log)), f"epoch {len(log)}")

        made.append((conditions, train(**conditions, on_epoch=on_epoch)))

    controls = {
        "eeg_signal": whole(100, 0, 100, 10, "windows with their own EEG (%)"),
        "video_signal": whole(100, 0, 100, 10, "windows with their own video (%)"),
        "strength": stops((0, 1, 3, 10, 30, 100), 10, "strength"),
        "optimiser": ipywidgets.Dropdown(options=[("SGD", "sgd"), ("Adam", "adam")], description="optimiser"),
    }
    panel = Panel(draw, controls, button=("Train", press), text=lambda **_: tries_table(made).to_html(border=0))
    panel.tries = made
    return panel


def draw_grid(ax: Axes, frame: pd.DataFrame, limits: tuple[float, float], text: str) -> None:
    """Shares as colours with their numbers in %; what is missing stays white."""
    values = np.ma.masked_invalid(frame.to_numpy(dtype=float))
    ax.imshow(values, cmap="cividis", vmin=limits[0], vmax=limits[1], aspect="auto")
    for (row, column), value in np.ndenumerate(frame.to_numpy(dtype=float)):
        shade = COLOURS["absent"] if np.isnan(value) else "white" if value < np.mean(limits) else "black"
        words = "not\ntrained" if np.isnan(value) else text.format(100 * value)
        ax.text(column, row, words, ha="center", va="center", color=shade, fontsize=8.5)
    ax.set_xticks(range(frame.shape[1]), frame.columns)
    ax.set_yticks(range(frame.shape[0]), frame.index)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


@picture(10.5, 3.0)
def draw_chain(figure: FigureBase, tried: pd.DataFrame, chosen: tuple[int, float] | None = None) -> None:
    """Accuracy and agreement by assistants and drop probability, and how often all guides are silent."""
    shown = {"balanced_accuracy": "Balanced accuracy (%), validation"}
    shown["agreement"] = "Same answer as the teacher (%), validation"
    for left, (measure, title) in zip((0.05, 0.375), shown.items(), strict=True):
        grid = tried.pivot(index="n_assistants", columns="drop_prob", values=measure)
        grid = grid.reindex(index=list(ASSISTANTS), columns=list(DROPS)).astype(float)
        ends = (np.nanmin(grid), np.nanmax(grid)) if len(tried) else (0.5, 0.5)
        middle = np.mean(ends)  # at least 10 points wide: colours must not blow up a difference of one window
        ax = figure.add_axes((left, 0.18, 0.28, 0.68))
        draw_grid(ax, grid, (min(ends[0], middle - 0.05), max(ends[1], middle + 0.05)), "{:.1f}")
        ax.set(xlabel="drop probability of each guide", ylabel="assistants", title=title)
        if chosen is not None:
            corner = DROPS.index(chosen[1]) - 0.5, ASSISTANTS.index(chosen[0]) - 0.5
            frame = {"fill": False, "edgecolor": COLOURS["student"], "linewidth": 2.5, "clip_on": False}
            ax.add_patch(Rectangle(corner, 1, 1, **frame))
    ax, drop = figure.add_axes((0.74, 0.18, 0.25, 0.68)), np.linspace(0, 1, 101)
    for n, role, marker in zip(ASSISTANTS, ("teacher", "ta1", "ta2"), "os^", strict=True):
        ax.plot(drop, 100 * drop ** (n + 1), color=COLOURS[role], linewidth=1, label=f"{n + 1}")
        mine = tried[tried["n_assistants"] == n]
        ax.plot(mine["drop_prob"], 100 * mine["silent"], marker, color=COLOURS[role])
    ax.set(xlim=(0, 1), ylim=(-3, 100), xlabel="drop probability of each guide", ylabel="mini-batches (%)")
    ax.set_title("No guide speaks; lines: expected")
    ax.legend(title="guides", loc="upper left", title_fontsize=8)


def chain_tries(train: Callable[..., dict[str, float]], tried: Iterable[dict[str, float]] = ()) -> Panel:
    """Part: assistants and drop probability to choose; the button trains that student, or all twelve.

    ``train(n_assistants, drop_prob, tell=…)`` returns a row of :func:`draw_chain`; `tried` are rows made before.
    Example: ``cd.plot.chain_tries(lab.train_chain)``.
    """
    rows = {(row["n_assistants"], row["drop_prob"]): row for row in tried}
    columns = ["n_assistants", "drop_prob", "balanced_accuracy", "agreement", "silent"]

    @picture(*draw_chain.size)
    def draw(figure: FigureBase, assistants: int, drop: float, which: str) -> None:
        draw_chain(figure, pd.DataFrame(list(rows.values()), columns=columns), (assistants, drop))

    def press(tell: Callable[[float, str], None], assistants: int, drop: float, which: str) -> None:
        wanted = [(n, p) for n in ASSISTANTS for p in DROPS] if which == "all" else [(assistants, drop)]
        missing = [place for place in wanted if place not in rows]
        for number, (n, p) in enumerate(missing):
            name = f"student {number + 1} of {len(missing)}: {n} assistants, drop {p:g}"

            def told(share: float, text: str, before: int = number, name: str = name) -> None:
                tell((before + share) / len(missing), f"{name}, {text}")

            told(0.0, "training")
            rows[n, p] = train(n, p, tell=told)

    controls = {
        "assistants": buttons(ASSISTANTS, "assistants", value=2),
        "drop": buttons([(f"{p:g}", p) for p in DROPS], "drop probability", value=0.5),
        "which": ipywidgets.Dropdown(options=[("this student", "one"), ("all twelve", "all")], description="train"),
    }
    return Panel(draw, controls, button=("Train", press))
