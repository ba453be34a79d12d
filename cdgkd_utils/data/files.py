"""Files read without trusting them: DEAP's ``.dat``, tables, the mark of a folder that the twin wrote."""

from __future__ import annotations

import json
import math
import os
import pickle
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from .constants import BASELINE_SAMPLES, DEAP_EEG, DEAP_PERIPHERAL, RATINGS, SFREQ, TARGETS, WINDOW_SAMPLES
from .types import DataError

SYNTHETIC_FILE, TRUTH_FILE = "SYNTHETIC", "truth.csv"
LONGEST_SECONDS = 63  # of DEAP's trials; a longer one has another sampling rate


class _Array:
    """What a pickle says of an array or its dtype, without making one."""

    state: object = None

    def __init__(self, *arguments):
        self.arguments = arguments

    def __setstate__(self, state):
        self.state = state


class _Dtype(_Array):
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
    _, shape, dtype, fortran, raw = found.state
    (code, *_), (_, order, *rest) = dtype.arguments, dtype.state
    code, order = (text.decode("ascii") if isinstance(text, bytes) else text for text in (code, order))
    plain = tuple(rest) == (None, None, None, -1, -1, 0) and isinstance(raw, bytes)
    if not (plain and re.fullmatch("[fiu][248]", code) and order in ("<", ">", "=")):
        raise pickle.UnpicklingError("an array in it is not described as pickled arrays of numbers are")
    array = np.frombuffer(raw, np.dtype(order + code))
    if array.size != math.prod(shape):
        raise pickle.UnpicklingError(f"{array.size} numbers for an array of shape {shape}")
    return array.reshape(shape, order="F" if fortran else "C")


def read_dat(path: str | os.PathLike) -> tuple[np.ndarray, np.ndarray]:
    """Read and check one subject's file of DEAP's preprocessed release, a pickle of Python 2; nothing is executed."""
    path = Path(path)

    def fail(found: str, expected: str) -> DataError:
        return DataError(f"{path}: {found}, expected {expected}; copy it again from DEAP's zip")

    try:
        with open(path, "rb") as file:
            content = _Unpickler(file, encoding="bytes").load()
        content = {key.decode() if isinstance(key, bytes) else key: value for key, value in dict(content).items()}
        data, labels = _array(content["data"]), _array(content["labels"])
    except Exception as error:  # a damaged pickle can raise nearly anything
        reason = error or type(error).__name__
        raise fail(f"not readable ({reason})", "a pickle of two arrays, data and labels") from error
    n_chans, shortest = len(DEAP_EEG) + len(DEAP_PERIPHERAL), BASELINE_SAMPLES + WINDOW_SAMPLES
    longest = int(LONGEST_SECONDS * SFREQ)
    if data.ndim != 3 or not len(data) or data.shape[1] != n_chans or not shortest <= data.shape[2] <= longest:
        expected = f"(n_trials, {n_chans}, {shortest} to {longest}: at most {LONGEST_SECONDS} s at {SFREQ:g} Hz)"
        raise fail(f"'data' has shape {data.shape}", expected)
    if labels.shape != (len(data), len(RATINGS)):
        raise fail(f"'labels' has shape {labels.shape}", f"({len(data)}, {len(RATINGS)})")
    for name, array in (("data", data), ("labels", labels)):
        for row, numbers in enumerate(array):  # row by row: within the processor's cache
            if not np.isfinite(numbers).all():
                raise fail(f"'{name}' holds NaN or infinite values in trial {row + 1}", "finite numbers")
    return data, labels


def read_table(path: Path, columns: Sequence[str], remedy: str) -> pd.DataFrame:
    """Read a CSV table and insist on some columns, as numbers: NaN where there is none."""
    try:
        table = pd.read_csv(path)
    except FileNotFoundError as error:
        raise DataError(f"{path}: missing{lies_at(path.parents[1], path.name)}; {remedy}") from error
    except (OSError, ValueError, OverflowError) as error:  # undecodable, empty or ragged
        raise DataError(f"{path}: not a readable CSV table ({' '.join(str(error).split())}); {remedy}") from error
    if missing := [name for name in columns if name not in table.columns]:
        found = " ".join(", ".join(map(str, table.columns)).split())
        raise DataError(f"{path}: column {', '.join(missing)} missing, found {found}; {remedy}")
    return table.assign(**{name: pd.to_numeric(table[name], errors="coerce") for name in columns})


def lies_at(root: Path, pattern: str, depth: int = 3) -> str:
    """Where a file lies that is not where it belongs: one folder deeper, or spelt in another case; empty if nowhere."""
    for folder, folders, files in os.walk(root):
        here = Path(folder).relative_to(root)
        if len(here.parts) >= depth:
            folders.clear()
        folders.sort()
        if found := sorted(name for name in [*files, *folders] if re.fullmatch(pattern, name, re.IGNORECASE)):
            return f" (there is {here / found[0]}: move or rename it)"
    return ""


def read_mark(root: Path) -> dict | None:
    """Content of a folder's ``SYNTHETIC`` file, which only the twin's folders have; None for real data."""
    path = root / SYNTHETIC_FILE
    if not path.exists():
        return None
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
        note["settings"]["world"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{path}: expected JSON with the twin's settings; write the folder again") from error
    return note


class Tree:
    """What opened folders of both data sets share; they have a `root`, and `synthetic`, their mark or None."""

    layout = ""

    @property
    def name(self) -> str:
        """What numbers computed from this folder may be called."""
        if self.synthetic is None:
            return self.layout
        return f"synthetic tree in {self.layout}'s layout (world {self.synthetic['settings']['world']})"

    def truth(self) -> pd.DataFrame | None:
        """A synthetic folder's latents, one row per trial: ``subject, trial, z_*, ..., posterior_*``; else None."""
        if self.synthetic is None:
            return None
        path, kinds = self.root / TRUTH_FILE, ("z", "x_eeg", "x_video", "posterior")
        columns = ["subject", "trial", *(f"{kind}_{target}" for kind in kinds for target in TARGETS)]
        table = read_table(path, columns, "write the folder again")
        if table[columns].isna().to_numpy().any():
            raise DataError(f"{path}: holds values that are no numbers; write the folder again")
        return table
