"""On-the-fly gradient modulation with generalisation enhancement, OGM-GE: slow down whoever is ahead.

Where PMR gives the lagging modality an extra loss, OGM-GE scales the gradients of the leading one down.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..models.output import ModelOutput
from .loss import Batches, LossValue
from .rebalancing import MODALITIES, RebalancedCrossEntropy


def unimodal_logits(classifier: nn.Module, features: dict[str, Tensor]) -> dict[str, Tensor]:
    """What each modality contributes to the logits: W_m z_m + b/2, which add up to the logits.

    The classifier is asked with the other modality's features at zero, in evaluation mode (its mode is put
    back), so that any affine classifier will do: one layer, or a stack of them without activations.

    Parameters
    ----------
    classifier : Module
        Maps ``classifier_input`` to logits.
    features : dict of str to Tensor
        Of a model output: ``eeg`` and ``video``, shape (n_windows, n_features_m), and ``classifier_input``,
        the two side by side in either order.

    Returns
    -------
    dict of str to Tensor, shape (n_windows, n_classes)
        ``eeg`` and ``video``, without gradient.

    Raises
    ------
    ValueError
        The classifier's input is no concatenation of the two, or the classifier is not affine.
    """
    fused = features["classifier_input"].detach()
    first, second = _order(features)
    n_first = features[first].shape[1]
    alone = {first: fused.clone(), second: fused.clone()}
    alone[first][:, n_first:] = 0
    alone[second][:, :n_first] = 0
    was_training = classifier.training
    classifier.eval()
    with torch.no_grad():
        rows = torch.cat([alone[first], alone[second], fused, torch.zeros_like(fused[:1])])
        a, b, logits, bias = classifier(rows).split([len(fused)] * 3 + [1])
    classifier.train(was_training)
    parts = {first: a - bias / 2, second: b - bias / 2}
    if not torch.allclose(parts[first] + parts[second], logits, rtol=1e-3, atol=1e-3 * (1 + float(logits.abs().max()))):
        raise ValueError(
            "model.classifier: expected an affine map, but its logits are not the sum of an EEG and a video part; "
            "take a fusion network whose classifier has no activation"
        )
    return parts


def _order(features: dict[str, Tensor]) -> tuple[str, str]:
    """Which modality stands first in the classifier's input."""
    if set(MODALITIES) <= features.keys():
        for first, second in (MODALITIES, MODALITIES[::-1]):
            if torch.equal(torch.cat([features[first], features[second]], dim=1), features["classifier_input"]):
                return first, second
    raise ValueError(
        f"features: expected classifier_input to be {' and '.join(MODALITIES)} side by side, "
        f"found {', '.join(f'{name} {tuple(value.shape)}' for name, value in features.items())}; "
        "take a fusion network"
    )


def score_ratio(video_logits: Tensor, eeg_logits: Tensor, labels: Tensor) -> float:
    """Sum of the video's own-class softmax scores over the EEG's; above 1 the video is ahead.

    Parameters
    ----------
    video_logits, eeg_logits : Tensor, shape (n_windows, n_classes)
        From :func:`unimodal_logits`.
    labels : Tensor, shape (n_windows,)
    """
    video, eeg = (x.softmax(1).gather(1, labels[:, None]).sum() for x in (video_logits, eeg_logits))
    return float(video / eeg.clamp(min=1e-12))


def gradient_scales(ratio: float, strength: float) -> tuple[float, float]:
    """Factors on the encoders' gradients: 1 − tanh(strength · its own ratio) for who is ahead, else 1.

    The rule jumps: a lead however small takes tanh(strength) away.

    Parameters
    ----------
    ratio : float
        :func:`score_ratio`.
    strength : float

    Returns
    -------
    video_scale, eeg_scale : float
        At most 1, and one of them is; a lead so great that tanh rounds to 1 gives 0.

    References
    ----------
    Peng et al., Balanced multimodal learning via on-the-fly gradient modulation, CVPR 2022, eq. 10.
    """
    video = 1 - math.tanh(strength * ratio) if ratio > 1 else 1.0
    eeg = 1 - math.tanh(strength / max(ratio, 1e-12)) if ratio < 1 else 1.0
    return video, eeg


