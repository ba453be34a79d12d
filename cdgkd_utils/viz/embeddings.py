"""Embeddings and prototypes in two dimensions."""

from __future__ import annotations

from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.decomposition import PCA

from .style import COLOURS

METHODS = ("umap", "pca")
CLASSES = ("low", "high")


class Projection(NamedTuple):
    """A projection into two dimensions.

    Attributes
    ----------
    xy : ndarray, shape (n_shown, 2)
    rows : ndarray, shape (n_shown,)
        Which embeddings are shown, ascending.
    prototypes_xy : ndarray, shape (n_classes, 2)
    """

    xy: np.ndarray
    rows: np.ndarray
    prototypes_xy: np.ndarray


def project(
    embeddings: np.ndarray,
    prototypes: np.ndarray,
    n_points: int,
    rng: np.random.Generator,
    method: str = "umap",
) -> Projection:
    """Project embeddings, and the prototypes with the same map.

    To show training and test windows in one map, project them together and pick by `rows`.

    Parameters
    ----------
    embeddings : ndarray, shape (n_windows, n_features)
    prototypes : ndarray, shape (n_classes, n_features)
    n_points : int
        Largest number of windows that are embedded; `rng` draws them.
    rng : numpy Generator
    method : {"umap", "pca"}
        UMAP coordinates differ between machines and versions: look at them, never compare them. PCA is exact.

    Returns
    -------
    Projection

    Raises
    ------
    ValueError
        An unknown method, or shapes that do not fit.
    """
    if method not in METHODS:
        raise ValueError(f"method: expected one of {', '.join(METHODS)}, got {method!r}")
    if embeddings.ndim != 2 or prototypes.ndim != 2 or embeddings.shape[1] != prototypes.shape[1]:
        raise ValueError(
            "embeddings and prototypes: expected two-dimensional arrays with the same n_features, "
            f"got {embeddings.shape} and {prototypes.shape}"
        )
    n_windows = len(embeddings)
    rows = np.sort(rng.choice(n_windows, size=min(n_points, n_windows), replace=False))
    if method == "pca":
        reducer = PCA(2, random_state=0)
    else:
        # Imported here: umap compiles for seconds at first use, and only this picture needs it.
        from umap import UMAP

        # A fixed random_state makes umap run on one thread anyway; saying so avoids its warning.
        reducer = UMAP(n_neighbors=min(15, len(rows) - 1), random_state=0, n_jobs=1)
    xy = np.asarray(reducer.fit_transform(embeddings[rows]))
    return Projection(xy, rows, np.asarray(reducer.transform(prototypes)))


def scatter(
    ax: Axes | None,
    xy: np.ndarray,
    labels: np.ndarray,
    prototypes_xy: np.ndarray | None = None,
    title: str = "",
    note: str = "",
    axis_name: str = "UMAP",
) -> Axes:
    """Windows as dots in their class colour, prototypes as stars.

    Parameters
    ----------
    ax : Axes or None
    xy : ndarray, shape (n_shown, 2)
    labels : ndarray, shape (n_shown,)
        0 (low) or 1 (high).
    prototypes_xy : ndarray, shape (2, 2), optional
        Row 0 is the prototype of low.
    title : str
    note : str
        Written under the panel, such as the separation numbers.
    axis_name : str
        Name of the projection.

    Returns
    -------
    Axes
    """
    if len(xy) != len(labels):
        raise ValueError(f"xy and labels: expected the same length, got {len(xy)} and {len(labels)}")
    ax = ax or plt.subplots(figsize=(3.8, 3.8))[1]
    for value, name in enumerate(CLASSES):
        points = xy[np.asarray(labels) == value]
        ax.scatter(*points.T, s=7, color=COLOURS[name], alpha=0.45, linewidth=0, label=name)
    if prototypes_xy is not None:
        for name, point in zip(CLASSES, prototypes_xy, strict=True):
            ax.scatter(
                *point, s=190, marker="*", color=COLOURS[name], edgecolor="white", zorder=4, label=f"prototype {name}"
            )
    ax.set(xticks=[], yticks=[], title=title)
    ax.set_xlabel(f"{axis_name} 1 (arbitrary unit)" + (f"\n{note}" if note else ""))
    ax.set_ylabel(f"{axis_name} 2 (arbitrary unit)")
    return ax


def shared_legend(figure: Figure) -> None:
    """One legend below all panels of a figure, so that none lies on the points."""
    entries = figure.axes[0].get_legend_handles_labels()
    figure.legend(*entries, loc="outside lower center", ncols=len(entries[1]), markerscale=1.2)
