"""Prototypical modal rebalance, PMR: as its paper prints it, and as its authors released it.

The two differ in the weights, the prototypes and the entropy term (method.md, section 3.2). CDGKD's own rule,
one ratio per epoch over the whole training part, is :mod:`~cdgkd_utils.methods.rebalancing`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..models.output import ModelOutput
from .loss import Batches, CrossEntropy, LossValue
from .prototypes import Prototypes, log_probabilities, own_class_probability, prototype_cross_entropy
from .rebalancing import MODALITIES, RebalancedCrossEntropy, imbalance_ratio, modality_weights


def hard_weights(ratio: float) -> tuple[float, float]:
    """All or nothing: weight 1 for the modality that lags, however little; 0 for both at a ratio of 1.

    Parameters
    ----------
    ratio : float
        :func:`~cdgkd_utils.methods.rebalancing.imbalance_ratio`, video over EEG.

    Returns
    -------
    video_weight, eeg_weight : float
    """
    return float(ratio < 1), float(ratio > 1)


RULES = {"clip": modality_weights, "hard": hard_weights}


def prototype_entropy(embeddings: Tensor, prototypes: Tensor, present: Tensor, kind: str = "euclidean") -> Tensor:
    """−Σ_i Σ_k p_i(k) log p_i(k) of the prototype probabilities, summed over the mini-batch.

    Parameters
    ----------
    embeddings : Tensor, shape (n_windows, n_features)
    prototypes : Tensor, shape (n_classes, n_features)
        Carry no gradient.
    present : Tensor, shape (n_classes,), bool
        Classes that have a prototype; the others have probability 0 and add nothing.
    kind : {"euclidean", "normalised"}

    Returns
    -------
    Tensor, scalar
        In nats, 0 .. n_windows · log n_classes.

    References
    ----------
    Fan et al., PMR, CVPR 2023, prototypical entropy regularisation; method.md, section 3.1.
    """
    log_p = log_probabilities(embeddings, prototypes.detach(), present, kind)
    return -(log_p.exp() * log_p.masked_fill(~present, 0.0)).sum()


class PMR(CrossEntropy):
    """CE + strength · (video_weight · PCE_video + eeg_weight · PCE_eeg) − entropy_weight · (lead's entropy).

    The weights follow from the ratio of each mini-batch, in training mode; the prototypes are computed before
    each epoch, in evaluation mode. The entropy term, PER, keeps the prototype probabilities of the modality that
    is ahead from becoming certain early: eeg_weight · H_video + video_weight · H_eeg, since the weight of the
    one that lags measures the lead of the other. :meth:`paper` and :meth:`released` set the switches.

    Logged as means over the epoch's mini-batches: ``imbalance_ratio``, ``video_weight``, ``eeg_weight``.

    Parameters
    ----------
    rule : {"clip", "hard"}
        Weights clip(1/ratio − 1, 0, 1) and clip(ratio − 1, 0, 1), or :func:`hard_weights`.
    strength : float
        Alpha.
    momentum : float
        Weight of the old prototype in the update of each epoch; the first one takes the new means alone.
    prototype_share : float
        Share of the training windows, drawn anew each epoch, from which prototypes are computed.
    generator : torch.Generator, optional
        Draws them, used for nothing else; needed where the share is below 1.
    entropy_weight : float
        Mu; 0 is without PER.
    entropy_epochs : int
        PER acts in epochs 0 .. entropy_epochs − 1.
    last_epoch : int, optional
        From the next one on this is the plain cross-entropy; default: never.
    kind : {"euclidean", "normalised"}
        Distance to a prototype.

    Raises
    ------
    ValueError
        A parameter is not one of its choices or out of range.

    References
    ----------
    Fan et al., PMR: prototypical modal rebalance for multimodal learning, CVPR 2023; method.md, sections 3.1, 3.2.
    """

    def __init__(
        self,
        *,
        rule: str = "clip",
        strength: float = 1.0,
        momentum: float = 0.5,
        prototype_share: float = 1.0,
        generator: torch.Generator | None = None,
        entropy_weight: float = 0.0,
        entropy_epochs: int = 10,
        last_epoch: int | None = None,
        kind: str = "euclidean",
    ):
        super().__init__()
        if rule not in RULES:
            raise ValueError(f"rule must be {' or '.join(RULES)}, got {rule!r}")
        if not 0 < prototype_share <= 1:
            raise ValueError(f"prototype_share must be in (0, 1], got {prototype_share}")
        if prototype_share < 1 and generator is None:
            raise ValueError("prototype_share < 1 needs a generator of its own")
        if strength < 0 or entropy_weight < 0:
            raise ValueError(f"strength and entropy_weight must be 0 or more, got {strength} and {entropy_weight}")
        self.rule, self.strength, self.kind = rule, strength, kind
        self.prototype_share, self.generator = prototype_share, generator
        self.entropy_weight, self.entropy_epochs, self.last_epoch = entropy_weight, entropy_epochs, last_epoch
        self.prototypes = {m: Prototypes(momentum) for m in MODALITIES}
        self.ratio, self.video_weight, self.eeg_weight = 1.0, 0.0, 0.0
        self._epoch = 0
        self._meter = RebalancedCrossEntropy(mode="none", kind=kind)

    @classmethod
    def paper(cls, *, strength: float = 1.0, momentum: float = 0.5, entropy_weight: float = 0.1, **switches) -> PMR:
        """Clipped weights, prototypes of all training windows with momentum, PER (`entropy_weight` 0: without).

        The values of momentum, mu and the number of PER's epochs are this project's, not the paper's.
        """
        return cls(strength=strength, momentum=momentum, entropy_weight=entropy_weight, **switches)

    @classmethod
    def released(cls, generator: torch.Generator, *, strength: float = 1.0, last_epoch: int | None = 100) -> PMR:
        """The authors' code: hard switch, prototypes of a tenth of the windows without momentum, no PER."""
        return cls(
            rule="hard",
            strength=strength,
            momentum=0.0,
            prototype_share=0.1,
            generator=generator,
            last_epoch=last_epoch,
        )

    def state_dict(self) -> dict:
        return {
            "prototypes": {m: prototypes.state_dict() for m, prototypes in self.prototypes.items()},
            "generator": None if self.generator is None else self.generator.get_state(),
            "meter": self._meter.state_dict(),
        }

    def load_state_dict(self, state: dict) -> None:
        for m, prototypes in state["prototypes"].items():
            self.prototypes[m].load_state_dict(prototypes)
        if self.generator is not None:
            self.generator.set_state(state["generator"])
        self._meter.load_state_dict(state["meter"])

    def begin_epoch(self, epoch: int, embed: Callable[[], tuple[ModelOutput, Tensor]]) -> dict[str, float]:
        output, labels = embed()
        rows = torch.arange(len(labels))
        if self.prototype_share < 1:
            n_drawn = max(1, int(self.prototype_share * len(labels)))
            rows = torch.randperm(len(labels), generator=self.generator)[:n_drawn]
        for m in MODALITIES:
            self.prototypes[m].update(output.features[m][rows], labels[rows])
        self._epoch = epoch
        measured = self._meter.begin_epoch(epoch, lambda: (output, labels))
        return {name: value for name, value in measured.items() if name.startswith("proto_accuracy")}

    def _weigh(self, features: dict[str, Tensor], labels: Tensor) -> None:
        """Ratio and weights of a mini-batch, from its windows whose class has prototypes."""
        self.ratio, p = 1.0, {}
        usable = self.prototypes["eeg"].present[labels]
        if usable.any():
            for m in MODALITIES:
                c = self.prototypes[m]
                p[m] = own_class_probability(
                    features[m][usable].detach(), labels[usable], c.value, c.present, self.kind
                )
            self.ratio = imbalance_ratio(p["video"], p["eeg"])
        self.video_weight, self.eeg_weight = RULES[self.rule](self.ratio)
        if self.last_epoch is not None and self._epoch > self.last_epoch:
            self.video_weight = self.eeg_weight = 0.0

    def __call__(self, output: ModelOutput, labels: Tensor, rows: Tensor) -> LossValue:
        self._weigh(output.features, labels)
        terms = {"loss_ce": F.cross_entropy(output.logits, labels)}
        absent = output.logits.new_zeros(())
        entropy_weight = self.entropy_weight if self._epoch < self.entropy_epochs else 0.0
        weights = {"video": self.video_weight, "eeg": self.eeg_weight}
        leads = {"video": self.eeg_weight, "eeg": self.video_weight}
        for m in ("video", "eeg"):
            z, c = output.features[m], self.prototypes[m]
            terms[f"loss_proto_{m}"] = terms[f"loss_entropy_{m}"] = absent
            if weights[m] > 0:
                pce = prototype_cross_entropy(z, labels, c.value, c.present, self.kind)
                terms[f"loss_proto_{m}"] = self.strength * weights[m] * pce
            if leads[m] * entropy_weight > 0:
                entropy = prototype_entropy(z, c.value, c.present, self.kind)
                terms[f"loss_entropy_{m}"] = -entropy_weight * leads[m] * entropy
        return LossValue(torch.stack(list(terms.values())).sum(), {name: term.item() for name, term in terms.items()})

    def after_step(self, model: nn.Module, inputs: Batches) -> dict[str, float]:
        return {"imbalance_ratio": self.ratio, "video_weight": self.video_weight, "eeg_weight": self.eeg_weight}
