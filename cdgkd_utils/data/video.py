"""A face clip as a player shows it: pictures at wanted times, turned, stretched and timed as the container says."""

from __future__ import annotations

import contextlib
import os
import threading
from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from PIL import Image

from .types import DataError

# A clip that yields a smaller part of what its header announces was cut off; headers err by a few frames.
COMPLETE = 0.9
# A clip of whose pictures so many cannot be shown soundly is left out as a whole.
LARGEST_DAMAGE = 0.9
_AGAIN = "copy the clip again, or remove it to leave its trial out"
_MATRIX = av.sidedata.sidedata.Type.DISPLAYMATRIX
_LOG = threading.RLock()  # FFmpeg's messages are the process's


class UnusableClip(DataError):
    """Too much of one clip is damaged; the others of its data set may be sound."""


@dataclass(frozen=True)
class ClipFacts:
    """What a container says about its film, from its packets without decoding them."""

    stream: int  # which of its streams is the film
    # When each packet's picture is shown, in the order of decoding: s after the clip's start, or frames if `counted`.
    places: np.ndarray
    counted: bool  # time stamps are missing (AVI): pictures are numbered as the decoder returns them
    rate: float  # frames per second
    seconds: float  # what the packets fill
    announced: float  # what the header announces; 0: nothing
    gaps: bool  # pictures do not follow each other evenly: some may be missing
    aspect: float  # width of a pixel over its height
    codec: str


def clip_facts(path: str | os.PathLike) -> ClipFacts:
    """Look through a clip's packets; a DataError says that it cannot be opened, or holds no film."""
    with _named(path), _opened(path) as container:
        packets: dict[int, list[tuple]] = {stream.index: [] for stream in container.streams.video}
        for packet in container.demux(*container.streams.video):
            if packet.size:
                packets[packet.stream_index].append((packet.pts, packet.dts, packet.duration))
        # The largest stream of pictures that follow each other: a thumbnail is one picture.
        streams = [stream for stream in container.streams.video if len(packets[stream.index]) > 1]
        best = container.streams.best("video") or container.streams.video[0]
        if streams and best not in streams:
            best = max(streams, key=lambda stream: stream.codec_context.width * stream.codec_context.height)
        return _facts(container, best, packets[best.index])


def _facts(container, stream: av.VideoStream, packets: list[tuple]) -> ClipFacts:
    stamps, dts, durations = (list(column) for column in zip(*packets, strict=True)) if packets else ([], [], [])
    rate = float(stream.average_rate or stream.guessed_rate or 0)
    base = float(stream.time_base)
    # AVI numbers its packets in the order of decoding, whatever the order of the pictures.
    counted = "avi" in container.format.name or None in stamps or len(set(stamps)) < len(stamps)
    if counted:
        usable = None not in dts and dts == sorted(set(dts))
        places = (np.array(dts) - dts[0] if usable and dts else np.arange(len(stamps))).astype(float)
        seconds = (places.max(initial=-1) + 1) / rate
        announced = stream.frames / rate
    else:
        origin = min(stamps) * base if container.start_time is None else container.start_time / av.time_base
        places = np.array(stamps) * base - origin
        step = 1 / rate if rate else float(np.median(np.diff(np.sort(places)))) if len(places) > 1 else 0.0
        last = int(places.argmax())
        seconds = float(places[last]) + ((durations[last] or 0) * base or step)
        announced = float(stream.duration * base) if stream.duration else 0.0
        if not announced and container.duration and len(container.streams) == 1:
            announced = container.duration / av.time_base - max(origin, 0)  # Matroska's is counted from zero
    steps = np.diff(np.sort(places))
    gaps = len(steps) > 0 and bool(steps.max() > 1.5 * np.median(steps))
    aspect = float(stream.sample_aspect_ratio or 1)
    return ClipFacts(
        stream.index, places, counted, rate, float(seconds), announced, gaps, aspect, stream.codec_context.name
    )


