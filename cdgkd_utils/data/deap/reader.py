"""Reader of a DEAP folder (or of the twin written as one): preprocessed EEG, ratings and face clips.

::

    root/
      data_preprocessed_python/  s01.dat ...               row i = Experiment_id i + 1
      metadata_csv/              participant_ratings.csv   Experiment_id -> Trial
      face_video/                s01/s01_trial01.avi ...   named by Trial, the order of presentation

The clip has no baseline: its time 0 is sample 384 of the ``.dat`` row.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..constants import BASELINE_SAMPLES, CHANNEL_ROWS, RATINGS
from ..errors import DataError
from ..files.fingerprint import files_digest
from ..types import Trial
from .dat_file import read_dat

DAT_FOLDER, VIDEO_FOLDER = "data_preprocessed_python", "face_video"
RATINGS_FILE = "metadata_csv/participant_ratings.csv"
SYNTHETIC_FILE, TRUTH_FILE = "SYNTHETIC", "truth.csv"
RATING_COLUMNS = [name.capitalize() for name in RATINGS]
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
        Subjects with both a ``.dat`` file and a folder of clips.
    ratings : DataFrame
        Rows of ``participant_ratings.csv`` of these subjects, sorted by participant and experiment, with
        the column ``clip``: the path of the face clip, or None where it is missing.
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
        if self.synthetic is None:
            return "DEAP"
        return f"synthetic tree in DEAP's layout (world {self.synthetic['settings']['world']})"

    @property
    def n_skipped(self) -> int:
        """Number of trials without a face clip."""
        return int(self.ratings["clip"].isna().sum())

    def dat(self, subject: int) -> Path:
        """Path of a subject's ``.dat`` file."""
        return self.root / DAT_FOLDER / f"s{subject:02d}.dat"

    def files(self) -> list[Path]:
        """Every file that decides what the reader yields."""
        fixed = [self.root / name for name in (RATINGS_FILE, SYNTHETIC_FILE, TRUTH_FILE)]
        tables = [path for path in fixed if path.is_file()]
        return [*tables, *map(self.dat, self.subjects), *self.ratings["clip"].dropna()]

    def truth(self) -> pd.DataFrame | None:
        """The latents stored with a synthetic folder, one row per trial; None for real data."""
        path = self.root / TRUTH_FILE
        return None if self.synthetic is None else _read_csv(path, ["subject", "trial"])


def _read_csv(path: Path, columns: Iterable[str]) -> pd.DataFrame:
    """Read a table and insist on some columns."""
    try:
        table = pd.read_csv(path)
    except FileNotFoundError as error:
        raise DataError(f"{path}: missing; {_HOW_TO}") from error
    except ValueError as error:  # undecodable, empty or ragged
        said = " ".join(str(error).split())  # pandas breaks the line
        raise DataError(f"{path}: not a readable CSV table ({said}); copy it again") from error
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise DataError(f"{path}: column {', '.join(missing)} missing, found {', '.join(table.columns)}; copy it again")
    return table


