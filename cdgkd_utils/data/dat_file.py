"""DEAP's ``sNN.dat``: a Python-2 pickle of two arrays, read without trusting it."""

from __future__ import annotations

import math
import os
import pickle
import re
from pathlib import Path

import numpy as np

from .constants import BASELINE_SAMPLES, DEAP_EEG, DEAP_PERIPHERAL, RATINGS, SFREQ, WINDOW_SAMPLES
from .types import DataError

LONGEST_SECONDS = 63  # of the release's trials; a longer one has another sampling rate

# The release's pickles, read without running anything: names stand for themselves, and an array is made only of what
# pickled arrays say. (To admit NumPy's own is not enough: given a wrong state, dtype.__setstate__ ends the process.)


class _Stated:
    state: object = None

    def __init__(self, *arguments):
        self.arguments = arguments

    def __setstate__(self, state):
        self.state = state


class _Array(_Stated):
    pass


class _Dtype(_Stated):
    pass


_NAMES = {("numpy", "dtype"): _Dtype, ("numpy", "ndarray"): object()} | {
    (f"numpy.{core}.multiarray", "_reconstruct"): _Array for core in ("core", "_core")
}


class _Unpickler(pickle._Unpickler):  # the one in Python: a damaged count cannot make it reserve memory
    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in _NAMES:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}, which no DEAP file does")
        return _NAMES[module, name]


def _array(found: object) -> np.ndarray:
    match found:
        case _Array(
            state=(int(), tuple(shape), _Dtype(arguments=(code, *_), state=(int(), order, *rest)), fortran, raw)
        ):
            code = code.decode("ascii") if isinstance(code, bytes) else code
            order = order.decode("ascii") if isinstance(order, bytes) else order
            sizes = all(isinstance(n, int) and 0 <= n < 1 << 31 for n in shape)
            plain = tuple(rest) == (None, None, None, -1, -1, 0) and isinstance(raw, bytes)
            if sizes and plain and re.fullmatch("[fiu][248]", code) and order in ("<", ">", "="):
                array = np.frombuffer(raw, np.dtype(order + code))
                if array.size == math.prod(shape):
                    return array.reshape(shape, order="F" if fortran else "C")
    raise pickle.UnpicklingError("an array in it is not described as pickled arrays of numbers are")


def read_dat(path: str | os.PathLike) -> tuple[np.ndarray, np.ndarray]:
    """Read and check one subject's file of the preprocessed release; nothing in it is executed.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    data : ndarray, shape (n_trials, 40, n_times), float64
        32 EEG channels in µV and 8 peripheral ones at 128 Hz; the first 384 samples precede playback.
        Row ``i`` is ``Experiment_id`` ``i + 1``. Read-only.
    labels : ndarray, shape (n_trials, 4), float64
        Valence, arousal, dominance, liking on the 1..9 scale.

    Raises
    ------
    DataError
        The file is truncated, holds something else, or its shapes or values are impossible.
    """
    path = Path(path)

    def fail(found: str, expected: str) -> DataError:
        return DataError(f"{path}: {found}, expected {expected}; copy it again from DEAP's zip")

    try:
        with open(path, "rb") as file:
            content = _Unpickler(file, encoding="bytes").load()
        content = {key.decode() if isinstance(key, bytes) else key: value for key, value in dict(content).items()}
        data, labels = _array(content["data"]), _array(content["labels"])
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise fail(
            f"not readable ({error or type(error).__name__})", "a pickle of two arrays, data and labels"
        ) from error
    n_chans, shortest = len(DEAP_EEG) + len(DEAP_PERIPHERAL), BASELINE_SAMPLES + WINDOW_SAMPLES
    longest = int(LONGEST_SECONDS * SFREQ)
    if data.ndim != 3 or not len(data) or data.shape[1] != n_chans or not shortest <= data.shape[2] <= longest:
        expected = f"(n_trials, {n_chans}, {shortest} to {longest}: at most {LONGEST_SECONDS} s at {SFREQ:g} Hz)"
        raise fail(f"'data' has shape {data.shape}", expected)
    if labels.shape != (len(data), len(RATINGS)):
        raise fail(f"'labels' has shape {labels.shape}", f"({len(data)}, {len(RATINGS)})")
    for name, array in (("data", data), ("labels", labels)):
        if array.dtype.kind != "f":
            raise fail(f"'{name}' is {array.dtype}", "an array of floats")
        for row, numbers in enumerate(array):  # row by row: within the processor's cache
            if not np.isfinite(numbers).all():
                raise fail(f"'{name}' holds NaN or infinite values in trial {row + 1}", "finite numbers")
    return data, labels
