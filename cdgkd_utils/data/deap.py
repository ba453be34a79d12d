"""Reader of a DEAP folder (or of the twin written as one): preprocessed EEG or original recordings, ratings, clips.

A clip has no baseline: its time 0 is sample 384 of the ``.dat`` row. ``docs/data.md`` shows the folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from .constants import (
    BASELINE_SAMPLES,
    BASELINE_SECONDS,
    CHANNEL_ROWS,
    CHANNELS,
    DEAP_EEG,
    RATINGS,
    SFREQ,
    WINDOW_SECONDS,
)  # fmt: skip
from .files import SYNTHETIC_FILE, Tree, lies_at, read_dat, read_mark, read_table
from .signals import Trace, UnusableSignal, band_pass, onsets_of, open_bdf, refuse_flat, refuse_wild, tracer
from .types import DataError, Trial

DAT_FOLDER, RAW_FOLDER, VIDEO_FOLDER = "data_preprocessed_python", "data_original", "face_video"
RATINGS_FILE = "metadata_csv/participant_ratings.csv"
RATING_COLUMNS = [name.capitalize() for name in RATINGS]
HALF_A_HUNDREDTH = 0.005 + 1e-9  # the table has two decimals; labels that agree with it are not read any further
PLAYBACK_SECONDS = 60.0
RAW_SFREQ, PLAYBACK = 512, 4  # Hz; trigger code of the stimulus
EOG = ("EXG1", "EXG2", "EXG3", "EXG4")  # left, right of the eyes; above, below the right one
# Filtered with each trial and cut off again: longer than half the filter (0.83 s), so a trial's samples are those of
# the whole recording filtered.
MARGIN = 2 * RAW_SFREQ
_HOW_TO = (
    f"expected a DEAP folder with {DAT_FOLDER}/s01.dat (or {RAW_FOLDER}/s01.bdf), {RATINGS_FILE} and "
    f"{VIDEO_FOLDER}/s01/s01_trial01.avi; DEAP is handed out for research after signing the end user licence agreement "
    "on the data set's own page; dataset='twin' runs without it"
)


def read_ratings(root: Path, subjects: Sequence[int]) -> pd.DataFrame:
    """Read and check the rows of some subjects in ``participant_ratings.csv``, and find the face clip of each."""
    path, remedy = Path(root) / RATINGS_FILE, "copy it again from metadata_csv.zip of DEAP"
    columns = ["Participant_id", "Trial", "Experiment_id", *RATING_COLUMNS]
    table = read_table(path, columns, remedy)
    table = table[table["Participant_id"].isin(subjects)]
    table = table.sort_values(["Participant_id", "Experiment_id"], ignore_index=True)
    for subject in subjects:
        rows = table[table["Participant_id"] == subject]
        for column in ("Trial", "Experiment_id"):
            if rows.empty or sorted(rows[column]) != list(range(1, len(rows) + 1)):
                raise DataError(
                    f"{path}: column {column} of participant {subject} is no permutation of 1..{len(rows) or 40}; "
                    f"expected one row per trial: {remedy}"
                )
        for column in RATING_COLUMNS:
            if not rows[column].between(1, 9).all():
                raise DataError(f"{path}: {column} of participant {subject} leaves 1..9 or is blank; {remedy}")
    # A damaged row of somebody else makes a column of numbers a column of floats.
    table = table.astype({name: int for name in columns[:3]})
    pairs = zip(table["Participant_id"], table["Trial"], strict=True)
    clips = [root / VIDEO_FOLDER / f"s{subject:02d}/s{subject:02d}_trial{trial:02d}.avi" for subject, trial in pairs]
    return table.assign(clip=pd.Series([clip if clip.is_file() else None for clip in clips], dtype=object))


@dataclass(frozen=True)
class DeapTree(Tree):
    """What a DEAP folder holds: subjects with both EEG and clips, their ratings, the twin's mark; `raw` recordings."""

    root: Path
    subjects: tuple[int, ...]
    ratings: pd.DataFrame
    synthetic: dict | None
    raw: bool = False
    layout = "DEAP"

    @property
    def name(self) -> str:
        return super().name + (", original recordings" if self.raw else "")

    @property
    def n_skipped(self) -> int:
        """Number of trials without a face clip."""
        return int(self.ratings["clip"].isna().sum())

    @property
    def seconds(self) -> float:
        """Length of a stimulus in a recording: 60, or what a synthetic folder says."""
        if self.synthetic is None:
            return PLAYBACK_SECONDS
        n_windows = self.synthetic["settings"].get("n_windows", 15)
        if not isinstance(n_windows, int) or n_windows < 1:
            raise DataError(f"{self.root / SYNTHETIC_FILE}: n_windows is {n_windows!r}, expected 1 or more")
        return n_windows * WINDOW_SECONDS

    def eeg(self, subject: int) -> Path:
        return self.root / (f"{RAW_FOLDER}/s{subject:02d}.bdf" if self.raw else f"{DAT_FOLDER}/s{subject:02d}.dat")

    def rows(self, subject: int) -> pd.DataFrame:
        return self.ratings[self.ratings["Participant_id"] == subject]


