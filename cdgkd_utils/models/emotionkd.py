"""EmotionKD's teachers (Liu et al., 2023): tokens of both modalities, gated by learned scores, summed over levels.

Video stands where theirs takes skin conductance. The fusion follows the formula; their released code concatenates one
modality "before" its last block, not "after".
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..data.constants import BANDS, CHANNELS, N_FRAMES, N_VIDEO_FEATURES
from .compact import filter_log_power
from .layers import Classifier, PositionEmbedding, TransformerBlock, linear
from .output import ModelOutput, eeg_share
from .reference import N_POSITIONS, Stem, VideoStem

WIDTH = 64
TOKENS_FLAT = N_POSITIONS * WIDTH  # 3904: one modality's tokens in one row


class Gated(nn.Module):
    """S(X) ⊙ X with S(X) = softsign(BN(W₂ ReLU(BN(W₁ X)))); batch statistics are over windows and tokens."""

    def __init__(self, width: int, layer: Callable[[int, int], nn.Linear] = nn.Linear, norm=nn.BatchNorm1d):
        super().__init__()
        self.linear_1, self.linear_2 = layer(width, width), layer(width, width)
        self.norm_1, self.norm_2 = norm(width), norm(width)

    def forward(self, tokens: Tensor) -> Tensor:
        hidden = torch.relu(self.norm_1(self.linear_1(tokens.flatten(0, 1))))
        return F.softsign(self.norm_2(self.linear_2(hidden))).view_as(tokens) * tokens


def _perceptron(width: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, width))


class CompactEmotionKDTeacher(nn.Module):
    """Four EEG tokens (bands), five video tokens (frames), two levels, gates, one linear classifier.

    Gates and fusion are the authors'; instead of transformer blocks a linear map and a residual perceptron per token.
    """

    inputs = ("eeg", "video", "frame_mask")
    fused = ("eeg", "video")
    eeg_share = eeg_share

    def __init__(self, n_filters: int = 12, width: int = 32, dropout: float = 0.25, n_classes: int = 2):
        super().__init__()
        self.filters = nn.Parameter(torch.randn(n_filters, len(CHANNELS)) / len(CHANNELS) ** 0.5)
        self.norm = nn.BatchNorm1d(len(BANDS) * n_filters)
        self.eeg_tokens = nn.Linear(n_filters, width)
        self.video_tokens = nn.Sequential(nn.Linear(N_VIDEO_FEATURES, width), nn.ReLU())
        self.dropout = nn.Dropout(dropout)
        self.eeg_level_2, self.video_level_2 = _perceptron(width, dropout), _perceptron(width, dropout)
        self.gates = nn.ModuleList(Gated(width) for _ in range(2))
        self.classifier = nn.Linear((len(BANDS) + N_FRAMES) * width, n_classes)

    def forward(self, eeg: Tensor, video: Tensor, frame_mask: Tensor) -> ModelOutput:
        """Map band covariances (n_windows, 4, 28, 28), frame features (n_windows, 5, 768) and their mask.

        A missing frame's tokens are 0 on both levels, hence 0 in the fused feature whatever the gates say.
        """
        log_power = filter_log_power(eeg, self.filters)
        eeg_1 = self.eeg_tokens(self.dropout(self.norm(log_power.flatten(1)).view_as(log_power)))
        video_1 = self.dropout(self.video_tokens(video))
        mask = frame_mask.unsqueeze(2)
        level_1 = torch.cat([eeg_1, video_1 * mask], dim=1)
        eeg_2, video_2 = eeg_1 + self.eeg_level_2(eeg_1), video_1 + self.video_level_2(video_1)
        level_2 = torch.cat([eeg_2, video_2 * mask], dim=1)
        fused = self.gates[0](level_1) + self.gates[1](level_2)
        maps = {"eeg": fused[:, : len(BANDS)], "video": fused[:, len(BANDS) :]}
        features = {name: tokens.flatten(1) for name, tokens in maps.items()} | {"classifier_input": fused.flatten(1)}
        return ModelOutput(self.classifier(features["classifier_input"]), features, maps)


class TokenEncoder(nn.Module):
    """Stem, dropout 0.3, learned positions (61 of 64 rows are used), three blocks; gives the output of each block."""

    def __init__(self, stem: nn.Module):
        super().__init__()
        self.stem = stem
        self.dropout = nn.Dropout(0.3)
        self.positions = PositionEmbedding(64, WIDTH)
        self.blocks = nn.ModuleList(TransformerBlock(WIDTH, 0.1) for _ in range(3))

    def forward(self, inputs: Tensor) -> list[Tensor]:
        levels = [self.positions(self.dropout(self.stem(inputs)))]
        for block in self.blocks:
            levels.append(block(levels[-1]))
        return levels[1:]


class EmotionKDTeacher(nn.Module):
    """EEG and video tokens above each other, pairs of neighbouring blocks fused by scores (IMF), classifier.

    ``IMF_l = S_a(B_l) ⊙ B_l + S_b(B_{l+1}) ⊙ B_{l+1}`` with B_l the 122 tokens of block l; IMF₁ + IMF₂ in one row
    is the fused feature of width 7808. Its first half belongs to the EEG tokens, its second to the video tokens.
    """

    inputs = ("signal", "video")
    fused = ("eeg", "video")
    eeg_share = eeg_share
    chunk = 256

    def __init__(self, n_classes: int = 2) -> None:
        super().__init__()
        self.eeg = TokenEncoder(Stem((len(CHANNELS), 1)))
        self.video = TokenEncoder(VideoStem())
        gates = (Gated(WIDTH, linear, lambda n: nn.BatchNorm1d(n, eps=1e-3, momentum=0.01)) for _ in range(4))
        self.gates = nn.ModuleList(gates)
        self.classifier = Classifier(2 * TOKENS_FLAT, n_classes)

    def forward(self, signal: Tensor, video: Tensor) -> ModelOutput:
        """Map EEG, shape (n_windows, 28, 512), and frame features, shape (n_windows, 5, 768)."""
        eeg, video_ = self.eeg(signal), self.video(video)
        both = [torch.cat(pair, dim=1) for pair in zip(eeg, video_, strict=True)]
        levels = [both[0], both[1], both[1], both[2]]  # IMF_1 of blocks 1 and 2, IMF_2 of blocks 2 and 3
        fused = sum(gate(level) for gate, level in zip(self.gates, levels, strict=True)).flatten(1)
        features = {"eeg": fused[:, :TOKENS_FLAT], "video": fused[:, TOKENS_FLAT:], "classifier_input": fused}
        maps = {"eeg": eeg[-1], "eeg_2": eeg[-2], "video": video_[-1], "video_2": video_[-2]}
        return ModelOutput(self.classifier(fused), features, maps)
