"""The twin written as a folder of DEAP or MAHNOB-HCI, which the readers of the real data read."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import ClassVar
from xml.sax.saxutils import quoteattr

import av
import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from scipy.signal import resample
from tqdm.auto import tqdm

from ...config import home
from ..constants import (
    BASELINE_SECONDS,
    DEAP_EEG,
    RATINGS,
    SFREQ,
    TARGETS,
    VIDEO_FPS,
    VIDEO_SECONDS,
    WINDOW_SECONDS,
    session_number,
)
from ..deap import DAT_FOLDER, RATING_COLUMNS, RATINGS_FILE, VIDEO_FOLDER
from ..load import new_folder
from ..mahnob import MARGIN_SECONDS, PULSE, SESSION_FOLDER, SFREQ_RAW
from ..mahnob_session import FELT, VIDEO_RATE, XML_FILE
from ..trees import SYNTHETIC_FILE, TRUTH_FILE
from . import SubjectPlan, TwinSettings, plan_subject, truth_table
from .design import film_seconds
from .eeg import synthesise_eeg, synthesise_rest, synthesise_trials
from .face import PARAMETERS, FaceTrack, face_track, render
from .recording import synthesise_peripheral, write_bdf, write_raw

WARNING = (
    "Synthetic data made by cdgkd_utils in the file layout of {}. No person was recorded: "
    "numbers computed from this folder say nothing about {} and must not be reported as such."
)
# x264 quality: decoded and drawn frames have HOG features that correlate by .98 or more (median, 128 pixels).
CRF = 10
HEADER_RATE = 61  # frames per second that MAHNOB-HCI's clips announce; they really have VIDEO_RATE
_CHUNK = 100  # frames rendered at once: a full-size clip at once would take 10 GB
_TICK = 1e-4  # s; the unit that DEAP's Start_time is inferred to have
_SYLLABLES_PER_SECOND = 4
_OTHER_CHANNELS = [*(f"EXG{i}" for i in range(1, 9)), "GSR1", "GSR2", "Erg1", "Erg2", "Resp", "Temp"]
# What those channels rest at and how much they move, in the file's units.
_LEVEL = np.array([*[4000.0] * 8, 2e5, 0, 0, 0, 16, 30])[:, None]
_SPREAD = np.array([*[30.0] * 8, 50, 1, 1, 1, 0, 0.1])[:, None]
_OFFSET_MICROVOLT, _HUM_MICROVOLT = 5000.0, 15.0  # of electrodes without a reference
_PULSE_SECONDS, _RUN_ON, _NEUTRAL_SECONDS = 0.5, (17.0, 60.0), (6, 22)  # s; clips outlast their films
# One person each, trials of full length. With this seed the person saw DEAP's stimulus 1 second, stimulus 2 first.
_SAMPLES = {
    "deap": TwinSettings(n_subjects=1, n_trials=2, n_windows=15, seed=2),
    "mahnob": TwinSettings(n_subjects=1, n_trials=1, n_windows=0, seed=2, layout="mahnob"),
}
_SAMPLE_VERSION = 1  # to be raised when the files of the samples change


def write_deap(
    settings: TwinSettings,
    out: str | os.PathLike,
    seconds: int,
    frame_size: int = 128,
    n_jobs: int = 1,
    raw: bool = False,
) -> Path:
    """Write the twin as a DEAP folder: ``.dat`` files, tables, face clips, and a ``SYNTHETIC`` mark.

    The folder appears under its name when it is complete; a failure or an interruption leaves nothing.

    Parameters
    ----------
    settings : TwinSettings
        Its ``n_windows`` is replaced by ``seconds / 4``.
    out : path-like
        A folder that does not exist yet, or is empty.
    seconds : int
        Length of the trials: a multiple of 4, at most 60 (DEAP). Clips end after 59.05 s, as DEAP's do.
    frame_size : int
        Height of the pictures in pixels, a multiple of 8; the width is 5/4 of it, the face in the middle.
    n_jobs : int
        Processes.
    raw : bool
        Also the original recordings, ``data_original/sNN.bdf`` (75 kB per second of session).

    Returns
    -------
    Path
        `out`.
    """
    if seconds % int(WINDOW_SECONDS) or not WINDOW_SECONDS <= seconds <= 60:
        raise ValueError(f"seconds: expected a multiple of 4 from 4 to 60, got {seconds}")
    if frame_size % 8 or frame_size < 64:
        raise ValueError(f"frame_size: expected a multiple of 8, 64 or more, got {frame_size}")
    settings = replace(settings, n_windows=int(seconds // WINDOW_SECONDS))
    with new_folder(out) as root:
        plans = _begin(root, settings, "deap", "DEAP", frame_size)
        for folder in (DAT_FOLDER, "metadata_csv", *(f"{VIDEO_FOLDER}/s{p.subject:02d}" for p in plans)):
            if not folder.startswith(VIDEO_FOLDER) or plans[int(folder[-2:]) - 1].has_video.any():
                (root / folder).mkdir(parents=True)
        tables = [_ratings(settings, plan) for plan in plans]
        pd.concat([table.sort_values("Trial") for table in tables]).to_csv(root / RATINGS_FILE, index=False)
        jobs = []
        for plan, table in zip(plans, tables, strict=True):
            name = f"s{plan.subject:02d}"
            jobs.append(delayed(_write_dat)(root / DAT_FOLDER / f"{name}.dat", settings, plan))
            for row in np.flatnonzero(plan.has_video).tolist():
                clip = root / VIDEO_FOLDER / name / f"{name}_trial{plan.presentation[row]:02d}.avi"
                jobs.append(delayed(_write_deap_clip)(clip, settings, plan, row, frame_size))
            if raw:
                starts = table.sort_values("Trial")["Start_time"].to_numpy(float) * _TICK
                jobs.append(delayed(write_raw)(settings, root, plan, starts))
        _work(jobs, n_jobs, "DEAP layout")
    return Path(out)


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
        plans = _begin(root, settings, "mahnob", "MAHNOB-HCI", frame_size)
        jobs = [
            delayed(_write_session)(root / SESSION_FOLDER, settings, plan, row, neutral, frame_size)
            for plan in plans
            for row in range(settings.n_trials)
            for neutral in (True, False)
        ]
        _work(jobs, n_jobs, "MAHNOB-HCI layout")
    return Path(out)


def sample_tree(layout: str) -> Path:
    """A folder of synthetic files of one person in the layout "deap" (with recordings) or "mahnob".

    Written once, in a few seconds, below the home, for showing what readers do where there are no real files.
    """
    folder = home() / "sample" / f"{layout}-{_SAMPLE_VERSION}"
    if not folder.is_dir():
        for older in folder.parent.glob(f"{layout}-*"):
            shutil.rmtree(older, ignore_errors=True)
        try:
            if layout == "deap":
                write_deap(_SAMPLES[layout], folder, 60, 64, raw=True)
            else:
                write_mahnob(_SAMPLES[layout], folder, 64)
        except OSError:
            if not folder.is_dir():  # otherwise another process has finished the same first
                raise
    return folder


def _begin(root: Path, settings: TwinSettings, layout: str, title: str, frame_size: int) -> list[SubjectPlan]:
    note = {"warning": WARNING.format(title, title), "layout": layout, "settings": asdict(settings)}
    note |= {"frame_size": frame_size, "crf": CRF}
    (root / SYNTHETIC_FILE).write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")
    plans = [plan_subject(settings, subject) for subject in range(1, settings.n_subjects + 1)]
    pd.concat(map(truth_table, plans)).sort_values(["subject", "trial"]).to_csv(root / TRUTH_FILE, index=False)
    return plans


def _work(jobs: list, n_jobs: int, description: str) -> None:
    finished = Parallel(n_jobs=n_jobs, return_as="generator_unordered")(jobs)
    for _ in tqdm(finished, total=len(jobs), desc=description, unit="file"):
        pass


def _ratings(settings: TwinSettings, plan: SubjectPlan) -> pd.DataFrame:
    rng = np.random.default_rng([settings.seed, plan.subject, 0xDEA9])
    # A trial takes its seconds, 8 s of fixation and a self-assessment of about 30 s.
    gaps = settings.n_windows * WINDOW_SECONDS + 8 + rng.uniform(20, 40, settings.n_trials)
    starts = (170 + np.cumsum(gaps) - gaps[0])[plan.presentation - 1]
    table = {
        "Participant_id": plan.subject,
        "Trial": plan.presentation,
        "Experiment_id": np.arange(1, settings.n_trials + 1),
        "Start_time": np.round(starts / _TICK).astype(int),
        **dict(zip(RATING_COLUMNS, plan.ratings.T, strict=True)),
    }
    return pd.DataFrame(table)


class _Python2Pickler(pickle._Pickler):
    """Writes what Python 2's cPickle wrote: byte strings as ``str``, NumPy under its old module names."""

    dispatch: ClassVar[dict] = dict(pickle._Pickler.dispatch)

    def save_python2_str(self, value):
        payload = value.encode("latin1") if isinstance(value, str) else value
        short = len(payload) < 256
        head = pickle.SHORT_BINSTRING + bytes([len(payload)]) if short else pickle.BINSTRING
        self.write(head + (b"" if short else struct.pack("<i", len(payload))) + payload)
        self.memoize(value)

    dispatch[bytes] = dispatch[str] = save_python2_str

    def save_global(self, obj, name=None):
        module = obj.__module__.replace("numpy._core", "numpy.core")
        self.write(pickle.GLOBAL + f"{module}\n{name or obj.__qualname__}\n".encode())
        self.memoize(obj)


