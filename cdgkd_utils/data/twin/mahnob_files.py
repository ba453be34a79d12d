"""The twin written as a MAHNOB-HCI folder, which the reader of the real data reads."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np
from joblib import delayed
from scipy.signal import resample

from ..constants import BASELINE_SECONDS, DEAP_EEG, RATINGS, SFREQ, TARGETS, WINDOW_SECONDS, session_number
from ..load import new_folder
from ..mahnob import MARGIN_SECONDS, PULSE, SESSION_FOLDER, SFREQ_RAW
from ..mahnob_session import FELT, VIDEO_RATE, XML_FILE
from . import SubjectPlan, TwinSettings
from .design import film_seconds
from .eeg import synthesise_rest, synthesise_trials
from .face import PARAMETERS, FaceTrack, face_track
from .files import begin, drawn, work, write_clip
from .recording import write_bdf

HEADER_RATE = 61  # frames per second that MAHNOB-HCI's clips announce; they really have VIDEO_RATE
_SYLLABLES_PER_SECOND = 4
_OTHER_CHANNELS = [*(f"EXG{i}" for i in range(1, 9)), "GSR1", "GSR2", "Erg1", "Erg2", "Resp", "Temp"]
# What those channels rest at and how much they move, in the file's units.
_LEVEL = np.array([*[4000.0] * 8, 2e5, 0, 0, 0, 16, 30])[:, None]
_SPREAD = np.array([*[30.0] * 8, 50, 1, 1, 1, 0, 0.1])[:, None]
_OFFSET_MICROVOLT, _HUM_MICROVOLT = 5000.0, 15.0  # of electrodes without a reference
_PULSE_SECONDS, _RUN_ON, _NEUTRAL_SECONDS = 0.5, (17.0, 60.0), (6, 22)  # s; clips outlast their films


def write_mahnob(
    settings: TwinSettings,
    out: str | os.PathLike,
    frame_size: int = 128,
    max_seconds: int | None = None,
    n_jobs: int = 1,
) -> Path:
    """Write the twin as a MAHNOB-HCI folder: sessions with recording, clip and description, and a ``SYNTHETIC`` mark.

    Each trial has its neutral session before it, as the real tree has. The folder appears complete or not at all.

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
    """
    if settings.layout != "mahnob":
        raise ValueError(f"settings: expected layout='mahnob', got {settings.layout!r}")
    if max_seconds is not None and (max_seconds % WINDOW_SECONDS or max_seconds < WINDOW_SECONDS):
        raise ValueError(f"max_seconds: expected a multiple of 4, 4 or more, got {max_seconds}")
    if frame_size % 2 or frame_size < 64:
        raise ValueError(f"frame_size: expected an even number, 64 or more, got {frame_size}")
    if max_seconds is not None:
        settings = replace(settings, n_windows=int(max_seconds // WINDOW_SECONDS))
    with new_folder(out) as root:
        plans = begin(root, settings, "mahnob", "MAHNOB-HCI", frame_size)
        jobs = [
            delayed(_write_session)(root / SESSION_FOLDER, settings, plan, row, neutral, frame_size)
            for plan in plans
            for row in range(settings.n_trials)
            for neutral in (True, False)
        ]
        work(jobs, n_jobs, "MAHNOB-HCI layout")
    return Path(out)


def _write_session(
    root: Path, settings: TwinSettings, plan: SubjectPlan, row: int, neutral: bool, frame_size: int
) -> None:
    place = int(plan.presentation[row])
    number, section = session_number(plan.subject, place, neutral), 2 * place - int(neutral)
    folder = root / str(number)
    folder.mkdir(parents=True)
    rng = settings.stream(plan.subject, "rest", 1000 + section)
    seconds, after = film_seconds(row, settings.n_windows), rng.uniform(*_RUN_ON)
    if settings.n_windows:
        after = min(after, settings.n_windows * WINDOW_SECONDS / 4)
    if neutral:
        seconds = min(seconds, int(rng.integers(*_NEUTRAL_SECONDS, endpoint=True)))
    tracks = []
    if plan.has_video[row]:
        stem = f"P{plan.subject}-Rec1-2009.07.{plan.subject:02d}.{8 + place // 3:02d}.{place:02d}.00"
        name = f"{stem}_C1 trigger _C_Section_{section}.avi"
        tracks.append(f'<track type="Video" color="1" filename={quoteattr(name)}/>')
        who = replace(plan, x_video=np.zeros_like(plan.x_video)) if neutral else plan
        track, margin = face_track(settings, who, row), 2 * round(frame_size * 50 / 580)
        times = np.arange(int((seconds + after) * VIDEO_RATE)) / VIDEO_RATE
        write_clip(folder / name, HEADER_RATE, drawn(_speaking(track, seconds, after), times, frame_size, margin))
    if plan.has_eeg[row]:
        name = f"Part_{plan.subject}_{'N' if neutral else 'S'}_Trial{place}_emotion.bdf"
        tracks.append(f'<track type="Physiological" filename={quoteattr(name)}/>')
        _write_emotion(folder / name, settings, plan, row, seconds, neutral)
    attributes = " ".join(
        f"{k}={quoteattr(str(v))}" for k, v in _attributes(plan, row, number, seconds, neutral).items()
    )
    text = f'<session {attributes}><subject id="{plan.subject}"/>{"".join(tracks)}</session>\n'
    (folder / XML_FILE).write_text('<?xml version="1.0" encoding="UTF-8"?>\n' + text, encoding="utf-8")


def _speaking(track: FaceTrack, seconds: float, after: float) -> FaceTrack:
    """The same track up to the film's end, then a mouth that opens and closes: no reader may look at that."""
    times = seconds + np.arange(int(after * 2 * _SYLLABLES_PER_SECOND) + 1) / (2 * _SYLLABLES_PER_SECOND)
    keys = np.repeat(track.keys[-1:], len(times), axis=0)
    keys[1:, PARAMETERS.index("mouth_open")] = np.resize([2.0, -1.0], len(times) - 1)
    return replace(track, times=np.append(track.times, times), keys=np.vstack([track.keys, keys]))


