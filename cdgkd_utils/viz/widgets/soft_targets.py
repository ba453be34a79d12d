"""How softly the guides of a chain speak: soft targets of one trial and of all windows, at any temperature."""

from __future__ import annotations

import ipywidgets
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ...data.constants import WINDOW_SECONDS
from ...results.metrics import ChainAnswers, entropy
from ...results.metrics import probabilities as soft_targets
from ..guides import draw_entropy, draw_targets, draw_trial, part_name, role_colour
from ..steps import left_html
from ..style import colour
from .fixed import fixed_figure
from .panel import Panel

TEMPERATURES = np.geomspace(0.5, 16, 41)
STRIP = (1.0, 2.0, 8.0)
HARD = 0.95  # a soft target above this is hardly softer than the label
WORDS = {"description_width": "initial"}


def trials_of(chain: ChainAnswers, part: str) -> list[tuple[int, int]]:
    """Subject and trial of each trial that has windows in a part, in order."""
    index = chain.index.iloc[chain.rows(part)]
    return sorted({(int(subject), int(trial)) for subject, trial in zip(index["subject"], index["trial"], strict=True)})


def most_doubted(chain: ChainAnswers, part: str) -> int:
    """Number of the trial whose true class gets the least from the largest guide, as :func:`soft_figure` counts."""
    targets = chain.true_class(chain.guides[0], part, 1.0)
    index = chain.index.iloc[chain.rows(part)]
    mean = pd.Series(targets).groupby([index["subject"].to_numpy(), index["trial"].to_numpy()]).mean()
    return trials_of(chain, part).index(tuple(int(number) for number in mean.idxmin())) + 1


def target_summary(chain: ChainAnswers, part: str, temperature: float) -> pd.DataFrame:
    """Soft targets of each guide on a part, in three numbers.

    Returns
    -------
    DataFrame
        By the guide's role: ``true class``, the mean soft target of the true class; ``entropy``, its mean in nats;
        ``hard``, the share of windows whose larger soft target is above 0.95.
    """
    rows = {}
    for role in chain.guides:
        targets = soft_targets(chain.logits[role][chain.rows(part)], temperature)
        true = chain.true_class(role, part, temperature).mean()
        rows[role] = {
            "true class": true,
            "entropy": entropy(targets).mean(),
            "hard": (targets.max(axis=1) > HARD).mean(),
        }
    return pd.DataFrame(rows).T


def soft_figure(chain: ChainAnswers, part: str, place: int, temperature: float) -> Figure:
    """Soft targets of one trial, of all windows of its part, and their entropy over the temperature.

    Parameters
    ----------
    chain : ChainAnswers
    part : str
    place : int
        Number of the trial among :func:`trials_of`, from 1.
    temperature : float

    Raises
    ------
    ValueError
        There is no such part or trial, or the temperature is not positive.
    """
    targets = {role: chain.true_class(role, part, temperature) for role in chain.guides}
    name, mine, start = _windows_of(chain, part, place)
    figure = fixed_figure(10.5, 3.6)
    one, all_of, curves = (figure.add_axes((left, 0.16, 0.255, 0.62)) for left in (0.06, 0.4, 0.735))
    draw_trial(one, start, {role: values[mine] for role, values in targets.items()})
    one.set_title(name)
    draw_targets(all_of, targets, {role: role_colour(role) for role in targets})
    all_of.set(xlabel="soft target of the true class", ylabel="windows (%)")
    all_of.set_title(f"{part_name(part)}: all {len(chain.rows(part))} windows")
    draw_entropy(curves, TEMPERATURES, _entropy_curves(chain, part), temperature)
    curves.set_title("softness over the temperature")
    handles, names = one.get_legend_handles_labels()
    figure.legend(handles, names, loc="upper center", ncols=5)
    figure.text(0.06, 0.945, f"T = {temperature:.3g}", fontsize=11, fontweight="bold")
    return figure


