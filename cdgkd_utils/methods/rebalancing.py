"""Modality rebalancing: class prototypes, the poster's rule per epoch, PMR's per mini-batch, and OGM-GE.

PMR: Fan et al., CVPR 2023; CDGKD's poster, part 1. OGM-GE: Peng et al., CVPR 2022.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..models.output import ModelOutput, unimodal_logits
from .loss import Batches, CrossEntropy, LossValue

MODALITIES = ("eeg", "video")
WEIGHTS = {"adaptive": None, "constant": (0.0, 1.0), "none": (0.0, 0.0)}  # of video and EEG, by mode
LAST_EPOCH = 50  # of OGM-GE, the authors' default; gradients are left alone from the next one on


# ---- prototypes ----------------------------------------------------------------------------------


def class_means(embeddings: Tensor, labels: Tensor, n_classes: int = 2) -> tuple[Tensor, Tensor]:
    """Mean of embeddings (n_windows, n_features) by class, (n_classes, n_features), and which classes are present.

    An absent class has the mean 0.
    """
    one_hot = F.one_hot(labels, n_classes).to(embeddings.dtype)
    counts = one_hot.sum(0)
    return one_hot.T @ embeddings / counts.clamp(min=1)[:, None], counts > 0


def distances(embeddings: Tensor, prototypes: Tensor) -> Tensor:
    """Euclidean distance, as in PMR not squared, of each embedding to each prototype, (n_windows, n_classes)."""
    squared = (embeddings[:, None] - prototypes[None]).square().sum(-1)
    # The root has an infinite slope at 0, where a sample is its own prototype.
    return (squared + 1e-12).sqrt()


def log_probabilities(embeddings: Tensor, prototypes: Tensor, present: Tensor) -> Tensor:
    """Log of softmax(−distance), shape (n_windows, n_classes); −inf for a class that has no prototype."""
    return (-distances(embeddings, prototypes)).masked_fill(~present, -torch.inf).log_softmax(dim=1)


def prototype_cross_entropy(embeddings: Tensor, labels: Tensor, prototypes: Tensor, present: Tensor) -> Tensor:
    """Mean of −log p(own class) over samples whose class has a prototype, which carries no gradient; 0 if none has."""
    usable = present[labels]
    if not usable.any():
        return embeddings.sum() * 0.0
    log_p = log_probabilities(embeddings[usable], prototypes.detach(), present)
    return -log_p.gather(1, labels[usable, None]).mean()


def own_class_probability(embeddings: Tensor, labels: Tensor, prototypes: Tensor, present: Tensor) -> Tensor:
    """Probability p(own class) of each sample, shape (n_windows,); 0 where the class has no prototype."""
    return log_probabilities(embeddings, prototypes, present).exp().gather(1, labels[:, None])[:, 0]


class Prototypes:
    """Running class prototypes of one modality, and which are there; `momentum` weighs the old value in an update."""

    def __init__(self, momentum: float = 0.5):
        self.momentum = momentum
        self.value: Tensor | None = None
        self.present: Tensor | None = None

    @torch.no_grad()
    def update(self, embeddings: Tensor, labels: Tensor, n_classes: int = 2) -> None:
        """Move to the class means; an absent class keeps its prototype, a new one takes the mean alone."""
        means, present = class_means(embeddings.detach(), labels, n_classes)
        if self.value is None:
            self.value, self.present = means, present
            return
        # A checkpoint comes back on the CPU.
        self.value, self.present = self.value.to(means.device), self.present.to(means.device)
        mixed = (1 - self.momentum) * means + self.momentum * self.value
        fresh = torch.where(self.present[:, None], mixed, means)
        self.value = torch.where(present[:, None], fresh, self.value)
        self.present = self.present | present


# ---- the poster's rule, and PMR's ----------------------------------------------------------------


def imbalance_ratio(p_video: Tensor, p_eeg: Tensor) -> float:
    """Sum of the video's own-class prototype probabilities over the EEG's; above 1 the video is ahead. No gradient."""
    return float(p_video.detach().sum() / p_eeg.detach().sum().clamp(min=1e-12))


def modality_weights(ratio: float) -> tuple[float, float]:
    """Weights of the prototype losses of video, clip(1/ratio − 1, 0, 1), and EEG, clip(ratio − 1, 0, 1)."""
    return min(max(1 / max(ratio, 1e-12) - 1, 0.0), 1.0), min(max(ratio - 1, 0.0), 1.0)


def prototype_state(output: ModelOutput, labels: Tensor) -> dict[str, float]:
    """By the class means of this moment: the share of windows nearest to their own in each branch, and the ratio."""
    log, p = {}, {}
    for m in MODALITIES:
        means, present = class_means(output.features[m], labels, output.logits.shape[1])
        log_p = log_probabilities(output.features[m], means, present)
        log[f"proto_accuracy_{m}"] = (log_p.argmax(1) == labels).float().mean().item()
        p[m] = log_p.gather(1, labels[:, None]).exp()
    return log | {"imbalance_ratio": imbalance_ratio(p["video"], p["eeg"])}


class RebalancedCrossEntropy(CrossEntropy):
    """CE + strength · (video_weight · PCE_video + eeg_weight · PCE_eeg).

    Prototypes and ratio come from the whole training part, in evaluation mode, before each epoch. Mode ``adaptive`` is
    the poster's rule, ``constant`` holds eeg_weight = 1 (control), ``none`` only measures. `strength`
    is the papers' alpha, `momentum` the prototypes', per epoch.
    """

    def __init__(self, *, mode: str = "adaptive", strength: float = 10.0, momentum: float = 0.5):
        super().__init__()
        if mode not in WEIGHTS:
            raise ValueError(f"mode must be {', '.join(WEIGHTS)}, got {mode!r}")
        self.mode, self.strength = mode, strength
        self.prototypes = {m: Prototypes(momentum) for m in MODALITIES}
        self.ratio, self.video_weight, self.eeg_weight = 1.0, 0.0, 0.0

    def state_dict(self) -> dict:
        return {m: {"value": c.value, "present": c.present} for m, c in self.prototypes.items()}

    def load_state_dict(self, state: dict) -> None:
        for m, stored in state.items():
            vars(self.prototypes[m]).update(stored)

    def begin_epoch(self, epoch: int, embed: Callable[[], tuple[ModelOutput, Tensor]]) -> dict[str, float]:
        output, labels = embed()
        for m in MODALITIES:
            self.prototypes[m].update(output.features[m], labels, output.logits.shape[1])
        self._weigh(output.features, labels)
        return prototype_state(output, labels) | self._weights()

    def _weights(self) -> dict[str, float]:
        return {"imbalance_ratio": self.ratio, "video_weight": self.video_weight, "eeg_weight": self.eeg_weight}

    def _weigh(self, features: dict[str, Tensor], labels: Tensor) -> None:
        """The ratio and the weights that follow from it, from the windows whose class has prototypes."""
        usable, self.ratio = self.prototypes["eeg"].present[labels], 1.0
        if usable.any():
            p = {
                m: own_class_probability(features[m].detach()[usable], labels[usable], c.value, c.present)
                for m, c in self.prototypes.items()
            }
            self.ratio = imbalance_ratio(p["video"], p["eeg"])
        self.video_weight, self.eeg_weight = WEIGHTS[self.mode] or modality_weights(self.ratio)

    def __call__(self, output: ModelOutput, labels: Tensor, rows: Tensor) -> LossValue:
        total = F.cross_entropy(output.logits, labels)
        parts = {"loss_ce": total.item()}
        for m, weight in (("video", self.video_weight), ("eeg", self.eeg_weight)):
            term = 0.0
            if weight > 0:
                c = self.prototypes[m]
                pce = prototype_cross_entropy(output.features[m], labels, c.value, c.present)
                weighted = (self.strength * weight) * pce
                total, term = total + weighted, weighted.item()
            parts[f"loss_proto_{m}"] = term
        return LossValue(total, parts)


class PMR(RebalancedCrossEntropy):
    """The same loss as PMR's paper prints it: the ratio, and so the weights, of each mini-batch in training mode.

    Without the paper's entropy term, which CDGKD does not have. The authors' released code differs: all-or-nothing
    weights, prototypes of a tenth of the training windows, no momentum.
    """

    def __init__(self, *, strength: float = 1.0, momentum: float = 0.5):
        super().__init__(strength=strength, momentum=momentum)

    def begin_epoch(self, epoch: int, embed: Callable[[], tuple[ModelOutput, Tensor]]) -> dict[str, float]:
        log = super().begin_epoch(epoch, embed)
        return {name: value for name, value in log.items() if name.startswith("proto_accuracy")}

    def __call__(self, output: ModelOutput, labels: Tensor, rows: Tensor) -> LossValue:
        self._weigh(output.features, labels)
        return super().__call__(output, labels, rows)

    def after_step(self, model: nn.Module, inputs: Batches) -> dict[str, float]:
        return self._weights()


# ---- OGM-GE: where PMR helps the modality that lags, slow down the one that is ahead -------------


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
    """OGM-GE: cross-entropy whose encoder gradients are scaled before each step, OGM, and blurred by noise, GE.

    The noise is Gaussian with the standard deviation that each gradient tensor has before scaling. The authors' code
    gives noise and scale to convolution kernels only, of which the compact networks have none; here every parameter of
    the encoders gets both. `strength` is alpha, which their code asks for; `generator` draws the noise.
    """

    def __init__(self, *, generator: torch.Generator, strength: float = 0.1):
        super().__init__()
        self.strength, self.generator, self._active = strength, generator, False

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
