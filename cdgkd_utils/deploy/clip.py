"""A video file of one's own: windows of 4 s, as the student knows them."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from ..data.constants import N_FRAMES, N_VIDEO_FEATURES, WINDOW_SECONDS
from ..data.errors import DataError
from ..data.extractors import extractor as open_extractor
from ..data.extractors.face_crop import crop_faces
from ..data.extractors.mediapipe_faces import find_boxes
from ..data.files.video import frames_at
from ..data.windows import CROPS, FACE_SOURCE, FRAME_OFFSETS
from .errors import DeployError

Predict = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
EXPECTED = f"expected a video of {WINDOW_SECONDS:.0f} s or more, such as mp4, webm or avi"
MAX_RATE = 240.0  # frames per second; more than that is a clock, not a camera


@dataclass(frozen=True)
class Clip:
    """A clip cut into windows.

    Attributes
    ----------
    name : str
    seconds, rate : float
        Length in s and frames per second.
    frames : ndarray, shape (n_windows, 5, size, size, 3), uint8
        What is described.
    mask : ndarray, shape (n_windows, 5), bool
    features : ndarray, shape (n_windows, 5, 768), float32
    """

    name: str
    seconds: float
    rate: float
    frames: np.ndarray
    mask: np.ndarray
    features: np.ndarray

    @property
    def times(self) -> np.ndarray:
        """Of the frames in s, shape (n_windows, 5)."""
        return WINDOW_SECONDS * np.arange(len(self.mask))[:, None] + FRAME_OFFSETS

    def answer(self, predict: Predict) -> np.ndarray:
        """P(high) of each window, shape (n_windows,); NaN where no frame can be described."""
        _, p_high = predict(self.features, self.mask)
        return np.where(self.mask.any(axis=1), p_high, np.nan)


def read_clip(path: Path, extractor: str = "hog", crop: str = "centre", *, name: str = "") -> Clip:
    """Decode a clip and describe five frames of each whole window of 4 s; what is left at its end is not used.

    Parameters
    ----------
    path : Path
        Of any container and codec that FFmpeg reads.
    extractor : str
        Visual features, as in training.
    crop : {"centre", "face"}
        Central square, or the face followed through the clip (extra ``mediapipe``).
    name : str
        What messages call the clip; default: the path.

    Returns
    -------
    Clip

    Raises
    ------
    DeployError
        There is no such file, it holds no video, is too short or damaged, or shows no face.
    ExtractorError
        What the extractor or the crop needs is not installed.
    """
    name = name or str(path)
    if crop not in CROPS:
        raise DeployError(f"crop: expected one of {', '.join(CROPS)}, got {crop!r}")
    rate, seconds = probe(path, name)
    n_windows = int((seconds + 0.5 / rate) // WINDOW_SECONDS)
    if n_windows < 1:
        n_frames = round(seconds * rate)
        raise DeployError(f"{name}: {n_frames} frame{'s' * (n_frames != 1)} in {seconds:.2f} s; {EXPECTED}")
    times = (WINDOW_SECONDS * np.arange(n_windows)[:, None] + FRAME_OFFSETS).ravel()
    with contextlib.closing(open_extractor(extractor)) as extract:
        size = extract.size if crop == "centre" else FACE_SOURCE
        try:
            frames, mask = frames_at(path, times, size, rate)
        except DataError as error:
            raise DeployError(f"{name}: damaged, not all of its pictures can be decoded; record it again") from error
        if crop == "face":
            frames, found = crop_faces(frames, extract.size, find_boxes(frames))
            mask = mask & found
        features, shown = np.zeros((len(frames), N_VIDEO_FEATURES), np.float32), np.flatnonzero(mask)
        if len(shown):
            features[shown], mask[shown] = extract(frames[shown])
    if not mask.any():
        raise DeployError(f"{name}: no face in any of its frames; record one face from the front, in even light")
    shape = (n_windows, N_FRAMES)
    return Clip(
        Path(name).name,
        seconds,
        rate,
        frames.reshape(*shape, *frames.shape[1:]),
        mask.reshape(shape),
        features.reshape(*shape, -1),
    )


def read_clip_bytes(content: bytes, extractor: str = "hog", crop: str = "centre", *, name: str = "clip") -> Clip:
    """A clip handed over as the content of a file, as a browser does; see :func:`read_clip`."""
    if not content:
        raise DeployError(f"{name}: it is empty; {EXPECTED}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "clip")
        path.write_bytes(content)
        return read_clip(path, extractor, crop, name=name)


def answer_bytes(
    predict: Predict, about: Mapping[str, object], content: bytes, name: str
) -> tuple[str, np.ndarray, np.ndarray, np.ndarray]:
    """What a student says about a clip handed over as bytes, for showing it.

    Parameters
    ----------
    predict : callable
        A student, by torch or by ONNX.
    about : mapping
        ``Student.about``: which features and which crop it needs.
    content : bytes
    name : str

    Returns
    -------
    name : str
    frames : ndarray, shape (n_windows, 5, size, size, 3), uint8
    mask : ndarray, shape (n_windows, 5), bool
    p_high : ndarray, shape (n_windows,)

    Raises
    ------
    DeployError
        As :func:`read_clip`.
    """
    clip = read_clip_bytes(content, str(about["extractor"]), str(about["crop"]), name=name)
    return clip.name, clip.frames, clip.mask, clip.answer(predict)


def probe(path: Path, name: str = "") -> tuple[float, float]:
    """Frames per second and length in s of a video, without decoding it.

    The rate is taken from the time stamps where every picture has one: a browser's recording tells no rate in its
    header, or a wrong one. H.264 in AVI has no time stamps; there the header counts.

    Raises
    ------
    DeployError
        There is no such file, or it holds no video.
    """
    name = name or str(path)
    if not Path(path).is_file():
        raise DeployError(f"{name}: no such file; name a video file")
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise DeployError(f"{name}: holds {_kinds(container)} but no pictures; {EXPECTED}")
            stream = container.streams.video[0]
            stamps = [packet.pts for packet in container.demux(stream) if packet.size]
            told, base = float(stream.average_rate or 0), stream.time_base
    except DeployError:
        raise
    except Exception as error:  # a damaged header can raise nearly anything
        reason = getattr(error, "strerror", None) or error
        raise DeployError(f"{name}: cannot be read as a video ({reason}); {EXPECTED}") from error
    n = len(stamps)
    if n > 1 and None not in stamps and max(stamps) > min(stamps):
        rate = (n - 1) / float((max(stamps) - min(stamps)) * base)
    else:
        rate = told
    if not 0 < rate <= MAX_RATE:
        if n > 1:
            raise DeployError(f"{name}: {n} pictures without a usable frame rate; convert it to mp4 or webm")
        rate = 25.0
    return rate, n / rate


def _kinds(container: av.container.InputContainer) -> str:
    kinds = sorted({stream.type for stream in container.streams})
    return "sound" if kinds == ["audio"] else (", ".join(kinds) or "nothing")
