"""BioSemi's BDF: 24-bit recordings, opened with checks."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..types import DataError

if TYPE_CHECKING:
    import mne

MAGIC = b"\xffBIOSEMI"
FIXED = 256  # bytes of the fixed header
# Widths of the fields that each channel has, in order; their sum is 256.
FIELDS = (16, 80, 8, 8, 8, 8, 8, 80, 8, 32)


@dataclass(frozen=True)
class BdfHeader:
    """Where the samples of a recording lie.

    Attributes
    ----------
    n_bytes : int
        Length of the header.
    n_records : int
    samples : tuple of int
        Number of samples of each channel in a record.
    """

    n_bytes: int
    n_records: int
    samples: tuple[int, ...]


def read_header(path: str | os.PathLike) -> BdfHeader:
    """Read the lengths in a BDF's header, and hold them against the file's before anything trusts them.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    BdfHeader

    Raises
    ------
    DataError
        The file is missing, is no BDF, or is shorter than its header promises.
    """
    path = Path(path)

    def fail(found: str) -> DataError:
        return DataError(f"{path}: {found}; it is damaged or truncated: copy it again")

    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            fixed = file.read(FIXED)
            if fixed[:8] != MAGIC:
                raise fail("no BioSemi BDF, which begins with 0xFF BIOSEMI")
            n_bytes, n_records, n_chans = (int(fixed[a:b]) for a, b in ((184, 192), (236, 244), (252, 256)))
            if n_chans < 1 or n_bytes != FIXED * (n_chans + 1):
                raise fail(f"its header has {n_bytes} bytes for {n_chans} channels")
            file.seek(FIXED + n_chans * sum(FIELDS[:-2]))
            samples = tuple(int(file.read(8)) for _ in range(n_chans))
    except FileNotFoundError as error:
        raise DataError(f"{path}: missing; copy it again") from error
    except DataError:
        raise
    except (OSError, ValueError) as error:
        raise fail(f"its header is not readable ({error})") from error
    expected = n_bytes + 3 * sum(samples) * n_records
    if min(samples) < 1 or n_records < 1 or size < expected:
        raise fail(f"{size} bytes, but its header promises {n_records} records and {expected} bytes")
    return BdfHeader(n_bytes, n_records, samples)


def open_bdf(path: str | os.PathLike, sfreq: float) -> mne.io.BaseRaw:
    """Open a BDF through MNE, after checking that it is one and that it is complete.

    Parameters
    ----------
    path : path-like
    sfreq : float
        The sampling rate that the file must have, in Hz.

    Returns
    -------
    mne.io.BaseRaw
        Not loaded; blanks around labels are stripped, empty and repeated labels numbered (``-0``, ``-1``).

    Raises
    ------
    DataError
        The file is missing, is no BDF, is truncated, or has another sampling rate.
    """
    import mne

    path = Path(path)
    read_header(path)
    try:
        raw = mne.io.read_raw_bdf(path, preload=False, verbose="error")
    except Exception as error:  # a damaged header can raise nearly anything
        said = " ".join(str(error).split())
        raise DataError(f"{path}: MNE cannot read this BDF ({said}); copy it again") from error
    if raw.info["sfreq"] != sfreq:
        raise DataError(f"{path}: sampled at {raw.info['sfreq']:g} Hz, expected {sfreq:g}; take the original recording")
    return raw


def channel_words(path: str | os.PathLike, place: int) -> np.ndarray:
    """The 24-bit words of one channel, fetched without reading the others.

    Parameters
    ----------
    path : path-like
    place : int
        Of the channel in the file, 0-based.

    Returns
    -------
    ndarray, shape (n_samples,), int32
        0 to 16777215.

    Raises
    ------
    DataError
        The file is no BDF, or ends too early.
    """
    path = Path(path)
    header = read_header(path)
    record, lead = 3 * sum(header.samples), 3 * sum(header.samples[:place])
    three = np.empty((header.n_records, 3 * header.samples[place]), np.uint8)
    with open(path, "rb") as file:
        for number, part in enumerate(three):
            file.seek(header.n_bytes + number * record + lead)
            if file.readinto(part.data) != part.size:
                raise DataError(f"{path}: ends within a record; copy it again")
    three = three.reshape(-1, 3).astype(np.int32)
    return three[:, 0] | three[:, 1] << 8 | three[:, 2] << 16
