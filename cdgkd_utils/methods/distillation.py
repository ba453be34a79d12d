"""Distillation: dense, stochastic guidance (CDGKD's poster, part 2), what its released code trains, FitNets and NST.

Hinton's KD is one guide without dropping, TAKD one guide per stage of the chain, CDGKD all previous networks
with dropping: one class, different lists of guides.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..models.output import ModelOutput
from .loss import UNRATED, CrossEntropy, LossValue


def kd_divergence(logits: Tensor, guide_logits: Tensor, temperature: float) -> Tensor:
    """T² · KL(guide ‖ learner) of the softened class probabilities, mean over windows; logits (n_windows, n_classes).

    The gradient of softened targets scales with 1/T²; the factor keeps its weight against the cross-entropy
    when T is changed (Hinton et al., 2015). The guide gets no gradient, and may exclude a class by a logit of −inf.
    """
    # p · ln p goes to 0 with p, but 0 · (−inf) is no number: a floor far below the least probability a float can hold.
    soft_targets = F.log_softmax(guide_logits.detach() / temperature, dim=1).clamp(min=-1e4)
    learner = F.log_softmax(logits / temperature, dim=1)
    return temperature**2 * F.kl_div(learner, soft_targets, reduction="batchmean", log_target=True)


def reverse_divergence(logits: Tensor, guide_logits: Tensor, temperature: float) -> Tensor:
    """KL(learner ‖ guide), without T², of the released code, less Keras' floor of 1e-7 under the probabilities."""
    learner = F.log_softmax(logits / temperature, dim=1)
    guide = F.log_softmax(guide_logits.detach() / temperature, dim=1)
    return F.kl_div(guide, learner, reduction="batchmean", log_target=True)


def draw_kept(n_guides: int, drop_prob: float, generator: torch.Generator) -> Tensor:
    """Which guides speak in this mini-batch, shape (n_guides,), bool: one Bernoulli(1 − drop_prob) each."""
    return torch.rand(n_guides, generator=generator) >= drop_prob


class DenseGuidance(CrossEntropy):
    """(1 − kd_weight) · CE + kd_weight · T² · Σ_j kept_j · KL(guide_j ‖ learner).

    The KL is a mean over windows. TAKD's and DGKD's released code divides it by the number of classes too
    (``nn.KLDivLoss()``), so that their lambda of 0.9 weighs CE to T² KL as 0.1 to 0.45; here it is 0.1 to 0.9.
    An unrated window, or a mini-batch of nothing else, is heard of from the guides alone.

    `guide_logits`, shape (n_all_windows, n_classes) each, are those of the frozen guides in evaluation mode, computed
    once. For each mini-batch guides are dropped anew with `drop_prob` each (CDGKD), or `drop_exactly` so many but never
    the last (DGKD's released code); `generator` draws. The papers sum over the guides that speak; the reduction
    ``mean`` keeps the step as long as with one. `times` multiplies the guides' part alone. ``kept_history`` has one
    mask, shape (n_guides,), per mini-batch.
    """

    divergence = staticmethod(kd_divergence)

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
            raise ValueError(f"drop_prob in [0, 1) or drop_exactly, not both, got {drop_prob} and {drop_exactly}")
        if (drop_prob or drop_exactly) and generator is None:
            raise ValueError("dropping guides needs a generator of its own")
        if reduction not in ("sum", "mean"):
            raise ValueError(f"reduction must be sum or mean, got {reduction!r}")
        self.guide_logits = {name: logits.detach() for name, logits in guide_logits.items()}
        self.kd_weight, self.temperature, self.reduction, self.times = kd_weight, temperature, reduction, times
        self.drop_prob, self.drop_exactly, self.generator = drop_prob, drop_exactly, generator
        self.kept_history: list[Tensor] = []

    def state_dict(self) -> dict:
        # One tensor is many times faster to store than a list.
        history = torch.stack(self.kept_history) if self.kept_history else torch.zeros(0, 0, dtype=torch.bool)
        return {"generator": self.generator and self.generator.get_state(), "kept_history": history}

    def load_state_dict(self, state: dict) -> None:
        if self.generator is not None:
            self.generator.set_state(state["generator"])
        self.kept_history = list(state["kept_history"])

    def _draw(self) -> Tensor:
        n_guides = len(self.guide_logits)
        if self.drop_prob > 0:
            return draw_kept(n_guides, self.drop_prob, self.generator)
        kept = torch.ones(n_guides, dtype=torch.bool)
        if self.drop_exactly:
            silent = torch.randperm(n_guides, generator=self.generator)
            kept[silent[: min(self.drop_exactly, n_guides - 1)]] = False
        return kept

    def __call__(self, output: ModelOutput, labels: Tensor, rows: Tensor) -> LossValue:
        kept = self._draw()
        self.kept_history.append(kept)
        if (labels != UNRATED).any():
            total = (1 - self.kd_weight) * F.cross_entropy(output.logits, labels, ignore_index=UNRATED)
        else:
            total = 0.0 * output.logits.sum()  # the mean over no window is no number
        parts = {"loss_ce": total.item()}
        share = self.times * self.kd_weight / (max(int(kept.sum()), 1) if self.reduction == "mean" else 1)
        for (name, guide), keep in zip(self.guide_logits.items(), kept.tolist(), strict=True):
            term = 0.0
            if keep:
                weighted = share * self.divergence(output.logits, guide[rows], self.temperature)
                total, term = total + weighted, weighted.item()
            parts |= {f"loss_kd_{name}": term, f"kept_{name}": float(keep)}
        return LossValue(total, parts)