class GradientModulation(RebalancedCrossEntropy):
    """Cross-entropy whose encoder gradients are scaled before each step, OGM, and blurred by noise, GE.

    Nothing is added to the loss: ``video_weight`` and ``eeg_weight`` of the log are 0, and ``imbalance_ratio``
    is that of the prototypes before the epoch, measured but not used, so that methods can be compared. What is
    used, from the fused classifier, is logged as ``score_ratio``, ``video_gradient_scale`` and
    ``eeg_gradient_scale``, means over the epoch's mini-batches.

    Parameters
    ----------
    strength : float
        Alpha; 0 leaves all gradients as they are. The authors' code asks for it; 0.1 is this project's default.
    noise : bool
        GE: to each gradient tensor of both encoders, Gaussian noise with the standard deviation that the tensor
        has before scaling. The authors' code gives noise and scale to convolution kernels only, of which the
        compact networks have none; here every parameter of the encoders gets both.
    generator : torch.Generator, optional
        Of the noise, used for nothing else; needed with `noise`.
    first_epoch, last_epoch : int
        The epochs in which gradients are changed, both included.

    Raises
    ------
    ValueError
        A parameter is out of range, or `noise` has no generator.

    References
    ----------
    Peng et al., Balanced multimodal learning via on-the-fly gradient modulation, CVPR 2022; the scales are eq. 10.
    """

    def __init__(
        self,
        *,
        strength: float = 0.1,
        noise: bool = True,
        generator: torch.Generator | None = None,
        first_epoch: int = 0,
        last_epoch: int = 50,
    ):
        super().__init__(mode="none", strength=strength)
        if strength < 0:
            raise ValueError(f"strength must be 0 or more, got {strength}")
        if noise and generator is None:
            raise ValueError("noise needs a generator of its own; noise=False is OGM without GE")
        self.noise, self.generator = noise, generator
        self.first_epoch, self.last_epoch = first_epoch, last_epoch
        self._active = False
        self._seen: tuple[dict[str, Tensor], Tensor] | None = None
        self._log: dict[str, float] = {}

    def state_dict(self) -> dict:
        generator = None if self.generator is None else self.generator.get_state()
        return super().state_dict() | {"generator": generator}

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict(state)
        if self.generator is not None:
            self.generator.set_state(state["generator"])

    def begin_epoch(self, epoch: int, embed: Callable[[], tuple[ModelOutput, Tensor]]) -> dict[str, float]:
        self._active = self.first_epoch <= epoch <= self.last_epoch
        return super().begin_epoch(epoch, embed)

    def __call__(self, output: ModelOutput, labels: Tensor, rows: Tensor) -> LossValue:
        # The classifier that divides the logits is known only when the loop hands over the model.
        self._seen = {name: value.detach() for name, value in output.features.items()}, labels
        return super().__call__(output, labels, rows)

    def before_step(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        features, labels = self._seen
        logits = unimodal_logits(model.classifier, features)
        ratio = score_ratio(logits["video"], logits["eeg"], labels)
        scales = gradient_scales(ratio, self.strength) if self._active else (1.0, 1.0)
        self._log = {"score_ratio": ratio, "video_gradient_scale": scales[0], "eeg_gradient_scale": scales[1]}
        if not self._active:
            return
        for encoder, scale in ((model.video, scales[0]), (model.eeg, scales[1])):
            for parameter in encoder.parameters():
                if parameter.grad is not None:
                    self._modulate(parameter.grad, scale)

    def _modulate(self, gradient: Tensor, scale: float) -> None:
        spread = gradient.std(correction=0) if self.noise else None
        gradient.mul_(scale)
        if spread is not None:
            noise = torch.randn(gradient.shape, generator=self.generator, dtype=gradient.dtype)
            gradient.add_(spread * noise.to(gradient.device))

    def after_step(self, model: nn.Module, inputs: Batches) -> dict[str, float]:
        return self._log
