"""Chains with fewer assistants or another drop probability, and what their networks say about all windows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from ..training import predict
from .recipes import RECIPES, Recipe
from .runs import Experiment, RunRecord

TEACHER, STUDENT = "fusion_rebalanced", "cdgkd"


def chain_recipe(n_assistants: int, drop_prob: float) -> Recipe:
    """The student of a chain with fewer assistants or another drop probability, and nothing else changed.

    The guides are those of CDGKD's own chain, which were trained with a drop probability of 0.5, so that students
    differ in whom they hear and how often, not in what their guides know. Without assistants this is "KD + drop", or
    KD when nothing is dropped; with two and 0.5 it is CDGKD: these are the same stored runs.

    Parameters
    ----------
    n_assistants : {0, 1, 2}
        The larger ones come first.
    drop_prob : float
        In [0, 1).

    Raises
    ------
    ValueError
        A value lies outside these.
    """
    guides = RECIPES[STUDENT].guides
    if n_assistants not in range(len(guides)):
        raise ValueError(f"n_assistants: expected 0 to {len(guides) - 1}, got {n_assistants}")
    if not 0 <= drop_prob < 1:
        raise ValueError(f"drop_prob: expected a number from 0 up to, but not including, 1, got {drop_prob}")
    if n_assistants == 0:
        return RECIPES["kd_drop"].but(drop_prob=drop_prob) if drop_prob else RECIPES["kd"]
    return replace(RECIPES[STUDENT].but(drop_prob=drop_prob), guides=guides[: 1 + n_assistants])


def train_chain(
    experiment: Experiment, n_assistants: int, drop_prob: float, *, tell: Callable[[float, str], None] | None = None
) -> dict[str, float]:
    """The student of :func:`chain_recipe`, trained if it is not stored, in numbers.

    Parameters
    ----------
    experiment : Experiment
    n_assistants : {0, 1, 2}
    drop_prob : float
    tell : callable, optional
        Takes the share of the epochs that are done, 0 .. 1, and a sentence; not called for a stored run.

    Returns
    -------
    dict
        ``n_assistants``, ``drop_prob``; on validation windows ``balanced_accuracy`` (of the chosen epoch) and
        ``agreement``, the share of windows with the teacher's answer; ``silent``: share of mini-batches without any
        guide. Test windows are left alone: whoever turns a knob must not look at them.
    """
    recipe = chain_recipe(n_assistants, drop_prob)
    n_epochs = experiment.settings(recipe).epochs

    def on_epoch(log: pd.DataFrame) -> None:
        if tell is not None:
            tell(min(1.0, len(log) / n_epochs), f"epoch {len(log)} of at most {n_epochs}")

    record = experiment.run(recipe, on_epoch=on_epoch)
    answers = [_high(one)[experiment.inputs.val.numpy()] for one in (record, experiment.run(TEACHER))]
    return {
        "n_assistants": n_assistants,
        "drop_prob": drop_prob,
        "balanced_accuracy": float(record.log["val_balanced_accuracy"].iloc[record.result["chosen_epoch"]]),
        "agreement": float(np.mean(answers[0] == answers[1])),
        "silent": float((~record.kept.any(axis=1)).mean()),
    }


def classifier_inputs(experiment: Experiment, records: Mapping[str, RunRecord]) -> dict[str, np.ndarray]:
    """What enters the classifiers of trained networks, for all windows, in evaluation mode.

    Parameters
    ----------
    experiment : Experiment
    records : mapping of str to RunRecord

    Returns
    -------
    dict of str to ndarray, shape (n_windows, n_features)
    """
    rows = torch.arange(len(experiment.inputs.labels))
    outputs = {name: predict(record.model(), experiment.inputs, rows) for name, record in records.items()}
    return {name: output.features["classifier_input"].numpy() for name, output in outputs.items()}


def _high(record: RunRecord) -> np.ndarray:
    return record.logits[:, 1] > record.logits[:, 0]