def _attributes(plan: SubjectPlan, row: int, number: int, seconds: int, neutral: bool) -> dict[str, object]:
    found: dict[str, object] = {"sessionId": number, "isStim": int(not neutral)}
    if not neutral:
        valence, arousal = (plan.ratings[row, TARGETS.index(target)] for target in TARGETS)
        # Amusement, joy, disgust, sadness: the four quadrants, by the keywords' numbers.
        found["feltEmo"] = (11 if arousal > 5 else 4) if valence > 5 else (2 if arousal > 5 else 5)
        names = zip((*RATINGS[:3], "predictability"), plan.ratings[row], strict=True)
        found |= {FELT[name]: int(rating) for name, rating in names}
    media = "neutral.avi" if neutral else plan.stimulus[row]
    return found | {"cutNr": row + 1, "cutLenSec": f"{seconds:.2f}", "vidRate": VIDEO_RATE, "mediaFile": media}


def _write_emotion(
    path: Path, settings: TwinSettings, plan: SubjectPlan, row: int, seconds: int, neutral: bool
) -> None:
    rng = settings.stream(plan.subject, "rest", 2000 + 2 * row + int(neutral))
    total = int(2 * MARGIN_SECONDS + seconds)
    n = int(total * SFREQ_RAW)
    eeg = resample(_continuous(settings, plan, row, total, neutral), n, axis=1)
    # As recorded: every electrode has its offset, and all have the room's hum.
    hum = _HUM_MICROVOLT * np.sin(2 * np.pi * 50 * np.arange(n) / SFREQ_RAW + rng.uniform(0, 2 * np.pi))
    eeg += hum + _OFFSET_MICROVOLT * rng.standard_normal((len(DEAP_EEG), 1))
    others = _LEVEL + _SPREAD * rng.standard_normal((len(_OTHER_CHANNELS), n))
    status = np.zeros(n, np.int64)
    for start in (MARGIN_SECONDS, MARGIN_SECONDS + seconds):
        first = int(start * SFREQ_RAW)
        status[first : first + int(_PULSE_SECONDS * SFREQ_RAW)] = PULSE
    write_bdf(path, np.vstack([eeg, others]), [*DEAP_EEG, *_OTHER_CHANNELS], SFREQ_RAW, status)


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
