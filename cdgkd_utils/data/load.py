"""Windows for a set of notebook parameters, through the cache."""

from __future__ import annotations

import contextlib
import os
from dataclasses import asdict
from functools import partial
from pathlib import Path

import joblib
import numpy as np
import pandas as pd

from ..config import Params, home
from .cache import LAYOUT_VERSION, Build, prepared
from .deap import raw as deap_raw
from .deap import reader as deap
from .deap.raw import RawTree, open_raw_tree
from .deap.reader import DeapTree, open_tree
from .errors import DataError
from .extractors import extractor as open_extractor
from .extractors.mediapipe_faces import engine_version
from .files.fingerprint import files_digest, settings_key
from .files.mark import TRUTH_FILE
from .mahnob import reader as mahnob
from .mahnob.reader import MahnobTree, open_mahnob
from .twin.generator import TwinSettings, prepare_subject
from .types import Windows
from .windows import windows_from_trials

Tree = DeapTree | RawTree | MahnobTree
_READERS = {DeapTree: deap.trials_of, RawTree: deap_raw.trials_of, MahnobTree: mahnob.trials_of}
# Sources of this folder whose change makes stored windows stale.
# Those of an extractor are in its version, so that work on one leaves the windows of the others as they are.
_SHARED = ("constants.py", "types.py", "extractors/hog768.py", "files/filtering.py")
_FILES = ("files/video.py", "files/mark.py", "files/tables.py", "files/signal_checks.py")
TWIN_SOURCES = (*_SHARED, "mahnob/session_xml.py", "twin/*.py")
DEAP_SOURCES = (
    *(*_SHARED, *_FILES),
    *(
        "extractors/face_crop.py",
        "windows.py",
        "deap/reader.py",
        "deap/ratings.py",
        "deap/dat_file.py",
        "deap/dat_pickle.py",
    ),
)
DEAP_RAW_SOURCES = (*DEAP_SOURCES, "files/bdf.py", "deap/raw.py", "deap/raw_signal.py", "deap/timing.py")
MAHNOB_SOURCES = (
    *DEAP_SOURCES,
    *("files/bdf.py", *(f"mahnob/{name}.py" for name in ("reader", "recording", "session", "session_xml"))),
)
SOURCES = {"deap": DEAP_SOURCES, "deap_raw": DEAP_RAW_SOURCES, "mahnob": MAHNOB_SOURCES}


def twin_settings(params: Params, repeat: int = 0) -> TwinSettings:
    """The twin that a profile and a world ask for; each repetition has its own people.

    In MAHNOB-HCI's design trials are at most 20, and the profile ``paper`` takes its 30 people and whole films.
    """
    scale, whole = params.scale, params.layout == "mahnob" and params.profile == "paper"
    return TwinSettings(
        n_subjects=30 if whole else scale.n_subjects,
        n_trials=min(scale.n_trials, 20) if params.layout == "mahnob" else scale.n_trials,
        n_windows=0 if whole else scale.n_windows,
        seed=params.seed + repeat,
        world=params.world,
        layout=params.layout,
    )


def load_windows(params: Params, n_jobs: int | None = None, repeat: int = 0) -> Windows:
    """Windows of the data set that `params` names, from the cache or prepared now, subjects in parallel.

    Parameters
    ----------
    params : Params
        The profile decides how many windows per trial and, on the twin, how many people and trials.
    n_jobs : int, optional
        Processes for preparing; default: one per core.
    repeat : int
        Repetition; on the twin it redraws people and recordings, with seed ``params.seed + repeat``.
        Real data stay the same.

    Returns
    -------
    Windows
        Read-only memory maps; ``meta["name"]`` says what numbers from them may be called.

    Raises
    ------
    DataError
        A file of the data set is missing, damaged or contradicts another. Nothing is stored then.
    """
    n_jobs = n_jobs or joblib.cpu_count()
    if params.is_twin:
        settings = twin_settings(params, repeat)
        subjects = range(1, settings.n_subjects + 1)
        make = partial(prepare_subject, settings)
        parts = {f"s{subject:02d}": partial(make, subject, params.extractor) for subject in subjects}
        return prepared(_key_settings(params, repeat), parts, home(), n_jobs=n_jobs, description="twin")
    tree = check_root(params)
    key, choices = _key_settings(params, repeat, tree), _choices(params)
    return prepared(
        key,
        tree_parts(tree, **choices),
        home(),
        finish=partial(tree_meta, tree, choices, key["fingerprint"]),
        n_jobs=n_jobs,
        description=f"reading {tree.name}",
    )


def windows_key(params: Params, repeat: int = 0) -> str:
    """Key that the prepared windows of these parameters have, or will have, without preparing them.

    Raises
    ------
    DataError
        As :func:`check_root`.
    """
    return settings_key({"layout": LAYOUT_VERSION, **_key_settings(params, repeat)})


def _choices(params: Params) -> dict[str, object]:
    n_windows, crop = params.scale.n_windows, params.crop
    return {"n_windows": n_windows, "extractor": params.extractor, "baseline": "none", "crop": crop}


def _key_settings(params: Params, repeat: int, tree: Tree | None = None) -> dict[str, object]:
    """All that decides the windows."""
    if params.is_twin:
        settings, code = asdict(twin_settings(params, repeat)), _code(TWIN_SOURCES)
        return {"dataset": "twin", "settings": settings, "code": code, **_seeing(params.extractor)}
    settings = {"fingerprint": _fingerprint(tree or check_root(params)), "settings": _choices(params)}
    code = _code(SOURCES[params.dataset])
    return {"dataset": params.dataset, **settings, "code": code, **_seeing(params.extractor, params.crop)}


