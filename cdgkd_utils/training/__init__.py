"""Training: settings, inputs, the one loop, and checkpoints from which an interrupted training goes on."""

from .checkpoint import CheckpointError, discard
from .inputs import Inputs, evaluate, predict
from .loop import FitResult, deterministic, fit
from .settings import TrainSettings

__all__ = [
    "CheckpointError",
    "FitResult",
    "Inputs",
    "TrainSettings",
    "deterministic",
    "discard",
    "evaluate",
    "fit",
    "predict",
]
