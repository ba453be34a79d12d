"""A plain port of the reference family: one call of PyTorch per layer of the paper's table.

The same parameters and the same function as ours, by conv2d, leaky_relu, avg_pool2d, three dense layers per attention,
avg_pool1d.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cdgkd_utils.models.reference.layers import N_HEADS, RunningMean, TransformerBlock
from cdgkd_utils.models.reference.temporal import TemporalBlock
from cdgkd_utils.models.reference.video import ColumnConvolution, VideoStem


class PlainTemporal(nn.Module):
    """Convolution, LeakyReLU and average as three calls."""

    def __init__(self, block: TemporalBlock):
        super().__init__()
        self.weight, self.pool = block.convolution.weight, block.pool

    def forward(self, signal: Tensor) -> Tensor:
        length = self.weight.shape[3]
        padded = F.pad(signal.unsqueeze(1), ((length - 1) // 2, length // 2))
        return F.avg_pool2d(F.leaky_relu(F.conv2d(padded, self.weight), 0.3), (1, self.pool))


class PlainMean(nn.Module):
    """A sliding mean by average pooling."""

    def __init__(self, layer: RunningMean):
        super().__init__()
        self.length = layer.length

    def forward(self, features: Tensor) -> Tensor:
        return F.avg_pool1d(features.unsqueeze(1), self.length, 1).squeeze(1)


class PlainStem(nn.Module):
    """Both convolutions in the default memory layout."""

    def __init__(self, stem: VideoStem):
        super().__init__()
        self.stem = stem

    def forward(self, video: Tensor) -> Tensor:
        hidden = self.stem.conv_2(torch.relu(self.stem.norm(self.stem.conv_1(video.unsqueeze(1)))))
        scale = self.stem.scale
        return F.conv2d(hidden.permute(0, 2, 3, 1), scale.weight.view(1, 1, 1, 1), scale.bias.view(1)).squeeze(1)


class PlainColumns(nn.Module):
    """A convolution of one channel."""

    def __init__(self, layer: ColumnConvolution):
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias

    def forward(self, tokens: Tensor) -> Tensor:
        return F.conv2d(tokens.unsqueeze(1), self.weight.view(1, 1, -1, 1), self.bias.view(1)).squeeze(1)


class PlainBlock(nn.Module):
    """A transformer block with a dense layer each for query, key and value."""

    def __init__(self, block: TransformerBlock):
        super().__init__()
        self.block = block
        self.weights = nn.ParameterList(block.query_key_value.weight.detach().chunk(3))
        self.biases = nn.ParameterList(block.query_key_value.bias.detach().chunk(3))
        del block.query_key_value

    def forward(self, tokens: Tensor) -> Tensor:
        block, (n_windows, n_positions, width) = self.block, tokens.shape
        query, key, value = (
            F.linear(tokens, weight, bias).view(n_windows, n_positions, N_HEADS, width).transpose(1, 2)
            for weight, bias in zip(self.weights, self.biases, strict=True)
        )
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        hidden = block.norm_1(tokens + block.dropout(block.output(mixed)))
        return block.norm_2(hidden + block.dropout(block.feed_forward(hidden)))


PLAIN = {
    TemporalBlock: PlainTemporal,
    RunningMean: PlainMean,
    VideoStem: PlainStem,
    ColumnConvolution: PlainColumns,
    TransformerBlock: PlainBlock,
}


def plain_port(model: nn.Module) -> nn.Module:
    """A copy of the network with the plain layers in place."""
    port = copy.deepcopy(model)
    for parent in list(port.modules()):
        for name, child in list(parent.named_children()):
            if type(child) in PLAIN:
                setattr(parent, name, PLAIN[type(child)](child))
    return port
