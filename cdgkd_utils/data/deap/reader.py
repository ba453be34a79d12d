"""Reader of a DEAP folder (or of the twin written as one): preprocessed EEG, ratings and face clips.

::

    root/
      data_preprocessed_python/  s01.dat ...               row i = Experiment_id i + 1
      metadata_csv/              participant_ratings.csv   Experiment_id -> Trial
      face_video/                s01/s01_trial01.avi ...   named by Trial, the order of presentation

The clip has no baseline: its time 0 is sample 384 of the ``.dat`` row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..constants import BASELINE_SAMPLES, CHANNEL_ROWS, CHANNELS, RATINGS, SFREQ
from ..files.mark import SYNTHETIC_FILE, TRUTH_FILE, read_mark, read_truth, tree_name
from ..files.signal_checks import UnusableSignal, check_signals
from ..types import DataError, Trial
from .dat_file import read_dat
from .ratings import RATING_COLUMNS, RATINGS_FILE, VIDEO_FOLDER, read_ratings

DAT_FOLDER = "data_preprocessed_python"
HALF_A_HUNDREDTH = 0.005 + 1e-9  # the table has two decimals; labels that agree with it are not read any further
_HOW_TO = (
    f"expected a DEAP folder with {DAT_FOLDER}/s01.dat, {RATINGS_FILE} and {VIDEO_FOLDER}/s01/s01_trial01.avi; "
    "DEAP is handed out for research after signing the end user licence agreement on the data set's own page; "
    "dataset='twin' runs without it"
)


@dataclass(frozen=True)
class DeapTree:
    """What a DEAP folder holds, found by listing it.

    Attributes
    ----------
    root : Path
    subjects : tuple of int
        Subjects with both EEG and a folder of clips.
    ratings : DataFrame
        Rows of ``participant_ratings.csv`` of these subjects, as ``read_ratings`` gives them: sorted by
        participant and experiment, with the column ``clip``.
    synthetic : dict or None
        Content of the ``SYNTHETIC`` file, which only the twin's folders have.
    """

    root: Path
    subjects: tuple[int, ...]
    ratings: pd.DataFrame
    synthetic: dict | None

    @property
    def name(self) -> str:
        """What numbers computed from this folder may be called."""
        return tree_name("DEAP", self.synthetic)

    @property
    def n_skipped(self) -> int:
        """Number of trials without a face clip."""
        return int(self.ratings["clip"].isna().sum())

    def dat(self, subject: int) -> Path:
        """Path of a subject's ``.dat`` file."""
        return self.root / DAT_FOLDER / f"s{subject:02d}.dat"

    def recordings(self) -> list[Path]:
        """The files with the subjects' EEG."""
        return [self.dat(subject) for subject in self.subjects]

    def rows(self, subject: int) -> pd.DataFrame:
        """A subject's rows of ``ratings``."""
        return self.ratings[self.ratings["Participant_id"] == subject]

    def files(self) -> list[Path]:
        """Every file that decides what the reader yields."""
        fixed = [self.root / name for name in (RATINGS_FILE, SYNTHETIC_FILE, TRUTH_FILE)]
        tables = [path for path in fixed if path.is_file()]
        return [*tables, *self.recordings(), *self.ratings["clip"].dropna()]

    def truth(self) -> pd.DataFrame | None:
        """The latents stored with a synthetic folder, one row per trial; None for real data."""
        return read_truth(self.root, self.synthetic)


def subjects_with(folder: Path, suffix: str) -> set[int]:
    """Numbers of the subjects who have an entry ``sNN<suffix>`` in a folder.

    The pattern leaves out the stray files that unpacking and desktops put there.
    """
    return {int(path.name[1:3]) for path in folder.glob(f"s[0-9][0-9]{suffix}")}


def open_tree(root: str | Path, subjects: Iterable[int] | None = None) -> DeapTree:
    """List a DEAP folder and check its table of ratings, without reading signals.

    Parameters
    ----------
    root : path-like
    subjects : iterable of int, optional
        Take these only; default: all that have EEG and face video (s01..s22 at most).

    Raises
    ------
    DataError
        The folder is missing, empty or incomplete, or its table of ratings is not usable.
    """
    root = Path(root).expanduser()
    if not root.is_dir():
        raise DataError(f"data_root {str(root)!r}: no such folder; {_HOW_TO}")
    available = sorted(subjects_with(root / DAT_FOLDER, ".dat") & subjects_with(root / VIDEO_FOLDER, ""))
    if not available:
        raise DataError(f"data_root {str(root)!r}: no subject with both EEG and face video; {_HOW_TO}")
    chosen = available if subjects is None else sorted(set(subjects))
    if absent := set(chosen) - set(available):
        raise DataError(
            f"data_root {str(root)!r}: subject {', '.join(map(str, sorted(absent)))} has no EEG with face video; "
            f"available: {', '.join(map(str, available))}"
        )
    return DeapTree(root, tuple(chosen), read_ratings(root, chosen), read_mark(root))


