"""The compact family's encoders, which train in seconds on one core: stand-ins, never the paper's numbers.

A ShallowConvNet whose temporal filters are frozen, so that band covariances are computed once, before training.
"""

import numpy as np
import torch
from torch import Tensor, nn

from ..data.constants import BANDS, CHANNELS, N_VIDEO_FEATURES, SFREQ


def band_covariances(eeg: np.ndarray, sfreq: float = SFREQ, chunk: int = 256) -> Tensor:
    """Covariance of the channels in each frequency band, by Parseval's theorem.

    From EEG, shape (n_windows, n_chans, n_times), an array or a memory map, to shape (n_windows, 4, n_chans, n_chans),
    float32, in the squared unit; `chunk` windows at a time.
    """
    n_windows, n_chans, n_times = eeg.shape
    frequency = np.fft.rfftfreq(n_times, 1 / sfreq)
    bins = [np.flatnonzero((frequency >= low) & (frequency < high)) for low, high in BANDS.values()]
    covariances = torch.empty(n_windows, len(bins), n_chans, n_chans)
    for start in range(0, n_windows, chunk):
        spectrum = torch.fft.rfft(torch.from_numpy(np.array(eeg[start : start + chunk], np.float32)))
        for b, inside in enumerate(bins):
            part = torch.view_as_real(spectrum[:, :, inside]).flatten(2)
            # Each rfft bin stands for itself and its mirror image, hence the factor 2.
            covariances[start : start + chunk, b] = 2 / n_times**2 * part @ part.transpose(1, 2)
    return covariances


def filter_log_power(covariances: Tensor, filters: Tensor) -> Tensor:
    """ln(wᵀ C w + 1e-6) of each filter w, shape (n_windows, 4, n_filters), from :func:`band_covariances`."""
    # wᵀ C w is the inner product of C with w wᵀ: one matrix product for all filters, bands and windows.
    outer = (filters[:, :, None] * filters[:, None, :]).flatten(1)
    return torch.log(covariances.flatten(2) @ outer.T + 1e-6)


class EEGEncoder(nn.Module):
    """Learned spatial filters, shared by the four bands, on band covariances → log power → batch norm → linear."""

    def __init__(self, n_filters: int, n_features: int, dropout: float):
        super().__init__()
        self.filters = nn.Parameter(torch.randn(n_filters, len(CHANNELS)) / len(CHANNELS) ** 0.5)
        self.norm = nn.BatchNorm1d(n_filters * len(BANDS))
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Linear(n_filters * len(BANDS), n_features)

    def forward(self, eeg: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Covariances (n_windows, 4, 28, 28) to embedding (n_windows, n_features) and log power (.., 4, n_filters)."""
        log_power = filter_log_power(eeg, self.filters)
        return self.project(self.dropout(self.norm(log_power.flatten(1)))), {"eeg": log_power}


class VideoEncoder(nn.Module):
    """A perceptron per frame, attention over the valid frames, a projection."""

    def __init__(self, n_hidden: int, n_features: int, dropout: float):
        super().__init__()
        self.frame = nn.Sequential(nn.Linear(N_VIDEO_FEATURES, n_hidden), nn.ReLU(), nn.Dropout(dropout))
        self.attention = nn.Linear(n_hidden, 1)
        self.project = nn.Linear(n_hidden, n_features)

    def forward(self, video: Tensor, frame_mask: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Frames (n_windows, 5, 768) and mask (n_windows, 5) to embedding and hidden units (n_windows, 5, n_hidden)."""
        hidden = self.frame(video)
        score = self.attention(hidden).squeeze(-1).masked_fill(~frame_mask, -1e9)
        weight = torch.softmax(score, dim=1) * frame_mask  # 0, not NaN, where no frame is valid
        return self.project((weight.unsqueeze(-1) * hidden).sum(1)), {"video": hidden}
