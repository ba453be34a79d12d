"""On-the-fly gradient modulation with generalisation enhancement, OGM-GE: slow down whoever is ahead.

Peng et al., Balanced multimodal learning via on-the-fly gradient modulation, CVPR 2022. Where PMR gives the lagging
modality an extra loss, OGM-GE scales the gradients of the leading one down.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..models.output import ModelOutput, unimodal_logits
from .loss import Batches, CrossEntropy, LossValue
from .rebalancing import MODALITIES, prototype_state

LAST_EPOCH = 50  # the authors' default; gradients are left alone from the next one on


def score_ratio(video_logits: Tensor, eeg_logits: Tensor, labels: Tensor) -> float:
    """Sum of the video's own-class softmax scores over the EEG's, from ``unimodal_logits``; above 1 video is ahead."""
    video, eeg = (x.softmax(1).gather(1, labels[:, None]).sum() for x in (video_logits, eeg_logits))
    return float(video / eeg.clamp(min=1e-12))


def gradient_scales(ratio: float, strength: float) -> tuple[float, float]:
    """Factors on the gradients of video and EEG encoder: 1 − tanh(strength · its own ratio) for who is ahead, else 1.

    Equation 10. The rule jumps: a lead however small takes tanh(strength) away.
    """
    video = 1 - math.tanh(strength * ratio) if ratio > 1 else 1.0
    eeg = 1 - math.tanh(strength / max(ratio, 1e-12)) if ratio < 1 else 1.0
    return video, eeg


class GradientModulation(CrossEntropy):
    """Cross-entropy whose encoder gradients are scaled before each step, OGM, and blurred by noise, GE.

    The noise is Gaussian with the standard deviation that each gradient tensor has before scaling. The authors' code
    gives noise and scale to convolution kernels only, of which the compact networks have none; here every parameter of
    the encoders gets both. Logged as means over the mini-batches: ``score_ratio``, from the fused classifier,
    ``video_gradient_scale`` and ``eeg_gradient_scale``.

    Parameters
    ----------
    generator : torch.Generator
        Of the noise, used for nothing else.
    strength : float
        Alpha; at 0 nothing is scaled, the noise remains. The authors' code asks for it; 0.1 is this project's default.
    """

    def __init__(self, *, generator: torch.Generator, strength: float = 0.1):
        super().__init__()
        if strength < 0:
            raise ValueError(f"strength must be 0 or more, got {strength}")
        self.strength, self.generator = strength, generator
        self._active = False
        self._seen: tuple[dict[str, Tensor], Tensor] | None = None
        self._log: dict[str, float] = {}

    def state_dict(self) -> dict:
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state: dict) -> None:
        self.generator.set_state(state["generator"])

    def begin_epoch(self, epoch: int, embed: Callable[[], tuple[ModelOutput, Tensor]]) -> dict[str, float]:
        self._active = epoch <= LAST_EPOCH
        return prototype_state(*embed()) | {"video_weight": 0.0, "eeg_weight": 0.0}  # measured, not used

    def __call__(self, output: ModelOutput, labels: Tensor, rows: Tensor) -> LossValue:
        # The classifier that divides the logits is known only when the loop hands over the model.
        self._seen = {m: output.features[m].detach() for m in MODALITIES}, labels
        return super().__call__(output, labels, rows)

    def before_step(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        features, labels = self._seen
        logits = unimodal_logits(model, features)
        ratio = score_ratio(logits["video"], logits["eeg"], labels)
        scales = gradient_scales(ratio, self.strength) if self._active else (1.0, 1.0)
        self._log = {"score_ratio": ratio, "video_gradient_scale": scales[0], "eeg_gradient_scale": scales[1]}
        if not self._active:
            return
        for encoder, scale in ((model.video, scales[0]), (model.eeg, scales[1])):
            for gradient in (p.grad for p in encoder.parameters() if p.grad is not None):
                spread = gradient.std(correction=0)
                noise = torch.randn(gradient.shape, generator=self.generator, dtype=gradient.dtype)
                gradient.mul_(scale).add_(spread * noise.to(gradient.device))

    def after_step(self, model: nn.Module, inputs: Batches) -> dict[str, float]:
        return self._log
