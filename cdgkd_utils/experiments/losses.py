"""From a recipe to the loss that trains it, or to the answers of a kind that trains no network by gradient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor, nn
from torch.nn import functional as F

from ..data.twin import eeg_posterior
from ..methods.classical import fit_svm, late_fusion
from ..methods.distillation import DenseGuidance, FitNetsLoss, NSTLoss, ReleasedDenseGuidance
from ..methods.guide_report import guide_report, mean_face
from ..methods.loss import CrossEntropy, LossValue
from ..methods.mutual import AMBOKDLoss, EmotionKDLoss
from ..methods.rebalancing import PMR, GradientModulation, RebalancedCrossEntropy
from ..models.output import ModelOutput
from ..training import Inputs, predict
from .recipes import Recipe
from .study import FoldData, part_rows

# Alpha of the rebalancing: 10 is the calibrated value of the compact family under SGD, the papers use about 1.
STRENGTH = {"compact": 10.0, "reference": 1.0}
SHUFFLE = 1 << 16  # keeps its random numbers apart from those of the networks
Derived = tuple[np.ndarray, dict]  # logits of all windows, and what was chosen on the way


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
    wanted = given.recipe.loss
    loss = (wanted if callable(wanted) else LOSSES[wanted])(given, **given.recipe.options)
    if not hasattr(loss, "begin_epoch"):
        loss = FunctionLoss(loss)
    for value in vars(loss).values():
        if isinstance(value, nn.Module):  # what a loss learns lies where its learner does
            value.to(given.inputs.labels.device)
    return loss


def _rebalanced(given: Given, dose: float = 1.0, **options) -> CrossEntropy:
    return RebalancedCrossEntropy(**{"strength": dose * STRENGTH[given.family]} | options)


def _fitnets(given: Given, **options) -> CrossEntropy:
    return FitNetsLoss(given.guide.outputs.features["classifier_input"], **given.learner, **options)


LOSSES: dict[str, Callable[..., CrossEntropy]] = {
    "ce": lambda given, **options: CrossEntropy(**options),
    "rebalanced": _rebalanced,
    "pmr": lambda given, **options: PMR(**{"strength": STRENGTH[given.family]} | options),
    "ogm_ge": lambda given, **options: GradientModulation(generator=given.generator, **options),
    "dense": lambda given, **options: DenseGuidance(given.guide_logits, generator=given.generator, **options),
    "fitnets": _fitnets,
    "nst": lambda given, **options: NSTLoss(given.guide.outputs.maps, **options),
    "emotionkd": lambda given, **options: EmotionKDLoss(given.guide.model(), given.inputs, **given.learner, **options),
    "ambokd": lambda given, **options: AMBOKDLoss(**options),
    "released_dense": lambda given, **kw: ReleasedDenseGuidance(given.guide_logits, generator=given.generator, **kw),
}


# ---- kinds that train no network by gradient ---------------------------------------------------


def derive(recipe: Recipe, guides: dict[str, Guide], data: FoldData) -> Derived:
    """Logits of all windows, float32, for a recipe that is not a network, and what was chosen on the way."""
    logits, result = KINDS[recipe.kind](guides, data, **recipe.options)
    return np.ascontiguousarray(logits, dtype=np.float32), result


def _svm(guides: dict[str, Guide], data: FoldData) -> Derived:
    wavelets, train = data.inputs.view("wavelets").numpy(), data.inputs.train.numpy()
    return fit_svm(wavelets, data.labels, data.trials, train, seed=data.seed), {}


def _late_fusion(guides: dict[str, Guide], data: FoldData) -> Derived:
    face, eeg = (guide.answers for guide in guides.values())
    share, log_p = late_fusion(face, eeg, data.labels, data.inputs.val.numpy())
    return log_p, {"video_share": float(share)}


def _bagged(guides: dict[str, Guide], data: FoldData) -> Derived:
    return np.mean([guide.answers for guide in guides.values()], axis=0), {}


def _out_of_fold(guides: dict[str, Guide], data: FoldData) -> Derived:
    """On training rows the one network that did not see the trial; elsewhere the mean. One temperature for all."""
    logits, train = _bagged(guides, data)[0], data.inputs.train.numpy()
    for part, guide in enumerate(guides.values()):
        rows = part_rows(data, part)
        logits[rows] = guide.answers[rows]
    temperature = calibrated_temperature(logits[train], data.labels[train])
    return logits / temperature, {"temperature": temperature}


def calibrated_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Temperature in [0.1, 20] that minimises the negative log-likelihood of `labels` (Guo et al., 2017)."""
    scores, truth = torch.from_numpy(logits).double(), torch.from_numpy(labels)

    def loss(log_t: float) -> float:
        return F.cross_entropy(scores / np.exp(log_t), truth).item()

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(0.1), np.log(20)), method="bounded").x))


def _oracle(guides: dict[str, Guide], data: FoldData) -> Derived:
    posterior = data.windows.posterior(data.target)
    if posterior is None:
        raise ValueError("recipe oracle: the true posterior is known on the twin only; leave out what it guides")
    return _as_logits(posterior), {}


def _oracle_eeg(guides: dict[str, Guide], data: FoldData) -> Derived:
    """What a perfect reader of the EEG would say; files of the twin do not tell their world."""
    if data.windows.truth is None or "world" not in data.windows.meta["settings"]:
        raise ValueError("recipe oracle_eeg: what the EEG sees is known on the generated twin only; leave it out")
    return _as_logits(eeg_posterior(data.windows, data.target)), {}


def _as_logits(p: np.ndarray) -> np.ndarray:
    p = np.clip(p, 1e-6, 1 - 1e-6)
    return np.stack([np.log(1 - p), np.log(p)], axis=1)


def _shuffled(guides: dict[str, Guide], data: FoldData) -> Derived:
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


def _report(guides: dict[str, Guide], data: FoldData) -> Derived:
    """The check on a guide, from training rows alone, as a user has it before distilling."""
    (guide,) = guides.values()
    rows = data.inputs.train.numpy()
    answers = torch.from_numpy(guide.answers[rows]).double().softmax(dim=1)[:, 1].numpy()
    faces = mean_face(data.inputs.video[rows].numpy(), data.inputs.frame_mask[rows].numpy())
    people = data.index["subject"].to_numpy()[rows]
    report = guide_report(answers, data.labels[rows], faces, data.trials[rows], seed=data.seed, subjects=people)
    return guide.answers, {"report": asdict(report)}


def _checked(guides: dict[str, Guide], data: FoldData, **students: str) -> Derived:
    """The student that the check, which is the first guide and knows the training part alone, decides for."""
    report = next(iter(guides.values())).result["report"]
    chosen = students[report["verdict"]]
    return guides[chosen].answers, {"chosen": chosen, "report": report}


KINDS: dict[str, Callable[..., Derived]] = {"svm": _svm, "late_fusion": _late_fusion, "bagged": _bagged}
KINDS |= {"oof": _out_of_fold, "oracle": _oracle, "oracle_eeg": _oracle_eeg, "shuffled": _shuffled}
KINDS |= {"report": _report, "checked": _checked}
