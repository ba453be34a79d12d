"""Dense, stochastic guidance (CDGKD's poster, part 2).

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
    when T is changed (Hinton et al., 2015). The guide gets no gradient, and may exclude a class by a logit of −inf.

    Parameters
    ----------
    logits, guide_logits : Tensor, shape (n_windows, n_classes)
    temperature : float

    Returns
    -------
    Tensor, scalar
    """
    # p · ln p goes to 0 with p, but 0 · (−inf) is no number: a floor far below the least probability a float can hold.
    soft_targets = F.log_softmax(guide_logits.detach() / temperature, dim=1).clamp(min=-1e4)
    learner = F.log_softmax(logits / temperature, dim=1)
    return temperature**2 * F.kl_div(learner, soft_targets, reduction="batchmean", log_target=True)


def draw_kept(n_guides: int, drop_prob: float, generator: torch.Generator) -> Tensor:
    """Which guides speak in this mini-batch, shape (n_guides,), bool: one Bernoulli(1 − drop_prob) each."""
    return torch.rand(n_guides, generator=generator) >= drop_prob


def draw_all_but(n_guides: int, n_dropped: int, generator: torch.Generator) -> Tensor:
    """All guides but exactly `n_dropped`, DGKD's rule; one always speaks."""
    kept = torch.ones(n_guides, dtype=torch.bool)
    kept[torch.randperm(n_guides, generator=generator)[: min(n_dropped, n_guides - 1)]] = False
    return kept


def stacked(masks: list[Tensor]) -> Tensor:
    """A list of masks as one tensor, shape (n_steps, n_guides), bool; many times faster to store than a list."""
    return torch.stack(masks) if masks else torch.zeros(0, 0, dtype=torch.bool)


class DenseGuidance(CrossEntropy):
    """(1 − kd_weight) · CE + kd_weight · T² · Σ_j kept_j · KL(guide_j ‖ learner).

    The KL is a mean over windows. TAKD's and DGKD's released code divides it by the number of classes too
    (``nn.KLDivLoss()``), so that their lambda of 0.9 weighs CE to T² KL as 0.1 to 0.45; here it is 0.1 to 0.9.
    An unrated window, or a mini-batch of nothing else, is heard of from the guides alone.

    Parameters
    ----------
    guide_logits : dict of str to Tensor, shape (n_all_windows, n_classes)
        Logits of the frozen guides in evaluation mode, computed once; rows are looked up.
    kd_weight : float
        Lambda of DGKD.
    temperature : float
    drop_prob : float
        Of each guide, drawn anew for each mini-batch (CDGKD): three guides are all silent in one of eight at 0.5.
    drop_exactly : int
        Drop so many guides in each mini-batch instead, never the last one: the rule of DGKD's released code.
    generator : torch.Generator, optional
        Needed when guides are dropped.
    reduction : {"sum", "mean"}
        ``sum`` over the guides that speak is the papers' form; ``mean`` divides by their number, which keeps the
        step as long as with one guide.
    times : float
        Multiplies the guides' part and leaves the label's: 3 gives one guide the weight that three have together.

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
        drop_exactly: int = 0,
        generator: torch.Generator | None = None,
        reduction: str = "sum",
        times: float = 1.0,
    ):
        super().__init__()
        if not guide_logits:
            raise ValueError("guide_logits is empty; a learner without guides is trained with CrossEntropy")
        if not 0 <= drop_prob < 1 or drop_exactly < 0 or (drop_prob > 0 and drop_exactly > 0):
            raise ValueError(
                f"drop_prob in [0, 1) or drop_exactly of 0 or more, not both, got {drop_prob} and {drop_exactly}"
            )
        if (drop_prob > 0 or drop_exactly > 0) and generator is None:
            raise ValueError("dropping guides needs a generator of its own")
        if reduction not in ("sum", "mean"):
            raise ValueError(f"reduction must be sum or mean, got {reduction!r}")
        self.names: Sequence[str] = tuple(guide_logits)
        self.guide_logits = [g.detach() for g in guide_logits.values()]
        self.kd_weight, self.temperature, self.reduction = kd_weight, temperature, reduction
        self.times = times
        self.drop_prob, self.drop_exactly, self.generator = drop_prob, drop_exactly, generator
        self.kept_history: list[Tensor] = []

    def state_dict(self) -> dict:
        generator = None if self.generator is None else self.generator.get_state()
        return {"generator": generator, "kept_history": stacked(self.kept_history)}

    def load_state_dict(self, state: dict) -> None:
        if self.generator is not None:
            self.generator.set_state(state["generator"])
        self.kept_history = list(state["kept_history"])

    def _draw(self) -> Tensor:
        n_guides = len(self.names)
        if self.drop_exactly:
            return draw_all_but(n_guides, self.drop_exactly, self.generator)
        if self.drop_prob > 0:
            return draw_kept(n_guides, self.drop_prob, self.generator)
        return torch.ones(n_guides, dtype=torch.bool)

    def __call__(self, output: ModelOutput, labels: Tensor, rows: Tensor) -> LossValue:
        kept = self._draw()
        self.kept_history.append(kept)
        if (labels != UNRATED).any():
            total = (1 - self.kd_weight) * F.cross_entropy(output.logits, labels, ignore_index=UNRATED)
        else:
            total = 0.0 * output.logits.sum()  # the mean over no window is no number
        parts = {"loss_ce": total.item()}
        share = self.times * self.kd_weight / (max(int(kept.sum()), 1) if self.reduction == "mean" else 1)
        for name, guide, keep in zip(self.names, self.guide_logits, kept.tolist(), strict=True):
            term = 0.0
            if keep:
                weighted = share * kd_divergence(output.logits, guide[rows], self.temperature)
                total, term = total + weighted, weighted.item()
            parts |= {f"loss_kd_{name}": term, f"kept_{name}": float(keep)}
        return LossValue(total, parts)
