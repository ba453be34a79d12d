"""One trial on its way from the files to the windows that networks see, for looking at it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from ..config import Params, home
from . import deap, mahnob
from .signals import Trace
from .twin import TwinSettings
from .twin.files import write_deap
from .twin.mahnob_files import write_mahnob
from .types import DataError, Normaliser
from .windows import windows_from_trials

_FOLDERS = {"deap": deap.DAT_FOLDER, "deap_raw": deap.RAW_FOLDER, "mahnob": mahnob.SESSION_FOLDER}
# One person each, trials of full length. With this seed the person saw DEAP's stimulus 1 second, stimulus 2 first.
_SAMPLES = {
    "deap": TwinSettings(n_subjects=1, n_trials=2, n_windows=15, seed=2),
    "mahnob": TwinSettings(n_subjects=1, n_trials=1, n_windows=0, seed=2, layout="mahnob"),
}
_SAMPLE_VERSION = 2  # to be raised when the files of the samples change


def trial_steps(params: Params, dataset: str = "") -> Trace:
    """Take the first usable trial through its reader, and keep every step: (name, signal (28, n_times), sampling rate).

    Signals are from the clip's start on: those of the reader in µV, then ``windows``, put one after the other, and
    ``scaled``, in sd of the subject's training windows (here: of this trial). `dataset` is "deap", "deap_raw" or
    "mahnob", by default that of `params`; where their folder has no such files, synthetic ones are written once.
    """
    dataset = dataset or (params.layout if params.is_twin else params.dataset)
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
    made = [(name, np.hstack(list(x)), steps[-1][2]) for name, x in (("windows", windows.eeg), ("scaled", scaled))]
    return [*steps, *made]


def sample_tree(layout: str) -> Path:
    """A folder of synthetic files of one person in the layout "deap" (with recordings) or "mahnob", below the home."""
    folder = home() / "sample" / f"{layout}-{_SAMPLE_VERSION}"
    if not folder.is_dir():
        for older in folder.parent.glob(f"{layout}-*"):
            shutil.rmtree(older, ignore_errors=True)
        try:
            if layout == "deap":
                write_deap(_SAMPLES[layout], folder, 60, 64, raw=True)
            else:
                write_mahnob(_SAMPLES[layout], folder, 64)
        except OSError:
            if not folder.is_dir():  # otherwise another process has finished the same first
                raise
    return folder