def write_dat(path: str | os.PathLike, data: np.ndarray, labels: np.ndarray) -> None:
    """Write one subject's file in the byte layout of the preprocessed release; arrays as `read_dat` returns them."""
    content = {"labels": np.ascontiguousarray(labels, "<f8"), "data": np.ascontiguousarray(data, "<f8")}
    with open(path, "wb") as file:
        _Python2Pickler(file, protocol=2).dump(content)


def _write_dat(path: Path, settings: TwinSettings, plan: SubjectPlan) -> None:
    data = np.concatenate([synthesise_eeg(settings, plan), synthesise_peripheral(settings, plan)], axis=1)
    write_dat(path, data, plan.ratings)


def write_clip(path: str | os.PathLike, rate: int, pictures: Iterable[np.ndarray]) -> None:
    """Write pictures (height, width, 3) uint8 as H.264 in AVI, as the data sets have their clips."""
    with av.open(str(Path(path).absolute()), "w", format="avi") as container:
        stream = container.add_stream(
            "libx264", rate=rate, options={"crf": str(CRF), "preset": "veryfast", "threads": "1"}
        )
        for number, picture in enumerate(pictures):
            if number == 0:
                stream.height, stream.width, stream.pix_fmt = *picture.shape[:2], "yuv420p"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def _drawn(track: FaceTrack, times: np.ndarray, frame_size: int, margin: int) -> Iterable[np.ndarray]:
    for first in range(0, len(times), _CHUNK):
        for picture in render(track, times[first : first + _CHUNK], frame_size):
            yield np.pad(picture, ((0, 0), (margin, margin), (0, 0)), mode="edge")


def _write_deap_clip(path: Path, settings: TwinSettings, plan: SubjectPlan, row: int, frame_size: int) -> None:
    seconds = min(settings.n_windows * WINDOW_SECONDS, VIDEO_SECONDS)
    times = np.arange(int(seconds * VIDEO_FPS)) / VIDEO_FPS
    write_clip(path, int(VIDEO_FPS), _drawn(face_track(settings, plan, row), times, frame_size, frame_size // 8))


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
        write_clip(folder / name, HEADER_RATE, _drawn(_speaking(track, seconds, after), times, frame_size, margin))
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
