"""From a recipe to the loss that trains it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from ..methods.ambokd import AMBOKDLoss
from ..methods.distillation import DenseGuidance
from ..methods.emotionkd import EmotionKDLoss
from ..methods.fitnets import FitNetsLoss
from ..methods.loss import CrossEntropy
from ..methods.nst import NSTLoss
from ..methods.ogm_ge import GradientModulation
from ..methods.pmr import PMR
from ..methods.rebalancing import RebalancedCrossEntropy
from ..methods.released import ReleasedDenseGuidance
from ..models.output import ModelOutput
from ..training import Inputs, TrainSettings, predict
from .recipes import Recipe
from .records import RunRecord

# Alpha of the rebalancing: 10 is the calibrated value of the compact family under SGD, the papers use about 1.
STRENGTH = {"compact": 10.0, "reference": 1.0}


@dataclass
class Guide:
    """A finished run as a teacher.

    Attributes
    ----------
    record : RunRecord
    inputs : Inputs
    """

    record: RunRecord
    inputs: Inputs

    @property
    def logits(self) -> Tensor:
        """Of all windows, in evaluation mode, shape (n_windows, 2); computed once, when the guide was stored."""
        return torch.from_numpy(self.record.logits).to(self.inputs.labels.device)

    def model(self) -> nn.Module:
        """The trained network, where the inputs are."""
        return self.record.model().to(self.inputs.labels.device)

    @cached_property
    def outputs(self) -> ModelOutput:
        """Embeddings and inner maps of all windows, in evaluation mode."""
        return predict(self.model(), self.inputs, self.inputs.every_row, with_maps=True)


@dataclass(frozen=True)
class Setting:
    """What a loss may be built from.

    Attributes
    ----------
    recipe : Recipe
    guides : dict of str to Guide
    model : Module
        The learner, freshly initialised.
    inputs : Inputs
    training : TrainSettings
    generator : torch.Generator
        Of the loss alone.
    """

    recipe: Recipe
    guides: dict[str, Guide]
    model: nn.Module
    inputs: Inputs
    training: TrainSettings
    generator: torch.Generator
    family: str = "compact"

    @property
    def student_feature(self) -> tuple[str, int]:
        """Name and width of the learner's embedding that a guide's is compared with."""
        features = predict(self.model, self.inputs, self.inputs.train[:2]).features
        name = "hint" if "hint" in features else "classifier_input"
        return name, features[name].shape[1]

    @property
    def guide_logits(self) -> dict[str, Tensor]:
        return {name: guide.logits for name, guide in self.guides.items()}

    @property
    def guide(self) -> Guide:
        """The only guide."""
        (guide,) = self.guides.values()
        return guide


def build_loss(
    recipe: Recipe,
    guides: dict[str, Guide],
    model: nn.Module,
    inputs: Inputs,
    training: TrainSettings,
    seed: int,
    family: str = "compact",
) -> CrossEntropy:
    """A fresh loss for a recipe.

    Parameters
    ----------
    recipe : Recipe
    guides : dict of str to Guide
        In the order of ``recipe.guides``.
    model : Module
    inputs : Inputs
    training : TrainSettings
    seed : int
        Of the loss's own generator.
    family : {"compact", "reference"}

    Raises
    ------
    ValueError
        The loss is unknown.
    """
    if recipe.loss not in LOSSES:
        raise ValueError(f"recipe {recipe.name}: unknown loss {recipe.loss!r}; known: {', '.join(LOSSES)}")
    generator = torch.Generator().manual_seed(seed)
    loss = LOSSES[recipe.loss](Setting(recipe, guides, model, inputs, training, generator, family), **recipe.options)
    for value in vars(loss).values():
        if isinstance(value, nn.Module):  # what a loss learns lies where its learner does
            value.to(inputs.labels.device)
    return loss


def _dense(setting: Setting, **options) -> DenseGuidance:
    few = setting.recipe.rated > 0
    return DenseGuidance(setting.guide_logits, generator=setting.generator, few_labels=few, **options)


def _released_dense(setting: Setting, **options) -> ReleasedDenseGuidance:
    return ReleasedDenseGuidance(setting.guide_logits, generator=setting.generator, **options)


def _rebalanced(setting: Setting, **options) -> RebalancedCrossEntropy:
    return RebalancedCrossEntropy(**{"strength": STRENGTH[setting.family]} | options)


def _pmr(setting: Setting, *, form: str, **options) -> PMR:
    options = {"strength": STRENGTH[setting.family]} | options
    return PMR.released(setting.generator, **options) if form == "released" else PMR.paper(**options)


def _ogm_ge(setting: Setting, **options) -> GradientModulation:
    return GradientModulation(generator=setting.generator, **options)


def _fitnets(setting: Setting, **options) -> FitNetsLoss:
    hint = setting.guide.outputs.features["classifier_input"]
    feature, n_in = setting.student_feature
    return FitNetsLoss(hint, n_in=n_in, feature=feature, generator=setting.generator, **options)


def _nst(setting: Setting, **options) -> NSTLoss:
    return NSTLoss(setting.guide.outputs.maps, **options)


def _emotionkd(setting: Setting, **options) -> EmotionKDLoss:
    feature, n_in = setting.student_feature
    shared = {"n_in": n_in, "feature": feature, "generator": setting.generator}
    return EmotionKDLoss(setting.guide.model(), setting.inputs, **shared | options)


LOSSES: dict[str, Callable[..., CrossEntropy]] = {
    "ce": lambda setting, **options: CrossEntropy(**options),
    "rebalanced": _rebalanced,
    "pmr": _pmr,
    "ogm_ge": _ogm_ge,
    "dense": _dense,
    "fitnets": _fitnets,
    "nst": _nst,
    "emotionkd": _emotionkd,
    "ambokd": lambda setting, **options: AMBOKDLoss(**options),
    "released_dense": _released_dense,
}
