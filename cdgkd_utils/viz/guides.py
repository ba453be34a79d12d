"""Guides and their student: what they remember, how softly they speak, who is silent, and how alike they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, FuncFormatter

from ..results.paper import PROTOCOL_NAMES
from .style import COLOURS, chance_line, colour
from .training import guide_raster

# Short names of the networks' colours.
ROLES = {"teacher": "teacher", "assistant 1": "ta1", "assistant 2": "ta2", "student": "student"}
MARKERS = ("o", "s", "^", "D")
BINS = np.linspace(0, 1, 21)


def memory_gap(seen: pd.Series, unseen: pd.Series, unseen_name: str, ax: Axes | None = None) -> Axes:
    """Negative log-likelihood of each guide on what its student is taught with, and on what nobody was trained on.

    Parameters
    ----------
    seen, unseen : Series
        In nats, by the guide's name; column ``nll`` of ``results.guides.guide_quality`` for two parts.
    unseen_name : str
        What the second part is called in the legend.
    ax : Axes, optional

    Returns
    -------
    Axes
        Two dots per guide, joined; the dashed line is ln 2, a guide that always says one half.

    Raises
    ------
    ValueError
        The two do not name the same guides in the same order.
    """
    if list(seen.index) != list(unseen.index):
        raise ValueError(f"seen and unseen: expected the same guides, got {list(seen.index)} and {list(unseen.index)}")
    ax = ax or plt.subplots(figsize=(6.5, 1.2 + 0.35 * len(seen)))[1]
    rows = np.arange(len(seen))
    ax.hlines(rows, seen, unseen, color=COLOURS["absent"], linewidth=1.5, zorder=1)
    style = {"linestyle": "none", "markersize": 7}
    ax.plot(seen, rows, "o", color=COLOURS["train"], markeredgecolor="black", label="training windows", **style)
    ax.plot(unseen, rows, "o", color=COLOURS["test_trial"], label=unseen_name, **style)
    ax.axvline(
        np.log(2), color=COLOURS["chance"], linestyle="--", linewidth=1, label="ln 2 (always one half)", zorder=0
    )
    ax.set_yticks(rows, list(seen.index))
    ax.set(xlim=(0, None), ylim=(len(seen) - 0.5, -0.5), xlabel="negative log-likelihood of the labels (nats)")
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1), fontsize=8)
    return ax


def part_name(part: str) -> str:
    """What a part of the split is called in figures."""
    named = {"train": "training windows", "val": "validation windows"}
    return named.get(part) or PROTOCOL_NAMES.get(part.removeprefix("test_"), part)


def role_colour(role: str) -> str:
    """Colour of a network by its role in the chain."""
    return colour(ROLES.get(role, role))


def draw_trial(ax: Axes, start: np.ndarray, targets: Mapping[str, np.ndarray]) -> None:
    """Soft targets of the true class over one trial.

    Parameters
    ----------
    ax : Axes
    start : ndarray, shape (n_windows,)
        When the windows begin, in s since the clip's start.
    targets : mapping of str to ndarray, shape (n_windows,)
        By the guide's role, 0 .. 1.
    """
    for (role, values), marker in zip(targets.items(), MARKERS, strict=False):
        style = {"marker": marker, "markersize": 4.5, "linewidth": 1.1, "alpha": 0.9}
        ax.plot(start, values, color=role_colour(role), label=role, **style)
    chance_line(ax, 0.5)
    ax.set(ylim=(-0.03, 1.03), xlabel="window's start in the trial (s)", ylabel="soft target of the true class")


def draw_targets(ax: Axes, targets: Mapping[str, np.ndarray], shades: Mapping[str, str]) -> None:
    """Distributions of soft targets of the true class, in % of the windows, as outlines.

    Parameters
    ----------
    ax : Axes
    targets : mapping of str to ndarray, shape (n_windows,)
        By what the legend calls them, 0 .. 1.
    shades : mapping of str to str
        Their colours.
    """
    for (name, values), dashes in zip(targets.items(), ("-", "--", "-.", ":"), strict=False):
        share = 100 * np.histogram(values, BINS)[0] / len(values)
        ax.stairs(share, BINS, color=shades[name], linewidth=1.5, linestyle=dashes, label=name)
    ax.axvline(0.5, color=COLOURS["chance"], linestyle="--", linewidth=0.8, zorder=1)
    ax.set(xlim=(0, 1), ylim=(0, None))


def draw_entropy(ax: Axes, temperatures: np.ndarray, curves: Mapping[str, np.ndarray], now: float) -> None:
    """Mean entropy of soft targets over the temperature.

    Parameters
    ----------
    ax : Axes
    temperatures : ndarray, shape (n_temperatures,)
    curves : mapping of str to ndarray, shape (n_temperatures,)
        Nats, by the guide's role.
    now : float
        The temperature that is marked.
    """
    for (role, values), dashes in zip(curves.items(), ("-", "--", "-.", ":"), strict=False):
        ax.plot(temperatures, values, color=role_colour(role), linestyle=dashes, label=role)
    ax.axhline(np.log(2), color=COLOURS["chance"], linestyle="--", linewidth=1)
    ax.text(temperatures[-1], np.log(2) + 0.012, "ln 2: one half each", ha="right", fontsize=7.5)
    ax.axvline(now, color="0.3", linewidth=1)
    ax.set(xscale="log", xlim=(temperatures[0], temperatures[-1]), ylim=(0, 0.77))
    ax.xaxis.set_major_locator(FixedLocator([0.5, 1, 2, 4, 8, 16]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.minorticks_off()
    ax.set(xlabel="temperature T", ylabel="mean entropy (nats)")


def draw_matrix(ax: Axes, matrix: pd.DataFrame, *, percent: bool, low: float, names: bool = True) -> ScalarMappable:
    """A symmetric matrix of shares with its numbers, in % or not; returns what a colour bar needs.

    Parameters
    ----------
    ax : Axes
    matrix : DataFrame
        Shares, 0 .. 1.
    percent : bool
    low : float
        Share at the dark end of the colours; the bright end is 1.
    names : bool
        Whether the rows are named.
    """
    values = matrix.to_numpy(dtype=float)
    image = ax.imshow(values, cmap="cividis", norm=Normalize(low, 1))
    for row, column in np.ndindex(values.shape):
        value = values[row, column]
        text = "–" if np.isnan(value) else f"{100 * value:.0f}" if percent else f"{value:.2f}"
        dark = value < low + 0.5 * (1 - low)
        ax.text(column, row, text, ha="center", va="center", color="white" if dark else "black", fontsize=8)
    ax.set_xticks(range(len(values)), matrix.columns, rotation=35, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(values)), matrix.index if names else [])
    ax.tick_params(length=0)
    for side in ax.spines.values():
        side.set_visible(False)
    return image


def draw_speakers(ax: Axes, speaking: pd.DataFrame) -> None:
    """How many guides spoke at once: bars as observed, dashes as independent draws let expect.

    Parameters
    ----------
    ax : Axes
    speaking : DataFrame
        From :func:`~cdgkd_utils.results.similarity.guides_speaking`.
    """
    ax.bar(speaking.index, 100 * speaking["observed"], width=0.7, color="0.7", label="observed")
    ends = speaking.index - 0.4, speaking.index + 0.4
    ax.hlines(100 * speaking["expected"], *ends, color="black", linewidth=1.6, label="expected")
    ax.set_xticks(speaking.index)
    top = 100 * speaking.max(axis=None)
    ax.set(xlabel="guides speaking at once", ylabel="mini-batches (%)", ylim=(0, 1.25 * top))


def draw_kept(ax: Axes, kept: np.ndarray, guides: Sequence[str], first: int = 0) -> None:
    """Which guide spoke in which mini-batch, as :func:`~.training.guide_raster`, beginning at step `first` + 1."""
    guide_raster(kept, [ROLES.get(name, name) for name in guides], ax)
    shares = kept.mean(axis=0)
    ax.set_yticks(range(len(guides)), [f"{name} ({100 * s:.0f} %)" for name, s in zip(guides, shares, strict=True)])
    ax.images[0].set_extent((first + 0.5, first + len(kept) + 0.5, len(guides) - 0.5, -0.5))
    ax.set(xlim=(first + 0.5, first + len(kept) + 0.5), ylim=(len(guides) - 0.5, -0.5), title="", ylabel="")


def draw_grid(ax: Axes, grid: pd.DataFrame, *, low: float, high: float, chosen: tuple[float, float] | None) -> None:
    """Numbers (%) by assistants (down) and drop probability (across); what was not trained is left white.

    Parameters
    ----------
    ax : Axes
    grid : DataFrame
        Shares, 0 .. 1 or NaN; index and columns are the two settings.
    low, high : float
        Ends of the colours, as shares.
    chosen : (assistants, drop probability), optional
        Gets a frame.
    """
    values = np.ma.masked_invalid(grid.to_numpy(dtype=float))
    ax.imshow(values, cmap="cividis", norm=Normalize(low, high), aspect="auto")
    for row, column in np.ndindex(values.shape):
        value = values[row, column]
        bare = value is np.ma.masked
        dark = not bare and value < (low + high) / 2
        shade = COLOURS["absent"] if bare else "white" if dark else "black"
        ax.text(column, row, "not\ntrained" if bare else f"{100 * value:.1f}", ha="center", va="center", color=shade)
    if chosen is not None:
        corner = grid.columns.get_loc(chosen[1]) - 0.5, grid.index.get_loc(chosen[0]) - 0.5
        ax.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor=COLOURS["student"], linewidth=2.5, clip_on=False))
    ax.set_xticks(range(grid.shape[1]), [f"{value:g}" for value in grid.columns])
    ax.set_yticks(range(grid.shape[0]), [f"{value:g}" for value in grid.index])
    ax.set(xlabel="drop probability of each guide", ylabel="assistants")
    ax.tick_params(length=0)
