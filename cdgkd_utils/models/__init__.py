"""Networks by family and name."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from . import reference
from .baselines import DGCJCA, EEGLSTM, FaceCNN, Peers
from .compact import EEGEncoder, FusionNet, UnimodalNet, VideoEncoder
from .emotionkd import CompactEmotionKDTeacher, EmotionKDTeacher
from .output import ModelOutput

__all__ = ["FAMILIES", "ModelOutput", "build_model", "n_parameters"]

# Each takes the number of classes. The ladder is in the EEG branch, as in the paper: 12, 8, 4 spatial filters, then
# no EEG at all.
_COMPACT: dict[str, Callable[[int], nn.Module]] = {
    "teacher": lambda k: FusionNet(n_filters=12, n_classes=k),
    "ta1": lambda k: FusionNet(n_filters=8, n_classes=k),
    "ta2": lambda k: FusionNet(n_filters=4, n_classes=k),
    "student": lambda k: UnimodalNet("video", VideoEncoder(32, 32, 0.5), 32, k),
    "eeg": lambda k: UnimodalNet("eeg", EEGEncoder(12, 64, 0.25), 64, k),
    "video": lambda k: UnimodalNet("video", VideoEncoder(64, 64, 0.25), 64, k),
    "emotionkd_teacher": lambda k: CompactEmotionKDTeacher(n_classes=k),
    # A quarter as wide: its attention matrices, one per window, cost a sixteenth.
    "dgc_jca": lambda k: DGCJCA(n_features=32, n_classes=k),
}
_REFERENCE: dict[str, Callable[[int], nn.Module]] = {
    "teacher": lambda k: reference.FusionNet(reference.TEACHER, k),
    "ta1": lambda k: reference.FusionNet(reference.TA1, k),
    "ta2": lambda k: reference.FusionNet(reference.TA2, k),
    "student": reference.StudentNet,
    "eeg": reference.EEGNet,
    "video": reference.VideoNet,
    "emotionkd_teacher": EmotionKDTeacher,
    "dgc_jca": lambda k: DGCJCA(n_classes=k),
}


def _with_peers(models: dict[str, Callable[[int], nn.Module]], **widths: int) -> dict[str, Callable[[int], nn.Module]]:
    """Those networks, and the baselines that are the same or made alike in both families."""
    return models | {
        "face_cnn": lambda k: FaceCNN(n_classes=k),
        "eeg_lstm": lambda k: EEGLSTM(n_classes=k),
        "ambokd": lambda k: Peers(models["student"](k), models["eeg"](k), n_classes=k, **widths),
    }


FAMILIES = {
    "compact": _with_peers(_COMPACT, n_video=32, n_eeg=64),
    "reference": _with_peers(_REFERENCE, n_video=1536, n_eeg=768),
}


def build_model(name: str, seed: int, family: str = "compact", n_classes: int = 2) -> nn.Module:
    """A freshly initialised model; the global random state is left as it was.

    Parameters
    ----------
    name : str
        ``teacher``, ``ta1``, ``ta2``, ``student``, ``eeg``, ``video``, or a network of a baseline: ``face_cnn``,
        ``eeg_lstm``, ``dgc_jca``, ``emotionkd_teacher``, ``ambokd``.
    seed : int
    family : {"compact", "reference"}
        Small networks that train in seconds, or the paper's, in its shapes and sizes.
    n_classes : int

    Raises
    ------
    ValueError
        The family or the name is unknown.
    """
    if family not in FAMILIES:
        raise ValueError(f"unknown family {family!r}; known: {', '.join(FAMILIES)}")
    models = FAMILIES[family]
    if name not in models:
        raise ValueError(f"unknown model {name!r} of the {family} family; known: {', '.join(models)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return models[name](n_classes)


def n_parameters(model: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
