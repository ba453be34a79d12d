"""Features of a pretrained network from the timm library."""

from __future__ import annotations

import importlib.util
from importlib.metadata import version
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from ..constants import N_VIDEO_FEATURES
from .protocol import ExtractorError, check_frames, source_digest

if TYPE_CHECKING:
    from torch import nn

BATCH = 32  # pictures


class TimmFeatures:
    """Pooled output of a network with 768 features, such as ViT-B/16 (extra ``timm``).

    Pictures are scaled with the mean and standard deviation that the weights were trained with, and
    shown whole. timm downloads the weights at the first call and keeps them in its own cache.

    Parameters
    ----------
    model : str
        timm's name of the model, with or without a tag, for instance ``vit_base_patch16_224.augreg_in21k``.

    Raises
    ------
    ValueError
        timm has no model, or no weights, of that name.
    ExtractorError
        timm is not installed or cannot be imported.
    """

    def __init__(self, model: str) -> None:
        timm = _timm(model)
        try:
            weights = timm.get_pretrained_cfg(model)
        except RuntimeError as error:
            raise ValueError(_unknown(model, str(error))) from error
        if weights is None or not weights.has_weights:
            raise ValueError(_unknown(model, "timm has no weights of that name"))
        self.name = f"timm:{model}"
        self.size = int(weights.input_size[-1])
        # The tag is in the version, since which one a bare name means may change with timm's version.
        self.version = f"{self.name} {source_digest(__file__)} timm-{version('timm')} {weights.tag}"
        self._model = model
        self._mean, self._std = (
            np.array(values, np.float32).reshape(3, 1, 1) for values in (weights.mean, weights.std)
        )
        self._network: nn.Module | None = None

    def __call__(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        check_frames(frames, self.size)
        import torch

        if self._network is None:
            self._network = self._open()
        features = np.empty((len(frames), N_VIDEO_FEATURES), np.float32)
        with torch.inference_mode():
            for start in range(0, len(frames), BATCH):
                batch = frames[start : start + BATCH].transpose(0, 3, 1, 2) / np.float32(255)
                inputs = torch.from_numpy((batch - self._mean) / self._std)
                features[start : start + BATCH] = self._network(inputs).numpy()
        return features, np.ones(len(frames), bool)

    def close(self) -> None:
        """Let go of the network; the next call loads it again."""
        self._network = None

    def _open(self) -> nn.Module:
        timm = _timm(self._model)
        import torch

        # The width is checked without weights, so that a model of the wrong width is not downloaded first.
        network = timm.create_model(self._model, pretrained=False, num_classes=0).eval()
        with torch.inference_mode():
            n_features = network(torch.zeros(1, 3, self.size, self.size)).shape[-1]
        if n_features != N_VIDEO_FEATURES:
            raise ValueError(
                f"extractor {self.name!r}: gives {n_features} features per picture, expected {N_VIDEO_FEATURES}; "
                "choose a model of that width, for instance timm:vit_base_patch16_224"
            )
        try:
            network = timm.create_model(self._model, pretrained=True, num_classes=0)
        except (OSError, RuntimeError) as error:
            raise ExtractorError(
                f"extractor {self.name!r}: the weights are not in timm's cache on this machine and cannot be "
                f"downloaded ({str(error).splitlines()[0]}); run once with a connection: "
                f"python -c \"import timm; timm.create_model('{self._model}', pretrained=True)\", "
                "copy the Hugging Face cache of a machine that has them, or choose extractor='hog'"
            ) from error
        return network.eval()


def _timm(model: str) -> ModuleType:
    if importlib.util.find_spec("timm") is None:
        raise ExtractorError(
            f"extractor 'timm:{model}': the package timm is not installed; "
            "run: pip install -e '.[timm]', or choose extractor='hog'"
        )
    try:
        import timm
    except (ImportError, RuntimeError) as error:
        # A torchvision that was built for another torch fails at import with one of these.
        raise ExtractorError(
            f"extractor 'timm:{model}': timm is installed but cannot be imported ({error}); "
            "install the torchvision that belongs to your torch, from the same place as torch"
        ) from error
    return timm


def _unknown(model: str, reason: str) -> str:
    return f"extractor 'timm:{model}': {reason}; timm.list_models('*vit_base*', pretrained=True) lists names that work"
