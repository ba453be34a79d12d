"""The small files of a session in MAHNOB-HCI's layout: description, gaze table, clips."""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from xml.sax.saxutils import quoteattr

import av
import numpy as np

from ..twin.face import PARAMETERS, FaceTrack, render
from .session import VIDEO_RATE

HEADER_RATE = 61  # frames per second that the clips announce; they really have VIDEO_RATE
# x264 quality: decoded and drawn frames have HOG features that correlate by .98 or more (median, 128 pixels).
CRF = 10
N_GREY = 5  # cameras beside the colour camera
GAZE_PREAMBLE = 23  # lines before the header of a gaze table
GAZE_RATE = 60  # Hz
_GAZE_COLUMNS = ("Timestamp", "Number", "GazePointX", "GazePointY", "ValidityLeft", "ValidityRight", "Event")
_CHUNK = 100  # frames rendered at once: a full-size clip at once would take 10 GB
_SYLLABLES_PER_SECOND = 4


def session_text(attributes: Mapping[str, object], subject: int, names: Mapping[str, str]) -> str:
    """``session.xml``: the declaration, then everything in one line.

    Parameters
    ----------
    attributes : mapping
        Of the session, in order.
    subject : int
    names : mapping
        File names: ``colour``, ``grey-1`` to ``grey-5``, ``gaze``, ``bdf``; those left out have no track.

    Returns
    -------
    str
    """

    def element(tag: str, **values: object) -> str:
        return f"<{tag}" + "".join(f" {name}={quoteattr(str(value))}" for name, value in values.items())

    gaze = element("annotation", type="Gaze", filename=names["gaze"]) + "/>"
    cameras = [(names[key], int(key == "colour")) for key in names if key not in ("gaze", "bdf")]
    tracks = [
        element("track", type="Video", color=colour, filename=name) + f">{gaze}</track>" for name, colour in cameras
    ]
    if "bdf" in names:
        tracks.append(element("track", type="Physiological", filename=names["bdf"]) + "/>")
    start = element("session", **attributes)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"{start}>{element('subject', id=subject)}/>{''.join(tracks)}</session>\n"
    )


def gaze_table(seconds: float, malformed: bool) -> str:
    """A gaze table of four rows; the malformed one has a row that broke off, as one real file has."""
    rows = [[round(1000 * k / GAZE_RATE), k + 1, 640, 400, 0, 0, ""] for k in (0, 1)]
    rows.append([round(1000 * seconds), round(seconds * GAZE_RATE), 640, 400, 4, 4, ""])
    rows.insert(0, [0, 0, "", "", "", "", "MovieStart"])
    rows.append([round(1000 * seconds), "", "", "", "", "", "MovieEnd"])
    lines = ["\t".join(map(str, row)) for row in rows]
    if malformed:
        lines[2] = lines[2][:7]
    preamble = ["synthetic gaze table"] * GAZE_PREAMBLE
    return "\n".join([*preamble, "\t".join(_GAZE_COLUMNS), *lines]) + "\n"


def write_clip(path: str | os.PathLike, track: FaceTrack, seconds: float, after: float, frame_size: int) -> None:
    """Write the colour camera's clip: the film's time, and then the spoken report.

    Parameters
    ----------
    path : path-like
    track : FaceTrack
        The face during the film; afterwards it speaks.
    seconds, after : float
        Length of the film, and of what follows.
    frame_size : int
        Height in pixels. The width is 39/29 of it, the face in the middle; 580 gives 780 x 580.
    """
    times = np.arange(int((seconds + after) * VIDEO_RATE)) / VIDEO_RATE
    margin = 2 * round(frame_size * 50 / 580)  # on either side; an even width is what the codec wants
    speaking = _speaking(track, seconds, after)
    _encode(
        path,
        HEADER_RATE,
        (frame_size, frame_size + 2 * margin),
        (
            np.pad(picture, ((0, 0), (margin, margin), (0, 0)), mode="edge")
            for first in range(0, len(times), _CHUNK)
            for picture in render(speaking, times[first : first + _CHUNK], frame_size)
        ),
    )


def _speaking(track: FaceTrack, seconds: float, after: float) -> FaceTrack:
    """The same track up to the film's end, then a mouth that opens and closes: no reader may look at that."""
    times = seconds + np.arange(int(after * 2 * _SYLLABLES_PER_SECOND) + 1) / (2 * _SYLLABLES_PER_SECOND)
    keys = np.repeat(track.keys[-1:], len(times), axis=0)
    keys[1:, PARAMETERS.index("mouth_open")] = np.resize([2.0, -1.0], len(times) - 1)
    return replace(track, times=np.append(track.times, times), keys=np.vstack([track.keys, keys]))


@functools.cache
def grey_clip() -> bytes:
    """Bytes of a short grey clip, which stands for each of the other cameras."""
    pictures = (np.full((48, 64, 3), level, np.uint8) for level in (60, 90, 120, 150))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "grey.avi"
        _encode(path, HEADER_RATE, (48, 64), pictures)
        return path.read_bytes()


def _encode(path: str | os.PathLike, rate: int, shape: tuple[int, int], pictures) -> None:
    with av.open(os.fspath(path), "w", format="avi") as container:
        options = {"crf": str(CRF), "preset": "veryfast", "threads": "1"}
        stream = container.add_stream("libx264", rate=rate, options=options)
        stream.height, stream.width = shape
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
