"""What the training loop asks of a loss, and the plain cross-entropy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from ..models.compact import ModelOutput


@dataclass(frozen=True)
class LossValue:
    """A loss of one mini-batch.

    Attributes
    ----------
    total : Tensor, scalar
        What is differentiated.
    parts : dict of str to float
        Its addends as they enter `total`; the loop averages them over the epoch into the log.
    """

    total: Tensor
    parts: dict[str, float]


class CrossEntropy:
    """Cross-entropy with the hard label; base of the other losses.

    Parameters
    ----------
    label_smoothing : float
        0 is off.
    """

    def __init__(self, label_smoothing: float = 0.0):
        self.label_smoothing = label_smoothing

    def begin_epoch(self, epoch: int, embed: Callable[[], tuple[ModelOutput, Tensor]]) -> dict[str, float]:
        """Called before each epoch.

        Parameters
        ----------
        epoch : int
        embed : callable
            Returns the outputs on the whole training part, in evaluation mode without gradient, and its labels.

        Returns
        -------
        dict
            Columns for the epoch log.
        """
        return {}

    def __call__(self, output: ModelOutput, labels: Tensor, rows: Tensor) -> LossValue:
        """Loss of one mini-batch.

        Parameters
        ----------
        output : ModelOutput
        labels : Tensor, shape (n_windows,)
        rows : Tensor, shape (n_windows,)
            Numbers of the windows in the data, for losses that look things up.
        """
        total = F.cross_entropy(output.logits, labels, label_smoothing=self.label_smoothing)
        return LossValue(total, {"loss_ce": total.item()})
