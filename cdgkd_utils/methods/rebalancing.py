"""Prototype-based modality rebalancing (PMR; poster, part 1; method.md, sections 3.1 and 3.4)."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional as F

from ..models.output import ModelOutput
from .loss import CrossEntropy, LossValue
from .prototypes import Prototypes, log_probabilities, own_class_probability, prototype_cross_entropy

MODALITIES = ("eeg", "video")


def imbalance_ratio(p_video: Tensor, p_eeg: Tensor) -> float:
    """Sum of the video's own-class prototype probabilities over the EEG's.

    Above 1 the video is ahead. No gradient.

    Parameters
    ----------
    p_video, p_eeg : Tensor, shape (n_windows,)
    """
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


class RebalancedCrossEntropy(CrossEntropy):
    """CE + strength · (video_weight · PCE_video + eeg_weight · PCE_eeg).

    Parameters
    ----------
    mode : {"adaptive", "constant", "none"}
        ``adaptive`` is the paper's rule; ``constant`` holds eeg_weight = 1 and ignores the ratio (control);
        ``none`` only measures.
    strength : float
        Alpha of the papers.
    source : {"epoch", "ema", "batch"}
        ``epoch``: prototypes and ratio from the whole training part, evaluation mode, before each epoch.
        ``ema``: running averages over mini-batches. ``batch``: the mini-batch's own means (each sample then
        pulls its own prototype, which flatters the fit).
    momentum : float
        Of ``epoch`` prototypes per epoch, of ``ema`` prototypes per mini-batch.
    kind : {"euclidean", "normalised"}
    """

    def __init__(
        self,
        *,
        mode: str = "adaptive",
        strength: float = 10.0,
        source: str = "epoch",
        momentum: float = 0.5,
        kind: str = "euclidean",
    ):
        super().__init__()
        if mode not in ("adaptive", "constant", "none"):
            raise ValueError(f"mode must be adaptive, constant or none, got {mode!r}")
        if source not in ("epoch", "ema", "batch"):
            raise ValueError(f"source must be epoch, ema or batch, got {source!r}")
        self.mode, self.strength, self.source, self.momentum, self.kind = mode, strength, source, momentum, kind
        self.prototypes = {m: Prototypes(momentum) for m in MODALITIES}
        self.ratio, self.video_weight, self.eeg_weight = 1.0, 0.0, 0.0

    def state_dict(self) -> dict:
        return {
            "prototypes": {m: prototypes.state_dict() for m, prototypes in self.prototypes.items()},
            # Not with source "epoch", which finds them anew before they are asked for.
            "weights": (self.ratio, self.video_weight, self.eeg_weight),
        }

    def load_state_dict(self, state: dict) -> None:
        for m, prototypes in state["prototypes"].items():
            self.prototypes[m].load_state_dict(prototypes)
        self.ratio, self.video_weight, self.eeg_weight = state["weights"]

    def begin_epoch(self, epoch: int, embed: Callable[[], tuple[ModelOutput, Tensor]]) -> dict[str, float]:
        output, labels = embed()
        seen = {m: output.features[m] for m in MODALITIES}
        if self.source == "epoch":
            self._update(seen, labels)
        # Whatever the source, the log shows how far each branch can be read by the means of this moment.
        log = {}
        for m in MODALITIES:
            prototypes = Prototypes()
            prototypes.update(seen[m], labels)
            nearest = log_probabilities(seen[m], prototypes.value, prototypes.present, self.kind).argmax(1)
            log[f"proto_accuracy_{m}"] = (nearest == labels).float().mean().item()
        return log | {
            "imbalance_ratio": self.ratio,
            "video_weight": self.video_weight,
            "eeg_weight": self.eeg_weight,
        }

    def _update(self, features: dict[str, Tensor], labels: Tensor) -> None:
        """Prototypes, then the ratio and the weights that follow from them."""
        p = {}
        for m in MODALITIES:
            self.prototypes[m].update(features[m], labels)
            p[m] = own_class_probability(
                features[m].detach(), labels, self.prototypes[m].value, self.prototypes[m].present, self.kind
            )
        self.ratio = imbalance_ratio(p["video"], p["eeg"])
        adaptive = modality_weights(self.ratio)
        self.video_weight, self.eeg_weight = {
            "adaptive": adaptive,
            "constant": (0.0, 1.0),
            "none": (0.0, 0.0),
        }[self.mode]

    def __call__(self, output: ModelOutput, labels: Tensor, rows: Tensor) -> LossValue:
        if self.source == "batch":
            self.prototypes = {m: Prototypes(0.0) for m in MODALITIES}
        if self.source != "epoch":
            self._update(output.features, labels)
        ce = F.cross_entropy(output.logits, labels)
        total, parts = ce, {"loss_ce": ce.item()}
        for m, weight in (("video", self.video_weight), ("eeg", self.eeg_weight)):
            term = 0.0
            if weight > 0:
                prototypes = self.prototypes[m]
                weighted = (self.strength * weight) * prototype_cross_entropy(
                    output.features[m], labels, prototypes.value, prototypes.present, self.kind
                )
                total, term = total + weighted, weighted.item()
            parts[f"loss_proto_{m}"] = term
        return LossValue(total, parts)
