"""Whose recording is it? The pauses between stimuli differ from session to session, and the ratings know them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from ..types import DataError
from .raw_signal import RAW_SFREQ

LEAST_TRIALS = 5
# s, rms: a session's own table fits to a fraction of a second; somebody else's pauses, of 10 to 40 s, do not.
FITS, DIFFERS = 0.5, 2.0


def timing_error(onsets: np.ndarray, start_times: np.ndarray) -> float:
    """How far the stimuli lie from where a table has them, whatever its unit and origin.

    Parameters
    ----------
    onsets : ndarray, shape (n_trials,)
        In samples of 512 Hz, in the order of presentation.
    start_times : ndarray, shape (n_trials,)
        ``Start_time`` in the same order.

    Returns
    -------
    float
        Root mean square in s, after the best straight line from one to the other; infinite where there is none.
    """
    if len(onsets) != len(start_times) or not np.isfinite(start_times).all() or np.ptp(start_times) == 0:
        return np.inf
    seconds, told = onsets / RAW_SFREQ, start_times - start_times.mean()
    slope = told @ (seconds - seconds.mean()) / (told @ told)
    return float(np.sqrt(np.mean((seconds - seconds.mean() - slope * told) ** 2)))


def check_owner(path: Path, subject: int, onsets: np.ndarray, ratings: pd.DataFrame) -> None:
    """Refuse a recording whose stimuli lie where the table of ratings has somebody else's.

    What exactly ``Start_time`` counts is not documented, so a recording that fits nobody passes.

    Parameters
    ----------
    path : Path
    subject : int
        Whose recording it is by its name.
    onsets : ndarray of int
        As ``playback_onsets`` finds them.
    ratings : DataFrame
        Rows of several participants; without the column ``Start_time`` nothing is checked.

    Raises
    ------
    DataError
        It is somebody else's.
    """
    if "Start_time" not in ratings or len(onsets) < LEAST_TRIALS:
        return
    told = ratings.assign(Start_time=pd.to_numeric(ratings["Start_time"], errors="coerce")).sort_values("Trial")
    errors = {
        participant: timing_error(onsets, rows["Start_time"].to_numpy(float))
        for participant, rows in told.groupby("Participant_id")
    }
    owner = min(errors, key=errors.get)
    if owner != subject and errors[owner] < FITS and errors.get(subject, np.inf) > DIFFERS:
        raise DataError(
            f"{path}: its stimuli lie where the table of ratings has those of participant {owner}, expected those of "
            f"participant {subject}; the file has another subject's name: copy it again"
        )
