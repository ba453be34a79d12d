"""Prototype-based modality rebalancing: the poster's rule per epoch, and PMR's per mini-batch."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from ..models.output import ModelOutput
from .loss import Batches, CrossEntropy, LossValue
from .prototypes import Prototypes, class_means, log_probabilities, own_class_probability, prototype_cross_entropy

MODALITIES = ("eeg", "video")
MODES = ("adaptive", "constant", "none")


def imbalance_ratio(p_video: Tensor, p_eeg: Tensor) -> float:
    """Sum of the video's own-class prototype probabilities over the EEG's; above 1 the video is ahead. No gradient."""
    return float(p_video.detach().sum() / p_eeg.detach().sum().clamp(min=1e-12))


def modality_weights(ratio: float) -> tuple[float, float]:
    """Weights of the two prototype losses: only the modality that lags gets one.

    Parameters
    ----------
    ratio : float
        :func:`imbalance_ratio`.

    Returns
    -------
    video_weight, eeg_weight : float
        clip(1/ratio − 1, 0, 1) and clip(ratio − 1, 0, 1).
    """
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

    Prototypes and ratio come from the whole training part, in evaluation mode, before each epoch.

    Parameters
    ----------
    mode : {"adaptive", "constant", "none"}
        ``adaptive`` is the poster's rule; ``constant`` holds eeg_weight = 1 and ignores the ratio (control);
        ``none`` only measures.
    strength : float
        Alpha of the papers.
    momentum : float
        Of the prototypes, per epoch.
    """

    def __init__(self, *, mode: str = "adaptive", strength: float = 10.0, momentum: float = 0.5):
        super().__init__()
        if mode not in MODES:
            raise ValueError(f"mode must be adaptive, constant or none, got {mode!r}")
        self.mode, self.strength = mode, strength
        self.prototypes = {m: Prototypes(momentum) for m in MODALITIES}
        self.ratio, self.video_weight, self.eeg_weight = 1.0, 0.0, 0.0

    def state_dict(self) -> dict:
        return {m: prototypes.state_dict() for m, prototypes in self.prototypes.items()}

    def load_state_dict(self, state: dict) -> None:
        for m, prototypes in state.items():
            self.prototypes[m].load_state_dict(prototypes)

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
        fixed = {"constant": (0.0, 1.0), "none": (0.0, 0.0)}
        self.video_weight, self.eeg_weight = fixed.get(self.mode) or modality_weights(self.ratio)

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
    weights, prototypes of a tenth of the training windows, no momentum. Logged as means over the mini-batches.
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