def trials_of(
    tree: DeapTree, subjects: Iterable[int] | None = None, excluded: list[tuple[int, str]] | None = None
) -> Iterator[Trial]:
    """Yield the trials that have a face clip, sorted by subject and ``Experiment_id``.

    One subject's file is in memory at a time.

    Parameters
    ----------
    tree : DeapTree
    subjects : iterable of int, optional
        Some of ``tree.subjects``; default: all.
    excluded : list, optional
        Takes (trial, reason) of each trial with a flat or impossible channel, which is left out then;
        without it they raise.

    Raises
    ------
    DataError
        A ``.dat`` file is damaged, or its labels disagree with the table of ratings.
    UnusableSignal
        A channel is flat for 4 s or beyond 60 mV, and nobody takes its trial's name.
    """
    for subject in tree.subjects if subjects is None else subjects:
        path = tree.dat(subject)
        data, labels = read_dat(path)
        rows = tree.rows(subject)
        _compare(tree, path, rows, labels)
        for row, found in enumerate(rows.itertuples()):
            if found.clip is None:
                continue
            eeg = data[row, list(CHANNEL_ROWS)]
            try:
                check_signals(eeg[:, BASELINE_SAMPLES:], CHANNELS, SFREQ, f"{path}: trial {row + 1}")
            except UnusableSignal as fault:
                if excluded is None:
                    raise
                excluded.append((row + 1, str(fault)))
                continue
            yield make_trial(found, eeg)


def _compare(tree: DeapTree, path: Path, rows: pd.DataFrame, labels: np.ndarray) -> None:
    """Hold the table against a file's labels: both are sorted by Experiment_id, so row i is trial i + 1 in either."""
    if len(rows) != len(labels):
        raise DataError(
            f"{path}: {len(labels)} trials, but {RATINGS_FILE} has {len(rows)} rows for participant "
            f"{int(path.stem[1:])}; take both from the same release"
        )
    differs = ~(np.abs(rows[RATING_COLUMNS].to_numpy(float) - labels) <= HALF_A_HUNDREDTH)
    if differs.any():
        row, column = np.argwhere(differs)[0]
        name = RATING_COLUMNS[column]
        raise DataError(
            f"{tree.root / RATINGS_FILE}: {name} of participant {int(path.stem[1:])}, Experiment_id {row + 1} is "
            f"{rows[name].iloc[row]}, but {path.name} says {labels[row, column]:.2f}; take both from the same release"
        )


def make_trial(row: tuple, eeg: np.ndarray) -> Trial:
    """A trial from its row of the ratings and its EEG.

    Parameters
    ----------
    row : named tuple
        A row of ``DeapTree.ratings``, as ``itertuples`` gives it.
    eeg : ndarray, shape (28, 384 + n_times)
        In µV at 128 Hz, with the 3 s before playback.
    """
    return Trial(
        subject=int(row.Participant_id),
        trial=int(row.Experiment_id),
        presentation=int(row.Trial),
        stimulus=f"stimulus-{int(row.Experiment_id):02d}",
        eeg=eeg[:, BASELINE_SAMPLES:],
        baseline=eeg[:, :BASELINE_SAMPLES],
        ratings={name: float(getattr(row, column)) for name, column in zip(RATINGS, RATING_COLUMNS, strict=True)},
        video=row.clip,
    )


def read_deap(root: str | Path, subjects: Iterable[int] | None = None) -> Iterator[Trial]:
    """Trials of a DEAP folder that have EEG and a face clip, sorted by subject and ``Experiment_id``.

    Parameters
    ----------
    root : path-like
        Folder with ``data_preprocessed_python``, ``metadata_csv`` and ``face_video``.
    subjects : iterable of int, optional

    Returns
    -------
    iterator of Trial
        Read lazily, a subject at a time; the folder itself is checked at once.

    Raises
    ------
    DataError
        A file is missing, damaged or contradicts another, or a channel is flat.

    References
    ----------
    Koelstra et al., DEAP: a database for emotion analysis using physiological signals, IEEE T-AFFC 2012.
    """
    return trials_of(open_tree(root, subjects))
