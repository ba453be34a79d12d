"""Reader of DEAP's original recordings, ``data_original/sNN.bdf``, through one documented chain.

The ``.dat`` files of the preprocessed release were made from these recordings. The chain here follows
what DEAP says about it: 128 Hz, eye movements removed, 4 to 45 Hz, average reference over 32 electrodes,
3 s before and all of the stimulus, sorted by ``Experiment_id``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..constants import BASELINE_SECONDS, CHANNEL_ROWS, CHANNELS, DEAP_EEG, SFREQ, WINDOW_SECONDS
from ..files.bdf import open_bdf
from ..files.mark import SYNTHETIC_FILE, read_mark
from ..files.signal_checks import UnusableSignal, check_signals
from ..types import DataError, Trial
from .ratings import RATINGS_FILE, VIDEO_FOLDER, read_ratings
from .raw_signal import EOG, RAW_SFREQ, find_channels, load_trial, playback_onsets, preprocess
from .reader import DeapTree, make_trial, subjects_with
from .timing import check_owner

if TYPE_CHECKING:
    import mne

RAW_FOLDER = "data_original"
PLAYBACK_SECONDS = 60.0


class RawTree(DeapTree):
    """The recordings of a DEAP folder, and the ratings and clips that belong to them.

    Attributes
    ----------
    root : Path
    subjects : tuple of int
        Subjects with a ``.bdf`` file.
    ratings : DataFrame
    synthetic : dict or None
        As in :class:`~cdgkd_utils.data.deap.reader.DeapTree`.
    """

    @property
    def name(self) -> str:
        """What numbers computed from these recordings may be called."""
        return f"{super().name}, original recordings"

    @property
    def seconds(self) -> float:
        """Length of a stimulus: 60, or what a synthetic folder says."""
        if self.synthetic is None:
            return PLAYBACK_SECONDS
        n_windows = self.synthetic["settings"].get("n_windows", 15)
        if not isinstance(n_windows, int) or n_windows < 1:
            raise DataError(
                f"{self.root / SYNTHETIC_FILE}: n_windows is {n_windows!r}, expected 1 or more; write the folder again"
            )
        return n_windows * WINDOW_SECONDS

    def bdf(self, subject: int) -> Path:
        """Path of a subject's recording."""
        return self.root / RAW_FOLDER / f"s{subject:02d}.bdf"

    def recordings(self) -> list[Path]:
        """The files with the subjects' EEG."""
        return [self.bdf(subject) for subject in self.subjects]


def open_raw_tree(root: str | Path, subjects: Iterable[int] | None = None, *, with_video: bool = False) -> RawTree:
    """List the recordings of a DEAP folder and check its table of ratings, without reading signals.

    Parameters
    ----------
    root : path-like
        Folder with ``data_original`` and ``metadata_csv``; ``face_video`` may be missing.
    subjects : iterable of int, optional
        Default: all that have a recording.
    with_video : bool
        Only subjects who have a folder of face clips, too (s01..s22 at most).

    Raises
    ------
    DataError
        A recording is missing, or the table of ratings is not usable.
    """
    root = Path(root).expanduser()
    recorded = subjects_with(root / RAW_FOLDER, ".bdf")
    available = sorted(recorded & subjects_with(root / VIDEO_FOLDER, "") if with_video else recorded)
    chosen = available if subjects is None else sorted(set(subjects))
    absent = sorted(set(chosen) - set(available))
    if absent or not available:
        also = f" with face video in {VIDEO_FOLDER}" if with_video else ""
        raise DataError(
            f"{root / RAW_FOLDER}: no recording {', '.join(f's{subject:02d}.bdf' for subject in absent or [1])}{also}; "
            f"there is {', '.join(f's{subject:02d}' for subject in available) or 'none'}; "
            "unpack data_original.zip of DEAP there"
        )
    return RawTree(root, tuple(chosen), read_ratings(root, chosen), read_mark(root))


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


@dataclass(frozen=True)
class Recording:
    """One subject's recording, opened and checked, but without its signals.

    Attributes
    ----------
    path : Path
    raw : mne.io.BaseRaw
    picks : list of int
        Places of the electrodes and, if they are to be regressed out, of the eyes' channels.
    onsets : ndarray of int
        First samples of the stimuli at 512 Hz, in the order of presentation.
    """

    path: Path
    raw: mne.io.BaseRaw
    picks: list[int]
    onsets: np.ndarray


def open_recording(tree: RawTree, subject: int, remove_eog: bool = True) -> Recording:
    """Open a recording and hold its rate, channels and triggers against what they must be; cheap.

    Raises
    ------
    DataError
        The file is damaged, a channel is missing, or its stimuli are not those of this subject in the ratings.
    """
    path = tree.bdf(subject)
    raw = open_bdf(path, RAW_SFREQ)
    picks = find_channels(raw, path, [*DEAP_EEG, *(EOG if remove_eog else ())])
    onsets = playback_onsets(raw, path, len(tree.rows(subject)), RATINGS_FILE)
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
    check_owner(path, subject, onsets, tree.ratings)
    return Recording(path, raw, picks, onsets)


def raw_trials(
    tree: RawTree,
    subject: int,
    remove_eog: bool = True,
    *,
    with_video: bool = False,
    excluded: list[tuple[int, str]] | None = None,
) -> Iterator[Trial]:
    """Yield one subject's trials; see :func:`read_deap_raw`.

    Parameters
    ----------
    tree : RawTree
    subject : int
    remove_eog : bool
    with_video : bool
        Pass over trials without a face clip.
    excluded : list, optional
        Takes (trial, reason) of each trial with a flat or impossible channel, which is left out then; without
        it they raise.

    Raises
    ------
    DataError
        The recording is damaged or contradicts the table of ratings.
    UnusableSignal
        A channel is flat for 4 s or beyond 60 mV, and nobody takes its trial's name.
    """
    found = open_recording(tree, subject, remove_eog)
    before, after = BASELINE_SECONDS * RAW_SFREQ, tree.seconds * RAW_SFREQ
    for row in tree.rows(subject).itertuples():
        if with_video and row.clip is None:
            continue
        # The recording is in the order of presentation, the table by Experiment_id.
        start, stop = (int(found.onsets[row.Trial - 1] + shift) for shift in (-before, after))
        try:
            signals = load_trial(found.raw, found.path, found.picks, start, stop)
            eeg = preprocess(signals, start, stop, found.raw.n_times)[list(CHANNEL_ROWS)]
            check_signals(eeg, CHANNELS, SFREQ, f"{found.path}: trial {row.Experiment_id}")
        except UnusableSignal as fault:
            if excluded is None:
                raise
            excluded.append((row.Experiment_id, str(fault)))
            continue
        yield make_trial(row, eeg)


def trials_of(
    tree: RawTree, subjects: Iterable[int] | None = None, excluded: list[tuple[int, str]] | None = None
) -> Iterator[Trial]:
    """Trials with a face clip, as :func:`cdgkd_utils.data.deap.reader.trials_of` yields them from ``.dat`` files."""
    for subject in tree.subjects if subjects is None else subjects:
        yield from raw_trials(tree, subject, with_video=True, excluded=excluded)