def open_tree(root: str | Path, *, raw: bool = False) -> DeapTree:
    """List a DEAP folder and check its ratings, without reading signals; `raw` takes the original recordings."""
    root = Path(root).expanduser()
    if not root.is_dir():
        raise DataError(f"data_root {str(root)!r}: no such folder; {_HOW_TO}")
    folder, suffix = (RAW_FOLDER, ".bdf") if raw else (DAT_FOLDER, ".dat")
    # The patterns leave out the stray files that unpacking and desktops put there.
    recorded = {int(path.name[1:3]) for path in (root / folder).glob(f"s[0-9][0-9]{suffix}")}
    filmed = {int(path.name[1:3]) for path in (root / VIDEO_FOLDER).glob("s[0-9][0-9]")}
    subjects = tuple(sorted(recorded & filmed))
    if not subjects:
        where = [f"no EEG in {folder}{lies_at(root, rf's[0-9][0-9]{suffix}')}"] if not recorded else []
        where += [f"no face video in {VIDEO_FOLDER}{lies_at(root, 's[0-9]+_trial[0-9]+.avi')}"] if not filmed else []
        raise DataError(f"data_root {str(root)!r}: {', '.join(where) or 'nobody has both EEG and clips'}; {_HOW_TO}")
    return DeapTree(root, subjects, read_ratings(root, subjects), read_mark(root), raw)


def open_raw_tree(root: str | Path) -> DeapTree:
    """:func:`open_tree` for DEAP's original recordings."""
    return open_tree(root, raw=True)


def trials_of(
    tree: DeapTree,
    subjects: Iterable[int] | None = None,
    excluded: list[tuple[int, str]] | None = None,
    trace: Trace | None = None,
) -> Iterator[Trial]:
    """Yield the trials that have a face clip, sorted by subject and ``Experiment_id``; one file is open at a time."""
    for subject in tree.subjects if subjects is None else subjects:
        read = _from_recording(tree, subject) if tree.raw else _from_dat(tree, subject)
        for row in tree.rows(subject).itertuples():
            if row.clip is None:
                if excluded is not None:
                    excluded.append((row.Experiment_id, f"no clip s{subject:02d}_trial{row.Trial:02d}.avi"))
                continue
            try:
                note = tracer(trace)
                eeg = read(row, note)
            except UnusableSignal as fault:
                if excluded is None:
                    raise
                excluded.append((row.Experiment_id, str(fault)))
                continue
            note("stimulus", eeg[:, BASELINE_SAMPLES:], SFREQ, 0.0)
            yield Trial(
                subject=int(row.Participant_id),
                trial=int(row.Experiment_id),
                presentation=int(row.Trial),
                stimulus=f"stimulus-{int(row.Experiment_id):02d}",
                eeg=eeg[:, BASELINE_SAMPLES:],
                baseline=eeg[:, :BASELINE_SAMPLES],
                ratings={name: float(getattr(row, name.capitalize())) for name in RATINGS},
                video=row.clip,
            )


def _from_dat(tree: DeapTree, subject: int):
    path, rows = tree.eeg(subject), tree.rows(subject)
    data, labels = read_dat(path)
    if len(rows) != len(labels):
        raise DataError(
            f"{path}: {len(labels)} trials, but {RATINGS_FILE} has {len(rows)} rows for participant {subject}; take "
            "both from the same release"
        )
    # Both are sorted by Experiment_id, so row i is trial i + 1 in either.
    differs = ~(np.abs(rows[RATING_COLUMNS].to_numpy(float) - labels) <= HALF_A_HUNDREDTH)
    if differs.any():
        row, column = np.argwhere(differs)[0]
        name = RATING_COLUMNS[column]
        raise DataError(
            f"{tree.root / RATINGS_FILE}: {name} of participant {subject}, Experiment_id {row + 1} is "
            f"{rows[name].iloc[row]}, but {path.name} says {labels[row, column]:.2f}; take both from the same release"
        )

    def read(row, note) -> np.ndarray:
        whole = data[row.Experiment_id - 1]
        note("trial", whole, SFREQ, -BASELINE_SECONDS)
        note("electrodes", whole[: len(DEAP_EEG)], SFREQ, -BASELINE_SECONDS)
        eeg, where = whole[list(CHANNEL_ROWS)], f"{path}: trial {row.Experiment_id}"
        refuse_flat(eeg[:, BASELINE_SAMPLES:], CHANNELS, SFREQ, where)
        refuse_wild(eeg, CHANNELS, where)
        return eeg

    return read


