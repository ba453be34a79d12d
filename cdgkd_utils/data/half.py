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
# Noise of rounding: sd as a share of the window's own, and in µV a share of BioSemi's least significant bit.
TOLERATED_SHARE, TOLERATED_NOISE = 1e-3, 0.01


def half_eeg(eeg: np.ndarray, index: pd.DataFrame) -> np.ndarray:
    """EEG rounded to float16.

    Parameters
    ----------
    eeg : ndarray, shape (n_windows, 28, n_times)
        In µV, without offset.
    index : DataFrame
        ``subject, trial, window`` of each, to name them by.

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
    if len(bad := np.argwhere(~np.isfinite(half))):
        window, chan, sample = bad[0]
        raise DataError(
            f"eeg: {eeg[window, chan, sample]:g} µV in channel {CHANNELS[chan]} of {_named(index, window)}; expected "
            f"magnitudes up to {LARGEST:,} µV. Give µV without offset, filtered to 4-45 Hz, or leave the trial out"
        )
    if eeg.dtype == np.float16:
        return half
    for window, (exact, rounded) in enumerate(zip(eeg, half, strict=True)):
        noise, spread = (rounded - exact).std(axis=1), exact.std(axis=1)
        lost = (noise > TOLERATED_NOISE) & (noise > TOLERATED_SHARE * spread)
        if lost.any():
            chan = int(np.argmax(lost))
            raise DataError(
                f"eeg: channel {CHANNELS[chan]} of {_named(index, window)} is {spread[chan]:.3g} µV of signal on "
                f"an offset of {exact[chan].mean():.5g} µV; filter to 4-45 Hz, which removes offsets, or leave it out"
            )
    return half


def half_video(video: np.ndarray, index: pd.DataFrame) -> np.ndarray:
    """Video features rounded to float16.

    Parameters
    ----------
    video : ndarray, shape (n_windows, 5, 768)
    index : DataFrame
        ``subject, trial, window`` of each, to name them by.

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
    if len(bad := np.argwhere(~np.isfinite(half))):
        window, frame, feature = bad[0]
        raise DataError(
            f"video: feature {feature} of frame {frame} of {_named(index, window)} is "
            f"{video[window, frame, feature]:g}; expected magnitudes up to {LARGEST:,}. Divide the extractor's features"
        )
    return half


def _rounded(array: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # named by the caller
        return np.ascontiguousarray(array).astype(np.float16, copy=False)


def _named(index: pd.DataFrame, window: int) -> str:
    row = index.iloc[int(window)]
    return f"subject {row['subject']}, trial {row['trial']}, window {row['window']}"
