"""Prepared windows on disk: built a part at a time, keyed by what decides them, verified whenever they are opened."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pandas as pd
from joblib import Parallel, delayed
from tqdm.auto import tqdm

from .cache_files import join_arrays, join_tables, load, store, write_meta
from .checksums import Damaged
from .errors import DataError
from .files.fingerprint import settings_key
from .record import preprocessing
from .types import Windows

LAYOUT_VERSION = 3
ABANDONED_AFTER = 7 * 24 * 3600.0  # s without a sign of life from an interrupted preparation
Build = Callable[[], Windows]
Finish = Callable[[pd.DataFrame, list[dict]], Mapping[str, object]]


def _first_meta(index: pd.DataFrame, metas: list[dict]) -> Mapping[str, object]:
    return metas[0]


def prepared(
    settings: Mapping[str, object],
    parts: Mapping[str, Build] | Build,
    root: Path,
    *,
    finish: Finish = _first_meta,
    n_jobs: int = 1,
    description: str = "preparing",
) -> Windows:
    """Windows from the cache, or built part by part and stored there.

    The folder is ``root/prepared/<key>`` with ``eeg.npy``, ``video.npy``, ``mask.npy``, ``index.csv``,
    ``truth.csv`` (twin only) and ``meta.json``. It appears under its name complete or not at all. One
    that has been damaged since is moved aside to ``<key>.damaged-N`` with a warning, and built again.

    Until then finished parts wait in ``root/prepared/<key>.parts``, each complete and with checksums: a
    preparation that was interrupted, even killed, goes on where it stopped. Parts are joined as files, so
    memory does not grow with their number. A :class:`DataError` removes them: its files have to change, and
    with them the key. Whoever prepares removes the parts of other keys in which nothing has happened for a week
    (a living preparation changes its folder with each subject): code or data have changed, nobody comes back.

    Parameters
    ----------
    settings : mapping
        All that decides the windows, as plain JSON values; their hash is the key.
    parts : mapping of str to callable, or callable
        By name (a file name, usually of a subject), in the order of the result; each makes its part of the
        windows, in another process if there are several. Called only for parts that are not stored.
        A callable alone makes all windows.
    root : Path
        The home of everything computed.
    finish : callable, optional
        From the whole index and the parts' ``meta`` in order to the ``meta`` of the whole; may raise to refuse
        it. Default: the first part's.
    n_jobs : int
        Processes.
    description : str
        Label of the progress bar.

    Returns
    -------
    Windows
        The arrays are read-only memory maps, of float16 for EEG and features; ``meta`` has also ``key``,
        ``cache_settings``, ``preprocessing`` (all parameters, for a reader without this package) and
        ``fingerprint`` (the key, unless `finish` gave one).
    """
    key = settings_key({"layout": LAYOUT_VERSION, **settings})
    folder = Path(root) / "prepared" / key
    if folder.exists():
        try:
            return load(folder, key)
        except Damaged as damage:
            aside = _move_aside(folder)
            warnings.warn(f"{damage}; moved to {aside.name}, preparing the windows again", stacklevel=2)
    parts = {"all": parts} if callable(parts) else parts
    waiting = folder.with_name(f"{key}.parts")
    extra = {"key": key, "cache_settings": dict(settings), "preprocessing": preprocessing(settings)}
    try:
        _show_life(waiting)
        _remove_abandoned(waiting)
        _build(parts, waiting, key, n_jobs, description)
        _join(list(parts), waiting, folder, finish, extra)
    except (FileNotFoundError, Damaged):
        if not folder.is_dir():
            raise
        # Another process prepared the same windows, finished first and removed the parts.
    except DataError:
        shutil.rmtree(waiting, ignore_errors=True)
        raise
    finally:
        for empty in (waiting, folder.parent):  # leave no trace where there was none
            with contextlib.suppress(OSError):
                empty.rmdir()
    shutil.rmtree(waiting, ignore_errors=True)
    return load(folder, key, verify=False)


def _show_life(waiting: Path) -> None:
    waiting.mkdir(parents=True, exist_ok=True)
    os.utime(waiting)


def _remove_abandoned(mine: Path) -> None:
    """Remove what interrupted preparations under other keys left, unless there is a sign of life.

    No lock: locks and process numbers say little about a folder that several machines share.
    """
    now = mine.stat().st_mtime  # by the clock of the disk, not of this machine
    for waiting in mine.parent.glob("*.parts"):
        with contextlib.suppress(OSError):  # another process removes or finishes it at this moment
            last = max(path.stat().st_mtime for path in (waiting, *waiting.iterdir()))
            if now - last > ABANDONED_AFTER:  # never `mine`, which has just shown life
                shutil.rmtree(waiting)


def _build(parts: Mapping[str, Build], waiting: Path, key: str, n_jobs: int, description: str) -> None:
    """Store the parts that are not stored, and say how many are."""
    missing = [name for name in parts if not _is_stored(waiting / name, key)]
    jobs = (delayed(_store_part)(parts[name], waiting / name, key) for name in missing)
    finished = Parallel(n_jobs=max(1, min(n_jobs, len(missing))), return_as="generator_unordered")(jobs)
    bar = tqdm(finished, description, total=len(parts), initial=len(parts) - len(missing), unit="subject")
    for _ in bar:
        pass


def _is_stored(folder: Path, key: str) -> bool:
    if not folder.exists():
        return False
    try:
        load(folder, key)
    except Damaged as damage:
        warnings.warn(f"{damage}; this part is prepared again", stacklevel=4)
        shutil.rmtree(folder)
        return False
    return True


def _store_part(build: Build, folder: Path, key: str) -> None:
    windows = build()
    with _appearing(folder, folder.parent) as temporary:
        store(windows, temporary, {**windows.meta, "key": key})


def _join(names: list[str], waiting: Path, folder: Path, finish: Finish, extra: Mapping[str, object]) -> None:
    parts = [load(waiting / name, extra["key"], verify=False) for name in names]
    metas = [{name: value for name, value in part.meta.items() if name != "key"} for part in parts]
    filled = [place for place, part in enumerate(parts) if len(part)] or [0]
    meta = finish(pd.concat([parts[place].index for place in filled], ignore_index=True), metas)
    # Where no files were read, the settings are all that the windows come from.
    meta = {**meta, **extra, "fingerprint": meta.get("fingerprint", extra["key"])}
    with _appearing(folder, waiting) as temporary:
        sums = join_arrays([waiting / name for name in names], [len(part) for part in parts], temporary)
        join_tables([waiting / names[place] for place in filled], temporary)
        write_meta(temporary, meta, sums)


@contextlib.contextmanager
def _appearing(folder: Path, workshop: Path) -> Iterator[Path]:
    """A temporary folder in `workshop` that becomes `folder`, unless another process has made that meanwhile."""
    workshop.mkdir(parents=True, exist_ok=True)
    temporary = workshop / f".{folder.name}.{os.getpid()}-{secrets.token_hex(4)}"
    temporary.mkdir()
    try:
        yield temporary
        try:
            os.replace(temporary, folder)
        except OSError:
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _move_aside(folder: Path) -> Path:
    number = 1
    while (aside := folder.with_name(f"{folder.name}.damaged-{number}")).exists():
        number += 1
    with contextlib.suppress(FileNotFoundError):  # another process has moved it already
        folder.rename(aside)
    return aside
