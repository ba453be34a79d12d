"""Windows of 4 s from trials, with the features of five frames each, and the pictures behind them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ..config import Params
from .constants import CHANNELS, N_FRAMES, N_VIDEO_FEATURES, RATINGS, SFREQ, WINDOW_SAMPLES, WINDOW_SECONDS
from .features import FACE_SOURCE, FeatureExtractor, crop_to, face_box
from .features import extractor as open_extractor
from .twin import plan_subject
from .twin.design import twin_settings
from .twin.face import face_track, render
from .types import DataError, Trial, Windows
from .video import UnusableClip, frames_at

CROPS = ("centre", "face")
# Centres of the five bins of 0.8 s, seconds from the start of a window.
FRAME_OFFSETS = (np.arange(N_FRAMES) + 0.5) * WINDOW_SECONDS / N_FRAMES


def window_starts(n_samples: int, n_windows: int) -> np.ndarray:
    """First samples of at most `n_windows` (0: all) evenly spaced windows that do not overlap.

    Windows lie on a grid of 4 s, so that they hold the same samples and frames whatever their number; each is the
    middle of an equal share of the trial. A ValueError where not one fits.
    """
    n_fitting = n_samples // WINDOW_SAMPLES
    if n_fitting < 1:
        raise ValueError(f"n_samples: a trial needs {WINDOW_SAMPLES} samples (4 s) or more, got {n_samples}")
    if n_windows < 0:
        raise ValueError(f"n_windows: expected 0 (all) or more, got {n_windows}")
    n_taken = min(n_windows or n_fitting, n_fitting)
    return (2 * np.arange(n_taken) + 1) * n_fitting // (2 * n_taken) * WINDOW_SAMPLES


def windows_from_trials(
    trials: Iterable[Trial], n_windows: int, extractor: str = "hog", crop: str = "centre"
) -> Windows:
    """Cut trials into windows and describe their faces by features.

    Frame ``j`` of window ``w`` is the one shown ``4 w + 0.4 + 0.8 j`` s after the start of the clip.

    Parameters
    ----------
    trials : iterable of Trial
        Each with a face clip.
    n_windows : int
        Largest number of windows per trial; 0 takes all.
    extractor : str
        A name that :func:`~cdgkd_utils.data.features.extractor` knows.
    crop : {"centre", "face"}
        What an extractor sees: the central square, or the face (extra ``mediapipe``).

    Returns
    -------
    Windows
        Sorted as `trials`, then by window. A window of which no frame can be seen is left out, counted in
        ``meta["dropped"]`` and named in ``meta["excluded"]``: (subject, trial, reason).

    Raises
    ------
    DataError
        A clip cannot be decoded.
    ValueError
        A parameter is not one of its choices, or a trial is too short.
    """
    if crop not in CROPS:
        raise ValueError(f"crop: expected one of {', '.join(CROPS)}, got {crop!r}")
    eeg, video, masks, index, excluded, n_dropped = [], [], [], [], [], 0
    extract = open_extractor(extractor)
    for trial in trials:
        starts = window_starts(trial.eeg.shape[1], n_windows)
        times = (starts[:, None] / SFREQ + FRAME_OFFSETS).ravel()
        try:
            features, mask = describe_faces(trial.video, times, extract, crop, trial.video_rate)
        except UnusableClip as fault:
            excluded.append((trial.subject, trial.trial, str(fault)))
            continue
        mask = mask.reshape(len(starts), N_FRAMES)
        features = features.reshape(len(starts), N_FRAMES, N_VIDEO_FEATURES)
        if unseen := (starts[~mask.any(axis=1)] // WINDOW_SAMPLES).tolist():
            n_dropped += len(unseen)
            excluded.append((trial.subject, trial.trial, _unseen(trial.video, unseen)))
        for start, window_features, window_mask in zip(starts.tolist(), features, mask, strict=True):
            if not window_mask.any():
                continue
            eeg.append(trial.eeg[:, start : start + WINDOW_SAMPLES].astype(np.float32))
            video.append(window_features)
            masks.append(window_mask)
            place = (trial.subject, trial.trial, trial.presentation, trial.stimulus, start // WINDOW_SAMPLES)
            index.append((*place, *(trial.ratings[name] for name in RATINGS)))
    return Windows(
        eeg=np.stack(eeg) if eeg else np.zeros((0, len(CHANNELS), WINDOW_SAMPLES), np.float32),
        video=np.stack(video) if video else np.zeros((0, N_FRAMES, N_VIDEO_FEATURES), np.float32),
        frame_mask=np.stack(masks) if masks else np.zeros((0, N_FRAMES), bool),
        index=pd.DataFrame(index, columns=["subject", "trial", "presentation", "stimulus", "window", *RATINGS]),
        meta={"dropped": n_dropped, "excluded": excluded},
    )


def _unseen(clip: Path, windows: list[int]) -> str:
    names = f"window{'s' if len(windows) > 1 else ''} {', '.join(map(str, windows))}"
    return f"{clip.name}: no frame with a face in {names}, left out; the clip ends before, or shows nobody there"


def subject_windows(tree, subject: int, trials_of: Callable[..., Iterable[Trial]], **options: object) -> Windows:
    """One subject's windows of a reader's opened folder; of a folder that the twin wrote, with their truth."""
    excluded: list[tuple[int, str]] = []
    windows = windows_from_trials(trials_of(tree, [subject], excluded=excluded), **options)
    here = f"{tree.root}{os.sep}"  # what is stored names files inside the folder, not where it lies
    everything = [*((subject, *found) for found in excluded), *windows.meta["excluded"]]
    windows.meta["excluded"] = [(who, trial, reason.replace(here, "")) for who, trial, reason in everything]
    truth = tree.truth()
    if truth is not None:
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
    if crop == "face":
        box = face_box(path)  # one for all of the clip, whichever windows are taken
        if box is None:
            return np.zeros((len(times), N_VIDEO_FEATURES), np.float32), np.zeros(len(times), bool)
        frames = crop_to(frames, box, extract.size)
    features = np.zeros((len(times), N_VIDEO_FEATURES), np.float32)
    shown = np.flatnonzero(mask)
    if len(shown):
        features[shown], mask[shown] = extract(frames[shown])
    return features, mask


def trial_frames(
    params: Params, windows: Windows, rows: Sequence[int], size: int = 128, repeat: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The frames behind some windows of one trial, drawn again (twin) or decoded again (files).

    Parameters
    ----------
    params : Params
        What `windows` were loaded with.
    windows : Windows
        Arrays of your own have no pictures: their masks are False.
    rows : sequence of int
        Numbers of the windows, all of one trial, in the order of time.
    size : int
        Edge of the pictures in pixels.
    repeat : int

    Returns
    -------
    frames : ndarray, shape (n, 5, size, size, 3), uint8
    mask : ndarray, shape (n, 5), bool
        True where the frame exists.
    times : ndarray, shape (5,)
        In s from the start of each window.
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
        (place,) = np.flatnonzero(plan.trial == trial)
        frames = render(face_track(settings, plan, int(place)), times, size)
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
