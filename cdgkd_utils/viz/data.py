"""How data are made and prepared, who is tested on what, and what a split lets through."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import FigureBase
from matplotlib.patches import FancyArrowPatch, Patch

from ..data.constants import CHANNELS
from ..data.types import Windows
from .panel import Panel, bound, buttons, picture
from .style import COLOURS, chance_line, colour, part_name

KINDS = {"true": "true\nlabels", "permuted": "permuted\nlabels"}


def box(ax: Axes, x: float, y: float, text: str, shade: str, **options) -> None:
    """A named box of a sketch, in a light shade."""
    frame = {"boxstyle": "round,pad=0.45", "facecolor": shade, "alpha": 0.22, "edgecolor": shade, "linewidth": 1.4}
    place = {"ha": "center", "va": "center", "zorder": 3} | options
    ax.text(x, y, text, bbox=frame | {"alpha": 1, "facecolor": "white", "edgecolor": "none"}, **place)
    ax.text(x, y, text, bbox=frame, **place)


def sketch(figure: FigureBase, title: str) -> Axes:
    """An empty sheet of 10 × 4 units."""
    ax = figure.add_axes((0, 0, 1, 0.92))
    ax.set(xlim=(0, 10), ylim=(0, 4))
    ax.set_title(title, x=0.02, y=0.97)
    ax.axis("off")
    return ax


def arrow(ax: Axes, start: tuple, end: tuple, shade: str = "0.4", bend: float = 0.0, **style) -> None:
    """An arrow of a sketch."""
    look = {"arrowstyle": "-|>", "mutation_scale": 12, "linewidth": 1.6, "color": shade, "zorder": 1} | style
    ax.add_patch(FancyArrowPatch(start, end, connectionstyle=f"arc3,rad={bend}", shrinkA=4, shrinkB=4, **look))


@picture(7.8, 3.4)
def draw_twin(figure: FigureBase, world) -> None:
    """How the synthetic twin is made; `world` is a name or a World. Example: ``cd.plot.draw_twin("shared_view")``."""
    if isinstance(world, str):
        from ..data.twin import find_world

        world = find_world(world)
    shares = {"brain": world.w_eeg, "both": world.w_shared, "face": world.w_video}
    shares["chance"] = 1 - sum(shares.values())
    sources = {
        "brain": (3.25, "felt, only the brain shows it", "eeg", ("eeg", "rating")),
        "both": (2.35, "felt, brain and face show it", "fusion", ("eeg", "video", "rating")),
        "face": (1.45, "felt, only the face shows it", "video", ("video", "rating")),
        "chance": (0.5, "chance: mood, use of the scale", "absent", ("rating",)),
    }
    views = {"eeg": 3.1, "video": 1.95, "rating": 0.6}
    ax = sketch(figure, "A rating of the twin: where it comes from, and who gets to see what")
    for name, (y, words, shade, aims) in sources.items():
        box(ax, 1.6, y, f"{words}\n{100 * shares[name]:.0f} % of a rating", COLOURS[shade], fontsize=8.5)
        for aim in aims:
            style = {"linewidth": 0.6 + 6 * shares[name]} if shares[name] > 0.001 else {"linestyle": ":", "alpha": 0.5}
            end = views[aim] + 0.25 * (y - views[aim]) / 3
            arrow(ax, (3.0, y), (4.3, end), COLOURS[shade], **style)
    box(ax, 5.3, views["eeg"], "the brain's view\n→ EEG, 28 channels", COLOURS["eeg"])
    box(ax, 5.3, views["video"], "the face's view\n→ video frames", COLOURS["video"])
    box(ax, 5.3, views["rating"], "the rating, 1–9\n→ label: high above 5", COLOURS["high"])
    box(ax, 8.8, 2.75, "teacher\nEEG, video, labels", COLOURS["teacher"])
    box(ax, 8.8, 1.15, "student\nvideo, labels", COLOURS["student"])
    for name, shade, aims in (("eeg", "eeg", [2.9]), ("video", "video", [2.75, 1.25]), ("rating", "high", [2.6, 1.05])):
        for aim in aims:
            arrow(ax, (6.35, views[name]), (7.75, aim), COLOURS[shade])


def _changing(steps: Sequence[tuple], channel: str = "Fp1", first: float = 1.0) -> list[tuple]:
    """Name, rate and two seconds of the steps that change a channel, not those that only choose, cut or store."""
    found: list[tuple] = []
    for name, signal, sfreq in steps:
        shown = np.asarray(signal)[CHANNELS.index(channel), int(first * sfreq) : int((first + 2) * sfreq)]
        if not found or found[-1][1] != sfreq or np.abs(shown - found[-1][2]).max() > 0.01 * np.std(found[-1][2]):
            found.append((name, sfreq, shown))
    return found


@picture(7.5, lambda *given, **named: 0.95 * len(_changing(*given, **named)) + 0.6)
def draw_steps(figure: FigureBase, steps: Sequence[tuple], channel: str = "Fp1", first: float = 1.0) -> None:
    """Two seconds of a channel after each step that changes it. Example: ``cd.plot.draw_steps(lab.steps())``."""
    shown = _changing(steps, channel, first)
    axes = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    figure.subplots_adjust(left=0.1, right=0.98, top=1 - 0.25 / len(shown), bottom=0.5 / len(shown), hspace=0.55)
    for ax, (name, sfreq, values) in zip(axes, shown, strict=True):
        ax.plot(first + np.arange(len(values)) / sfreq, values, color=COLOURS["eeg"], linewidth=0.9)
        ax.set(ylabel="sd" if name == "scaled" else "µV", title=f"{name}, {sfreq:g} Hz")
        ax.locator_params(axis="y", nbins=3)
    axes[-1].set(xlim=(first, first + 2), xlabel=f"time since the clip's start (s), channel {channel}")


@picture(7.5, 4.2)
def draw_split(figure: FigureBase, index: pd.DataFrame, parts: Mapping[str, np.ndarray]) -> None:
    """Each trial in the colour of its part; leaks are pink. Example: ``cd.plot.draw_split(index, fold.parts())``."""
    _split(figure.add_axes((0.08, 0.22, 0.91, 0.7)), index, parts, -0.13)


def _split(ax: Axes, index: pd.DataFrame, parts: Mapping[str, np.ndarray], below: float) -> None:
    trials = index[["subject", "trial"]].drop_duplicates().sort_values(["subject", "trial"])
    subjects, row = np.unique(trials["subject"], return_inverse=True)
    column = trials.groupby("subject").cumcount().to_numpy()
    cell = pd.MultiIndex.from_frame(index[["subject", "trial"]])
    which = pd.MultiIndex.from_frame(trials).get_indexer(cell)
    grid, leak = np.zeros((len(subjects), column.max() + 1), int), len(parts) + 1
    for number, rows in enumerate(parts.values(), 1):
        mine = np.unique(which[rows])
        place = row[mine], column[mine]
        grid[place] = np.where(grid[place] == 0, number, leak)
    shades = [colour(name, number) for number, name in enumerate(parts)]
    edges = np.arange(grid.shape[1] + 1) + 0.5, np.arange(len(subjects) + 1) - 0.5
    cmap = ListedColormap(["white", *shades, COLOURS["leak"]])
    style = {"cmap": cmap, "vmin": -0.5, "vmax": leak + 0.5, "edgecolor": "white", "linewidth": 0.4}
    ax.pcolormesh(*edges, grid, **style)
    ax.set_yticks(range(len(subjects)), [f"s{subject:02d}" for subject in subjects], fontsize=6.5)
    n = int((grid == leak).sum())
    title = f"LEAK: {n} trials have windows in two parts" if n else "no trial in two parts"
    ax.set(xlabel="trial (number within the subject)", ylabel="subject", title=title)
    ax.invert_yaxis()
    squares = [Patch(color=shade, label=part_name(name)) for name, shade in zip(parts, shades, strict=True)]
    squares += [Patch(color=COLOURS["leak"], label="in two parts")] if n else []
    ax.legend(handles=squares, loc="upper center", bbox_to_anchor=(0.48, below), ncols=5)


@picture(10.5, 3.9)
def draw_leak(figure: FigureBase, windows: Windows, folds, scores: pd.DataFrame, protocol: str, labels: str) -> None:
    """Who trains and who is tested under a protocol, what both share, and the accuracy that comes of it."""
    mine = scores[scores["protocol"] == protocol]
    kinds = list(KINDS) if labels == "both" else [labels]
    fold, index = folds[protocol], windows.index
    _split(figure.add_axes((0.05, 0.2, 0.46, 0.7)), index, fold.parts(), -0.15)
    meter = figure.add_axes((0.585, 0.2, 0.15, 0.7))
    for place, kind in enumerate(kinds):
        values = 100 * mine[mine["labels"] == kind]["accuracy"].to_numpy()
        style = {"color": COLOURS["leak" if fold.leaky else "fusion"], "hatch": "" if kind == "true" else "///"}
        meter.bar(place, values.mean(), width=0.7, alpha=0.45, edgecolor="white", linewidth=0, **style)
        meter.scatter(np.full(len(values), place), values, s=14, color="0.2", zorder=3)
        meter.text(place, values.max() + 3, f"{values.mean():.1f}", ha="center", va="bottom")
    meter.set_xticks(range(len(kinds)), [KINDS[kind] for kind in kinds])
    meter.set(ylim=(0, 112), yticks=range(0, 101, 25), xlim=(-0.7, len(kinds) - 0.3), ylabel="test accuracy (%)")
    meter.set_title(f"nearest face, {len(values)} folds")
    chance_line(meter)
    said = figure.add_axes((0.785, 0.2, 0.21, 0.7))
    said.axis("off")
    said.set_title("of the test part, in training")
    for place, (name, (shared, n)) in enumerate(shared_units(index, fold).items()):
        leaks = name in ("windows", "trials") and shared > 0
        words = {"fontweight": "bold" if leaks else "normal", "fontsize": 8.5, "va": "top", "transform": said.transAxes}
        said.text(0, 0.9 - 0.13 * place, f"{shared} of {n} {name}{' (LEAK)' if leaks else ''}", **words)
    same = f"{100 * mine['same_trial'].mean():.1f} % of the nearest faces\nare of the same trial"
    said.text(0, 0.3, same, fontsize=8.5, va="top", transform=said.transAxes)


def shared_units(index: pd.DataFrame, fold) -> dict[str, tuple[int, int]]:
    """Of the windows, trials, subjects and stimuli in the test parts: how many are in training, and of how many."""
    test = np.concatenate(list(fold.tests().values()))
    units = {"windows": np.arange(len(index)), "trials": index.groupby(["subject", "trial"]).ngroup().to_numpy()}
    units |= {"subjects": index["subject"].to_numpy(), "stimuli": index["stimulus"].to_numpy()}
    pairs = {name: (set(values[test]), set(values[fold.train])) for name, values in units.items()}
    return {name: (len(tested & trained), len(tested)) for name, (tested, trained) in pairs.items()}


def leak_o_meter(windows: Windows, folds: Mapping[str, object], scores: pd.DataFrame) -> Panel:
    """Part: what is dealt as a whole, and what comes of it. Example: ``cd.plot.leak_o_meter(*lab.leak())``."""
    kinds = [("true", "true"), ("permuted between trials", "permuted"), ("both", "both")]
    wholes = [(f"{name}s", name) for name in folds]
    return Panel(
        bound(draw_leak, windows, folds, scores),
        {"protocol": buttons(wholes, "what is dealt as a whole"), "labels": buttons(kinds, "labels")},
        static={f"whole {name}s are dealt": {"protocol": name, "labels": "both"} for name in folds},
    )
