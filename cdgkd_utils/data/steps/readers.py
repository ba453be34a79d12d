"""A recording's way to a trial, stage by stage, for each kind of files.

Every stage that a reader offers is called here, and its last one is the reader's trial. Between them lie single
operations (a choice of rows, every fourth sample, minus the mean), which the tests hold against the readers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from ..constants import BASELINE_SAMPLES, BASELINE_SECONDS, CHANNELS, DEAP_EEG, DEAP_PERIPHERAL, SFREQ
from ..deap import raw as deap_raw
from ..deap import reader as deap
from ..deap.dat_file import read_dat
from ..deap.raw_signal import EOG, MARGIN, RAW_SFREQ, load_trial, preprocess
from ..files.bdf import open_bdf
from ..files.filtering import band_pass
from ..mahnob import reader as mahnob
from ..mahnob.recording import MAHNOB_SFREQ
from ..types import DataError, Trial
from .step import MICROVOLT, Step

FILTERED = "filter without phase shift: offset and drift vanish, mains of 50 Hz partly"
REFERENCED = "minus the mean of 32 electrodes: what all share is gone, mains too"


def _first(trials: Iterable[Trial], root: Path) -> Trial:
    for trial in trials:
        return trial
    raise DataError(f"data_root {str(root)!r}: no usable trial with EEG and face video; ask the doctor why")


def _named(path: Path, mark: dict | None) -> str:
    return path.name if mark is None else f"{path.name} (synthetic)"


def _eeg(name: str, signal: np.ndarray, sfreq: float, rows: Sequence[str], start: float, what: str) -> Step:
    return Step(name, signal.shape, sfreq, MICROVOLT, what, signal, tuple(rows), (start,))


def deap_steps(root: Path) -> tuple[list[Step], Trial]:
    """From DEAP's preprocessed file to the stimulus of the first usable trial.

    Parameters
    ----------
    root : Path

    Returns
    -------
    steps : list of Step
        ``file, trial, electrodes, stimulus``.
    trial : Trial
        As the reader yields it.
    """
    tree = deap.open_tree(root)
    trial = _first(deap.trials_of(tree, excluded=[]), root)
    path = tree.dat(trial.subject)
    data, _ = read_dat(path)
    row = np.array(data[trial.trial - 1])
    electrodes = row[: len(DEAP_EEG)].copy()
    told = f"{_named(path, tree.synthetic)}: one person, sorted by stimulus; released at 4–45 Hz, without eyes"
    place = f"row {trial.trial - 1} is stimulus {trial.trial}; by the table of ratings it was shown as number"
    return [
        Step("file", data.shape, SFREQ, MICROVOLT, told),
        _eeg("trial", row, SFREQ, (*DEAP_EEG, *DEAP_PERIPHERAL), -BASELINE_SECONDS, f"{place} {trial.presentation}"),
        _eeg("electrodes", electrodes, SFREQ, DEAP_EEG, -BASELINE_SECONDS, "32 rows of EEG; the other 8 are left out"),
        _stimulus(trial),
    ], trial


def deap_raw_steps(root: Path) -> tuple[list[Step], Trial]:
    """From DEAP's original recording to the stimulus; as :func:`deap_steps`.

    The steps are ``recording, trial, 4–45 Hz, 128 Hz, average reference, eyes out, stimulus``.
    """
    tree = deap_raw.open_raw_tree(root, with_video=True)
    trial = _first(deap_raw.trials_of(tree, excluded=[]), root)
    found = deap_raw.open_recording(tree, trial.subject)
    raw, onset, n_trials = found.raw, int(found.onsets[trial.presentation - 1]), len(found.onsets)
    begin, end = onset - int(BASELINE_SECONDS * RAW_SFREQ), onset + int(tree.seconds * RAW_SFREQ)
    piece = load_trial(raw, found.path, found.picks, begin, end)
    filtered = band_pass(piece, RAW_SFREQ)
    lead = begin - max(begin - MARGIN, 0)
    slower = filtered[:, lead : lead + end - begin : int(RAW_SFREQ / SFREQ)].copy()
    referenced = preprocess(piece[: len(DEAP_EEG)], begin, end, raw.n_times)
    cleaned = preprocess(piece, begin, end, raw.n_times)
    named, before, wide = (*DEAP_EEG, *EOG), -BASELINE_SECONDS, -BASELINE_SECONDS - lead / RAW_SFREQ
    told = f"{_named(found.path, tree.synthetic)}: the whole session; trigger code 4 marks its {n_trials} stimuli"
    cut = f"stimulus {trial.trial} was shown as number {trial.presentation}, at {onset / RAW_SFREQ:.1f} s"
    kept = f"{cut}; 3 s before and 2 s more on either side; 32 electrodes by name, 4 of the eyes"
    return [
        Step("recording", (len(raw.ch_names), int(raw.n_times)), RAW_SFREQ, MICROVOLT, told),
        _eeg("trial", piece, RAW_SFREQ, named, wide, kept),
        _eeg("4–45 Hz", filtered, RAW_SFREQ, named, wide, FILTERED),
        _eeg("128 Hz", slower, SFREQ, named, before, "every fourth sample; the 2 s on either side are cut off"),
        _eeg("average reference", referenced, SFREQ, DEAP_EEG, before, REFERENCED),
        _eeg("eyes out", cleaned, SFREQ, DEAP_EEG, before, "minus what the eyes' two channels explain (regression)"),
        _stimulus(trial),
    ], trial


def mahnob_steps(root: Path) -> tuple[list[Step], Trial]:
    """From a session's recording in MAHNOB-HCI to the stimulus; as :func:`deap_steps`.

    The steps are ``recording, electrodes, average reference, 4–45 Hz, 128 Hz, stimulus``.
    """
    tree = mahnob.open_mahnob(root)
    trial = _first(mahnob.trials_of(tree, excluded=[]), root)
    (session,) = (found for found in tree.usable if found.session == trial.trial)
    span = session.span
    raw = open_bdf(session.bdf, MAHNOB_SFREQ)
    electrodes = raw.get_data(picks=DEAP_EEG) * 1e6  # MNE gives volts
    referenced = electrodes - electrodes.mean(axis=0)
    filtered = band_pass(referenced, MAHNOB_SFREQ)
    step = int(MAHNOB_SFREQ / SFREQ)
    slower = filtered[:, span.onset % step :: step].copy()
    start, later = -span.onset / MAHNOB_SFREQ, -(span.onset // step) / SFREQ
    found = "two pulses of Status say" if span.by_pulses else "no pulses: the margins of 30 s say"
    told = f"{_named(session.bdf, tree.synthetic)}: {found} that the film runs from {-start:.1f} s"
    until = f"to {span.seconds - start:.1f} s"
    return [
        Step("recording", (len(raw.ch_names), int(raw.n_times)), MAHNOB_SFREQ, MICROVOLT, f"{told} {until}"),
        _eeg("electrodes", electrodes, MAHNOB_SFREQ, DEAP_EEG, start, "32 by name; the other channels are left out"),
        _eeg("average reference", referenced, MAHNOB_SFREQ, DEAP_EEG, start, REFERENCED),
        _eeg("4–45 Hz", filtered, MAHNOB_SFREQ, DEAP_EEG, start, FILTERED),
        _eeg("128 Hz", slower, SFREQ, DEAP_EEG, later, "every second sample; above 57 Hz nothing is left to fold back"),
        _stimulus(trial),
    ], trial


def _stimulus(trial: Trial) -> Step:
    seconds = BASELINE_SAMPLES / SFREQ
    what = f"28 by name, left then right; from the clip's start (the {seconds:g} s before it are the baseline)"
    return _eeg("stimulus", trial.eeg, SFREQ, CHANNELS, 0.0, what)
