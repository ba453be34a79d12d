"""Networks by family and name."""

from collections.abc import Callable

import torch
from torch import nn

from . import reference as ref
from .baselines import DGCJCA, EEGLSTM, FaceCNN, Peers
from .compact import EEGEncoder, VideoEncoder
from .emotionkd import CompactEmotionKDTeacher, EmotionKDTeacher
from .layers import Classifier
from .output import FusionNet, ModelOutput, UnimodalNet

__all__ = ["FAMILIES", "ModelOutput", "build_model", "n_parameters"]

FRAMES = ("video", "frame_mask")
CHUNK = 256  # windows per forward pass of the paper's networks in prediction


def _compact(n_filters: int, k: int) -> FusionNet:
    encoders = EEGEncoder(n_filters, 64, 0.25), VideoEncoder(64, 64, 0.25)
    return FusionNet(*encoders, nn.Linear(128, k), ("eeg", *FRAMES), ("eeg", "video"))


def _reference(design: ref.EEGDesign, k: int) -> FusionNet:
    encoders = ref.EEGEncoder(design), ref.VideoEncoder()
    classifier = Classifier(ref.N_VIDEO + design.n_features, k)
    return FusionNet(*encoders, classifier, ("signal", "video"), ("video", "eeg"), CHUNK)


def _peers(family: str, k: int, **widths: int) -> Peers:
    return Peers(FAMILIES[family]["student"](k), FAMILIES[family]["eeg"](k), n_classes=k, **widths)


_IN_BOTH = {"face_cnn": lambda k: FaceCNN(n_classes=k), "eeg_lstm": lambda k: EEGLSTM(n_classes=k)}
# Each takes the number of classes.
FAMILIES: dict[str, dict[str, Callable[[int], nn.Module]]] = {
    "compact": {
        # The ladder is in the EEG branch, as in the paper: 12, 8, 4 spatial filters, then no EEG at all.
        "teacher": lambda k: _compact(12, k),
        "ta1": lambda k: _compact(8, k),
        "ta2": lambda k: _compact(4, k),
        "student": lambda k: UnimodalNet("video", VideoEncoder(32, 32, 0.5), nn.Linear(32, k), FRAMES),
        "eeg": lambda k: UnimodalNet("eeg", EEGEncoder(12, 64, 0.25), nn.Linear(64, k), ("eeg",)),
        "video": lambda k: UnimodalNet("video", VideoEncoder(64, 64, 0.25), nn.Linear(64, k), FRAMES),
        "emotionkd_teacher": lambda k: CompactEmotionKDTeacher(n_classes=k),
        # A quarter as wide: its attention matrices, one per window, cost a sixteenth.
        "dgc_jca": lambda k: DGCJCA(n_features=32, n_classes=k),
        "ambokd": lambda k: _peers("compact", k, n_video=32, n_eeg=64),
    }
    | _IN_BOTH,
    "reference": {
        "teacher": lambda k: _reference(ref.TEACHER, k),
        "ta1": lambda k: _reference(ref.TA1, k),
        "ta2": lambda k: _reference(ref.TA2, k),
        "student": ref.StudentNet,
        "eeg": lambda k: UnimodalNet("eeg", ref.EEGEncoder(ref.TEACHER), Classifier(768, k), ("signal",), CHUNK),
        "video": lambda k: UnimodalNet("video", ref.VideoEncoder(), Classifier(ref.N_VIDEO, k), ("video",), CHUNK),
        "emotionkd_teacher": EmotionKDTeacher,
        "dgc_jca": lambda k: DGCJCA(n_classes=k),
        "ambokd": lambda k: _peers("reference", k, n_video=1536, n_eeg=768),
    }
    | _IN_BOTH,
}


def build_model(name: str, seed: int, family: str = "compact", n_classes: int = 2) -> nn.Module:
    """A freshly initialised model; the global random state is left as it was.

    Parameters
    ----------
    name : str
        ``teacher``, ``ta1``, ``ta2``, ``student``, ``eeg``, ``video``, or a network of a baseline: ``face_cnn``,
        ``eeg_lstm``, ``dgc_jca``, ``emotionkd_teacher``, ``ambokd``.
    seed, n_classes : int
    family : {"compact", "reference"}
        Small networks that train in seconds, or the paper's, in its shapes and sizes.
    """
    make = FAMILIES.get(family, {}).get(name)
    if make is None:
        known = ", ".join(FAMILIES.get(family, FAMILIES))
        raise ValueError(f"unknown network {name!r} of the family {family!r}; known: {known}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make(n_classes)


def n_parameters(model: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
