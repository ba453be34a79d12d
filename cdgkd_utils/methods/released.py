"""What the released code of CDGKD computes in the distilled stages and their baselines, as losses of our own.

For comparison only; nothing here is a default. Facts: method.md, sections 4.3 (D1 to D16), 5.2 and 5.3. The teacher's
stage is in :mod:`~cdgkd_utils.methods.released_teacher`, the list of all switches with file and line in
:mod:`~cdgkd_utils.methods.released_switches`.
"""

from __future__ import annotations

from itertools import product

import torch
from torch import Tensor
from torch.nn import functional as F

from ..models.output import ModelOutput
from .distillation import draw_kept, stacked
from .loss import CrossEntropy, LossValue


def reverse_divergence(logits: Tensor, guide_logits: Tensor, temperature: float) -> Tensor:
    """KL(learner ‖ guide) of the softened class probabilities, without T², mean over windows (D2, D3).

    Keras' floor of 1e-7 under the probabilities is left out. The guide gets no gradient.

    Parameters
    ----------
    logits, guide_logits : Tensor, shape (n_windows, n_classes)
    temperature : float
    """
    learner = F.log_softmax(logits / temperature, dim=1)
    guide = F.log_softmax(guide_logits.detach() / temperature, dim=1)
    return F.kl_div(guide, learner, reduction="batchmean", log_target=True)


def chance_of_silence(n_guides: int, drop_prob: float = 0.5) -> float:
    """Probability that one draw of the mask drops all guides, by enumeration of all masks (D4)."""
    silent = [mask for mask in product((False, True), repeat=n_guides) if not any(mask)]
    return sum(drop_prob ** mask.count(False) * (1 - drop_prob) ** mask.count(True) for mask in silent)


