"""Histograms of oriented gradients behind the common protocol: the default, without weights."""

from __future__ import annotations

import numpy as np

from . import hog768 as features
from .protocol import source_digest


class HogFeatures:
    """:func:`~cdgkd_utils.data.extractors.hog768.hog768`; every picture can be described."""

    name = "hog"
    size = features.PICTURE

    def __init__(self) -> None:
        self.version = f"hog {source_digest(features.__file__)}"

    def __call__(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return features.hog768(frames), np.ones(len(frames), bool)

    def close(self) -> None:
        """Nothing is open."""
