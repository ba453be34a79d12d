"""Folders of files, whatever their data set: opened, checked, and turned into windows subject by subject."""

from __future__ import annotations

import os
from functools import partial

import numpy as np
import pandas as pd

from ..config import Params
from .cache import Build
from .deap import raw as deap_raw
from .deap import reader as deap
from .deap.raw import RawTree, open_raw_tree
from .deap.reader import DeapTree, open_tree
from .errors import DataError
from .files.mark import TRUTH_FILE
from .mahnob import reader as mahnob
from .mahnob.reader import MahnobTree, open_mahnob
from .types import Windows
from .windows import windows_from_trials

Tree = DeapTree | RawTree | MahnobTree
_READERS = {DeapTree: deap.trials_of, RawTree: deap_raw.trials_of, MahnobTree: mahnob.trials_of}


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
