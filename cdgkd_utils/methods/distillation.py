"""Dense, stochastic guidance (CDGKD; poster, part 2; method.md, sections 4.1 and 4.4).

Hinton's KD is one guide without dropping, TAKD one guide per stage of the chain, CDGKD all previous networks
with dropping: one class, different lists of guides.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ..models.output import ModelOutput
from .loss import UNRATED, CrossEntropy, LossValue


def kd_divergence(logits: Tensor, guide_logits: Tensor, temperature: float) -> Tensor:
    """T² · KL(guide ‖ learner) of the softened class probabilities, mean over windows.

    The gradient of softened targets scales with 1/T²; the factor keeps its weight against the cross-entropy
    when T is changed (Hinton et al., 2015). The guide gets no gradient.

    Parameters
    ----------
    logits, guide_logits : Tensor, shape (n_windows, n_classes)
    temperature : float

    Returns
    -------
    Tensor, scalar
    """
    soft_targets = F.log_softmax(guide_logits.detach() / temperature, dim=1)
    learner = F.log_softmax(logits / temperature, dim=1)
    return temperature**2 * F.kl_div(learner, soft_targets, reduction="batchmean", log_target=True)


def draw_kept(n_guides: int, drop_prob: float, generator: torch.Generator, at_least_one: bool = False) -> Tensor:
    """Which guides speak in this mini-batch: one Bernoulli(1 − drop_prob) each.

    Parameters
    ----------
    n_guides : int
    drop_prob : float
    generator : torch.Generator
        Owned by the caller, used for nothing else.
    at_least_one : bool
        Draw again while all guides are dropped.

    Returns
    -------
    Tensor, shape (n_guides,), bool
    """
    while True:
        kept = torch.rand(n_guides, generator=generator) >= drop_prob
        if kept.any() or not at_least_one or n_guides == 0:
            return kept


def stacked(masks: list[Tensor]) -> Tensor:
    """A list of masks as one tensor, shape (n_steps, n_guides), bool; many times faster to store than a list."""
    return torch.stack(masks) if masks else torch.zeros(0, 0, dtype=torch.bool)


class DenseGuidance(CrossEntropy):
    """(1 − kd_weight) · CE + kd_weight · T² · Σ_j kept_j · KL(guide_j ‖ learner).

    Parameters
    ----------
    guide_logits : dict of str to Tensor, shape (n_all_windows, n_classes)
        Logits of the frozen guides in evaluation mode, computed once; rows are looked up.
    kd_weight : float
        Lambda of DGKD.
    temperature : float
    drop_prob : float
        0 keeps all guides.
    generator : torch.Generator, optional
        Needed when `drop_prob` > 0.
    reduction : {"sum", "mean"}
        ``sum`` over the surviving guides is the papers' form; ``mean`` divides by their number.
    at_least_one : bool
    few_labels : bool
        Some windows of a mini-batch, or all, may be unrated: they are heard of from the guides alone.

    Attributes
    ----------
    kept_history : list of Tensor, shape (n_guides,)
        One mask per mini-batch.
    """

    def __init__(
        self,
        guide_logits: dict[str, Tensor],
        *,
        kd_weight: float = 0.9,
        temperature: float = 2.0,
        drop_prob: float = 0.0,
        generator: torch.Generator | None = None,
        reduction: str = "sum",
        at_least_one: bool = False,
        few_labels: bool = False,
    ):
        super().__init__()
        if not guide_logits:
            raise ValueError("guide_logits is empty; a learner without guides is trained with CrossEntropy")
        if not 0 <= drop_prob < 1:
            raise ValueError(f"drop_prob must be in [0, 1), got {drop_prob}")
        if drop_prob > 0 and generator is None:
            raise ValueError("drop_prob > 0 needs a generator of its own")
        if reduction not in ("sum", "mean"):
            raise ValueError(f"reduction must be sum or mean, got {reduction!r}")
        self.names: Sequence[str] = tuple(guide_logits)
        self.guide_logits = [g.detach() for g in guide_logits.values()]
        self.kd_weight, self.temperature, self.drop_prob = kd_weight, temperature, drop_prob
        self.generator, self.reduction, self.at_least_one = generator, reduction, at_least_one
        self.few_labels = few_labels
        self.kept_history: list[Tensor] = []

    def state_dict(self) -> dict:
        generator = None if self.generator is None else self.generator.get_state()
        return {"generator": generator, "kept_history": stacked(self.kept_history)}

    def load_state_dict(self, state: dict) -> None:
        if self.generator is not None:
            self.generator.set_state(state["generator"])
        self.kept_history = list(state["kept_history"])

    def __call__(self, output: ModelOutput, labels: Tensor, rows: Tensor) -> LossValue:
        kept = torch.ones(len(self.names), dtype=torch.bool)
        if self.drop_prob > 0:
            kept = draw_kept(len(self.names), self.drop_prob, self.generator, self.at_least_one)
        self.kept_history.append(kept)
        if self.few_labels and not (labels != UNRATED).any():
            total = 0.0 * output.logits.sum()  # the mean over no window is no number
        else:
            total = (1 - self.kd_weight) * F.cross_entropy(output.logits, labels, ignore_index=UNRATED)
        parts = {"loss_ce": total.item()}
        share = self.kd_weight / (max(int(kept.sum()), 1) if self.reduction == "mean" else 1)
        for name, guide, keep in zip(self.names, self.guide_logits, kept.tolist(), strict=True):
            term = 0.0
            if keep:
                weighted = share * kd_divergence(output.logits, guide[rows], self.temperature)
                total, term = total + weighted, weighted.item()
            parts |= {f"loss_kd_{name}": term, f"kept_{name}": float(keep)}
        return LossValue(total, parts)