class ReleasedDenseGuidance(CrossEntropy):
    """ce_weight · CE + (1 − ce_weight) · Σ_j kept_j · KL(learner ‖ guide_j), one mask for the whole stage.

    ``ce_weight`` is the class's default of 1, because the training script does not pass its own (D1): the sum is then
    multiplied by 0. The direction is reversed and T² is missing (D2, D3); the mask is drawn while the graph is traced
    and frozen (D4). The release also trains these networks in inference mode (D6): ``TrainSettings.train_mode=False``.

    Parameters
    ----------
    guide_logits : dict of str to Tensor, shape (n_all_windows, n_classes)
        Logits of the frozen guides in evaluation mode; rows are looked up.
    ce_weight : float
        Alpha of the release, 1 − lambda of the papers.
    temperature : float
    drop_prob : float
    generator : torch.Generator, optional
        Needed when `drop_prob` > 0. The release seeds from the operating system instead (D5), so that its mask
        cannot be repeated.

    Attributes
    ----------
    kept : Tensor, shape (n_guides,), bool
    kept_history : list of Tensor, shape (n_guides,)
        The same mask, once per mini-batch.
    """

    def __init__(
        self,
        guide_logits: dict[str, Tensor],
        *,
        ce_weight: float = 1.0,
        temperature: float = 2.0,
        drop_prob: float = 0.5,
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        if not guide_logits:
            raise ValueError("guide_logits is empty; a learner without guides is trained with CrossEntropy")
        if drop_prob > 0 and generator is None:
            raise ValueError("drop_prob > 0 needs a generator of its own")
        self.guide_logits = {name: logits.detach() for name, logits in guide_logits.items()}
        self.ce_weight, self.temperature = ce_weight, temperature
        everyone = torch.ones(len(guide_logits), dtype=torch.bool)
        self.kept = draw_kept(len(guide_logits), drop_prob, generator) if drop_prob > 0 else everyone
        self.kept_history: list[Tensor] = []

    def state_dict(self) -> dict:
        return {"kept": self.kept, "kept_history": stacked(self.kept_history)}

    def load_state_dict(self, state: dict) -> None:
        self.kept, self.kept_history = state["kept"], list(state["kept_history"])

    def __call__(self, output: ModelOutput, labels: Tensor, rows: Tensor) -> LossValue:
        self.kept_history.append(self.kept)
        total = self.ce_weight * F.cross_entropy(output.logits, labels)
        parts = {"loss_ce": total.item()}
        for (name, guide), keep in zip(self.guide_logits.items(), self.kept.tolist(), strict=True):
            term = 0.0
            if keep:
                weighted = (1 - self.ce_weight) * reverse_divergence(output.logits, guide[rows], self.temperature)
                total, term = total + weighted, weighted.item()
            parts |= {f"loss_kd_{name}": term, f"kept_{name}": float(keep)}
        return LossValue(total, parts)


def released_kd(guide_logits: dict[str, Tensor]) -> ReleasedDenseGuidance:
    """The KD and TAKD rows as released: half CE, half reverse KL at T = 2 without T², nothing dropped (5.1, D2, D3)."""
    return ReleasedDenseGuidance(guide_logits, ce_weight=0.5, drop_prob=0.0)


def moving_average(features: Tensor, n_features: int) -> Tensor:
    """Mean of neighbouring features, stride 1, over as many as leave `n_features` of them.

    The release brings the student's 2304 features to the teacher's 1536 by a mean of 769 (method.md, section 5.2).

    Parameters
    ----------
    features : Tensor, shape (n_windows, n_wide)
    n_features : int
        At most `n_wide`.

    Returns
    -------
    Tensor, shape (n_windows, n_features)
    """
    if not 1 <= n_features <= features.shape[1]:
        raise ValueError(f"n_features: expected 1 to {features.shape[1]}, got {n_features}")
    return F.avg_pool1d(features[:, None], features.shape[1] - n_features + 1, stride=1)[:, 0]


def gaussian_kernels(guide: Tensor, learner: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gaussian kernels among and between two sets of vectors, one of each per window of a mini-batch.

    The width comes from the mean square per feature of `learner` (with gradient) while squared distances are summed
    over features, so that every kernel value shrinks exponentially with the number of features.

    Parameters
    ----------
    guide, learner : Tensor, shape (n_windows, n_features)

    Returns
    -------
    guide_guide, learner_learner, guide_learner : Tensor, shape (n_windows, n_windows)
    """
    gamma = 1 / (2 * learner.square().mean())
    pairs = ((guide, guide), (learner, learner), (guide, learner))
    return tuple(torch.exp(-gamma * (a[:, None] - b[None]).square().sum(-1)) for a, b in pairs)


class ReleasedHint(CrossEntropy):
    """ce_weight · CE + (1 − ce_weight) · match(guide's fused vector, learner's classifier input).

    Parameters
    ----------
    hint : Tensor, shape (n_all_windows, n_features)
        The guide's classifier input in evaluation mode; rows are looked up.
    kind : {"fitnets", "nst"}
        ``fitnets`` is the mean squared difference without a regressor (method.md, section 5.2); ``nst`` the squared
        maximum mean discrepancy between the windows of the mini-batch, where NST compares channels of a feature
        map (method.md, section 5.3).
    ce_weight : float

    Notes
    -----
    The wider vector is brought to the width of the other by :func:`moving_average`; in the release the learner's is
    the wider one.
    """

    def __init__(self, hint: Tensor, *, kind: str = "fitnets", ce_weight: float = 0.5):
        super().__init__()
        if kind not in ("fitnets", "nst"):
            raise ValueError(f"kind must be fitnets or nst, got {kind!r}")
        self.hint, self.kind, self.ce_weight = hint.detach(), kind, ce_weight

    def __call__(self, output: ModelOutput, labels: Tensor, rows: Tensor) -> LossValue:
        guide, learner = self.hint[rows], output.features["classifier_input"]
        width = min(guide.shape[1], learner.shape[1])
        guide, learner = moving_average(guide, width), moving_average(learner, width)
        if self.kind == "fitnets":
            match = F.mse_loss(learner, guide)
        else:
            among, own, between = gaussian_kernels(guide, learner)
            match = among.mean() + own.mean() - 2 * between.mean()
        ce, hint = self.ce_weight * F.cross_entropy(output.logits, labels), (1 - self.ce_weight) * match
        return LossValue(ce + hint, {"loss_ce": ce.item(), f"loss_{self.kind}": hint.item()})


def released_flag(text: str) -> bool:
    """What ``argparse`` makes of a flag declared with ``type=bool``: any text but the empty one is True (T7)."""
    return bool(text)
