"""What every model returns, the two kinds of network, and how a fused decision divides between its modalities."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class ModelOutput:
    """What every model returns.

    Attributes
    ----------
    logits : Tensor, shape (n_windows, n_classes)
    features : dict of str to Tensor
        Named embeddings, shape (n_windows, n_features): ``eeg`` and/or ``video``, and ``classifier_input``.
    maps : dict of str to Tensor
        Named inner activations with a place axis, shape (n_windows, n_positions, n_channels): the deepest of a
        modality under its name, earlier ones with a number behind (``video``, ``video_2``).
    """

    logits: Tensor
    features: dict[str, Tensor]
    maps: dict[str, Tensor] = field(default_factory=dict)


def affine_map(classifier: nn.Module) -> tuple[Tensor, Tensor]:
    """Matrix, shape (n_classes, n_features), and bias of a linear layer or of a stack of them (dropout aside).

    Raises
    ------
    ValueError
        Something else stands in the stack, so that its logits are no sum over the modalities.
    """
    layers = [m for m in classifier.modules() if not isinstance(m, nn.Sequential | nn.Dropout)]
    if not layers or not all(isinstance(m, nn.Linear) for m in layers):
        raise ValueError("classifier: expected linear layers without activation; take a fusion network that has them")
    matrix, bias = layers[-1].weight, layers[-1].bias
    for layer in reversed(layers[:-1]):
        matrix, bias = matrix @ layer.weight, bias + matrix @ layer.bias
    return matrix, bias


@torch.no_grad()
def unimodal_logits(model: nn.Module, features: dict[str, Tensor]) -> dict[str, Tensor]:
    """What each modality adds to the logits of a fused network: W_m z_m + b/2, which add up to the logits.

    Parameters
    ----------
    model : Module
        With an affine ``classifier`` whose input is ``fused``, the names of two features, side by side.
    features : dict of str to Tensor, shape (n_windows, n_features_m)

    Returns
    -------
    dict of str to Tensor, shape (n_windows, n_classes)
    """
    matrix, bias = affine_map(model.classifier)
    parts = matrix.split([features[name].shape[1] for name in model.fused], dim=1)
    return {name: features[name] @ part.T + bias / 2 for name, part in zip(model.fused, parts, strict=True)}


def eeg_share(model: nn.Module, features: dict[str, Tensor]) -> float:
    """Share of the EEG in the spread of a fused network's decision over windows, 0 .. 1.

    sd(EEG part) / (sd(EEG part) + sd(video part)) of the logits less their mean over classes; with two classes, of
    their difference.
    """
    spread = {
        name: (logits - logits.mean(1, keepdim=True)).var(0).sum().sqrt()
        for name, logits in unimodal_logits(model, features).items()
    }
    return float(spread["eeg"] / (spread["eeg"] + spread["video"]))


class FusionNet(nn.Module):
    """Teacher or assistant: an encoder per modality, concatenation, an affine classifier.

    Parameters
    ----------
    eeg, video, classifier : Module
        An encoder gives an embedding, shape (n_windows, n_features), and its maps by name.
    inputs : tuple of str
        The EEG encoder's one, then the video encoder's.
    fused : tuple of str
        Modalities in the order in which the classifier gets them.
    chunk : int
        Windows per forward pass in prediction.
    """

    eeg_share = eeg_share

    def __init__(
        self, eeg: nn.Module, video: nn.Module, classifier: nn.Module, inputs: tuple, fused: tuple, chunk: int = 4096
    ):
        super().__init__()
        self.inputs, self.fused, self.chunk = inputs, fused, chunk
        self.eeg, self.video, self.classifier = eeg, video, classifier

    def forward(self, eeg: Tensor, *video: Tensor) -> ModelOutput:
        features, maps = {}, {}
        features["eeg"], maps["eeg"] = self.eeg(eeg)
        features["video"], maps["video"] = self.video(*video)
        features["classifier_input"] = torch.cat([features[name] for name in self.fused], dim=1)
        return ModelOutput(self.classifier(features["classifier_input"]), features, maps["eeg"] | maps["video"])


class UnimodalNet(nn.Module):
    """One encoder and a classifier: the EEG-alone and video-alone rows, and the compact student."""

    def __init__(self, modality: str, encoder: nn.Module, classifier: nn.Module, inputs: tuple, chunk: int = 4096):
        super().__init__()
        self.modality, self.inputs, self.chunk = modality, inputs, chunk
        self.encoder, self.classifier = encoder, classifier

    def forward(self, *inputs: Tensor) -> ModelOutput:
        embedding, maps = self.encoder(*inputs)
        return ModelOutput(self.classifier(embedding), {self.modality: embedding, "classifier_input": embedding}, maps)
