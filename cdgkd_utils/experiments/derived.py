"""Runs that train no network by gradient: a support vector machine, fused decisions, averaged guides, the truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch.nn import functional as F

from ..data.twin import eeg_posterior
from ..methods.classical import fit_svm, late_fusion
from ..methods.guide_report import guide_report, mean_face
from .losses import Guide
from .recipes import Recipe
from .study import FoldData, part_rows

SHUFFLE = 1 << 16  # keeps its random numbers apart from those of the networks
Guides = dict[str, Guide]


def derive(recipe: Recipe, guides: Guides, data: FoldData) -> tuple[np.ndarray, dict]:
    """Logits of all windows, float32, for a recipe that is not a network, and what was chosen on the way."""
    if recipe.kind not in KINDS:
        raise ValueError(f"recipe {recipe.name}: unknown kind {recipe.kind!r}; known: network, {', '.join(KINDS)}")
    logits, result = KINDS[recipe.kind](guides, data, **recipe.options)
    return np.ascontiguousarray(logits, dtype=np.float32), result


def _svm(guides: Guides, data: FoldData) -> tuple[np.ndarray, dict]:
    wavelets, train = data.inputs.view("wavelets").numpy(), data.inputs.train.numpy()
    return fit_svm(wavelets, data.labels, data.trials, train, seed=data.seed), {}


def _late_fusion(guides: Guides, data: FoldData) -> tuple[np.ndarray, dict]:
    face, eeg = (guide.answers for guide in guides.values())
    share, log_p = late_fusion(face, eeg, data.labels, data.inputs.val.numpy())
    return log_p, {"video_share": float(share)}


def _bagged(guides: Guides, data: FoldData) -> tuple[np.ndarray, dict]:
    return np.mean([guide.answers for guide in guides.values()], axis=0), {}


def _out_of_fold(guides: Guides, data: FoldData) -> tuple[np.ndarray, dict]:
    """On training rows the one network that did not see the trial; elsewhere the mean. One temperature for all."""
    stacked = np.stack([guide.answers for guide in guides.values()])
    logits = stacked.mean(axis=0)
    for part in range(len(stacked)):
        rows = part_rows(data, part)
        logits[rows] = stacked[part][rows]
    train = data.inputs.train.numpy()
    temperature = calibrated_temperature(logits[train], data.labels[train])
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


def _oracle(guides: Guides, data: FoldData) -> tuple[np.ndarray, dict]:
    posterior = data.windows.posterior(data.target)
    if posterior is None:
        raise ValueError("recipe oracle: the true posterior is known on the twin only; leave out what it guides")
    return _as_logits(posterior), {}


def _oracle_eeg(guides: Guides, data: FoldData) -> tuple[np.ndarray, dict]:
    """What a perfect reader of the EEG would say; files of the twin do not tell their world."""
    if data.windows.truth is None or "world" not in data.windows.meta["settings"]:
        raise ValueError("recipe oracle_eeg: what the EEG sees is known on the generated twin only; leave it out")
    return _as_logits(eeg_posterior(data.windows, data.target)), {}


def _as_logits(p: np.ndarray) -> np.ndarray:
    p = np.clip(p, 1e-6, 1 - 1e-6)
    return np.stack([np.log(1 - p), np.log(p)], axis=1)


def _shuffled(guides: Guides, data: FoldData) -> tuple[np.ndarray, dict]:
    """On training rows what the guide says of trials of the same label dealt anew, rarely the same; elsewhere as is."""
    (guide,) = guides.values()
    train = data.inputs.train.numpy()
    rng = np.random.default_rng([data.seed, data.fold, SHUFFLE])
    logits = guide.answers.copy()
    for label in np.unique(data.labels[train]):
        rows = train[data.labels[train] == label]
        order = rng.permutation(np.unique(data.trials[rows]))
        # Windows keep their place in the trial where trials are of one length.
        logits[rows] = guide.answers[np.concatenate([rows[data.trials[rows] == trial] for trial in order])]
    return logits, {}


def _report(guides: Guides, data: FoldData) -> tuple[np.ndarray, dict]:
    """The check on a guide, from training rows alone, as a user has it before distilling."""
    (guide,) = guides.values()
    rows = data.inputs.train.numpy()
    answers = torch.from_numpy(guide.answers[rows]).double().softmax(dim=1)[:, 1].numpy()
    faces = mean_face(data.inputs.video[rows].numpy(), data.inputs.frame_mask[rows].numpy())
    people = data.index["subject"].to_numpy()[rows]
    report = guide_report(answers, data.labels[rows], faces, data.trials[rows], seed=data.seed, subjects=people)
    return guide.answers, {"report": asdict(report)}


def _checked(guides: Guides, data: FoldData, **students: str) -> tuple[np.ndarray, dict]:
    """The student that the check, which is the first guide and knows the training part alone, decides for."""
    report = next(iter(guides.values())).result["report"]
    chosen = students[report["verdict"]]
    return guides[chosen].answers, {"chosen": chosen, "report": report}


KINDS: dict[str, Callable[..., tuple[np.ndarray, dict]]] = {
    "svm": _svm,
    "late_fusion": _late_fusion,
    "bagged": _bagged,
    "oof": _out_of_fold,
    "oracle": _oracle,
    "oracle_eeg": _oracle_eeg,
    "shuffled": _shuffled,
    "report": _report,
    "checked": _checked,
}
