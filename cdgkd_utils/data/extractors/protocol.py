"""What every extractor of visual features offers."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Protocol

import numpy as np


class ExtractorError(RuntimeError):
    """An extractor cannot be used here; the message says what to install or what to do."""


class FeatureExtractor(Protocol):
    """A named way from face pictures to 768 numbers each.

    Pictures are described one by one: the numbers of a picture do not depend on the ones beside it.
    Making an extractor is cheap; what it needs to compute (a network, weights) is opened at the first call.

    Attributes
    ----------
    name : str
    size : int
        Edge of the pictures it wants, in pixels.
    version : str
        Changes whenever the numbers may change (its source, its library, its model): a part of the cache key.
    """

    name: str
    size: int
    version: str

    def __call__(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Describe pictures.

        Parameters
        ----------
        frames : ndarray, shape (n, size, size, 3), uint8

        Returns
        -------
        features : ndarray, shape (n, 768), float32
            Zero where the mask is False.
        mask : ndarray, shape (n,), bool
            False where the extractor cannot describe the picture (no face found).

        Raises
        ------
        ValueError
            The pictures have another shape or type.
        ExtractorError
            The network or its weights cannot be opened.
        """
        ...

    def close(self) -> None:
        """Let go of what was opened; calling it twice does no harm."""
        ...


def check_frames(frames: np.ndarray, size: int) -> None:
    """Refuse anything but 8-bit colour squares of the wanted size.

    Raises
    ------
    ValueError
    """
    if frames.ndim != 4 or frames.shape[1:] != (size, size, 3) or frames.dtype != np.uint8:
        raise ValueError(
            f"frames: expected uint8 (n, {size}, {size}, 3), got {frames.dtype} {frames.shape}; "
            "crop to a square and reduce with box_reduce first"
        )


def source_digest(path: str | Path) -> str:
    """Short digest of a source file that decides an extractor's numbers."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:12]