def pictures(path: str | os.PathLike, facts: ClipFacts) -> Iterator[tuple[av.VideoFrame, float, float, bool]]:
    """Decode a clip: each picture, from where to where it is shown (as in ``facts.places``), and whether it is sound.

    A decoder conceals a lost or broken packet by guessing. So whatever it returns from there on, up to the next sound
    key picture, is not sound, nor is what precedes the first key picture.
    """
    places = facts.places.tolist()
    order = sorted(places)
    step = 1.0 if facts.counted or not facts.rate else 1 / facts.rate
    damaged: list[int] = []  # packets, ascending
    late: list[int] = []  # packets of the pictures that came since then
    key, rank, pending = None, 0, None

    def until(begin: float, end: float) -> float:
        """A picture is not shown in the place of one that was lost."""
        return min([end, *(places[packet] for packet in damaged if places[packet] > begin)])

    with _opened(path) as container, _messages(facts.gaps and facts.codec == "h264") as messages:
        stream = container.streams[facts.stream]
        stream.codec_context.thread_count = 1  # callers run one process per core
        number = -1
        for packet in container.demux(stream):
            if packet.size == 0 and packet.dts is not None:
                continue  # an AVI's sign for showing the last picture on
            number += packet.size > 0
            if packet.size:
                packet.pts = packet.dts = number  # tells which packet a picture comes from
            if messages:
                messages.clear()
            try:
                decoded = packet.decode()
            except av.error.InvalidDataError:
                decoded = []
                insort(damaged, number)
            if packet.is_corrupt or (
                messages and any(level <= av.logging.ERROR or "num gap" in m for level, _, m in messages)
            ):
                # Where packets are missing, pictures just before the message may be wrong already.
                insort(damaged, max(number - (2 if facts.gaps else 0), 0))
            for frame in decoded:
                origin = min(number if frame.pts is None else frame.pts, len(order) - 1)
                if frame.is_corrupt:
                    insort(damaged, origin)
                broken = key is None or (bool(damaged) and damaged[-1] >= key)
                if frame.key_frame and not frame.is_corrupt and origin not in damaged:
                    if broken:  # pictures may have been lost: count anew from here
                        rank = origin + sum(other > origin for other in late)
                    key, late, broken = origin, [], False
                if broken:
                    late.append(origin)
                sound = not broken
                if broken and key is not None and not facts.counted:  # its number would be a guess
                    sound = origin < damaged[bisect_left(damaged, key)]
                begin = order[min(rank, len(order) - 1)] if facts.counted else places[origin]
                rank += 1
                if pending is not None:
                    # What leads to damage is not held: the pictures after it may be missing altogether.
                    end = begin if sound else min(begin, pending[1] + step)
                    yield *pending[:2], until(pending[1], end) if damaged else end, pending[2]
                pending = frame, begin, sound
    if pending is not None:
        end = pending[1] + 1 if facts.counted else max(facts.seconds, pending[1])
        yield *pending[:2], until(pending[1], end), pending[2]


