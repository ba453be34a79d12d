"""What the released code of CDGKD computes in the teacher's stage where it departs from its paper.

For comparison only; nothing here is a default. Facts: method.md, section 3.3 (T1 to T16).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from ..models.output import ModelOutput
from .loss import CrossEntropy, LossValue
from .rebalancing import MODALITIES


def own_class_scatter(embeddings: Tensor, labels: Tensor, n_classes: int = 2) -> Tensor:
    """Mean squared deviation of each class from its own mean in the mini-batch (T2, T4, T10, T11).

    Takes the place of the distances to all prototypes: no window meets the other class's prototype, the mean runs
    over windows and features. The prototype carries gradient, which here changes nothing: the deviations from a mean
    add up to zero.

    Parameters
    ----------
    embeddings : Tensor, shape (n_windows, n_features)
    labels : Tensor, shape (n_windows,)
    n_classes : int

    Returns
    -------
    Tensor, shape (n_classes,)
        NaN for a class that the mini-batch does not hold.
    """
    groups = [embeddings[labels == k] for k in range(n_classes)]
    return torch.stack([(group - group.mean(0)).square().mean() for group in groups])


def released_pace(scatter: Tensor) -> Tensor:
    """Mean over classes of −softmax(−scatter): −1 / n_classes for every finite input, as a softmax adds up to 1 (T1).

    Parameters
    ----------
    scatter : Tensor, shape (n_classes,)
    """
    return -F.softmax(-scatter, dim=0).mean()


def released_prototype_loss(scatter: Tensor) -> Tensor:
    """Mean over classes of −log softmax(−scatter): least, ln(n_classes), where all scatters are equal (T3).

    Parameters
    ----------
    scatter : Tensor, shape (n_classes,)
    """
    return -F.log_softmax(-scatter, dim=0).mean()


class ReleasedRebalancing(CrossEntropy):
    """CE + strength · (0 · L_video + 0 · L_eeg), with the released L: the teacher's loss with ``--PMR_loss`` on.

    The weights stay at the 0 they had when the graph was traced (T5); the released ratio would put them there too
    (T1). A mini-batch without one of the classes makes the loss NaN in spite of the zeros (T10).

    Parameters
    ----------
    strength : float
        Alpha; has no effect.
    """

    def __init__(self, *, strength: float = 1.0):
        super().__init__()
        self.strength = strength
        self.weights = dict.fromkeys(MODALITIES, 0.0)
        self._pace = dict.fromkeys(MODALITIES, 0.0)

    def state_dict(self) -> dict:
        return {"pace": self._pace}

    def load_state_dict(self, state: dict) -> None:
        self._pace = dict(state["pace"])

    def begin_epoch(self, epoch: int, embed: Callable[[], tuple[ModelOutput, Tensor]]) -> dict[str, float]:
        """Log the ratio of the paces summed over the epoch before; NaN before the first."""
        ratio = self._pace["video"] / self._pace["eeg"] if self._pace["eeg"] else float("nan")
        self._pace = dict.fromkeys(MODALITIES, 0.0)
        return {"imbalance_ratio": ratio} | {f"{m}_weight": weight for m, weight in self.weights.items()}

    def __call__(self, output: ModelOutput, labels: Tensor, rows: Tensor) -> LossValue:
        ce = F.cross_entropy(output.logits, labels)
        total, parts = ce, {"loss_ce": ce.item()}
        for m in MODALITIES:
            scatter = own_class_scatter(output.features[m], labels)
            self._pace[m] += released_pace(scatter.detach()).item()
            term = self.strength * self.weights[m] * released_prototype_loss(scatter)
            total, parts = total + term, parts | {f"loss_proto_{m}": term.item()}
        return LossValue(total, parts)
