"""What CDGKD's released code trains its distilled networks with. For comparison only; nothing here is a default."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ..models.output import ModelOutput
from .distillation import draw_kept, stacked
from .loss import CrossEntropy, LossValue


def reverse_divergence(logits: Tensor, guide_logits: Tensor, temperature: float) -> Tensor:
    """KL(learner ‖ guide) of the softened class probabilities, without T², mean over windows.

    Keras' floor of 1e-7 under the probabilities is left out. The guide gets no gradient.
    """
    learner = F.log_softmax(logits / temperature, dim=1)
    guide = F.log_softmax(guide_logits.detach() / temperature, dim=1)
    return F.kl_div(guide, learner, reduction="batchmean", log_target=True)


class ReleasedDenseGuidance(CrossEntropy):
    """ce_weight · CE + (1 − ce_weight) · Σ_j kept_j · KL(learner ‖ guide_j), one mask for the whole stage.

    ``ce_weight`` is the class's default of 1, because the training script (``train_DGKD.py:151``) does not pass its
    own: the sum is then multiplied by 0. The direction is reversed and T² is missing; the mask is drawn while the
    graph is traced, and frozen. The release also trains these networks in inference mode:
    ``TrainSettings.train_mode=False``.

    `generator` draws the mask, ``kept``; the release seeds from the operating system, so that its cannot be repeated.
    """

    def __init__(
        self,
        guide_logits: dict[str, Tensor],
        *,
        generator: torch.Generator,
        ce_weight: float = 1.0,
        temperature: float = 2.0,
        drop_prob: float = 0.5,
    ):
        super().__init__()
        if not guide_logits:
            raise ValueError("guide_logits is empty; a learner without guides is trained with CrossEntropy")
        self.guide_logits = {name: logits.detach() for name, logits in guide_logits.items()}
        self.ce_weight, self.temperature = ce_weight, temperature
        self.kept = draw_kept(len(guide_logits), drop_prob, generator)
        self.kept_history: list[Tensor] = []

    def state_dict(self) -> dict:
        return {"kept": self.kept, "kept_history": stacked(self.kept_history)}

    def load_state_dict(self, state: dict) -> None:
        self.kept, self.kept_history = state["kept"], list(state["kept_history"])

    def __call__(self, output: ModelOutput, labels: Tensor, rows: Tensor) -> LossValue:
        self.kept_history.append(self.kept)
        total = self.ce_weight * F.cross_entropy(output.logits, labels)
        parts = {"loss_ce": total.item()}
        for (name, guide), keep in zip(self.guide_logits.items(), self.kept.tolist(), strict=True):
            term = 0.0
            if keep:
                weighted = (1 - self.ce_weight) * reverse_divergence(output.logits, guide[rows], self.temperature)
                total, term = total + weighted, weighted.item()
            parts |= {f"loss_kd_{name}": term, f"kept_{name}": float(keep)}
        return LossValue(total, parts)
