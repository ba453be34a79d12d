"""Distillation from inner activations: FitNets (Romero et al., 2015) and NST (Huang and Wang, 2017)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..models.output import ModelOutput
from .loss import CrossEntropy, LossValue


def seeded_linear(n_in: int, n_out: int, generator: torch.Generator) -> nn.Linear:
    """A linear layer with torch's usual initial distribution, uniform in ±1/√n_in, drawn from `generator` alone."""
    layer = torch.nn.utils.skip_init(nn.Linear, n_in, n_out)
    bound = n_in**-0.5
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -bound, bound, generator=generator)
    return layer


class FitNetsLoss(CrossEntropy):
    """CE + weight · mean((hint − regressor(student feature))²), in one stage; mean over windows and features.

    The regressor is trained with the student and is no part of it: when the training ends it is gone.

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
    """

    def __init__(
        self,
        hint: Tensor,
        *,
        n_in: int,
        generator: torch.Generator,
        feature: str = "classifier_input",
        weight: float = 10.0,
    ):
        super().__init__()
        self.hint, self.feature, self.weight = hint.detach(), feature, weight
        self.regressor = seeded_linear(n_in, hint.shape[1], generator)

    def param_groups(self, model: nn.Module) -> list[dict]:
        return [*super().param_groups(model), {"params": list(self.regressor.parameters())}]

    def state_dict(self) -> dict:
        return {"regressor": self.regressor.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        self.regressor.load_state_dict(state["regressor"])

    def __call__(self, output: ModelOutput, labels: Tensor, rows: Tensor) -> LossValue:
        ce = F.cross_entropy(output.logits, labels)
        hint = self.weight * F.mse_loss(self.regressor(output.features[self.feature]), self.hint[rows])
        return LossValue(ce + hint, {"loss_ce": ce.item(), "loss_hint": hint.item()})


def selectivity_divergence(map_: Tensor, guide_map: Tensor) -> Tensor:
    """Squared maximum mean discrepancy between two sets of channels, kernel (a · b)², mean over windows.

       One sample is one channel's activation over the positions, scaled to length 1. The sum over all pairs of
       channels of (a · b)² is the inner product of Σ a aᵀ with Σ b bᵀ, so the three kernel means of the discrepancy
       collapse into the squared distance of two matrices of n_positions²: no pair of channels is ever formed, and
       the two sets may have different sizes.
    Of maps of shape (n_windows, n_positions,
       n_channels) the one with more positions is average-pooled to the smaller number; the guide's gets no gradient.
    """
    n_positions = min(map_.shape[1], guide_map.shape[1])
    difference = _second_moment(map_, n_positions) - _second_moment(guide_map.detach(), n_positions)
    return difference.square().sum((1, 2)).mean()


def _second_moment(map_: Tensor, n_positions: int) -> Tensor:
    """Mean over channels of f fᵀ, shape (n_windows, n_positions, n_positions)."""
    channels = map_.transpose(1, 2)
    if channels.shape[2] != n_positions:
        channels = F.adaptive_avg_pool1d(channels, n_positions)
    channels = F.normalize(channels, dim=2)  # a channel that is 0 everywhere stays 0
    return channels.transpose(1, 2) @ channels / channels.shape[1]


class NSTLoss(CrossEntropy):
    """CE + weight · Σ selectivity divergences between maps of the guide and of the student.

    Each ``video`` map of the guide is compared with the student's map of that name, and the guide's ``eeg`` maps,
    which a video-only student has no counterpart of, with the student's deepest video map.

    Parameters
    ----------
    guide_maps : dict of str to Tensor, shape (n_all_windows, n_positions, n_channels)
        Inner activations of the frozen guide in evaluation mode; rows are looked up.
    weight : float
    maps : tuple of str
        Modalities whose maps are compared; ``("video",)`` compares like with like alone.
    """

    def __init__(
        self, guide_maps: dict[str, Tensor], *, weight: float = 50.0, maps: tuple[str, ...] = ("eeg", "video")
    ):
        super().__init__()
        self.guide_maps = {name: map_.detach() for name, map_ in guide_maps.items() if name.split("_")[0] in maps}
        if not self.guide_maps:
            raise ValueError(
                f"guide_maps: expected maps of {' or '.join(maps)}, got {', '.join(guide_maps) or 'none'}; NST needs "
                "the guide's inner maps (predict with with_maps=True)"
            )
        self.weight = weight

    def __call__(self, output: ModelOutput, labels: Tensor, rows: Tensor) -> LossValue:
        total = F.cross_entropy(output.logits, labels)
        parts = {"loss_ce": total.item()}
        for name, guide_map in self.guide_maps.items():
            counterpart = name if name.startswith("video") else "video"
            if counterpart not in output.maps:
                known = ", ".join(output.maps) or "none"
                raise ValueError(f"guide map {name!r} needs a student map {counterpart!r}; the student offers {known}")
            term = self.weight * selectivity_divergence(output.maps[counterpart], guide_map[rows])
            total, parts[f"loss_nst_{name}"] = total + term, term.item()
        return LossValue(total, parts)
