"""Temporal convolution, LeakyReLU and average pooling as one operation that stays in the processor's cache.

The three temporal blocks make most of the teacher's work, and a plain chain of operations spends it on moving
28 × 512 × 64 activations per window and block through memory. Here the outputs that one pooled value averages
are neighbours in one row of a matrix product: (stretches of the signal) × (a banded matrix with the filters on
its diagonals), a few channels at a time. Activations are computed again in the backward pass, not stored.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from .layers import LEAK, glorot_uniform_, same_padding

CHUNK = 16  # channels at a time: 2 MB of activations for 64 filters


def _band(filters: Tensor, pool: int) -> Tensor:
    """Matrix whose product with a stretch of pool + length − 1 samples is the pool neighbouring outputs of a filter.

    Shape (pool + length − 1, pool · n_filters): row i + j and column (j, f) hold filters[f, i].
    """
    n_filters, length = filters.shape
    band = filters.new_zeros(pool + length - 1, pool, n_filters)
    for j in range(pool):
        band[j : j + length, j] = filters.T
    return band.flatten(1)


class _PooledConvolution(torch.autograd.Function):
    """(n_rows, n_times) signal and (n_filters, length) filters to (n_rows, n_times // pool, n_filters)."""

    @staticmethod
    def forward(ctx: Any, signal: Tensor, filters: Tensor, pool: int) -> Tensor:
        n_filters, length = filters.shape
        padding = same_padding(signal.shape[1], length, 1)
        stretches = F.pad(signal, padding).unfold(1, pool + length - 1, pool)
        band = _band(filters, pool)
        pooled = signal.new_empty(*stretches.shape[:2], n_filters)
        for start in range(0, len(signal), CHUNK):
            rows = stretches[start : start + CHUNK].flatten(0, 1)
            active = F.leaky_relu_(rows @ band, LEAK)
            torch.mean(active.view(-1, pool, n_filters), dim=1, out=pooled[start : start + CHUNK].flatten(0, 1))
        ctx.save_for_backward(stretches, band)
        ctx.pool, ctx.padding = pool, padding
        return pooled

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, None]:
        stretches, band = ctx.saved_tensors
        (n_rows, n_pooled, size), n_filters, pool = stretches.shape, gradient.shape[2], ctx.pool
        needs_signal = ctx.needs_input_grad[0]
        band_gradient = torch.zeros_like(band)
        stretch_gradient = gradient.new_empty(n_rows if needs_signal else 0, n_pooled, size)
        for start in range(0, n_rows, CHUNK):
            rows = stretches[start : start + CHUNK].flatten(0, 1)
            # Each of the averaged activations gets the same share; expanding it first lets the next step run fast.
            share = (gradient[start : start + CHUNK].flatten(0, 1) / pool).repeat(1, pool)
            through = torch.ops.aten.leaky_relu_backward(share, rows @ band, LEAK, False)
            band_gradient.addmm_(rows.T, through)
            if needs_signal:
                stretch_gradient[start : start + CHUNK] = (through @ band.T).view(-1, n_pooled, size)
        length = size - pool + 1
        diagonals = band_gradient.view(size, pool, n_filters)
        filter_gradient = sum(diagonals[j : j + length, j] for j in range(pool)).T
        return (_overlap(stretch_gradient, ctx) if needs_signal else None), filter_gradient, None


def _overlap(stretches: Tensor, ctx: Any) -> Tensor:
    """Sum of overlapping stretches at their places in the signal: the opposite of cutting it up."""
    n_rows, n_pooled, size = stretches.shape
    before, after = ctx.padding
    columns = stretches.transpose(1, 2).contiguous()
    n_padded = (n_pooled - 1) * ctx.pool + size
    padded = F.fold(columns, (1, n_padded), (1, size), stride=(1, ctx.pool))
    return padded.view(n_rows, n_padded)[:, before : n_padded - after]


class TemporalBlock(nn.Module):
    """`same` convolution along time without bias, LeakyReLU 0.3, average pooling (method.md, section 2.2).

    Parameters
    ----------
    n_filters : int
    length : int
        Samples per filter.
    pool : int
        Samples per average; must divide n_times.
    fast : bool
        The banded product; False chains PyTorch's operations (same function, can be differentiated twice).
    """

    def __init__(self, n_filters: int, length: int, pool: int = 8, *, fast: bool = True):
        super().__init__()
        self.length, self.pool, self.fast = length, pool, fast
        self.convolution = glorot_uniform_(nn.Conv2d(1, n_filters, (1, length), bias=False))

    def forward(self, signal: Tensor) -> Tensor:
        """Map EEG, shape (n_windows, n_chans, n_times), to shape (n_windows, n_filters, n_chans, n_times // pool)."""
        weight = self.convolution.weight
        if self.fast:
            pooled = _PooledConvolution.apply(signal.flatten(0, 1), weight.flatten(1), self.pool)
            return pooled.view(*signal.shape[:2], *pooled.shape[1:]).permute(0, 3, 1, 2)
        padded = F.pad(signal, same_padding(signal.shape[2], self.length, 1))
        return F.avg_pool2d(F.leaky_relu(F.conv2d(padded.unsqueeze(1), weight), LEAK), (1, self.pool))
