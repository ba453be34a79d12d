"""One recording of MAHNOB-HCI: where its stimulus lies, and its EEG prepared like DEAP's."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..constants import BASELINE_SAMPLES, CHANNEL_ROWS, CHANNELS, DEAP_EEG, SFREQ, WINDOW_SECONDS
from ..files.bdf import channel_words, open_bdf
from ..files.filtering import band_pass
from ..files.signal_checks import REMEDY, UnusableSignal, check_signals, flat_channels
from ..types import DataError

MAHNOB_SFREQ = 256  # Hz
MARGIN_SECONDS = 30.0  # recorded before and after the clip
PULSE = 268  # low 16 bits of the status word at the clip's start and at its end
ONSET_TOLERANCE, LENGTH_TOLERANCE = 1.0, 2.0  # s
_STEP = int(MAHNOB_SFREQ // SFREQ)


@dataclass(frozen=True)
class StimulusSpan:
    """Where the clip lies in a recording.

    Attributes
    ----------
    onset : int
        Sample of the clip's first moment, at 256 Hz.
    seconds : float
        Length of the clip.
    by_pulses : bool
        True where the two status pulses say so; False where the margins of 30 s do.
    """

    onset: int
    seconds: float
    by_pulses: bool


def stimulus_span(path: str | os.PathLike, clip_seconds: float | None) -> StimulusSpan:
    """Find the clip in a recording from its two status pulses, or else from its margins.

    Parameters
    ----------
    path : path-like
        A BDF of 256 Hz.
    clip_seconds : float or None
        ``cutLenSec``; the recording must agree with it within 2 s. None: not known.

    Returns
    -------
    StimulusSpan

    Raises
    ------
    DataError
        The file is damaged, or pulses, margins and `clip_seconds` contradict each other.
    """
    path = Path(path)
    status = _status(path)
    on = (status & 0xFFFF) == PULSE
    rises = np.flatnonzero(on[1:] & ~on[:-1]) + 1
    by_pulses = len(rises) == 2
    if by_pulses:
        onset, end = rises.tolist()
        if abs(onset / MAHNOB_SFREQ - MARGIN_SECONDS) >= ONSET_TOLERANCE:
            raise DataError(
                f"{path}: its first status pulse comes at {onset / MAHNOB_SFREQ:.3f} s, expected 30 s; "
                "copy the file again, or remove it to leave its session out"
            )
    else:
        margin = int(MARGIN_SECONDS * MAHNOB_SFREQ)
        onset, end = margin, len(status) - margin
    found = f"{len(rises)} status pulses and {len(status) / MAHNOB_SFREQ:.1f} s"
    seconds = (end - onset) / MAHNOB_SFREQ
    if seconds < WINDOW_SECONDS:
        raise DataError(f"{path}: {found} leave {seconds:.1f} s for the clip, a window needs 4 s; copy the file again")
    if clip_seconds is None and not by_pulses:
        raise DataError(f"{path}: {found}, and session.xml has no cutLenSec: nothing says where the clip lies")
    if clip_seconds is not None and abs(seconds - clip_seconds) >= LENGTH_TOLERANCE:
        raise DataError(
            f"{path}: {found} give a clip of {seconds:.2f} s, but session.xml says cutLenSec {clip_seconds:.2f}; "
            "take both files from the same session"
        )
    return StimulusSpan(onset, seconds, by_pulses)


def _status(path: Path) -> np.ndarray:
    """The trigger words, shape (n_samples,), int32. Other channels are not read: folders hold a thousand files."""
    raw = open_bdf(path, MAHNOB_SFREQ)
    missing = [name for name in (*DEAP_EEG, "Status") if name not in raw.ch_names]
    if missing:
        raise DataError(f"{path}: channel {', '.join(missing)} missing; take the original recording")
    if raw.ch_names[-1] != "Status":
        raise DataError(f"{path}: expected the channel Status in last place; copy it again")
    return channel_words(path, len(raw.ch_names) - 1)


def read_eeg(path: str | os.PathLike, span: StimulusSpan) -> tuple[np.ndarray, np.ndarray]:
    """Read the EEG of a clip through MNE and prepare it like DEAP's preprocessed release.

    Chosen by name (32), average reference over the 32, 4 to 45 Hz without phase shift over the whole
    recording, 128 Hz, cut, 28 channels kept.

    Parameters
    ----------
    path : path-like
    span : StimulusSpan
        As :func:`stimulus_span` found it.

    Returns
    -------
    baseline : ndarray, shape (28, 384), float64
        The 3 s before the clip, in µV.
    eeg : ndarray, shape (28, n_times), float64
        The clip, in µV at 128 Hz.

    Raises
    ------
    DataError
        The file cannot be read.
    UnusableSignal
        A channel is flat for 4 s, or beyond 60 mV.
    """
    path = Path(path)
    raw = open_bdf(path, MAHNOB_SFREQ)
    try:
        eeg = raw.get_data(picks=DEAP_EEG) * 1e6  # MNE gives volts
    except Exception as error:  # missing channels, or whatever damaged bytes lead to
        raise DataError(f"{path}: MNE cannot read its EEG ({error}); copy it again") from error
    stop = span.onset + int(span.seconds * MAHNOB_SFREQ)
    if flat := flat_channels(eeg[:, span.onset : stop], DEAP_EEG, MAHNOB_SFREQ):
        raise UnusableSignal(
            f"{path}: channel {flat} is flat for 4 s or longer in the clip, expected a signal; {REMEDY}"
        )
    # BioSemi records without a reference: offsets of many millivolts, of which the filter leaves nothing.
    eeg = band_pass(eeg - eeg.mean(axis=0), MAHNOB_SFREQ)
    # Every second sample: above 57 Hz nothing is left that could fold back. The clip's first sample is kept.
    eeg = eeg[list(CHANNEL_ROWS), span.onset % _STEP :: _STEP]
    first = span.onset // _STEP
    n_times = int(span.seconds * SFREQ + 1e-6)
    clip = eeg[:, first : first + n_times].copy()
    check_signals(clip, CHANNELS, SFREQ, str(path))
    return eeg[:, first - BASELINE_SAMPLES : first].copy(), clip
