"""The pictures behind the video features of some windows, for looking at them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..config import Params
from .constants import N_FRAMES, WINDOW_SECONDS
from .deap.ratings import read_ratings
from .files.video import frames_at
from .load import twin_settings
from .mahnob.reader import SESSION_FOLDER
from .mahnob.session import inspect_session
from .twin.face import face_track, render
from .twin.generator import plan_subject
from .types import Windows
from .windows import FRAME_OFFSETS


def window_frames(
    params: Params, windows: Windows, row: int, size: int = 128, repeat: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The five frames of a window, drawn again (twin) or decoded again (files).

    Parameters
    ----------
    params, windows, size, repeat
        As in :func:`trial_frames`.
    row : int
        Number of the window.

    Returns
    -------
    frames : ndarray, shape (5, size, size, 3), uint8
    mask : ndarray, shape (5,), bool
        True where the frame exists.
    times : ndarray, shape (5,)
        In s from the start of the window.
    """
    frames, mask, times = trial_frames(params, windows, [row], size, repeat)
    return frames[0], mask[0], times


def trial_frames(
    params: Params, windows: Windows, rows: Sequence[int], size: int = 128, repeat: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The frames of some windows of one trial; a clip is decoded once for all of them.

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
        Repetition `windows` were loaded with.

    Returns
    -------
    frames : ndarray, shape (n, 5, size, size, 3), uint8
    mask : ndarray, shape (n, 5), bool
        True where the frame exists.
    times : ndarray, shape (5,)
        In s from the start of each window.

    Raises
    ------
    ValueError
        The rows are of several trials, or of none.
    DataError
        The clip cannot be decoded.
    """
    index = windows.index.iloc[list(rows)]
    trials = index[["subject", "trial"]].drop_duplicates()
    if len(trials) != 1:
        raise ValueError(f"rows: expected windows of one trial, got those of {len(trials)} trials")
    subject, trial = (int(number) for number in trials.iloc[0])
    times = (index["window"].to_numpy()[:, None] * WINDOW_SECONDS + FRAME_OFFSETS).ravel()
    if "key" not in windows.meta:  # not from a data set's files, nor from the twin
        frames, mask = np.zeros((len(times), size, size, 3), np.uint8), np.zeros(len(times), bool)
    elif params.is_twin:
        settings = twin_settings(params, repeat)
        plan = plan_subject(settings, subject)
        (place,) = np.flatnonzero(plan.trial == trial)
        frames = render(face_track(settings, plan, int(place)), times, size)
        mask = np.array(windows.frame_mask[list(rows)])
    else:
        clip, rate = _clip(params, subject, trial)
        frames, mask = frames_at(clip, times, size, rate)
    return frames.reshape(len(rows), N_FRAMES, size, size, 3), mask.reshape(len(rows), N_FRAMES), FRAME_OFFSETS


def _clip(params: Params, subject: int, trial: int) -> tuple[Path, float | None]:
    """File of a trial's face video, and its frames per second where the header is known to be wrong."""
    root = Path(params.data_root).expanduser()
    if params.dataset == "mahnob":
        found = inspect_session(root / SESSION_FOLDER / str(trial), trial)
        return found.video, found.video_rate
    ratings = read_ratings(root, [subject])
    return ratings.loc[ratings["Experiment_id"] == trial, "clip"].item(), None
