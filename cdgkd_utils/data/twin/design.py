"""Whom and what the twin imitates: the design of each data set, apart from any random number."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ..constants import MISSING_CLIPS, N_DEAP_TRIALS, VIDEO_SECONDS, VIDEO_SUBJECTS, WINDOW_SECONDS
from ..mahnob.session_xml import N_MAHNOB_TRIALS, session_number

# MAHNOB-HCI's 20 films and their length in whole seconds.
FILMS = {
    "69.avi": 58,
    "55.avi": 76,
    "58.avi": 58,
    "earworm_f.avi": 53,
    "53.avi": 104,
    "80.avi": 96,
    "52.avi": 96,
    "79.avi": 42,
    "73.avi": 71,
    "90.avi": 85,
    "107.avi": 34,
    "146.avi": 87,
    "30.avi": 70,
    "138.avi": 116,
    "newyork_f.avi": 89,
    "111.avi": 113,
    "detroit_f.avi": 89,
    "cats_f.avi": 98,
    "dallas_f.avi": 89,
    "funny_f.avi": 87,
}


def stimulus_name(trial: int) -> str:
    """Name of the stimulus of a trial; every subject saw the same one (DEAP: Experiment_id)."""
    return f"stimulus-{trial:02d}"


@dataclass(frozen=True)
class Design:
    """What a data set's protocol fixes. This one is DEAP's: every trial alike, known by its stimulus.

    Attributes
    ----------
    title : str
        What a preparation in this design may be called.
    max_subjects, max_trials : int or None
        None: the twin may have any number.
    min_windows : int
        0 where that stands for whole films.
    decimals : int
        Of the ratings.
    video_seconds : float
        When clips end, from their start; infinite where they outlast every trial.
    band_passed : bool
        True where files hold signals as recorded, which readers filter (4 to 45 Hz), and so the twin does.
    first_person : int
        Keeps the people of different designs apart in the random streams.
    n_full : int
        Number of trials of the full design: only there do sessions break off early.
    missing_clips, missing_eeg : mapping
        Number of last-shown trials without video or EEG, by subject.
    no_clips, no_eeg : tuple of int
        Subjects who have none at all.
    n_filmed : int or None
        Only the first so many were filmed; None: everyone was.
    """

    title: str = "synthetic twin"
    max_subjects: int | None = None
    max_trials: int | None = None
    min_windows: int = 1
    decimals: int = 2
    video_seconds: float = VIDEO_SECONDS
    band_passed: bool = False
    first_person: int = 0
    n_full: int = N_DEAP_TRIALS
    missing_clips: Mapping[int, int] = field(default_factory=lambda: MISSING_CLIPS)
    missing_eeg: Mapping[int, int] = field(default_factory=dict)
    no_clips: tuple[int, ...] = ()
    no_eeg: tuple[int, ...] = ()
    n_filmed: int | None = VIDEO_SUBJECTS

    def trial(self, subject: int, row: int, presentation: int) -> int:
        """Identity of a trial on disk; `row` is 0-based."""
        return row + 1

    def stimulus(self, row: int) -> str:
        """Name of the stimulus of a trial."""
        return stimulus_name(row + 1)

    def n_windows(self, row: int, asked: int) -> int:
        """Number of windows of a trial when `asked` are asked for."""
        return asked

    def has(self, modality: str, subject: int, presentation: np.ndarray) -> np.ndarray:
        """Where a subject has the ``"clips"`` or the ``"eeg"``, shape (n_trials,), bool."""
        n_trials = len(presentation)
        n_missing = getattr(self, f"missing_{modality}").get(subject, 0) if n_trials == self.n_full else 0
        unfilmed = modality == "clips" and self.n_filmed is not None and subject > self.n_filmed
        if unfilmed or subject in getattr(self, f"no_{modality}"):
            n_missing = n_trials
        return presentation <= n_trials - n_missing


class MahnobDesign(Design):
    """MAHNOB-HCI's: trials as long as their films, known by their session."""

    def trial(self, subject: int, row: int, presentation: int) -> int:
        return session_number(subject, presentation)

    def stimulus(self, row: int) -> str:
        return list(FILMS)[row]

    def n_windows(self, row: int, asked: int) -> int:
        return int(film_seconds(row, asked) // WINDOW_SECONDS)


DESIGNS = {
    "deap": Design(),
    "mahnob": MahnobDesign(
        title="synthetic twin in MAHNOB-HCI's design",
        max_subjects=30,
        max_trials=N_MAHNOB_TRIALS,
        min_windows=0,
        decimals=0,
        video_seconds=math.inf,
        band_passed=True,
        first_person=1000,
        n_full=N_MAHNOB_TRIALS,
        missing_clips={},
        missing_eeg={3: 3, 9: 6, 16: 4},
        no_clips=(26,),
        no_eeg=(12, 15),
        n_filmed=None,
    ),
}


def film_seconds(row: int, n_windows: int) -> int:
    """Length of a film of MAHNOB-HCI, or of its first `n_windows` windows; 0 takes the whole film, s."""
    seconds = list(FILMS.values())[row]
    return min(seconds, int(n_windows * WINDOW_SECONDS)) if n_windows else seconds