def _subjects(folder: Path, pattern: str) -> set[int]:
    return {int(path.name[1:3]) for path in folder.glob(pattern)}


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
    # The patterns leave out the stray files that unpacking and desktops put into these folders.
    with_eeg = _subjects(root / DAT_FOLDER, "s[0-9][0-9].dat")
    available = sorted(with_eeg & _subjects(root / VIDEO_FOLDER, "s[0-9][0-9]"))
    if not available:
        raise DataError(f"data_root {str(root)!r}: no subject with both EEG and face video; {_HOW_TO}")
    chosen = available if subjects is None else sorted(set(subjects))
    if absent := set(chosen) - set(available):
        raise DataError(
            f"data_root {str(root)!r}: subject {', '.join(map(str, sorted(absent)))} has no EEG with face video; "
            f"available: {', '.join(map(str, available))}"
        )
    path = root / RATINGS_FILE
    columns = ["Participant_id", "Trial", "Experiment_id", *RATING_COLUMNS]
    ratings = _read_csv(path, columns)
    ratings[columns] = ratings[columns].apply(pd.to_numeric, errors="coerce")
    ratings = ratings[ratings["Participant_id"].isin(chosen)]
    ratings = ratings.sort_values(["Participant_id", "Experiment_id"], ignore_index=True)
    for subject in chosen:
        rows = ratings[ratings["Participant_id"] == subject]
        for column in ("Trial", "Experiment_id"):
            if sorted(rows[column]) != list(range(1, len(rows) + 1)) or rows.empty:
                raise DataError(
                    f"{path}: column {column} of participant {subject} is no permutation of 1..{len(rows) or 40}; "
                    "expected one row per trial: copy it again from metadata_csv.zip"
                )
    # A damaged row of somebody else makes a column of numbers a column of floats.
    ratings = ratings.astype({name: int for name in ("Participant_id", "Trial", "Experiment_id")})
    names = [
        f"s{s:02d}/s{s:02d}_trial{t:02d}.avi" for s, t in zip(ratings["Participant_id"], ratings["Trial"], strict=True)
    ]
    clips = [root / VIDEO_FOLDER / name for name in names]
    ratings["clip"] = pd.Series([clip if clip.is_file() else None for clip in clips], dtype=object)
    return DeapTree(root, tuple(chosen), ratings, _synthetic(root / SYNTHETIC_FILE))


def _synthetic(path: Path) -> dict | None:
    if not path.exists():
        return None
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
        note["settings"]["world"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: expected JSON with the twin's settings; write the folder again") from error
    return note


def trials_of(tree: DeapTree, subjects: Iterable[int] | None = None) -> Iterator[Trial]:
    """Yield the trials that have a face clip, sorted by subject and ``Experiment_id``.

    One subject's file is in memory at a time.

    Parameters
    ----------
    tree : DeapTree
    subjects : iterable of int, optional
        Some of ``tree.subjects``; default: all.

    Raises
    ------
    DataError
        A ``.dat`` file is damaged, or its labels disagree with the table of ratings.
    """
    for subject in tree.subjects if subjects is None else subjects:
        path = tree.dat(subject)
        data, labels = read_dat(path)
        rows = tree.ratings[tree.ratings["Participant_id"] == subject]
        if len(rows) != len(data):
            raise DataError(
                f"{path}: {len(data)} trials, but {RATINGS_FILE} has {len(rows)} rows for participant {subject}; "
                "take both from the same release"
            )
        # Both are sorted by Experiment_id now, so row i is trial i + 1 in either.
        difference = np.abs(rows[RATING_COLUMNS].to_numpy(float) - labels)
        if not (difference <= 0.01 + 1e-9).all():
            row, column = np.argwhere(~(difference <= 0.01 + 1e-9))[0]
            name = RATING_COLUMNS[column]
            raise DataError(
                f"{tree.root / RATINGS_FILE}: {name} of participant {subject}, Experiment_id {row + 1} is "
                f"{rows[name].iloc[row]}, but {path.name} says {labels[row, column]:.2f}; "
                "take both from the same release"
            )
        for row, (presentation, clip) in enumerate(zip(rows["Trial"], rows["clip"], strict=True)):
            if clip is None:
                continue
            eeg = data[row, list(CHANNEL_ROWS)]
            yield Trial(
                subject=subject,
                trial=row + 1,
                presentation=int(presentation),
                stimulus=f"stimulus-{row + 1:02d}",
                eeg=eeg[:, BASELINE_SAMPLES:],
                baseline=eeg[:, :BASELINE_SAMPLES],
                ratings=dict(zip(RATINGS, labels[row].tolist(), strict=True)),
                video=clip,
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
        A file is missing, damaged or contradicts another.

    References
    ----------
    Koelstra et al., DEAP: a database for emotion analysis using physiological signals, IEEE T-AFFC 2012.
    """
    return trials_of(open_tree(root, subjects))


def deap_fingerprint(root: str | Path) -> str:
    """Content hash of the files that :func:`read_deap` uses: names and bytes, 32 hex digits."""
    tree = open_tree(root)
    return files_digest(tree.root, tree.files())
