"""The twin written as a folder of DEAP or MAHNOB-HCI, which the readers of the real data read."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from xml.sax.saxutils import quoteattr

import av
import numpy as np
import pandas as pd
from edfio import Bdf, BdfSignal, Recording
from joblib import Parallel, delayed
from scipy.signal import resample, resample_poly
from tqdm.auto import tqdm

from ...config import home
from .. import deap, mahnob
from ..constants import (
    BASELINE_SAMPLES,
    BASELINE_SECONDS,
    DEAP_EEG,
    DEAP_PERIPHERAL,
    RATINGS,
    SFREQ,
    VIDEO_FPS,
    VIDEO_SECONDS,
    WINDOW_SECONDS,
    session_number,
)  # fmt: skip
from ..files import SYNTHETIC_FILE, TRUTH_FILE
from ..load import new_folder
from . import SubjectPlan, TwinSettings, film_seconds, plan_subject, truth_table
from .eeg import EYES, leadfield, synthesise_eeg, synthesise_rest, synthesise_trials
from .face import FaceTrack, face_track, render

WARNING = (
    "Synthetic data made by cdgkd_utils in the file layout of {}. No person was recorded: "
    "numbers computed from this folder say nothing about {} and must not be reported as such."
)
# The order of the electrodes in DEAP's s01..s22, who were filmed; s23..s32 have that of the ``.dat`` files.
TWENTE_EEG = (
    "Fp1 AF3 F7 F3 FC1 FC5 T7 C3 CP1 CP5 P7 P3 Pz PO3 O1 Oz O2 PO4 P4 P8 CP6 CP2 C4 T8 FC6 FC2 F4 F8 AF4 Fp2 Fz Cz"
).split()
# x264 quality: decoded and drawn frames have HOG features that correlate by .98 or more (median, 128 pixels).
CRF = 10
_CHUNK = 100  # frames rendered at once: a full-size clip at once would take 10 GB
_TICK = 1e-4  # s; the unit that DEAP's Start_time is inferred to have
_LEAD_SECONDS, _TAIL_SECONDS = 5, 25  # recorded before the experiment starts, from where Start_time counts; and after
_EYE_SHARE = 0.3  # of the eyes' potential that reaches the nearest electrode
_OFFSET, _MAINS, _SWAY, _REFERENCE = 2e4, 40.0, 300.0, 2.0  # µV, of DEAP's recordings
_MAHNOB_OFFSET, _MAHNOB_MAINS = 5000.0, 15.0  # µV
_HEADER_RATE = 61  # frames per second that MAHNOB-HCI's clips announce
_PULSE_SECONDS, _RUN_ON = 0.5, (17.0, 60.0)  # s; MAHNOB-HCI's clips outlast their films
# One person each, trials of full length. With this seed the person saw DEAP's stimulus 1 second, stimulus 2 first.
_SAMPLES = {
    "deap": TwinSettings(n_subjects=1, n_trials=2, n_windows=15, seed=2),
    "mahnob": TwinSettings(n_subjects=1, n_trials=1, n_windows=0, seed=2, layout="mahnob"),
}
_SAMPLE_VERSION = 2  # to be raised when the files of the samples change


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
        Also the original recordings, ``data_original/sNN.bdf`` (58 kB per second of session).
    """
    if seconds % int(WINDOW_SECONDS) or not WINDOW_SECONDS <= seconds <= 60:
        raise ValueError(f"seconds: expected a multiple of 4 from 4 to 60, got {seconds}")
    if frame_size % 8 or frame_size < 64:
        raise ValueError(f"frame_size: expected a multiple of 8, 64 or more, got {frame_size}")
    settings = replace(settings, n_windows=int(seconds // WINDOW_SECONDS))
    with _tree(out, settings, "DEAP", frame_size, n_jobs) as (root, plans, jobs):
        for folder in (deap.DAT_FOLDER, "metadata_csv", *([deap.RAW_FOLDER] if raw else [])):
            (root / folder).mkdir()
        tables = [_ratings(settings, plan) for plan in plans]
        pd.concat(tables).to_csv(root / deap.RATINGS_FILE, index=False)
        for plan, table in zip(plans, tables, strict=True):
            name = f"s{plan.subject:02d}"
            jobs.append((_write_dat, root / deap.DAT_FOLDER / f"{name}.dat", settings, plan))
            if raw:
                starts = table["Start_time"].to_numpy(float) * _TICK
                jobs.append((_write_raw, root / deap.RAW_FOLDER / f"{name}.bdf", settings, plan, starts))
            for row in np.flatnonzero(plan.has_video).tolist():
                clip = root / deap.VIDEO_FOLDER / name / f"{name}_trial{plan.presentation[row]:02d}.avi"
                clip.parent.mkdir(parents=True, exist_ok=True)
                jobs.append((_write_deap_clip, clip, settings, plan, row, frame_size))
    return Path(out)


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
    with _tree(out, settings, "MAHNOB-HCI", frame_size, n_jobs) as (root, plans, jobs):
        for plan in plans:
            for row in range(settings.n_trials):
                jobs.append((_write_session, root / mahnob.SESSION_FOLDER, settings, plan, row, frame_size))
    return Path(out)


def sample_tree(layout: str) -> Path:
    """A folder of synthetic files of one person in the layout "deap" (with recordings) or "mahnob", below the home.

    Written once, in a few seconds, for showing what readers do where there are no real files.
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


@contextmanager
def _tree(out, settings: TwinSettings, title: str, frame_size: int, n_jobs: int) -> Iterator[tuple[Path, list, list]]:
    """A new folder with mark and truth, its people, and a list that takes (function, arguments...) to be called."""
    with new_folder(out) as root:
        note = {"warning": WARNING.format(title, title), "layout": settings.layout, "settings": asdict(settings)}
        note |= {"frame_size": frame_size, "crf": CRF}
        (root / SYNTHETIC_FILE).write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")
        plans = [plan_subject(settings, subject) for subject in range(1, settings.n_subjects + 1)]
        pd.concat(map(truth_table, plans)).sort_values(["subject", "trial"]).to_csv(root / TRUTH_FILE, index=False)
        jobs: list[tuple] = []
        yield root, plans, jobs
        finished = Parallel(n_jobs, return_as="generator_unordered")(delayed(job)(*given) for job, *given in jobs)
        for _ in tqdm(finished, total=len(jobs), desc=f"{title} layout", unit="file"):
            pass


def write_bdf(
    path: str | os.PathLike,
    data: np.ndarray,
    labels: Sequence[str],
    sfreq: int,
    status: np.ndarray,
    status_labels: Sequence[str] = ("Status",),
) -> Path:
    """Write µV (n_chans, n_samples) as BioSemi ActiveTwo does: 24 bit, records of 1 s, triggers in the last channel.

    `status` has the 24-bit trigger words; channels of `status_labels` before the last are 0.
    """
    scale = {"physical_dimension": "uV", "physical_range": (-262144, 262143), "digital_range": (-8388608, 8388607)}
    signals = [BdfSignal(row, sfreq, label=label, **scale) for row, label in zip(data, labels, strict=True)]
    for place, label in enumerate(status_labels, 1):
        words = np.asarray(status, np.int32) * (place == len(status_labels))
        words = np.where(words >= 1 << 23, words - (1 << 24), words)
        signals.append(BdfSignal.from_digital(words, sfreq, label=label, physical_dimension="Boolean"))
    Bdf(signals, recording=Recording(additional=["synthetic"]), data_record_duration=1).write(path)
    return Path(path)


def write_dat(path: str | os.PathLike, data: np.ndarray, labels: np.ndarray) -> None:
    """Write one subject's file of the preprocessed release; arrays as `read_dat` returns them."""
    content = {"labels": np.ascontiguousarray(labels, "<f8"), "data": np.ascontiguousarray(data, "<f8")}
    with open(path, "wb") as file:
        pickle.dump(content, file, protocol=3)


def _ratings(settings: TwinSettings, plan: SubjectPlan) -> pd.DataFrame:
    """In the order of presentation."""
    rng = np.random.default_rng([settings.seed, plan.subject, 0xDEA9])
    # A trial takes its seconds, 8 s of fixation and a self-assessment of about 30 s.
    gaps = settings.n_windows * WINDOW_SECONDS + 8 + rng.uniform(20, 40, settings.n_trials)
    starts = (170 + np.cumsum(gaps) - gaps[0])[plan.presentation - 1]
    table = {
        "Participant_id": plan.subject,
        "Trial": plan.presentation,
        "Experiment_id": np.arange(1, settings.n_trials + 1),
        "Start_time": np.round(starts / _TICK).astype(int),
        **dict(zip(deap.RATING_COLUMNS, plan.ratings.T, strict=True)),
    }
    return pd.DataFrame(table).sort_values("Trial")


def _eye_channels(settings: TwinSettings, plan: SubjectPlan, n: int) -> np.ndarray:
    """Horizontal and vertical EOG (n_trials, 2, n) in µV; nothing here learns from them."""
    out = np.empty((settings.n_trials, 2, n))
    for row in range(settings.n_trials):
        rng = settings.stream(plan.subject, "peripheral", row + 1)
        noise = rng.standard_normal((len(DEAP_PERIPHERAL), n))[:2]
        out[row] = 15 * noise + 2 * np.cumsum(rng.standard_normal((2, n)), axis=1)
    return out


def _write_dat(path: Path, settings: TwinSettings, plan: SubjectPlan) -> None:
    """Other peripheral channels than the eyes' are zero."""
    eeg = synthesise_eeg(settings, plan)
    data = np.zeros((len(eeg), len(DEAP_EEG) + len(DEAP_PERIPHERAL), eeg.shape[2]))
    data[:, : len(DEAP_EEG)] = eeg
    data[:, len(DEAP_EEG) :][:, :2] = _eye_channels(settings, plan, eeg.shape[2])
    write_dat(path, data, plan.ratings)


def _write_raw(path: Path, settings: TwinSettings, plan: SubjectPlan, starts: np.ndarray) -> None:
    """Write one person's recording at 512 Hz: electrodes in the site's order, with offsets, mains, drifts and the eyes.

    After the reader's chain it agrees with the ``.dat`` file, which is made from the same EEG. `starts` are the times
    of the stimuli in s after the experiment's start, in the order of presentation.
    """
    eeg, seconds = synthesise_eeg(settings, plan), int(settings.n_windows * WINDOW_SECONDS)
    trials = np.concatenate([eeg, _eye_channels(settings, plan, eeg.shape[2])], axis=1).astype(np.float32)
    onsets = np.round((_LEAD_SECONDS + starts) * SFREQ).astype(int)
    n = int(np.ceil(onsets[-1] / SFREQ + seconds + 3) + 20) * int(SFREQ)
    session = _session(trials[np.argsort(plan.presentation)], onsets - BASELINE_SAMPLES, n)
    up = int(deap.RAW_SFREQ / SFREQ)
    status, times = np.zeros(n * up, np.int32), np.arange(n * up) / deap.RAW_SFREQ
    for onset in onsets * up:
        status[onset : onset + seconds * deap.RAW_SFREQ] = deap.PLAYBACK

    rng, n_eeg = np.random.default_rng([settings.seed, plan.subject, 0xBDF]), len(DEAP_EEG)
    offset = rng.uniform(-_OFFSET, _OFFSET, (n_eeg + 8, 1))
    phase = rng.uniform(0, 2 * np.pi, (n_eeg + 8 + 2, 1))
    # Against the amplifier's own reference: what all electrodes share, and what each adds slowly.
    shared = (
        _MAINS * np.sin(2 * np.pi * 50 * times + phase[-1])
        + _SWAY * np.sin(2 * np.pi * 0.02 * times + phase[-2])
        + _REFERENCE * rng.standard_normal(len(times))
    )
    left, right = leadfield()[:, EYES].T
    spread = np.column_stack([left - right, left + right])  # looking aside, blinking
    spread *= _EYE_SHARE / np.abs(spread).max(axis=0)
    eyes = resample_poly(session[n_eeg:], up, 1, axis=1)
    rows = [resample_poly(session[i], up, 1) + spread[i] @ eyes for i in map(DEAP_EEG.index, TWENTE_EEG)]
    rows += [bipolar * sign for bipolar in eyes for sign in (0.5, -0.5)]
    slow = (offset[i] * (1 + 0.01 * np.sin(2 * np.pi * times / 97 + phase[i])) for i in range(len(rows)))
    data = np.stack([row + (shared + drift) for row, drift in zip(rows, slow, strict=True)])
    write_bdf(path, data, [*TWENTE_EEG, *deap.EOG], deap.RAW_SFREQ, status)


def _session(trials: np.ndarray, firsts: np.ndarray, n: int) -> np.ndarray:
    """Trials (n_trials, n_chans, n_times) in one recording of n samples; each gap fades between its ends, mirrored."""
    out, length = np.zeros((trials.shape[1], n), np.float32), trials.shape[2]
    gaps = np.diff([0, *firsts, n]) - np.array([0, *[length] * len(trials)])
    for place, (trial, first) in enumerate(zip(trials, firsts, strict=True)):
        before, after = gaps[place : place + 2]
        weight = np.ones(before + length + after, np.float32)
        if place:
            weight[:before] = np.linspace(0, 1, before, dtype=np.float32)
        if place < len(trials) - 1:
            weight[before + length :] = 1 - np.linspace(0, 1, after, dtype=np.float32)
        mirrored = np.pad(trial, ((0, 0), (before, after)), mode="reflect")
        out[:, first - before : first + length + after] += weight * mirrored
    return out


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
    eeg += _MAHNOB_MAINS * np.sin(2 * np.pi * 50 * np.arange(n) / rate + rng.uniform(0, 2 * np.pi))
    eeg += _MAHNOB_OFFSET * rng.standard_normal((len(DEAP_EEG), 1))
    status = np.zeros(n, np.int64)
    for start in (mahnob.MARGIN_SECONDS, mahnob.MARGIN_SECONDS + seconds):
        status[int(start * rate) :][: int(_PULSE_SECONDS * rate)] = mahnob.PULSE
    write_bdf(path, eeg, DEAP_EEG, rate, status)


def write_clip(path: str | os.PathLike, rate: int, pictures: Iterable[np.ndarray]) -> None:
    """Write pictures (height, width, 3) uint8 as H.264 in AVI, as the data sets have their clips."""
    options = {"crf": str(CRF), "preset": "veryfast", "threads": "1"}
    with av.open(str(Path(path).absolute()), "w", format="avi") as container:
        stream = container.add_stream("libx264", rate=rate, options=options)
        for number, picture in enumerate(pictures):
            if number == 0:
                stream.height, stream.width, stream.pix_fmt = *picture.shape[:2], "yuv420p"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def drawn(track: FaceTrack, times: np.ndarray, frame_size: int, margin: int) -> Iterable[np.ndarray]:
    for first in range(0, len(times), _CHUNK):
        for picture in render(track, times[first : first + _CHUNK], frame_size):
            yield np.pad(picture, ((0, 0), (margin, margin), (0, 0)), mode="edge")


def _write_deap_clip(path: Path, settings: TwinSettings, plan: SubjectPlan, row: int, frame_size: int) -> None:
    seconds = min(settings.n_windows * WINDOW_SECONDS, VIDEO_SECONDS)
    times = np.arange(int(seconds * VIDEO_FPS)) / VIDEO_FPS
    write_clip(path, int(VIDEO_FPS), drawn(face_track(settings, plan, row), times, frame_size, frame_size // 8))
