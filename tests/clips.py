"""Clips for tests: what frame is shown can be read from its grey."""

from fractions import Fraction

import av
import numpy as np

EDGE = 64


def clip_of(path, n_frames, rate=25, codec="libx264", times=None):
    """A clip whose frame k is grey of level 2 k, with a bright bar on its left so that it shows something."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = EDGE, EDGE, "yuv420p"
        for number in range(n_frames):
            picture = np.full((EDGE, EDGE, 3), min(2 * number, 255), np.uint8)
            picture[:, : EDGE // 4] = 128 + 127 * (number % 2)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = round(1000 * times[number]), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def levels(frames):
    """Numbers of the frames, by the grey of their right half."""
    return frames[..., frames.shape[-2] // 2 :, :].mean(axis=(-3, -2, -1)) / 2
