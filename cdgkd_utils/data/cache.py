"""Prepared windows on disk: built once, keyed by what decides them, verified whenever they are opened."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from .constants import CHANNELS, N_FRAMES, N_VIDEO_FEATURES, WINDOW_SAMPLES
from .fingerprint import file_digest, settings_key
from .types import Windows

LAYOUT_VERSION = 1
_ARRAYS = {
    "eeg": (np.float32, (len(CHANNELS), WINDOW_SAMPLES)),
    "video": (np.float32, (N_FRAMES, N_VIDEO_FEATURES)),
    "mask": (np.bool_, (N_FRAMES,)),
}


class _Damaged(Exception):
    """A stored preparation is not what was written; the text says which file."""


def prepared(settings: Mapping[str, object], build: Callable[[], Windows], root: Path) -> Windows:
    """Windows from the cache, or built and stored there.

    The folder is ``root/prepared/<key>`` with ``eeg.npy``, ``video.npy``, ``mask.npy``, ``index.csv``,
    ``truth.csv`` (twin only) and ``meta.json``. It appears under its name complete or not at all. One
    that has been damaged since is moved aside to ``<key>.damaged-N`` with a warning, and built again.

    Parameters
    ----------
    settings : mapping
        All that decides the windows, as plain JSON values; their hash is the key.
    build : callable
        Makes the windows; called only when they are not stored.
    root : Path
        The home of everything computed.

    Returns
    -------
    Windows
        The arrays are read-only memory maps; ``meta`` has also ``key``, ``cache_settings`` and
        ``fingerprint`` (the key, unless the builder gave one).
    """
    key = settings_key({"layout": LAYOUT_VERSION, **settings})
    folder = Path(root) / "prepared" / key
    if folder.exists():
        try:
            return _load(folder)
        except _Damaged as damage:
            aside = _move_aside(folder)
            warnings.warn(f"{damage}; moved to {aside.name}, preparing the windows again", stacklevel=2)
    windows = build()
    # Where no files were read, the settings are all that the windows come from.
    extra = {"key": key, "cache_settings": dict(settings), "fingerprint": windows.meta.get("fingerprint", key)}
    _store(windows, folder, extra)
    return _load(folder)


def _store(windows: Windows, folder: Path, extra: Mapping[str, object]) -> None:
    """Write under a temporary name and rename; a folder that another process finished first is kept."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.parent / f".{folder.name}.{os.getpid()}-{secrets.token_hex(4)}"
    temporary.mkdir()
    try:
        for name, array in zip(_ARRAYS, (windows.eeg, windows.video, windows.frame_mask), strict=True):
            dtype, tail = _ARRAYS[name]
            if array.dtype != dtype or array.shape != (len(windows), *tail):
                raise ValueError(
                    f"prepared windows: {name} is {array.dtype} {array.shape}, "
                    f"expected {np.dtype(dtype)} {(len(windows), *tail)}"
                )
            np.save(temporary / f"{name}.npy", array)
        windows.index.to_csv(temporary / "index.csv", index=False)
        if windows.truth is not None:
            windows.truth.to_csv(temporary / "truth.csv", index=False)
        files = {path.name: file_digest(path) for path in sorted(temporary.iterdir())}
        meta = {**windows.meta, **extra, "files": files}
        (temporary / "meta.json").write_text(json.dumps(meta, indent=1, allow_nan=False), encoding="utf-8")
        try:
            os.replace(temporary, folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _load(folder: Path) -> Windows:
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        files = dict(meta.pop("files"))
        if meta["key"] != folder.name:
            raise ValueError(meta["key"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _Damaged(f"prepared/{folder.name}/meta.json is not readable or belongs to other windows") from error
    for name in {*(f"{array}.npy" for array in _ARRAYS), "index.csv", *files}:
        try:
            intact = file_digest(folder / name) == files.get(name)
        except OSError as error:
            raise _Damaged(f"prepared/{folder.name}/{name} is not readable") from error
        if not intact:
            raise _Damaged(f"prepared/{folder.name}/{name} is not what was stored (checksum differs)")
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS}
    index = _read_table(folder / "index.csv")
    return Windows(
        eeg=arrays["eeg"],
        video=arrays["video"],
        frame_mask=arrays["mask"],
        index=index,
        truth=_read_table(folder / "truth.csv") if "truth.csv" in files else None,
        meta=meta,
    )


def _read_table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype={"stimulus": str})


def _move_aside(folder: Path) -> Path:
    number = 1
    while (aside := folder.with_name(f"{folder.name}.damaged-{number}")).exists():
        number += 1
    with contextlib.suppress(FileNotFoundError):  # another process has moved it already
        folder.rename(aside)
    return aside
