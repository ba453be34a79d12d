"""Training: settings, inputs, and the one loop, which an interrupted training can go on with."""

from .inputs import Inputs, evaluate, predict
from .loop import FitResult, TrainSettings, deterministic, fit, training_device

__all__ = ["FitResult", "Inputs", "TrainSettings", "deterministic", "evaluate", "fit", "predict", "training_device"]
