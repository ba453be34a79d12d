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
_OVERFLOW = np.float32(65520).view(np.uint32)  # bits of what rounds to infinity from here on
_SMALLEST_NORMAL = np.float32(2.0**-14).view(np.uint32)  # smaller float16 have fewer digits
_ZERO = np.uint32(112 << 23)  # bits that become those of 0
# Noise of rounding: sd as a share of the window's own, and in µV a share of BioSemi's least significant bit.
TOLERATED_SHARE, TOLERATED_NOISE = 1e-3, 0.01
# 1 - (spread / root mean square)**2 where the noise may reach the share; 0.76, less what sums in float32 may miss.
MOSTLY_OFFSET = 0.99 * (1 - (2.0**-11 / TOLERATED_SHARE) ** 2)


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
    half = rounded(eeg)
    if not _fits(half):
        window, chan, sample = np.argwhere(~np.isfinite(half))[0]
        raise DataError(
            f"eeg: {eeg[window, chan, sample]:g} µV in channel {CHANNELS[chan]} of "
            f"{_named(index, first + window)}; expected magnitudes up to {LARGEST:,} µV. "
            "Give µV without offset, filtered to 4-45 Hz, or leave the trial out"
        )
    if eeg.dtype == np.float16:
        return half
    # The noise is at most 2**-11 of the root mean square, which only an offset can make large beside the spread. Few
    # windows need the exact sums: the square of the mean is beyond this share of the mean square.
    n_times = eeg.shape[2]
    means = eeg @ np.full(n_times, 1 / n_times, np.float32)
    suspect = means**2 > MOSTLY_OFFSET * np.einsum("wct,wct->wc", eeg, eeg) / n_times
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
    half = rounded(video)
    if not _fits(half):
        window, frame, feature = np.argwhere(~np.isfinite(half))[0]
        raise DataError(
            f"video: feature {feature} of frame {frame} of {_named(index, first + window)} is "
            f"{video[window, frame, feature]:g}; expected magnitudes up to {LARGEST:,}. Divide the extractor's features"
        )
    return half


def rounded(array: np.ndarray) -> np.ndarray:
    """The nearest float16 of each number, ties to even, as ``astype`` gives it, in half its time.

    Parameters
    ----------
    array : ndarray, float32 or float16

    Returns
    -------
    ndarray, same shape, float16
        Contiguous; the same array if it is that already. What is too large becomes infinite.
    """
    array = np.ascontiguousarray(array)
    with np.errstate(over="ignore"):  # named by the caller
        if array.dtype != np.float32:
            return array.astype(np.float16, copy=False)
        bits = array.view(np.uint32)
        magnitude = bits & np.uint32(0x7FFFFFFF)
        special = magnitude - _SMALLEST_NORMAL >= _OVERFLOW - _SMALLEST_NORMAL  # also what lies below, by wrapping
        if np.count_nonzero(special) > array.size / 8:  # features are often 0
            special &= magnitude != 0
            np.maximum(magnitude, _ZERO, out=magnitude)
        if (n_special := np.count_nonzero(special)) > array.size / 8:
            return array.astype(np.float16)
        # 13 digits fewer, half of the last one added, a tie to the even neighbour; the exponent's zero moves by 112.
        digits = magnitude >> np.uint32(13)
        digits &= np.uint32(1)
        digits += magnitude
        digits -= _ZERO - np.uint32(0xFFF)
        digits >>= np.uint32(13)
        np.right_shift(bits, np.uint32(16), out=magnitude)
        magnitude &= np.uint32(0x8000)
        digits |= magnitude
        half = digits.astype(np.uint16).view(np.float16)
        if n_special:
            half[special] = array[special].astype(np.float16)
    return half


def _fits(half: np.ndarray) -> bool:
    """Whether all numbers are finite: without its sign, a float16's bits from 0x7C00 on are infinite or no number."""
    return half.size == 0 or int((half.view(np.uint16) & np.uint16(0x7FFF)).max()) < 0x7C00


def _named(index: pd.DataFrame, window: int) -> str:
    row = index.iloc[int(window)]
    return f"subject {row['subject']}, trial {row['trial']}, window {row['window']}"
