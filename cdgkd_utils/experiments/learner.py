"""A network before its training: what a recipe trains, from which initial weights, in which order of mini-batches."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import nn

from ..methods.loss import CrossEntropy
from ..models.registry import build_model
from ..training import Inputs, TrainSettings
from .derived import part_rows
from .losses import Guide, build_loss
from .recipes import Recipe

if TYPE_CHECKING:
    from .runs import Experiment

# The random numbers of a run are drawn from (seed, fold, number of its architecture).
MODELS = ("teacher", "ta1", "ta2", "student", "eeg", "video")
MODELS += ("face_cnn", "eeg_lstm", "dgc_jca", "emotionkd_teacher")
MODEL_NUMBER = {name: number for number, name in enumerate(MODELS)}
MODEL_NUMBER["ambokd"] = MODEL_NUMBER["student"]  # its video peer starts, and is fed, as every other student


class Learner(NamedTuple):
    """What :func:`~cdgkd_utils.training.fit` takes.

    Attributes
    ----------
    model : Module
        Freshly initialised.
    inputs : Inputs
    loss : CrossEntropy
    settings : TrainSettings
    seed : int
        Of the order of the mini-batches and of dropout.
    """

    model: nn.Module
    inputs: Inputs
    loss: CrossEntropy
    settings: TrainSettings
    seed: int


def fresh_learner(experiment: Experiment, recipe: Recipe, guides: dict[str, Guide] | None = None) -> Learner:
    """The network of a recipe, ready to be trained.

    Learners of one architecture start equal and see equal batches, whatever teaches them: comparisons pair.

    Parameters
    ----------
    experiment : Experiment
    recipe : Recipe
        Of kind ``network``.
    guides : dict of str to Guide, optional
        In the order of ``recipe.guides``.
    """
    family = experiment.study.params.model_family
    entropy = [
        experiment.study.seed,
        experiment.fold,
        MODEL_NUMBER[recipe.model],
        *([recipe.part + 1] if recipe.part >= 0 else []),
    ]
    init, order, own = (int(s) for s in np.random.SeedSequence(entropy).generate_state(3))
    device = experiment.on_device.labels.device
    model = build_model(recipe.model, init, family).to(device)
    inputs = replace(experiment.on_device, train=_train_rows(experiment, recipe).to(device))
    settings = experiment.settings(recipe)
    loss = build_loss(recipe, guides or {}, model, inputs, settings, own, family)
    return Learner(model, inputs, loss, settings, order)


def _train_rows(experiment: Experiment, recipe: Recipe) -> torch.Tensor:
    """Training rows, less the part that a cross-fitted network must not see."""
    train = experiment.inputs.train
    if recipe.part < 0:
        return train
    return train[~torch.isin(train, torch.from_numpy(part_rows(experiment, recipe.part)))]
