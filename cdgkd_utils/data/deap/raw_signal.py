"""From a BioSemi recording of DEAP to EEG at 128 Hz: triggers, channels, the chain of each trial."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..constants import BASELINE_SECONDS, DEAP_EEG, SFREQ
from ..files.bdf import channel_words
from ..files.filtering import band_pass
from ..files.signal_checks import REMEDY, UnusableSignal, flat_channels
from ..types import DataError, Trial

if TYPE_CHECKING:
    import mne

RAW_SFREQ = 512
EOG = ("EXG1", "EXG2", "EXG3", "EXG4")  # left, right of the eyes; above, below the right one
PLAYBACK = 4  # trigger code of the stimulus
# Filtered with each trial and cut off again: longer than half the filter (0.83 s), so a trial's samples
# are those of the whole recording filtered.
MARGIN = 2 * RAW_SFREQ
_STEP = int(RAW_SFREQ / SFREQ)


def find_channels(raw: mne.io.BaseRaw, path: Path, wanted: list[str]) -> list[int]:
    """Places of channels by name: the two sites recorded them in different orders."""
    names = [name.strip() for name in raw.ch_names]
    if missing := [name for name in wanted if name not in names]:
        raise DataError(f"{path}: no channel {', '.join(missing)}, found {', '.join(names)}; take DEAP's own file")
    return [names.index(name) for name in wanted]


def playback_onsets(raw: mne.io.BaseRaw, path: Path, n_trials: int, told_by: str) -> np.ndarray:
    """First samples of the stimuli, in the order of presentation.

    The trigger channel is called ``Status`` (s01 to s23) or nothing (s24 to s28), or it is one of two
    called nothing (s29 to s32; MNE numbers them). Only its lowest byte is the trigger code: bits above
    belong to the amplifier. Other codes than playback have extra occurrences and are not counted.

    Returns
    -------
    ndarray, shape (n_trials,), int

    Raises
    ------
    DataError
        There is no trigger channel, or its number of stimuli is not `n_trials`.
    """
    candidates = [i for i, name in enumerate(raw.ch_names) if re.fullmatch(r"(Status)?(-\d+)?", name.strip(), re.I)]
    if not candidates:
        raise DataError(f"{path}: no trigger channel (labelled Status, or not at all); take DEAP's own file")
    found = []
    for pick in candidates:
        playing = (channel_words(path, pick) & 0xFF) == PLAYBACK
        onsets = np.flatnonzero(playing[1:] & ~playing[:-1]) + 1
        if len(onsets) == n_trials:
            return onsets
        found.append(len(onsets))
    raise DataError(
        f"{path}: {max(found)} stimuli in the trigger channel (code {PLAYBACK}), but {told_by} has "
        f"{n_trials} trials; copy it again, or keep the ratings of the recorded trials only"
    )


def load_trial(raw: mne.io.BaseRaw, path: Path, picks: list[int], start: int, stop: int) -> np.ndarray:
    """Samples of a trial and its margins in µV, shape (n_picks, n).

    Parameters
    ----------
    raw : mne.io.BaseRaw
    path : Path
        Its file, for messages.
    picks : list of int
        Places of the channels.
    start, stop : int
        The trial with the 3 s before it, in samples of the recording.

    Raises
    ------
    UnusableSignal
        A channel is flat.
    """
    first, last = max(start - MARGIN, 0), min(stop + MARGIN, raw.n_times)
    data = raw.get_data(picks=picks, start=first, stop=last) * 1e6
    trial = data[:, start - first : stop - first]
    names = [raw.ch_names[pick].strip() for pick in picks]
    stimulus = trial[:, int(BASELINE_SECONDS * RAW_SFREQ) :]
    if flat := flat_channels(stimulus, names, RAW_SFREQ):
        raise UnusableSignal(
            f"{path}: channel {flat} is flat for 4 s or longer in the stimulus at "
            f"{start / RAW_SFREQ + BASELINE_SECONDS:.1f} s, expected a signal; {REMEDY}"
        )
    return data


def preprocess(data: np.ndarray, start: int, stop: int, n_times: int) -> np.ndarray:
    """From a trial's samples with margins to EEG at 128 Hz; the steps are those of ``read_deap_raw``.

    Parameters
    ----------
    data : ndarray, shape (32 or 36, n)
        32 electrodes and, to be regressed out, the four of the eyes; µV at 512 Hz. Samples
        ``max(start - MARGIN, 0)`` to ``min(stop + MARGIN, n_times)`` of the recording.
    start, stop : int
        The trial in samples of the recording.
    n_times : int
        Length of the recording.

    Returns
    -------
    ndarray, shape (32, (stop - start) / 4)
        µV, average reference.
    """
    # Takes away the electrodes' offsets, too: its gain at 0 Hz is 1e-16.
    data = band_pass(data, RAW_SFREQ)
    lead = start - max(start - MARGIN, 0)
    data = data[:, lead : lead + stop - start : _STEP]
    eeg = data[: len(DEAP_EEG)] - data[: len(DEAP_EEG)].mean(axis=0)
    if len(data) == len(DEAP_EEG):
        return eeg
    left, right, above, below = data[len(DEAP_EEG) :]
    eyes = np.column_stack([left - right, above - below])
    return eeg - np.linalg.lstsq(eyes, eeg.T, rcond=None)[0].T @ eyes.T


def agreement(raw: Trial, dat: Trial) -> np.ndarray:
    """How well two versions of a trial agree: correlation of each channel within 4 to 45 Hz.

    Parameters
    ----------
    raw, dat : Trial
        The same trial from the recording and from the preprocessed release.

    Returns
    -------
    ndarray, shape (28,)
        Pearson correlations over the baseline and the stimulus.
    """
    if (raw.subject, raw.trial) != (dat.subject, dat.trial):
        raise ValueError(
            f"raw, dat: subject {raw.subject} trial {raw.trial} against subject {dat.subject} trial {dat.trial}"
        )
    # Both are filtered once more, so that their ends are treated alike.
    a, b = (band_pass(np.hstack([trial.baseline, trial.eeg]).astype(float), SFREQ) for trial in (raw, dat))
    a, b = (x - x.mean(axis=1, keepdims=True) for x in (a, b))
    return (a * b).sum(axis=1) / np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