def frames_at(
    path: str | os.PathLike, times: Sequence[float], size: int = 64, rate: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The pictures that a player shows at some times.

    Time stamps rule where every picture has one. AVI has none to rely on: pictures are counted in the order in which
    the decoder returns them, and the one taken is number ``round(time * frames per second)``.

    Parameters
    ----------
    path : path-like
    times : sequence of float, shape (n,)
        Seconds from the start of the clip.
    size : int
        The central square of the upright picture is reduced by area to ``size`` x ``size`` pixels.
    rate : float, optional
        True frames per second, where the clip's header is known to be wrong.

    Returns
    -------
    frames : ndarray, shape (n, size, size, 3), uint8
        RGB; black where the mask is False.
    mask : ndarray, shape (n,), bool
        False where the clip has not begun, has ended, or is damaged.

    A DataError says that the file is no video or cut off, an UnusableClip that more than nine tenths are damaged.
    """
    facts, times = clip_facts(path), np.asarray(times, float)
    scale = (rate or facts.rate) if facts.counted else facts.rate / rate if rate and facts.rate else 1.0
    wanted = np.rint(times * scale) if facts.counted else times / scale + 1e-4  # Matroska rounds to milliseconds
    frames, mask = np.zeros((len(times), size, size, 3), np.uint8), np.zeros(len(times), bool)
    last, end, n_sound, waiting = wanted.max(initial=-1), 0.0, 0, sorted(set(wanted.tolist()), reverse=True)
    with _named(path):
        for frame, begin, end, sound in pictures(path, facts):
            n_sound += sound
            if waiting and waiting[-1] < end:
                places = np.flatnonzero((wanted >= begin) & (wanted < end))
                if sound and len(places):
                    frames[places], mask[places] = _small(frame, facts.aspect, size), True
                while waiting and waiting[-1] < end:
                    waiting.pop()
            if end > last:
                break
    if not end or (last >= end and facts.seconds < COMPLETE * facts.announced):
        raise DataError(
            f"{Path(path)}: damaged or truncated, {facts.seconds if end else 0:.1f} s of {facts.announced:.1f} s can "
            f"be decoded; {_AGAIN}"
        )
    n_passed = int((facts.places < end).sum())
    if n_sound < (1 - LARGEST_DAMAGE) * n_passed:
        raise UnusableClip(f"{Path(path)}: {n_passed - n_sound} of {n_passed} pictures are damaged; {_AGAIN}")
    return frames, mask


def _small(frame: av.VideoFrame, aspect: float, size: int) -> np.ndarray:
    """The central square as a player shows it: stretched, then turned."""
    picture = frame.to_ndarray(format="rgb24")
    height, width = picture.shape[:2]
    if aspect != 1:
        side = min(height, width * aspect)
        x, y = side / aspect / 2, side / 2
        box = (width / 2 - x, height / 2 - y, width / 2 + x, height / 2 + y)
        small = np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.BOX, box))
    else:
        small = box_reduce(centre_square(picture[None]), size)[0]
    return _upright(small, frame)


def _upright(picture: np.ndarray, frame: av.VideoFrame) -> np.ndarray:
    """Turned and mirrored by the display matrix, x' = a x + c y, y' = b x + d y, to the nearest quarter of a turn."""
    found = frame.side_data.get(_MATRIX)
    if found is None:
        return picture
    a, b, _, c, d = np.frombuffer(bytes(found), np.int32)[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        picture, a, d = picture.swapaxes(0, 1), c, b
    return picture[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def centre_square(frames: np.ndarray) -> np.ndarray:
    """The middle of pictures (n, height, width, 3), as high as wide."""
    height, width = frames.shape[1:3]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return frames[:, top : top + side, left : left + side]


def box_reduce(frames: np.ndarray, size: int = 64) -> np.ndarray:
    """Shrink square pictures (n, edge, edge, 3) uint8 to ``size`` x ``size`` by averaging areas (PIL's box filter)."""
    if frames.shape[1] == size:
        return frames
    factor, rest = divmod(frames.shape[1], size)
    out = np.empty((len(frames), size, size, 3), dtype=np.uint8)
    for reduced, frame in zip(out, frames, strict=True):
        picture = Image.fromarray(frame)
        # Whole factors have a faster routine for the same average (rounding may differ by 1).
        reduced[:] = picture.resize((size, size), Image.Resampling.BOX) if rest else picture.reduce(factor)
    return out


def damage(path: str | os.PathLike) -> tuple[int, int]:
    """How many pictures a clip has, and how many of them are never shown soundly, by decoding all of it."""
    facts = clip_facts(path)
    with _named(path):
        return len(facts.places), len(facts.places) - sum(sound for *_, sound in pictures(path, facts))


def _opened(path: str | os.PathLike) -> av.container.InputContainer:
    return av.open(str(Path(path).absolute()))  # FFmpeg takes what is before a colon for a protocol


@contextlib.contextmanager
def _messages(all_of_them: bool) -> Iterator[list[tuple[int, str, str]]]:
    """What FFmpeg says meanwhile. Of a lost packet H.264's decoder may speak in its (slow) debugging messages only."""
    with _LOG:
        before = av.logging.get_level(), av.logging.get_skip_repeated()
        try:
            av.logging.set_level(av.logging.DEBUG if all_of_them else av.logging.ERROR)
            av.logging.set_skip_repeated(False)
            with av.logging.Capture() as messages:
                yield messages
        finally:
            av.logging.set_level(before[0])
            av.logging.set_skip_repeated(before[1])


@contextlib.contextmanager
def _named(path: str | os.PathLike) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # a damaged file can raise nearly anything
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{Path(path)}: cannot be decoded as a video ({reason}); {_AGAIN}") from error
