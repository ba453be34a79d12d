"""The twin written as a DEAP folder, which the reader of the real data reads."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import av
import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from tqdm.auto import tqdm

from ..constants import VIDEO_FPS, VIDEO_SECONDS, WINDOW_SECONDS
from ..files.mark import SYNTHETIC_FILE, TRUTH_FILE
from ..load import new_folder
from ..twin import SubjectPlan, TwinSettings, plan_subject, truth_table
from ..twin.eeg import synthesise_eeg
from ..twin.face import face_track, render
from .dat_file import write_dat
from .ratings import RATING_COLUMNS, RATINGS_FILE, VIDEO_FOLDER
from .raw_writer import synthesise_peripheral, write_raw
from .reader import DAT_FOLDER

WARNING = (
    "Synthetic data made by cdgkd_utils in the file layout of DEAP. No person was recorded: "
    "numbers computed from this folder say nothing about DEAP and must not be reported as such."
)
# x264 quality of the clips: decoded and drawn frames have HOG features that correlate by .98 to .99 (median, 128
# pixels; 4 gives .99). DEAP's own clips are compressed far harder.
CRF = 10
_CHUNK = 100  # frames rendered at once: a full-size clip at once would take 4 GB
_TICK = 1e-4  # s; the unit that DEAP's Start_time is inferred to have
_NO_FAMILIARITY = (2, 15, 23)  # participants whose Familiarity is blank in DEAP


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
        576 gives DEAP's 720 x 576.
    n_jobs : int
        Processes.
    raw : bool
        Also the original recordings, ``data_original/sNN.bdf`` (75 kB per second of session).

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
    if seconds % int(WINDOW_SECONDS) or not WINDOW_SECONDS <= seconds <= 60:
        raise ValueError(f"seconds: expected a multiple of 4 from 4 to 60, got {seconds}")
    if frame_size % 8 or frame_size < 64:
        raise ValueError(f"frame_size: expected a multiple of 8, 64 or more, got {frame_size}")
    settings = replace(settings, n_windows=int(seconds // WINDOW_SECONDS))
    with new_folder(out) as folder:
        _write_tree(settings, folder, frame_size, n_jobs, raw)
    return Path(out)


def _write_tree(settings: TwinSettings, root: Path, frame_size: int, n_jobs: int, raw: bool) -> None:
    plans = [plan_subject(settings, subject) for subject in range(1, settings.n_subjects + 1)]
    filmed = [f"{VIDEO_FOLDER}/s{plan.subject:02d}" for plan in plans if plan.has_video.any()]
    for folder in (DAT_FOLDER, Path(RATINGS_FILE).parent, *filmed):
        (root / folder).mkdir(parents=True)
    note = {"warning": WARNING, "layout": "deap", "settings": asdict(settings), "frame_size": frame_size, "crf": CRF}
    (root / SYNTHETIC_FILE).write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")
    pd.concat(map(truth_table, plans)).to_csv(root / TRUTH_FILE, index=False)
    for name, table in _metadata(settings, plans).items():
        table.to_csv(root / Path(RATINGS_FILE).parent / name, index=False)
    jobs = list(_jobs(settings, plans, root, frame_size))
    if raw:
        jobs += [delayed(write_raw)(settings, root, plan) for plan in plans]
    finished = Parallel(n_jobs=n_jobs, return_as="generator_unordered")(jobs)
    for _ in tqdm(finished, total=len(jobs), desc="DEAP layout", unit="file"):
        pass


def _jobs(settings: TwinSettings, plans: list[SubjectPlan], root: Path, frame_size: int) -> Iterator[tuple]:
    for plan in plans:
        name = f"s{plan.subject:02d}"
        yield delayed(_write_dat)(root / DAT_FOLDER / f"{name}.dat", settings, plan)
        for row, presentation in enumerate(plan.presentation):
            if plan.has_video[row]:
                path = root / VIDEO_FOLDER / name / f"{name}_trial{presentation:02d}.avi"
                yield delayed(_write_clip)(path, settings, plan, row, frame_size)


def _write_dat(path: Path, settings: TwinSettings, plan: SubjectPlan) -> None:
    data = np.concatenate([synthesise_eeg(settings, plan), synthesise_peripheral(settings, plan)], axis=1)
    write_dat(path, data, plan.ratings)


def _write_clip(path: Path, settings: TwinSettings, plan: SubjectPlan, row: int, frame_size: int) -> None:
    track = face_track(settings, plan, row)
    seconds = min(settings.n_windows * WINDOW_SECONDS, VIDEO_SECONDS)
    times = np.arange(int(seconds * VIDEO_FPS)) / VIDEO_FPS
    margin = frame_size // 8  # on either side of the square face picture
    with av.open(os.fspath(path), "w", format="avi") as container:
        options = {"crf": str(CRF), "preset": "veryfast", "threads": "1"}
        stream = container.add_stream("libx264", rate=int(VIDEO_FPS), options=options)
        stream.width, stream.height, stream.pix_fmt = frame_size + 2 * margin, frame_size, "yuv420p"
        for first in range(0, len(times), _CHUNK):
            faces = render(track, times[first : first + _CHUNK], frame_size)
            pictures = np.pad(faces, ((0, 0), (0, 0), (margin, margin), (0, 0)), mode="edge")
            for picture in pictures:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def _metadata(settings: TwinSettings, plans: list[SubjectPlan]) -> dict[str, pd.DataFrame]:
    """The tables of ``metadata_csv`` by file name; only columns whose names are known for certain."""
    ratings, people = [], []
    n_trials = settings.n_trials
    for plan in plans:
        rng = np.random.default_rng([settings.seed, plan.subject, 0xDEA9])
        # A trial takes its seconds, 8 s of fixation and a self-assessment of about 30 s.
        gaps = settings.n_windows * WINDOW_SECONDS + 8 + rng.uniform(20, 40, n_trials)
        table = pd.DataFrame(
            {
                "Participant_id": plan.subject,
                "Trial": plan.presentation,
                "Experiment_id": np.arange(1, n_trials + 1),
                "Start_time": np.round((170 + np.cumsum(gaps) - gaps[0])[plan.presentation - 1] / _TICK).astype(int),
                **dict(zip(RATING_COLUMNS, plan.ratings.T, strict=True)),
                "Familiarity": pd.array(rng.integers(1, 6, n_trials), dtype="Int64"),
            }
        )
        if plan.subject in _NO_FAMILIARITY:
            table["Familiarity"] = pd.NA
        ratings.append(table.sort_values("Trial"))
        person = {"Participant_id": plan.subject, "Gender": rng.choice(["Female", "Male"]), "Age": rng.integers(19, 38)}
        people.append(person)
    titles = [f"synthetic stimulus {number}" for number in range(1, n_trials + 1)]
    videos = pd.DataFrame(
        {"Online_id": range(1, n_trials + 1), "Experiment_id": range(1, n_trials + 1), "Title": titles}
    )
    return {
        Path(RATINGS_FILE).name: pd.concat(ratings),
        "participant_questionnaire.csv": pd.DataFrame(people),
        "video_list.csv": videos,
    }