def soft_static(chain: ChainAnswers, unseen: str, place: int, temperatures: tuple[float, ...] = STRIP) -> Figure:
    """A film strip over temperatures: each guide on training and `unseen` windows, and one training trial.

    Parameters
    ----------
    chain : ChainAnswers
    unseen : str
        The part beside ``train``.
    place : int
        As in :func:`soft_figure`.
    temperatures : tuple of float
        One row each.
    """
    figure = fixed_figure(10.5, 0.75 + 1.75 * len(temperatures))
    axes = figure.subplots(len(temperatures), len(chain.guides) + 1, squeeze=False)
    figure.subplots_adjust(left=0.075, right=0.985, top=0.9, bottom=0.1, wspace=0.3, hspace=0.28)
    shades = {part_name(part): colour(part) for part in ("train", unseen)}
    name, mine, start = _windows_of(chain, "train", place)
    for row, temperature in zip(axes, temperatures, strict=True):
        for ax, role in zip(row, chain.guides, strict=False):
            both = {part_name(part): chain.true_class(role, part, temperature) for part in ("train", unseen)}
            draw_targets(ax, both, shades)
            summary = target_summary(chain, "train", temperature).loc[role]
            ax.text(0.04, 0.95, f"entropy\n{summary['entropy']:.2f} nats", transform=ax.transAxes, va="top", fontsize=8)
        top = max(ax.get_ylim()[1] for ax in row[:-1])
        for ax in row[:-1]:
            ax.set_ylim(0, 1.25 * top)
        row[0].set_ylabel(f"T = {temperature:g}\nwindows (%)")
        draw_trial(row[-1], start, {role: chain.true_class(role, "train", temperature)[mine] for role in chain.guides})
        row[-1].set(xlabel="", ylabel="")
    for ax, role in zip(axes[0], chain.guides, strict=False):
        ax.set_title(role)
    axes[0, -1].set_title(name)
    for ax in axes[-1, :-1]:
        ax.set_xlabel("soft target of the true class")
    axes[-1, -1].set_xlabel("window's start in the trial (s)")
    parts, lines = axes[0, 0].get_legend_handles_labels(), axes[0, -1].get_legend_handles_labels()
    figure.legend(*parts, loc="upper left", bbox_to_anchor=(0.06, 1.0), ncols=2)
    figure.legend(*lines, loc="upper right", bbox_to_anchor=(0.99, 1.0), ncols=4)
    return figure


def soft_alt(chain: ChainAnswers, part: str, place: int, temperature: float) -> str:
    """What :func:`soft_figure` shows, with its numbers."""
    name, _, _ = _windows_of(chain, part, place)
    said = ", ".join(
        f"{role} {row['true class']:.2f} for the true class and {row['entropy']:.2f} nats"
        for role, row in target_summary(chain, part, temperature).iterrows()
    )
    return (
        f"Soft targets at temperature {temperature:g}: windows of {name}; distribution over all "
        f"{len(chain.rows(part))} windows ({part_name(part)}); entropy over the temperature. Means: {said}."
    )


def soft_panel(chain: ChainAnswers, place: int, temperature: float = 2.0) -> Panel:
    """Temperature, part and trial to choose; training trial number `place` at `temperature` is shown first."""
    n_trials = max(len(trials_of(chain, part)) for part in chain.parts)

    def draw(temperature: float, part: str, place: int) -> tuple[Figure, str]:
        summary = target_summary(chain, part, temperature).round(3)
        named = {"true class": "mean soft target of the true class", "entropy": "mean entropy (nats)"}
        named["hard"] = f"share of windows with a soft target above {HARD}"
        return soft_figure(chain, part, place, temperature), left_html(summary.rename(columns=named))

    controls = {
        "temperature": ipywidgets.SelectionSlider(
            options=[(f"{value:.2g}", float(value)) for value in TEMPERATURES],
            value=float(TEMPERATURES[np.argmin(np.abs(np.log(TEMPERATURES / temperature)))]),
            description="temperature T",
            style=WORDS,
            continuous_update=False,
        ),
        "part": part_buttons(chain),
        "place": ipywidgets.IntSlider(
            place, 1, n_trials, description="trial (its number in the part)", style=WORDS, continuous_update=False
        ),
    }
    return Panel(draw, controls, alt=lambda **values: soft_alt(chain, **values))


def part_buttons(chain: ChainAnswers) -> ipywidgets.ToggleButtons:
    """Buttons for the parts of the split."""
    return ipywidgets.ToggleButtons(options=[(part_name(part), part) for part in chain.parts], description="part")


def _trial(chain: ChainAnswers, part: str, place: int) -> tuple[int, int]:
    trials = trials_of(chain, part)
    if not 1 <= place <= len(trials):
        raise ValueError(f"trial: there are {len(trials)} among the {part_name(part)}, got number {place}")
    return trials[place - 1]


def _windows_of(chain: ChainAnswers, part: str, place: int) -> tuple[str, np.ndarray, np.ndarray]:
    """A trial's name, the places of its windows in the part, in the order of time, and when they begin (s)."""
    subject, trial = _trial(chain, part, place)
    index = chain.index.iloc[chain.rows(part)]
    mine = np.flatnonzero((index["subject"] == subject) & (index["trial"] == trial))
    mine = mine[np.argsort(index["window"].to_numpy()[mine])]
    rated = ("low", "high")[int(chain.labels[chain.rows(part)[mine[0]]])]
    name = f"subject {subject}, trial {trial}, rated {rated}"
    return name, mine, WINDOW_SECONDS * index["window"].to_numpy()[mine]


def _entropy_curves(chain: ChainAnswers, part: str) -> dict[str, np.ndarray]:
    logits = {role: chain.logits[role][chain.rows(part)] for role in chain.guides}
    return {
        role: np.array([entropy(soft_targets(values, temperature)).mean() for temperature in TEMPERATURES])
        for role, values in logits.items()
    }
