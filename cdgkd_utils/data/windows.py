"""Windows of 4 s from trials, with the features of five frames each."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from .constants import CHANNELS, N_FRAMES, N_VIDEO_FEATURES, RATINGS, SFREQ, WINDOW_SAMPLES, WINDOW_SECONDS
from .extractors import FeatureExtractor
from .extractors import extractor as open_extractor
from .extractors.face_crop import crop_faces
from .extractors.mediapipe_faces import find_boxes
from .files.video import frames_at
from .types import Trial, Windows

BASELINES = ("none", "subtract")
CROPS = ("centre", "face")
FACE_SOURCE = 512  # pixels, edge of the central square in which a face is looked for
# Centres of the five bins of 0.8 s, seconds from the start of a window.
FRAME_OFFSETS = (np.arange(N_FRAMES) + 0.5) * WINDOW_SECONDS / N_FRAMES


def window_starts(n_samples: int, n_windows: int) -> np.ndarray:
    """First samples of evenly spaced windows that do not overlap.

    Windows lie on a grid of 4 s, so that they hold the same samples and frames whatever their number.

    Parameters
    ----------
    n_samples : int
        Length of the trial at 128 Hz.
    n_windows : int
        The largest number of windows; 0 takes all that fit.

    Returns
    -------
    ndarray, shape (n,), int64
        ``n`` is the smaller of `n_windows` and the number that fits; each window is the middle of an
        equal share of the trial.

    Raises
    ------
    ValueError
        Not one window fits, or `n_windows` is negative.
    """
    n_fitting = n_samples // WINDOW_SAMPLES
    if n_fitting < 1:
        raise ValueError(f"n_samples: a trial needs {WINDOW_SAMPLES} samples (4 s) or more, got {n_samples}")
    if n_windows < 0:
        raise ValueError(f"n_windows: expected 0 (all) or more, got {n_windows}")
    n_taken = min(n_windows or n_fitting, n_fitting)
    return (2 * np.arange(n_taken) + 1) * n_fitting // (2 * n_taken) * WINDOW_SAMPLES


def windows_from_trials(
    trials: Iterable[Trial], n_windows: int, extractor: str = "hog", baseline: str = "none", crop: str = "centre"
) -> Windows:
    """Cut trials into windows and describe their faces by features.

    Frame ``j`` of window ``w`` is the one shown ``4 w + 0.4 + 0.8 j`` s after the start of the clip.
    A window of which no frame can be seen is left out, counted in ``meta["dropped"]`` and named in
    ``meta["excluded"]``: (subject, trial, reason).

    Parameters
    ----------
    trials : iterable of Trial
        Each with a face clip.
    n_windows : int
        Largest number of windows per trial; 0 takes all.
    extractor : str
        A name that :func:`~cdgkd_utils.data.extractors.extractor` knows.
    baseline : {"none", "subtract"}
        ``subtract`` takes away each channel's mean over the 3 s before playback.
    crop : {"centre", "face"}
        What an extractor sees: the central square, or the face followed through the clip (extra ``mediapipe``).

    Returns
    -------
    Windows
        Sorted as `trials`, then by window.

    Raises
    ------
    DataError
        A clip cannot be decoded.
    ExtractorError
        What the extractor or the crop needs is not installed.
    ValueError
        A parameter is not one of its choices, or a trial is too short.
    """
    if baseline not in BASELINES:
        raise ValueError(f"baseline: expected one of {', '.join(BASELINES)}, got {baseline!r}")
    if crop not in CROPS:
        raise ValueError(f"crop: expected one of {', '.join(CROPS)}, got {crop!r}")
    eeg, video, masks, index, excluded, n_dropped = [], [], [], [], [], 0
    with contextlib.closing(open_extractor(extractor)) as extract:
        for trial in trials:
            starts = window_starts(trial.eeg.shape[1], n_windows)
            times = (starts[:, None] / SFREQ + FRAME_OFFSETS).ravel()
            features, mask = describe_faces(trial.video, times, extract, crop, trial.video_rate)
            mask = mask.reshape(len(starts), N_FRAMES)
            features = features.reshape(len(starts), N_FRAMES, N_VIDEO_FEATURES)
            if unseen := (starts[~mask.any(axis=1)] // WINDOW_SAMPLES).tolist():
                n_dropped += len(unseen)
                excluded.append((trial.subject, trial.trial, _unseen(trial.video, unseen)))
            offset = trial.baseline.mean(axis=1, keepdims=True) if baseline == "subtract" else 0.0
            for start, window_features, window_mask in zip(starts.tolist(), features, mask, strict=True):
                if not window_mask.any():
                    continue
                eeg.append((trial.eeg[:, start : start + WINDOW_SAMPLES] - offset).astype(np.float32))
                video.append(window_features)
                masks.append(window_mask)
                index.append(
                    {
                        "subject": trial.subject,
                        "trial": trial.trial,
                        "presentation": trial.presentation,
                        "stimulus": trial.stimulus,
                        "window": start // WINDOW_SAMPLES,
                        **trial.ratings,
                    }
                )
    columns = ["subject", "trial", "presentation", "stimulus", "window", *RATINGS]
    return Windows(
        eeg=np.stack(eeg) if eeg else np.zeros((0, len(CHANNELS), WINDOW_SAMPLES), np.float32),
        video=np.stack(video) if video else np.zeros((0, N_FRAMES, N_VIDEO_FEATURES), np.float32),
        frame_mask=np.stack(masks) if masks else np.zeros((0, N_FRAMES), bool),
        index=pd.DataFrame(index, columns=columns),
        meta={"dropped": n_dropped, "excluded": excluded},
    )


def _unseen(clip: Path, windows: list[int]) -> str:
    names = f"window{'s' if len(windows) > 1 else ''} {', '.join(map(str, windows))}"
    return f"{clip.name}: no frame with a face in {names}, left out; the clip ends before, or shows nobody there"


def describe_faces(
    path: Path, times: np.ndarray, extract: FeatureExtractor, crop: str = "centre", rate: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Features of the frames of one clip.

    Parameters
    ----------
    path : Path
    times : ndarray, shape (n,)
        In s from the start of the clip, ascending.
    extract : FeatureExtractor
    crop : {"centre", "face"}
    rate : float, optional
        Frames per second; default: what the clip's header says.

    Returns
    -------
    features : ndarray, shape (n, 768), float32
        Zero where the mask is False.
    mask : ndarray, shape (n,), bool
        False where there is no frame, or no face in it.
    """
    frames, mask = frames_at(path, times, extract.size if crop == "centre" else FACE_SOURCE, rate)
    if crop == "face":
        frames, found = crop_faces(frames, extract.size, find_boxes(frames))
        mask &= found
    features = np.zeros((len(times), N_VIDEO_FEATURES), np.float32)
    shown = np.flatnonzero(mask)
    if len(shown):
        features[shown], mask[shown] = extract(frames[shown])
    return features, mask
