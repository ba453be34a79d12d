"""MAHNOB-HCI's ``session.xml``: read without trusting it."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.parsers import expat

from ..types import DataError

SESSIONS_PER_SUBJECT = 130  # numbers set aside for each subject; the first 40 belong to the emotion experiment
N_MAHNOB_TRIALS = 20
FELT = {"valence": "feltVlnc", "arousal": "feltArsl", "dominance": "feltCtrl", "predictability": "feltPred"}
_LARGEST = 1 << 20  # bytes; real files have about 2 kB


@dataclass(frozen=True)
class Track:
    """One recording that a session names.

    Attributes
    ----------
    kind : str
        ``Video``, ``Physiological`` or another type.
    filename : str
        A plain name inside the session's folder.
    colour : bool
        True for the colour camera, which faces the subject.
    annotations : tuple of str
        File names of the gaze tables and the like that go with the track.
    """

    kind: str
    filename: str
    colour: bool
    annotations: tuple[str, ...] = ()


@dataclass(frozen=True)
class SessionXml:
    """What one ``session.xml`` says.

    Attributes
    ----------
    path : Path
    session, subject : int
        Numbers of the session and of the subject, 1-based.
    is_stimulus : bool
        False for a neutral clip, which nobody rated.
    felt : mapping
        The ``felt*`` attributes that are there, as written; empty for a neutral session.
    media : str
        Name of the stimulus, lower case without blanks around; empty when not given.
    clip_seconds, video_rate : float or None
        ``cutLenSec`` and ``vidRate``; None when not given.
    tracks : tuple of Track
    """

    path: Path
    session: int
    subject: int
    is_stimulus: bool
    felt: Mapping[str, str]
    media: str
    clip_seconds: float | None
    video_rate: float | None
    tracks: tuple[Track, ...]

    def ratings(self) -> dict[str, int]:
        """Felt valence, arousal, dominance (``feltCtrl``) and predictability, whole numbers 1..9.

        Raises
        ------
        DataError
            One is missing, or is not such a number.
        """
        found = {}
        for name, attribute in FELT.items():
            text = self.felt.get(attribute, "").strip()
            if not (len(text) == 1 and text in "123456789"):
                raise DataError(
                    f"{self.path}: {attribute} is {self.felt.get(attribute)!r}, expected a whole number from 1 to 9; "
                    "copy the file again"
                )
            found[name] = int(text)
        return found


def session_number(subject: int, presentation: int, neutral: bool = False) -> int:
    """Number of a session of the emotion experiment; the neutral clip before a trial has the number before.

    Examples
    --------
    >>> session_number(1, 1), session_number(10, 15), session_number(10, 15, neutral=True)
    (2, 1200, 1199)
    """
    return SESSIONS_PER_SUBJECT * (subject - 1) + 2 * presentation - int(neutral)


def session_place(session: int) -> tuple[int, int, bool] | None:
    """Subject, place in the session (1-based) and whether it is neutral: :func:`session_number` inverted.

    Returns
    -------
    tuple of (int, int, bool), or None
        None for numbers of the tagging experiments, which share the tree.
    """
    subject, rest = divmod(session - 1, SESSIONS_PER_SUBJECT)
    if session < 1 or rest >= 2 * N_MAHNOB_TRIALS:
        return None
    return subject + 1, rest // 2 + 1, rest % 2 == 0


def read_session(path: str | os.PathLike) -> SessionXml:
    """Read and check one file.

    Entities and document types are refused: no real file has them, and they can make a parser read
    other files or fill the memory. So are file names that lead out of the session's folder.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    SessionXml

    Raises
    ------
    DataError
        The file is missing, is no well-formed session, or is not safe to follow.
    """
    path = Path(path)

    def fail(found: str) -> DataError:
        return DataError(f"{path}: {found}; expected MAHNOB-HCI's session.xml: copy it again")

    try:
        if path.stat().st_size > _LARGEST:
            raise fail(f"larger than {_LARGEST} bytes")
        content = path.read_bytes()
    except OSError as error:
        raise fail(f"not readable ({error.strerror})") from error
    elements = _elements(content, fail)
    if elements[0][:2] != (0, "session"):
        raise fail(f"its first element is <{elements[0][1]}>")
    session = elements[0][2]
    subjects = [attributes for depth, tag, attributes in elements if (depth, tag) == (1, "subject")]
    if len(subjects) != 1:
        raise fail(f"{len(subjects)} elements <subject>")

    def whole(attributes: Mapping[str, str], name: str, least: int) -> int:
        text = attributes.get(name, "").strip()
        if not (text.isascii() and text.isdigit() and len(text) < 9 and int(text) >= least):
            raise fail(f"{name} is {attributes.get(name)!r}")
        return int(text)

    def positive(name: str) -> float | None:
        if name not in session:
            return None
        try:
            value = float(session[name])
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value > 0):
            raise fail(f"{name} is {session[name]!r}")
        return value

    return SessionXml(
        path=path,
        session=whole(session, "sessionId", 1),
        subject=whole(subjects[0], "id", 1),
        is_stimulus=whole(session, "isStim", 0) == 1,
        felt={name: session[name] for name in FELT.values() if name in session},
        media=session.get("mediaFile", "").strip().lower(),
        clip_seconds=positive("cutLenSec"),
        video_rate=positive("vidRate"),
        tracks=_tracks(elements, fail),
    )


def _elements(content: bytes, fail) -> list[tuple[int, str, dict[str, str]]]:
    """All elements in order as (depth, tag, attributes)."""
    elements: list[tuple[int, str, dict[str, str]]] = []
    depth = 0

    def start(tag, attributes):
        nonlocal depth
        elements.append((depth, tag, attributes))
        depth += 1

    def end(tag):
        nonlocal depth
        depth -= 1

    def refuse(*_):
        raise fail("holds a document type or entities, which no session.xml has and which are not followed")

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = parser.ExternalEntityRefHandler = refuse
    try:
        parser.Parse(content, True)
    except (expat.ExpatError, LookupError, ValueError) as error:  # the latter: an encoding that nobody knows
        if isinstance(error, DataError):
            raise
        raise fail(f"no well-formed XML ({error})") from error
    return elements


def _tracks(elements: list[tuple[int, str, dict[str, str]]], fail) -> tuple[Track, ...]:
    def plain(attributes: Mapping[str, str]) -> str:
        name = attributes.get("filename", "")
        if name in ("", ".", "..") or any(sign in "/\\:" or ord(sign) < 32 for sign in name):
            raise fail(f"file name {name!r} is no plain name of a file in the session's folder")
        return name

    tracks: list[Track] = []
    for depth, tag, attributes in elements:
        if (depth, tag) == (1, "track"):
            colour = attributes.get("color", "").strip() == "1"
            tracks.append(Track(attributes.get("type", ""), plain(attributes), colour))
        elif (depth, tag) == (2, "annotation") and "filename" in attributes:
            if not tracks:
                raise fail("an annotation outside of a track")
            last = tracks[-1]
            tracks[-1] = Track(last.kind, last.filename, last.colour, (*last.annotations, plain(attributes)))
    return tuple(tracks)
