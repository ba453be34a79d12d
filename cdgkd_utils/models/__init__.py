"""Networks. A model names its inputs, and returns logits with named features."""

from .compact import MODELS, FusionNet, ModelOutput, UnimodalNet, build_model
from .frontend import band_covariances

__all__ = ["MODELS", "FusionNet", "ModelOutput", "UnimodalNet", "band_covariances", "build_model"]