def _from_recording(tree: DeapTree, subject: int):
    """From a trial's row of the ratings to its EEG, by the steps that DEAP says of its own release (Koelstra, 2012)."""
    path, wanted, step = tree.eeg(subject), [*DEAP_EEG, *EOG], int(RAW_SFREQ / SFREQ)
    raw, onsets = open_recording(tree, subject)
    names = [name.strip() for name in raw.ch_names]
    picks = [names.index(name) for name in wanted]  # the two sites recorded them in different orders

    def read(row, note) -> np.ndarray:
        onset = int(onsets[row.Trial - 1])  # in the order of presentation; the table is by Experiment_id
        start, stop = onset - int(BASELINE_SECONDS * RAW_SFREQ), onset + int(tree.seconds * RAW_SFREQ)
        first, where = max(start - MARGIN, 0), f"{path}: trial {row.Experiment_id}"
        data = raw.get_data(picks=picks, start=first, stop=min(stop + MARGIN, raw.n_times)) * 1e6
        note("trial", data, RAW_SFREQ, (first - onset) / RAW_SFREQ)
        refuse_flat(data[:, onset - first : stop - first], wanted, RAW_SFREQ, where)
        data = band_pass(data, RAW_SFREQ)  # takes away the electrodes' offsets, too: its gain at 0 Hz is 1e-16
        note("4–45 Hz", data, RAW_SFREQ, (first - onset) / RAW_SFREQ)
        data = data[:, start - first : stop - first : step]
        note("128 Hz", data, SFREQ, -BASELINE_SECONDS)
        eeg = data[: len(DEAP_EEG)] - data[: len(DEAP_EEG)].mean(axis=0)
        note("average reference", eeg, SFREQ, -BASELINE_SECONDS)
        # How DEAP removed eye movements is not published: here their channels are regressed out of each trial.
        left, right, above, below = data[len(DEAP_EEG) :]
        eyes = np.column_stack([left - right, above - below])
        eeg = eeg - np.linalg.lstsq(eyes, eeg.T, rcond=None)[0].T @ eyes.T
        note("eyes out", eeg, SFREQ, -BASELINE_SECONDS)
        refuse_wild(eeg[list(CHANNEL_ROWS)], CHANNELS, where)
        return eeg[list(CHANNEL_ROWS)]

    return read


def open_recording(tree: DeapTree, subject: int):
    """Open a recording, and find the first samples of its stimuli at 512 Hz in the order of presentation."""
    path, n_trials = tree.eeg(subject), len(tree.rows(subject))
    raw = open_bdf(path, RAW_SFREQ, [*DEAP_EEG, *EOG])
    # The trigger channel is called Status (s01 to s23) or nothing (s24 to s28), or is one of two called nothing (s29 to
    # s32; MNE numbers them). Only its lowest byte is the code; other codes than playback have extra occurrences.
    places = [i for i, name in enumerate(raw.ch_names) if re.fullmatch(r"(Status)?(-\d+)?", name.strip(), re.I)]
    found = [onsets_of(raw, place, 0xFF, PLAYBACK) for place in places]
    onsets = next((onsets for onsets in found if len(onsets) == n_trials), None)
    if onsets is None:
        raise DataError(
            f"{path}: {max(map(len, found), default=0)} stimuli in the trigger channel (labelled Status, or not at "
            f"all; code {PLAYBACK}), but the ratings have {n_trials} trials; copy it again, or keep the ratings of the "
            "recorded trials only"
        )
    before, after = BASELINE_SECONDS * RAW_SFREQ, tree.seconds * RAW_SFREQ
    if onsets[0] < before or onsets[-1] + after > raw.n_times or (np.diff(onsets) < after).any():
        raise DataError(
            f"{path}: its stimuli, {tree.seconds:g} s long, leave the recording of {raw.n_times / RAW_SFREQ:.1f} s or "
            f"overlap (they begin at {', '.join(f'{onset / RAW_SFREQ:.1f}' for onset in onsets)} s); copy it again"
        )
    return raw, onsets
