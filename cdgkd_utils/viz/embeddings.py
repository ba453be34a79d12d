"""Embeddings and prototypes in two dimensions, and how they move while a teacher trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.artist import setp
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.ticker import MaxNLocator

from ..results.metrics import separation
from .panel import Panel, bound, buttons, picture, stops, strip
from .style import COLOURS, colour, part_name
from .training import NAMES, draw_curve

CLASSES = ("low", "high")


def project(embeddings: np.ndarray, prototypes: np.ndarray, n_points: int, rng) -> tuple:
    """UMAP of at most `n_points` windows, drawn by `rng`: points (n_shown, 2), their rows, and prototypes' points.

    Embeddings (n_windows, n_features), prototypes (n_classes, n_features). Coordinates differ between machines: look
    at them, never compare them. Example: ``xy, rows, stars = cd.plot.project(embeddings, prototypes, 600, rng)``.
    """
    from umap import UMAP  # compiles for seconds at first use, and only this picture needs it

    rows = np.sort(rng.choice(len(embeddings), size=min(n_points, len(embeddings)), replace=False))
    # A fixed random_state makes umap run on one thread anyway; saying so avoids its warning.
    reducer = UMAP(n_neighbors=min(15, len(rows) - 1), random_state=0, n_jobs=1)
    xy = np.asarray(reducer.fit_transform(embeddings[rows]))
    return xy, rows, np.asarray(reducer.transform(prototypes))


def scatter(ax: Axes, xy: np.ndarray, labels: np.ndarray, stars: np.ndarray | None = None, size: float = 1.0) -> None:
    """Windows as dots in the colour of their class, prototypes as stars."""
    n = 1 + max(int(np.max(labels, initial=0)), 0 if stars is None else len(stars) - 1)
    names = CLASSES if n <= 2 else [f"class {k}" for k in range(n)]
    for k, name in enumerate(names):
        style = {"color": colour(name, k), "label": name}
        marker = "o" if k % 2 == 0 else "s"
        ax.scatter(*xy[np.asarray(labels) == k].T, s=8 * size, marker=marker, alpha=0.5, linewidth=0, **style)
        if stars is not None:
            star = {"s": 170 * size, "marker": "*", "edgecolor": "white", "zorder": 4}
            ax.scatter(*stars[k], **star | style | {"label": f"prototype {name}"})
    ax.set(xticks=[], yticks=[])


@picture(7.6, lambda panels, **_: 3.75 * -(-len(panels) // 2) + 0.4)
def draw_embeddings(figure: FigureBase, panels: Mapping[str, Sequence]) -> None:
    """Windows and prototypes; `panels` are (xy, labels, prototypes_xy, note) by title."""
    n_rows, n_columns = -(-len(panels) // 2), min(2, len(panels))
    height = 3.75 * n_rows + 0.4
    axes = figure.subplots(n_rows, n_columns, squeeze=False)
    edges = {"left": 0.05, "right": 0.99, "top": 1 - 0.3 / height, "bottom": 0.95 / height}
    figure.subplots_adjust(**edges, wspace=0.12, hspace=0.25)
    for ax in axes.flat[len(panels) :]:
        ax.axis("off")
    for ax, (title, (xy, labels, stars, note)) in zip(axes.flat, panels.items(), strict=False):
        scatter(ax, xy, labels, stars)
        ax.set(title=title, xlabel=f"UMAP 1 (arbitrary unit)\n{note}", ylabel="UMAP 2 (arbitrary unit)")
    entries = axes[0, 0].get_legend_handles_labels()
    figure.legend(*entries, loc="lower center", ncols=len(entries[1]), markerscale=1.2)


@picture(5.5, 2.9)
def draw_own_class(figure: FigureBase, probabilities: Mapping[str, np.ndarray]) -> None:
    """How sure prototypes are of windows' own classes. Example: ``cd.plot.draw_own_class({"eeg": p, "video": q})``."""
    ax = figure.add_axes((0.11, 0.17, 0.87, 0.72))
    for name, p in probabilities.items():
        ax.hist(np.asarray(p), np.linspace(0, 1, 41), color=COLOURS[name], alpha=0.6, label=name)
    ax.axvline(0.5, color=COLOURS["chance"], linestyle="--", linewidth=1)
    ax.set(xlabel="probability of the own class", ylabel="windows", title="Which modality is sure of its windows?")
    ax.legend()


