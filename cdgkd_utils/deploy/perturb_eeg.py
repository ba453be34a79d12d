"""What can go wrong with an EEG recording: loose electrodes, blinks, noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..data.constants import CHANNELS, LEFT, RIGHT, SFREQ
from ..data.files.filtering import band_pass

# Channels that come loose together.
GROUPS: dict[str, tuple[str, ...]] = {
    "none": (),
    "frontal": ("Fp1", "Fp2", "AF3", "AF4", "F3", "F4", "F7", "F8"),
    "left half": tuple(LEFT),
    "right half": tuple(RIGHT),
    "back": ("P3", "P4", "P7", "P8", "PO3", "PO4", "O1", "O2"),
}
# Height of a blink relative to Fp1 and Fp2; our own round numbers: it falls off quickly behind the forehead.
BLINK = {"Fp1": 1.0, "Fp2": 1.0, "AF3": 0.65, "AF4": 0.65, "F7": 0.4, "F8": 0.4, "F3": 0.35, "F4": 0.35}
BLINK |= {"FC5": 0.15, "FC6": 0.15, "FC1": 0.15, "FC2": 0.15}
BLINK_SECONDS = 0.3
MAX_MICROVOLT = 500.0


def drop_channels(eeg: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Channels without contact: a flat line.

    Parameters
    ----------
    eeg : ndarray, shape (..., 28, n_times)
        In µV.
    names : sequence of str
        Of ``constants.CHANNELS``.

    Returns
    -------
    ndarray, shape of `eeg`
        A copy.

    Raises
    ------
    ValueError
        A channel is unknown.
    """
    if unknown := [name for name in names if name not in CHANNELS]:
        raise ValueError(f"names: unknown channel {', '.join(unknown)}; known: {', '.join(CHANNELS)}")
    out = np.array(eeg)
    out[..., [CHANNELS.index(name) for name in names], :] = 0
    return out


def blink_wave(n_times: int, middle: float, sfreq: float = SFREQ) -> np.ndarray:
    """One blink of 0.3 s with peak 1: a raised cosine, shape (n_times,).

    Parameters
    ----------
    n_times : int
    middle : float
        In s.
    sfreq : float
        In Hz.
    """
    distance = (np.arange(n_times) / sfreq - middle) / BLINK_SECONDS
    return np.where(np.abs(distance) < 0.5, 0.5 * (1 + np.cos(2 * np.pi * distance)), 0.0)


def add_blinks(
    eeg: np.ndarray, microvolt: float, rng: np.random.Generator, n_blinks: int = 2, sfreq: float = SFREQ
) -> np.ndarray:
    """Add blinks as the preparation leaves them: filtered to 4..45 Hz like the EEG they are added to.

    The filter is linear, so adding the filtered blink is the same as recording it. Most of a blink lies below
    4 Hz; what is left reaches about a third of `microvolt`.

    Parameters
    ----------
    eeg : ndarray, shape (n_windows, 28, n_times)
        In µV.
    microvolt : float
        Peak at Fp1 and Fp2 before the filter; 50 to 200 µV are common.
    rng : Generator
        Draws the times, all blinks of a window wholly inside it.
    n_blinks : int
        Per window.
    sfreq : float
        In Hz.

    Returns
    -------
    ndarray, shape (n_windows, 28, n_times)

    Raises
    ------
    ValueError
        `microvolt` is out of range.
    """
    _check_microvolt(microvolt)
    n_windows, _, n_times = eeg.shape
    inside = BLINK_SECONDS / 2, n_times / sfreq - BLINK_SECONDS / 2
    middles = rng.uniform(*inside, (n_windows, n_blinks))
    if microvolt == 0 or n_blinks == 0:
        return np.array(eeg)
    waves = np.array([sum(blink_wave(n_times, middle, sfreq) for middle in row) for row in middles])
    waves = band_pass(waves, sfreq)
    height = np.array([BLINK.get(name, 0.0) for name in CHANNELS])
    return (eeg + microvolt * height[:, None] * waves[:, None]).astype(eeg.dtype)


def add_noise(eeg: np.ndarray, microvolt: float, rng: np.random.Generator) -> np.ndarray:
    """Add white noise, independent in every channel.

    Parameters
    ----------
    eeg : ndarray, shape (..., 28, n_times)
        In µV.
    microvolt : float
        Standard deviation.
    rng : Generator
        Draws the same shape whatever `microvolt` is.

    Returns
    -------
    ndarray, shape of `eeg`

    Raises
    ------
    ValueError
        `microvolt` is out of range.
    """
    _check_microvolt(microvolt)
    return (eeg + microvolt * rng.standard_normal(eeg.shape)).astype(eeg.dtype)


def _check_microvolt(microvolt: float) -> None:
    if not 0 <= microvolt <= MAX_MICROVOLT:
        raise ValueError(f"microvolt: expected 0 to {MAX_MICROVOLT:.0f} µV, got {microvolt}")
