"""Networks. A model names its inputs, and returns logits with named features."""

from .compact import MODELS, FusionNet, ModelOutput, UnimodalNet, build_model
from .frontend import BANDS, band_covariances

__all__ = ["BANDS", "MODELS", "FusionNet", "ModelOutput", "UnimodalNet", "band_covariances", "build_model"]