class Scene(NamedTuple):
    """Recorded trainings in two dimensions: one projection per modality, so that only the embeddings move.

    ``points, stars`` by (history, modality): (n_frames, n_shown or n_classes, 2); by modality ``explained``, both axes'
    shares of the variance, and ``reach``, half the width of the frame; ``gaps`` by (teacher, modality, part): per
    frame, the distance of the class means over the spread within a class.
    """

    histories: dict[str, Any]
    epochs: np.ndarray
    points: dict
    stars: dict
    explained: dict
    reach: dict
    gaps: dict


def make_scene(histories: Mapping[str, Any]) -> Scene:
    """Project all frames of all histories, of the same windows, by one principal component analysis per modality.

    It is fitted to the training windows of the last frame. Each frame is centred on its training windows: distances to
    prototypes do not depend on where the cloud lies. Frames that not all histories have (an early stop) are left out.
    Example: ``cd.plot.make_scene({"plain": history, "rebalanced": other})``.
    """
    from sklearn.decomposition import PCA

    first = next(iter(histories.values()))
    if any(not np.array_equal(h.rows, first.rows) for h in histories.values()):
        raise ValueError("histories: expected the same windows in all; record them on one fold of one study")
    n = min(len(h.epochs) for h in histories.values())
    train = np.asarray(first.parts) == "train"
    points, stars, explained, reach, gaps = {}, {}, {}, {}, {}
    for m in NAMES:
        clouds = {name: np.asarray(h.embeddings[m][:n], float) for name, h in histories.items()}
        centres = {name: cloud[:, train].mean(axis=1, keepdims=True) for name, cloud in clouds.items()}
        last = np.concatenate([(clouds[name] - centres[name])[-1, train] for name in histories])
        pca = PCA(2, svd_solver="full").fit(last)
        # The sign of a component is arbitrary: the last class' prototype stands right of, and above, the first one's.
        across = np.asarray(first.prototypes[m][n - 1][-1] - first.prototypes[m][n - 1][0], float)
        axes = pca.components_ * np.where(pca.components_ @ across < 0, -1.0, 1.0)[:, None]
        for name, h in histories.items():
            points[name, m] = (clouds[name] - centres[name]) @ axes.T
            stars[name, m] = (h.prototypes[m][:n] - centres[name]) @ axes.T
            for part in ("train", "val"):
                inside = np.asarray(h.parts) == part
                frames = clouds[name][:, inside]
                gaps[name, m, part] = [separation(frame, h.labels[inside])["gap_within"] for frame in frames]
        explained[m] = pca.explained_variance_ratio_
        far = [np.quantile(np.abs(points[name, m]).max(axis=2), 0.98, axis=1).max() for name in histories]
        reach[m] = 1.05 * float(max(far))
    return Scene(dict(histories), first.epochs[:n], points, stars, explained, reach, gaps)


@picture(8.2, 3.1)
def draw_gap(figure: FigureBase, scene: Scene) -> None:
    """How far apart the classes stand in each embedding, by part. Example: ``cd.plot.draw_gap(scene)``."""
    axes = figure.subplots(1, 2)
    figure.subplots_adjust(left=0.075, right=0.99, top=0.9, bottom=0.32, wspace=0.16)
    for ax, m in zip(axes, NAMES, strict=True):
        looks = zip(scene.histories, ("ce", "fusion", "student", "ta2"), (3.5, 1.4, 1.4, 1.4), strict=False)
        for name, shade, width in looks:  # the first is broad: others may lie on it
            for part, dash in (("train", "-"), ("val", "--")):
                style = {"color": COLOURS[shade], "linewidth": width, "label": f"{name}, {part_name(part)}"}
                ax.plot(scene.epochs, scene.gaps[name, m, part], dash, **style)
        ax.set(xlabel="epoch (passes)", title=f"{NAMES[m]}: gap between the classes", ylim=(0, None))
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0].set_ylabel("distance / spread")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="lower center", ncols=4, handlelength=2.4)


def _tug_height(scene: Scene, *_, curves: bool = True, **__) -> float:
    return 2.5 * len(scene.histories) + 0.85 if curves else 4.2 * len(scene.histories)


