"""One session's folder of MAHNOB-HCI: ``session.xml``, read without trusting it, and what lies beside it."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .constants import N_MAHNOB_TRIALS, SESSIONS_PER_SUBJECT
from .types import DataError

XML_FILE = "session.xml"
VIDEO_RATE = 60.9708  # frames per second, vidRate of all sessions; the clips' own header says 61
FELT = {"valence": "feltVlnc", "arousal": "feltArsl", "dominance": "feltCtrl", "predictability": "feltPred"}
_LARGEST_XML = 1 << 20  # bytes; real files have about 2 kB


@dataclass(frozen=True)
class SessionXml:
    """What one ``session.xml`` says; times and rate are None, and ``media`` is empty, where it says nothing."""

    session: int
    subject: int
    is_stimulus: bool
    felt: Mapping[str, str]
    media: str
    clip_seconds: float | None
    video_rate: float | None
    colour_clips: tuple[str, ...]  # of the camera that faces the subject

    def ratings(self) -> dict[str, float]:
        """Felt valence, arousal, dominance (``feltCtrl``) and predictability, whole numbers 1..9."""
        for attribute in FELT.values():
            if self.felt.get(attribute, "").strip() not in tuple("123456789"):
                raise DataError(f"{attribute} is {self.felt.get(attribute)!r}, expected a whole number from 1 to 9")
        return {name: float(self.felt[attribute]) for name, attribute in FELT.items()}


def read_session(path: str | os.PathLike) -> SessionXml:
    """Read and check one ``session.xml``.

    Raises
    ------
    DataError
        The file is missing, is no well-formed session, holds a document type or entities (no real file does, and they
        can make a parser read other files or fill the memory), or names files outside of its folder.
    """
    from defusedxml.ElementTree import fromstring

    path = Path(path)

    def fail(found: str) -> DataError:
        return DataError(f"{path}: {found}; expected MAHNOB-HCI's session.xml: copy it again")

    try:
        if path.stat().st_size > _LARGEST_XML:
            raise fail(f"larger than {_LARGEST_XML} bytes")
        root = fromstring(path.read_bytes(), forbid_dtd=True)
    except DataError:
        raise
    except OSError as error:
        raise fail(f"not readable ({error.strerror})") from error
    except Exception as error:  # not well-formed, a forbidden document type, an encoding that nobody knows
        raise fail(f"no well-formed XML without document type ({error or type(error).__name__})") from error
    subjects = root.findall("subject")
    if root.tag != "session" or len(subjects) != 1:
        raise fail(f"<{root.tag}> with {len(subjects)} elements <subject>")

    def whole(element, name: str, least: int) -> int:
        text = element.get(name, "").strip()
        if not (text.isascii() and text.isdigit() and len(text) < 9 and int(text) >= least):
            raise fail(f"{name} is {element.get(name)!r}")
        return int(text)

    def positive(name: str) -> float | None:
        try:
            value = float(root.get(name, "nan" if name in root.attrib else "0"))
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and (value > 0 or name not in root.attrib)):
            raise fail(f"{name} is {root.get(name)!r}")
        return value or None

    tracks = root.findall("track")
    names = [track.get("filename", "") for track in tracks]
    for name in names:
        if name in ("", ".", "..") or any(sign in "/\\:" or ord(sign) < 32 for sign in name):
            raise fail(f"file name {name!r} is no plain name of a file in the session's folder")
    return SessionXml(
        session=whole(root, "sessionId", 1),
        subject=whole(subjects[0], "id", 1),
        is_stimulus=whole(root, "isStim", 0) == 1,
        felt={name: root.get(name) for name in FELT.values() if name in root.attrib},
        media=root.get("mediaFile", "").strip().lower(),
        clip_seconds=positive("cutLenSec"),
        video_rate=positive("vidRate"),
        colour_clips=tuple(n for track, n in zip(tracks, names, strict=True) if track.get("color", "").strip() == "1"),
    )


@dataclass(frozen=True)
class MahnobSession:
    """What one session's folder holds.

    ``kind`` is "S" for an emotional clip, "N" for the neutral one before it, "other" for another experiment. It is
    ``usable`` with all its files, which agree; else ``reason`` says what is missing or wrong.
    """

    session: int
    kind: str
    subject: int = 0
    presentation: int = 0
    xml: SessionXml | None = None
    bdf: Path | None = None
    video: Path | None = None
    ratings: dict[str, float] | None = None
    usable: bool = False
    reason: str = ""

    @property
    def video_rate(self) -> float:
        """True frames per second of the clip; its header errs."""
        return (self.xml and self.xml.video_rate) or VIDEO_RATE


def inspect_session(folder: Path, session: int) -> MahnobSession:
    """Look into a session's folder, by the number that its name gives it; what is wrong becomes its ``reason``."""
    subject, rest = divmod(session - 1, SESSIONS_PER_SUBJECT)
    if session < 1 or rest >= 2 * N_MAHNOB_TRIALS:
        return MahnobSession(session, "other", reason="another experiment")
    subject, presentation, neutral = subject + 1, rest // 2 + 1, rest % 2 == 0
    kind, problems = "SN"[neutral], []
    xml = bdf = video = ratings = None
    try:
        xml = read_session(folder / XML_FILE)
        ratings = None if neutral else xml.ratings()
        if (xml.session, xml.subject, xml.is_stimulus) != (session, subject, not neutral):
            problems.append(
                f"{folder / XML_FILE}: session {xml.session} of subject {xml.subject}, isStim {int(xml.is_stimulus)}; "
                f"by its folder's number it is {session} of subject {subject}, {int(not neutral)}"
            )
        if not neutral and not xml.media:
            problems.append(f"{folder / XML_FILE}: no mediaFile, so the stimulus is not known")
    except DataError as error:
        problems.append(str(error) if xml is None else f"{folder / XML_FILE}: {error}")
    expected = folder / f"Part_{subject}_{kind}_Trial{presentation}_emotion.bdf"
    if expected.is_file():
        bdf = expected
    else:  # other recordings of the same person share the tree; a name that differs is another session's
        others = ", ".join(sorted(path.name for path in folder.glob("*") if path.suffix.lower() == ".bdf"))
        problems.append(f"{expected}: missing" + (f", found {others}" if others else ""))
    marked = [folder / name for name in (xml.colour_clips if xml else ())]
    clips = [path for path in marked if path.is_file()] or sorted(
        folder.glob("*C1 trigger*.avi")
    )  # five grey ones, too
    if len(clips) == 1:
        video = clips[0]
    else:
        problems.append(f"{folder}: {len(clips) or 'no'} clips of the colour camera (*C1 trigger*.avi), expected one")
    reason = "; ".join([*(["neutral clip, which nobody rated"] if neutral else []), *problems])
    usable = not problems and not neutral
    return MahnobSession(session, kind, subject, presentation, xml, bdf, video, ratings, usable, reason)
