"""The reference family: the paper's networks in their own shapes and sizes (method.md, section 2)."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from .eeg import TA1, TA2, TEACHER
from .emotionkd import EmotionKDStudent, EmotionKDTeacher
from .networks import EEGNet, FusionNet, StudentNet, VideoNet

MODELS: dict[str, Callable[[], nn.Module]] = {
    "teacher": lambda: FusionNet(TEACHER),
    "ta1": lambda: FusionNet(TA1),
    "ta2": lambda: FusionNet(TA2),
    "student": StudentNet,
    "eeg": EEGNet,
    "video": VideoNet,
    "emotionkd_teacher": EmotionKDTeacher,
    "emotionkd_student": EmotionKDStudent,
}
