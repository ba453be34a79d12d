"""Windows for a set of parameters: prepared once, subject by subject, then opened as memory maps.

A preparation is the folder ``prepared/<key>`` under the home. It appears complete or not at all; until then finished
subjects wait in ``<key>.parts``, so an interrupted preparation goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from tqdm.auto import tqdm

from ..config import Params, home, n_cores, shown
from . import deap, mahnob
from .features import extractor as open_extractor
from .features import face_version
from .twin import TwinSettings, twin_settings
from .types import DataError, Windows
from .windows import draw_faces, prepare_subject, subject_windows

# A part of every key: raise a data set's where its numbers change (tests/test_golden.py tells).
DATA_VERSION = {"twin": 1, "twin_mahnob": 1, "deap": 1, "deap_raw": 1, "mahnob": 1}
_CLIPS = ("metadata_csv/participant_ratings.csv", "face_video/s*/*", "SYNTHETIC", "truth.csv")
_KEY_FILES = {
    "deap": ("data_preprocessed_python/s*.dat", *_CLIPS),
    "deap_raw": ("data_original/s*.bdf", *_CLIPS),
    "mahnob": ("Sessions/*/session.xml", "Sessions/*/*.bdf", "Sessions/*/*.avi", "SYNTHETIC", "truth.csv"),
}
_OPEN = {"deap": deap.open_tree, "deap_raw": deap.open_raw_tree, "mahnob": mahnob.open_mahnob}
_TRIALS = {"deap": deap.trials_of, "deap_raw": deap.trials_of, "mahnob": mahnob.trials_of}
_ARRAYS = {"eeg": "eeg", "video": "video", "mask": "frame_mask"}  # file, attribute of Windows


def load_windows(params: Params, n_jobs: int | None = None, repeat: int = 0) -> Windows:
    """Windows of the data set that `params` names, from the cache or prepared now, subjects in parallel.

    Parameters
    ----------
    params : Params
        The profile decides how many windows per trial and, on the twin, how many people and trials.
    n_jobs : int, optional
        Processes for preparing; default: one per core.
    repeat : int
        On the twin, people and recordings are redrawn with seed ``params.seed + repeat``; real data stay the same.

    Raises
    ------
    DataError
        A file of the data set is missing, damaged or contradicts another. Nothing is stored then.
    """
    _files_digest.cache_clear()  # the files may have changed since
    settings, n_jobs = _settings(params, repeat), n_jobs or n_cores()
    if params.is_twin:
        people = twin_settings(params, repeat)
        parts = {s: partial(_twin_subject, people, s, params.extractor) for s in range(1, people.n_subjects + 1)}
        return prepared(settings, parts, n_jobs=n_jobs, description="twin")
    if (folder := _folder(settings)).is_dir():
        return _opened(folder)
    tree = check_root(params)
    choices = {name: settings[name] for name in ("n_windows", "extractor", "crop")}
    parts = {s: partial(subject_windows, tree, s, _TRIALS[params.dataset], **choices) for s in tree.subjects}
    meta = {"name": tree.name, "synthetic": tree.synthetic is not None, "settings": choices}
    return prepared(settings, parts, meta, n_jobs=n_jobs, description=f"reading {tree.name}")


def windows_key(params: Params, repeat: int = 0) -> str:
    """Key that the prepared windows of these parameters have, or will have; nothing is prepared or opened."""
    return settings_key(_settings(params, repeat))


def settings_key(settings: Mapping[str, object]) -> str:
    """SHA-256 of settings as canonical JSON, 32 hex digits; the order of keys does not matter."""
    text = json.dumps(settings, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _folder(settings: Mapping[str, object]) -> Path:
    return home() / "prepared" / settings_key(settings)


def _settings(params: Params, repeat: int) -> dict[str, object]:
    """All that decides the windows."""
    settings = {"dataset": params.dataset, "version": DATA_VERSION[params.dataset], "extractor": params.extractor}
    settings["extractor_version"] = open_extractor(params.extractor).version
    if params.is_twin:
        return settings | {"twin": asdict(twin_settings(params, repeat))}
    files = _files_digest(str(Path(params.data_root).expanduser()), params.dataset) or check_root(params).name
    finder = {"face_finder": face_version()} if params.crop == "face" else {}
    return settings | {"files": files, "n_windows": params.scale.n_windows, "crop": params.crop} | finder


@cache
def _files_digest(root: str, dataset: str) -> str:
    """Digest of the names, sizes and times of the files that a data set's windows come from; empty without any."""
    paths = sorted({path for pattern in _KEY_FILES[dataset] for path in Path(root).glob(pattern)} if root else ())
    try:
        found = [(str(path.relative_to(root)), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    except OSError as error:  # a broken link, no permission
        raise DataError(f"{error.filename}: cannot be read ({error.strerror}); expected a file") from error
    return settings_key({"files": found}) if found else ""


def check_root(params: Params):
    """The folder that `params` names, opened and checked by its reader; a DataError says what is wrong with it."""
    if not params.data_root:
        raise DataError(f"parameter data_root: empty; give the folder of {params.dataset!r}, or set dataset='twin'")
    tree = _OPEN[params.dataset](params.data_root)
    if not tree.subjects:
        reason = next((found.reason for found in tree.sessions if found.kind == "S"), "no emotional clip")
        raise DataError(f"data_root {params.data_root!r}: not one session is usable; the first: {reason}")
    return tree


def _twin_subject(people: TwinSettings, subject: int, extractor: str) -> Windows:
    """One person's windows; faces are stored under a key without the world, and drawn once for all worlds."""
    decided = {name: getattr(people, name) for name in ("seed", "n_trials", "n_windows", "layout", "film_share")}
    decided |= {"version": DATA_VERSION["twin"], "extractor": open_extractor(extractor).version}
    folder = home() / "faces" / settings_key(decided) / f"s{subject:02d}"
    files = ("video", "mask")
    if not folder.is_dir():
        with new_folder(folder, folder.parent) as temporary:
            for name, array in zip(files, draw_faces(people, subject, extractor), strict=True):
                np.save(temporary / f"{name}.npy", array)
    return prepare_subject(people, subject, extractor, tuple(np.load(folder / f"{name}.npy") for name in files))


def prepared(
    settings: Mapping[str, object],
    parts: Mapping[int, Callable[[], Windows]],
    meta: Mapping[str, object] | None = None,
    *,
    n_jobs: int = 1,
    description: str = "preparing",
) -> Windows:
    """Windows from the cache, or made part by part and stored there.

    `settings` are all that decides the windows, as plain JSON values: their hash is the key. `parts`, by subject, make
    each one's windows, in other processes if `n_jobs` allows. `meta` is by default the first part's.
    """
    if (folder := _folder(settings)).is_dir():
        return _opened(folder)
    waiting = folder.with_name(f"{folder.name}.parts")
    places = {waiting / f"s{subject:02d}": build for subject, build in parts.items()}
    jobs = [delayed(_store)(build, place) for place, build in places.items() if not place.is_dir()]
    try:
        finished = Parallel(n_jobs=max(1, min(n_jobs, len(jobs))), return_as="generator_unordered")(jobs)
        for _ in tqdm(finished, description, total=len(parts), initial=len(parts) - len(jobs), unit="subject"):
            pass
        with new_folder(folder, waiting) as temporary:
            _join([_opened(place) for place in places], meta, settings, temporary)
    except (DataError, FileNotFoundError) as error:
        if not folder.is_dir():  # else another process prepared the same, finished first and removed the parts
            if isinstance(error, DataError):  # the files have to change, and with them the key
                shutil.rmtree(waiting, ignore_errors=True)
            raise
    shutil.rmtree(waiting, ignore_errors=True)
    return _opened(folder)


def _store(build: Callable[[], Windows], folder: Path) -> None:
    """One subject's windows, in float16: a number changes by at most 2**-11 of itself, 16 nV in 32 µV."""
    windows = build()
    with new_folder(folder, folder.parent) as temporary:
        for file, name in _ARRAYS.items():
            array = getattr(windows, name)
            with np.errstate(over="ignore"):
                stored = array if array.dtype == bool else array.astype(np.float16)
            if not np.isfinite(stored).all():
                place = tuple(np.argwhere(~np.isfinite(stored))[0])
                row = windows.index.iloc[place[0]]
                raise DataError(
                    f"{name}: {array[place]:g} in subject {row['subject']}, trial {row['trial']}, window "
                    f"{row['window']}; expected finite numbers of at most 65,504 (EEG in µV, without offset)"
                )
            np.save(temporary / f"{file}.npy", stored)
        _write_tables(windows.index, windows.truth, windows.meta, temporary)


def _join(parts: list[Windows], meta: Mapping | None, settings: Mapping[str, object], folder: Path) -> None:
    filled = [part for part in parts if len(part)]
    if not filled:
        raise DataError("not one window with EEG and face video; check the clips")
    for file, name in _ARRAYS.items():
        arrays = [getattr(part, name) for part in filled]
        shape = (sum(map(len, arrays)), *arrays[0].shape[1:])
        np.concatenate(arrays, out=np.lib.format.open_memmap(folder / f"{file}.npy", "w+", arrays[0].dtype, shape))
    index = pd.concat([part.index for part in filled], ignore_index=True)
    truth = None if filled[0].truth is None else pd.concat([part.truth for part in filled], ignore_index=True)
    excluded = [tuple(found) for part in parts for found in part.meta["excluded"]]
    own = {"excluded": excluded, "key": settings_key(settings), "cache_settings": settings}
    _write_tables(index, truth, {**(meta or parts[0].meta), **own}, folder)


def _write_tables(index: pd.DataFrame, truth: pd.DataFrame | None, meta: Mapping, folder: Path) -> None:
    index.to_csv(folder / "index.csv", index=False)
    if truth is not None:
        truth.to_csv(folder / "truth.csv", index=False)
    (folder / "meta.json").write_text(json.dumps(meta, indent=1, allow_nan=False), encoding="utf-8")


def _opened(folder: Path) -> Windows:
    try:
        arrays = {name: np.load(folder / f"{file}.npy", mmap_mode="r") for file, name in _ARRAYS.items()}
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        tables = {path.stem: pd.read_csv(path, dtype={"stimulus": str}) for path in folder.glob("*.csv")}
        return Windows(**arrays, **tables, meta=meta)
    except (FileNotFoundError, EOFError, ValueError, TypeError) as error:
        raise DataError(f"{shown(folder)}: damaged ({error}); delete this folder and it is prepared again") from error


@contextlib.contextmanager
def new_folder(out: str | os.PathLike, workshop: Path | None = None) -> Iterator[Path]:
    """Fill a folder under a temporary name; it gets its name when the block ends well, else nothing is left.

    `out` must not exist yet, or be empty (FileExistsError). With a `workshop`, where the temporary folder then lies, an
    `out` that another process has finished meanwhile is as good as this one.
    """
    out = Path(out).absolute()
    if workshop is None and out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise FileExistsError(f"out {str(out)!r}: exists and is not empty; choose another folder or remove it")
    temporary = (workshop or out.parent) / f".{out.name}.{os.getpid()}-{secrets.token_hex(4)}"
    temporary.mkdir(parents=True)
    try:
        yield temporary
        try:
            os.replace(temporary, out)
        except OSError:
            if workshop is None or not out.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