class ReleasedDenseGuidance(DenseGuidance):
    """What CDGKD's released code trains its distilled networks with, for comparison: 1 · CE + 0 · Σ_j kept_j · KL_j.

    Its training script (``train_DGKD.py:151``) leaves the weight of CE at the class's default of 1, so `kd_weight` is
    0. The direction is reversed and T² is missing; one mask, drawn while the graph is traced, stands for the whole
    stage. The release also trains these networks in inference mode: ``TrainSettings.train_mode=False``.
    """

    divergence = staticmethod(reverse_divergence)

    def __init__(
        self, guide_logits: dict[str, Tensor], *, generator: torch.Generator, kd_weight: float = 0.0, drop_prob=0.5
    ):
        super().__init__(guide_logits, kd_weight=kd_weight, drop_prob=drop_prob, generator=generator)
        self.kept = draw_kept(len(guide_logits), drop_prob, generator)

    def state_dict(self) -> dict:
        return super().state_dict() | {"kept": self.kept}

    def load_state_dict(self, state: dict) -> None:
        super().load_state_dict(state)
        self.kept = state["kept"]

    def _draw(self) -> Tensor:
        return self.kept


# ---- from inner activations: FitNets (Romero et al., 2015) and NST (Huang and Wang, 2017) --------


def seeded_linear(n_in: int, n_out: int, generator: torch.Generator) -> nn.Linear:
    """A linear layer with torch's usual initial distribution, uniform in ±1/√n_in, drawn from `generator` alone."""
    layer = torch.nn.utils.skip_init(nn.Linear, n_in, n_out)
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -(n_in**-0.5), n_in**-0.5, generator=generator)
    return layer


class FitNetsLoss(CrossEntropy):
    """CE + weight · mean((hint − regressor(student feature))²), in one stage; mean over windows and features.

    `hint`, shape (n_all_windows, n_hint), is the frozen guide's embedding. The regressor, from `n_in` features of the
    student named `feature`, drawn from `generator`, is trained with the student and is gone when the training ends.
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

    A sample is one channel's activation over the positions, scaled to length 1. The sum of (a · b)² over all pairs is
    the inner product of Σ a aᵀ with Σ b bᵀ, so no pair is ever formed and the sets may differ in size. Of maps, shape
    (n_windows, n_positions, n_channels), that with more positions is average-pooled; the guide's gets no gradient.
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
    which a video-only student has no counterpart of, with the student's deepest video map. `maps` names the
    modalities that are compared; `guide_maps` has the shapes (n_all_windows, n_positions, n_channels).
    """

    def __init__(
        self, guide_maps: dict[str, Tensor], *, weight: float = 50.0, maps: tuple[str, ...] = ("eeg", "video")
    ):
        super().__init__()
        self.guide_maps = {name: map_.detach() for name, map_ in guide_maps.items() if name.split("_")[0] in maps}
        if not self.guide_maps:
            got = ", ".join(guide_maps) or "none; predict with with_maps=True"
            raise ValueError(f"guide_maps: expected the guide's inner maps of {' or '.join(maps)}, got {got}")
        self.weight = weight

    def __call__(self, output: ModelOutput, labels: Tensor, rows: Tensor) -> LossValue:
        total = F.cross_entropy(output.logits, labels)
        parts = {"loss_ce": total.item()}
        for name, guide_map in self.guide_maps.items():
            own = output.maps[name if name.startswith("video") else "video"]
            term = self.weight * selectivity_divergence(own, guide_map[rows])
            total, parts[f"loss_nst_{name}"] = total + term, term.item()
        return LossValue(total, parts)
