"""The distillation X-ray: how alike a chain's networks are, and which guide was silent when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import ipywidgets
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ...results.metrics import ChainAnswers, guides_speaking
from ..guides import draw_kept, draw_matrix, draw_speakers, part_name
from ..style import COLOURS
from .fixed import fixed_figure
from .panel import Panel
from .soft_targets import part_buttons

STRIP_STEPS = 120


@dataclass(frozen=True)
class Silence:
    """Which guides a learner heard in each mini-batch of its training.

    Attributes
    ----------
    kept : ndarray of bool, shape (n_steps, n_guides)
    guides : tuple of str
        Their roles.
    n_epochs : int
        Epochs of equally many steps.
    drop_prob : float
        With which each guide was to be silenced.
    """

    kept: np.ndarray
    guides: tuple[str, ...]
    n_epochs: int
    drop_prob: float

    def epoch(self, number: int) -> np.ndarray:
        """The mini-batches of one epoch, from 1, shape (n_steps_per_epoch, n_guides).

        Raises
        ------
        ValueError
            There is no such epoch, or the steps are not those of whole epochs.
        """
        if len(self.kept) % self.n_epochs:
            raise ValueError(f"kept: expected a multiple of {self.n_epochs} epochs, got {len(self.kept)} steps")
        if not 1 <= number <= self.n_epochs:
            raise ValueError(f"epoch: this training has {self.n_epochs}, got {number}")
        each = len(self.kept) // self.n_epochs
        return self.kept[(number - 1) * each : number * each]


# ---- how alike the networks are ----------------------------------------------------------------


def alike_figure(chain: ChainAnswers, part: str) -> Figure:
    """Equal answers (left) and equal geometry (right) of each pair of networks on one part.

    Raises
    ------
    ValueError
        There is no such part.
    """
    agreement, cka = chain.agreement(part), chain.cka(part)
    figure = fixed_figure(10.5, 3.9)
    left = draw_matrix(figure.add_axes((0.09, 0.24, 0.27, 0.66)), agreement, percent=True, low=_low(agreement))
    figure.colorbar(left, cax=figure.add_axes((0.38, 0.24, 0.012, 0.66)), label="same prediction (share of windows)")
    right = draw_matrix(figure.add_axes((0.6, 0.24, 0.27, 0.66)), cka, percent=False, low=0)
    figure.colorbar(right, cax=figure.add_axes((0.89, 0.24, 0.012, 0.66)), label="linear CKA (no unit)")
    figure.axes[0].set_title(f"Same prediction (%), {part_name(part)}")
    figure.axes[2].set_title("Alike embeddings (CKA)")
    return figure


def alike_static(chain: ChainAnswers) -> Figure:
    """Both matrices for every part of the split beside each other."""
    figure = fixed_figure(10.5, 5.6)
    n = len(chain.parts)
    agreements = {part: chain.agreement(part) for part in chain.parts}
    low = min(map(_low, agreements.values()))
    for column, part in enumerate(chain.parts):
        left, width = 0.085 + column * 0.85 / n, 0.85 / n - 0.02
        above, below = (figure.add_axes((left, bottom, width, 0.36)) for bottom in (0.58, 0.125))
        one = draw_matrix(above, agreements[part], percent=True, low=low, names=column == 0)
        above.set(xticks=[], title=part_name(part))
        two = draw_matrix(below, chain.cka(part), percent=False, low=0, names=column == 0)
    figure.colorbar(one, cax=figure.add_axes((0.935, 0.58, 0.01, 0.36)), label="same prediction (share)")
    figure.colorbar(two, cax=figure.add_axes((0.935, 0.125, 0.01, 0.36)), label="CKA of embeddings")
    return figure


def alike_alt(chain: ChainAnswers, part: str) -> str:
    """What :func:`alike_figure` shows, with the student's numbers."""
    agreement, cka = chain.agreement(part), chain.cka(part)
    student = list(chain.logits)[-1]
    said = ", ".join(
        f"{role} {100 * agreement.loc[student, role]:.0f} % and {cka.loc[student, role]:.2f}" for role in chain.guides
    )
    return (
        f"Two matrices over the {part_name(part)}, networks and labels against each other: share of equal predictions "
        f"and linear CKA of what enters the classifiers. The {student} with {said}; it predicts the label in "
        f"{100 * agreement.loc[student].iloc[-1]:.0f} %."
    )


