"""EEG and video features in float16: half the disk and memory, and nothing lost that an amplifier measured.

A float16 has 11 binary digits, so rounding changes a number by at most 2**-11 of itself. Numbers between 16 and
32 µV lie 15.6 nV apart, half of what BioSemi's amplifiers tell apart (31.25 nV); larger ones lie further apart,
far below the noise of any scalp EEG; below 61 pV the distance stays at 60 fV. In a window without offset the
noise of rounding is 71 dB below the signal or more.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from .constants import CHANNELS
from .errors import DataError

LARGEST = 65504  # the largest float16
OVERFLOW = 65520  # what rounds to infinity from here on
# Noise of rounding: sd as a share of the window's own, and in µV a share of BioSemi's least significant bit.
TOLERATED_SHARE, TOLERATED_NOISE = 1e-3, 0.01


def half_eeg(eeg: np.ndarray, index: pd.DataFrame, first: int = 0) -> np.ndarray:
    """EEG rounded to float16.

    Parameters
    ----------
    eeg : ndarray, shape (n_windows, 28, n_times)
        In µV, without offset.
    index : DataFrame
        ``subject, trial, window`` of each, to name them by.
    first : int
        Row of the index that belongs to the first window given.

    Returns
    -------
    ndarray, same shape, float16
        Each sample is within 2**-11 of itself, and each channel of each window correlates with itself by more than
        0.999999, unless it is flat to within 10 nV.

    Raises
    ------
    DataError
        A value is not finite or larger than 65,504 µV, or an offset would cost digits of the signal.
    """
    half = _rounded(eeg)
    low, high = eeg.min(axis=2).astype(np.float32), eeg.max(axis=2).astype(np.float32)
    if not _fits(low.min(), high.max()):
        window, chan, sample = np.argwhere(~np.isfinite(half))[0]
        raise DataError(
            f"eeg: {eeg[window, chan, sample]:g} µV in channel {CHANNELS[chan]} of "
            f"{_named(index, first + window)}; expected magnitudes up to {LARGEST:,} µV. "
            "Give µV without offset, filtered to 4-45 Hz, or leave the trial out"
        )
    if eeg.dtype == np.float16:
        return half
    # The noise is at most 2**-11 of the root mean square, which only an offset can make large beside the spread; and
    # 512 numbers spread by at least their range over the root of 1,024. Few windows need the exact sums.
    offset = np.abs(eeg.mean(axis=2))
    suspect = offset > np.sqrt((2**11 * TOLERATED_SHARE) ** 2 - 1) * (high - low) / np.sqrt(2 * eeg.shape[2])
    for window in np.flatnonzero(suspect.any(axis=1)):
        exact = eeg[window]
        noise, spread = (half[window] - exact).std(axis=1), exact.std(axis=1)
        lost = (noise > TOLERATED_NOISE) & (noise > TOLERATED_SHARE * spread)
        if lost.any():
            chan = int(np.argmax(lost))
            raise DataError(
                f"eeg: channel {CHANNELS[chan]} of {_named(index, first + window)} is {spread[chan]:.3g} µV of "
                f"signal on an offset of {exact[chan].mean():.5g} µV; "
                "filter to 4-45 Hz, which removes offsets, or leave it out"
            )
    return half


def half_video(video: np.ndarray, index: pd.DataFrame, first: int = 0) -> np.ndarray:
    """Video features rounded to float16.

    Parameters
    ----------
    video : ndarray, shape (n_windows, 5, 768)
    index : DataFrame
        ``subject, trial, window`` of each, to name them by.
    first : int
        Row of the index that belongs to the first window given.

    Returns
    -------
    ndarray, same shape, float16
        Each number is within 2**-11 of itself (3e-8 for those below 6e-5).

    Raises
    ------
    DataError
        A feature is not finite or larger than 65,504.
    """
    half = _rounded(video)
    if not _fits(video.min(), video.max()):
        window, frame, feature = np.argwhere(~np.isfinite(half))[0]
        raise DataError(
            f"video: feature {feature} of frame {frame} of {_named(index, first + window)} is "
            f"{video[window, frame, feature]:g}; expected magnitudes up to {LARGEST:,}. Divide the extractor's features"
        )
    return half


def _fits(low: np.floating, high: np.floating) -> bool:
    """Whether numbers between these have a finite float16; not if one of them is not a number."""
    return float(low) > -OVERFLOW and float(high) < OVERFLOW


def _rounded(array: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # named by the caller
        return np.ascontiguousarray(array).astype(np.float16, copy=False)


def _named(index: pd.DataFrame, window: int) -> str:
    row = index.iloc[int(window)]
    return f"subject {row['subject']}, trial {row['trial']}, window {row['window']}"
