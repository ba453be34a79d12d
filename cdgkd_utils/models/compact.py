"""The compact family: a teacher, two assistants and a student that train in seconds on one core.

Not the paper's networks: the roles, the fusion by concatenation and the shrinking EEG branch are the paper's,
the encoders are small stand-ins (a ShallowConvNet with frozen temporal filters, a frame-wise perceptron with
attention over frames). Numbers of this family are never the paper's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..data.constants import BANDS, CHANNELS, N_VIDEO_FEATURES
from .frontend import filter_log_power
from .output import ModelOutput, eeg_share


class EEGEncoder(nn.Module):
    """Learned spatial filters, shared by the four bands, on band covariances → log power → batch norm → linear."""

    def __init__(self, n_filters: int, n_features: int, dropout: float):
        super().__init__()
        self.filters = nn.Parameter(torch.randn(n_filters, len(CHANNELS)) / len(CHANNELS) ** 0.5)
        self.norm = nn.BatchNorm1d(n_filters * len(BANDS))
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Linear(n_filters * len(BANDS), n_features)

    def forward(self, eeg: Tensor) -> tuple[Tensor, Tensor]:
        """Covariances (n_windows, 4, 28, 28) to embedding (n_windows, n_features) and log power (.., 4, n_filters)."""
        log_power = filter_log_power(eeg, self.filters)
        return self.project(self.dropout(self.norm(log_power.flatten(1)))), log_power


class VideoEncoder(nn.Module):
    """A perceptron per frame, attention over the valid frames, a projection."""

    def __init__(self, n_hidden: int, n_features: int, dropout: float):
        super().__init__()
        self.frame = nn.Sequential(nn.Linear(N_VIDEO_FEATURES, n_hidden), nn.ReLU(), nn.Dropout(dropout))
        self.attention = nn.Linear(n_hidden, 1)
        self.project = nn.Linear(n_hidden, n_features)

    def forward(self, video: Tensor, frame_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (n_windows, 5, 768) and mask (n_windows, 5) to embedding and hidden units (n_windows, 5, n_hidden).

        A window without any valid frame gets attention 0 everywhere, not NaN.
        """
        hidden = self.frame(video)
        score = self.attention(hidden).squeeze(-1).masked_fill(~frame_mask, -1e9)
        weight = torch.softmax(score, dim=1) * frame_mask
        return self.project((weight.unsqueeze(-1) * hidden).sum(1)), hidden


class FusionNet(nn.Module):
    """Teacher or assistant: both encoders, concatenation, one linear classifier."""

    inputs = ("eeg", "video", "frame_mask")
    fused = ("eeg", "video")
    eeg_share = eeg_share

    def __init__(
        self, *, n_filters: int, n_hidden: int = 64, n_features: int = 64, dropout: float = 0.25, n_classes: int = 2
    ):
        super().__init__()
        self.eeg = EEGEncoder(n_filters, n_features, dropout)
        self.video = VideoEncoder(n_hidden, n_features, dropout)
        self.classifier = nn.Linear(2 * n_features, n_classes)

    def forward(self, eeg: Tensor, video: Tensor, frame_mask: Tensor) -> ModelOutput:
        eeg_features, eeg_map = self.eeg(eeg)
        video_features, video_map = self.video(video, frame_mask)
        fused = torch.cat([eeg_features, video_features], dim=1)
        features = {"eeg": eeg_features, "video": video_features, "classifier_input": fused}
        return ModelOutput(self.classifier(fused), features, {"eeg": eeg_map, "video": video_map})


class UnimodalNet(nn.Module):
    """One encoder and a linear classifier: the EEG-alone and video-alone rows, and the student."""

    def __init__(self, modality: str, encoder: nn.Module, n_features: int, n_classes: int = 2):
        super().__init__()
        self.modality = modality
        self.inputs = {"eeg": ("eeg",), "video": ("video", "frame_mask")}[modality]
        self.encoder = encoder
        self.classifier = nn.Linear(n_features, n_classes)

    def forward(self, *inputs: Tensor) -> ModelOutput:
        embedding, map_ = self.encoder(*inputs)
        features = {self.modality: embedding, "classifier_input": embedding}
        return ModelOutput(self.classifier(embedding), features, {self.modality: map_})
