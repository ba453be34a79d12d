"""Reader of a MAHNOB-HCI folder (or of the twin written as one): EEG, felt ratings and the colour camera's clips.

::

    root/Sessions/<sessionId>/  session.xml
                                Part_<p>_S_Trial<t>_emotion.bdf              30 s, the clip, 30 s
                                P<p>-Rec1-..._C1 trigger _C_Section_<n>.avi  from the clip's start, and on past its end

Neutral sessions (``_N_``) and those of the tagging experiments share the tree and are not read.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from .constants import (
    BASELINE_SAMPLES,
    CHANNEL_ROWS,
    CHANNELS,
    DEAP_EEG,
    RATINGS,
    SFREQ,
    WINDOW_SECONDS,
)
from .mahnob_session import XML_FILE, MahnobSession, inspect_session
from .signals import Trace, band_pass, onsets_of, open_bdf, refuse_flat, refuse_wild, tracer
from .trees import lies_at, read_mark, read_truth, tree_name
from .types import DataError, Trial
from .video import clip_facts

SESSION_FOLDER = "Sessions"
SFREQ_RAW = 256  # Hz
MARGIN_SECONDS = 30.0  # recorded before and after the clip
PULSE = 268  # low 16 bits of the status word at the clip's start and at its end
ONSET_TOLERANCE, LENGTH_TOLERANCE = 1.0, 2.0  # s
VIDEO_SLACK, RATE_TOLERANCE = 0.5, 0.02  # s that a clip may lack at its end; the real clips' header errs by 0.05 %
_ALL = range(1, 31)
# Subjects of the subsets that publications use (data sheet: Soleymani et al., 2012).
SUBSETS = {
    "24": tuple(p for p in _ALL if p not in (3, 9, 12, 15, 16, 26)),  # complete sessions of both modalities
    "27": tuple(p for p in _ALL if p not in (9, 12, 15)),  # the data set's own paper; 26 of them have video
    "527": tuple(p for p in _ALL if p not in (12, 15, 26)),  # every session with EEG and video
}
_HOW_TO = (
    f"expected a MAHNOB-HCI folder with {SESSION_FOLDER}/2/{XML_FILE} and so on; the data set is handed out for "
    "research after signing the end user licence agreement on its own page; dataset='twin' runs without it"
)


@dataclass(frozen=True)
class MahnobTree:
    """What a MAHNOB-HCI folder holds, found by listing it: its sessions, and the ``SYNTHETIC`` file's content."""

    root: Path
    sessions: tuple[MahnobSession, ...]
    synthetic: dict | None

    @property
    def subjects(self) -> tuple[int, ...]:
        """Subjects with at least one usable session."""
        return tuple(sorted({found.subject for found in self.sessions if found.usable}))

    @property
    def name(self) -> str:
        """What numbers computed from this folder may be called."""
        return tree_name("MAHNOB-HCI", self.synthetic)

    @property
    def n_skipped(self) -> int:
        """Number of emotional clips that are not usable."""
        return sum(found.kind == "S" and not found.usable for found in self.sessions)

    def truth(self) -> pd.DataFrame | None:
        """The latents stored with a synthetic folder, one row per trial; None for real data."""
        return read_truth(self.root, self.synthetic)


def open_mahnob(root: str | Path, subset: str | None = None, subjects: Iterable[int] | None = None) -> MahnobTree:
    """List a MAHNOB-HCI folder: what each session has. Damaged sessions do not raise; recordings are not opened.

    Parameters
    ----------
    root : path-like
        The folder that holds ``Sessions``.
    subset : {"24", "27", "527"}, optional
        A standard subset of the subjects, see ``SUBSETS``; default: all.
    subjects : iterable of int, optional
        Take these only.

    Raises
    ------
    DataError
        The folder is no MAHNOB-HCI tree.
    ValueError
        The subset is unknown.
    """
    if subset is not None and subset not in SUBSETS:
        raise ValueError(f"subset: expected one of {', '.join(SUBSETS)}, got {subset!r}")
    root = Path(root).expanduser()
    folder = root / SESSION_FOLDER
    entries = list(folder.iterdir()) if folder.is_dir() else []
    # Numbers only: unpacking and desktops leave stray files and folders.
    found = {int(path.name): path for path in entries if path.name.isascii() and path.name.isdigit() and path.is_dir()}
    if not found:
        where = lies_at(root, r"session\.xml") if root.is_dir() else ""
        raise DataError(f"data_root {str(root)!r}: no session in its folder {SESSION_FOLDER}{where}; {_HOW_TO}")
    sessions = [inspect_session(found[number], number) for number in sorted(found)]
    if subset is not None or subjects is not None:
        chosen = set(_ALL if subset is None else SUBSETS[subset]) & set(_ALL if subjects is None else subjects)
        sessions = [session for session in sessions if session.subject in chosen]
    return MahnobTree(root, tuple(sessions), read_mark(root))


