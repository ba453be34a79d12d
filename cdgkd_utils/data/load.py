"""Windows for a set of notebook parameters, through the cache."""

from __future__ import annotations

import contextlib
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np

from ..config import Params, home, n_cores
from .cache import LAYOUT_VERSION, prepared
from .errors import DataError
from .extractors import extractor as open_extractor
from .extractors.mediapipe_faces import engine_version
from .files.fingerprint import files_digest, settings_key
from .trees import Tree, check_root, tree_meta, tree_parts
from .twin.generator import TwinSettings, prepare_subject
from .types import Windows

# Sources of this folder whose change makes stored windows stale.
# Those of an extractor are in its version, so that work on one leaves the windows of the others as they are.
_SHARED = ("constants.py", "types.py", "extractors/hog768.py", "files/filtering.py")
_FILES = ("files/video.py", "files/mark.py", "files/tables.py", "files/signal_checks.py")
TWIN_SOURCES = (*_SHARED, "mahnob/session_xml.py", "twin/*.py")
# Sources, by digest, whose windows equal those of older ones: in the world of the faces, in the others. What was stored
# and trained with those stays valid. tests/test_worlds.py compares with digests of the older arrays.
SAME_WINDOWS = {
    "dc39a23203113a657de53ce7ee5a1b67": ("be039386a241b3861d9119fde1deda6f", "027b2e353cd1161182d986c7c8689357")
}
FACE_WORLD = {"027b2e353cd1161182d986c7c8689357": "be039386a241b3861d9119fde1deda6f"}
FACE_WORLD = "mixed"  # where faces are drawn: data/twin/plan.py
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
    n_jobs = n_jobs or n_cores()
    if params.is_twin:
        settings, bank = twin_settings(params, repeat), _bank(params, repeat)
        parts = {
            f"s{subject:02d}": partial(prepare_subject, settings, subject, params.extractor, *_faces_of(subject, bank))
            for subject in range(1, settings.n_subjects + 1)
        }
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


def _bank(params: Params, repeat: int) -> Windows | None:
    """Stored windows with the same faces: those of the world in which faces are drawn, if they are there."""
    if params.world == FACE_WORLD:
        return None
    there = replace(params, world=FACE_WORLD)
    return load_windows(there, repeat=repeat) if is_prepared(there, repeat) else None


def _faces_of(subject: int, bank: Windows | None) -> list[Windows]:
    """One person's windows, in memory and without the EEG, as they are sent to another process; none without a bank."""
    if bank is None:
        return []
    rows = np.flatnonzero(bank.index["subject"].to_numpy() == subject)
    nothing = np.zeros((0, *bank.eeg.shape[1:]), np.float32)
    return [Windows(nothing, np.array(bank.video[rows]), np.array(bank.frame_mask[rows]), bank.index.iloc[rows])]


def is_prepared(params: Params, repeat: int = 0) -> bool:
    """Whether the windows of these parameters are stored."""
    return (home() / "prepared" / windows_key(params, repeat)).is_dir()


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
        code = SAME_WINDOWS.get(code, (code, code))[params.world != FACE_WORLD]
        return {"dataset": "twin", "settings": settings, "code": code, **_seeing(params.extractor)}
    settings = {"fingerprint": _fingerprint(tree or check_root(params)), "settings": _choices(params)}
    code = _code(SOURCES[params.dataset])
    return {"dataset": params.dataset, **settings, "code": code, **_seeing(params.extractor, params.crop)}


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
