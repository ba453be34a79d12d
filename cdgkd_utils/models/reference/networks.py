"""Teacher, assistants, student and the two unimodal networks, in the paper's size (method.md, section 2.3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..output import ModelOutput
from .eeg import TEACHER, EEGDesign, EEGEncoder
from .layers import Classifier, RunningMean, linear
from .video import N_FLAT, N_POSITIONS, VideoTrunk

N_VIDEO = 768  # width of the visual embedding of teacher and assistants
N_STUDENT = 1536  # width of what the student's classifier sees: as wide as the teacher's
N_STUDENT_ROWS = 64  # the student's table of positions has three rows that are never used


class VideoEncoder(nn.Module):
    """Trunk and dense layer 2304 → 768 (row 15a)."""

    n_features = N_VIDEO

    def __init__(self) -> None:
        super().__init__()
        self.trunk = VideoTrunk(N_POSITIONS)
        self.project = linear(N_FLAT, N_VIDEO)

    def forward(self, video: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Embedding, shape (n_windows, 768), and maps of `VideoTrunk`, from shape (n_windows, 5, 768)."""
        flat, maps = self.trunk(video)
        return self.project(flat), maps


def share_of_eeg(classifier: Classifier, features: dict[str, Tensor], order: tuple[str, str]) -> float:
    """Share of the EEG in the spread of the decision value of a fused network, 0 .. 1.

    Without activations the difference of the two logits is a sum of an EEG part and a video part; the share is
    sd(EEG part) / (sd(EEG part) + sd(video part)) over the given windows.

    Parameters
    ----------
    classifier : Classifier
    features : dict of str to Tensor, shape (n_windows, n_features)
        ``eeg`` and ``video``.
    order : tuple of str
        Modalities as they stand in the classifier's input.

    Raises
    ------
    ValueError
        The classifier has activations.
    """
    parts = classifier.direction().split([features[name].shape[1] for name in order])
    spread = {name: (features[name] @ part).std() for name, part in zip(order, parts, strict=True)}
    return float(spread["eeg"] / (spread["eeg"] + spread["video"]))


class FusionNet(nn.Module):
    """Teacher or assistant: both encoders, concatenation video then EEG, classifier.

    Parameters
    ----------
    design : EEGDesign
        ``eeg.TEACHER``, ``eeg.TA1`` or ``eeg.TA2``.
    activation : {"none", "relu"}
        Of the classifier.
    fast : bool
        See `temporal.TemporalBlock`.
    """

    inputs = ("signal", "video")
    chunk = 256

    def __init__(self, design: EEGDesign, *, activation: str = "none", fast: bool = True):
        super().__init__()
        self.eeg = EEGEncoder(design, fast=fast)
        self.video = VideoEncoder()
        self.classifier = Classifier(N_VIDEO + design.n_features, activation)

    def forward(self, signal: Tensor, video: Tensor) -> ModelOutput:
        """Map EEG, shape (n_windows, 28, 512), and frame features, shape (n_windows, 5, 768)."""
        eeg_features, eeg_map = self.eeg(signal)
        video_features, maps = self.video(video)
        fused = torch.cat([video_features, eeg_features], dim=1)
        features = {"eeg": eeg_features, "video": video_features, "classifier_input": fused}
        return ModelOutput(self.classifier(fused), features, maps | {"eeg": eeg_map})

    @torch.no_grad()
    def eeg_share(self, features: dict[str, Tensor]) -> float:
        """Share of the EEG in the spread of the decision value, 0 .. 1; see `share_of_eeg`."""
        return share_of_eeg(self.classifier, features, ("video", "eeg"))


class StudentNet(nn.Module):
    """Video alone: trunk, a head that makes 1536 features of 2304, classifier.

    Parameters
    ----------
    activation : {"none", "relu"}
        Of the classifier.
    head : {"running_mean", "linear"}
        ``running_mean`` (row 15b) averages 769 neighbours and has no parameters; the published count demands it.
        ``linear`` is the teacher's dense layer 2304 → 768, for comparison.

    Raises
    ------
    ValueError
        The head is unknown.
    """

    inputs = ("video",)
    chunk = 256

    def __init__(self, *, activation: str = "none", head: str = "running_mean"):
        super().__init__()
        if head not in ("running_mean", "linear"):
            raise ValueError(f"head must be running_mean or linear, got {head!r}")
        self.trunk = VideoTrunk(N_STUDENT_ROWS)
        averaged = head == "running_mean"
        self.head = RunningMean(N_FLAT - N_STUDENT + 1) if averaged else linear(N_FLAT, N_VIDEO)
        self.classifier = Classifier(N_STUDENT if averaged else N_VIDEO, activation)

    def forward(self, video: Tensor) -> ModelOutput:
        """Map frame features, shape (n_windows, 5, 768); the features' ``hint`` is what the head gets."""
        flat, maps = self.trunk(video)
        embedding = self.head(flat)
        features = {"video": embedding, "classifier_input": embedding, "hint": flat}
        return ModelOutput(self.classifier(embedding), features, maps)


class EEGNet(nn.Module):
    """The teacher's EEG encoder with a classifier of its own: the row "EEG alone"."""

    inputs = ("signal",)
    chunk = 256

    def __init__(self, *, activation: str = "none", fast: bool = True):
        super().__init__()
        self.encoder = EEGEncoder(TEACHER, fast=fast)
        self.classifier = Classifier(TEACHER.n_features, activation)

    def forward(self, signal: Tensor) -> ModelOutput:
        """Map EEG, shape (n_windows, 28, 512)."""
        embedding, eeg_map = self.encoder(signal)
        features = {"eeg": embedding, "classifier_input": embedding}
        return ModelOutput(self.classifier(embedding), features, {"eeg": eeg_map})


class VideoNet(nn.Module):
    """The teacher's visual encoder with a classifier of its own: the row "video alone"."""

    inputs = ("video",)
    chunk = 256

    def __init__(self, *, activation: str = "none"):
        super().__init__()
        self.encoder = VideoEncoder()
        self.classifier = Classifier(N_VIDEO, activation)

    def forward(self, video: Tensor) -> ModelOutput:
        """Map frame features, shape (n_windows, 5, 768)."""
        embedding, maps = self.encoder(video)
        features = {"video": embedding, "classifier_input": embedding}
        return ModelOutput(self.classifier(embedding), features, maps)
