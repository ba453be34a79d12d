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
from .output import N_CLASSES, ModelOutput


class EEGEncoder(nn.Module):
    """Learned spatial filters on band covariances → log power → batch norm → dropout → linear.

    Parameters
    ----------
    n_filters : int
        Spatial filters, shared by the four bands.
    n_features : int
        Width of the embedding.
    dropout : float
    """

    def __init__(self, n_filters: int, n_features: int, dropout: float):
        super().__init__()
        self.filters = nn.Parameter(torch.randn(n_filters, len(CHANNELS)) / len(CHANNELS) ** 0.5)
        self.norm = nn.BatchNorm1d(n_filters * len(BANDS))
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Linear(n_filters * len(BANDS), n_features)

    def forward(self, eeg: Tensor) -> tuple[Tensor, Tensor]:
        """Map covariances, shape (n_windows, 4, 28, 28).

        Returns
        -------
        embedding : Tensor, shape (n_windows, n_features)
        map : Tensor, shape (n_windows, 4, n_filters)
            Log power per band and filter.
        """
        log_power = filter_log_power(eeg, self.filters)
        return self.project(self.dropout(self.norm(log_power.flatten(1)))), log_power


class VideoEncoder(nn.Module):
    """A perceptron per frame, attention over the valid frames, a projection.

    Parameters
    ----------
    n_hidden, n_features : int
    dropout : float
        On the frames' hidden units.
    """

    def __init__(self, n_hidden: int, n_features: int, dropout: float):
        super().__init__()
        self.frame = nn.Sequential(nn.Linear(N_VIDEO_FEATURES, n_hidden), nn.ReLU(), nn.Dropout(dropout))
        self.attention = nn.Linear(n_hidden, 1)
        self.project = nn.Linear(n_hidden, n_features)

    def forward(self, video: Tensor, frame_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Map frame features, shape (n_windows, 5, 768), and their mask, shape (n_windows, 5).

        A window without any valid frame gets attention 0 everywhere, not NaN.

        Returns
        -------
        embedding : Tensor, shape (n_windows, n_features)
        map : Tensor, shape (n_windows, 5, n_hidden)
            Hidden units per frame.
        """
        hidden = self.frame(video)
        score = self.attention(hidden).squeeze(-1).masked_fill(~frame_mask, -1e9)
        weight = torch.softmax(score, dim=1) * frame_mask
        return self.project((weight.unsqueeze(-1) * hidden).sum(1)), hidden


class FusionNet(nn.Module):
    """Teacher or assistant: both encoders, concatenation, one linear classifier (method.md, section 2.3)."""

    inputs = ("eeg", "video", "frame_mask")

    def __init__(self, *, n_filters: int, n_hidden: int = 64, n_features: int = 64, dropout: float = 0.25):
        super().__init__()
        self.eeg = EEGEncoder(n_filters, n_features, dropout)
        self.video = VideoEncoder(n_hidden, n_features, dropout)
        self.classifier = nn.Linear(2 * n_features, N_CLASSES)

    def forward(self, eeg: Tensor, video: Tensor, frame_mask: Tensor) -> ModelOutput:
        eeg_features, eeg_map = self.eeg(eeg)
        video_features, video_map = self.video(video, frame_mask)
        fused = torch.cat([eeg_features, video_features], dim=1)
        features = {"eeg": eeg_features, "video": video_features, "classifier_input": fused}
        return ModelOutput(self.classifier(fused), features, {"eeg": eeg_map, "video": video_map})

    @torch.no_grad()
    def eeg_share(self, features: dict[str, Tensor]) -> float:
        """Share of the EEG in the spread of the decision value, 0 .. 1.

        The difference of the two logits is a sum of an EEG part and a video part; the share is
        sd(EEG part) / (sd(EEG part) + sd(video part)) over the given windows.
        """
        direction = self.classifier.weight[1] - self.classifier.weight[0]
        n_features = features["eeg"].shape[1]
        eeg = (features["eeg"] @ direction[:n_features]).std()
        video = (features["video"] @ direction[n_features:]).std()
        return float(eeg / (eeg + video))


class UnimodalNet(nn.Module):
    """One encoder and a linear classifier: the EEG-alone and video-alone rows, and the student."""

    def __init__(self, modality: str, encoder: nn.Module, n_features: int):
        super().__init__()
        self.modality = modality
        self.inputs = {"eeg": ("eeg",), "video": ("video", "frame_mask")}[modality]
        self.encoder = encoder
        self.classifier = nn.Linear(n_features, N_CLASSES)

    def forward(self, *inputs: Tensor) -> ModelOutput:
        embedding, map_ = self.encoder(*inputs)
        features = {self.modality: embedding, "classifier_input": embedding}
        return ModelOutput(self.classifier(embedding), features, {self.modality: map_})


# The ladder is in the EEG branch, as in the paper: 12, 8, 4 spatial filters, then no EEG at all.
MODELS = {
    "teacher": lambda: FusionNet(n_filters=12),
    "ta1": lambda: FusionNet(n_filters=8),
    "ta2": lambda: FusionNet(n_filters=4),
    "student": lambda: UnimodalNet("video", VideoEncoder(32, 32, 0.5), 32),
    "eeg": lambda: UnimodalNet("eeg", EEGEncoder(12, 64, 0.25), 64),
    "video": lambda: UnimodalNet("video", VideoEncoder(64, 64, 0.25), 64),
}
