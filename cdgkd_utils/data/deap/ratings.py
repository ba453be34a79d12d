"""DEAP's table of ratings: what joins the order of the experiments to the order of presentation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ..constants import RATINGS
from ..files.tables import numbers_only, read_table
from ..types import DataError

VIDEO_FOLDER = "face_video"
RATINGS_FILE = "metadata_csv/participant_ratings.csv"
RATING_COLUMNS = [name.capitalize() for name in RATINGS]
_ORDERS = ("Trial", "Experiment_id")
_AGAIN = "copy it again from metadata_csv.zip of DEAP"


def read_ratings(root: Path, subjects: Sequence[int]) -> pd.DataFrame:
    """Read and check ``participant_ratings.csv``, and find the face clip of each row.

    Parameters
    ----------
    root : Path
        Folder with ``metadata_csv`` and, if there are clips, ``face_video``.
    subjects : sequence of int
        Whose rows are taken; those of others may be damaged.

    Returns
    -------
    DataFrame
        Sorted by ``Participant_id`` and ``Experiment_id``. ``Trial``, the order of presentation, names the clip;
        its path is in the column ``clip``, None where there is no such file.

    Raises
    ------
    DataError
        The table is missing or unreadable, trials of a subject are missing or doubled, or a rating leaves 1..9.
    """
    path = root / RATINGS_FILE
    columns = ["Participant_id", *_ORDERS, *RATING_COLUMNS]
    table = numbers_only(read_table(path, columns, _AGAIN), columns)
    table = table[table["Participant_id"].isin(subjects)]
    table = table.sort_values(["Participant_id", "Experiment_id"], ignore_index=True)
    for subject in subjects:
        rows = table[table["Participant_id"] == subject]
        for column in _ORDERS:
            if rows.empty or sorted(rows[column]) != list(range(1, len(rows) + 1)):
                raise DataError(
                    f"{path}: column {column} of participant {subject} is no permutation of 1..{len(rows) or 40}; "
                    f"expected one row per trial: {_AGAIN}"
                )
        for column in RATING_COLUMNS:
            if not rows[column].between(1, 9).all():
                raise DataError(
                    f"{path}: {column} of participant {subject} leaves 1..9 or is blank, expected a rating "
                    f"for each trial: {_AGAIN}"
                )
    # A damaged row of somebody else makes a column of numbers a column of floats.
    table = table.astype({name: int for name in ("Participant_id", *_ORDERS)})
    pairs = zip(table["Participant_id"], table["Trial"], strict=True)
    clips = [root / VIDEO_FOLDER / f"s{subject:02d}/s{subject:02d}_trial{trial:02d}.avi" for subject, trial in pairs]
    return table.assign(clip=pd.Series([clip if clip.is_file() else None for clip in clips], dtype=object))
