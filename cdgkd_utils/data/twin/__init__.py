"""The synthetic twin of DEAP or MAHNOB-HCI: people with known feelings, EEG and faces.

A person's windows are made here without a detour over files; :mod:`.files` writes the same people in the
data sets' own formats.
"""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pandas as pd

from ..constants import BASELINE_SAMPLES, CHANNEL_ROWS, N_FRAMES, N_VIDEO_FEATURES, RATINGS, SFREQ, WINDOW_SAMPLES
from ..features import extractor as open_extractor
from ..signals import band_pass
from ..types import Windows
from ..video import box_reduce
from .design import FACE_WORLD, WORLDS, TwinSettings, World, find_world
from .eeg import synthesise_trials
from .face import bin_centres, face_track, render
from .plan import SubjectPlan, eeg_posterior, plan_subject, truth_table

__all__ = [
    "FACE_WORLD",
    "WORLDS",
    "SubjectPlan",
    "TwinSettings",
    "World",
    "draw_faces",
    "eeg_posterior",
    "find_world",
    "plan_subject",
    "prepare_subject",
    "truth_table",
]
PICTURE = 128  # pixels, edge of the pictures that are drawn; larger where an extractor wants larger ones
Faces = tuple[np.ndarray, np.ndarray]  # features (n_windows, 5, 768) and which frames there are (n_windows, 5)


def prepare_subject(
    settings: TwinSettings, subject: int, extractor: str = "hog", faces: Faces | None = None
) -> Windows:
    """One person's windows; only the sampled frames are drawn.

    Parameters
    ----------
    settings : TwinSettings
    subject : int
        1-based.
    extractor : str
        A name that :func:`~cdgkd_utils.data.features.extractor` knows.
    faces : tuple of ndarray, optional
        What :func:`draw_faces` gave for this person in any world of the seed.

    Returns
    -------
    Windows
        Sorted by trial, then window. A frame after the end of the clip (59.05 s) is masked and zero; a trial without
        a clip, and a window without any face, is left out. In MAHNOB-HCI's design clips outlast their trials, a trial
        without EEG is left out, too, and signals are filtered as its reader does; nothing may be left.
    """
    plan = plan_subject(settings, subject)
    rows = _recorded(plan)
    counts = plan.n_windows[rows]
    per_window = np.repeat(rows, counts).astype(int)
    n = len(per_window)
    eeg = np.empty((n, len(CHANNEL_ROWS), WINDOW_SAMPLES), dtype=np.float32)
    first = 0
    for row, recording in zip(rows, synthesise_trials(settings, plan, rows), strict=True):
        here = slice(first, first := first + int(plan.n_windows[row]))
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
    video, mask = draw_faces(settings, subject, extractor) if faces is None else faces
    seen = mask.any(axis=1)
    return Windows(
        eeg=eeg[seen],
        video=video[seen],
        frame_mask=mask[seen],
        index=index[seen].reset_index(drop=True),
        truth=truth[seen].reset_index(drop=True),
        meta={
            "name": f"{settings.design.title} (world {settings.world})",
            "synthetic": True,
            "settings": {**asdict(settings), "extractor": extractor},
            "excluded": [],
        },
    )


def draw_faces(settings: TwinSettings, subject: int, extractor: str = "hog") -> Faces:
    """Features of the frames of all of a person's windows, (n, 5, 768), and which frames there are, (n, 5).

    The same in every world of a seed in which films have the same share.
    """
    plan = plan_subject(settings, subject)
    rows = _recorded(plan)
    n = int(plan.n_windows[rows].sum())
    video = np.zeros((n, N_FRAMES, N_VIDEO_FEATURES), dtype=np.float32)
    mask = np.zeros((n, N_FRAMES), dtype=bool)
    extract = open_extractor(extractor)
    first = 0
    for row in rows:
        here = slice(first, first := first + int(plan.n_windows[row]))
        times = bin_centres(here.stop - here.start)
        shown = np.flatnonzero(times < settings.design.video_seconds)
        frames = render(face_track(settings, plan, row), times[shown], max(PICTURE, extract.size))
        features, found = extract(box_reduce(frames, extract.size))
        video[here].reshape(-1, N_VIDEO_FEATURES)[shown] = features
        mask[here].reshape(-1)[shown] = found
    return video, mask


def _recorded(plan: SubjectPlan) -> list[int]:
    """Rows of the trials that have both signals, in the order of their numbers on disk."""
    return [row for row in np.argsort(plan.trial).tolist() if plan.has_video[row] and plan.has_eeg[row]]


def _band_passed(recording: np.ndarray) -> np.ndarray:
    """What a reader makes of a recording that goes on, mirrored, for at least 1 s at either end."""
    margin = int(SFREQ)  # longer than half the filter
    longer = np.pad(recording, ((0, 0), (margin, margin)), mode="reflect")
    return band_pass(longer, SFREQ)[:, margin:-margin]
