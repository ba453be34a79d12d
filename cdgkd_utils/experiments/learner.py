"""A network before its training: what a recipe trains, from which initial weights, in which order of mini-batches."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import nn

from ..methods.loss import UNRATED, CrossEntropy
from ..models.registry import build_model
from ..training import Inputs, TrainSettings
from .derived import part_rows
from .few_labels import rated_rows
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
    inputs = _own_inputs(experiment, recipe)
    settings = experiment.settings(recipe)
    loss = build_loss(recipe, guides or {}, model, inputs, settings, own, family)
    return Learner(model, inputs, loss, settings, order)


def _own_inputs(experiment: Experiment, recipe: Recipe) -> Inputs:
    """The inputs, less the part that a cross-fitted network must not see and the ratings that were not given."""
    inputs, train = experiment.on_device, experiment.inputs.train
    if recipe.part >= 0:
        train = train[~torch.isin(train, torch.from_numpy(part_rows(experiment, recipe.part, recipe.apart)))]
    inputs = replace(inputs, train=train.to(inputs.labels.device))
    if not recipe.rated:
        return inputs
    few = rated_rows(experiment, recipe.rated)
    train, val = (rows.to(inputs.labels.device) for rows in (few.train, few.val))
    labels = torch.full_like(inputs.labels, UNRATED)
    for rows in (train, val):
        labels[rows] = inputs.labels[rows]
    return replace(inputs, labels=labels, val=val, train=inputs.train if recipe.guides else train)
