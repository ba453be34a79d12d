"""Reader of DEAP's original recordings, ``data_original/sNN.bdf``, through one documented chain.

The ``.dat`` files of the preprocessed release were made from these recordings. The chain here follows
what DEAP says about it: 128 Hz, eye movements removed, 4 to 45 Hz, average reference over 32 electrodes,
3 s before and all of the stimulus, sorted by ``Experiment_id``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..constants import BASELINE_SAMPLES, BASELINE_SECONDS, CHANNEL_ROWS, DEAP_EEG, RATINGS, WINDOW_SECONDS
from ..errors import DataError
from ..files.bdf import open_bdf
from ..types import Trial
from .raw_signal import EOG, RAW_SFREQ, find_channels, load_trial, playback_onsets, preprocess
from .reader import RATING_COLUMNS, RATINGS_FILE, SYNTHETIC_FILE, VIDEO_FOLDER, _read_csv, _synthetic

RAW_FOLDER = "data_original"
PLAYBACK_SECONDS = 60.0


@dataclass(frozen=True)
class RawTree:
    """The recordings of a DEAP folder and the ratings that belong to them.

    Attributes
    ----------
    root : Path
    subjects : tuple of int
        Subjects with a ``.bdf`` file.
    ratings : DataFrame
        Rows of ``participant_ratings.csv`` of these subjects, sorted by participant and experiment.
    seconds : float
        Length of the stimulus: 60, or what a synthetic folder says.
    """

    root: Path
    subjects: tuple[int, ...]
    ratings: pd.DataFrame
    seconds: float

    def bdf(self, subject: int) -> Path:
        """Path of a subject's recording."""
        return self.root / RAW_FOLDER / f"s{subject:02d}.bdf"


def open_raw_tree(root: str | Path, subjects: Iterable[int] | None = None) -> RawTree:
    """List the recordings of a DEAP folder and check its table of ratings, without reading signals.

    Parameters
    ----------
    root : path-like
        Folder with ``data_original`` and ``metadata_csv``; ``face_video`` may be missing.
    subjects : iterable of int, optional
        Default: all that have a recording.

    Raises
    ------
    DataError
        A recording is missing, or the table of ratings is not usable.
    """
    root = Path(root).expanduser()
    available = sorted(int(path.name[1:3]) for path in (root / RAW_FOLDER).glob("s[0-9][0-9].bdf"))
    chosen = available if subjects is None else sorted(set(subjects))
    absent = sorted(set(chosen) - set(available))
    if absent or not available:
        raise DataError(
            f"{root / RAW_FOLDER}: no recording {', '.join(f's{subject:02d}.bdf' for subject in absent or [1])}; "
            f"there is {', '.join(f's{subject:02d}' for subject in available) or 'none'}; "
            "unpack data_original.zip of DEAP there"
        )
    path = root / RATINGS_FILE
    columns = ["Participant_id", "Trial", "Experiment_id", *RATING_COLUMNS]
    table = _read_csv(path, columns)
    table[columns] = table[columns].apply(pd.to_numeric, errors="coerce")
    table = table[table["Participant_id"].isin(chosen)].sort_values(["Participant_id", "Experiment_id"])
    for subject in chosen:
        rows = table[table["Participant_id"] == subject]
        for column in ("Trial", "Experiment_id"):
            if rows.empty or sorted(rows[column]) != list(range(1, len(rows) + 1)):
                raise DataError(
                    f"{path}: column {column} of participant {subject} is no permutation of 1..{len(rows) or 40}; "
                    "expected one row per trial: copy it again from metadata_csv.zip"
                )
        for column in RATING_COLUMNS:
            if not rows[column].between(1, 9).all():
                raise DataError(f"{path}: {column} of participant {subject} leaves 1..9 or is blank; copy it again")
    note = _synthetic(root / SYNTHETIC_FILE)
    seconds = PLAYBACK_SECONDS if note is None else note["settings"].get("n_windows", 15) * WINDOW_SECONDS
    return RawTree(root, tuple(chosen), table.reset_index(drop=True), float(seconds))


