"""DEAP's ``sNN.dat``: a Python-2 pickle of two arrays, read without trusting it and written alike."""

from __future__ import annotations

import io
import mmap
import os
import pickle
import re
import secrets
import struct
from pathlib import Path
from typing import ClassVar

import numpy as np

from ..constants import BASELINE_SAMPLES, DEAP_EEG, DEAP_PERIPHERAL, RATINGS, SFREQ, WINDOW_SAMPLES
from ..types import DataError
from .dat_pickle import array_of, load_notes, numbers_of

LONGEST_SECONDS = 63  # of the release's trials; a longer one has another sampling rate
N_DAT_CHANS = len(DEAP_EEG) + len(DEAP_PERIPHERAL)
# In the release's layout the numbers of an array follow "not in Fortran's order" as one byte string of 32-bit length.
_PAYLOAD = re.compile(rb"\x89T(.{4})", re.DOTALL)
_HEAD = 8192  # bytes before the large array; the labels take 1.5 kB
_STAND_IN = "numbers"


def read_dat(path: str | os.PathLike, mapped: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Read and check one subject's file of the preprocessed release.

    Parameters
    ----------
    path : path-like
    mapped : bool
        Look at the numbers where they are, without a copy, if the file has the release's exact layout; it must
        not be shortened meanwhile (replacing it is safe). Any other pickle of two arrays is unpickled; either
        way nothing in it is executed.

    Returns
    -------
    data : ndarray, shape (n_trials, 40, n_times), float64
        32 EEG channels in µV and 8 peripheral ones at 128 Hz; the first 384 samples precede playback.
        Row ``i`` is ``Experiment_id`` ``i + 1``. Read-only where mapped.
    labels : ndarray, shape (n_trials, 4), float64
        Valence, arousal, dominance, liking on the 1..9 scale.

    Raises
    ------
    DataError
        The file is truncated, holds something else, or its shapes or values are impossible.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            content = _mapped(file) if mapped else None
            if content is None:
                content = load_notes(file)
                if isinstance(content, dict):
                    content = {name: array_of(content[name]) for name in ("data", "labels") if name in content}
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise DataError(
            f"{path}: not a readable DEAP file ({str(error) or type(error).__name__}); it is damaged or truncated: "
            "copy it again from data_preprocessed_python.zip"
        ) from error

    def fail(found: str, expected: str):
        return DataError(f"{path}: {found}, expected {expected}; copy it again from data_preprocessed_python.zip")

    if not isinstance(content, dict) or not {"data", "labels"} <= content.keys():
        raise fail("holds no dict with 'data' and 'labels'", "the preprocessed Python release")
    data, labels = content["data"], content["labels"]
    shortest, longest = BASELINE_SAMPLES + WINDOW_SAMPLES, int(LONGEST_SECONDS * SFREQ)
    for name, array in (("data", data), ("labels", labels)):
        if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
            raise fail(f"'{name}' is {getattr(array, 'dtype', type(array).__name__)}", "an array of floats")
    if data.ndim != 3 or not len(data) or data.shape[1] != N_DAT_CHANS or not shortest <= data.shape[2] <= longest:
        raise fail(
            f"'data' has shape {data.shape}",
            f"(n_trials, {N_DAT_CHANS}, {shortest} to {longest}: at most {LONGEST_SECONDS} s at {SFREQ:g} Hz)",
        )
    if labels.shape != (len(data), len(RATINGS)):
        raise fail(f"'labels' has shape {labels.shape}", f"({len(data)}, {len(RATINGS)})")
    for name, array in (("data", data), ("labels", labels)):
        for row, numbers in enumerate(array):  # row by row: within the processor's cache
            if not np.isfinite(numbers).all():
                raise fail(f"'{name}' holds NaN or infinite values in trial {row + 1}", "finite numbers")
    return data, labels


def _mapped(file: io.BufferedReader) -> dict[str, np.ndarray] | None:
    """The two arrays where they lie in the file, or None if it is not in the release's exact layout.

    The large payload is cut out, the few bytes around it are unpickled as ever, and what they say about
    the array is held against the payload's length.
    """
    try:
        memory = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError):  # an empty file, or a file system that cannot map
        return None
    place = 0
    while found := _PAYLOAD.search(memory[:_HEAD], place):
        (length,) = struct.unpack("<i", found[1])
        place = found.end() + length if 0 < length < _HEAD else found.end()
        end = found.end() + length
        if _HEAD <= length <= len(memory) - found.end() and len(memory) - end < _HEAD:
            stand_in = pickle.SHORT_BINSTRING + bytes([len(_STAND_IN)]) + _STAND_IN.encode()
            head = b"".join([memory[: found.start() + 1], stand_in, memory[end:]])
            try:
                content = load_notes(io.BytesIO(head))
                data, labels = content["data"], content["labels"]
                if set(content) != {"data", "labels"} or numbers_of(data) != _STAND_IN:
                    return None
                return {"data": array_of(data, memory[found.end() : end]), "labels": array_of(labels)}
            except Exception:  # the unpickler decides what is wrong, and says it
                return None
    return None


class _Python2Pickler(pickle._Pickler):
    """Writes what Python 2's cPickle wrote: byte strings as ``str``, NumPy under its old module names.

    Python 3 would wrap every byte string in a call to ``_codecs.encode`` instead: a file half as
    large again, on which readers' ``encoding`` argument (needed for the real files) has no effect.
    """

    dispatch: ClassVar[dict] = dict(pickle._Pickler.dispatch)

    def save_python2_str(self, value):
        payload = value.encode("latin1") if isinstance(value, str) else value
        if len(payload) < 256:
            self.write(pickle.SHORT_BINSTRING + bytes([len(payload)]) + payload)
        else:
            self.write(pickle.BINSTRING + struct.pack("<i", len(payload)) + payload)
        self.memoize(value)

    dispatch[bytes] = dispatch[str] = save_python2_str

    def save_global(self, obj, name=None):
        module = obj.__module__.replace("numpy._core", "numpy.core")
        self.write(pickle.GLOBAL + f"{module}\n{name or obj.__qualname__}\n".encode())
        self.memoize(obj)


def write_dat(path: str | os.PathLike, data: np.ndarray, labels: np.ndarray) -> None:
    """Write one subject's file in the byte layout of the preprocessed release.

    Parameters
    ----------
    path : path-like
    data : ndarray, shape (n_trials, 40, n_times), float64
        As :func:`read_dat` returns it.
    labels : ndarray, shape (n_trials, 4), float64
    """
    path = Path(path)
    content = {"labels": np.ascontiguousarray(labels, "<f8"), "data": np.ascontiguousarray(data, "<f8")}
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        with open(temporary, "wb") as file:
            _Python2Pickler(file, protocol=2).dump(content)
        # A new file, not new bytes in the old one, at which a reader may be looking.
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
