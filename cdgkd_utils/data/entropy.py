"""Differential entropy of EEG windows in frequency bands, the common hand-made feature."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.signal import butter, lfilter

from .constants import BANDS, SFREQ

_BLOCK = 1 << 18  # samples filtered at once: what is in between stays in the processor's cache


def differential_entropy(
    windows: np.ndarray, sfreq: float = SFREQ, bands: Mapping[str, tuple[float, float]] = BANDS, order: int = 5
) -> np.ndarray:
    """Differential entropy of each channel in each band, if its values there are normal: log(2 pi e variance) / 2.

    Each band's filter is designed once and run over all windows, from rest at the start of each.

    Parameters
    ----------
    windows : ndarray, shape (..., n_times)
        In µV.
    sfreq : float
        In Hz.
    bands : mapping of str to (float, float)
        Edges in Hz.
    order : int
        Of the Butterworth filter (the band-pass has twice as many poles).

    Returns
    -------
    ndarray, shape (..., n_bands)
        In nats; -inf for a constant zero signal.

    Raises
    ------
    ValueError
        A band does not fit between 0 and half the sampling rate.

    References
    ----------
    Duan, Zhu, Lu: Differential entropy feature for EEG-based emotion classification, IEEE/EMBS NER 2013, equation 2.
    """
    for name, (low, high) in bands.items():
        if not 0 < low < high < sfreq / 2:
            raise ValueError(f"bands: {name} is {low}..{high} Hz, expected edges between 0 and {sfreq / 2:g} Hz")
    signals = np.asarray(windows)
    shape, signals = signals.shape[:-1], signals.reshape(-1, signals.shape[-1])
    variance = np.empty((len(signals), len(bands)))
    filters = [butter(order, edges, btype="bandpass", fs=sfreq) for edges in bands.values()]
    step = max(1, _BLOCK // max(1, signals.shape[-1]))
    for first in range(0, len(signals), step):
        # Single precision would not do: the poles of the low bands lie close together.
        block = signals[first : first + step].astype(np.float64)
        for band, (b, a) in enumerate(filters):
            variance[first : first + step, band] = lfilter(b, a, block).var(axis=-1)
    with np.errstate(divide="ignore"):
        return (0.5 * np.log(2 * np.pi * np.e * variance)).reshape(*shape, len(bands))
