"""Reader of a MAHNOB-HCI folder (or of the twin written as one): EEG, felt ratings and the colour camera's clips.

Neutral sessions (``_N_``) and those of the tagging experiments share the tree and are not read; see ``docs/data.md``.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .constants import (
    BASELINE_SAMPLES,
    CHANNEL_ROWS,
    CHANNELS,
    DEAP_EEG,
    N_MAHNOB_TRIALS,
    RATINGS,
    SESSIONS_PER_SUBJECT,
    SFREQ,
    WINDOW_SECONDS,
)  # fmt: skip
from .files import Tree, lies_at, read_mark
from .signals import Trace, band_pass, onsets_of, open_bdf, refuse_flat, refuse_wild, tracer
from .types import DataError, Trial
from .video import clip_facts

SESSION_FOLDER, XML_FILE = "Sessions", "session.xml"
SFREQ_RAW = 256  # Hz
MARGIN_SECONDS = 30.0  # recorded before and after the clip
PULSE = 268  # low 16 bits of the status word at the clip's start and at its end
VIDEO_RATE = 60.9708  # frames per second, vidRate of all sessions; the clips' own header says 61
ONSET_TOLERANCE, LENGTH_TOLERANCE = 1.0, 2.0  # s
VIDEO_SLACK, RATE_TOLERANCE = 0.5, 0.02  # s that a clip may lack at its end; the real clips' header errs by 0.05 %
FELT = {"valence": "feltVlnc", "arousal": "feltArsl", "dominance": "feltCtrl", "predictability": "feltPred"}
_LARGEST_XML = 1 << 20  # bytes; real files have about 2 kB
_HOW_TO = (
    f"expected a MAHNOB-HCI folder with {SESSION_FOLDER}/2/{XML_FILE} and so on; the data set is handed out for "
    "research after signing the end user licence agreement on its own page; dataset='twin' runs without it"
)


@dataclass(frozen=True)
class SessionXml:
    """What one ``session.xml`` says; times and rate are None, and ``media`` is empty, where it says nothing."""

    session: int
    subject: int
    is_stimulus: bool
    ratings: dict[str, float] | None  # of emotional clips
    media: str
    clip_seconds: float | None
    video_rate: float | None
    colour_clips: tuple[str, ...]  # of the camera that faces the subject


def read_session(path: str | os.PathLike) -> SessionXml:
    """Read and check one ``session.xml``."""
    from defusedxml.ElementTree import fromstring

    path = Path(path)

    def fail(found: str) -> DataError:
        return DataError(f"{path}: {found}; expected MAHNOB-HCI's session.xml: copy it again")

    try:
        content = path.read_bytes() if path.stat().st_size <= _LARGEST_XML else b""
        root = fromstring(content, forbid_dtd=True)
    except Exception as error:  # not there, not well-formed, a forbidden document type, an encoding that nobody knows
        raise fail(f"no well-formed XML without document type ({error or type(error).__name__})") from error
    subjects = root.findall("subject")
    if root.tag != "session" or len(subjects) != 1:
        raise fail(f"<{root.tag}> with {len(subjects)} elements <subject>")

    def whole(element, name: str, least: int = 0, most: int = 10**8) -> int:
        text = element.get(name, "").strip()
        if not (text.isascii() and text.isdigit() and len(text) < 10 and least <= int(text) <= most):
            raise fail(f"{name} is {element.get(name)!r}")
        return int(text)

    def positive(name: str) -> float | None:
        if name not in root.attrib:
            return None
        try:
            value = float(root.attrib[name])
        except ValueError:
            value = math.nan
        if not 0 < value < math.inf:
            raise fail(f"{name} is {root.attrib[name]!r}")
        return value

    tracks = [(track.get("filename", ""), track.get("color", "").strip() == "1") for track in root.findall("track")]
    for name, _ in tracks:
        if name in ("", ".", "..") or any(sign in "/\\:" or ord(sign) < 32 for sign in name):
            raise fail(f"file name {name!r} is no plain name of a file in the session's folder")
    is_stimulus = whole(root, "isStim") == 1
    return SessionXml(
        session=whole(root, "sessionId", 1),
        subject=whole(subjects[0], "id", 1),
        is_stimulus=is_stimulus,
        ratings={name: float(whole(root, felt, 1, 9)) for name, felt in FELT.items()} if is_stimulus else None,
        media=root.get("mediaFile", "").strip().lower(),
        clip_seconds=positive("cutLenSec"),
        video_rate=positive("vidRate"),
        colour_clips=tuple(name for name, is_colour in tracks if is_colour),
    )


@dataclass(frozen=True)
class MahnobSession:
    """What one session's folder holds; ``reason`` says what is missing or wrong."""

    session: int
    kind: str
    reason: str
    subject: int = 0
    presentation: int = 0
    xml: SessionXml | None = None
    bdf: Path | None = None
    video: Path | None = None

    @property
    def usable(self) -> bool:
        return not self.reason

    @property
    def video_rate(self) -> float:
        """True frames per second of the clip; its header errs."""
        return (self.xml and self.xml.video_rate) or VIDEO_RATE


