"""The EEG network of CNN+LSTM: a recurrent network over half-second steps of band power."""

from __future__ import annotations

from torch import Tensor, nn

from ...data.constants import BANDS, CHANNELS
from ..output import N_CLASSES, ModelOutput


class EEGLSTM(nn.Module):
    """LSTM over the steps → its last hidden state → linear (method.md, section 6).

    Expects log band power that is standardised on training windows.

    Parameters
    ----------
    n_features : int
        Width of the hidden state.
    """

    inputs = ("band_power",)

    def __init__(self, n_features: int = 64):
        super().__init__()
        self.lstm = nn.LSTM(len(CHANNELS) * len(BANDS), n_features, batch_first=True)
        self.classifier = nn.Linear(n_features, N_CLASSES)

    def forward(self, band_power: Tensor) -> ModelOutput:
        """Map log band power, shape (n_windows, 8, 112)."""
        hidden, _ = self.lstm(band_power)
        embedding = hidden[:, -1]
        features = {"eeg": embedding, "classifier_input": embedding}
        return ModelOutput(self.classifier(embedding), features, {"eeg": hidden})
