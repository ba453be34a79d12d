"""The pictures behind one window's video features, for looking at them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..config import Params
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
    params : Params
        What `windows` were loaded with.
    windows : Windows
    row : int
        Number of the window.
    size : int
        Edge of the pictures in pixels.
    repeat : int
        Repetition `windows` were loaded with.

    Returns
    -------
    frames : ndarray, shape (5, size, size, 3), uint8
    mask : ndarray, shape (5,), bool
        True where the frame exists.
    times : ndarray, shape (5,)
        In s from the start of the window.
    """
    which = windows.index.iloc[row]
    times = 4.0 * which["window"] + FRAME_OFFSETS
    if params.is_twin:
        settings = twin_settings(params, repeat)
        plan = plan_subject(settings, int(which["subject"]))
        (trial,) = np.flatnonzero(plan.trial == which["trial"])
        frames = render(face_track(settings, plan, int(trial)), times, size)
        return frames, np.array(windows.frame_mask[row]), FRAME_OFFSETS
    if params.dataset == "mahnob":
        session = int(which["trial"])
        found = inspect_session(Path(params.data_root).expanduser() / SESSION_FOLDER / str(session), session)
        frames, mask = frames_at(found.video, times, size, found.video_rate)
        return frames, mask, FRAME_OFFSETS
    ratings = read_ratings(Path(params.data_root).expanduser(), [int(which["subject"])])
    clip = ratings.loc[ratings["Experiment_id"] == which["trial"], "clip"].item()
    frames, mask = frames_at(clip, times, size)
    return frames, mask, FRAME_OFFSETS