def inspect_session(folder: Path, session: int) -> MahnobSession:
    """Look into a session's folder, by the number that its name gives it; what is wrong becomes its ``reason``."""
    subject, rest = divmod(session - 1, SESSIONS_PER_SUBJECT)
    if session < 1 or rest >= 2 * N_MAHNOB_TRIALS:
        return MahnobSession(session, "other", "another experiment")
    subject, presentation, neutral = subject + 1, rest // 2 + 1, rest % 2 == 0
    kind, xml, problems = "SN"[neutral], None, ["neutral clip, which nobody rated"] if neutral else []
    try:
        xml = read_session(folder / XML_FILE)
        if (xml.session, xml.subject, xml.is_stimulus) != (session, subject, not neutral):
            problems.append(
                f"{folder / XML_FILE}: session {xml.session} of subject {xml.subject}, isStim {int(xml.is_stimulus)}; "
                f"by its folder's number it is {session} of subject {subject}, {int(not neutral)}"
            )
        if not neutral and not xml.media:
            problems.append(f"{folder / XML_FILE}: no mediaFile, so the stimulus is not known")
    except DataError as error:
        problems.append(str(error))
    bdf = folder / f"Part_{subject}_{kind}_Trial{presentation}_emotion.bdf"
    if not bdf.is_file():  # other recordings of the same person share the tree; a name that differs is another's
        others = ", ".join(sorted(path.name for path in folder.glob("*") if path.suffix.lower() == ".bdf"))
        problems.append(f"{bdf}: missing" + (f", found {others}" if others else ""))
    clips = [folder / name for name in (xml.colour_clips if xml else ()) if (folder / name).is_file()]
    clips = clips or sorted(folder.glob("*C1 trigger*.avi"))  # five grey ones, too
    if len(clips) != 1:
        problems.append(f"{folder}: {len(clips) or 'no'} clips of the colour camera (*C1 trigger*.avi), expected one")
    video = clips[0] if len(clips) == 1 else None
    return MahnobSession(session, kind, "; ".join(problems), subject, presentation, xml, bdf, video)


@dataclass(frozen=True)
class MahnobTree(Tree):
    """What a MAHNOB-HCI folder holds, found by listing it: its sessions, and the ``SYNTHETIC`` file's content."""

    root: Path
    sessions: tuple[MahnobSession, ...]
    synthetic: dict | None
    layout = "MAHNOB-HCI"

    @property
    def subjects(self) -> tuple[int, ...]:
        """Subjects with at least one usable session."""
        return tuple(sorted({found.subject for found in self.sessions if found.usable}))

    @property
    def n_skipped(self) -> int:
        """Number of emotional clips that are not usable."""
        return sum(found.kind == "S" and not found.usable for found in self.sessions)


def open_mahnob(root: str | Path) -> MahnobTree:
    """List a MAHNOB-HCI folder: what each session has. Damaged sessions do not raise; recordings are not opened."""
    root = Path(root).expanduser()
    folder = root / SESSION_FOLDER
    entries = list(folder.iterdir()) if folder.is_dir() else []
    # Numbers only: unpacking and desktops leave stray files and folders.
    found = {int(path.name): path for path in entries if path.name.isascii() and path.name.isdigit() and path.is_dir()}
    if not found:
        where = lies_at(root, r"session\.xml") if root.is_dir() else ""
        raise DataError(f"data_root {str(root)!r}: no session in its folder {SESSION_FOLDER}{where}; {_HOW_TO}")
    return MahnobTree(root, tuple(inspect_session(found[number], number) for number in sorted(found)), read_mark(root))


def trials_of(
    tree: MahnobTree,
    subjects: Iterable[int] | None = None,
    excluded: list[tuple[int, str]] | None = None,
    trace: Trace | None = None,
) -> Iterator[Trial]:
    """Yield the trials of the usable sessions, sorted by session; one recording is in memory at a time."""
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
            ratings={name: found.xml.ratings.get(name, math.nan) for name in RATINGS},
            video=found.video,
            video_rate=found.video_rate,
        )


def stimulus_span(path: str | os.PathLike, clip_seconds: float | None) -> tuple[int, float, bool]:
    """Find the clip in a recording: its first sample at 256 Hz, its length in s, and whether by two status pulses."""
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