@picture(lambda *_, curves=True, **__: 10.8 if curves else 2.1, _tug_height)
def draw_tug(figure: FigureBase, scene: Scene, epoch: int, part: str = "train", curves: bool = True) -> None:
    """Both embeddings as `epoch` begins, a row per teacher, beside the balance; without `curves` the clouds alone."""
    names, frame = list(scene.histories), int(np.flatnonzero(scene.epochs == epoch)[0])
    height = _tug_height(scene, curves=curves)
    if curves:
        axes = figure.subplots(len(names), 4, squeeze=False)
        figure.subplots_adjust(
            left=0.03, right=0.99, bottom=0.95 / height, top=1 - 0.3 / height, hspace=0.2, wspace=0.33
        )
    else:
        axes = figure.subplots(2 * len(names), 1).reshape(len(names), 2)
        figure.subplots_adjust(left=0.08, right=0.99, bottom=0.01, top=1 - 0.2 / height, hspace=0.14)
    for line, name in zip(axes, names, strict=True):
        history = scene.histories[name]
        inside = np.asarray(history.parts) == part
        for ax, m in zip(line, NAMES, strict=False):
            reach = scene.reach[m]
            xy = scene.points[name, m][frame, inside].clip(-reach, reach)
            scatter(ax, xy, history.labels[inside], scene.stars[name, m][frame], 1 if curves else 0.5)
            for k in range(scene.stars[name, m].shape[1]):  # the way they have come
                ax.plot(*scene.stars[name, m][: frame + 1, k].T, color=ax.collections[2 * k].get_facecolor()[0][:3])
            ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
            gap = scene.gaps[name, m, part][frame]
            if curves:
                shares = 100 * scene.explained[m]
                ax.set(title=f"{name}: {NAMES[m]}, gap {gap:.2f}", xlabel=f"PCA 1 ({shares[0]:.0f} % of the variance)")
                ax.set_ylabel(f"PCA 2 ({shares[1]:.0f} %)", labelpad=1)
            else:
                ax.set_title(f"{NAMES[m]}, gap {gap:.2f}", fontsize=8, pad=2)
                ax.set_ylabel(name, fontsize=8, labelpad=1)
        if curves:
            _balance(line[2:], history.log, epoch)
    if curves:
        for ax in axes[:-1].flat:
            ax.set_xlabel("")
            ax.tick_params(labelbottom=False)
        for column in axes[:, 2:].T:
            for edge in ("xlim", "ylim"):
                ends = np.array([getattr(ax, f"get_{edge}")() for ax in column])
                setp(column, **{edge: (ends.min(), ends.max())})
        for ax, x in ((axes[0, 0], 0.02), (axes[0, 2], 0.53), (axes[0, 3], 0.79)):
            entries = ax.get_legend_handles_labels()
            figure.legend(*entries, loc="lower left", bbox_to_anchor=(x, 0), ncols=4, columnspacing=1, handlelength=1.3)


def _balance(axes: Sequence[Axes], log: pd.DataFrame, epoch: int) -> None:
    row = log.set_index("epoch").loc[epoch]
    said = {"ratio": f"ratio {row['imbalance_ratio']:.2f}", "weights": f"EEG weight {row['eeg_weight']:.2f}"}
    for ax, kind in zip(axes, said, strict=True):
        draw_curve(ax, log, kind)
        ax.axvline(epoch, color=COLOURS["fusion"], linewidth=1.4, zorder=0)
        ax.set_title(f"epoch {epoch}: {said[kind]}")


def tug_of_war(scene: Scene, n_frames: int = 5) -> Panel:
    """Part: both embeddings over the epochs, and a film strip. Example: ``cd.plot.tug_of_war(scene)``."""
    epochs = [int(epoch) for epoch in scene.epochs]
    shown = [epochs[i] for i in np.unique(np.linspace(0, len(epochs) - 1, n_frames).round().astype(int))]
    parts = [(f"{part_name(part)} windows", part) for part in ("train", "val")]

    draw = bound(draw_tug, scene)
    frames = {f"epoch {epoch}": {"epoch": epoch, "curves": False} for epoch in shown}
    controls = {"epoch": stops(epochs, epochs[-1], "epoch"), "part": buttons(parts, "shown")}
    return Panel(draw, controls, static=lambda: strip(draw, frames, columns=n_frames))
