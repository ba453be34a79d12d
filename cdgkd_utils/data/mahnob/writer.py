"""The twin written as a MAHNOB-HCI folder, which the reader of the real data reads."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from scipy.signal import resample
from tqdm.auto import tqdm

from ..constants import BASELINE_SECONDS, DEAP_EEG, RATINGS, SFREQ, TARGETS, WINDOW_SECONDS
from ..files.bdf_writer import write_bdf
from ..files.mark import SYNTHETIC_FILE, TRUTH_FILE
from ..load import new_folder
from ..twin import SubjectPlan, TwinSettings, plan_subject, truth_table
from ..twin.design import film_seconds
from ..twin.eeg import synthesise_rest, synthesise_trials
from ..twin.face import face_track
from .files import CRF, N_GREY, gaze_table, grey_clip, session_text, write_clip
from .reader import SESSION_FOLDER
from .recording import MAHNOB_SFREQ, MARGIN_SECONDS, PULSE
from .session import VIDEO_RATE, XML_FILE
from .session_xml import FELT, session_number

WARNING = (
    "Synthetic data made by cdgkd_utils in the file layout of MAHNOB-HCI. No person was recorded: "
    "numbers computed from this folder say nothing about MAHNOB-HCI and must not be reported as such."
)
OTHER_CHANNELS = [*(f"EXG{i}" for i in range(1, 9)), "GSR1", "GSR2", "Erg1", "Erg2", "Resp", "Temp"]
# What those channels rest at and how much they move, in the file's units.
_LEVEL = np.array([*[4000.0] * 8, 2e5, 0, 0, 0, 16, 30])[:, None]
_SPREAD = np.array([*[30.0] * 8, 50, 1, 1, 1, 0, 0.1])[:, None]
PULSE_SECONDS = 0.5
OFFSET_MICROVOLT, HUM_MICROVOLT = 5000.0, 15.0  # of electrodes without a reference
RUN_ON = (17.0, 60.0)  # s that clips last longer than their films
NEUTRAL_SECONDS = (6, 22)
_BROKEN_GAZE = 1200  # session whose gaze table is malformed in the real tree


def write_mahnob(
    settings: TwinSettings,
    out: str | os.PathLike,
    frame_size: int = 128,
    max_seconds: int | None = None,
    n_jobs: int = 1,
) -> Path:
    """Write the twin as a MAHNOB-HCI folder: sessions with recording, clips and tables, and a ``SYNTHETIC`` mark.

    Each trial has its neutral session before it, as the real tree has. The folder appears under its name
    when it is complete; a failure or an interruption leaves nothing.

    Names and attributes are those that users of the data set quote, except that no document gives the names of
    the five grey cameras' clips (``..._BW1_Section_2.avi`` here): those are invented, and so is what they show.

    Parameters
    ----------
    settings : TwinSettings
        With ``layout="mahnob"``; ``n_windows=0`` writes films in full length.
    out : path-like
        A folder that does not exist yet, or is empty.
    frame_size : int
        Height of the pictures in pixels, even; 580 gives the real 780 x 580.
    max_seconds : int, optional
        Shorten films to this, a multiple of 4 (instead of ``n_windows``), and what follows them to a quarter of it.
    n_jobs : int
        Processes.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    ValueError
        A parameter is out of range.
    FileExistsError
        `out` exists and is not an empty folder; nothing in it is touched.
    """
    if settings.layout != "mahnob":
        raise ValueError(f"settings: expected layout='mahnob', got {settings.layout!r}")
    if max_seconds is not None and (max_seconds % WINDOW_SECONDS or max_seconds < WINDOW_SECONDS):
        raise ValueError(f"max_seconds: expected a multiple of 4, 4 or more, got {max_seconds}")
    if frame_size % 2 or frame_size < 64:
        raise ValueError(f"frame_size: expected an even number, 64 or more, got {frame_size}")
    if max_seconds is not None:
        settings = replace(settings, n_windows=int(max_seconds // WINDOW_SECONDS))
    with new_folder(out) as folder:
        _write_tree(settings, folder, frame_size, n_jobs)
    return Path(out)


def _write_tree(settings: TwinSettings, root: Path, frame_size: int, n_jobs: int) -> None:
    plans = [plan_subject(settings, subject) for subject in range(1, settings.n_subjects + 1)]
    note = {"warning": WARNING, "layout": "mahnob", "settings": asdict(settings), "frame_size": frame_size, "crf": CRF}
    (root / SYNTHETIC_FILE).write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")
    truth = pd.concat(map(truth_table, plans)).sort_values(["subject", "trial"])
    truth.to_csv(root / TRUTH_FILE, index=False)
    jobs = list(_jobs(settings, plans, root / SESSION_FOLDER, frame_size))
    finished = Parallel(n_jobs=n_jobs, return_as="generator_unordered")(jobs)
    for _ in tqdm(finished, total=len(jobs), desc="MAHNOB-HCI layout", unit="session"):
        pass


def _jobs(settings: TwinSettings, plans: list[SubjectPlan], folder: Path, frame_size: int) -> Iterator[tuple]:
    last = max(int(trial) for trial in plans[-1].trial)
    broken = _BROKEN_GAZE if any(_BROKEN_GAZE in plan.trial for plan in plans) else last
    for plan in plans:
        for row in range(settings.n_trials):
            for neutral in (True, False):
                yield delayed(_write_session)(folder, settings, plan, row, neutral, frame_size, broken)


def _write_session(
    root: Path, settings: TwinSettings, plan: SubjectPlan, row: int, neutral: bool, frame_size: int, broken: int
) -> None:
    place = int(plan.presentation[row])
    number = session_number(plan.subject, place, neutral)
    section = 2 * place - int(neutral)
    folder = root / str(number)
    folder.mkdir(parents=True)
    rng = settings.stream(plan.subject, "rest", 1000 + section)
    seconds = film_seconds(row, settings.n_windows)
    after = rng.uniform(*RUN_ON)
    if settings.n_windows:
        after = min(after, settings.n_windows * WINDOW_SECONDS / 4)
    if neutral:
        seconds = min(seconds, int(rng.integers(*NEUTRAL_SECONDS, endpoint=True)))

    names = {"gaze": f"P{plan.subject}-Rec1-All-Data-New_Section_{section}.tsv"}
    (folder / names["gaze"]).write_text(gaze_table(seconds, number == broken), encoding="ascii")
    if plan.has_video[row]:
        stem = f"P{plan.subject}-Rec1-2009.07.{plan.subject:02d}.{8 + place // 3:02d}.{place:02d}.00"
        for camera in range(1, N_GREY + 1):
            # An invented name that sorts before the colour camera's: no reader may take the first clip.
            names[f"grey-{camera}"] = f"{stem}_BW{camera}_Section_{section}.avi"
            (folder / names[f"grey-{camera}"]).write_bytes(grey_clip())
        names["colour"] = f"{stem}_C1 trigger _C_Section_{section}.avi"
        who = replace(plan, x_video=np.zeros_like(plan.x_video)) if neutral else plan
        write_clip(folder / names["colour"], face_track(settings, who, row), seconds, after, frame_size)
    if plan.has_eeg[row]:
        names["bdf"] = f"Part_{plan.subject}_{'N' if neutral else 'S'}_Trial{place}_emotion.bdf"
        _write_recording(folder / names["bdf"], settings, plan, row, seconds, neutral)
    text = session_text(_attributes(plan, row, number, seconds, neutral), plan.subject, names)
    (folder / XML_FILE).write_text(text, encoding="utf-8")


def _attributes(plan: SubjectPlan, row: int, number: int, seconds: int, neutral: bool) -> dict[str, object]:
    first = {
        "sessionId": number,
        "date": f"2009.07.{plan.subject:02d}",
        "time": "09:00:00",
        "experimentType": "emotion elicitation",
        "isStim": int(not neutral),
    }
    if not neutral:
        valence, arousal = (plan.ratings[row, TARGETS.index(target)] for target in TARGETS)
        # Amusement, joy, disgust, sadness: the four quadrants, by the keywords' numbers.
        first["feltEmo"] = (11 if arousal > 5 else 4) if valence > 5 else (2 if arousal > 5 else 5)
        for name, rating in zip((*RATINGS[:3], "predictability"), plan.ratings[row], strict=True):
            first[FELT[name]] = int(rating)
    media = "neutral.avi" if neutral else plan.stimulus[row]
    last = {"cutNr": row + 1, "cutLenSec": f"{seconds:.2f}", "vidRate": VIDEO_RATE, "mediaFile": media}
    return {**first, **last}


def _write_recording(
    path: Path, settings: TwinSettings, plan: SubjectPlan, row: int, seconds: int, neutral: bool
) -> None:
    rng = settings.stream(plan.subject, "rest", 2000 + 2 * row + int(neutral))
    total = int(2 * MARGIN_SECONDS + seconds)
    n = int(total * MAHNOB_SFREQ)
    eeg = resample(_continuous(settings, plan, row, total, neutral), n, axis=1)
    # As recorded: every electrode has its offset, and all have the room's hum.
    hum = HUM_MICROVOLT * np.sin(2 * np.pi * 50 * np.arange(n) / MAHNOB_SFREQ + rng.uniform(0, 2 * np.pi))
    eeg += hum + OFFSET_MICROVOLT * rng.standard_normal((len(DEAP_EEG), 1))
    others = _LEVEL + _SPREAD * rng.standard_normal((len(OTHER_CHANNELS), n))
    status = np.zeros(n, np.int64)
    for start in (MARGIN_SECONDS, MARGIN_SECONDS + seconds):
        first = int(start * MAHNOB_SFREQ)
        status[first : first + int(PULSE_SECONDS * MAHNOB_SFREQ)] = PULSE
    labels = [*DEAP_EEG, *OTHER_CHANNELS]
    write_bdf(path, np.vstack([eeg, others]), labels, MAHNOB_SFREQ, status, subject=f"P{plan.subject}")


def _continuous(settings: TwinSettings, plan: SubjectPlan, row: int, total: int, neutral: bool) -> np.ndarray:
    """EEG of a whole session at 128 Hz, shape (32, total * 128): rest, the film with what precedes it, rest."""
    n_windows = int(-(-total // WINDOW_SECONDS))
    rest = synthesise_rest(settings, plan, 2 * row + 1 + int(neutral), n_windows)[:, : int(total * SFREQ)]
    if neutral:
        return rest
    (trial,) = synthesise_trials(settings, plan, [row])
    # Mirrored for 1 s, as the directly prepared twin assumes it for its filter, and for another while fading.
    fade, step = int(SFREQ), np.linspace(0, 1, int(SFREQ))
    longer = np.pad(trial, ((0, 0), (2 * fade, 2 * fade)), mode="reflect")
    weight = np.ones(longer.shape[1])
    weight[:fade], weight[-fade:] = step, step[::-1]
    first = int((MARGIN_SECONDS - BASELINE_SECONDS) * SFREQ) - 2 * fade
    here = rest[:, first : first + longer.shape[1]]
    here += weight * (longer - here)
    return rest
