"""One trial from its files to scaled windows: the readers' stages, then those that all data sets share."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import av
import numpy as np

from ...config import Params
from ..constants import CHANNELS, N_FRAMES, SFREQ, WINDOW_SECONDS
from ..deap.raw import RAW_FOLDER
from ..deap.reader import DAT_FOLDER
from ..extractors import extractor as open_extractor
from ..files.video import frames_at
from ..mahnob.reader import SESSION_FOLDER
from ..normalise import Normaliser
from ..types import Trial, Windows
from ..windows import FRAME_OFFSETS, windows_from_trials
from .readers import deap_raw_steps, deap_steps, mahnob_steps
from .sample import sample_tree
from .step import MICROVOLT, Step

FOLDERS = {"deap": DAT_FOLDER, "deap_raw": RAW_FOLDER, "mahnob": SESSION_FOLDER}
CHAINS = {"deap": deap_steps, "deap_raw": deap_raw_steps, "mahnob": mahnob_steps}
COLOURS, OWN = "RGB, 0–255", "extractor's own"


def preprocessing_steps(params: Params, chain: str = "", baseline: str = "none") -> list[Step]:
    """Take one trial through a data set's preparation and keep every stage.

    Parameters
    ----------
    params : Params
        Names the files; on the twin, and for a chain that is not its own and has no folder in `data_root`,
        :func:`~cdgkd_utils.data.steps.sample.sample_tree` writes some. Decides extractor and crop, too.
    chain : {"deap", "deap_raw", "mahnob"}, optional
        DEAP's preprocessed release, its original recordings, or MAHNOB-HCI; default: that of `params`.
    baseline : {"none", "subtract"}
        As in :func:`~cdgkd_utils.data.windows.windows_from_trials`.

    Returns
    -------
    list of Step
        Of the first usable trial with a clip: EEG from the file to scaled windows, then ``clip``, ``frames``,
        ``features`` and ``frame mask``.

    Raises
    ------
    DataError
        A file is missing or damaged, or there is no usable trial.
    ValueError
        The chain or the baseline is unknown.

    References
    ----------
    Koelstra et al., DEAP, IEEE T-AFFC 2012; Soleymani et al., MAHNOB-HCI, IEEE T-AFFC 2012.
    """
    chain = chain or (params.dataset if params.dataset in CHAINS else params.layout)
    if chain not in CHAINS:
        raise ValueError(f"chain: expected one of {', '.join(CHAINS)}, got {chain!r}")
    root = Path(params.data_root).expanduser()
    if params.is_twin or (chain != params.dataset and not (root / FOLDERS[chain]).is_dir()):
        root = sample_tree(chain.removesuffix("_raw"))
    steps, trial = CHAINS[chain](root)
    windows = windows_from_trials([trial], 0, params.extractor, params.crop)
    if baseline == "subtract":
        windows.eeg = (windows.eeg - trial.baseline.mean(axis=1, keepdims=True)).astype(np.float32)
    return [*steps, *_window_steps(windows, baseline), *_video_steps(trial, windows, params)]


def _window_steps(windows: Windows, baseline: str) -> list[Step]:
    starts = _starts(windows)
    stored = replace(windows, eeg=windows.eeg.astype(np.float16))
    scaled = Normaliser.fit(stored, np.arange(len(stored))).eeg(stored)
    options = {"none": "the baseline is not used", "subtract": "minus each channel's mean over the baseline"}
    cut = f"pieces of {WINDOW_SECONDS:g} s without overlap; {options[baseline]}"
    kept = "stored with 16 bits a number; the rounding is finer than what the amplifier tells apart"
    sd = "each channel over its sd in the subject's training windows (here: in this trial)"
    return [
        Step("windows", windows.eeg.shape, SFREQ, MICROVOLT, cut, windows.eeg, CHANNELS, starts),
        Step("cache", stored.eeg.shape, SFREQ, MICROVOLT, kept, stored.eeg, CHANNELS, starts),
        Step("scaled", scaled.shape, SFREQ, "sd", sd, scaled, CHANNELS, starts),
    ]


def _video_steps(trial: Trial, windows: Windows, params: Params) -> list[Step]:
    with av.open(str(trial.video)) as container:
        stream = container.streams.video[0]
        header, shape = float(stream.average_rate), (stream.frames, stream.height, stream.width, 3)
    rate, starts = trial.video_rate or header, _starts(windows)
    with contextlib.closing(open_extractor(params.extractor)) as extract:
        size = extract.size
    times = (np.array(starts)[:, None] + FRAME_OFFSETS).ravel()
    pictures, _ = frames_at(trial.video, times, size, trial.video_rate)
    pictures = pictures.reshape(len(starts), N_FRAMES, size, size, 3)
    told = f"{trial.video.name}: begins with the stimulus and lasts {shape[0] / rate:.1f} s"
    told += f"; its header says {header:g} frames per second" if trial.video_rate else ""
    where = ", ".join(f"{offset:.1f}" for offset in FRAME_OFFSETS)
    crop = "central square" if params.crop == "centre" else "central square, in which the face is looked for"
    seen = f"{windows.frame_mask.sum()} of {windows.frame_mask.size} frames exist and were described"
    kinds = (
        ("frames", COLOURS, f"at {where} s of each window; {crop}", pictures),
        ("features", OWN, f"768 numbers for each picture, by the extractor {params.extractor}", windows.video),
        ("frame mask", "true or false", seen, windows.frame_mask),
    )
    later = [Step(name, x.shape, N_FRAMES / WINDOW_SECONDS, unit, what, x, (), starts) for name, unit, what, x in kinds]
    return [Step("clip", shape, rate, COLOURS, told), *later]


def _starts(windows: Windows) -> tuple[float, ...]:
    """When each window begins, s after the clip's start."""
    return tuple(float(number * WINDOW_SECONDS) for number in windows.index["window"])
