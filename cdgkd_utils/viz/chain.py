"""The method in one sketch, and the chain at work: what guides know, how softly they speak, who hears whom."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import FigureBase
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from scipy.special import entr, softmax

from ..data.constants import WINDOW_SECONDS
from .data import arrow, box, sketch
from .panel import Panel, bound, buttons, picture, stops, strip, whole
from .style import COLOURS, chance_line, colour, html_table, part_name
from .training import draw_grid

TEMPERATURES = np.geomspace(0.5, 16, 41)
BINS = np.linspace(0, 1, 21)
HARD = 0.95  # a soft target above this is hardly softer than the label
DASHES = ("-", "--", "-.", ":")


@picture(7.8, 3.4)
def draw_method(figure: FigureBase) -> None:
    """The method: teacher, assistants and student; who teaches whom. Example: ``cd.plot.draw_method()``."""
    ax = sketch(figure, "Part 1: a teacher with two branches, balanced.  Part 2: all larger networks teach the student")
    box(ax, 0.7, 2.15, "EEG", COLOURS["eeg"])
    box(ax, 0.7, 1.25, "video", COLOURS["video"])
    places = {"teacher": (2.8, 1.5), "assistant 1": (5.0, 1.1), "assistant 2": (6.9, 0.8), "student": (8.9, 0.8)}
    for role, (x, width) in places.items():
        for name, y in (("eeg", 2.1), ("video", 1.35)):
            if role != "student" or name == "video":
                size = {"width": 0.75 * width, "height": 0.36, "alpha": 0.4, "linewidth": 0}
                ax.add_patch(Rectangle((x - 0.375 * width, y - 0.18), color=COLOURS[name], **size))
                ax.text(x, y, "EEG" if name == "eeg" else name, ha="center", va="center", fontsize=7.5)
        y, height = (1.0, 0.7) if role == "student" else (1.0, 1.5)
        ax.add_patch(Rectangle((x - width / 2, y), width, height, fill=False, edgecolor=colour(role), linewidth=1.8))
        ax.text(x, 0.78, role, ha="center", va="center", color=colour(role), fontweight="bold")
    arrow(ax, (1.0, 2.15), (2.05, 2.1), COLOURS["eeg"])
    arrow(ax, (1.05, 1.3), (2.05, 1.35), COLOURS["video"])
    ax.text(1.5, 2.62, "the slower branch gets\na larger loss weight", ha="center", fontsize=8, color="0.3")
    bends = {"teacher": (("assistant 1", 0), ("assistant 2", -0.25), ("student", -0.35))}
    bends |= {"assistant 1": (("assistant 2", 0), ("student", -0.3)), "assistant 2": (("student", 0),)}
    for source, target, bend in ((source, *aim) for source, aims in bends.items() for aim in aims):
        (x, width), (end, other) = places[source], places[target]
        shift = {"teacher": -0.12, "assistant 1": 0.0, "assistant 2": 0.12}[source]
        top = 1.7 if target == "student" else 2.5
        ends = ((x + width / 2, 1.45), (end - other / 2, 1.45)) if bend == 0 else ((x, 2.5), (end + shift, top))
        arrow(ax, *ends, colour(source), bend=bend)
    said = {"ha": "center", "fontsize": 8, "color": "0.3"}
    ax.text(8.05, 3.35, "soft answers; in each mini-batch\neach guide may be silent", **said)
    ax.text(5.0, 0.25, "labels teach all four; at the end the student works alone, from video", **said)


@picture(8, lambda seen, *_, **__: 1.0 + 0.36 * len(seen))
def draw_memory(figure: FigureBase, seen: pd.Series, unseen: pd.Series, unseen_name: str = "unseen trials") -> None:
    """NLL (nats) of guides, seen and unseen, by name. Example: ``cd.plot.draw_memory(seen, unseen, lab.unseen)``."""
    height = 1.0 + 0.36 * len(seen)
    ax, rows = figure.add_axes((0.19, 0.5 / height, 0.5, 1 - 0.85 / height)), np.arange(len(seen))
    ax.hlines(rows, seen, unseen, color=COLOURS["absent"], linewidth=1.5, zorder=1)
    style = {"linestyle": "none", "markersize": 7}
    ax.plot(seen, rows, "o", color=COLOURS["train"], markeredgecolor="black", label="training windows", **style)
    ax.plot(unseen, rows, "o", color=COLOURS["test_trial"], label=unseen_name, **style)
    chance_line(ax, np.log(2), vertical=True, label="ln 2 (always one half)")
    ax.set_yticks(rows, list(seen.index))
    ax.set(xlim=(0, None), ylim=(len(seen) - 0.5, -0.5), xlabel="negative log-likelihood of the labels (nats)")
    ax.set_title("Far apart: the guide remembers. Close: it knows")
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1))


@picture(7.5, 2.2)
def draw_kept(figure: FigureBase, kept: np.ndarray, guides: Sequence[str], title: str = "") -> None:
    """Which guide taught when, `kept` (n_steps, n_guides). Example: ``cd.plot.draw_kept(run.kept, ["teacher"])``."""
    _raster(figure.add_axes((0.21, 0.22, 0.77, 0.62)), kept, guides, title)


def _raster(ax: Axes, kept: np.ndarray, guides: Sequence[str], title: str = "") -> None:
    kept = np.asarray(kept, dtype=bool)
    shades = np.array([to_rgb(colour(name, number)) for number, name in enumerate(guides)])
    image = np.where(kept.T[:, :, None], shades[:, None, :], 1.0)
    ax.imshow(image, aspect="auto", extent=(0.5, len(kept) + 0.5, len(guides) - 0.5, -0.5))
    for edge in np.arange(len(guides) - 1) + 0.5:
        ax.axhline(edge, color="white", linewidth=3)
    named = [f"{name} ({100 * share:.0f} %)" for name, share in zip(guides, kept.mean(axis=0), strict=True)]
    ax.set_yticks(range(len(guides)), named)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="training step (mini-batches)", title=title or "Guides kept (colour) and dropped (white)")


@picture(7.5, 2.9)
def draw_shares(figure: FigureBase, log: pd.DataFrame, names: Mapping[str, str] | None = None) -> None:
    """Shares of the loss, by labels and guide. Example: ``cd.plot.draw_shares(run.log, {"ta1": "assistant 1"})``."""
    columns = [column for column in log if column.startswith("loss_kd_")]
    terms = log[["loss_ce", *columns]].to_numpy(dtype=float)
    shares = 100 * terms / np.maximum(terms.sum(axis=1, keepdims=True), 1e-12)
    guides = [(names or {}).get(name, name) for name in (column.removeprefix("loss_kd_") for column in columns)]
    ax = figure.add_axes((0.09, 0.17, 0.68, 0.74))
    style = {"colors": [colour(name, n) for n, name in enumerate(["ce", *guides])], "alpha": 0.8}
    ax.stackplot(log["epoch"], shares.T, labels=["labels (CE)", *guides], edgecolor="white", **style)
    ax.set(xlim=(log["epoch"].min(), log["epoch"].max()), ylim=(0, 100))
    ax.set(xlabel="epoch (passes)", ylabel="share of the loss (%)", title="Who speaks to the student, and how loudly")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), reverse=True)


def _trials(answers: Any, part: str) -> list[tuple[int, int]]:
    index = answers.index.iloc[answers.rows(part)]
    return sorted({(int(s), int(t)) for s, t in zip(index["subject"], index["trial"], strict=True)})


def _soft(answers: Any, role: str, part: str, temperature: float) -> np.ndarray:
    """Soft targets of a guide, softmax(logits / T), of the windows of a part (Hinton et al. 2015)."""
    return softmax(np.asarray(answers.logits[role], float)[answers.rows(part)] / temperature, axis=1)


@picture(10.5, 3.5)
def draw_soft(figure: FigureBase, answers: Any, entropies: Callable, part: str, place: int, temperature: float) -> None:
    """Soft targets of trial number `place` of a part, of all its windows, and their entropy over T."""
    trials = _trials(answers, part)
    if not 1 <= place <= len(trials):
        raise ValueError(f"trial: there are {len(trials)} in the {part_name(part)} part, got number {place}")
    (subject, trial), index = trials[place - 1], answers.index.iloc[answers.rows(part)]
    mine = np.flatnonzero((index["subject"] == subject) & (index["trial"] == trial))
    mine = mine[np.argsort(index["window"].to_numpy()[mine])]
    start, labels = WINDOW_SECONDS * index["window"].to_numpy()[mine], answers.labels[answers.rows(part)]
    one, all_of, curves = (figure.add_axes((left, 0.15, 0.26, 0.62)) for left in (0.055, 0.395, 0.73))
    for role, marker, dash in zip(answers.guides, "os^D", DASHES, strict=False):
        shade = {"color": colour(role), "label": role}
        true = _soft(answers, role, part, temperature)[np.arange(len(labels)), labels]
        one.plot(start, true[mine], marker=marker, markersize=4.5, linewidth=1.1, alpha=0.9, **shade)
        all_of.stairs(100 * np.histogram(true, BINS)[0] / len(true), BINS, linestyle=dash, linewidth=1.5, **shade)
        curves.plot(TEMPERATURES, entropies(role, part), linestyle=dash, **shade)
    n_classes = np.shape(answers.logits[answers.guides[0]])[1]
    chance_line(one, 1 / n_classes)
    rated = f"rated {('low', 'high')[labels[mine[0]]]}" if n_classes == 2 else f"class {labels[mine[0]]}"
    one.set(ylim=(-0.03, 1.03), xlabel="window's start in the trial (s)", ylabel="soft target of the true class")
    one.set_title(f"subject {subject}, trial {trial}, {rated}")
    all_of.set(xlim=(0, 1), xlabel="soft target of the true class", ylabel="windows (%)")
    all_of.set_title(f"{part_name(part)}: all {len(labels)} windows")
    chance_line(curves, np.log(n_classes))
    curves.axvline(temperature, color="0.3", linewidth=1)
    curves.set(xscale="log", ylim=(0, 1.12 * np.log(n_classes)), xlabel="temperature T", ylabel="mean entropy (nats)")
    curves.set_xticks([0.5, 1, 2, 4, 8, 16], ["0.5", "1", "2", "4", "8", "16"], minor=False)
    curves.minorticks_off()
    curves.set_title(f"T = {temperature:.3g}; dashed: ln {n_classes}, no opinion")
    figure.legend(*one.get_legend_handles_labels(), loc="upper center", ncols=5)


def soft_targets(answers: Any) -> Panel:
    """Part: how soft guides are, the most doubted trial first. Example: ``cd.plot.soft_targets(answers)``."""
    index, rows = answers.index.iloc[answers.rows("train")], answers.rows("train")
    true = pd.Series(_soft(answers, answers.guides[0], "train", 1.0)[np.arange(len(rows)), answers.labels[rows]])
    mean = true.groupby([index["subject"].to_numpy(), index["trial"].to_numpy()]).mean()  # in the order of _trials
    place = int(mean.argmin()) + 1

    def summary(temperature: float, part: str, place: int) -> str:
        rows = {}
        for role in answers.guides:
            p = _soft(answers, role, part, temperature)
            mean_true = p[np.arange(len(p)), answers.labels[answers.rows(part)]].mean()
            rows[role] = [mean_true, entr(p).sum(axis=1).mean(), (p.max(axis=1) > HARD).mean()]
        columns = ["mean soft target of the true class", "mean entropy (nats)", f"share above {HARD}"]
        return html_table(pd.DataFrame.from_dict(rows, orient="index", columns=columns).round(3))

    options = [(f"{value:.2g}", float(value)) for value in TEMPERATURES]
    most = max(len(_trials(answers, part)) for part in answers.parts)
    controls = {
        "temperature": stops(options, options[16][1], "temperature"),
        "part": buttons([(part_name(part), part) for part in answers.parts], "part"),
        "place": whole(place, 1, most, 1, "trial (its number in the part)"),
    }
    frames = {f"T = {t:g}": {"temperature": t, "part": "train", "place": place} for t in (1.0, 2.0, 8.0)}

    @lru_cache
    def entropies(role: str, part: str) -> list[float]:  # the same for all moves within a part
        return [entr(_soft(answers, role, part, t)).sum(axis=1).mean() for t in TEMPERATURES]

    return Panel(bound(draw_soft, answers, entropies), controls, text=summary, static=frames)


@picture(4.3, 3.9)
def draw_agreement(figure: FigureBase, answers: Any, part: str) -> None:
    """How often networks and labels give the same answer. Example: ``cd.plot.draw_agreement(answers, "train")``."""
    matrix = answers.agreement(part)
    ax = figure.add_axes((0.24, 0.25, 0.73, 0.66))
    draw_grid(ax, matrix, (min(0.5, float(matrix.min(axis=None))), 1.0), "{:.0f}")
    ax.set_xticks(range(len(matrix)), matrix.columns, rotation=35, ha="right", rotation_mode="anchor")
    ax.set_title(f"Same answer (% of windows), {part_name(part)}", x=-0.25)


def agreement(answers: Any) -> Panel:
    """Part: does the student listen? Equal answers by part. Example: ``cd.plot.agreement(answers)``."""
    draw, parts = bound(draw_agreement, answers), [(part_name(part), part) for part in answers.parts]
    settings = {name: {"part": part} for name, part in parts}
    return Panel(draw, {"part": buttons(parts, "part")}, static=lambda: strip(draw, settings, columns=2))


@picture(9, 2.2)
def draw_silence(figure: FigureBase, learners: Mapping[str, tuple], learner: str, n_steps: int | None = None) -> None:
    """Which guide a learner heard when (the first `n_steps`); `learners` are (kept, guides, drop) by role."""
    kept, guides, drop = learners[learner]
    silent, expected = 100 * np.mean(~np.asarray(kept).any(axis=1)), 100 * drop ** len(guides)
    title = f"{learner}: no guide speaks in {silent:.1f} % of all {len(kept)} mini-batches (expected {expected:.1f} %)"
    _raster(figure.add_axes((0.18, 0.24, 0.8, 0.6)), kept[:n_steps], guides, title)


def silence(learners: Mapping[str, tuple]) -> Panel:
    """Part: which guide is silent when. Example: ``cd.plot.silence(lab.silence(lab.chain()))``."""
    longest, names = max(len(kept) for kept, _, _ in learners.values()), list(learners)
    controls = {
        "learner": buttons(names, "who learns", value=names[-1]),
        "n_steps": whole(min(120, longest), min(10, longest), longest, 10, "first mini-batches"),
    }
    static = {name: {"learner": name, "n_steps": 120} for name in names}
    return Panel(bound(draw_silence, learners), controls, static=static)
