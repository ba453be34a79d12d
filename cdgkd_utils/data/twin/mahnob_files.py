"""The twin written as a MAHNOB-HCI folder, which the reader of the real data reads."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np
from scipy.signal import resample

from .. import mahnob
from ..constants import BASELINE_SECONDS, DEAP_EEG, RATINGS, SFREQ, WINDOW_SECONDS, session_number
from . import SubjectPlan, TwinSettings, film_seconds
from .eeg import synthesise_rest, synthesise_trials
from .face import face_track
from .files import drawn, tree, write_bdf, write_clip

_OFFSET, _MAINS = 5000.0, 15.0  # µV
_HEADER_RATE = 61  # frames per second that the clips announce
_PULSE_SECONDS, _RUN_ON = 0.5, (17.0, 60.0)  # s; clips outlast their films


def write_mahnob(
    settings: TwinSettings,
    out: str | os.PathLike,
    frame_size: int = 128,
    max_seconds: int | None = None,
    n_jobs: int = 1,
) -> Path:
    """Write the twin as a MAHNOB-HCI folder: sessions with recording, clip and description, and a ``SYNTHETIC`` mark.

    Parameters
    ----------
    settings : TwinSettings
        With ``layout="mahnob"``; ``n_windows=0`` writes films in full length.
    out, n_jobs
        As in :func:`write_deap`.
    frame_size : int
        Height of the pictures in pixels, even; 580 gives the real 780 x 580.
    max_seconds : int, optional
        Shorten films to this, a multiple of 4 (instead of ``n_windows``), and what follows them to a quarter of it.
    """
    if settings.layout != "mahnob":
        raise ValueError(f"settings: expected layout='mahnob', got {settings.layout!r}")
    if max_seconds is not None and (max_seconds % WINDOW_SECONDS or max_seconds < WINDOW_SECONDS):
        raise ValueError(f"max_seconds: expected a multiple of 4, 4 or more, got {max_seconds}")
    if frame_size % 2 or frame_size < 64:
        raise ValueError(f"frame_size: expected an even number, 64 or more, got {frame_size}")
    if max_seconds is not None:
        settings = replace(settings, n_windows=int(max_seconds // WINDOW_SECONDS))
    with tree(out, settings, "MAHNOB-HCI", frame_size, n_jobs) as (root, plans, jobs):
        for plan in plans:
            for row in range(settings.n_trials):
                jobs.append((_write_session, root / mahnob.SESSION_FOLDER, settings, plan, row, frame_size))
    return Path(out)


def _write_session(root: Path, settings: TwinSettings, plan: SubjectPlan, row: int, frame_size: int) -> None:
    place, subject = int(plan.presentation[row]), plan.subject
    number = session_number(subject, place)
    folder = root / str(number)
    folder.mkdir(parents=True)
    seconds = film_seconds(row, settings.n_windows)
    after = settings.stream(subject, "rest", 1000 + 2 * place).uniform(*_RUN_ON)
    if settings.n_windows:
        after = min(after, settings.n_windows * WINDOW_SECONDS / 4)
    tracks = ""
    if plan.has_video[row]:
        name = f"P{subject}-Rec1-2009.07.{subject:02d}.{place:02d}_C1 trigger _C_Section_{2 * place}.avi"
        tracks += f'<track type="Video" color="1" filename={quoteattr(name)}/>'
        times = np.arange(int((seconds + after) * mahnob.VIDEO_RATE)) / mahnob.VIDEO_RATE
        margin = 2 * round(frame_size * 50 / 580)
        write_clip(folder / name, _HEADER_RATE, drawn(face_track(settings, plan, row), times, frame_size, margin))
    if plan.has_eeg[row]:
        name = f"Part_{subject}_S_Trial{place}_emotion.bdf"
        tracks += f'<track type="Physiological" filename={quoteattr(name)}/>'
        _write_emotion(folder / name, settings, plan, row, seconds)
    found = {"sessionId": number, "isStim": 1, "cutNr": row + 1, "cutLenSec": f"{seconds:.2f}"}
    found |= {"vidRate": mahnob.VIDEO_RATE, "mediaFile": plan.stimulus[row]}
    names = (*RATINGS[:3], "predictability")
    found |= {mahnob.FELT[name]: int(rating) for name, rating in zip(names, plan.ratings[row], strict=True)}
    attributes = " ".join(f"{name}={quoteattr(str(value))}" for name, value in found.items())
    text = f'<session {attributes}><subject id="{subject}"/>{tracks}</session>\n'
    (folder / mahnob.XML_FILE).write_text('<?xml version="1.0" encoding="UTF-8"?>\n' + text, encoding="utf-8")


def _write_emotion(path: Path, settings: TwinSettings, plan: SubjectPlan, row: int, seconds: int) -> None:
    """Rest, the film with what precedes it, rest; each electrode with its offset, all with the room's hum."""
    rng, rate = settings.stream(plan.subject, "rest", 2000 + 2 * row), mahnob.SFREQ_RAW
    total = int(2 * mahnob.MARGIN_SECONDS + seconds)
    n, n_windows = total * rate, int(-(-total // WINDOW_SECONDS))
    eeg = synthesise_rest(settings, plan, 2 * row + 1, n_windows)[:, : int(total * SFREQ)]
    (trial,) = synthesise_trials(settings, plan, [row])
    # Mirrored for 1 s, as the directly prepared twin assumes it for its filter, and for another while fading.
    fade, step = int(SFREQ), np.linspace(0, 1, int(SFREQ))
    longer = np.pad(trial, ((0, 0), (2 * fade, 2 * fade)), mode="reflect")
    weight = np.ones(longer.shape[1])
    weight[:fade], weight[-fade:] = step, step[::-1]
    first = int((mahnob.MARGIN_SECONDS - BASELINE_SECONDS) * SFREQ) - 2 * fade
    eeg[:, first : first + longer.shape[1]] += weight * (longer - eeg[:, first : first + longer.shape[1]])
    eeg = resample(eeg, n, axis=1)
    eeg += _MAINS * np.sin(2 * np.pi * 50 * np.arange(n) / rate + rng.uniform(0, 2 * np.pi))
    eeg += _OFFSET * rng.standard_normal((len(DEAP_EEG), 1))
    status = np.zeros(n, np.int64)
    for start in (mahnob.MARGIN_SECONDS, mahnob.MARGIN_SECONDS + seconds):
        status[int(start * rate) :][: int(_PULSE_SECONDS * rate)] = mahnob.PULSE
    write_bdf(path, eeg, DEAP_EEG, rate, status)