def alike_panel(chain: ChainAnswers, rng: np.random.Generator) -> Panel:
    """Agreement and CKA by part; `rng` shuffles windows to say what unrelated embeddings would score."""
    chance = {part: chain.chance_cka(part, rng) for part in chain.parts}

    def draw(part: str) -> tuple[Figure, str]:
        said = f"Embeddings of which one is shuffled over windows have a CKA of {chance[part]:.2f} here."
        return alike_figure(chain, part), f"<p>{said}</p>"

    return Panel(draw, {"part": part_buttons(chain)}, alt=lambda part: alike_alt(chain, part))


def _low(agreement: pd.DataFrame) -> float:
    """Dark end of the colours: one half, or less where some pair agrees less."""
    return min(0.5, float(agreement.min(axis=None)))


# ---- who is silent when ------------------------------------------------------------------------


def silence_figure(learners: Mapping[str, Silence], learner: str, epoch: int) -> Figure:
    """One training of the chain: all mini-batches, those of one epoch, and how many guides spoke at once.

    Parameters
    ----------
    learners : mapping of str to Silence
        By the learner's role.
    learner : str
    epoch : int
        From 1.

    Raises
    ------
    ValueError
        There is no such learner or epoch.
    """
    silence = _of(learners, learner)
    shown = silence.epoch(epoch)
    first = (epoch - 1) * len(shown)
    figure = fixed_figure(10.5, 4.2)
    whole, one = (figure.add_axes((0.15, bottom, 0.5, 0.28)) for bottom in (0.62, 0.14))
    draw_kept(whole, silence.kept, silence.guides)
    whole.axvspan(first + 0.5, first + len(shown) + 0.5, fill=False, edgecolor=COLOURS["student"], linewidth=2)
    whole.set(title=f"{learner}: guides kept (colour) in all {len(silence.kept)} mini-batches", xlabel="")
    draw_kept(one, shown, silence.guides, first)
    one.set_title(f"epoch {epoch}: in {int((~shown.any(axis=1)).sum())} of {len(shown)} mini-batches no guide speaks")
    _draw_counts(figure, learner, silence)
    return figure


def silence_static(learners: Mapping[str, Silence], n_steps: int = STRIP_STEPS) -> Figure:
    """The first mini-batches of every learner; beside them, how many guides the last one heard at once in all."""
    inches = [0.75 + 0.3 * len(silence.guides) for silence in learners.values()]
    total = sum(inches) + 0.1
    figure = fixed_figure(10.5, total)
    top = sum(inches)
    for (learner, silence), height in zip(learners.items(), inches, strict=True):
        ax = figure.add_axes((0.13, (top - height + 0.42) / total, 0.54, (height - 0.65) / total))
        draw_kept(ax, silence.kept[:n_steps], silence.guides)
        ax.set(title=f"{learner}: guides kept (colour), first {min(n_steps, len(silence.kept))} mini-batches")
        top -= height
    _draw_counts(figure, learner, silence)
    return figure


def silence_alt(learners: Mapping[str, Silence], learner: str, epoch: int) -> str:
    """What :func:`silence_figure` shows, with its numbers."""
    silence = _of(learners, learner)
    shares = ", ".join(
        f"{name} {100 * share:.0f} %" for name, share in zip(silence.guides, silence.kept.mean(axis=0), strict=True)
    )
    speaking = guides_speaking(silence.kept, silence.drop_prob)["observed"]
    return (
        f"Which guide the {learner} heard in which mini-batch, in the whole training and in epoch {epoch}; kept: "
        f"{shares}. Bars: in {100 * speaking.iloc[0]:.0f} % of the mini-batches no guide spoke, in "
        f"{100 * speaking.iloc[-1]:.0f} % all did."
    )


def silence_panel(learners: Mapping[str, Silence]) -> Panel:
    """Learner and epoch to choose; the student's first epoch is shown first."""
    longest = max(silence.n_epochs for silence in learners.values())
    controls = {
        "learner": ipywidgets.ToggleButtons(options=list(learners), value=list(learners)[-1], description="who learns"),
        "epoch": ipywidgets.IntSlider(1, 1, longest, description="epoch", continuous_update=False),
    }
    return Panel(
        lambda learner, epoch: silence_figure(learners, learner, epoch),
        controls,
        alt=lambda learner, epoch: silence_alt(learners, learner, epoch),
    )


def _draw_counts(figure: Figure, learner: str, silence: Silence) -> None:
    ax = figure.add_axes((0.76, 0.14, 0.23, 0.7))
    draw_speakers(ax, guides_speaking(silence.kept, silence.drop_prob))
    ax.legend(loc="upper right", ncols=2)
    ax.set_title(f"{learner}, whole training, drop {silence.drop_prob:g}")


def _of(learners: Mapping[str, Silence], learner: str) -> Silence:
    if learner not in learners:
        raise ValueError(f"learner: expected one of {', '.join(learners)}, got {learner!r}")
    return learners[learner]
