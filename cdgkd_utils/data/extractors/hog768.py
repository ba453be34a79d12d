"""Visual features of face pictures: 64 x 64 colour in, 768 numbers out."""

from __future__ import annotations

import numpy as np
from PIL import Image

from ..constants import N_VIDEO_FEATURES

PICTURE = 64  # pixels, edge of the picture that extractors see
CELL = 8  # pixels
N_ORIENTATIONS = 12
LUMA = tuple(np.float32([0.299, 0.587, 0.114]))  # ITU-R BT.601, as in the video codec
NOISE_FLOOR = 16.0  # grey levels: cells with a weaker gradient than this fade out instead of showing noise


def box_reduce(frames: np.ndarray, size: int = PICTURE) -> np.ndarray:
    """Shrink square pictures by averaging areas (PIL's box filter).

    Parameters
    ----------
    frames : ndarray, shape (n, height, width, 3), uint8
        Square: height equals width.
    size : int
        Edge of the result in pixels.

    Returns
    -------
    ndarray, shape (n, size, size, 3), uint8

    Raises
    ------
    ValueError
        The pictures are not square 8-bit colour pictures.
    """
    _check(frames, None)
    if frames.shape[1] == size:
        return frames
    factor, rest = divmod(frames.shape[1], size)
    out = np.empty((len(frames), size, size, 3), dtype=np.uint8)
    for reduced, frame in zip(out, frames, strict=True):
        picture = Image.fromarray(frame)
        # Whole factors have a faster routine for the same average (rounding may differ by 1).
        reduced[:] = picture.resize((size, size), Image.Resampling.BOX) if rest else picture.reduce(factor)
    return out


def hog768(frames: np.ndarray) -> np.ndarray:
    """Histograms of oriented gradients: 8 x 8 cells of 8 x 8 pixels, 12 signed orientations.

    Each pixel's gradient (central differences; zero across the border) adds its magnitude to the two
    nearest orientations, shared linearly; each cell is divided by its Euclidean norm, softened by
    ``NOISE_FLOOR``. Needs no trained weights and has exactly the width of a ViT-B embedding. After
    Dalal and Triggs (2005), without overlapping blocks.

    Parameters
    ----------
    frames : ndarray, shape (n, 64, 64, 3), uint8

    Returns
    -------
    ndarray, shape (n, 768), float32
        Order: cell row, cell column, orientation; orientation k points to ``30 k`` degrees, from
        dark to bright, 0 = right, 90 = down.

    Raises
    ------
    ValueError
        The pictures have another shape or type.
    """
    _check(frames, PICTURE)
    grey = sum(weight * frames[..., channel] for channel, weight in enumerate(LUMA))
    right, down = np.zeros_like(grey), np.zeros_like(grey)
    right[:, :, 1:-1] = (grey[:, :, 2:] - grey[:, :, :-2]) / 2
    down[:, 1:-1] = (grey[:, 2:] - grey[:, :-2]) / 2
    magnitude = np.hypot(right, down)
    place = np.arctan2(down, right) * np.float32(N_ORIENTATIONS / (2 * np.pi))
    lower = np.floor(place)
    share = magnitude * (place - lower)
    lower = lower.astype(np.int64) % N_ORIENTATIONS

    n, n_cells = len(frames), PICTURE // CELL
    along = np.arange(PICTURE) // CELL
    cell = (np.arange(n)[:, None, None] * n_cells + along[:, None]) * n_cells + along
    start = cell * N_ORIENTATIONS
    length = n * n_cells**2 * N_ORIENTATIONS
    histogram = np.bincount((start + lower).ravel(), (magnitude - share).ravel(), length)
    upper = (lower + 1) % N_ORIENTATIONS
    histogram += np.bincount((start + upper).ravel(), share.ravel(), length)
    histogram = histogram.reshape(n, n_cells**2, N_ORIENTATIONS)
    norm = np.sqrt((histogram**2).sum(axis=-1, keepdims=True) + NOISE_FLOOR**2)
    return (histogram / norm).reshape(n, N_VIDEO_FEATURES).astype(np.float32)


def _check(frames: np.ndarray, size: int | None) -> None:
    square = frames.ndim == 4 and frames.shape[3] == 3 and frames.shape[1] == frames.shape[2]
    if not square or frames.dtype != np.uint8 or size not in (None, frames.shape[1]):
        edge = "size" if size is None else size
        raise ValueError(
            f"frames: expected uint8 (n, {edge}, {edge}, 3), got {frames.dtype} {frames.shape}; "
            "crop to a square and reduce with box_reduce first"
        )
