"""The files of one stored preparation, or of one part of it: written, read with checksums, and joined."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from .checksums import Damaged, Segments, SummedFile, after_header, checksum, is_intact
from .constants import CHANNELS, N_FRAMES, N_VIDEO_FEATURES, WINDOW_SAMPLES
from .half import half_eeg, half_video
from .types import Windows

_WINDOWS = 16  # rounded at a time: what is written is still in the processor's cache
ARRAYS = {
    "eeg": (np.dtype(np.float16), (len(CHANNELS), WINDOW_SAMPLES)),
    "video": (np.dtype(np.float16), (N_FRAMES, N_VIDEO_FEATURES)),
    "mask": (np.dtype(np.bool_), (N_FRAMES,)),
}
_ROUNDING = {"eeg": half_eeg, "video": half_video}


def store(windows: Windows, folder: Path, meta: Mapping[str, object]) -> None:
    """Write windows into an empty folder; EEG and features become float16 (see :mod:`.half`).

    Parameters
    ----------
    windows : Windows
    folder : Path
    meta : mapping
        Plain JSON values; ``key`` is what :func:`load` asks for.

    Raises
    ------
    ValueError
        An array has another type or shape than windows have.
    DataError
        A number does not fit into float16; named by channel or frame, subject, trial and window.
    """
    given = {"eeg": windows.eeg, "video": windows.video, "mask": windows.frame_mask}
    for name, array in given.items():
        dtype, tail = ARRAYS[name]
        admitted = (dtype,) if name == "mask" else (np.dtype(np.float32), dtype)
        if array.dtype not in admitted or array.shape != (len(windows), *tail):
            expected = f"{' or '.join(map(str, admitted))} {(len(windows), *tail)}"
            raise ValueError(f"prepared windows: {name} is {array.dtype} {array.shape}, expected {expected}")
    sums: dict[str, Segments] = {}
    for name, array in given.items():
        with _array_file(folder, name, len(array), sums) as file:
            for first in range(0, len(array), _WINDOWS):
                block = array[first : first + _WINDOWS]
                if name in _ROUNDING:
                    block = _ROUNDING[name](block, windows.index, first)
                file.write(np.ascontiguousarray(block).reshape(-1).view(np.uint8).data)
    write_tables(folder, windows.index, windows.truth)
    write_meta(folder, meta, sums)


def join_arrays(parts: Sequence[Path], lengths: Sequence[int], folder: Path) -> dict[str, Segments]:
    """Write the arrays of several stored parts one after another, byte by byte: none of them enters memory.

    Parameters
    ----------
    parts : sequence of Path
        Folders.
    lengths : sequence of int
        Their numbers of windows.
    folder : Path
        Where the joined arrays go.

    Returns
    -------
    dict of str to list
        Their checksums by file name, for :func:`write_meta`: those of the parts, not summed anew.

    Raises
    ------
    Damaged
        An array's header or length is not that of the windows stored.
    """
    sums: dict[str, Segments] = {}
    known = [json.loads((part / "meta.json").read_text(encoding="utf-8"))["files"] for part in parts]
    for name, (dtype, tail) in ARRAYS.items():
        with _array_file(folder, name, sum(lengths), sums) as joined:
            for part, length, files in zip(parts, lengths, known, strict=True):
                with open(part / f"{name}.npy", "rb") as file:
                    np.lib.format.read_magic(file)
                    shape, fortran, stored = np.lib.format.read_array_header_1_0(file)
                    if (shape, fortran, stored) != ((length, *tail), False, dtype):
                        raise Damaged(f"{part.parent.name}/{part.name}/{name}.npy is not what was stored")
                    joined.append(file, after_header(file, files[f"{name}.npy"]))
    return sums


@contextlib.contextmanager
def _array_file(folder: Path, name: str, n_windows: int, sums: dict[str, Segments]) -> Iterator[SummedFile]:
    """A ``.npy`` file with its header, to which the numbers are written; its checksums go into `sums`."""
    dtype, tail = ARRAYS[name]
    header = {"descr": dtype.str, "fortran_order": False, "shape": (n_windows, *tail)}
    with open(folder / f"{name}.npy", "wb") as file:
        summed = SummedFile(file)
        np.lib.format.write_array_header_1_0(summed, header)
        summed.cut()
        summed.reserve(n_windows * math.prod(tail) * dtype.itemsize)
        yield summed
    sums[f"{name}.npy"] = [segment for segment in summed.segments if segment[0]]


def write_tables(folder: Path, index: pd.DataFrame, truth: pd.DataFrame | None) -> None:
    """Write ``index.csv`` and, for the twin, ``truth.csv``."""
    index.to_csv(folder / "index.csv", index=False)
    if truth is not None:
        if len(truth) != len(index):
            raise ValueError(f"prepared windows: truth has {len(truth)} rows, expected {len(index)}")
        truth.to_csv(folder / "truth.csv", index=False)


def join_tables(parts: Sequence[Path], folder: Path) -> None:
    """Write the tables of several stored parts one below another, with the numbers as they were written there.

    Parameters
    ----------
    parts : sequence of Path
        Folders.
    folder : Path
        Where the joined tables go.

    Raises
    ------
    ValueError
        A table is missing in some of the parts, or its columns differ.
    """
    for name in ("index.csv", "truth.csv"):
        tables = [(part / name).read_bytes().partition(b"\n") for part in parts if (part / name).exists()]
        if not tables:
            continue
        if len(tables) < len(parts) or len({columns for columns, _, _ in tables}) > 1:
            raise ValueError(f"prepared windows: {name} is missing in some parts or has other columns there")
        columns, end, _ = tables[0]
        (folder / name).write_bytes(columns + end + b"".join(rows for _, _, rows in tables))


def write_meta(folder: Path, meta: Mapping[str, object], sums: Mapping[str, Segments]) -> None:
    """Write ``meta.json`` last, with the checksums of every other file; `sums` has those that are known."""
    files = {path.name: sums.get(path.name) or checksum(path) for path in sorted(folder.iterdir())}
    text = json.dumps({**meta, "files": files}, indent=1, allow_nan=False)
    (folder / "meta.json").write_text(text, encoding="utf-8")


def load(folder: Path, key: str, verify: bool = True) -> Windows:
    """Open stored windows as read-only memory maps.

    Parameters
    ----------
    folder : Path
    key : str
        What its ``meta.json`` has to say.
    verify : bool
        Compare checksums; only files of a moment ago can go without.

    Raises
    ------
    Damaged
        A file is lost, changed, or belongs to other windows.
    """
    shown = f"{folder.parent.name}/{folder.name}"
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        files = dict(meta.pop("files"))
        if meta["key"] != key:
            raise ValueError(meta["key"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Damaged(f"{shown}/meta.json is not readable or belongs to other windows") from error
    for name in {*(f"{array}.npy" for array in ARRAYS), "index.csv", *files} if verify else ():
        try:
            intact = name in files and is_intact(folder / name, files[name])
        except OSError as error:
            raise Damaged(f"{shown}/{name} is not readable") from error
        if not intact:
            raise Damaged(f"{shown}/{name} is not what was stored (checksum differs)")
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ARRAYS}
    return Windows(
        eeg=arrays["eeg"],
        video=arrays["video"],
        frame_mask=arrays["mask"],
        index=read_table(folder / "index.csv"),
        truth=read_table(folder / "truth.csv") if "truth.csv" in files else None,
        meta=meta,
    )


def read_table(path: Path) -> pd.DataFrame:
    """Read a stored table; names of stimuli stay text."""
    return pd.read_csv(path, dtype={"stimulus": str})
