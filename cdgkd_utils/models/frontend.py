"""The front end of the compact EEG encoders: covariances of band-passed EEG, and the power of filters on them."""

from __future__ import annotations

import numpy as np
import torch

from ..data.constants import BANDS, SFREQ


def band_covariances(eeg: np.ndarray, sfreq: float = SFREQ, chunk: int = 256) -> torch.Tensor:
    """Covariance of the channels in each frequency band, by Parseval's theorem.

    A band-pass filter followed by a covariance is a sum of cross-spectra over the band, so the temporal filters
    of a ShallowConvNet-like encoder, once frozen, can be applied before training.

    Parameters
    ----------
    eeg : ndarray, shape (n_windows, n_chans, n_times)
        EEG, or a memory map of any float type; computed in float32, `chunk` windows at a time.
    sfreq : float
        Sampling frequency in Hz.
    chunk : int

    Returns
    -------
    Tensor, shape (n_windows, 4, n_chans, n_chans), float32
        In the squared unit of `eeg`.
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


def filter_log_power(covariances: torch.Tensor, filters: torch.Tensor) -> torch.Tensor:
    """ln(wᵀ C w + 1e-6) of each filter w, shape (n_windows, 4, n_filters), from :func:`band_covariances`."""
    # wᵀ C w is the inner product of C with w wᵀ: one matrix product for all filters, bands and windows.
    outer = (filters[:, :, None] * filters[:, None, :]).flatten(1)
    return torch.log(covariances.flatten(2) @ outer.T + 1e-6)
