"""The twin written as a DEAP folder, which the reader of the real data reads; and what both layouts share."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import av
import numpy as np
import pandas as pd
from edfio import Bdf, BdfSignal, Recording
from joblib import Parallel, delayed
from scipy.signal import resample_poly
from tqdm.auto import tqdm

from .. import deap
from ..constants import (
    BASELINE_SAMPLES,
    DEAP_EEG,
    DEAP_PERIPHERAL,
    SFREQ,
    VIDEO_FPS,
    VIDEO_SECONDS,
    WINDOW_SECONDS,
)  # fmt: skip
from ..files import SYNTHETIC_FILE, TRUTH_FILE
from ..load import new_folder
from . import SubjectPlan, TwinSettings, plan_subject, truth_table
from .eeg import EYES, leadfield, synthesise_eeg
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
    with tree(out, settings, "DEAP", frame_size, n_jobs) as (root, plans, jobs):
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


@contextmanager
def tree(out, settings: TwinSettings, title: str, frame_size: int, n_jobs: int) -> Iterator[tuple[Path, list, list]]:
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
    """Write µV (n_chans, n_samples) as BioSemi ActiveTwo does: 24 bit, records of 1 s, triggers in the last channel."""
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
    """Write one person's recording at 512 Hz, with offsets, mains, drifts and the eyes, from the EEG of the .dat."""
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
