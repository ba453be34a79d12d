"""DEAP's original recordings: triggers, channels, and the chain of each trial."""

from __future__ import annotations

import re

import numpy as np

from .constants import BASELINE_SECONDS, CHANNEL_ROWS, CHANNELS, DEAP_EEG, SFREQ
from .signals import band_pass, onsets_of, open_bdf, refuse_flat, refuse_wild
from .types import DataError

RAW_SFREQ, PLAYBACK = 512, 4  # Hz; trigger code of the stimulus
EOG = ("EXG1", "EXG2", "EXG3", "EXG4")  # left, right of the eyes; above, below the right one
# Filtered with each trial and cut off again: longer than half the filter (0.83 s), so a trial's samples are those of
# the whole recording filtered.
MARGIN = 2 * RAW_SFREQ
_STEP = int(RAW_SFREQ / SFREQ)


def recording_reader(tree, subject: int):
    """A function from a trial's row of the ratings to its EEG (28, 384 + n_times); `tree` is an opened DEAP folder."""
    path, wanted = tree.eeg(subject), [*DEAP_EEG, *EOG]
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
        data = data[:, start - first : stop - first : _STEP]
        note("128 Hz", data, SFREQ, -BASELINE_SECONDS)
        eeg = data[: len(DEAP_EEG)] - data[: len(DEAP_EEG)].mean(axis=0)
        note("average reference", eeg, SFREQ, -BASELINE_SECONDS)
        left, right, above, below = data[len(DEAP_EEG) :]
        eyes = np.column_stack([left - right, above - below])
        eeg = eeg - np.linalg.lstsq(eyes, eeg.T, rcond=None)[0].T @ eyes.T
        note("eyes out", eeg, SFREQ, -BASELINE_SECONDS)
        refuse_wild(eeg[list(CHANNEL_ROWS)], CHANNELS, where)
        return eeg[list(CHANNEL_ROWS)]

    return read


def open_recording(tree, subject: int):
    """Open a recording, and find the first samples of its stimuli at 512 Hz in the order of presentation.

    The trigger channel is called ``Status`` (s01 to s23) or nothing (s24 to s28), or it is one of two called nothing
    (s29 to s32; MNE numbers them). Only its lowest byte is the trigger code: bits above belong to the amplifier. Other
    codes than playback have extra occurrences and are not counted.

    Returns
    -------
    raw : mne.io.BaseRaw
    onsets : ndarray of int

    Raises
    ------
    DataError
        The file is damaged, a channel is missing, or its stimuli are not those of this subject in the ratings.
    """
    path, n_trials = tree.eeg(subject), len(tree.rows(subject))
    raw = open_bdf(path, RAW_SFREQ, [*DEAP_EEG, *EOG])
    places = [i for i, name in enumerate(raw.ch_names) if re.fullmatch(r"(Status)?(-\d+)?", name.strip(), re.I)]
    if not places:
        raise DataError(f"{path}: no trigger channel (labelled Status, or not at all); take DEAP's own file")
    found = [onsets_of(raw, place, 0xFF, PLAYBACK) for place in places]
    onsets = next((onsets for onsets in found if len(onsets) == n_trials), None)
    if onsets is None:
        raise DataError(
            f"{path}: {max(map(len, found))} stimuli in the trigger channel (code {PLAYBACK}), but the ratings have "
            f"{n_trials} trials; copy it again, or keep the ratings of the recorded trials only"
        )
    before, after = BASELINE_SECONDS * RAW_SFREQ, tree.seconds * RAW_SFREQ
    if onsets[0] < before or onsets[-1] + after > raw.n_times or (np.diff(onsets) < after).any():
        raise DataError(
            f"{path}: its stimuli, {tree.seconds:g} s long, leave the recording of {raw.n_times / RAW_SFREQ:.1f} s or "
            f"overlap (they begin at {', '.join(f'{onset / RAW_SFREQ:.1f}' for onset in onsets)} s); copy it again"
        )
    return raw, onsets
