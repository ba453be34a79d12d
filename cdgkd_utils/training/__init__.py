"""Training: settings, inputs and the one loop."""

from .inputs import Inputs, evaluate, predict
from .loop import FitResult, deterministic, fit
from .settings import TrainSettings

__all__ = ["FitResult", "Inputs", "TrainSettings", "deterministic", "evaluate", "fit", "predict"]
