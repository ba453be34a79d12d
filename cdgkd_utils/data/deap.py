"""Reader of a DEAP folder (or of the twin written as one): preprocessed EEG or original recordings, ratings, clips.

::

    root/
      data_preprocessed_python/  s01.dat ...               row i = Experiment_id i + 1
      data_original/             s01.bdf ...               in the order of presentation, for dataset="deap_raw"
      metadata_csv/              participant_ratings.csv   Experiment_id -> Trial
      face_video/                s01/s01_trial01.avi ...   named by Trial, the order of presentation

A clip has no baseline: its time 0 is sample 384 of the ``.dat`` row.
"""

from __future__ import annotations

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
)
from .dat_file import read_dat
from .deap_raw import recording_reader
from .signals import Trace, UnusableSignal, refuse_flat, refuse_wild, tracer
from .trees import SYNTHETIC_FILE, lies_at, read_mark, read_table, read_truth, tree_name
from .types import DataError, Trial

DAT_FOLDER, RAW_FOLDER, VIDEO_FOLDER = "data_preprocessed_python", "data_original", "face_video"
RATINGS_FILE = "metadata_csv/participant_ratings.csv"
RATING_COLUMNS = [name.capitalize() for name in RATINGS]
HALF_A_HUNDREDTH = 0.005 + 1e-9  # the table has two decimals; labels that agree with it are not read any further
PLAYBACK_SECONDS = 60.0
_HOW_TO = (
    f"expected a DEAP folder with {DAT_FOLDER}/s01.dat (or {RAW_FOLDER}/s01.bdf), {RATINGS_FILE} and "
    f"{VIDEO_FOLDER}/s01/s01_trial01.avi; DEAP is handed out for research after signing the end user licence agreement "
    "on the data set's own page; dataset='twin' runs without it"
)


def read_ratings(root: Path, subjects: Sequence[int]) -> pd.DataFrame:
    """Read and check ``participant_ratings.csv``, and find the face clip of each row.

    Parameters
    ----------
    root : Path
    subjects : sequence of int
        Whose rows are taken; those of others may be damaged.

    Returns
    -------
    DataFrame
        Sorted by ``Participant_id`` and ``Experiment_id``. ``Trial``, the order of presentation, names the clip; its
        path is in the column ``clip``, None where there is no such file.
    """
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
class DeapTree:
    """What a DEAP folder holds, found by listing it.

    Attributes
    ----------
    root : Path
    subjects : tuple of int
        Subjects with both EEG and a folder of clips.
    ratings : DataFrame
        As :func:`read_ratings` gives them.
    synthetic : dict or None
        Content of the ``SYNTHETIC`` file, which only the twin's folders have.
    raw : bool
        The EEG is that of the original recordings.
    """

    root: Path
    subjects: tuple[int, ...]
    ratings: pd.DataFrame
    synthetic: dict | None
    raw: bool = False

    @property
    def name(self) -> str:
        """What numbers computed from this folder may be called."""
        return tree_name("DEAP", self.synthetic) + (", original recordings" if self.raw else "")

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
        """The file with a subject's EEG."""
        return self.root / (f"{RAW_FOLDER}/s{subject:02d}.bdf" if self.raw else f"{DAT_FOLDER}/s{subject:02d}.dat")

    def rows(self, subject: int) -> pd.DataFrame:
        """A subject's rows of ``ratings``."""
        return self.ratings[self.ratings["Participant_id"] == subject]

    def truth(self) -> pd.DataFrame | None:
        """The latents stored with a synthetic folder, one row per trial; None for real data."""
        return read_truth(self.root, self.synthetic)


def open_tree(root: str | Path, subjects: Iterable[int] | None = None, *, raw: bool = False) -> DeapTree:
    """List a DEAP folder and check its table of ratings, without reading signals.

    Parameters
    ----------
    root : path-like
    subjects : iterable of int, optional
        Take these only; default: all that have EEG and face video (s01..s22 at most).
    raw : bool
        Take the EEG of ``data_original``.

    Raises
    ------
    DataError
        The folder is missing, empty or incomplete (and where the files lie, if they lie elsewhere in it), or its table
        of ratings is not usable.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise DataError(f"data_root {str(root)!r}: no such folder; {_HOW_TO}")
    folder, suffix = (RAW_FOLDER, ".bdf") if raw else (DAT_FOLDER, ".dat")
    # The patterns leave out the stray files that unpacking and desktops put there.
    recorded = {int(path.name[1:3]) for path in (root / folder).glob(f"s[0-9][0-9]{suffix}")}
    filmed = {int(path.name[1:3]) for path in (root / VIDEO_FOLDER).glob("s[0-9][0-9]")}
    available = sorted(recorded & filmed)
    if not available:
        where = [f"no EEG in {folder}{lies_at(root, rf's[0-9][0-9]{suffix}')}"] if not recorded else []
        where += [f"no face video in {VIDEO_FOLDER}{lies_at(root, 's[0-9]+_trial[0-9]+.avi')}"] if not filmed else []
        raise DataError(f"data_root {str(root)!r}: {', '.join(where) or 'nobody has both EEG and clips'}; {_HOW_TO}")
    chosen = available if subjects is None else sorted(set(subjects))
    if absent := sorted(set(chosen) - set(available)):
        raise DataError(
            f"data_root {str(root)!r}: subject {', '.join(map(str, absent))} has no EEG in {folder} with face video; "
            f"available: {', '.join(map(str, available))}"
        )
    return DeapTree(root, tuple(chosen), read_ratings(root, chosen), read_mark(root), raw)


def open_raw_tree(root: str | Path, subjects: Iterable[int] | None = None) -> DeapTree:
    """:func:`open_tree` for DEAP's original recordings."""
    return open_tree(root, subjects, raw=True)


def trials_of(
    tree: DeapTree,
    subjects: Iterable[int] | None = None,
    excluded: list[tuple[int, str]] | None = None,
    trace: Trace | None = None,
) -> Iterator[Trial]:
    """Yield the trials that have a face clip, sorted by subject and ``Experiment_id``; one file is open at a time.

    Original recordings go through a chain that follows what DEAP says of its own: each trial is loaded with 2 s on
    either side, band-passed to 4-45 Hz (the same as on the whole recording), every fourth sample is taken (the filter
    has left nothing above 57 Hz), the mean of 32 electrodes subtracted, and the eyes' bipolar channels regressed out of
    each electrode. DEAP does not publish how it removed eye movements; the regression, with coefficients from the
    trial itself, stands in for it.

    Parameters
    ----------
    tree : DeapTree
    subjects : iterable of int, optional
        Some of ``tree.subjects``; default: all.
    excluded : list, optional
        Takes (trial, reason) of each trial that is left out: without a clip, or with a flat or impossible channel.
        Without it unusable channels raise.
    trace : list, optional
        Holds the steps of the last trial: (name, signal (28, n_times) from the clip's start on, sampling rate).

    Raises
    ------
    DataError
        A file is damaged, or contradicts the table of ratings.
    UnusableSignal
        A channel is unusable, and nobody takes its trial's name.

    References
    ----------
    Koelstra et al., DEAP: a database for emotion analysis using physiological signals, IEEE T-AFFC 2012.
    """
    for subject in tree.subjects if subjects is None else subjects:
        read = recording_reader(tree, subject) if tree.raw else _from_dat(tree, subject)
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
