"""What the training loop asks of a loss, and the plain cross-entropy."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..models.output import ModelOutput

UNRATED = -100  # the label of a window that nobody rated; cross-entropy leaves it out


class LossValue(NamedTuple):
    """A loss of one mini-batch: what is differentiated, and its addends, which the loop averages into the epoch log."""

    total: Tensor
    parts: dict[str, float]


class Batches(Protocol):
    """What a loss may ask of the data beyond its own mini-batch: inputs that a model names, by row."""

    labels: Tensor
    train: Tensor

    def of(self, model: nn.Module, rows: Tensor) -> list[Tensor]: ...


class CrossEntropy:
    """Cross-entropy with the hard label; base of the other losses.

    A method that does more than weigh terms overrides one of the hooks that the training loop calls, in this
    order for each mini-batch: the loss itself, ``before_step`` (gradients are there), ``after_step``.
    """

    def __init__(self, label_smoothing: float = 0.0):
        self.label_smoothing = label_smoothing

    def begin_epoch(self, epoch: int, embed: Callable[[], tuple[ModelOutput, Tensor]]) -> dict[str, float]:
        """Called before each epoch; returns columns for the epoch log.

        `embed` returns the outputs on the whole training part, in evaluation mode without gradient, and its labels.
        """
        return {}

    def param_groups(self, model: nn.Module) -> list[dict]:
        """Parameter groups for the optimiser: the model's, and those of the loss itself if it learns something."""
        return [{"params": list(model.parameters())}]

    def before_step(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Called between the backward pass and the optimiser's step; may change gradients or learning rates."""

    def after_step(self, model: nn.Module, inputs: Batches) -> dict[str, float]:
        """Called after the optimiser's step; returns columns for the log, averaged over the epoch like the parts."""
        return {}

    def state_dict(self) -> dict:
        """What is carried from one epoch into the next: tensors, numbers, and lists and dicts of them."""
        return {}

    def load_state_dict(self, state: dict) -> None:
        """Take over a :meth:`state_dict`."""

    def __call__(self, output: ModelOutput, labels: Tensor, rows: Tensor) -> LossValue:
        """Loss of one mini-batch; `rows` are the windows' numbers in the data, for losses that look things up."""
        total = F.cross_entropy(output.logits, labels, label_smoothing=self.label_smoothing)
        return LossValue(total, {"loss_ce": total.item()})
