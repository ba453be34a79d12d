"""Frames of a face clip at wanted times, by decoding it once from start to end."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np

from ..extractors.hog768 import box_reduce
from ..types import DataError

# A clip that yields a smaller part of the frames its header announces was cut off; headers err by a few frames.
COMPLETE = 0.9


def frames_at(
    path: str | os.PathLike, times: Sequence[float], size: int = 64, rate: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Decode the frames shown at some times.

    Frames are counted in the order in which the decoder returns them. H.264 in AVI leaves no other way:
    its time stamps are missing or out of order, and seeking lands on wrong frames.

    Parameters
    ----------
    path : path-like
    times : sequence of float, shape (n,)
        Seconds from the start of the clip; the frame taken is number ``round(time * frames per second)``.
    size : int
        The central square of the picture is reduced by area to ``size`` x ``size`` pixels.
    rate : float, optional
        Frames per second; default: what the clip's header says.

    Returns
    -------
    frames : ndarray, shape (n, size, size, 3), uint8
        RGB; black where the mask is False.
    mask : ndarray, shape (n,), bool
        False where the clip has ended already or the frame is damaged.

    Raises
    ------
    DataError
        The file cannot be opened as a video, not one frame can be decoded, or it ends long before its
        header says.
    """
    frames = np.zeros((len(times), size, size, 3), np.uint8)
    mask = np.zeros(len(times), bool)
    number = n_decoded = 0
    try:
        with av.open(os.fspath(path)) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1  # callers run one process per core
            wanted = np.rint(np.asarray(times, float) * float(rate or stream.average_rate)).astype(int)
            last, announced = wanted.max(initial=-1), stream.frames
            for packet in container.demux(stream):
                try:
                    decoded = packet.decode()
                except av.error.InvalidDataError:
                    number += 1  # the frame in this packet is lost; the ones after it keep their places
                    continue
                for frame in decoded:
                    places = np.flatnonzero(wanted == number)
                    if len(places) and not frame.is_corrupt:
                        frames[places] = box_reduce(_central_square(frame)[None], size)
                        mask[places] = True
                    number += 1
                    n_decoded += 1
                if number > last:
                    break
    except Exception as error:  # a damaged header can raise nearly anything
        raise DataError(
            f"{Path(path)}: cannot be decoded as a video ({getattr(error, 'strerror', None) or error}); "
            "copy the clip again, or remove it to leave its trial out"
        ) from error
    if not n_decoded or (number <= last and number < COMPLETE * announced):
        raise DataError(
            f"{Path(path)}: damaged or truncated, {n_decoded} of {announced} frames can be decoded; "
            "copy the clip again, or remove it to leave its trial out"
        )
    return frames, mask


def _central_square(frame: av.VideoFrame) -> np.ndarray:
    picture = frame.to_ndarray(format="rgb24")
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return picture[top : top + side, left : left + side]
