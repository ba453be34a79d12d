"""The twin written as a DEAP folder, which the reader of the real data reads; and what both layouts share."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path

import av
import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from tqdm.auto import tqdm

from ...config import home
from ..constants import (
    VIDEO_FPS,
    VIDEO_SECONDS,
    WINDOW_SECONDS,
)
from ..deap import DAT_FOLDER, RATING_COLUMNS, RATINGS_FILE, VIDEO_FOLDER
from ..load import new_folder
from ..trees import SYNTHETIC_FILE, TRUTH_FILE
from . import SubjectPlan, TwinSettings, plan_subject, truth_table
from .eeg import synthesise_eeg
from .face import FaceTrack, face_track, render
from .recording import synthesise_peripheral, write_dat, write_raw

WARNING = (
    "Synthetic data made by cdgkd_utils in the file layout of {}. No person was recorded: "
    "numbers computed from this folder say nothing about {} and must not be reported as such."
)
# x264 quality: decoded and drawn frames have HOG features that correlate by .98 or more (median, 128 pixels).
CRF = 10
_CHUNK = 100  # frames rendered at once: a full-size clip at once would take 10 GB
_TICK = 1e-4  # s; the unit that DEAP's Start_time is inferred to have
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
        plans = begin(root, settings, "deap", "DEAP", frame_size)
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
        work(jobs, n_jobs, "DEAP layout")
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
                from .mahnob_files import write_mahnob

                write_mahnob(_SAMPLES[layout], folder, 64)
        except OSError:
            if not folder.is_dir():  # otherwise another process has finished the same first
                raise
    return folder


def begin(root: Path, settings: TwinSettings, layout: str, title: str, frame_size: int) -> list[SubjectPlan]:
    note = {"warning": WARNING.format(title, title), "layout": layout, "settings": asdict(settings)}
    note |= {"frame_size": frame_size, "crf": CRF}
    (root / SYNTHETIC_FILE).write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")
    plans = [plan_subject(settings, subject) for subject in range(1, settings.n_subjects + 1)]
    pd.concat(map(truth_table, plans)).sort_values(["subject", "trial"]).to_csv(root / TRUTH_FILE, index=False)
    return plans


def work(jobs: list, n_jobs: int, description: str) -> None:
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


def drawn(track: FaceTrack, times: np.ndarray, frame_size: int, margin: int) -> Iterable[np.ndarray]:
    for first in range(0, len(times), _CHUNK):
        for picture in render(track, times[first : first + _CHUNK], frame_size):
            yield np.pad(picture, ((0, 0), (margin, margin), (0, 0)), mode="edge")


def _write_deap_clip(path: Path, settings: TwinSettings, plan: SubjectPlan, row: int, frame_size: int) -> None:
    seconds = min(settings.n_windows * WINDOW_SECONDS, VIDEO_SECONDS)
    times = np.arange(int(seconds * VIDEO_FPS)) / VIDEO_FPS
    write_clip(path, int(VIDEO_FPS), drawn(face_track(settings, plan, row), times, frame_size, frame_size // 8))
