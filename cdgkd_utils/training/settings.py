"""How a model is trained."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass

from .precision import PRECISIONS

BATCH_VARIABLE = "CDGKD_BATCH"


def training_batch_size(default: int) -> int:
    """Windows per training step: `default`, or what ``CDGKD_BATCH`` says, so that a step can fill a large GPU.

    Unlike the device it changes what is learned (fewer, less noisy steps per epoch), and is part of a run's key.

    Raises
    ------
    ValueError
        The variable is no whole number of at least 2.
    """
    text = os.environ.get(BATCH_VARIABLE, "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and int(text) >= 2):
        raise ValueError(f"{BATCH_VARIABLE}: expected a whole number of at least 2, got {text!r}")
    return int(text)


@dataclass(frozen=True)
class TrainSettings:
    """How a model is trained; the same for every row of a table.

    Attributes
    ----------
    epochs, batch_size : int
    learning_rate, momentum, weight_decay : float
    optimizer : {"sgd", "adam", "adamw"}
        The Adams ignore `momentum`. They rescale the EEG gradients, so that the strength of the rebalancing
        has almost no effect with them. ``adam`` is the paper's: AMSGrad, eps 1e-7.
    selection : {"best_val", "last_epoch"}
        ``best_val`` restores the epoch of highest balanced accuracy on the validation part (ties: lower loss).
    patience : int
        Epochs without a better one after which training stops; 0 never stops early.
    train_mode : bool
        False trains in inference mode, without dropout and with frozen batch-norm statistics: what the released
        code does to every distilled network (method.md, D6).
    precision : {"float32", "bfloat16"}
        Of the layers in a training step; predictions, with them the choice of the epoch, are float32 always.
    """

    epochs: int
    batch_size: int = 64
    learning_rate: float = 0.003
    momentum: float = 0.9
    weight_decay: float = 1e-4
    optimizer: str = "sgd"
    selection: str = "best_val"
    patience: int = 0
    train_mode: bool = True
    precision: str = "float32"

    def __post_init__(self):
        for name, choices in (
            ("optimizer", ("sgd", "adam", "adamw")),
            ("selection", ("best_val", "last_epoch")),
            ("precision", PRECISIONS),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}")
        if self.epochs < 1 or self.batch_size < 2:
            raise ValueError(
                f"epochs must be at least 1 and batch_size at least 2, got {self.epochs}, {self.batch_size}"
            )

    def as_dict(self) -> dict:
        """Plain values for a key; the default precision is left out, as in keys from before there was another."""
        values = asdict(self)
        if self.precision == "float32":
            del values["precision"]
        return values
