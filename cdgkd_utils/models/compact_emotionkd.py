"""A compact EmotionKD teacher: tokens gated by learned scores and fused over two levels (method.md, section 5.5).

The gates and the fusion are the authors'; the encoders, three transformer blocks there, are small stand-ins here:
a linear map per token, then a residual perceptron. Numbers of this network are never the paper's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..data.constants import BANDS, CHANNELS, N_FRAMES, N_VIDEO_FEATURES
from .compact import FusionNet
from .frontend import filter_log_power
from .output import N_CLASSES, ModelOutput


class Score(nn.Module):
    """softsign(BN(W2 ReLU(BN(W1 x)))) of each token, the statistics shared by all tokens.

    Parameters
    ----------
    n_features : int
    """

    def __init__(self, n_features: int):
        super().__init__()
        self.first, self.second = nn.Linear(n_features, n_features), nn.Linear(n_features, n_features)
        self.first_norm, self.second_norm = nn.BatchNorm1d(n_features), nn.BatchNorm1d(n_features)

    def forward(self, tokens: Tensor) -> Tensor:
        """Gates in −1 .. 1, of the shape of `tokens`, (n_windows, n_tokens, n_features)."""
        rows = tokens.flatten(0, 1)
        hidden = F.relu(self.first_norm(self.first(rows)))
        return F.softsign(self.second_norm(self.second(hidden))).view_as(tokens)


class TokenFusionLevels(nn.Module):
    """IMF: S_a(level 1) ⊙ level 1 + S_b(level 2) ⊙ level 2, over the tokens of both modalities.

    Parameters
    ----------
    n_features : int
    """

    def __init__(self, n_features: int):
        super().__init__()
        self.score_1, self.score_2 = Score(n_features), Score(n_features)

    def forward(self, level_1: Tensor, level_2: Tensor) -> Tensor:
        """Fuse two levels, shape (n_windows, n_tokens, n_features) each."""
        return self.score_1(level_1) * level_1 + self.score_2(level_2) * level_2


class TokenPerceptron(nn.Module):
    """The step from one level of tokens to the next: x + W2 ReLU(W1 x)."""

    def __init__(self, n_features: int, dropout: float):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(n_features, n_features), nn.ReLU(), nn.Dropout(dropout), nn.Linear(n_features, n_features)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens + self.layers(tokens)


class CompactEmotionKDTeacher(nn.Module):
    """Four EEG tokens (bands), five video tokens (frames), two levels, IMF, one linear classifier.

    Parameters
    ----------
    n_filters : int
        Learned spatial filters, shared by the bands.
    n_features : int
        Width of a token.
    dropout : float
    """

    inputs = ("eeg", "video", "frame_mask")

    def __init__(self, *, n_filters: int = 12, n_features: int = 32, dropout: float = 0.25):
        super().__init__()
        self.filters = nn.Parameter(torch.randn(n_filters, len(CHANNELS)) / len(CHANNELS) ** 0.5)
        self.norm = nn.BatchNorm1d(len(BANDS) * n_filters)
        self.eeg_tokens = nn.Linear(n_filters, n_features)
        self.video_tokens = nn.Sequential(nn.Linear(N_VIDEO_FEATURES, n_features), nn.ReLU())
        self.dropout = nn.Dropout(dropout)
        self.eeg_level_2 = TokenPerceptron(n_features, dropout)
        self.video_level_2 = TokenPerceptron(n_features, dropout)
        self.fusion = TokenFusionLevels(n_features)
        self.classifier = nn.Linear((len(BANDS) + N_FRAMES) * n_features, N_CLASSES)

    def forward(self, eeg: Tensor, video: Tensor, frame_mask: Tensor) -> ModelOutput:
        """Map band covariances (n_windows, 4, 28, 28), frame features (n_windows, 5, 768) and their mask.

        A missing frame's tokens are 0 on both levels, hence 0 in the fused feature whatever the gates say.
        """
        log_power = filter_log_power(eeg, self.filters)
        eeg_1 = self.eeg_tokens(self.dropout(self.norm(log_power.flatten(1)).view_as(log_power)))
        video_1 = self.dropout(self.video_tokens(video))
        mask = frame_mask.unsqueeze(2)
        level_1 = torch.cat([eeg_1, video_1 * mask], dim=1)
        level_2 = torch.cat([self.eeg_level_2(eeg_1), self.video_level_2(video_1) * mask], dim=1)
        fused = self.fusion(level_1, level_2)
        maps = {"eeg": fused[:, : len(BANDS)], "video": fused[:, len(BANDS) :]}
        features = {name: tokens.flatten(1) for name, tokens in maps.items()}
        features["classifier_input"] = fused.flatten(1)
        return ModelOutput(self.classifier(features["classifier_input"]), features, maps)

    # The classifier reads [EEG; video] like the compact teacher's, so the EEG's share is taken the same way.
    eeg_share = FusionNet.eeg_share
