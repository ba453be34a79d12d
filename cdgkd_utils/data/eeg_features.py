"""Hand-made EEG features of the baselines of Table 2: wavelet energies, band power in steps, entropy in five bands.

All of them are logarithms of power, so dividing a channel by a number only shifts them: they are computed once
on the EEG in µV, and :func:`rescaled` gives those of the EEG as one fold normalises it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pywt
from scipy.fft import irfft, rfft

from .constants import BANDS, SFREQ
from .entropy import differential_entropy

# Hz. Preparation passes 4..45 Hz, so delta holds what leaks through that filter and little else.
FIVE_BANDS = {"delta": (1.0, 4.0), **BANDS}
WAVELET = "db4"
N_LEVELS = 5
N_STEPS = 8  # of half a second in a window of 4 s
FLOOR = 1e-12  # µV²; a flat channel gets the logarithm of this instead of -inf


@dataclass(frozen=True)
class Layout:
    """How the features of one kind are laid out.

    Attributes
    ----------
    per_channel : int
        Features of one channel (in one step), which stand side by side.
    degree : int
        Power of the signal's unit under the logarithm: ``c * eeg`` has ``degree * ln(c)`` more than ``eeg``.
    """

    per_channel: int
    degree: int


LAYOUTS = {
    "wavelets": Layout(len(BANDS), degree=2),
    "band_power": Layout(len(BANDS), degree=2),
    "entropy": Layout(len(FIVE_BANDS), degree=1),
}


def wavelet_log_energy(eeg: np.ndarray, chunk: int = 256) -> np.ndarray:
    """Log energy of the details D4, D3, D2, D1 of a Daubechies-4 decomposition in five levels.

    At 128 Hz they are octaves: D4 4..8 Hz (theta), D3 8..16 Hz (about alpha), D2 16..32 Hz (about beta), D1
    32..64 Hz (gamma; 32..45 Hz is left of it after preparation). D5 (2..4 Hz) and the rest below are not used.
    The window is continued periodically, so that the transform is orthogonal: the energies of all levels add up
    to that of the window.

    Parameters
    ----------
    eeg : ndarray, shape (n_windows, n_chans, n_times)
        Or a memory map of any float type; `n_times` is a multiple of 32.
    chunk : int
        Windows transformed at a time.

    Returns
    -------
    ndarray, shape (n_windows, n_chans * 4), float32
        Channel by channel, from theta to gamma; ln of the sum of squared coefficients.

    Raises
    ------
    ValueError
        `eeg` has another shape.

    References
    ----------
    method.md, section 6, row CNN+SVM (Huang et al., Future Internet 11(5):105, 2019).
    """
    _check(eeg, 2**N_LEVELS)
    energy = np.empty((*eeg.shape[:2], len(BANDS)), np.float32)
    for rows, block in _blocks(eeg, chunk):
        _, _, *details = pywt.wavedec(block, WAVELET, mode="periodization", level=N_LEVELS, axis=-1)
        for band, detail in enumerate(details):
            energy[rows, :, band] = np.einsum("wct,wct->wc", detail, detail)
    return np.log(np.maximum(energy, FLOOR)).reshape(len(eeg), eeg.shape[1] * len(BANDS))


def band_power_steps(eeg: np.ndarray, sfreq: float = SFREQ, chunk: int = 256) -> np.ndarray:
    """Log power in theta, alpha, beta and gamma (``constants.BANDS``), in eight steps of equal length.

    The whole window is band-passed, then cut: half a second alone could not tell 4 from 8 Hz. The filter keeps
    or drops bins of the window's Fourier transform, because it must not delay: a causal filter as narrow as
    theta would move power into the next step. The mean over the steps is the band's share of the window's power.

    Parameters
    ----------
    eeg : ndarray, shape (n_windows, n_chans, n_times)
        Or a memory map of any float type; `n_times` is a multiple of 8.
    sfreq : float
        In Hz.
    chunk : int
        Windows transformed at a time.

    Returns
    -------
    ndarray, shape (n_windows, 8, n_chans * 4), float32
        Channel by channel, from theta to gamma; ln of the mean square.

    Raises
    ------
    ValueError
        `eeg` has another shape.

    References
    ----------
    method.md, section 6, row CNN+LSTM (Saffaryazdi et al., Front. Psychol. 13:864047, 2022).
    """
    _check(eeg, N_STEPS)
    n_windows, n_chans, n_times = eeg.shape
    frequency = np.fft.rfftfreq(n_times, 1 / sfreq)
    power = np.empty((n_windows, N_STEPS, n_chans, len(BANDS)), np.float32)
    for rows, block in _blocks(eeg, chunk):
        spectrum = rfft(block)
        for band, (low, high) in enumerate(BANDS.values()):
            inside = (frequency >= low) & (frequency < high)
            steps = irfft(spectrum * inside, n_times).reshape(*block.shape[:2], N_STEPS, -1)
            power[rows, ..., band] = np.einsum("wcst,wcst->wsc", steps, steps) / steps.shape[-1]
    return np.log(np.maximum(power, FLOOR)).reshape(n_windows, N_STEPS, n_chans * len(BANDS))


def differential_entropy5(eeg: np.ndarray, sfreq: float = SFREQ) -> np.ndarray:
    """Differential entropy in delta (1..4 Hz), theta, alpha, beta and gamma; the nodes of DGC+JCA's EEG graph.

    Delta is in the literature's five bands, hence here; after a 4..45 Hz filter it is nearly empty.

    Parameters
    ----------
    eeg : ndarray, shape (n_windows, n_chans, n_times)
        Or a memory map of any float type.
    sfreq : float
        In Hz.

    Returns
    -------
    ndarray, shape (n_windows, n_chans, 5), float32
        In nats.

    Raises
    ------
    ValueError
        `eeg` has another shape, or a band does not fit below half of `sfreq`.

    References
    ----------
    method.md, section 6, DGC default; see :func:`~cdgkd_utils.data.entropy.differential_entropy`.
    """
    _check(eeg, 1)
    least = 0.5 * np.log(2 * np.pi * np.e * FLOOR)
    return np.maximum(differential_entropy(eeg, sfreq, FIVE_BANDS), least).astype(np.float32)


VIEWS = {"wavelets": wavelet_log_energy, "band_power": band_power_steps, "entropy": differential_entropy5}


def rescaled(name: str, features: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Features of ``eeg / scales``, from those of ``eeg``.

    Parameters
    ----------
    name : {"wavelets", "band_power", "entropy"}
    features : ndarray, shape (n_windows, ...)
        What ``VIEWS[name]`` returned.
    scales : ndarray, shape (n_windows, n_chans)
        Divisors, above 0 (``Normaliser.eeg_scales``).

    Returns
    -------
    ndarray, shape (n_windows, ...), float32
        Equal to ``VIEWS[name](eeg / scales[:, :, None])`` but for channels at the floor.

    Raises
    ------
    ValueError
        The name is unknown, or `scales` does not fit `features`.
    """
    if name not in LAYOUTS:
        raise ValueError(f"name: unknown feature {name!r}; known: {', '.join(LAYOUTS)}")
    layout, (n_windows, n_chans) = LAYOUTS[name], scales.shape
    if len(features) != n_windows or features[:1].size % (n_chans * layout.per_channel):
        raise ValueError(f"scales: shape {scales.shape} does not fit {name} of shape {features.shape}")
    by_channel = features.reshape(n_windows, -1, n_chans, layout.per_channel)
    shift = layout.degree * np.log(scales.astype(np.float32))
    return (by_channel - shift[:, None, :, None]).reshape(features.shape)


def _check(eeg: np.ndarray, divisor: int) -> None:
    if eeg.ndim != 3 or eeg.shape[-1] % divisor:
        raise ValueError(
            f"eeg: expected shape (n_windows, n_chans, n_times) with n_times a multiple of {divisor}, got {eeg.shape}"
        )


def _blocks(eeg: np.ndarray, chunk: int) -> Iterator[tuple[slice, np.ndarray]]:
    """Rows and their values in single precision, `chunk` windows at a time."""
    for start in range(0, len(eeg), chunk):
        rows = slice(start, start + chunk)
        yield rows, np.asarray(eeg[rows], dtype=np.float32)