def trials_of(
    tree: MahnobTree,
    subjects: Iterable[int] | None = None,
    excluded: list[tuple[int, str]] | None = None,
    trace: Trace | None = None,
) -> Iterator[Trial]:
    """Yield the trials of the usable sessions, sorted by session; one recording is in memory at a time.

    A trial's identity is the session's number, its stimulus the name of the film (the order of the films differs
    between subjects). Nobody rated liking here: it is NaN; ``feltPred``, predictability, is another question. EEG is
    prepared like DEAP's release: 32 electrodes by name, minus their mean, 4-45 Hz without phase shift over the whole
    recording, every second sample, cut, 28 channels kept.

    Parameters
    ----------
    tree : MahnobTree
    subjects : iterable of int, optional
        Some of ``tree.subjects``; default: all.
    excluded : list, optional
        Takes (session, reason) of each emotional clip that is left out: with files that are missing, damaged or
        contradict each other, or with a flat or impossible channel. Without it a recording's faults raise.
    trace : list, optional
        Holds the steps of the last trial: (name, signal (28, n_times) from the clip's start on, sampling rate).

    Raises
    ------
    DataError
        A recording is damaged or contradicts its session, or a channel of it is unusable.

    References
    ----------
    Soleymani et al., A multimodal database for affect recognition and implicit tagging, IEEE T-AFFC 2012.
    """
    wanted = set(tree.subjects if subjects is None else subjects)
    for found in tree.sessions:
        if found.kind != "S" or found.subject not in wanted:
            continue
        try:
            if not found.usable:
                raise DataError(found.reason)
            onset, seconds, _ = stimulus_span(found.bdf, found.xml.clip_seconds)
            _check_clip(found, seconds)
            baseline, eeg = _read_eeg(found.bdf, onset, seconds, tracer(trace))
        except DataError as error:
            if excluded is None and found.usable:
                raise
            if excluded is not None:
                excluded.append((found.session, str(error)))
            continue
        yield Trial(
            subject=found.subject,
            trial=found.session,
            presentation=found.presentation,
            stimulus=found.xml.media,
            eeg=eeg,
            baseline=baseline,
            ratings={name: found.ratings.get(name, math.nan) for name in RATINGS},
            video=found.video,
            video_rate=found.video_rate,
        )


def stimulus_span(path: str | os.PathLike, clip_seconds: float | None) -> tuple[int, float, bool]:
    """Find the clip in a recording from its two status pulses, or else from its margins.

    Parameters
    ----------
    path : path-like
    clip_seconds : float or None
        ``cutLenSec``; the recording must agree with it within 2 s. None: not known.

    Returns
    -------
    onset : int
        Sample of the clip's first moment, at 256 Hz.
    seconds : float
        Length of the clip.
    by_pulses : bool
        False where the margins of 30 s say so.
    """
    raw = open_bdf(path, SFREQ_RAW, [*DEAP_EEG, "Status"])
    rises = onsets_of(raw, raw.ch_names.index("Status"), 0xFFFF, PULSE)
    by_pulses, margin = len(rises) == 2, int(MARGIN_SECONDS * SFREQ_RAW)
    onset, end = rises.tolist() if by_pulses else (margin, raw.n_times - margin)
    seconds = (end - onset) / SFREQ_RAW
    said = f"{path}: {len(rises)} status pulses in {raw.n_times / SFREQ_RAW:.1f} s"
    if abs(onset / SFREQ_RAW - MARGIN_SECONDS) >= ONSET_TOLERANCE:
        raise DataError(f"{said}, the first at {onset / SFREQ_RAW:.3f} s, expected 30 s; copy the file again")
    if seconds < WINDOW_SECONDS:
        raise DataError(f"{said} leave {seconds:.1f} s for the clip, a window needs 4 s; copy the file again")
    if clip_seconds is None and not by_pulses:
        raise DataError(f"{said}, and {XML_FILE} has no cutLenSec: nothing says where the clip lies")
    if clip_seconds is not None and abs(seconds - clip_seconds) >= LENGTH_TOLERANCE:
        raise DataError(
            f"{said} give a clip of {seconds:.2f} s, but {XML_FILE} says cutLenSec {clip_seconds:.2f}; take both files "
            "from the same session"
        )
    return onset, seconds, by_pulses


def _check_clip(found: MahnobSession, seconds: float) -> None:
    facts, rate = clip_facts(found.video), found.video_rate
    if abs(facts.rate - rate) > RATE_TOLERANCE * rate:
        raise DataError(
            f"{found.video}: {facts.rate:g} frames per second by its header, but vidRate of {XML_FILE} is "
            f"{rate:g}; take both files from the same session"
        )
    lasts = facts.seconds * facts.rate / rate
    if lasts < seconds - VIDEO_SLACK:
        raise DataError(f"{found.video}: ends after {lasts:.1f} s, but its film lasts {seconds:.1f} s; copy it again")


def _read_eeg(path: Path, onset: int, seconds: float, note) -> tuple[np.ndarray, np.ndarray]:
    """Baseline of 3 s (28, 384) and clip (28, n_times), in µV at 128 Hz."""
    raw, start, step = open_bdf(path, SFREQ_RAW, DEAP_EEG), -onset / SFREQ_RAW, int(SFREQ_RAW // SFREQ)
    eeg = raw.get_data(picks=DEAP_EEG) * 1e6  # MNE gives volts
    note("electrodes", eeg, SFREQ_RAW, start)
    refuse_flat(eeg[:, onset : onset + int(seconds * SFREQ_RAW)], DEAP_EEG, SFREQ_RAW, str(path))
    # BioSemi records without a reference: offsets of many millivolts, of which the filter leaves nothing.
    eeg = eeg - eeg.mean(axis=0)
    note("average reference", eeg, SFREQ_RAW, start)
    eeg = band_pass(eeg, SFREQ_RAW)
    note("4–45 Hz", eeg, SFREQ_RAW, start)
    # Every second sample: above 57 Hz nothing is left that could fold back. The clip's first sample is kept.
    eeg, first = eeg[:, onset % step :: step], onset // step
    note("128 Hz", eeg, SFREQ, -first / SFREQ)
    eeg = eeg[list(CHANNEL_ROWS)]
    clip = eeg[:, first : first + int(seconds * SFREQ + 1e-6)].copy()
    refuse_wild(clip, CHANNELS, str(path))
    note("stimulus", clip, SFREQ, 0.0)
    return eeg[:, first - BASELINE_SAMPLES : first].copy(), clip
