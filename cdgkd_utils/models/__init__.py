"""Networks by family and name."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from . import reference
from .baselines import DGCJCA, EEGLSTM, FaceCNN, Peers
from .compact import EEGEncoder, VideoEncoder
from .emotionkd import CompactEmotionKDTeacher, EmotionKDTeacher
from .layers import Classifier
from .output import FusionNet, ModelOutput, UnimodalNet

__all__ = ["FAMILIES", "ModelOutput", "build_model", "n_parameters"]

FRAMES = ("video", "frame_mask")
CHUNK = 256  # windows per forward pass of the paper's networks in prediction


def _compact(n_filters: int, n_classes: int) -> FusionNet:
    encoders = EEGEncoder(n_filters, 64, 0.25), VideoEncoder(64, 64, 0.25)
    return FusionNet(*encoders, nn.Linear(128, n_classes), ("eeg", *FRAMES), ("eeg", "video"))


def _reference(design: reference.EEGDesign, n_classes: int) -> FusionNet:
    encoders = reference.EEGEncoder(design), reference.VideoEncoder()
    classifier = Classifier(reference.N_VIDEO + design.n_features, n_classes)
    return FusionNet(*encoders, classifier, ("signal", "video"), ("video", "eeg"), CHUNK)


# Each takes the number of classes. The ladder is in the EEG branch, as in the paper: 12, 8, 4 spatial filters, then
# no EEG at all.
_COMPACT: dict[str, Callable[[int], nn.Module]] = {
    "teacher": lambda k: _compact(12, k),
    "ta1": lambda k: _compact(8, k),
    "ta2": lambda k: _compact(4, k),
    "student": lambda k: UnimodalNet("video", VideoEncoder(32, 32, 0.5), nn.Linear(32, k), FRAMES),
    "eeg": lambda k: UnimodalNet("eeg", EEGEncoder(12, 64, 0.25), nn.Linear(64, k), ("eeg",)),
    "video": lambda k: UnimodalNet("video", VideoEncoder(64, 64, 0.25), nn.Linear(64, k), FRAMES),
    "emotionkd_teacher": lambda k: CompactEmotionKDTeacher(n_classes=k),
    # A quarter as wide: its attention matrices, one per window, cost a sixteenth.
    "dgc_jca": lambda k: DGCJCA(n_features=32, n_classes=k),
}
_REFERENCE: dict[str, Callable[[int], nn.Module]] = {
    "teacher": lambda k: _reference(reference.TEACHER, k),
    "ta1": lambda k: _reference(reference.TA1, k),
    "ta2": lambda k: _reference(reference.TA2, k),
    "student": reference.StudentNet,
    "eeg": lambda k: UnimodalNet(
        "eeg", reference.EEGEncoder(reference.TEACHER), Classifier(768, k), ("signal",), CHUNK
    ),
    "video": lambda k: UnimodalNet(
        "video", reference.VideoEncoder(), Classifier(reference.N_VIDEO, k), ("video",), CHUNK
    ),
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