def check_root(params: Params) -> Tree:
    """The folder that `params` names, listed and checked without reading signals.

    Raises
    ------
    DataError
        No folder is named, or it is not a usable folder of the data set.
    """
    if not params.data_root:
        raise DataError(
            f"parameter data_root: empty, but dataset={params.dataset!r} reads files; give its folder, "
            "or set dataset='twin'"
        )
    if params.dataset == "deap":
        return open_tree(params.data_root)
    if params.dataset == "deap_raw":
        return open_raw_tree(params.data_root, with_video=True)
    tree = open_mahnob(params.data_root)
    if not tree.usable:
        reason = next((found.reason for found in tree.sessions if found.kind == "S"), "no emotional clip")
        raise DataError(
            f"data_root {params.data_root!r}: not one of {len(tree.sessions)} sessions is usable; the first: {reason}"
        )
    return tree


def tree_parts(tree: Tree, n_windows: int, extractor: str, baseline: str, crop: str) -> dict[str, Build]:
    """One way to the windows for each subject of a folder; options as in ``windows_from_trials``."""
    options = {"n_windows": n_windows, "extractor": extractor, "baseline": baseline, "crop": crop}
    return {f"s{subject:02d}": partial(_subject, tree, subject, options) for subject in tree.subjects}


def tree_meta(
    tree: Tree, choices: dict[str, object], fingerprint: str, index: pd.DataFrame, metas: list[dict]
) -> dict[str, object]:
    """What is said about the windows of a whole folder, from its index and its parts' ``meta``.

    Raises
    ------
    DataError
        There is not one window.
    """
    if index.empty:
        raise DataError(f"data_root {str(tree.root)!r}: not one window with EEG and face video; check the clips")
    return {
        "name": tree.name,
        "synthetic": tree.synthetic is not None,
        "fingerprint": fingerprint,
        "settings": choices,
        "skipped": tree.n_skipped,
        "dropped": sum(meta["dropped"] for meta in metas),
        "excluded": [list(found) for meta in metas for found in meta["excluded"]],
    }


def prepare_tree(
    tree: Tree, n_windows: int = 0, extractor: str = "hog", baseline: str = "none", crop: str = "centre"
) -> Windows:
    """Windows of a whole folder in memory, without the cache; for small ones.

    Parameters
    ----------
    tree : DeapTree, RawTree or MahnobTree
    n_windows, extractor, baseline, crop
        As in :func:`~cdgkd_utils.data.windows.windows_from_trials`.

    Returns
    -------
    Windows
        ``truth`` is filled for a folder that the twin wrote. Trials whose signals turn out unusable, and windows
        without any face, are left out; ``meta["excluded"]`` says which and why: (subject, trial, reason).
    """
    choices = {"n_windows": n_windows, "extractor": extractor, "baseline": baseline, "crop": crop}
    parts = [build() for build in tree_parts(tree, **choices).values()]
    index = pd.concat([part.index for part in parts if len(part)] or [parts[0].index], ignore_index=True)
    truths = [part.truth for part in parts if len(part) and part.truth is not None]
    return Windows(
        eeg=np.concatenate([part.eeg for part in parts]),
        video=np.concatenate([part.video for part in parts]),
        frame_mask=np.concatenate([part.frame_mask for part in parts]),
        index=index,
        truth=pd.concat(truths, ignore_index=True) if truths else None,
        meta=tree_meta(tree, choices, "", index, [part.meta for part in parts]),
    )


def _subject(tree: Tree, subject: int, options: dict[str, object]) -> Windows:
    excluded: list[tuple[int, str]] = []
    windows = windows_from_trials(_READERS[type(tree)](tree, [subject], excluded=excluded), **options)
    here = f"{tree.root}{os.sep}"  # what is stored names files inside the folder, not where it lies
    left_out = [(subject, trial, reason.replace(here, "")) for trial, reason in excluded]
    windows.meta["excluded"] = [*left_out, *windows.meta["excluded"]]
    truth = tree.truth()
    if truth is not None:
        keys = ["subject", "trial"]
        windows.truth = windows.index[keys].merge(truth, on=keys, how="left").drop(columns=keys)
        if len(windows.truth) != len(windows) or windows.truth.isna().to_numpy().any():
            raise DataError(f"{tree.root / TRUTH_FILE}: expected one row for each trial; write the folder again")
    return windows


def _fingerprint(tree: Tree) -> str:
    try:
        return files_digest(tree.root, tree.files())
    except OSError as error:  # a folder under a file's name, a broken link, no permission
        raise DataError(
            f"{error.filename}: cannot be read ({error.strerror}); expected a file: copy it again"
        ) from error


def _seeing(extractor: str, crop: str = "centre") -> dict[str, str]:
    """Versions of what decides the features besides this folder's modules."""
    with contextlib.closing(open_extractor(extractor)) as extract:
        versions = {"extractor": extract.version}
    return versions | ({"face finder": engine_version()} if crop == "face" else {})


def _code(patterns: tuple[str, ...]) -> str:
    """Digest of some modules of this folder: windows prepared by other code are other windows."""
    here = Path(__file__).parent
    return files_digest(here, [path for pattern in patterns for path in here.glob(pattern)])
