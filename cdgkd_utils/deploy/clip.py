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
from ..data.files import TRUTH_FILE
from ..data.load import settings_key
from ..data.twin import TwinSettings
from ..data.twin.files import write_deap
from ..data.types import DataError
from ..data.video import box_reduce, clip_facts, frames_at
from ..data.windows import FRAME_OFFSETS

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
    frames: np.ndarray
    mask: np.ndarray
    features: np.ndarray

    def answer(self, predict: Predict) -> np.ndarray:
        """P(high) of each window, shape (n_windows,); NaN where no frame can be described."""
        return np.where(self.mask.any(axis=1), predict(self.features, self.mask)[1], np.nan)


def read_clip(path: Path, extractor: str = "hog", crop: str = "centre", *, name: str = "") -> Clip:
    """Decode a clip and describe five frames of each whole window of 4 s; what is left at its end is not used.

    `path` may be of any container and codec that FFmpeg reads; `extractor` and `crop` as in training (``about`` of the
    student); `name` is what messages call the clip. A DeployError where there is no such file, it holds no video, is
    too short or damaged, shows no face, or nothing.

    Examples
    --------
    >>> student = load_student("my_student")
    >>> clip = read_clip("me.mp4", student.about["extractor"], student.about["crop"])
    >>> clip.answer(student)
    """
    name, path, extract = name or str(path), Path(path), open_extractor(extractor)
    try:
        facts = clip_facts(path)
        # The last picture of a recording may be short of its full time.
        n_windows = int((facts.seconds * (1 + 0.5 / max(len(facts.places), 1))) // WINDOW_SECONDS)
        if n_windows < 1:
            raise DeployError(f"{name}: {len(facts.places)} pictures in {facts.seconds:.2f} s; {EXPECTED}")
        times = (WINDOW_SECONDS * np.arange(n_windows)[:, None] + FRAME_OFFSETS).ravel()
        frames, mask = frames_at(path, times, extract.size if crop == "centre" else FACE_SOURCE)
        box = face_box(path) if crop == "face" else None
    except DataError as error:
        reason = str(error).partition("; ")[0].replace(str(path), name)
        raise DeployError(f"{reason}; {EXPECTED}, whole") from error
    mask &= np.ptp(frames, axis=(1, 2, 3)) > FLAT
    if not mask.any():
        raise DeployError(f"{name}: every picture is of one colour; is the lens covered?")
    if crop == "face" and box is None:
        raise DeployError(f"{name}: no face in any of its frames; record one face from the front, in even light")
    features, mask = describe_frames(frames, mask, extract, box)
    frames, mask, features = (part.reshape(n_windows, N_FRAMES, *part.shape[1:]) for part in (frames, mask, features))
    return Clip(Path(name).name, facts.seconds, frames, mask, features)


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
    """Name, frames, mask and P(high) of a clip given as a file's content, as a browser does; see :func:`read_clip`."""
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
