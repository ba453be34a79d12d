"""One trial on its way from the files to the windows that networks see, for looking at it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..config import Params
from . import deap, mahnob
from .normalise import Normaliser
from .signals import Trace
from .twin.files import sample_tree
from .types import DataError
from .windows import windows_from_trials

_FOLDERS = {"deap": deap.DAT_FOLDER, "deap_raw": deap.RAW_FOLDER, "mahnob": mahnob.SESSION_FOLDER}


def trial_steps(params: Params, dataset: str = "") -> Trace:
    """Take the first usable trial through its reader, and keep every step.

    Parameters
    ----------
    params : Params
        Names the files; where its folder has none of `dataset`'s, or it is a twin's, synthetic ones are written once.
    dataset : {"deap", "deap_raw", "mahnob"}, optional
        DEAP's preprocessed release, its original recordings, or MAHNOB-HCI; default: that of `params`.

    Returns
    -------
    list of (name, signal, sfreq)
        Signals (28, n_times) from the clip's start on: those of the reader in µV, then ``windows``, put one after the
        other, and ``scaled``, in sd of the subject's training windows (here: of this trial).
    """
    dataset = dataset or (params.layout if params.is_twin else params.dataset)
    if dataset not in _FOLDERS:
        raise ValueError(f"dataset: expected one of {', '.join(_FOLDERS)}, got {dataset!r}")
    root = Path(params.data_root).expanduser()
    if params.is_twin or not (root / _FOLDERS[dataset]).is_dir():
        root = sample_tree(dataset.removesuffix("_raw"))
    steps: Trace = []
    if dataset == "mahnob":
        trials = mahnob.trials_of(mahnob.open_mahnob(root), excluded=[], trace=steps)
    else:
        trials = deap.trials_of(deap.open_tree(root, raw=dataset == "deap_raw"), excluded=[], trace=steps)
    trial = next(trials, None)
    if trial is None:
        raise DataError(f"data_root {str(root)!r}: no usable trial with EEG and face video; ask the doctor why")
    windows = windows_from_trials([trial], 0, params.extractor, params.crop)
    scaled = Normaliser.fit(windows, np.arange(len(windows))).eeg(windows)
    rate = steps[-1][2]
    return [
        *steps,
        *((name, np.concatenate(list(x), 1), rate) for name, x in (("windows", windows.eeg), ("scaled", scaled))),
    ]
