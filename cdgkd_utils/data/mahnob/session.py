"""One session's folder of MAHNOB-HCI: what is in it, and whether a trial can be made from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av

from ..types import DataError
from .recording import StimulusSpan, stimulus_span
from .session_xml import SessionXml, read_session, session_place

XML_FILE = "session.xml"
VIDEO_RATE = 60.9708  # frames per second, vidRate of all sessions; the clips' own header says 61
VIDEO_SLACK = 0.5  # s that a clip may lack at its end
RATE_TOLERANCE = 0.02  # the real clips' header errs by 0.05 %


@dataclass(frozen=True)
class MahnobSession:
    """What one session's folder holds.

    Attributes
    ----------
    session : int
        Number of the session, the folder's name.
    kind : {"S", "N", "other"}
        Emotional clip, the neutral clip before it, or another experiment; by the number.
    subject, presentation : int
        By the number; 0 for other experiments.
    xml : SessionXml or None
    bdf, video : Path or None
        The recording and the colour camera's clip.
    span : StimulusSpan or None
        Where the clip lies in the recording.
    ratings : dict or None
    usable : bool
        True for an emotional clip with all of these.
    reason : str
        What is missing or wrong, or else worth knowing.
    """

    session: int
    kind: str
    subject: int
    presentation: int
    xml: SessionXml | None
    bdf: Path | None
    video: Path | None
    span: StimulusSpan | None
    ratings: dict[str, int] | None
    usable: bool
    reason: str

    @property
    def video_rate(self) -> float:
        """True frames per second of the clip; its header errs."""
        return (self.xml and self.xml.video_rate) or VIDEO_RATE


def inspect_session(folder: Path, session: int) -> MahnobSession:
    """Look into a session's folder. What is wrong becomes its ``reason``; nothing raises.

    Parameters
    ----------
    folder : Path
    session : int
        The number that the folder's name gives it.

    Returns
    -------
    MahnobSession
    """
    place = session_place(session)
    if place is None:
        return MahnobSession(session, "other", 0, 0, None, None, None, None, None, False, "another experiment")
    subject, presentation, neutral = place
    kind = "N" if neutral else "S"
    problems: list[str] = []
    xml = bdf = video = span = ratings = None
    try:
        xml = read_session(folder / XML_FILE)
        problems += _contradictions(xml, session, subject, neutral)
        ratings = None if neutral else xml.ratings()
    except DataError as error:
        problems.append(str(error))
    try:
        bdf = _recording(folder, f"Part_{subject}_{kind}_Trial{presentation}_emotion.bdf")
        span = stimulus_span(bdf, xml.clip_seconds if xml else None)
    except DataError as error:
        problems.append(str(error))
    try:
        video = _colour_video(folder, xml)
        _check_length(video, xml, span)
    except DataError as error:
        problems.append(str(error))
    notes = ["neutral clip, which nobody rated"] if neutral else []
    if span is not None and not span.by_pulses:
        notes.append("no two status pulses, the margins of 30 s were taken")
    usable = not problems and not neutral
    reason = "; ".join([*notes, *problems])
    return MahnobSession(session, kind, subject, presentation, xml, bdf, video, span, ratings, usable, reason)


def _contradictions(xml: SessionXml, session: int, subject: int, neutral: bool) -> list[str]:
    problems = []
    if xml.session != session:
        problems.append(f"{xml.path}: sessionId is {xml.session}, but its folder is {session}")
    if xml.subject != subject:
        problems.append(f"{xml.path}: subject {xml.subject}, but session {session} belongs to subject {subject}")
    if xml.is_stimulus == neutral:
        problems.append(
            f"{xml.path}: isStim contradicts session {session}, by whose number it is a {'SN'[neutral]} one"
        )
    if not neutral and not xml.media:
        problems.append(f"{xml.path}: no mediaFile, so the stimulus is not known")
    return problems


def _recording(folder: Path, expected: str) -> Path:
    if (folder / expected).is_file():
        return folder / expected
    # Other recordings of the same person share the tree; a name that differs is another session's.
    others = sorted(path.name for path in folder.glob("*.bdf"))
    raise DataError(f"{folder / expected}: missing" + (f", found {', '.join(others)}" if others else ""))


def _colour_video(folder: Path, xml: SessionXml | None) -> Path:
    """The colour camera's clip: five grey ones lie beside it."""
    marked = [folder / track.filename for track in (xml.tracks if xml else ()) if track.colour]
    clips = [path for path in marked if path.is_file()] or sorted(folder.glob("*C1 trigger*.avi"))
    if len(clips) != 1:
        raise DataError(f"{folder}: {len(clips) or 'no'} clips of the colour camera (*C1 trigger*.avi), expected one")
    return clips[0]


def _check_length(video: Path, xml: SessionXml | None, span: StimulusSpan | None) -> None:
    """Ask the header whether the clip lasts as long as its film; decoding it is for later."""
    try:
        with av.open(str(video)) as container:
            stream = container.streams.video[0]
            n_frames, announced = stream.frames, float(stream.average_rate or 0)
    except Exception as error:  # a damaged header can raise nearly anything
        raise DataError(f"{video}: cannot be opened as a video ({_short(error)}); copy it again") from error
    rate = (xml and xml.video_rate) or VIDEO_RATE
    if abs(announced - rate) > RATE_TOLERANCE * rate:
        raise DataError(
            f"{video}: {announced:g} frames per second by its header, expected {rate:g} as vidRate of {XML_FILE} has "
            "it; take both files from the same session"
        )
    seconds = n_frames / rate
    if n_frames and span is not None and seconds < span.seconds - VIDEO_SLACK:
        raise DataError(f"{video}: ends after {seconds:.1f} s, but its film lasts {span.seconds:.1f} s; copy it again")


def _short(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
