"""A video file of one's own as windows of 4 s, described as the student knows them; and one of a synthetic person."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..config import Params, home
from ..data.constants import N_FRAMES, N_VIDEO_FEATURES, WINDOW_SECONDS
from ..data.deap import read_ratings
from ..data.features import FACE_SOURCE, crop_to, face_box
from ..data.features import extractor as open_extractor
from ..data.load import settings_key
from ..data.trees import TRUTH_FILE
from ..data.twin import TwinSettings
from ..data.twin.files import write_deap
from ..data.types import DataError
from ..data.video import box_reduce, clip_facts, frames_at
from ..data.windows import CROPS, FRAME_OFFSETS

Predict = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
EXPECTED = f"expected a video of {WINDOW_SECONDS:.0f} s or more, such as mp4, webm or avi"
FLAT = 4  # grey levels between the darkest and the brightest pixel of a picture that shows nothing
STRANGER = 7919  # added to the seed: people of other repetitions are never this far away


class DeployError(ValueError):
    """A clip or an exported student cannot be used; names the file, what was expected and what to do."""


@dataclass(frozen=True)
class Clip:
    """A clip cut into windows: frames (n_windows, 5, size, size, 3), mask (n_windows, 5), features (.., 5, 768)."""

    name: str
    seconds: float
    rate: float
    frames: np.ndarray
    mask: np.ndarray
    features: np.ndarray

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
    extractor, crop : str
        As in training: ``about["extractor"]``, ``about["crop"]`` of the student.
    name : str
        What messages call the clip; default: the path.

    A DeployError where there is no such file, it holds no video, is too short or damaged, shows no face, or nothing.

    Examples
    --------
    >>> student = load_student("my_student")
    >>> clip = read_clip("me.mp4", student.about["extractor"], student.about["crop"])
    >>> clip.answer(student)
    """
    name, path = name or str(path), Path(path)
    if crop not in CROPS:
        raise DeployError(f"crop: expected one of {', '.join(CROPS)}, got {crop!r}")
    if not path.is_file():
        raise DeployError(f"{name}: no such file; name a video file")
    try:
        facts = clip_facts(path)
    except DataError as error:
        reason = getattr(error.__cause__, "strerror", None) or error.__cause__
        raise DeployError(f"{name}: cannot be read as a video ({reason}); {EXPECTED}") from error
    n_frames, seconds = len(facts.places), facts.seconds
    # The last picture of a recording may be short of its full time.
    n_windows = int((seconds + 0.5 * seconds / max(n_frames, 1)) // WINDOW_SECONDS)
    if n_windows < 1:
        raise DeployError(f"{name}: {n_frames} frame{'s' * (n_frames != 1)} in {seconds:.2f} s; {EXPECTED}")
    times = (WINDOW_SECONDS * np.arange(n_windows)[:, None] + FRAME_OFFSETS).ravel()
    extract = open_extractor(extractor)
    try:
        frames, mask = frames_at(path, times, extract.size if crop == "centre" else FACE_SOURCE)
        box = face_box(path) if crop == "face" else None
    except DataError as error:
        raise DeployError(f"{name}: damaged, not all of its pictures can be decoded; record it again") from error
    mask &= np.ptp(frames, axis=(1, 2, 3)) > FLAT
    if not mask.any():
        raise DeployError(f"{name}: every picture is of one colour; is the lens covered?")
    if crop == "face" and box is None:
        raise DeployError(f"{name}: no face in any of its frames; record one face from the front, in even light")
    features, mask = describe_frames(frames, mask, extract, box)
    shape = (n_windows, N_FRAMES)
    frames, features = (part.reshape(*shape, *part.shape[1:]) for part in (frames, features))
    return Clip(Path(name).name, seconds, n_frames / seconds, frames, mask.reshape(shape), features)


def describe_frames(
    frames: np.ndarray, mask: np.ndarray, extract, box: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, 768) of central squares and which have any, (n,); `box` is the clip's face, to be cut out."""
    mask = np.array(mask)
    features, shown = np.zeros((len(frames), N_VIDEO_FEATURES), np.float32), np.flatnonzero(mask)
    if len(shown):  # a zeroed row stands for a lost frame, so only those that are there are described
        left = frames[shown]
        small = box_reduce(left, extract.size) if box is None else crop_to(left, box, extract.size)
        features[shown], mask[shown] = extract(small)
    return features, mask


def answer_bytes(
    predict: Predict, about: Mapping[str, object], content: bytes, name: str = "clip"
) -> tuple[str, np.ndarray, np.ndarray, np.ndarray]:
    """What a student says about a clip handed over as a file's content, as a browser does; errors as :func:`read_clip`.

    Name, frames (n_windows, 5, size, size, 3), mask (n_windows, 5) and P(high) (n_windows,), for showing it.
    """
    if not content:
        raise DeployError(f"{name}: it is empty; {EXPECTED}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "clip")
        path.write_bytes(content)
        clip = read_clip(path, str(about["extractor"]), str(about["crop"]), name=name)
    return clip.name, clip.frames, clip.mask, clip.answer(predict)


def example_clip(params: Params) -> tuple[Path, pd.Series]:
    """A synthetic stranger's most telling clip, and the trial's row of its ``truth.csv`` (``posterior_<target>``).

    Written once into the home; `params`' world, target and seed decide it.
    """
    design = {"seed": params.seed + STRANGER, "world": params.world, "n_subjects": 1, "n_trials": 4}
    folder = home() / "clips" / settings_key({"design": design, "seconds": 24, "size": 128})[:16]
    if not folder.is_dir():
        write_deap(TwinSettings(**design), folder, seconds=24, frame_size=128)
    truth = pd.read_csv(folder / TRUTH_FILE)
    row = truth.iloc[truth[f"x_video_{params.target}"].abs().argmax()]
    ratings = read_ratings(folder, [1])
    return ratings.loc[ratings["Experiment_id"] == int(row["trial"]), "clip"].item(), row
