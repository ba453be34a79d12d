"""The reference family: the paper's networks in their own shapes and sizes."""

import math
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..data.constants import CHANNELS, N_FRAMES, WINDOW_SAMPLES
from .layers import (
    Classifier,
    PositionEmbedding,
    SpatialBlock,
    TemporalBlock,
    TransformerBlock,
    batch_norm,
    conv,
    linear,
    running_mean,
)
from .output import ModelOutput

N_TEMPORAL, N_SPATIAL = 64, 32  # EEG filters along time; over electrodes, and behind them
POOLS = (8, 2, 4)  # of temporal, spatial and fusion blocks
WIDTHS, DROPOUTS = (64, 48, 32), (0.2, 0.1, 0.1)  # of the three transformer blocks
N_POSITIONS = 61  # stretches of the feature axis that both video convolutions leave
N_FLAT = 2304  # 48 x 48 activations at the video trunk's end
N_VIDEO = 768  # width of the visual embedding of teacher and assistants
N_STUDENT = 1536  # width of what the student's classifier sees: as wide as the teacher's


class EEGDesign(NamedTuple):
    """What distinguishes the three EEG encoders."""

    lengths: tuple[int, ...]  # samples per filter of each temporal block
    heights: tuple[int, ...]  # electrodes per filter of each spatial block; 14 sees one hemisphere at a time
    padding: int = 0  # zeros on both sides of the time axis before the spatial blocks

    @property
    def n_features(self) -> int:
        n_times = len(self.lengths) * WINDOW_SAMPLES // POOLS[0] + 2 * self.padding
        return n_times // POOLS[1] // POOLS[2] * N_SPATIAL


TEACHER = EEGDesign(lengths=(64, 32, 16), heights=(28, 14))
TA1 = EEGDesign(lengths=(64, 16), heights=(10,), padding=32)
TA2 = EEGDesign(lengths=(64,), heights=(10,), padding=32)


class EEGEncoder(nn.Module):
    """TSception-like: temporal blocks side by side, spatial blocks above each other, one fusion block."""

    def __init__(self, design: EEGDesign):
        super().__init__()
        self.padding, self.n_features = design.padding, design.n_features
        self.temporal = nn.ModuleList(TemporalBlock(N_TEMPORAL, n, POOLS[0]) for n in design.lengths)
        self.norm_1 = batch_norm(N_TEMPORAL)
        self.spatial = nn.ModuleList(SpatialBlock(N_TEMPORAL, N_SPATIAL, h, POOLS[1]) for h in design.heights)
        self.norm_2 = batch_norm(N_SPATIAL)
        self.fusion = SpatialBlock(N_SPATIAL, N_SPATIAL, 3, POOLS[2])
        self.norm_3 = batch_norm(N_SPATIAL)

    def forward(self, signal: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """EEG (n_windows, 28, 512) to an embedding, and the same as a map (n_windows, n_positions, 32)."""
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
        return eeg_map.flatten(1), {"eeg": eeg_map}


class Stem(nn.Module):
    """Convolutions along the last axis and over all rows: rows, e.g. (n_windows, 28, 512), to 61 tokens of width 64."""

    def __init__(self, kernel: tuple[int, int]):
        super().__init__()
        self.conv_1 = conv(1, 64, (1, 32), stride=(1, 8))
        self.norm = batch_norm(64)
        self.conv_2 = conv(64, 64, kernel)

    def forward(self, rows: Tensor) -> Tensor:
        hidden = torch.relu(self.norm(self.conv_1(rows.unsqueeze(1))))
        # Channels last makes the large convolution's backward pass 1.4 times as fast.
        hidden = self.conv_2(hidden.contiguous(memory_format=torch.channels_last))
        return hidden.squeeze(2).transpose(1, 2)


class VideoStem(Stem):
    """Of frames, shape (n_windows, 5, 768)."""

    def __init__(self) -> None:
        super().__init__((N_FRAMES, 33))
        # The 1 x 1 convolution of one channel: one weight and one bias for the whole map.
        self.scale = nn.Parameter(torch.empty(()).uniform_(-math.sqrt(3), math.sqrt(3)))
        self.shift = nn.Parameter(torch.zeros(()))

    def forward(self, video: Tensor) -> Tensor:
        return super().forward(video) * self.scale + self.shift


class VideoTrunk(nn.Module):
    """Stem, three transformer blocks of falling width, and the sum of all three levels."""

    def __init__(self, n_rows: int):
        super().__init__()
        self.stem = VideoStem()
        self.dropout = nn.Dropout(0.5)
        self.positions = PositionEmbedding(n_rows, WIDTHS[0])
        self.blocks = nn.ModuleList(TransformerBlock(w, p) for w, p in zip(WIDTHS, DROPOUTS, strict=True))
        self.narrow = nn.ModuleList(linear(a, b) for a, b in pairwise(WIDTHS))
        self.merge = nn.ModuleList(linear(width, 48) for width in WIDTHS)
        for layer in self.merge:
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
        # One filter of 14 positions along them, the same for every feature.
        self.column = nn.Parameter(torch.empty(14).uniform_(-math.sqrt(6 / 28), math.sqrt(6 / 28)))
        self.column_bias = nn.Parameter(torch.zeros(()))

    def forward(self, video: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Frames (n_windows, 5, 768) to a row of 2304, and the outputs of the last two blocks as maps."""
        levels = [self.blocks[0](self.positions(self.dropout(self.stem(video))))]
        for narrow, block in zip(self.narrow, self.blocks[1:], strict=True):
            levels.append(block(narrow(levels[-1])))
        merged = sum(self.dropout(torch.relu(m(level))) for m, level in zip(self.merge, levels, strict=True))
        # `unfold` would do, but torch's ONNX exporter gets it wrong.
        n = len(self.column)
        shifted = torch.stack([merged[:, k : merged.shape[1] - n + 1 + k] for k in range(n)], dim=3)
        flat = (shifted @ self.column + self.column_bias).flatten(1)
        return flat, {"video": levels[2], "video_2": levels[1]}


class VideoEncoder(nn.Module):
    """Trunk and dense layer 2304 → 768, of teacher and assistants."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = VideoTrunk(N_POSITIONS)
        self.project = linear(N_FLAT, N_VIDEO)

    def forward(self, video: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        flat, maps = self.trunk(video)
        return self.project(flat), maps


class StudentNet(nn.Module):
    """Video alone: trunk, a head without parameters that averages 769 neighbours of 2304 features, classifier."""

    inputs = ("video",)
    chunk = 256

    def __init__(self, n_classes: int = 2):
        super().__init__()
        self.trunk = VideoTrunk(64)  # as released: three rows of positions are never used
        self.classifier = Classifier(N_STUDENT, n_classes)

    def forward(self, video: Tensor) -> ModelOutput:
        """Map frame features, shape (n_windows, 5, 768); the features' ``hint`` is what the head gets."""
        flat, maps = self.trunk(video)
        embedding = running_mean(flat, N_FLAT - N_STUDENT + 1)
        features = {"video": embedding, "classifier_input": embedding, "hint": flat}
        return ModelOutput(self.classifier(embedding), features, maps)
