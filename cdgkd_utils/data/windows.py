"""Windows of 4 s with the features of five frames each, from trials or of the twin, and the pictures behind them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from ..config import Params
from .constants import (
    BASELINE_SAMPLES,
    CHANNEL_ROWS,
    CHANNELS,
    N_FRAMES,
    N_VIDEO_FEATURES,
    RATINGS,
    SFREQ,
    WINDOW_SAMPLES,
    WINDOW_SECONDS,
)
from .features import FACE_SOURCE, FeatureExtractor, crop_to, face_box
from .features import extractor as open_extractor
from .signals import band_pass
from .twin import SubjectPlan, TwinSettings, plan_subject, truth_table, twin_settings
from .twin.eeg import synthesise_trials
from .twin.face import bin_centres, face_track, render
from .types import DataError, Trial, Windows
from .video import UnusableClip, box_reduce, frames_at

CROPS = ("centre", "face")
# Centres of the five bins of 0.8 s, seconds from the start of a window.
FRAME_OFFSETS = (np.arange(N_FRAMES) + 0.5) * WINDOW_SECONDS / N_FRAMES
PICTURE = 128  # pixels, edge of the twin's pictures; larger where an extractor wants larger ones
Faces = tuple[np.ndarray, np.ndarray]  # features (n_windows, 5, 768) and which frames there are (n_windows, 5)


def window_starts(n_samples: int, n_windows: int) -> np.ndarray:
    """First samples of at most `n_windows` (0: all) evenly spaced windows that do not overlap.

    Windows lie on a grid of 4 s, so that they hold the same samples and frames whatever their number; each is the
    middle of an equal share of the trial.
    """
    n_fitting = n_samples // WINDOW_SAMPLES
    if n_fitting < 1 or n_windows < 0:
        expected = f"n_samples of {WINDOW_SAMPLES} (4 s) or more, n_windows of 0 (all) or more"
        raise ValueError(f"expected {expected}; got {n_samples} and {n_windows}")
    n_taken = min(n_windows or n_fitting, n_fitting)
    return (2 * np.arange(n_taken) + 1) * n_fitting // (2 * n_taken) * WINDOW_SAMPLES


def windows_from_trials(
    trials: Iterable[Trial], n_windows: int, extractor: str = "hog", crop: str = "centre"
) -> Windows:
    """Cut trials into at most `n_windows` windows each (0: all) and describe their faces by features.

    Frame ``j`` of window ``w`` is the one shown ``4 w + 0.4 + 0.8 j`` s after the start of the clip. A window of which
    no frame can be seen is left out and named in ``meta["excluded"]``: (subject, trial, reason). `crop` is what the
    `extractor` (a name of :mod:`.features`) sees: the "centre"'s square, or the "face" (extra ``mediapipe``).
    """
    if crop not in CROPS:
        raise ValueError(f"crop: expected one of {', '.join(CROPS)}, got {crop!r}")
    eeg, video, masks, index, excluded = [], [], [], [], []
    extract = open_extractor(extractor)
    for trial in trials:
        starts = window_starts(trial.eeg.shape[1], n_windows)
        times = (starts[:, None] / SFREQ + FRAME_OFFSETS).ravel()
        try:
            features, mask = describe_faces(trial.video, times, extract, crop, trial.video_rate)
        except UnusableClip as fault:
            excluded.append((trial.subject, trial.trial, str(fault)))
            continue
        mask = mask.reshape(-1, N_FRAMES)
        seen, numbers = mask.any(axis=1), starts // WINDOW_SAMPLES
        if not seen.all():
            unseen = ", ".join(map(str, numbers[~seen]))
            reason = f"no frame with a face in window(s) {unseen}; the clip ends before, or shows nobody there"
            excluded.append((trial.subject, trial.trial, f"{trial.video.name}: {reason}"))
        eeg += [trial.eeg[:, start : start + WINDOW_SAMPLES].astype(np.float32) for start in starts[seen]]
        video += list(features.reshape(-1, N_FRAMES, N_VIDEO_FEATURES)[seen])
        masks += list(mask[seen])
        ratings = [trial.ratings[name] for name in RATINGS]
        place = (trial.subject, trial.trial, trial.presentation, trial.stimulus)
        index += [(*place, number, *ratings) for number in numbers[seen].tolist()]
    return Windows(
        eeg=np.array(eeg, np.float32).reshape(-1, len(CHANNELS), WINDOW_SAMPLES),
        video=np.array(video, np.float32).reshape(-1, N_FRAMES, N_VIDEO_FEATURES),
        frame_mask=np.array(masks, bool).reshape(-1, N_FRAMES),
        index=pd.DataFrame(index, columns=["subject", "trial", "presentation", "stimulus", "window", *RATINGS]),
        meta={"excluded": excluded},
    )


def subject_windows(tree, subject: int, trials_of: Callable[..., Iterable[Trial]], **options: object) -> Windows:
    """One subject's windows of a reader's opened folder; of a folder that the twin wrote, with their truth."""
    excluded: list[tuple[int, str]] = []
    windows = windows_from_trials(trials_of(tree, [subject], excluded=excluded), **options)
    here = f"{tree.root}{os.sep}"  # what is stored names files inside the folder, not where it lies
    everything = [*((subject, *found) for found in excluded), *windows.meta["excluded"]]
    windows.meta["excluded"] = [(who, trial, reason.replace(here, "")) for who, trial, reason in everything]
    if (truth := tree.truth()) is not None:
        keys = ["subject", "trial"]
        windows.truth = windows.index[keys].merge(truth, on=keys, how="left").drop(columns=keys)
        if len(windows.truth) != len(windows) or windows.truth.isna().to_numpy().any():
            raise DataError(f"{tree.root}: truth.csv: expected one row for each trial; write the folder again")
    return windows


def describe_faces(
    path: Path, times: np.ndarray, extract: FeatureExtractor, crop: str = "centre", rate: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Features of the frames of one clip, (n, 768), zero where the mask, (n,), is False: no frame, or no face in it.

    `times` are in s from the start of the clip, ascending; `rate` in frames per second, by default the header's.
    """
    frames, mask = frames_at(path, times, extract.size if crop == "centre" else FACE_SOURCE, rate)
    features = np.zeros((len(times), N_VIDEO_FEATURES), np.float32)
    if crop == "face":
        box = face_box(path)  # one for all of the clip, whichever windows are taken
        if box is None:
            return features, np.zeros(len(times), bool)
        frames = crop_to(frames, box, extract.size)
    if len(shown := np.flatnonzero(mask)):
        features[shown], mask[shown] = extract(frames[shown])
    return features, mask


