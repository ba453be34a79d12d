"""Recorded trainings in two dimensions: one projection per modality, in which nothing moves but the embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from sklearn.decomposition import PCA

from ...experiments.panels import MODALITIES, PARTS, History
from ...results.metrics import separation


@dataclass(frozen=True)
class Scene:
    """Histories in two dimensions, ready to be drawn at any epoch.

    Attributes
    ----------
    histories : dict of str to History
        By the name shown; all with the same windows and frames.
    points : dict of (str, str) to ndarray, shape (n_frames, n_shown, 2)
        By history and modality.
    stars : dict of (str, str) to ndarray, shape (n_frames, n_classes, 2)
        Prototypes.
    explained : dict of str to ndarray, shape (2,)
        By modality: share of the variance of what the projection was fitted to, per axis.
    reach : dict of str to float
        By modality: half the width of the frame, in units of the embedding; the few windows farther out are drawn
        on its edge.
    """

    histories: dict[str, History]
    points: dict[tuple[str, str], np.ndarray]
    stars: dict[tuple[str, str], np.ndarray]
    explained: dict[str, np.ndarray]
    reach: dict[str, float]

    @property
    def epochs(self) -> np.ndarray:
        return next(iter(self.histories.values())).epochs

    def frame(self, epoch: int) -> int:
        """Number of the frame that begins `epoch`."""
        found = np.flatnonzero(self.epochs == epoch)
        if not len(found):
            raise ValueError(f"epoch: expected one of {', '.join(map(str, self.epochs))}, got {epoch}")
        return int(found[0])


def make_scene(histories: Mapping[str, History]) -> Scene:
    """Project all frames of all histories by one principal component analysis (PCA) per modality.

    Fitted to the training windows of the last frame, of all histories together. Each frame is centred on its
    training windows: distances to prototypes, and so the balance, do not depend on where the cloud lies.

    Parameters
    ----------
    histories : mapping of str to History
        By the name shown. Frames that not all histories have (an early stop) are left out.

    Raises
    ------
    ValueError
        There is none, or they show other windows.
    """
    if not histories:
        raise ValueError("histories: expected at least one, got none")
    first = next(iter(histories.values()))
    if any(not np.array_equal(h.rows, first.rows) for h in histories.values()):
        raise ValueError("histories: expected the same windows in all; record them on one fold of one study")
    n_frames = min(len(h.epochs) for h in histories.values())
    train = first.parts == "train"
    points, stars, explained, reach = {}, {}, {}, {}
    for m in MODALITIES:
        clouds = {name: h.embeddings[m][:n_frames].astype(float) for name, h in histories.items()}
        centres = {name: cloud[:, train].mean(axis=1, keepdims=True) for name, cloud in clouds.items()}
        last = [(clouds[name] - centres[name])[-1, train] for name in histories]
        pca = PCA(2, svd_solver="full").fit(np.concatenate(last))
        axes = pca.components_.copy()
        # The sign of a component is arbitrary: the prototype of high stands right of, and above, that of low.
        low, high = first.prototypes[m][n_frames - 1].astype(float)
        axes *= np.where(axes @ (high - low) < 0, -1.0, 1.0)[:, None]
        for name, h in histories.items():
            points[name, m] = (clouds[name] - centres[name]) @ axes.T
            stars[name, m] = (h.prototypes[m][:n_frames] - centres[name]) @ axes.T
        explained[m] = pca.explained_variance_ratio_
        reach[m] = _reach([points[name, m] for name in histories])
    kept = {name: _first_frames(h, n_frames) for name, h in histories.items()}
    return Scene(kept, points, stars, explained, reach)


def _reach(clouds: list[np.ndarray]) -> float:
    """Half the width of a square around the origin that holds 98 % of the windows in every frame."""
    farthest = [np.abs(cloud).max(axis=2) for cloud in clouds]
    return 1.05 * max(float(np.quantile(frame, 0.98)) for cloud in farthest for frame in cloud)


def _first_frames(history: History, n_frames: int) -> History:
    return History(**vars(history) | {"epochs": history.epochs[:n_frames]})


def balance_at(scene: Scene, name: str, epoch: int, part: str) -> dict[str, float]:
    """The numbers of one moment.

    Parameters
    ----------
    scene : Scene
    name : str
        Of the history.
    epoch : int
    part : {"train", "val"}

    Returns
    -------
    dict
        ``imbalance_ratio, eeg_weight, video_weight`` of the log, and ``gap_eeg, gap_video``: distance of the class
        means over the spread within a class (:func:`~cdgkd_utils.results.metrics.separation`), of all dimensions.
    """
    if part not in PARTS:
        raise ValueError(f"part: expected one of {', '.join(PARTS)}, got {part!r}")
    history, frame = scene.histories[name], scene.frame(epoch)
    row, inside = history.seen.loc[epoch], history.parts == part
    numbers = {column: float(row[column]) for column in ("imbalance_ratio", "eeg_weight", "video_weight")}
    for m in MODALITIES:
        values = separation(history.embeddings[m][frame, inside], history.labels[inside])
        numbers[f"gap_{m}"] = values["gap_within"]
    return numbers


def strip_epochs(scene: Scene, n_frames: int) -> list[int]:
    """At most `n_frames` epochs, evenly spaced over the frames, first and last among them."""
    if n_frames < 2:
        raise ValueError(f"n_frames: expected 2 or more, got {n_frames}")
    chosen = np.linspace(0, len(scene.epochs) - 1, min(n_frames, len(scene.epochs))).round().astype(int)
    return [int(epoch) for epoch in scene.epochs[np.unique(chosen)]]
