"""Layers of the reference family, with the defaults of Keras, which the paper's code uses, where they change results:
momentum and eps of batch normalisation, eps of layer normalisation, initial values, `same` padding.
"""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

LEAK = 0.3  # slope of LeakyReLU below zero
N_HEADS = 8
# EEG channels at a time: with 64 filters 8 MB of activations, which stay in a processor's cache; 0.5 GB on a GPU.
CHUNK = {"cpu": 64, "cuda": 4096}


def glorot_uniform_(module: nn.Linear | nn.Conv2d) -> nn.Linear | nn.Conv2d:
    """Weights from U(−l, l) with l = √(6 / (fan in + fan out)), biases zero."""
    nn.init.xavier_uniform_(module.weight)
    if module.bias is not None:
        nn.init.zeros_(module.bias)
    return module


def linear(n_in: int, n_out: int) -> nn.Linear:
    return glorot_uniform_(nn.Linear(n_in, n_out))


def conv(
    n_in: int, n_out: int, kernel: tuple[int, int], *, stride: tuple[int, int] = (1, 1), bias: bool = True
) -> nn.Conv2d:
    return glorot_uniform_(nn.Conv2d(n_in, n_out, kernel, stride=stride, bias=bias))


def batch_norm(n_channels: int) -> nn.BatchNorm2d:
    """Batch normalisation with momentum 0.01 (Keras: 0.99, of the old value) and eps 1e-3."""
    return nn.BatchNorm2d(n_channels, eps=1e-3, momentum=0.01)


def same_padding(n: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after an axis of length `n`, so that ⌈n / stride⌉ outputs come out; the odd one at the end."""
    total = max((math.ceil(n / stride) - 1) * stride + kernel - n, 0)
    return total // 2, total - total // 2


class PositionEmbedding(nn.Module):
    """Adds a learned vector per position, the first rows of a table."""

    def __init__(self, n_rows: int, n_features: int):
        super().__init__()
        self.table = nn.Parameter(torch.empty(n_rows, n_features).uniform_(-0.05, 0.05))

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens + self.table[: tokens.shape[1]]


class TransformerBlock(nn.Module):
    """``a = LN(x + drop(MHA(x)))``, ``LN(a + drop(W₂ relu(W₁ a)))`` with 8 heads of the full width d each, 8d inside.

    `torch.nn.MultiheadAttention` would divide d among the heads.
    """

    def __init__(self, width: int, dropout: float):
        super().__init__()
        self.width = width
        inner = N_HEADS * width
        self.query_key_value = nn.Linear(width, 3 * inner)
        self.output = nn.Linear(inner, width)
        # Keras (before 2026) took the attention's kernels, shaped (d, 8, d) and (8, d, d), for convolutions: the
        # last two axes are channels, the first the receptive field. Fans are then 8d and d² within, 8d and 8d behind.
        for layer, fans in ((self.query_key_value, inner + width**2), (self.output, 2 * inner)):
            limit = math.sqrt(6 / fans)
            nn.init.uniform_(layer.weight, -limit, limit)
            nn.init.zeros_(layer.bias)
        self.norm_1 = nn.LayerNorm(width, eps=1e-6)
        self.feed_forward = nn.Sequential(linear(width, 64), nn.ReLU(), linear(64, width))
        self.norm_2 = nn.LayerNorm(width, eps=1e-6)
        self.dropout = nn.Dropout(dropout)

    def attention(self, tokens: Tensor) -> Tensor:
        """Of tokens, shape (n_windows, n_positions, width), to themselves."""
        heads = self.query_key_value(tokens).unflatten(2, (3, N_HEADS, self.width))
        query, key, value = (part.transpose(1, 2) for part in heads.unbind(2))
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.output(mixed.transpose(1, 2).flatten(2))

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = self.norm_1(tokens + self.dropout(self.attention(tokens)))
        return self.norm_2(tokens + self.dropout(self.feed_forward(tokens)))


class Classifier(nn.Sequential):
    """Dropout 0.5, then dense layers 128, 128, 128, n_classes, without activations: one affine map, as released."""

    def __init__(self, n_features: int, n_classes: int = 2):
        widths = (n_features, 128, 128, 128, n_classes)
        super().__init__(nn.Dropout(0.5), *(linear(n_in, n_out) for n_in, n_out in pairwise(widths)))


def running_mean(features: Tensor, length: int) -> Tensor:
    """Means over `length` neighbouring features: average pooling with stride 1, as a difference of running sums."""
    # In single precision a difference of sums would lose the digits that pooling keeps.
    sums = F.pad(features.double().cumsum(dim=1), (1, 0))
    return ((sums[:, length:] - sums[:, :-length]) / length).to(features.dtype)


class TemporalBlock(nn.Module):
    """`same` convolution along time without bias, LeakyReLU 0.3, average pooling.

    Most of the teacher's work, if 28 × 512 × 64 activations per window move through memory. Here the outputs that one
    pooled value averages are neighbours in a row of (stretches of the signal) × (a banded matrix with the filters on
    its diagonals), a few channels at a time, and are computed again in the backward pass, not stored.
    """

    def __init__(self, n_filters: int, length: int, pool: int):
        super().__init__()
        self.length, self.pool = length, pool
        self.convolution = glorot_uniform_(nn.Conv2d(1, n_filters, (1, length), bias=False))

    def _pooled(self, stretches: Tensor, band: Tensor) -> Tensor:
        active = F.leaky_relu(stretches @ band, LEAK).unflatten(2, (self.pool, -1))
        return sum(active.unbind(2)) / self.pool  # its backward pass is faster than a mean's

    def forward(self, signal: Tensor) -> Tensor:
        """Map EEG, shape (n_windows, n_chans, n_times), to shape (n_windows, n_filters, n_chans, n_times // pool)."""
        filters, size = self.convolution.weight.flatten(1), self.length + self.pool - 1
        # Column (j, f) holds filter f from row j on.
        columns = [F.pad(filters.T, (0, 0, j, self.pool - 1 - j)) for j in range(self.pool)]
        band = torch.stack(columns, dim=1).flatten(1)
        rows = F.pad(signal.flatten(0, 1), same_padding(signal.shape[2], self.length, 1))
        stretches = rows.unfold(1, size, self.pool).split(CHUNK.get(rows.device.type, CHUNK["cuda"]))
        again = {"use_reentrant": False, "preserve_rng_state": False}
        pooled = torch.cat([checkpoint(self._pooled, part, band, **again) for part in stretches])
        return pooled.view(*signal.shape[:2], *pooled.shape[1:]).permute(0, 3, 1, 2)


class SpatialBlock(nn.Module):
    """`same` convolution over `height` electrodes, also its stride, without bias, LeakyReLU 0.3, pooling along time."""

    def __init__(self, n_in: int, n_out: int, height: int, pool: int):
        super().__init__()
        self.height, self.pool = height, pool
        self.convolution = conv(n_in, n_out, (height, 1), stride=(height, 1), bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Map shape (n_windows, n_in, n_chans, n_times) to (n_windows, n_out, ⌈n_chans / height⌉, n_times // pool)."""
        if any(zeros := same_padding(maps.shape[2], self.height, self.height)):
            maps = F.pad(maps, (0, 0, *zeros))
        return F.avg_pool2d(F.leaky_relu(self.convolution(maps), LEAK), (1, self.pool))
