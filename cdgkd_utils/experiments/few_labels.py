"""Few labels: which of the training and validation trials somebody rated."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..data.splits.split import trial_ids

if TYPE_CHECKING:
    from .runs import Experiment

RATED = 1 << 17  # keeps its random numbers apart from those of the networks


class Rated(NamedTuple):
    """Rows of the trials that have a rating.

    Attributes
    ----------
    train, val : Tensor of int64
    """

    train: Tensor
    val: Tensor


def rated_rows(experiment: Experiment, n_rated: int) -> Rated:
    """The rated trials of each subject, drawn without a look at any label; fewer are always among more.

    Validation gets the same share as training, at least one trial of each subject: whoever has few ratings to train
    with has few to choose the epoch with.

    Parameters
    ----------
    experiment : Experiment
    n_rated : int
        Training trials per subject; all, where a subject has no more.

    Returns
    -------
    Rated
    """
    study, inputs = experiment.study, experiment.inputs
    index = study.windows.index
    subjects, trials = index["subject"].to_numpy(), trial_ids(index)
    train, val = [], []
    for subject in np.unique(subjects[inputs.train.numpy()]):
        rng = np.random.default_rng([study.seed, experiment.fold, RATED, subject])
        order = {}
        for name, rows in (("train", inputs.train.numpy()), ("val", inputs.val.numpy())):
            mine = rows[subjects[rows] == subject]
            order[name] = mine, rng.permutation(np.unique(trials[mine]))
        share = min(1.0, n_rated / len(order["train"][1]))
        for name, kept in (("train", train), ("val", val)):
            mine, drawn = order[name]
            kept.append(mine[np.isin(trials[mine], drawn[: max(1, round(share * len(drawn)))])])
    return Rated(*(torch.from_numpy(np.sort(np.concatenate(rows))) for rows in (train, val)))
