"""The synthetic twin of DEAP or MAHNOB-HCI, prepared directly: people with known feelings, EEG and faces."""

from __future__ import annotations

import contextlib
from dataclasses import asdict

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from tqdm.auto import tqdm

from ..constants import (
    BASELINE_SAMPLES,
    CHANNEL_ROWS,
    N_FRAMES,
    N_VIDEO_FEATURES,
    RATINGS,
    SFREQ,
    WINDOW_SAMPLES,
)
from ..extractors import extractor as open_extractor
from ..extractors.hog768 import box_reduce
from ..files.filtering import band_pass
from ..types import Windows
from .design import stimulus_name
from .eeg import synthesise_eeg, synthesise_peripheral, synthesise_rest, synthesise_trials
from .face import bin_centres, face_track, render
from .leadfield import leadfield
from .plan import SubjectPlan, TwinSettings, plan_subject, truth_table
from .worlds import WORLDS, World

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
    "synthesise_rest",
    "synthesise_trials",
    "truth_table",
]


PICTURE = 128  # pixels, edge of the pictures that are drawn; larger where an extractor wants larger ones


def prepare_subject(
    settings: TwinSettings, subject: int, extractor: str = "hog", faces: Windows | None = None
) -> Windows:
    """One person's windows, without a detour over files; only the sampled frames are drawn.

    Parameters
    ----------
    settings : TwinSettings
    subject : int
        1-based.
    extractor : str
        A name that :func:`~cdgkd_utils.data.extractors.extractor` knows.
    faces : Windows, optional
        The same person's in another world of the same seed: faces do not depend on the world, and are taken from
        there instead of being drawn again.

    Returns
    -------
    Windows
        Sorted by trial, then window. A frame after the end of the clip (59.05 s) is masked and zero,
        a trial without a clip is left out, as in DEAP. In MAHNOB-HCI's design clips outlast their trials,
        a trial without EEG is left out, too, and signals are filtered as its reader does; nothing may be left.
    """
    plan = plan_subject(settings, subject)
    rows = [row for row in np.argsort(plan.trial).tolist() if plan.has_video[row] and plan.has_eeg[row]]
    counts = plan.n_windows[rows]
    per_window = np.repeat(rows, counts).astype(int)
    n = len(per_window)
    eeg = np.empty((n, len(CHANNEL_ROWS), WINDOW_SAMPLES), dtype=np.float32)
    first = 0
    for row, recording in zip(rows, synthesise_trials(settings, plan, rows), strict=True):
        here = slice(first, first + int(plan.n_windows[row]))
        first = here.stop
        if settings.design.band_passed:
            recording = _band_passed(recording)
        stimulus = recording[list(CHANNEL_ROWS), BASELINE_SAMPLES:]
        eeg[here] = stimulus.reshape(len(CHANNEL_ROWS), -1, WINDOW_SAMPLES).swapaxes(0, 1)
    index = pd.DataFrame(
        {
            "subject": np.full(n, subject),
            "trial": plan.trial[per_window],
            "presentation": plan.presentation[per_window],
            "stimulus": pd.array([plan.stimulus[row] for row in per_window], dtype="str"),
            "window": np.concatenate([np.arange(count) for count in counts]) if n else np.zeros(0, int),
            **{name: plan.ratings[per_window, j] for j, name in enumerate(RATINGS)},
        }
    )
    if settings.layout == "mahnob":
        index["liking"] = np.nan  # nobody was asked; the fourth question is another one
    truth = truth_table(plan).drop(columns=["subject", "trial"]).iloc[per_window]
    if faces is None:
        video, mask = _draw_faces(settings, plan, rows, extractor)
        seen = mask.any(axis=1)  # as on files, a window without any face is left out
        video, mask = video if seen.all() else video[seen], mask[seen]
    else:
        place = ["trial", "window"]
        seen = pd.MultiIndex.from_frame(index[place]).isin(pd.MultiIndex.from_frame(faces.index[place]))
        video, mask = faces.video_at(), faces.frame_mask
    return Windows(
        eeg=eeg if seen.all() else eeg[seen],
        video=video,
        frame_mask=mask,
        index=index[seen].reset_index(drop=True),
        truth=truth[seen].reset_index(drop=True),
        meta=_meta(settings, extractor),
    )


def _draw_faces(
    settings: TwinSettings, plan: SubjectPlan, rows: list[int], extractor: str
) -> tuple[np.ndarray, np.ndarray]:
    """Features of some trials' frames, shape (n_windows, 5, 768), and which frames there are."""
    n = int(plan.n_windows[rows].sum())
    video = np.zeros((n, N_FRAMES, N_VIDEO_FEATURES), dtype=np.float32)
    mask = np.zeros((n, N_FRAMES), dtype=bool)
    first = 0
    with contextlib.closing(open_extractor(extractor)) as extract:
        for row in rows:
            here = slice(first, first + int(plan.n_windows[row]))
            first = here.stop
            times = bin_centres(here.stop - here.start)
            shown = np.flatnonzero(times < settings.design.video_seconds)
            frames = render(face_track(settings, plan, row), times[shown], max(PICTURE, extract.size))
            features, found = extract(box_reduce(frames, extract.size))
            video[here].reshape(-1, N_VIDEO_FEATURES)[shown] = features
            mask[here].reshape(-1)[shown] = found
    return video, mask


def _band_passed(recording: np.ndarray) -> np.ndarray:
    """What a reader makes of a recording that goes on, mirrored, for at least 1 s at either end."""
    margin = int(SFREQ)  # longer than half the filter
    longer = np.pad(recording, ((0, 0), (margin, margin)), mode="reflect")
    return band_pass(longer, SFREQ)[:, margin:-margin]


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
        A name that :func:`~cdgkd_utils.data.extractors.extractor` knows.

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
        "name": f"{settings.design.title} (world {settings.world})",
        "synthetic": True,
        "settings": {**asdict(settings), "extractor": extractor},
    }
