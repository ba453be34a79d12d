"""Visual features by name: ``hog`` (default), ``mediapipe``, ``timm:<model>``."""

from __future__ import annotations

from .hog import HogFeatures
from .mediapipe_features import MediapipeFeatures
from .protocol import ExtractorError, FeatureExtractor
from .timm_features import TimmFeatures

__all__ = ["NAMES", "ExtractorError", "FeatureExtractor", "extractor"]

TIMM = "timm:"
NAMES = (HogFeatures.name, MediapipeFeatures.name, f"{TIMM}<model>")


def extractor(name: str) -> FeatureExtractor:
    """The extractor of that name.

    Parameters
    ----------
    name : str
        ``hog``: gradients, no weights; ``mediapipe``: landmarks, blendshapes and head pose (extra
        ``mediapipe``); ``timm:<model>``: a network of 768 outputs such as ``timm:vit_base_patch16_224``,
        whose weights timm downloads at first use (extra ``timm``).

    Returns
    -------
    FeatureExtractor
        To be closed after use, for instance by ``contextlib.closing``.

    Raises
    ------
    ValueError
        No extractor or timm model has that name.
    ExtractorError
        What it needs is not installed.
    """
    if name == HogFeatures.name:
        return HogFeatures()
    if name == MediapipeFeatures.name:
        return MediapipeFeatures()
    if name.startswith(TIMM):
        return TimmFeatures(name.removeprefix(TIMM))
    raise ValueError(f"extractor: expected one of {', '.join(NAMES)}, got {name!r}")
