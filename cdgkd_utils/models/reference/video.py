"""The visual encoder that teacher, assistants and student share in design, not in weights (method.md, section 2.1)."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from ...data.constants import N_FRAMES
from .layers import PositionEmbedding, TransformerBlock, batch_norm, conv, linear

N_POSITIONS = 61  # stretches of the feature axis that both convolutions leave
N_FLAT = 2304  # 48 x 48 activations at the trunk's end
WIDTHS = (64, 48, 32)  # of the three blocks
DROPOUTS = (0.2, 0.1, 0.1)
N_MERGED = 48


class Scale(nn.Module):
    """One weight and one bias for a whole map: the 1 x 1 convolution of one channel (row 4)."""

    def __init__(self) -> None:
        super().__init__()
        limit = math.sqrt(6 / 2)  # Glorot, one input and one output
        self.weight = nn.Parameter(torch.empty(()).uniform_(-limit, limit))
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, tokens: Tensor) -> Tensor:
        """Map any shape to itself."""
        return tokens * self.weight + self.bias


class ColumnConvolution(nn.Module):
    """One filter along the positions, the same for every feature (row 13), as a product with a banded matrix.

    PyTorch's convolution of a single channel takes about six times as long.

    Parameters
    ----------
    n_positions : int
        Before; n_positions − length + 1 come out.
    length : int
        Positions under the filter.
    """

    def __init__(self, n_positions: int, length: int):
        super().__init__()
        limit = math.sqrt(6 / (2 * length))
        self.weight = nn.Parameter(torch.empty(length).uniform_(-limit, limit))
        self.bias = nn.Parameter(torch.zeros(()))
        offsets = torch.arange(n_positions) - torch.arange(n_positions - length + 1)[:, None]
        # Places outside the filter point at a zero behind its last weight.
        outside = (offsets < 0) | (offsets >= length)
        self.register_buffer("taps", offsets.masked_fill(outside, length), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map shape (n_windows, n_positions, n_features) to (n_windows, n_positions − length + 1, n_features)."""
        band = torch.cat([self.weight, self.weight.new_zeros(1)])[self.taps]
        return band @ tokens + self.bias


class VideoStem(nn.Module):
    """Two convolutions over frames and feature axis, giving 61 tokens of width 64 (rows 0 to 4 of the table)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_1 = conv(1, 64, (1, 32), stride=(1, 8))
        self.norm = batch_norm(64)
        self.conv_2 = conv(64, 64, (N_FRAMES, 33))
        self.scale = Scale()

    def forward(self, video: Tensor) -> Tensor:
        """Map frame features, shape (n_windows, 5, 768), to tokens, shape (n_windows, 61, 64)."""
        hidden = torch.relu(self.norm(self.conv_1(video.unsqueeze(1))))
        # Channels last makes the large convolution's backward pass 1.4 times as fast.
        hidden = self.conv_2(hidden.contiguous(memory_format=torch.channels_last))
        return self.scale(hidden.squeeze(2).transpose(1, 2))


class VideoTrunk(nn.Module):
    """Stem, three transformer blocks of falling width, and the sum of all three levels (rows 0 to 14).

    Parameters
    ----------
    n_rows : int
        Rows of the table of positions: 61 in teacher and assistants, 64 in the student.
    """

    def __init__(self, n_rows: int):
        super().__init__()
        self.stem = VideoStem()
        self.dropout = nn.Dropout(0.5)
        self.positions = PositionEmbedding(n_rows, WIDTHS[0])
        self.blocks = nn.ModuleList(TransformerBlock(w, p) for w, p in zip(WIDTHS, DROPOUTS, strict=True))
        self.narrow = nn.ModuleList(linear(a, b) for a, b in pairwise(WIDTHS))
        self.merge = nn.ModuleList(linear(width, N_MERGED) for width in WIDTHS)
        for layer in self.merge:
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
        self.conv = ColumnConvolution(N_POSITIONS, 14)

    def forward(self, video: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Map frame features, shape (n_windows, 5, 768).

        Returns
        -------
        flat : Tensor, shape (n_windows, 2304)
        maps : dict of str to Tensor
            ``video``: output of the last block, shape (n_windows, 61, 32); ``video_2``: of the one before,
            shape (n_windows, 61, 48).
        """
        tokens = self.positions(self.dropout(self.stem(video)))
        levels = [self.blocks[0](tokens)]
        for narrow, block in zip(self.narrow, self.blocks[1:], strict=True):
            levels.append(block(narrow(levels[-1])))
        merged = sum(self.dropout(torch.relu(m(level))) for m, level in zip(self.merge, levels, strict=True))
        flat = self.conv(merged).flatten(1)
        return flat, {"video": levels[2], "video_2": levels[1]}
