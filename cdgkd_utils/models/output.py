"""What every model returns, the two kinds of network, and how a fused decision divides between its modalities."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class ModelOutput:
    """What every model returns."""

    logits: Tensor  # (n_windows, n_classes)
    # Embeddings, (n_windows, n_features): "eeg" and/or "video", and "classifier_input".
    features: dict[str, Tensor]
    # Inner activations, (n_windows, n_positions, n_channels): the deepest of a modality under its name, earlier ones
    # with a number behind ("video", "video_2").
    maps: dict[str, Tensor] = field(default_factory=dict)


@torch.no_grad()
def unimodal_logits(model: nn.Module, features: dict[str, Tensor]) -> dict[str, Tensor]:
    """What each modality adds to the logits of a fused network: W_m z_m + b/2, which add up to the logits.

    The model's ``classifier`` is a stack of linear layers, whose input is the two features named ``fused`` in a row.
    """
    layers = [m for m in model.classifier.modules() if not isinstance(m, nn.Sequential | nn.Dropout)]
    if not all(isinstance(m, nn.Linear) for m in layers):
        raise ValueError("classifier: expected linear layers without activation; take a fusion network that has them")
    matrix, bias = layers[-1].weight, layers[-1].bias
    for layer in reversed(layers[:-1]):
        matrix, bias = matrix @ layer.weight, bias + matrix @ layer.bias
    parts = matrix.split([features[name].shape[1] for name in model.fused], dim=1)
    return {name: features[name] @ part.T + bias / 2 for name, part in zip(model.fused, parts, strict=True)}


def eeg_share(model: nn.Module, features: dict[str, Tensor]) -> float:
    """Share of the EEG, 0 .. 1, in the spread over windows of a fused network's decision.

    sd(EEG part) / (sd(EEG part) + sd(video part)) of the logits less their mean over classes.
    """
    spread = {
        name: (logits - logits.mean(1, keepdim=True)).var(0).sum().sqrt()
        for name, logits in unimodal_logits(model, features).items()
    }
    return float(spread["eeg"] / (spread["eeg"] + spread["video"]))


class FusionNet(nn.Module):
    """Teacher or assistant: an encoder per modality, concatenation in the order `fused`, an affine classifier.

    An encoder gives an embedding, shape (n_windows, n_features), and its maps by name. `inputs` names the EEG encoder's
    one, then the video encoder's; `chunk` windows go through at once in prediction.
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
