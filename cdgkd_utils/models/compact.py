"""The compact family: a teacher, two assistants and a student that train in seconds on one core.

Not the paper's networks: the roles, the fusion by concatenation and the shrinking EEG branch are the paper's,
the encoders are small stand-ins (a ShallowConvNet with frozen temporal filters, a frame-wise perceptron with
attention over frames). Numbers of this family are never the paper's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..data.constants import BANDS, CHANNELS, N_VIDEO_FEATURES

N_CLASSES = 2


@dataclass(frozen=True)
class ModelOutput:
    """What every model returns.

    Attributes
    ----------
    logits : Tensor, shape (n_windows, 2)
    features : dict of str to Tensor
        Named embeddings, shape (n_windows, n_features): ``eeg`` and/or ``video``, and ``classifier_input``.
    """

    logits: Tensor
    features: dict[str, Tensor]


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

    def forward(self, eeg: Tensor) -> Tensor:
        """Map covariances, shape (n_windows, 4, 28, 28), to embeddings, shape (n_windows, n_features)."""
        # wᵀ C w is the inner product of C with w wᵀ: one matrix product for all filters, bands and windows.
        outer = (self.filters[:, :, None] * self.filters[:, None, :]).flatten(1)
        power = eeg.flatten(2) @ outer.T
        return self.project(self.dropout(self.norm(torch.log(power + 1e-6).flatten(1))))


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

    def forward(self, video: Tensor, frame_mask: Tensor) -> Tensor:
        """Map frame features, shape (n_windows, 5, 768), and their mask, shape (n_windows, 5), to embeddings.

        A window without any valid frame gets attention 0 everywhere, not NaN.
        """
        hidden = self.frame(video)
        score = self.attention(hidden).squeeze(-1).masked_fill(~frame_mask, -1e9)
        weight = torch.softmax(score, dim=1) * frame_mask
        return self.project((weight.unsqueeze(-1) * hidden).sum(1))


class FusionNet(nn.Module):
    """Teacher or assistant: both encoders, concatenation, one linear classifier (method.md, section 2.3)."""

    inputs = ("eeg", "video", "frame_mask")

    def __init__(self, *, n_filters: int, n_hidden: int = 64, n_features: int = 64, dropout: float = 0.25):
        super().__init__()
        self.eeg = EEGEncoder(n_filters, n_features, dropout)
        self.video = VideoEncoder(n_hidden, n_features, dropout)
        self.classifier = nn.Linear(2 * n_features, N_CLASSES)

    def forward(self, eeg: Tensor, video: Tensor, frame_mask: Tensor) -> ModelOutput:
        features = {"eeg": self.eeg(eeg), "video": self.video(video, frame_mask)}
        fused = torch.cat([features["eeg"], features["video"]], dim=1)
        return ModelOutput(self.classifier(fused), {**features, "classifier_input": fused})

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
        embedding = self.encoder(*inputs)
        return ModelOutput(self.classifier(embedding), {self.modality: embedding, "classifier_input": embedding})


# The ladder is in the EEG branch, as in the paper: 12, 8, 4 spatial filters, then no EEG at all.
MODELS = {
    "teacher": lambda: FusionNet(n_filters=12),
    "ta1": lambda: FusionNet(n_filters=8),
    "ta2": lambda: FusionNet(n_filters=4),
    "student": lambda: UnimodalNet("video", VideoEncoder(32, 32, 0.5), 32),
    "eeg": lambda: UnimodalNet("eeg", EEGEncoder(12, 64, 0.25), 64),
    "video": lambda: UnimodalNet("video", VideoEncoder(64, 64, 0.25), 64),
}


def build_model(name: str, seed: int) -> nn.Module:
    """A freshly initialised model; the global random state is left as it was.

    Parameters
    ----------
    name : {"teacher", "ta1", "ta2", "student", "eeg", "video"}
    seed : int

    Raises
    ------
    ValueError
        The name is unknown.
    """
    if name not in MODELS:
        raise ValueError(f"unknown model {name!r}; known: {', '.join(MODELS)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MODELS[name]()


def n_parameters(model: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
