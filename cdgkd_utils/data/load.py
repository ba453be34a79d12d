"""Windows for a set of notebook parameters, through the cache."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from tqdm.auto import tqdm

from ..config import Params, home
from .cache import prepared
from .deap import TRUTH_FILE, DeapTree, open_tree, trials_of
from .errors import DataError
from .fingerprint import files_digest
from .twin import TwinSettings, prepare_twin
from .types import Windows
from .windows import windows_from_trials

# Sources of this folder whose change makes stored windows stale.
TWIN_SOURCES = ("constants.py", "features.py", "leadfield.py", "types.py", "twin*.py", "face*.py")
DEAP_SOURCES = ("constants.py", "features.py", "types.py", "deap.py", "dat_file.py", "video.py", "windows.py")


def twin_settings(params: Params, repeat: int = 0) -> TwinSettings:
    """The twin that a profile and a world ask for; each repetition has its own people."""
    scale = params.scale
    return TwinSettings(
        n_subjects=scale.n_subjects,
        n_trials=scale.n_trials,
        n_windows=scale.n_windows,
        seed=params.seed + repeat,
        world=params.world,
    )


def load_windows(params: Params, n_jobs: int | None = None, repeat: int = 0) -> Windows:
    """Windows of the data set that `params` names, from the cache or prepared now.

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
    if params.dataset == "twin":
        settings = twin_settings(params, repeat)
        key = {"dataset": "twin", "settings": asdict(settings), "code": _code(TWIN_SOURCES)}
        return prepared(key, lambda: prepare_twin(settings, n_jobs=n_jobs), home())
    tree = check_root(params)
    choices = {"n_windows": params.scale.n_windows, "extractor": "hog", "baseline": "none"}
    fingerprint = files_digest(tree.root, tree.files())
    key = {"dataset": "deap", "fingerprint": fingerprint, "settings": choices, "code": _code(DEAP_SOURCES)}
    return prepared(key, lambda: prepare_deap(tree, n_jobs=n_jobs, fingerprint=fingerprint, **choices), home())


def check_root(params: Params) -> DeapTree:
    """The folder that `params` names, listed and checked without reading signals.

    Raises
    ------
    DataError
        No folder is named, or it is not a usable DEAP folder.
    """
    if not params.data_root:
        raise DataError(
            "parameter data_root: empty, but dataset='deap' reads files; give the DEAP folder, or set dataset='twin'"
        )
    return open_tree(params.data_root)


def prepare_deap(
    tree: DeapTree, n_windows: int, extractor: str, baseline: str, n_jobs: int = 1, fingerprint: str = ""
) -> Windows:
    """Windows of a whole DEAP folder, subjects in parallel.

    Parameters
    ----------
    tree : DeapTree
    n_windows, extractor, baseline
        As in :func:`~cdgkd_utils.data.windows.windows_from_trials`.
    n_jobs : int
        Processes.
    fingerprint : str
        Content hash of the folder, kept in ``meta``.

    Returns
    -------
    Windows
        ``truth`` is filled for a folder that the twin wrote.
    """
    truth = tree.truth()
    jobs = [delayed(_subject)(tree, subject, n_windows, extractor, baseline) for subject in tree.subjects]
    finished = Parallel(n_jobs=min(n_jobs, len(jobs)), return_as="generator")(jobs)
    parts = list(tqdm(finished, total=len(jobs), desc="reading DEAP", unit="subject"))
    index = pd.concat([part.index for part in parts], ignore_index=True)
    if index.empty:
        raise DataError(f"data_root {str(tree.root)!r}: not one window with EEG and face video; check face_video")
    if truth is not None:
        keys = ["subject", "trial"]
        truth = index[keys].merge(truth, on=keys, how="left").drop(columns=keys)
        if len(truth) != len(index) or truth.isna().to_numpy().any():
            raise DataError(f"{tree.root / TRUTH_FILE}: expected one row for each trial; write the folder again")
    return Windows(
        eeg=np.concatenate([part.eeg for part in parts]),
        video=np.concatenate([part.video for part in parts]),
        frame_mask=np.concatenate([part.frame_mask for part in parts]),
        index=index,
        truth=truth,
        meta={
            "name": tree.name,
            "synthetic": tree.synthetic is not None,
            "fingerprint": fingerprint,
            "settings": {"n_windows": n_windows, "extractor": extractor, "baseline": baseline},
            "skipped": tree.n_skipped,
            "dropped": sum(part.meta["dropped"] for part in parts),
        },
    )


def _subject(tree: DeapTree, subject: int, n_windows: int, extractor: str, baseline: str) -> Windows:
    return windows_from_trials(trials_of(tree, [subject]), n_windows, extractor, baseline)


def _code(patterns: tuple[str, ...]) -> str:
    """Digest of some modules of this folder: windows prepared by other code are other windows."""
    here = Path(__file__).parent
    return files_digest(here, [path for pattern in patterns for path in here.glob(pattern)])
