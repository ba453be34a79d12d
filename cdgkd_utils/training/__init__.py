"""Training: settings, inputs, and the one loop, which an interrupted training can go on with."""

from .inputs import Inputs, evaluate, predict
from .loop import TrainSettings, fit, training_device

__all__ = ["Inputs", "TrainSettings", "evaluate", "fit", "predict", "training_device"]
