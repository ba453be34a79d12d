"""The reference family against a plain port: ``python bench/reference.py [--batch 128] [--repeats 5]``.

The plain port has the same parameters and computes the same function, checked before the clock starts, with one
call of PyTorch per layer of the table: conv2d, leaky_relu, avg_pool2d, three dense layers per attention,
avg_pool1d. CPU time of one thread, both versions in turn; ratios of medians. How the C library keeps freed memory
matters more than either: the Makefile raises MALLOC_MMAP_THRESHOLD_ and MALLOC_TRIM_THRESHOLD_, and this
benchmark says whether they are set.
"""

from __future__ import annotations

import argparse
import copy
import os
import time
from collections.abc import Callable

import pandas as pd
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn
from torch.nn import functional as F

from cdgkd_utils.models.reference import MODELS
from cdgkd_utils.models.reference.layers import N_HEADS, RunningMean, TransformerBlock
from cdgkd_utils.models.reference.temporal import TemporalBlock
from cdgkd_utils.models.reference.video import ColumnConvolution, VideoStem

ALLOCATOR = ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")


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


def training_step(model: nn.Module, inputs: list[Tensor], labels: Tensor) -> Callable[[], None]:
    """One step of the paper's optimiser."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, amsgrad=True, eps=1e-7, fused=True)

    def step() -> None:
        model.train()
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(*inputs).logits, labels).backward()
        optimizer.step()

    return step


def evaluation(model: nn.Module, inputs: list[Tensor]) -> Callable[[], None]:
    """One pass without gradient."""

    def run() -> None:
        model.eval()
        with torch.no_grad():
            model(*inputs)

    return run


def medians(cases: list[Callable[[], None]], repeats: int) -> list[float]:
    """Median CPU seconds of each case, the cases in turn after one unmeasured round."""
    seconds = [[] for _ in cases]
    for i in range(repeats + 1):
        for case, spent in zip(cases, seconds, strict=True):
            start = time.process_time()
            case()
            if i:
                spent.append(time.process_time() - start)
    return [float(pd.Series(spent).median()) for spent in seconds]


def measure(name: str, batch: int, repeats: int) -> list[dict]:
    """Rows of the table for one network."""
    generator = torch.Generator().manual_seed(0)
    values = {"signal": (28, 512), "video": (5, 768)}
    ours = MODELS[name]()
    inputs = [torch.randn(batch, *values[view], generator=generator) for view in ours.inputs]
    labels = torch.randint(2, (batch,), generator=generator)
    plain = plain_port(ours)
    with torch.no_grad():
        a, b = ours.eval()(*inputs).logits, plain.eval()(*inputs).logits
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    rows = []
    for what, cases in {
        "training step": [training_step(model, inputs, labels) for model in (plain, ours)],
        "evaluation": [evaluation(model, inputs) for model in (plain, ours)],
    }.items():
        slow, fast = medians(cases, repeats)
        row = {"network": name, "what": what, "plain_ms": 1e3 * slow, "ours_ms": 1e3 * fast}
        rows.append(row | {"windows_per_s": batch / fast, "ratio": slow / fast})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=128, help="windows")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--network", action="append", choices=MODELS, help="default: teacher, student")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    with threadpool_limits(1):
        rows = [
            row
            for name in options.network or ("teacher", "student")
            for row in measure(name, options.batch, options.repeats)
        ]
    table = pd.DataFrame(rows)
    print(f"batch {options.batch}, one thread, median of {options.repeats}")
    print("allocator: " + ", ".join(f"{name}={os.environ.get(name, 'not set')}" for name in ALLOCATOR))
    print(table.round({"plain_ms": 0, "ours_ms": 0, "windows_per_s": 0, "ratio": 2}).to_string(index=False))


if __name__ == "__main__":
    main()
