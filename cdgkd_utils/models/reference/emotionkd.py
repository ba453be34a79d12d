"""The networks of EmotionKD (Liu et al., 2023) on EEG and frame features, in their published size.

Both encoders are three transformer blocks over 61 tokens; scores weigh every activation of every block before they
are summed (method.md, section 5.5). The published teacher takes skin conductance where this one takes video.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...data.constants import CHANNELS
from ..output import ModelOutput
from .layers import Classifier, PositionEmbedding, TransformerBlock, batch_norm, conv, linear
from .networks import share_of_eeg
from .video import N_POSITIONS, VideoStem

WIDTH = 64
N_BLOCKS = 3
N_ROWS = 64  # of the tables of positions; 61 are used
N_TOKENS_FLAT = N_POSITIONS * WIDTH  # 3904: one modality's tokens in one row


class EEGStem(nn.Module):
    """Convolutions along time and over all electrodes, giving 61 tokens of width 64."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_1 = conv(1, WIDTH, (1, 32), stride=(1, 8))
        self.norm = batch_norm(WIDTH)
        self.conv_2 = conv(WIDTH, WIDTH, (len(CHANNELS), 1))

    def forward(self, signal: Tensor) -> Tensor:
        """Map EEG, shape (n_windows, 28, 512), to tokens, shape (n_windows, 61, 64)."""
        hidden = torch.relu(self.norm(self.conv_1(signal.unsqueeze(1))))
        return self.conv_2(hidden).squeeze(2).transpose(1, 2)


class TokenEncoder(nn.Module):
    """Stem, dropout 0.3, learned positions, three blocks of width 64.

    Parameters
    ----------
    stem : Module
        Gives tokens, shape (n_windows, 61, 64).
    twice_differentiable : bool
        See `TransformerBlock`.
    """

    def __init__(self, stem: nn.Module, *, twice_differentiable: bool):
        super().__init__()
        self.stem = stem
        self.dropout = nn.Dropout(0.3)
        self.positions = PositionEmbedding(N_ROWS, WIDTH)
        self.blocks = nn.ModuleList(
            TransformerBlock(WIDTH, 0.1, twice_differentiable=twice_differentiable) for _ in range(N_BLOCKS)
        )

    def forward(self, inputs: Tensor) -> list[Tensor]:
        """Output of each block, shape (n_windows, 61, 64)."""
        levels = [self.positions(self.dropout(self.stem(inputs)))]
        for block in self.blocks:
            levels.append(block(levels[-1]))
        return levels[1:]


class ScoredTokens(nn.Module):
    """``S(X) ⊙ X`` with the score S = softsign(BN(W₂ relu(BN(W₁ X)))), one per activation.

    Batch statistics are per feature, over windows and positions.
    """

    def __init__(self) -> None:
        super().__init__()
        self.linear_1, self.linear_2 = linear(WIDTH, WIDTH), linear(WIDTH, WIDTH)
        self.norm_1, self.norm_2 = batch_norm(WIDTH), batch_norm(WIDTH)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens, shape (n_windows, n_positions, 64), to the same shape."""
        hidden = torch.relu(_over_features(self.norm_1, self.linear_1(tokens)))
        return F.softsign(_over_features(self.norm_2, self.linear_2(hidden))) * tokens


def _over_features(norm: nn.BatchNorm2d, tokens: Tensor) -> Tensor:
    """Batch normalisation of the last axis."""
    return norm(tokens.flatten(0, 1)[:, :, None, None]).view_as(tokens)


class EmotionKDTeacher(nn.Module):
    """EEG and video tokens above each other, pairs of neighbouring blocks fused by scores (IMF), classifier.

    ``IMF_l = S_a(B_l) ⊙ B_l + S_b(B_{l+1}) ⊙ B_{l+1}`` with B_l the 122 tokens of block l; IMF₁ + IMF₂ in one row
    is the fused feature of width 7808. Its first half belongs to the EEG tokens, its second to the video tokens.
    """

    inputs = ("signal", "video")
    chunk = 256

    def __init__(self) -> None:
        super().__init__()
        self.eeg = TokenEncoder(EEGStem(), twice_differentiable=False)
        self.video = TokenEncoder(VideoStem(), twice_differentiable=False)
        self.scores = nn.ModuleList(ScoredTokens() for _ in range(2 * (N_BLOCKS - 1)))
        self.classifier = Classifier(2 * N_TOKENS_FLAT)

    def forward(self, signal: Tensor, video: Tensor) -> ModelOutput:
        """Map EEG, shape (n_windows, 28, 512), and frame features, shape (n_windows, 5, 768)."""
        eeg, video_ = self.eeg(signal), self.video(video)
        both = [torch.cat(pair, dim=1) for pair in zip(eeg, video_, strict=True)]
        scored = [self.scores[2 * i + j](both[i + j]) for i in range(N_BLOCKS - 1) for j in range(2)]
        fused = sum(scored).flatten(1)
        features = {"eeg": fused[:, :N_TOKENS_FLAT], "video": fused[:, N_TOKENS_FLAT:], "classifier_input": fused}
        maps = {"eeg": eeg[-1], "eeg_2": eeg[-2], "video": video_[-1], "video_2": video_[-2]}
        return ModelOutput(self.classifier(fused), features, maps)

    @torch.no_grad()
    def eeg_share(self, features: dict[str, Tensor]) -> float:
        """Share of the EEG tokens in the spread of the decision value, 0 .. 1; see `networks.share_of_eeg`."""
        return share_of_eeg(self.classifier, features, ("eeg", "video"))


class EmotionKDStudent(nn.Module):
    """Video tokens, all three blocks summed with scores (MDF) to a feature of width 3904, classifier.

    Its gradients can be differentiated once more, which the teacher's feedback needs.
    """

    inputs = ("video",)
    chunk = 256

    def __init__(self) -> None:
        super().__init__()
        self.video = TokenEncoder(VideoStem(), twice_differentiable=True)
        self.scores = nn.ModuleList(ScoredTokens() for _ in range(N_BLOCKS))
        self.classifier = Classifier(N_TOKENS_FLAT)

    def forward(self, video: Tensor) -> ModelOutput:
        """Map frame features, shape (n_windows, 5, 768)."""
        levels = self.video(video)
        embedding = sum(score(level) for score, level in zip(self.scores, levels, strict=True)).flatten(1)
        features = {"video": embedding, "classifier_input": embedding}
        return ModelOutput(self.classifier(embedding), features, {"video": levels[-1], "video_2": levels[-2]})