def prepare_subject(
    settings: TwinSettings, subject: int, extractor: str = "hog", faces: Faces | None = None
) -> Windows:
    """One person's windows of the twin, without a detour over files; only the sampled frames are drawn.

    `subject` is 1-based; `faces` are what :func:`draw_faces` gave for the person in any world of the seed. Sorted by
    trial, then window. A frame after the end of the clip (59.05 s) is masked and zero; a trial without a clip, and a
    window without any face, is left out. In MAHNOB-HCI's design clips outlast their trials, a trial without EEG is
    left out, too, and signals are filtered as its reader does; nothing may be left.
    """
    plan = plan_subject(settings, subject)
    rows = _recorded(plan)
    counts = plan.n_windows[rows]
    per_window = np.repeat(rows, counts).astype(int)
    pieces = [np.zeros((0, len(CHANNELS), WINDOW_SAMPLES), np.float32)]
    for recording in synthesise_trials(settings, plan, rows):
        if settings.design.band_passed:
            recording = _band_passed(recording)
        stimulus = recording[list(CHANNEL_ROWS), BASELINE_SAMPLES:].astype(np.float32)
        pieces.append(stimulus.reshape(len(CHANNELS), -1, WINDOW_SAMPLES).swapaxes(0, 1))
    index = pd.DataFrame(
        {
            "subject": np.full(len(per_window), subject),
            "trial": plan.trial[per_window],
            "presentation": plan.presentation[per_window],
            "stimulus": pd.array([plan.stimulus[row] for row in per_window], dtype="str"),
            "window": np.concatenate([np.zeros(0, int), *map(np.arange, counts)]),
            **{name: plan.ratings[per_window, j] for j, name in enumerate(RATINGS)},
        }
    )
    if settings.layout == "mahnob":
        index["liking"] = np.nan  # nobody was asked; the fourth question is another one
    truth = truth_table(plan).drop(columns=["subject", "trial"]).iloc[per_window]
    video, mask = draw_faces(settings, subject, extractor) if faces is None else faces
    seen = mask.any(axis=1)
    meta = {"name": f"{settings.design.title} (world {settings.world})", "synthetic": True, "excluded": []}
    meta["settings"] = {**asdict(settings), "extractor": extractor}
    index, truth = index[seen].reset_index(drop=True), truth[seen].reset_index(drop=True)
    return Windows(np.concatenate(pieces)[seen], video[seen], mask[seen], index, truth, meta)


