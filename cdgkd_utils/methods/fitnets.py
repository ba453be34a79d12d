"""Hints (FitNets, Romero et al., 2015; method.md, section 5.2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..models.output import ModelOutput
from .distillation import kd_divergence
from .loss import CrossEntropy, LossValue


def seeded_linear(n_in: int, n_out: int, generator: torch.Generator) -> nn.Linear:
    """A linear layer with torch's usual initial distribution, drawn from `generator` alone.

    Parameters
    ----------
    n_in, n_out : int
    generator : torch.Generator

    Returns
    -------
    Linear
        Weights and biases uniform in ±1/√n_in.
    """
    layer = torch.nn.utils.skip_init(nn.Linear, n_in, n_out)
    bound = n_in**-0.5
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -bound, bound, generator=generator)
    return layer


class FitNetsLoss(CrossEntropy):
    """CE + weight · mean((hint − regressor(student feature))²), in one or in two stages.

    The mean runs over windows and over the hint's features. The regressor is trained with the student and is no
    part of it: when the training ends it is gone.

    Parameters
    ----------
    hint : Tensor, shape (n_all_windows, n_hint)
        The frozen guide's embedding in evaluation mode; rows are looked up.
    n_in : int
        Width of the student's feature.
    generator : torch.Generator
        Draws the regressor's initial weights.
    feature : str
        Which of the student's features is compared: ``hint`` where it offers one, else ``classifier_input``.
    weight : float
        Beta; 1, 10 and 100 are to be tried on the validation part.
    hint_epochs : int
        0: one stage, both terms in every epoch. Otherwise the two stages of the original: so many epochs of the
        hint alone, then distillation of the guide's logits without hint.
    guide_logits : Tensor, shape (n_all_windows, 2), optional
        Needed for two stages.
    kd_weight, temperature : float
        Of the second stage, (1 − kd_weight) · CE + kd_weight · T² · KL.

    Raises
    ------
    ValueError
        Two stages without `guide_logits`.
    """

    def __init__(
        self,
        hint: Tensor,
        *,
        n_in: int,
        generator: torch.Generator,
        feature: str = "classifier_input",
        weight: float = 10.0,
        hint_epochs: int = 0,
        guide_logits: Tensor | None = None,
        kd_weight: float = 0.9,
        temperature: float = 4.0,
    ):
        super().__init__()
        if hint_epochs > 0 and guide_logits is None:
            raise ValueError(f"hint_epochs={hint_epochs} asks for two stages; the second needs guide_logits")
        self.hint, self.feature, self.weight, self.hint_epochs = hint.detach(), feature, weight, hint_epochs
        self.guide_logits, self.kd_weight, self.temperature = guide_logits, kd_weight, temperature
        self.regressor = seeded_linear(n_in, hint.shape[1], generator)
        self.epoch = 0

    def param_groups(self, model: nn.Module) -> list[dict]:
        return [*super().param_groups(model), {"params": list(self.regressor.parameters())}]

    def state_dict(self) -> dict:
        return {"regressor": self.regressor.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        self.regressor.load_state_dict(state["regressor"])

    def begin_epoch(self, epoch, embed) -> dict[str, float]:
        self.epoch = epoch
        return {}

    def __call__(self, output: ModelOutput, labels: Tensor, rows: Tensor) -> LossValue:
        if self.hint_epochs == 0:
            ce, hint = F.cross_entropy(output.logits, labels), self._hint(output, rows)
            return LossValue(ce + hint, {"loss_ce": ce.item(), "loss_hint": hint.item()})
        if self.epoch < self.hint_epochs:
            hint = self._hint(output, rows)
            # The classifier keeps a gradient, of 0: torch's fused SGD cannot take a parameter in at a later step.
            hint = hint + 0.0 * output.logits.sum()
            return LossValue(hint, {"loss_ce": 0.0, "loss_hint": hint.item(), "loss_kd": 0.0})
        ce = (1 - self.kd_weight) * F.cross_entropy(output.logits, labels)
        kd = self.kd_weight * kd_divergence(output.logits, self.guide_logits[rows], self.temperature)
        return LossValue(ce + kd, {"loss_ce": ce.item(), "loss_hint": 0.0, "loss_kd": kd.item()})

    def _hint(self, output: ModelOutput, rows: Tensor) -> Tensor:
        return self.weight * F.mse_loss(self.regressor(output.features[self.feature]), self.hint[rows])
