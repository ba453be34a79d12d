"""The rebalancing bench: a compact teacher is retrained under chosen conditions; its curves join earlier tries'."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import ipywidgets
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..style import COLOURS, chance_line
from .panel import Panel

STRENGTHS = (0, 1, 3, 10, 30, 100)
OPTIMISERS = {"sgd": "SGD", "adam": "Adam"}
N_SHOWN = 4  # curves of the last tries
# Told apart by lightness and dashes too.
LINES = (("teacher", "-"), ("student", "--"), ("ta2", "-."), ("ta1", ":"))


class Tried(NamedTuple):
    """One training.

    Attributes
    ----------
    conditions : dict
        ``eeg_signal, video_signal`` (percent of windows with their own signal), ``strength, optimiser``.
    log : DataFrame
        Its epoch log.
    """

    conditions: Mapping[str, Any]
    log: pd.DataFrame

    @property
    def text(self) -> str:
        """The conditions in words."""
        c = self.conditions
        signals = f"EEG {c['eeg_signal']} %, video {c['video_signal']} %"
        return f"{signals}, strength {c['strength']:g}, {OPTIMISERS[c['optimiser']]}"


def tries_table(tries: Sequence[Tried]) -> pd.DataFrame:
    """Conditions and outcome of every try, numbered from 1.

    Parameters
    ----------
    tries : sequence of Tried

    Returns
    -------
    DataFrame
        The conditions; ``best validation (%)``: balanced accuracy of the best epoch, and ``in epoch``; and at the
        beginning of the last epoch ``ratio``, both weights, and how many training windows each branch's nearest
        prototype gets right.
    """
    rows = {}
    for number, (conditions, log) in enumerate(tries, 1):
        last, best = log.iloc[-1], log["val_balanced_accuracy"].idxmax()
        rows[number] = {
            "EEG signal (%)": conditions["eeg_signal"],
            "video signal (%)": conditions["video_signal"],
            "strength": f"{conditions['strength']:g}",
            "optimiser": OPTIMISERS[conditions["optimiser"]],
            "best validation (%)": round(100 * log["val_balanced_accuracy"][best], 1),
            "in epoch": int(log["epoch"][best]),
            "ratio": round(last["imbalance_ratio"], 2),
            "EEG weight": round(last["eeg_weight"], 2),
            "video weight": round(last["video_weight"], 2),
            "EEG branch (%)": round(100 * last["proto_accuracy_eeg"], 1),
            "video branch (%)": round(100 * last["proto_accuracy_video"], 1),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("try")


def draw_tries(tries: Sequence[Tried], n_shown: int = N_SHOWN) -> Figure:
    """Validation accuracy, imbalance ratio and weights of the last tries over epochs.

    Parameters
    ----------
    tries : sequence of Tried
    n_shown : int
        At most this many, the latest.

    Raises
    ------
    ValueError
        There is nothing to show, or more is asked for than lines can be told apart.
    """
    if not tries or not 1 <= n_shown <= len(LINES):
        raise ValueError(f"tries: expected at least one, and n_shown 1 to {len(LINES)}; got {len(tries)}, {n_shown}")
    fig = Figure(figsize=(9.6, 3.4 + 0.2 * n_shown), layout="constrained")
    accuracy, ratio, weights = fig.subplots(1, 3)
    first = max(0, len(tries) - n_shown)
    for number, one in enumerate(tries[first:], first):
        # A try keeps its line while others come and go.
        shade, dash = LINES[number % len(LINES)]
        options = {"color": COLOURS[shade], "linestyle": dash}
        epochs = one.log["epoch"]
        accuracy.plot(epochs, 100 * one.log["val_balanced_accuracy"], **options, label=f"try {number + 1}: {one.text}")
        ratio.plot(epochs, one.log["imbalance_ratio"], **options)
        weights.plot(epochs, one.log["eeg_weight"] - one.log["video_weight"], **options)
    chance_line(accuracy)
    accuracy.set(ylabel="balanced accuracy (%)", title="Validation windows")
    ratio.axhline(1.0, color=COLOURS["chance"], linestyle="--", linewidth=1)
    ratio.set(ylabel="ratio (no unit)", title="Imbalance; above 1: video is ahead")
    weights.axhline(0.0, color=COLOURS["chance"], linestyle="--", linewidth=1)
    weights.set(ylabel="weight (no unit)", title="Help: above 0 EEG, below 0 video")
    for ax in (accuracy, ratio, weights):
        ax.set_xlabel("epoch (passes)")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    fig.legend(*accuracy.get_legend_handles_labels(), loc="outside lower left", ncols=2, handlelength=2.6)
    return fig


def tries_alt(tries: Sequence[Tried]) -> str:
    """The last try in words, for those who do not see its curves."""
    if not tries:
        return "No try yet."
    row, one = tries_table(tries).iloc[-1], tries[-1]
    return (
        f"Curves of the last {min(len(tries), N_SHOWN)} of {len(tries)} tries. The last ({one.text}): best validation "
        f"{row['best validation (%)']} %, imbalance ratio {row['ratio']}, EEG weight {row['EEG weight']}, "
        f"video weight {row['video weight']} in the last epoch."
    )


def rebalancing_bench_panel(
    train: Callable[..., pd.DataFrame], n_epochs: int, tries: Sequence[Tried] = ()
) -> tuple[Panel, list[Tried]]:
    """Sliders, a button that trains, and one that forgets.

    Parameters
    ----------
    train : callable
        From the conditions, by name, and ``on_epoch`` to an epoch log.
    n_epochs : int
        Of a training.
    tries : sequence of Tried
        Made before; the first to be shown and in the table.

    Returns
    -------
    panel : Panel
    tries : list of Tried
        Grows with every press.
    """
    made = list(tries)

    def draw(tell: Callable[[float, str], None], **conditions: Any) -> tuple[Figure, str]:
        def on_epoch(log: pd.DataFrame) -> None:
            tell(len(log) / n_epochs, f"epoch {len(log)} of {n_epochs}")

        tell(0.0, "preparing the windows")
        made.append(Tried(conditions, train(**conditions, on_epoch=on_epoch)))
        return draw_tries(made), tries_table(made).to_html(border=0)

    wide = {"description_width": "initial"}
    share = {"min": 0, "max": 100, "step": 10, "value": 100, "style": wide}
    controls = {
        "eeg_signal": ipywidgets.IntSlider(**share, description="windows with their own EEG (%)"),
        "video_signal": ipywidgets.IntSlider(**share, description="windows with their own video (%)"),
        "strength": ipywidgets.SelectionSlider(
            options=STRENGTHS, value=10, style=wide, description="strength of the rebalancing"
        ),
        "optimiser": ipywidgets.Dropdown(
            options=[(name, key) for key, name in OPTIMISERS.items()], style=wide, description="optimiser"
        ),
    }
    panel = Panel(draw, controls, alt=lambda **_: tries_alt(made), button="Train")
    forget = ipywidgets.Button(description="Forget all tries")

    def clear(_: Any) -> None:
        made.clear()
        panel.picture.value = panel.text.value = ""

    forget.on_click(clear)
    panel.box.children = (*panel.box.children, forget)
    return panel, made
