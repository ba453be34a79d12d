"""From parameters to inputs: the data of one repetition, and one fold of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from ..config import Params
from ..data.load import load_windows
from ..data.normalise import Normaliser
from ..data.splits.split import Split, certify, make_split
from ..data.types import Windows
from ..models.frontend import band_covariances
from ..training import Inputs


@dataclass
class Study:
    """The windows of one repetition, with what does not depend on the split computed once.

    Attributes
    ----------
    params : Params
    repeat : int
        Repetition; ``seed`` is ``params.seed + repeat``.
    """

    params: Params
    repeat: int = 0

    @property
    def seed(self) -> int:
        return self.params.seed + self.repeat

    @cached_property
    def windows(self) -> Windows:
        return load_windows(self.params, repeat=self.repeat)

    @cached_property
    def covariances(self) -> Tensor:
        """Band covariances of the EEG in µV², shape (n_windows, 4, 28, 28)."""
        return band_covariances(self.windows.eeg)

    def labels(self, target: str) -> np.ndarray:
        """Binary labels, shape (n_windows,)."""
        return self.windows.labels(target)

    def split(self, target: str, fold: int) -> Split:
        """The fold's split, certified."""
        labels = self.labels(target)
        split = make_split(self.windows.index, labels, fold=fold, seed=self.seed)
        certify(split, self.windows.index, labels)
        return split

    def inputs(self, target: str, fold: int) -> Inputs:
        """Normalised tensors for one fold; the scales come from its training windows alone."""
        split = self.split(target, fold)
        normaliser = Normaliser.fit(self.windows, split.train)
        # Scaling the channels scales their covariance by the products of the scales: the same as normalising first.
        scale = torch.from_numpy(normaliser.eeg_scales(self.windows.index["subject"].to_numpy()))
        eeg = self.covariances / (scale[:, None, :, None] * scale[:, None, None, :])
        return Inputs(
            eeg=eeg,
            video=torch.from_numpy(normaliser.video(self.windows)),
            frame_mask=torch.from_numpy(np.array(self.windows.frame_mask)),
            labels=torch.from_numpy(self.labels(target)),
            train=torch.from_numpy(split.train),
            val=torch.from_numpy(split.val),
        )
