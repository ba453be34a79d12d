"""DEAP's ``sNN.dat``: a Python-2 pickle of two arrays, read without trusting it and written alike."""

from __future__ import annotations

import os
import pickle
import struct
from pathlib import Path
from typing import ClassVar

import numpy as np

from .constants import BASELINE_SAMPLES, DEAP_EEG, DEAP_PERIPHERAL, RATINGS, WINDOW_SAMPLES
from .errors import DataError

N_DAT_CHANS = len(DEAP_EEG) + len(DEAP_PERIPHERAL)
# All that a pickled float array refers to, under NumPy's old and new module names.
_ADMITTED = {("numpy", "ndarray"), ("numpy", "dtype")} | {
    (f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")
}


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickles arrays of numbers only: a pickle may otherwise run any program."""

    def find_class(self, module, name):
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}, which no DEAP file does")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def read_dat(path: str | os.PathLike) -> tuple[np.ndarray, np.ndarray]:
    """Read and check one subject's file of the preprocessed release.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    data : ndarray, shape (n_trials, 40, n_times), float64
        32 EEG channels in µV and 8 peripheral ones at 128 Hz; the first 384 samples precede playback.
        Row ``i`` is ``Experiment_id`` ``i + 1``.
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
            content = _ArrayUnpickler(file, encoding="latin1").load()
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise DataError(
            f"{path}: not a readable DEAP file ({error}); it is damaged or truncated: "
            "copy it again from data_preprocessed_python.zip"
        ) from error

    def fail(found: str, expected: str):
        return DataError(f"{path}: {found}, expected {expected}; copy it again from data_preprocessed_python.zip")

    if not isinstance(content, dict) or not {"data", "labels"} <= content.keys():
        raise fail("holds no dict with 'data' and 'labels'", "the preprocessed Python release")
    data, labels = content["data"], content["labels"]
    shortest = BASELINE_SAMPLES + WINDOW_SAMPLES
    for name, array in (("data", data), ("labels", labels)):
        if not isinstance(array, np.ndarray) or array.dtype.kind != "f":
            raise fail(f"'{name}' is {getattr(array, 'dtype', type(array).__name__)}", "an array of floats")
    if data.ndim != 3 or data.shape[0] == 0 or data.shape[1] != N_DAT_CHANS or data.shape[2] < shortest:
        raise fail(f"'data' has shape {data.shape}", f"(n_trials, {N_DAT_CHANS}, {shortest} or more)")
    if labels.shape != (len(data), len(RATINGS)):
        raise fail(f"'labels' has shape {labels.shape}", f"({len(data)}, {len(RATINGS)})")
    for name, array in (("data", data), ("labels", labels)):
        if not np.isfinite(array).all():
            raise fail(f"'{name}' holds NaN or infinite values", "finite numbers")
    return data, labels


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
    with open(path, "wb") as file:
        content = {"labels": np.ascontiguousarray(labels, "<f8"), "data": np.ascontiguousarray(data, "<f8")}
        _Python2Pickler(file, protocol=2).dump(content)
