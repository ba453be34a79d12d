"""Hand-made EEG features of the baselines of Table 2: wavelet energies, band power in steps, entropy in five bands.

All are logarithms of power, so dividing a channel by a number only shifts them: they are computed once on the EEG in
µV, and :func:`rescaled` gives those of the EEG as one fold normalises it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pywt
from scipy.fft import irfft, rfft
from scipy.signal import butter, lfilter

from .constants import BANDS, SFREQ

# Hz. Preparation passes 4..45 Hz, so delta holds what leaks through that filter and little else.
FIVE_BANDS = {"delta": (1.0, 4.0), **BANDS}
WAVELET, N_LEVELS = "db4", 5
N_STEPS = 8  # of half a second in a window of 4 s
FLOOR = 1e-12  # µV²; a flat channel gets the logarithm of this instead of -inf
_CHUNK = 256  # windows transformed at a time: what is in between stays in the processor's cache


def wavelet_log_energy(eeg: np.ndarray) -> np.ndarray:
    """Log energy of the details D4, D3, D2, D1 of a Daubechies-4 decomposition in five levels.

    At 128 Hz they are octaves: D4 4..8 Hz (theta), D3 8..16 Hz (about alpha), D2 16..32 Hz (about beta), D1 32..64 Hz
    (gamma). The window is continued periodically, so that the transform is orthogonal: the energies of all levels add
    up to that of the window. Row CNN+SVM (Huang et al., Future Internet 11(5):105, 2019). `eeg` has shape
    (n_windows, n_chans, n_times), `n_times` a multiple of 32; returns ln of the sum of squared coefficients, shape
    (n_windows, n_chans * 4), float32, channel by channel, from theta to gamma.
    """
    _check(eeg, 2**N_LEVELS)
    energy = np.empty((*eeg.shape[:2], len(BANDS)), np.float32)
    for rows, block in _blocks(eeg):
        _, _, *details = pywt.wavedec(block, WAVELET, mode="periodization", level=N_LEVELS, axis=-1)
        for band, detail in enumerate(details):
            energy[rows, :, band] = np.einsum("wct,wct->wc", detail, detail)
    return np.log(np.maximum(energy, FLOOR)).reshape(len(eeg), eeg.shape[1] * len(BANDS))


def band_power_steps(eeg: np.ndarray) -> np.ndarray:
    """Log power in theta, alpha, beta and gamma (``constants.BANDS``), in eight steps of equal length.

    The whole window is band-passed, then cut: half a second alone could not tell 4 from 8 Hz. The filter keeps or
    drops bins of the window's Fourier transform, because it must not delay: a causal filter as narrow as theta would
    move power into the next step. Row CNN+LSTM (Saffaryazdi et al., Front. Psychol. 13:864047, 2022). `eeg` has shape
    (n_windows, n_chans, n_times), `n_times` a multiple of 8; returns ln of the mean square, shape
    (n_windows, 8, n_chans * 4), float32, channel by channel, from theta to gamma.
    """
    _check(eeg, N_STEPS)
    n_windows, n_chans, n_times = eeg.shape
    frequency = np.fft.rfftfreq(n_times, 1 / SFREQ)
    power = np.empty((n_windows, N_STEPS, n_chans, len(BANDS)), np.float32)
    for rows, block in _blocks(eeg):
        spectrum = rfft(block)
        for band, (low, high) in enumerate(BANDS.values()):
            inside = (frequency >= low) & (frequency < high)
            steps = irfft(spectrum * inside, n_times).reshape(*block.shape[:2], N_STEPS, -1)
            power[rows, ..., band] = np.einsum("wcst,wcst->wsc", steps, steps) / steps.shape[-1]
    return np.log(np.maximum(power, FLOOR)).reshape(n_windows, N_STEPS, n_chans * len(BANDS))


def differential_entropy(eeg: np.ndarray, bands: Mapping[str, tuple[float, float]] = FIVE_BANDS) -> np.ndarray:
    """Differential entropy of each channel in each band, if its values are normal: ln(2 pi e variance) / 2.

    Butterworth band-passes of order 5 run from rest at the start of each window (Duan, Zhu, Lu, IEEE/EMBS NER 2013,
    equation 2). The nodes of DGC+JCA's EEG graph. Shape (n_windows, n_chans, n_bands), float32, in nats.
    """
    _check(eeg, 1)
    variance = np.empty((*eeg.shape[:2], len(bands)))
    for rows, block in _blocks(eeg, 16, np.float64):  # the poles of the low bands lie close together
        for band, edges in enumerate(bands.values()):
            b, a = butter(5, edges, btype="bandpass", fs=SFREQ)
            variance[rows, :, band] = lfilter(b, a, block).var(axis=-1)
    return (0.5 * np.log(2 * np.pi * np.e * np.maximum(variance, FLOOR))).astype(np.float32)


VIEWS = {"wavelets": wavelet_log_energy, "band_power": band_power_steps, "entropy": differential_entropy}
# Features of one channel (in one step), side by side; power of the signal's unit under the logarithm.
_LAYOUTS = {"wavelets": (len(BANDS), 2), "band_power": (len(BANDS), 2), "entropy": (len(FIVE_BANDS), 1)}


def rescaled(name: str, features: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Features ``VIEWS[name](eeg / scales[:, :, None])``, from those of ``eeg``, but for channels at the floor.

    `scales`, shape (n_windows, n_chans), are divisors above 0 (``Normaliser.eeg_scales``).
    """
    (per_channel, degree), (n_windows, n_chans) = _LAYOUTS[name], scales.shape
    by_channel = features.reshape(n_windows, -1, n_chans, per_channel)
    shift = degree * np.log(scales.astype(np.float32))
    return (by_channel - shift[:, None, :, None]).reshape(features.shape)


def _check(eeg: np.ndarray, divisor: int) -> None:
    if eeg.ndim != 3 or eeg.shape[-1] % divisor:
        expected = f"(n_windows, n_chans, n_times) with n_times a multiple of {divisor}"
        raise ValueError(f"eeg: expected shape {expected}, got {eeg.shape}")


def _blocks(eeg: np.ndarray, chunk: int = _CHUNK, dtype: type = np.float32) -> Iterator[tuple[slice, np.ndarray]]:
    for start in range(0, len(eeg), chunk):
        rows = slice(start, start + chunk)
        yield rows, np.asarray(eeg[rows], dtype=dtype)