def draw_faces(settings: TwinSettings, subject: int, extractor: str = "hog") -> Faces:
    """Features of the frames of all of a person's windows, (n, 5, 768), and which frames there are, (n, 5).

    The same in every world of a seed in which films have the same share.
    """
    plan, extract = plan_subject(settings, subject), open_extractor(extractor)
    videos, masks = [np.zeros((0, N_VIDEO_FEATURES), np.float32)], [np.zeros(0, bool)]
    for row in _recorded(plan):
        times = bin_centres(plan.n_windows[row])
        mask = times < settings.design.video_seconds
        frames = render(face_track(settings, plan, row), times[mask], max(PICTURE, extract.size))
        video = np.zeros((len(times), N_VIDEO_FEATURES), np.float32)
        video[mask], mask[mask] = extract(box_reduce(frames, extract.size))
        videos, masks = [*videos, video], [*masks, mask]
    video, mask = np.concatenate(videos), np.concatenate(masks)
    return video.reshape(-1, N_FRAMES, N_VIDEO_FEATURES), mask.reshape(-1, N_FRAMES)


def _recorded(plan: SubjectPlan) -> list[int]:
    """Rows of the trials that have both signals, in the order of their numbers on disk."""
    return [row for row in np.argsort(plan.trial).tolist() if plan.has_video[row] and plan.has_eeg[row]]


def _band_passed(recording: np.ndarray) -> np.ndarray:
    """What a reader makes of a recording that goes on, mirrored, for at least 1 s at either end."""
    margin = int(SFREQ)  # longer than half the filter
    longer = np.pad(recording, ((0, 0), (margin, margin)), mode="reflect")
    return band_pass(longer, SFREQ)[:, margin:-margin]


def trial_frames(
    params: Params, windows: Windows, rows: Sequence[int], size: int = 128, repeat: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The frames behind some windows of one trial, drawn again (twin) or decoded again (files).

    `params` and `repeat` are what `windows` were loaded with; `rows` are numbers of windows in the order of time, and
    `size` is the pictures' edge in pixels. Returns frames, shape (n, 5, size, size, 3), uint8; a mask, (n, 5), True
    where the frame exists (arrays of your own have none); and their times, (5,), in s from the start of each window.
    """
    index = windows.index.iloc[list(rows)]
    trials = index[["subject", "trial"]].drop_duplicates()
    if len(trials) != 1:
        raise ValueError(f"rows: expected windows of one trial, got those of {len(trials)} trials")
    subject, trial = (int(number) for number in trials.iloc[0])
    times = (index["window"].to_numpy()[:, None] * WINDOW_SECONDS + FRAME_OFFSETS).ravel()
    if windows.meta.get("cache_settings", {}).get("dataset") != params.dataset:  # arrays of your own
        frames, mask = np.zeros((len(times), size, size, 3), np.uint8), np.zeros(len(times), bool)
    elif params.is_twin:
        settings = twin_settings(params, repeat)
        plan = plan_subject(settings, subject)
        frames = render(face_track(settings, plan, plan.trial.tolist().index(trial)), times, size)
        mask = np.array(windows.frame_mask[list(rows)])
    else:
        path, rate = clip_of(params, subject, trial)
        frames, mask = frames_at(path, times, size, rate)
    return frames.reshape(len(rows), N_FRAMES, size, size, 3), mask.reshape(len(rows), N_FRAMES), FRAME_OFFSETS


def clip_of(params: Params, subject: int, trial: int) -> tuple[Path, float | None]:
    """File of a trial's face video, and its frames per second where the header is known to be wrong."""
    from .deap import read_ratings
    from .mahnob import inspect_session

    root = Path(params.data_root).expanduser()
    if params.dataset == "mahnob":
        found = inspect_session(root / "Sessions" / str(trial), trial)
        return found.video, found.video_rate
    ratings = read_ratings(root, [subject])
    return ratings.loc[ratings["Experiment_id"] == trial, "clip"].item(), None
