"""BioSemi's BDF: 24-bit recordings, written for the twin."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from .bdf import FIELDS, FIXED, MAGIC

_N_RECORDS_AT = 236  # where the number of records stands in the header
_DIGITAL = (-8388608, 8388607)  # 24 bit
_MICROVOLT = (-262144, 262143)  # what they stand for: 31.25 nV a step
_BLOCK_RECORDS = 32
_SHAPES = "data, status: expected shapes ({}, n) and (n,), a row per label, n a multiple of sfreq={}; got {} and {}"


def write_bdf(
    path: str | os.PathLike,
    data: np.ndarray,
    labels: Sequence[str],
    sfreq: int,
    status: np.ndarray,
    *,
    subject: str = "",
    recording: str = "synthetic",
    status_labels: Sequence[str] = ("Status",),
) -> Path:
    """Write a recording as BioSemi ActiveTwo does: 24 bit, records of 1 s, triggers in the last channel.

    Parameters
    ----------
    path : path-like
        Appears when it is complete.
    data : ndarray, shape (n_chans, n_samples)
        In µV, within -262144..262143.
    labels : sequence of str
        Names of the channels of `data`, at most 16 ASCII characters each.
    sfreq : int
        In Hz; `n_samples` is a multiple of it.
    status : ndarray, shape (n_samples,), int
        The 24-bit trigger words, 0..16777215.
    subject, recording : str
        The two free fields of the header, at most 80 ASCII characters.
    status_labels : sequence of str
        Labels of the trigger channels. The last one carries `status`, others are 0.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    ValueError
        A parameter does not fit the format. Nothing stays behind then.
    """
    data, status = np.asarray(data), np.asarray(status)
    if data.ndim != 2 or status.shape != data.shape[1:]:
        raise ValueError(_SHAPES.format("n_chans", sfreq, data.shape, status.shape))
    step = max(int(_BLOCK_RECORDS * sfreq), 1)
    blocks = ((data[:, i : i + step], status[i : i + step]) for i in range(0, data.shape[1], step))
    return write_bdf_blocks(
        path, blocks, labels, sfreq, subject=subject, recording=recording, status_labels=status_labels
    )


def write_bdf_blocks(
    path: str | os.PathLike,
    blocks: Iterable[tuple[np.ndarray, np.ndarray]],
    labels: Sequence[str],
    sfreq: int,
    *,
    subject: str = "",
    recording: str = "synthetic",
    status_labels: Sequence[str] = ("Status",),
) -> Path:
    """:func:`write_bdf` piece by piece, for recordings that need not fit into memory.

    Parameters
    ----------
    path : path-like
    blocks : iterable of (data, status)
        Consecutive pieces of whole seconds, each as :func:`write_bdf` takes them.
    labels, sfreq, subject, recording, status_labels
        As in :func:`write_bdf`.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    ValueError
        A parameter or a piece does not fit the format. Nothing stays behind then.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    names = [*labels, *status_labels]
    n_records = 0
    try:
        with open(temporary, "wb") as file:
            file.write(_header(names, len(status_labels), sfreq, subject, recording))
            for data, status in blocks:
                block = _records(np.asarray(data), np.asarray(status), names, len(status_labels), sfreq)
                file.write(block)
                n_records += len(block)
            if not n_records:
                raise ValueError("data: not one second of samples")
            file.seek(_N_RECORDS_AT)
            file.write(_text(n_records, 8, "number of records"))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _text(value: object, width: int, name: str) -> bytes:
    try:
        encoded = str(value).encode("ascii")
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} {value!r}: a BDF header is ASCII") from error
    if len(encoded) > width:
        raise ValueError(f"{name} {value!r}: longer than the {width} characters that a BDF header has for it")
    return encoded.ljust(width)


def _header(names: list[str], n_status: int, sfreq: int, subject: str, recording: str) -> bytes:
    if sfreq != int(sfreq) or sfreq < 1:
        raise ValueError(f"sfreq: expected whole Hz, got {sfreq}: a record of 1 s holds whole samples")
    n, n_data = len(names), len(names) - n_status
    fixed = (
        (subject, 80, "subject"),
        (recording, 80, "recording"),
        ("01.01.10", 8, "date"),  # the same bytes for the same signals, whenever they are written
        ("00.00.00", 8, "time"),
        (FIXED * (n + 1), 8, "header bytes"),
        ("24BIT", 44, "version"),
        ("", 8, "number of records"),
        (1, 8, "seconds"),
        (n, 4, "number of channels"),
    )
    columns = (
        names,
        ["Active electrode"] * n_data + ["Triggers and Status"] * n_status,
        ["uV"] * n_data + ["Boolean"] * n_status,
        [_MICROVOLT[0]] * n_data + [_DIGITAL[0]] * n_status,
        [_MICROVOLT[1]] * n_data + [_DIGITAL[1]] * n_status,
        [_DIGITAL[0]] * n,
        [_DIGITAL[1]] * n,
        [""] * n_data + ["No filtering"] * n_status,
        [int(sfreq)] * n,
        [""] * n,
    )
    parts = [MAGIC, *(_text(*field) for field in fixed)]
    for values, width in zip(columns, FIELDS, strict=True):
        parts += [_text(value, width, "label") for value in values]
    return b"".join(parts)


def _records(data: np.ndarray, status: np.ndarray, names: list[str], n_status: int, sfreq: int) -> np.ndarray:
    """A block as bytes, shape (n_seconds, n_chans, sfreq, 3)."""
    n_data = len(names) - n_status
    if data.ndim != 2 or len(data) != n_data or status.shape != data.shape[1:] or data.shape[1] % sfreq:
        raise ValueError(_SHAPES.format(n_data, sfreq, data.shape, status.shape))
    low, high = _MICROVOLT
    bad = ~((data >= low) & (data <= high)).all(axis=1)  # NaN is bad, too
    if bad.any():
        raise ValueError(f"data: channel {names[int(np.argmax(bad))]!r} has values outside {low}..{high} µV")
    if not np.issubdtype(status.dtype, np.integer) or (status < 0).any() or (status >= 1 << 24).any():
        raise ValueError("status: expected integers from 0 to 16777215")
    step = (high - low) / (_DIGITAL[1] - _DIGITAL[0])
    words = np.zeros((len(names), data.shape[1]), "<i4")
    np.rint((data - low) / step + _DIGITAL[0], out=words[:n_data], casting="unsafe")
    words[-1] = status
    three = words.view(np.uint8).reshape(len(names), -1, int(sfreq), 4)[..., :3]  # the lowest bytes come first
    return np.ascontiguousarray(three.swapaxes(0, 1))