def read_deap_raw(
    root: str | Path, subjects: Iterable[int] | None = None, *, remove_eog: bool = True
) -> Iterator[Trial]:
    """Trials of DEAP's original recordings, sorted by subject and ``Experiment_id``.

    Each trial is loaded with 2 s on either side and goes through: zero-phase FIR band-pass of 4 to 45 Hz
    (MNE's default design, 6 dB down at 3 and 50.6 Hz), the same as on the whole recording; every fourth
    sample, which is resampling to 128 Hz because the filter takes 53 dB and more from all above 57 Hz;
    average reference over 32 electrodes; regression of the eyes' two bipolar channels out of each electrode.

    DEAP does not publish how it removed eye movements. The regression (coefficients from the trial
    itself, so that no trial knows of another) stands in for it; ``remove_eog=False`` leaves it out.

    Parameters
    ----------
    root : path-like
        Folder with ``data_original`` and ``metadata_csv``.
    subjects : iterable of int, optional
        Default: all that have a recording (s01..s32).
    remove_eog : bool

    Returns
    -------
    iterator of Trial
        As :func:`~cdgkd_utils.data.deap.reader.read_deap` yields them, but also without a face clip
        (``video`` is None then: s23..s32 have none). The folder is checked at once, the recordings are
        read lazily, one trial in memory at a time.

    Raises
    ------
    DataError
        A file is missing, damaged or contradicts another; a channel is missing or flat.

    References
    ----------
    Koelstra et al., DEAP: a database for emotion analysis using physiological signals, IEEE T-AFFC 2012.
    """
    tree = open_raw_tree(root, subjects)
    return (trial for subject in tree.subjects for trial in raw_trials(tree, subject, remove_eog))


def raw_trials(tree: RawTree, subject: int, remove_eog: bool = True) -> Iterator[Trial]:
    """Yield one subject's trials; see :func:`read_deap_raw`."""
    path = tree.bdf(subject)
    raw = open_bdf(path, RAW_SFREQ)
    wanted = [*DEAP_EEG, *(EOG if remove_eog else ())]
    picks = find_channels(raw, path, wanted)
    rows = tree.ratings[tree.ratings["Participant_id"] == subject]
    onsets = playback_onsets(raw, path, len(rows), RATINGS_FILE)
    before, after = BASELINE_SECONDS * RAW_SFREQ, tree.seconds * RAW_SFREQ
    if onsets[0] < before or onsets[-1] + after > raw.n_times:
        raise DataError(
            f"{path}: a trial leaves the recording (playback from {onsets[0] / RAW_SFREQ:.1f} s to "
            f"{(onsets[-1] + after) / RAW_SFREQ:.1f} s of {raw.n_times / RAW_SFREQ:.1f} s); copy it again"
        )
    if len(onsets) > 1 and np.diff(onsets).min() < after:
        raise DataError(
            f"{path}: two stimuli begin {np.diff(onsets).min() / RAW_SFREQ:.1f} s apart, "
            f"expected {tree.seconds:g} s or more; the trigger channel is damaged: copy it again"
        )
    for row in rows.itertuples():
        # The recording is in the order of presentation, the table by Experiment_id.
        start, stop = (int(onsets[int(row.Trial) - 1] + shift) for shift in (-before, after))
        eeg = preprocess(load_trial(raw, path, picks, start, stop), start, stop, raw.n_times)[list(CHANNEL_ROWS)]
        clip = tree.root / VIDEO_FOLDER / f"s{subject:02d}" / f"s{subject:02d}_trial{int(row.Trial):02d}.avi"
        yield Trial(
            subject=subject,
            trial=int(row.Experiment_id),
            presentation=int(row.Trial),
            stimulus=f"stimulus-{int(row.Experiment_id):02d}",
            eeg=eeg[:, BASELINE_SAMPLES:],
            baseline=eeg[:, :BASELINE_SAMPLES],
            ratings={name: float(getattr(row, column)) for name, column in zip(RATINGS, RATING_COLUMNS, strict=True)},
            video=clip if clip.is_file() else None,
        )
