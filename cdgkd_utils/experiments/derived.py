"""Runs that train no network by gradient: a support vector machine, fused decisions, averaged guides, the truth."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from sklearn.model_selection import StratifiedGroupKFold
from torch.nn import functional as F

from ..data.splits.split import deal_trials, trial_ids
from ..data.twin.plan import eeg_posterior
from ..methods.guide_report import guide_report
from ..methods.late_fusion import late_fusion
from ..methods.svm import fit_svm
from ..methods.video_prediction import mean_face
from .losses import Guide
from .naming import find_recipe
from .recipes import N_PARTS, Recipe

if TYPE_CHECKING:
    from .runs import Experiment

SHUFFLE = 1 << 16  # keeps its random numbers apart from those of the networks


def derive(recipe: Recipe, guides: dict[str, Guide], experiment: Experiment) -> tuple[np.ndarray, dict]:
    """Logits of all windows for a recipe that is not a network.

    Parameters
    ----------
    recipe : Recipe
    guides : dict of str to Guide
        Finished runs it is made from.
    experiment : Experiment

    Returns
    -------
    logits : ndarray, shape (n_windows, 2), float32
    result : dict
        What was chosen on the way.
    """
    logits, result = {
        "svm": _svm,
        "late_fusion": _late_fusion,
        "bagged": _bagged,
        "oof": _out_of_fold,
        "oracle": _oracle,
        "oracle_eeg": _oracle_eeg,
        "shuffled": _shuffled,
        "report": _report,
    }[recipe.kind](guides, experiment)
    return np.ascontiguousarray(logits, dtype=np.float32), result


def part_rows(experiment: Experiment, part: int, apart: str = "trial") -> np.ndarray:
    """Training rows that the cross-fitted network `part` does not see.

    Parameters
    ----------
    experiment : Experiment
    part : int
        0 .. 4.
    apart : {"trial", "subject"}
        Whole trials of every subject, both labels alike: otherwise a subject's base rate would leak with the wrong
        sign (guides.md, section 1). Or whole subjects.
    """
    study, train = experiment.study, experiment.inputs.train.numpy()
    index, labels = study.windows.index, study.labels(experiment.target)
    subjects = index["subject"].to_numpy()
    if apart == "subject":
        dealer = StratifiedGroupKFold(N_PARTS, shuffle=True, random_state=study.seed)
        return train[list(dealer.split(train, labels[train], subjects[train]))[part][1]]
    _, held_out = deal_trials(train, trial_ids(index), subjects, labels, N_PARTS, part, study.seed)
    return held_out


def _svm(guides: dict[str, Guide], experiment: Experiment) -> tuple[np.ndarray, dict]:
    inputs, groups = experiment.inputs, trial_ids(experiment.study.windows.index)
    log_p = fit_svm(
        inputs.view("wavelets").numpy(), inputs.labels.numpy(), groups, inputs.train.numpy(), seed=experiment.study.seed
    )
    return log_p, {}


def _late_fusion(guides: dict[str, Guide], experiment: Experiment) -> tuple[np.ndarray, dict]:
    face, eeg = (guide.record.logits for guide in guides.values())
    inputs = experiment.inputs
    share, log_p = late_fusion(face, eeg, inputs.labels.numpy(), inputs.val.numpy())
    return log_p, {"video_share": float(share)}


def _bagged(guides: dict[str, Guide], experiment: Experiment) -> tuple[np.ndarray, dict]:
    return np.mean([guide.record.logits for guide in guides.values()], axis=0), {}


def _out_of_fold(guides: dict[str, Guide], experiment: Experiment) -> tuple[np.ndarray, dict]:
    """On training rows the one network that did not see the trial; elsewhere the mean. One temperature for all."""
    stacked = np.stack([guide.record.logits for guide in guides.values()])
    logits = stacked.mean(axis=0)
    (apart,) = {find_recipe(name).apart for name in guides}
    for part in range(len(stacked)):
        rows = part_rows(experiment, part, apart)
        logits[rows] = stacked[part][rows]
    train = experiment.inputs.train
    temperature = calibrated_temperature(logits[train.numpy()], experiment.inputs.labels[train].numpy())
    return logits / temperature, {"temperature": temperature}


def calibrated_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Temperature in [0.1, 20] that minimises the negative log-likelihood of `labels` (Guo et al., 2017)."""
    scores, truth = torch.from_numpy(logits).double(), torch.from_numpy(labels)
    found = minimize_scalar(
        lambda log_t: F.cross_entropy(scores / np.exp(log_t), truth).item(),
        bounds=(np.log(0.1), np.log(20)),
        method="bounded",
    )
    return float(np.exp(found.x))


def _oracle(guides: dict[str, Guide], experiment: Experiment) -> tuple[np.ndarray, dict]:
    posterior = experiment.study.windows.posterior(experiment.target)
    if posterior is None:
        raise ValueError("recipe oracle: the true posterior is known on the twin only; leave out what it guides")
    return _as_logits(posterior), {}


def _oracle_eeg(guides: dict[str, Guide], experiment: Experiment) -> tuple[np.ndarray, dict]:
    windows = experiment.study.windows
    if windows.truth is None or "world" not in windows.meta["settings"]:  # files of the twin do not tell their world
        raise ValueError(
            "recipe oracle_eeg: what the EEG sees, and in which world, is known on the generated twin only; leave out "
            "what it guides"
        )
    return _as_logits(eeg_posterior(windows, experiment.target)), {}


def _as_logits(p: np.ndarray) -> np.ndarray:
    p = np.clip(p, 1e-6, 1 - 1e-6)
    return np.stack([np.log(1 - p), np.log(p)], axis=1)


def _shuffled(guides: dict[str, Guide], experiment: Experiment) -> tuple[np.ndarray, dict]:
    """On training rows what the guide says of trials of the same label dealt anew, rarely the same; elsewhere as is."""
    (guide,) = guides.values()
    study, train = experiment.study, experiment.inputs.train.numpy()
    rng = np.random.default_rng([study.seed, experiment.fold, SHUFFLE])
    logits, trials = guide.record.logits.copy(), trial_ids(study.windows.index)
    for label in (0, 1):
        rows = train[study.labels(experiment.target)[train] == label]
        order = rng.permutation(np.unique(trials[rows]))
        # Windows keep their place in the trial where trials are of one length.
        given = np.concatenate([rows[trials[rows] == trial] for trial in order])
        logits[rows] = guide.record.logits[given]
    return logits, {}


def _report(guides: dict[str, Guide], experiment: Experiment) -> tuple[np.ndarray, dict]:
    """The check on a guide, from training rows alone, as a user has it before distilling."""
    (guide,) = guides.values()
    study, inputs, rows = experiment.study, experiment.inputs, experiment.inputs.train
    answers = torch.from_numpy(guide.record.logits[rows.numpy()]).double().softmax(dim=1)[:, 1].numpy()
    faces = mean_face(inputs.video[rows].numpy(), inputs.frame_mask[rows].numpy())
    index = study.windows.index.iloc[rows.numpy()]
    labels, people = inputs.labels[rows].numpy(), index["subject"].to_numpy()
    report = guide_report(answers, labels, faces, trial_ids(index), seed=study.seed, subjects=people)
    return guide.record.logits, {"report": asdict(report)}
