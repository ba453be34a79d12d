"""Cutting the face out of the frames of a clip: boxes followed from frame to frame, a mask, no frame lost."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import gaussian_filter1d

from .hog768 import box_reduce

PAD = 0.3  # of the box on each side: landmarks end at the brows and the chin
MAX_GAP = 2  # frames
SMOOTH = 1.0  # frames, sd of the smoothing
NEAR = 0.75  # of the larger edge: how far a face may move between two frames and be the same
LIKE = 2.0  # how much larger or smaller it may become


def central_boxes(n_frames: int, height: int, width: int) -> np.ndarray:
    """The largest square in the middle of each picture, shape (n_frames, 4): left, top, right, bottom in pixels."""
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    return np.tile(np.array([left, top, left + side, top + side], float), (n_frames, 1))


def track_face(
    candidates: Sequence[np.ndarray], height: int, width: int, max_gap: int = MAX_GAP, smooth: float = SMOOTH
) -> tuple[np.ndarray, np.ndarray]:
    """Follow one face through the boxes that a detector found.

    The track starts at the largest box of the clip and goes both ways. The next box is the nearest one
    that is close to the last (centre within 0.75 edges, edge within a factor of 2); once `max_gap` frames
    have passed without one, it is the largest, wherever it is. Frames without a box get one by linear
    interpolation (the nearest one at the ends); then centres and edges are smoothed by a Gaussian along
    the frames.

    Parameters
    ----------
    candidates : sequence of ndarray, shape (n_faces, 4)
        For each frame the boxes found: left, top, right, bottom in pixels; empty where there is none.
    height, width : int
        Of the pictures in pixels.
    max_gap : int
        A frame is valid up to so many frames from one where the face was found.
    smooth : float
        Standard deviation of the smoothing in frames; 0 for none.

    Returns
    -------
    boxes : ndarray, shape (n_frames, 4)
        Square; the central square in all frames where no face was found in the whole clip.
    mask : ndarray, shape (n_frames,), bool
        True where the box can be trusted.

    Raises
    ------
    ValueError
        A candidate is not a box with four finite numbers and a positive area.
    """
    n_frames = len(candidates)
    found = [_centres(boxes, number) for number, boxes in enumerate(candidates)]
    chosen = _follow(found, max_gap)
    seen = np.flatnonzero(~np.isnan(chosen[:, 0]))
    if not len(seen):
        return central_boxes(n_frames, height, width), np.zeros(n_frames, bool)
    numbers = np.arange(n_frames)
    track = np.column_stack([np.interp(numbers, seen, column) for column in chosen[seen].T])
    if smooth > 0:
        track = gaussian_filter1d(track, smooth, axis=0, mode="nearest")
    centre = np.clip(track[:, :2], 0, (width, height))
    half = track[:, 2:] / 2
    mask = np.abs(numbers[:, None] - seen).min(axis=1) <= max_gap
    return np.hstack([centre - half, centre + half]), mask


def cut_boxes(frames: np.ndarray, boxes: np.ndarray, size: int) -> np.ndarray:
    """Cut a square out of each frame and reduce it by area.

    Parameters
    ----------
    frames : ndarray, shape (n_frames, height, width, 3), uint8
    boxes : ndarray, shape (n_frames, 4)
        Squares, rounded to whole pixels. Where one reaches beyond the picture, the picture's edge is repeated.
    size : int
        Edge of the result in pixels.

    Returns
    -------
    ndarray, shape (n_frames, size, size, 3), uint8
    """
    height, width = frames.shape[1:3]
    out = np.empty((len(frames), size, size, 3), np.uint8)
    for cut, frame, box in zip(out, frames, np.asarray(boxes, float), strict=True):
        side = max(int(np.rint(box[2] - box[0])), 1)
        left, top = np.rint(box[:2]).astype(int)
        rows = np.clip(np.arange(top, top + side), 0, height - 1)
        columns = np.clip(np.arange(left, left + side), 0, width - 1)
        cut[:] = box_reduce(frame[rows[:, None], columns][None], size)[0]
    return out


def crop_faces(
    frames: np.ndarray,
    size: int,
    candidates: Sequence[np.ndarray] | None = None,
    pad: float = PAD,
    max_gap: int = MAX_GAP,
    smooth: float = SMOOTH,
) -> tuple[np.ndarray, np.ndarray]:
    """Face pictures from the frames of one clip.

    Parameters
    ----------
    frames : ndarray, shape (n_frames, height, width, 3), uint8
        In the order of the clip.
    size : int
        Edge of the face pictures in pixels.
    candidates : sequence of ndarray, shape (n_faces, 4), optional
        Boxes that a detector found in each frame, for instance
        :func:`~cdgkd_utils.data.extractors.mediapipe_faces.find_boxes`. None takes the central square of
        every frame and believes it.
    pad : float
        Margin on each side as a part of the box.
    max_gap, smooth
        As in :func:`track_face`.

    Returns
    -------
    faces : ndarray, shape (n_frames, size, size, 3), uint8
        One for each frame, also where the mask is False.
    mask : ndarray, shape (n_frames,), bool
        False where no face was found in the frame or near it.

    Raises
    ------
    ValueError
        `candidates` do not belong to `frames`, or one is not a box.
    """
    n_frames, height, width = frames.shape[:3]
    if candidates is None:
        return cut_boxes(frames, central_boxes(n_frames, height, width), size), np.ones(n_frames, bool)
    if len(candidates) != n_frames:
        raise ValueError(f"candidates: expected boxes for each of {n_frames} frames, got {len(candidates)}")
    boxes, mask = track_face(candidates, height, width, max_gap, smooth)
    if mask.any():
        margin = pad * (boxes[:, 2:] - boxes[:, :2])
        boxes = np.hstack([boxes[:, :2] - margin, boxes[:, 2:] + margin])
    return cut_boxes(frames, boxes, size), mask


def _centres(boxes: np.ndarray, number: int) -> np.ndarray:
    """Centre x, centre y and larger edge of each box, shape (n_faces, 3)."""
    boxes = np.asarray(boxes, float)
    if boxes.size == 0:
        return np.zeros((0, 3))
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not np.isfinite(boxes).all() or (boxes[:, 2:] <= boxes[:, :2]).any():
        raise ValueError(
            f"candidates[{number}]: expected boxes (left, top, right, bottom) with left < right and top < bottom, "
            f"got {boxes.tolist()}"
        )
    edge = (boxes[:, 2:] - boxes[:, :2]).max(axis=1)
    return np.column_stack([(boxes[:, :2] + boxes[:, 2:]) / 2, edge])


def _follow(found: list[np.ndarray], max_gap: int) -> np.ndarray:
    """The chosen box of each frame, shape (n_frames, 3), NaN where none belongs to the track."""
    chosen = np.full((len(found), 3), np.nan)
    largest = [boxes[:, 2].max(initial=0) for boxes in found]
    if not any(largest):
        return chosen
    start = int(np.argmax(largest))
    chosen[start] = found[start][found[start][:, 2].argmax()]
    for frames in (range(start + 1, len(found)), range(start - 1, -1, -1)):
        last, n_missed = chosen[start], 0
        for number in frames:
            boxes = found[number]
            distance = np.hypot(*(boxes[:, :2] - last[:2]).T) / np.maximum(boxes[:, 2], last[2])
            ratio = np.maximum(boxes[:, 2] / last[2], last[2] / boxes[:, 2])
            same = (distance <= NEAR) & (ratio <= LIKE)
            if same.any():
                pick = np.where(same, distance, np.inf).argmin()
            elif len(boxes) and n_missed >= max_gap:
                pick = boxes[:, 2].argmax()
            else:
                n_missed += 1
                continue
            chosen[number] = last = boxes[pick]
            n_missed = 0
    return chosen
