"""The synthetic twin of DEAP, prepared directly: people with known feelings, EEG and faces."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from tqdm.auto import tqdm

from .constants import (
    BASELINE_SAMPLES,
    CHANNEL_ROWS,
    N_FRAMES,
    N_VIDEO_FEATURES,
    RATINGS,
    VIDEO_SECONDS,
    WINDOW_SAMPLES,
)
from .features import EXTRACTORS, box_reduce
from .leadfield import leadfield
from .twin_eeg import synthesise_eeg, synthesise_peripheral
from .twin_face import bin_centres, face_track, render
from .twin_plan import WORLDS, SubjectPlan, TwinSettings, World, plan_subject, truth_table
from .types import Windows

__all__ = [
    "WORLDS",
    "SubjectPlan",
    "TwinSettings",
    "World",
    "face_track",
    "plan_subject",
    "prepare_subject",
    "prepare_twin",
    "render",
    "stimulus_name",
    "synthesise_eeg",
    "synthesise_peripheral",
    "truth_table",
]


def stimulus_name(trial: int) -> str:
    """Name of the stimulus of a trial; every subject saw the same one (DEAP: Experiment_id)."""
    return f"stimulus-{trial:02d}"


def prepare_subject(settings: TwinSettings, subject: int, extractor: str = "hog") -> Windows:
    """One person's windows, without a detour over files; only the sampled frames are drawn.

    Parameters
    ----------
    settings : TwinSettings
    subject : int
        1-based.
    extractor : str
        A name of ``features.EXTRACTORS``.

    Returns
    -------
    Windows
        Sorted by trial, then window. A frame after the end of the clip (59.05 s) is masked and zero,
        a trial without a clip is left out, as in DEAP.
    """
    plan = plan_subject(settings, subject)
    trials = np.flatnonzero(plan.has_video)
    n_windows = settings.n_windows

    eeg = synthesise_eeg(settings, plan)[trials][:, CHANNEL_ROWS, BASELINE_SAMPLES:].astype(np.float32)
    eeg = eeg.reshape(len(trials), len(CHANNEL_ROWS), n_windows, WINDOW_SAMPLES).swapaxes(1, 2)

    times = bin_centres(n_windows)
    shown = times < VIDEO_SECONDS
    video = np.zeros((len(trials), n_windows * N_FRAMES, N_VIDEO_FEATURES), dtype=np.float32)
    extract = EXTRACTORS[extractor]
    for features, row in zip(video, trials, strict=True):
        frames = render(face_track(settings, plan, row), times[shown])
        features[shown] = extract(box_reduce(frames, extract.size))

    per_window = np.repeat(trials, n_windows)
    index = pd.DataFrame(
        {
            "subject": subject,
            "trial": per_window + 1,
            "presentation": plan.presentation[per_window],
            "stimulus": [stimulus_name(trial) for trial in per_window + 1],
            "window": np.tile(np.arange(n_windows), len(trials)),
            **{name: plan.ratings[per_window, j] for j, name in enumerate(RATINGS)},
        }
    )
    truth = truth_table(plan).drop(columns=["subject", "trial"]).iloc[per_window].reset_index(drop=True)
    n = len(index)
    return Windows(
        eeg=np.ascontiguousarray(eeg).reshape(n, len(CHANNEL_ROWS), WINDOW_SAMPLES),
        video=video.reshape(n, N_FRAMES, N_VIDEO_FEATURES),
        frame_mask=np.tile(shown.reshape(n_windows, N_FRAMES), (len(trials), 1)),
        index=index,
        truth=truth,
        meta=_meta(settings, extractor),
    )


def prepare_twin(settings: TwinSettings, n_jobs: int = 1, progress: bool = True, extractor: str = "hog") -> Windows:
    """All people's windows.

    Parameters
    ----------
    settings : TwinSettings
    n_jobs : int
        Processes; the numbers do not depend on it.
    progress : bool
        Show a progress bar.
    extractor : str
        A name of ``features.EXTRACTORS``.

    Returns
    -------
    Windows
        Sorted by subject, trial, window.
    """
    leadfield()  # once here, so that the processes find it ready
    subjects = range(1, settings.n_subjects + 1)
    jobs = (delayed(prepare_subject)(settings, subject, extractor) for subject in subjects)
    results = Parallel(n_jobs=n_jobs, return_as="generator")(jobs)
    parts = list(tqdm(results, total=len(subjects), desc="twin", unit="subject", disable=not progress))
    return Windows(
        eeg=np.concatenate([part.eeg for part in parts]),
        video=np.concatenate([part.video for part in parts]),
        frame_mask=np.concatenate([part.frame_mask for part in parts]),
        index=pd.concat([part.index for part in parts], ignore_index=True),
        truth=pd.concat([part.truth for part in parts], ignore_index=True),
        meta=_meta(settings, extractor),
    )


def _meta(settings: TwinSettings, extractor: str) -> dict:
    return {
        "name": f"synthetic twin (world {settings.world})",
        "synthetic": True,
        "settings": {**asdict(settings), "extractor": extractor},
    }
