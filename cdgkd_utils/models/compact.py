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


class EEGEncoder(nn.Module):
    """Learned spatial filters, shared by the four bands, on band covariances → log power → batch norm → linear."""

    def __init__(self, n_filters: int, n_features: int, dropout: float):
        super().__init__()
        self.filters = nn.Parameter(torch.randn(n_filters, len(CHANNELS)) / len(CHANNELS) ** 0.5)
        self.norm = nn.BatchNorm1d(n_filters * len(BANDS))
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Linear(n_filters * len(BANDS), n_features)

    def forward(self, eeg: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Covariances (n_windows, 4, 28, 28) to embedding (n_windows, n_features) and log power (.., 4, n_filters)."""
        log_power = filter_log_power(eeg, self.filters)
        return self.project(self.dropout(self.norm(log_power.flatten(1)))), {"eeg": log_power}


class VideoEncoder(nn.Module):
    """A perceptron per frame, attention over the valid frames, a projection."""

    def __init__(self, n_hidden: int, n_features: int, dropout: float):
        super().__init__()
        self.frame = nn.Sequential(nn.Linear(N_VIDEO_FEATURES, n_hidden), nn.ReLU(), nn.Dropout(dropout))
        self.attention = nn.Linear(n_hidden, 1)
        self.project = nn.Linear(n_hidden, n_features)

    def forward(self, video: Tensor, frame_mask: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Frames (n_windows, 5, 768) and mask (n_windows, 5) to embedding and hidden units (n_windows, 5, n_hidden).

        A window without any valid frame gets attention 0 everywhere, not NaN.
        """
        hidden = self.frame(video)
        score = self.attention(hidden).squeeze(-1).masked_fill(~frame_mask, -1e9)
        weight = torch.softmax(score, dim=1) * frame_mask
        return self.project((weight.unsqueeze(-1) * hidden).sum(1)), {"video": hidden}
