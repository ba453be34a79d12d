"""Layers of the reference family, with the constants and initial values of the framework the paper's code uses.

Keras and PyTorch differ in defaults that change the results: momentum and eps of batch normalisation, eps of layer
normalisation, initial values, `same` padding (method.md, section 2).
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..output import N_CLASSES

LEAK = 0.3  # slope of LeakyReLU below zero
N_HEADS = 8
N_FEED_FORWARD = 64  # hidden units of a block's feed-forward part
N_CLASSIFIER = 128  # width of the classifier's hidden layers


def glorot_uniform_(module: nn.Linear | nn.Conv2d) -> nn.Linear | nn.Conv2d:
    """Weights from U(−l, l) with l = √(6 / (fan in + fan out)), biases zero; returns the module."""
    nn.init.xavier_uniform_(module.weight)
    if module.bias is not None:
        nn.init.zeros_(module.bias)
    return module


def linear(n_in: int, n_out: int) -> nn.Linear:
    """A dense layer with Glorot-uniform weights."""
    return glorot_uniform_(nn.Linear(n_in, n_out))


def conv(
    n_in: int, n_out: int, kernel: tuple[int, int], *, stride: tuple[int, int] = (1, 1), bias: bool = True
) -> nn.Conv2d:
    """A 2-D convolution without padding, with Glorot-uniform weights."""
    return glorot_uniform_(nn.Conv2d(n_in, n_out, kernel, stride=stride, bias=bias))


def batch_norm(n_channels: int) -> nn.BatchNorm2d:
    """Batch normalisation with momentum 0.01 (Keras: 0.99, of the old value) and eps 1e-3."""
    return nn.BatchNorm2d(n_channels, eps=1e-3, momentum=0.01)


def same_padding(n: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after an axis of length `n`, so that ⌈n / stride⌉ outputs come out.

    PyTorch pads so only for stride 1; the odd zero goes to the end.
    """
    total = max((math.ceil(n / stride) - 1) * stride + kernel - n, 0)
    return total // 2, total - total // 2


class PositionEmbedding(nn.Module):
    """Adds a learned vector per position.

    Parameters
    ----------
    n_rows : int
        Rows of the table; the first n_positions of them are used.
    n_features : int
    """

    def __init__(self, n_rows: int, n_features: int):
        super().__init__()
        self.table = nn.Parameter(torch.empty(n_rows, n_features).uniform_(-0.05, 0.05))

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens, shape (n_windows, n_positions, n_features), to the same shape."""
        return tokens + self.table[: tokens.shape[1]]


class TransformerBlock(nn.Module):
    """Post-norm transformer block whose heads have the full width d each (method.md, section 2.1).

    ``a = LN(x + drop(MHA(x)))``, ``LN(a + drop(W₂ relu(W₁ a)))``: 8 heads of width d, so 8d inside, no dropout of
    the attention weights; `torch.nn.MultiheadAttention` would divide d among the heads.

    Parameters
    ----------
    width : int
        d.
    dropout : float
    twice_differentiable : bool
        Attention in elementary steps. PyTorch's fused attention is faster, but a gradient through its gradient,
        as meta-learning asks for, does not exist.
    """

    def __init__(self, width: int, dropout: float, *, twice_differentiable: bool = False):
        super().__init__()
        self.width, self.twice_differentiable = width, twice_differentiable
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
        self.feed_forward = nn.Sequential(linear(width, N_FEED_FORWARD), nn.ReLU(), linear(N_FEED_FORWARD, width))
        self.norm_2 = nn.LayerNorm(width, eps=1e-6)
        self.dropout = nn.Dropout(dropout)

    def attention(self, tokens: Tensor) -> Tensor:
        """Multi-head self-attention, shape (n_windows, n_positions, width) to the same shape."""
        n_windows, n_positions, _ = tokens.shape
        heads = self.query_key_value(tokens).view(n_windows, n_positions, 3, N_HEADS, self.width)
        query, key, value = (part.transpose(1, 2) for part in heads.unbind(2))
        if self.twice_differentiable:
            weights = torch.softmax((query * self.width**-0.5) @ key.transpose(2, 3), dim=3)
            mixed = weights @ value
        else:
            mixed = F.scaled_dot_product_attention(query, key, value)
        return self.output(mixed.transpose(1, 2).flatten(2))

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens, shape (n_windows, n_positions, width), to the same shape."""
        tokens = self.norm_1(tokens + self.dropout(self.attention(tokens)))
        return self.norm_2(tokens + self.dropout(self.feed_forward(tokens)))


class RunningMean(nn.Module):
    """Mean over a sliding stretch of features: average pooling with stride 1, as a difference of running sums.

    Each of its outputs costs two additions instead of `length`. In double precision, because a difference of
    single-precision sums would lose the digits that pooling keeps.

    Parameters
    ----------
    length : int
        Features per mean; n_features − length + 1 means come out.
    """

    def __init__(self, length: int):
        super().__init__()
        self.length = length

    def forward(self, features: Tensor) -> Tensor:
        """Map features, shape (n_windows, n_features), to shape (n_windows, n_features − length + 1)."""
        sums = F.pad(features.double().cumsum(dim=1), (1, 0))
        return ((sums[:, self.length :] - sums[:, : -self.length]) / self.length).to(features.dtype)


class Classifier(nn.Sequential):
    """Dropout 0.5, then dense layers 128, 128, 128, 2, without activations between them as the released code has it.

    Parameters
    ----------
    n_features : int
    activation : {"none", "relu"}
        ``none`` makes the whole classifier one affine map.

    Raises
    ------
    ValueError
        The activation is unknown.
    """

    def __init__(self, n_features: int, activation: str = "none"):
        if activation not in ("none", "relu"):
            raise ValueError(f"activation must be none or relu, got {activation!r}")
        widths = (n_features, N_CLASSIFIER, N_CLASSIFIER, N_CLASSIFIER, N_CLASSES)
        layers: list[nn.Module] = [nn.Dropout(0.5)]
        for i, (n_in, n_out) in enumerate(pairwise(widths)):
            layers += [nn.ReLU()] if activation == "relu" and i else []
            layers += [linear(n_in, n_out)]
        super().__init__(*layers)
        self.activation = activation

    @torch.no_grad()
    def direction(self) -> Tensor:
        """Direction in the features along which the difference of the two logits grows, shape (n_features,).

        Raises
        ------
        ValueError
            With activations between the layers there is no such direction.
        """
        if self.activation != "none":
            raise ValueError(
                f"a classifier with activation={self.activation!r} is not one affine map, so its decision "
                "is no sum of modalities; build the network with activation='none'"
            )
        first, *others = [layer.weight for layer in self if isinstance(layer, nn.Linear)]
        direction = others[-1][1] - others[-1][0]
        for weight in reversed([first, *others[:-1]]):
            direction = direction @ weight
        return direction
