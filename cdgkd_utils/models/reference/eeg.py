"""The EEG encoders of teacher and assistants: TSception-like, shrinking along the ladder (method.md, section 2.2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...data.constants import CHANNELS, WINDOW_SAMPLES
from .layers import LEAK, batch_norm, conv, same_padding
from .temporal import TemporalBlock

N_TEMPORAL = 64  # filters along time
N_SPATIAL = 32  # filters over electrodes, and behind them
POOLS = (8, 2, 4)  # of temporal, spatial and fusion blocks


@dataclass(frozen=True)
class EEGDesign:
    """What distinguishes the three EEG encoders.

    Attributes
    ----------
    lengths : tuple of int
        Samples per filter of each temporal block.
    heights : tuple of int
        Electrodes per filter of each spatial block, which is also its stride. With left hemisphere first, 14 sees
        one hemisphere at a time.
    padding : int
        Zeros on both sides of the time axis before the spatial blocks.
    """

    lengths: tuple[int, ...]
    heights: tuple[int, ...]
    padding: int = 0

    @property
    def n_features(self) -> int:
        """Width of the embedding."""
        n_times = len(self.lengths) * WINDOW_SAMPLES // POOLS[0] + 2 * self.padding
        return n_times // POOLS[1] // POOLS[2] * N_SPATIAL


TEACHER = EEGDesign(lengths=(64, 32, 16), heights=(28, 14))
TA1 = EEGDesign(lengths=(64, 16), heights=(10,), padding=32)
TA2 = EEGDesign(lengths=(64,), heights=(10,), padding=32)


class SpatialBlock(nn.Module):
    """`same` convolution over electrodes without bias, LeakyReLU 0.3, average pooling along time.

    Parameters
    ----------
    n_in, n_out : int
        Filters before and behind.
    height : int
        Kernel and stride along the electrodes.
    pool : int
    """

    def __init__(self, n_in: int, n_out: int, height: int, pool: int):
        super().__init__()
        self.height, self.pool = height, pool
        self.convolution = conv(n_in, n_out, (height, 1), stride=(height, 1), bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Map shape (n_windows, n_in, n_chans, n_times) to (n_windows, n_out, ⌈n_chans / height⌉, n_times // pool)."""
        before, after = same_padding(maps.shape[2], self.height, self.height)
        if before or after:
            maps = F.pad(maps, (0, 0, before, after))
        return F.avg_pool2d(F.leaky_relu(self.convolution(maps), LEAK), (1, self.pool))


class EEGEncoder(nn.Module):
    """Temporal blocks side by side, spatial blocks above each other, one fusion block.

    Parameters
    ----------
    design : EEGDesign
    fast : bool
        See `temporal.TemporalBlock`.
    """

    def __init__(self, design: EEGDesign, *, fast: bool = True):
        super().__init__()
        self.padding, self.n_features = design.padding, design.n_features
        self.temporal = nn.ModuleList(TemporalBlock(N_TEMPORAL, n, POOLS[0], fast=fast) for n in design.lengths)
        self.norm_1 = batch_norm(N_TEMPORAL)
        self.spatial = nn.ModuleList(SpatialBlock(N_TEMPORAL, N_SPATIAL, h, POOLS[1]) for h in design.heights)
        self.norm_2 = batch_norm(N_SPATIAL)
        self.fusion = SpatialBlock(N_SPATIAL, N_SPATIAL, 3, POOLS[2])
        self.norm_3 = batch_norm(N_SPATIAL)

    def forward(self, signal: Tensor) -> tuple[Tensor, Tensor]:
        """Map normalised EEG, shape (n_windows, 28, 512).

        Returns
        -------
        embedding : Tensor, shape (n_windows, n_features)
        map : Tensor, shape (n_windows, n_positions, 32)
            Its positions in time; the embedding is this map in one row.

        Raises
        ------
        ValueError
            The EEG has another shape.
        """
        if signal.shape[1:] != (len(CHANNELS), WINDOW_SAMPLES):
            raise ValueError(
                f"signal must have shape (n_windows, {len(CHANNELS)}, {WINDOW_SAMPLES}), got {tuple(signal.shape)}; "
                "cut the EEG into windows of 4 s at 128 Hz with the 28 channels of data.constants.CHANNELS"
            )
        hidden = self.norm_1(torch.cat([block(signal) for block in self.temporal], dim=3))
        if self.padding:
            hidden = F.pad(hidden, (self.padding, self.padding))
        hidden = self.norm_2(torch.cat([block(hidden) for block in self.spatial], dim=2))
        hidden = self.norm_3(self.fusion(hidden))
        eeg_map = hidden.squeeze(2).transpose(1, 2)
        return eeg_map.flatten(1), eeg_map
