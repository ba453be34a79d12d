"""The face network of CNN+SVM and CNN+LSTM: one convolution over the frames of a window."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...data.constants import N_VIDEO_FEATURES
from ..output import N_CLASSES, ModelOutput


class FaceCNN(nn.Module):
    """Convolution over time → ReLU → mean over the valid frames → linear (method.md, section 6).

    Expects features that are standardised on training frames.

    Parameters
    ----------
    n_features : int
        Channels of the convolution.
    kernel_size : int
        In frames, odd; the window is continued with zeros, so that there is one position per frame.
    """

    inputs = ("video", "frame_mask")

    def __init__(self, n_features: int = 128, kernel_size: int = 3):
        super().__init__()
        self.convolution = nn.Conv1d(N_VIDEO_FEATURES, n_features, kernel_size, padding=kernel_size // 2)
        self.classifier = nn.Linear(n_features, N_CLASSES)

    def forward(self, video: Tensor, frame_mask: Tensor) -> ModelOutput:
        """Map frame features, shape (n_windows, 5, 768), and their mask, shape (n_windows, 5), bool.

        Neighbours see zeros in place of a missing frame; a window without any valid frame gets the embedding 0.
        """
        valid = frame_mask.unsqueeze(-1)
        hidden = torch.relu(self.convolution(video.masked_fill(~valid, 0.0).transpose(1, 2)).transpose(1, 2)) * valid
        embedding = hidden.sum(1) / valid.sum(1).clamp(min=1)
        features = {"video": embedding, "classifier_input": embedding}
        return ModelOutput(self.classifier(embedding), features, {"video": hidden})
