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
# Bits of a float32: its sign, its exponent, and the exponent of 2**-14, below which float16 have fewer digits.
_SIGN, _EXPONENT, _SMALLEST_NORMAL = np.uint32(1 << 31), np.uint32(0xFF << 23), np.uint32(113 << 23)
_ZERO = np.uint16((113 + 13 << 10) % 2**16)  # what `rounded` has in the place of 0 before it is subtracted
# Noise of rounding: sd as a share of the window's own, and in µV a share of BioSemi's least significant bit.
TOLERATED_SHARE, TOLERATED_NOISE = 1e-3, 0.01
# 1 - (spread / root mean square)**2 where the noise may reach the share; 0.76, less what sums in float32 may miss.
MOSTLY_OFFSET = 0.99 * (1 - (2.0**-11 / TOLERATED_SHARE) ** 2)
SMALLEST_OFFSET = TOLERATED_NOISE * 2.0**11 * MOSTLY_OFFSET**0.5  # µV, 17.7; below it the noise is tolerated


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
    try:
        half = rounded(eeg)
    except OverflowError:
        window, chan, sample = np.argwhere(~(np.abs(eeg.astype(float)) < OVERFLOW))[0]
        raise DataError(
            f"eeg: {eeg[window, chan, sample]:g} µV in channel {CHANNELS[chan]} of "
            f"{_named(index, first + window)}; expected magnitudes up to {LARGEST:,} µV. "
            "Give µV without offset, filtered to 4-45 Hz, or leave the trial out"
        ) from None
    if eeg.dtype == np.float16:
        return half
    # The noise is at most 2**-11 of the root mean square, which only an offset can make large beside the spread. Few
    # windows need the exact sums: their mean is not small, and its square beyond this share of the mean square.
    n_times = eeg.shape[2]
    means = eeg @ np.full(n_times, 1 / n_times, np.float32)
    for window in np.flatnonzero((np.abs(means) > SMALLEST_OFFSET).any(axis=1)):
        exact = eeg[window]
        if not (means[window] ** 2 > MOSTLY_OFFSET * np.einsum("ct,ct->c", exact, exact) / n_times).any():
            continue
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
    try:
        half = rounded(video)
    except OverflowError:
        window, frame, feature = np.argwhere(~(np.abs(video.astype(float)) < OVERFLOW))[0]
        raise DataError(
            f"video: feature {feature} of frame {frame} of {_named(index, first + window)} is "
            f"{video[window, frame, feature]:g}; expected magnitudes up to {LARGEST:,}. Divide the extractor's features"
        ) from None
    return half


def rounded(array: np.ndarray) -> np.ndarray:
    """The nearest float16 of each number, ties to even, as ``astype`` gives it, in two thirds of its time.

    Parameters
    ----------
    array : ndarray, float32 or float16

    Returns
    -------
    ndarray, same shape, float16
        Contiguous; the same array if it is that already.

    Raises
    ------
    OverflowError
        A number is infinite, or would be as float16, or is none.
    """
    array = np.ascontiguousarray(array)
    if not _fits(array):
        raise OverflowError(f"a number of magnitude {OVERFLOW:,} or more, or NaN; expected less, as float16 can be")
    if array.dtype != np.float32:
        return array.astype(np.float16, copy=False)
    # 2**13 times the power of two at or below a number: in the float32 of their sum only float16's 11 digits of the
    # number have room, so that the addition rounds it as the processor rounds, a tie to the even neighbour.
    number = np.abs(array)
    power = number.view(np.uint32) & _EXPONENT
    np.maximum(power, np.full(power.shape[-1:], _SMALLEST_NORMAL), out=power)  # a row: much faster than a scalar
    power += np.uint32(13 << 23)
    number += power.view(np.float32)
    # Now the digits start at bit 0 and the exponent at bit 23. In one multiplication they go to bits 16 and 26.
    bits = number.view(np.uint32)
    bits *= np.uint32((1 << 16) + (1 << 3))
    bits += array.view(np.uint32) & _SIGN
    bits >>= np.uint32(16)
    half = bits.astype(np.uint16)
    half -= _ZERO
    return half.view(np.float16)


def _fits(array: np.ndarray) -> bool:
    """Whether the float16 of all numbers are finite; not if one is not a number."""
    if array.dtype == np.float16:  # as integers, many times faster
        array = (array.view(np.uint16) & np.uint16(0x7FFF)).view(np.int16)
        return bool(array.max(initial=0) < 0x7C00)
    return bool(array.min(initial=0) > -OVERFLOW and array.max(initial=0) < OVERFLOW)


def _named(index: pd.DataFrame, window: int) -> str:
    row = index.iloc[int(window)]
    return f"subject {row['subject']}, trial {row['trial']}, window {row['window']}"
