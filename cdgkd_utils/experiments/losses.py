"""From a recipe to the loss that trains it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from ..methods.distillation import DenseGuidance, FitNetsLoss, NSTLoss, ReleasedDenseGuidance
from ..methods.loss import CrossEntropy, LossValue
from ..methods.mutual import AMBOKDLoss, EmotionKDLoss
from ..methods.rebalancing import PMR, GradientModulation, RebalancedCrossEntropy
from ..models.output import ModelOutput
from ..training import Inputs, predict
from .recipes import Recipe

# Alpha of the rebalancing: 10 is the calibrated value of the compact family under SGD, the papers use about 1.
STRENGTH = {"compact": 10.0, "reference": 1.0}


@dataclass
class Guide:
    """A finished run as a teacher."""

    answers: np.ndarray  # logits of all windows, in evaluation mode; computed once, when the guide was stored
    load: Callable[[], nn.Module]  # reads its trained network
    inputs: Inputs
    result: dict  # of its record

    @property
    def logits(self) -> Tensor:
        """The answers, where the inputs are."""
        return torch.from_numpy(self.answers).to(self.inputs.labels.device)

    def model(self) -> nn.Module:
        """The trained network, where the inputs are."""
        return self.load().to(self.inputs.labels.device)

    @cached_property
    def outputs(self) -> ModelOutput:
        """Logits, embeddings and inner maps of all windows, in evaluation mode."""
        return predict(self.model(), self.inputs, self.inputs.every_row, with_maps=True)


@dataclass(frozen=True)
class Given:
    """What a loss may be built from; the first argument of a loss of your own."""

    recipe: Recipe
    guides: dict[str, Guide]  # in the order of the recipe's
    model: nn.Module  # the learner, freshly initialised
    inputs: Inputs
    generator: torch.Generator  # of the loss alone
    family: str = "compact"

    @property
    def guide_logits(self) -> dict[str, Tensor]:
        """Of all windows, by guide."""
        return {name: guide.logits for name, guide in self.guides.items()}

    @property
    def guide(self) -> Guide:
        """The only guide."""
        (guide,) = self.guides.values()
        return guide

    @property
    def learner(self) -> dict:
        """Name and width of the learner's embedding that a guide's is compared with, and the generator."""
        features = predict(self.model, self.inputs, self.inputs.train[:2]).features
        name = "hint" if "hint" in features else "classifier_input"
        return {"n_in": features[name].shape[1], "feature": name, "generator": self.generator}


class FunctionLoss(CrossEntropy):
    """A plain function of output, labels and rows, which returns a tensor or a ``LossValue``."""

    def __init__(self, function: Callable):
        super().__init__()
        self.function = function

    def __call__(self, output: ModelOutput, labels: Tensor, rows: Tensor) -> LossValue:
        value = self.function(output, labels, rows)
        return value if isinstance(value, LossValue) else LossValue(value, {})


def build_loss(given: Given) -> CrossEntropy:
    """A fresh loss for a recipe."""
    recipe = given.recipe
    if not callable(recipe.loss) and recipe.loss not in LOSSES:
        raise ValueError(f"recipe {recipe.name}: unknown loss {recipe.loss!r}; known: {', '.join(LOSSES)}")
    loss = (recipe.loss if callable(recipe.loss) else LOSSES[recipe.loss])(given, **recipe.options)
    if not hasattr(loss, "begin_epoch"):
        loss = FunctionLoss(loss)
    for value in vars(loss).values():
        if isinstance(value, nn.Module):  # what a loss learns lies where its learner does
            value.to(given.inputs.labels.device)
    return loss


LOSSES: dict[str, Callable[..., CrossEntropy]] = {
    "ce": lambda given, **options: CrossEntropy(**options),
    "rebalanced": lambda given, dose=1.0, **options: RebalancedCrossEntropy(
        **{"strength": dose * STRENGTH[given.family]} | options
    ),
    "pmr": lambda given, **options: PMR(**{"strength": STRENGTH[given.family]} | options),
    "ogm_ge": lambda given, **options: GradientModulation(generator=given.generator, **options),
    "dense": lambda given, **options: DenseGuidance(given.guide_logits, generator=given.generator, **options),
    "fitnets": lambda given, **options: FitNetsLoss(
        given.guide.outputs.features["classifier_input"], **given.learner, **options
    ),
    "nst": lambda given, **options: NSTLoss(given.guide.outputs.maps, **options),
    "emotionkd": lambda given, **options: EmotionKDLoss(given.guide.model(), given.inputs, **given.learner, **options),
    "ambokd": lambda given, **options: AMBOKDLoss(**options),
    "released_dense": lambda given, **options: ReleasedDenseGuidance(
        given.guide_logits, generator=given.generator, **options
    ),
}
