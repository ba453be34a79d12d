"""The student as one ONNX file, scaling and temperature included, and the proof that it says the same as torch."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from ..data.constants import N_FRAMES, N_VIDEO_FEATURES
from .errors import DeployError
from .student import AGAIN, Student

ONNX = "student.onnx"
NEEDED = ("onnx", "onnxscript", "onnxruntime")
TOLERANCE = 1e-5  # largest difference to torch that is accepted


def onnx_missing(names: tuple[str, ...] = NEEDED) -> str:
    """Why there can be no ONNX here, as a sentence; "" where all packages are installed."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if not missing:
        return ""
    return f"ONNX needs {', '.join(missing)}, not installed here; run: pip install -e '.[onnx]'"


def write_onnx(student: Student, folder: Path) -> Path:
    """Write ``student.onnx``: ``video`` (n, 5, 768) and ``frame_mask`` (n, 5) to ``logits`` (n, 2) and ``p_high`` (n,).

    Returns
    -------
    Path
        Of the file.

    Raises
    ------
    DeployError
        A package is missing, or the file does not say what torch says.
    """
    if reason := onnx_missing():
        raise DeployError(reason)
    # Two or more windows: the exporter takes a length of 1 for a constant.
    example = random_windows(2, np.random.default_rng(0))
    windows = torch.export.Dim("n_windows")
    with _quiet():
        program = torch.onnx.export(
            student.module,
            tuple(map(torch.from_numpy, example)),
            dynamo=True,
            verbose=False,
            input_names=["video", "frame_mask"],
            output_names=["logits", "p_high"],
            dynamic_shapes={"video": {0: windows}, "frame_mask": {0: windows}},
        )
        program.save(folder / ONNX)
    if (worst := parity(student, OnnxStudent(folder / ONNX), np.random.default_rng(1))) > TOLERANCE:
        raise DeployError(f"{folder / ONNX}: differs from torch by {worst:.1e}; use the torch weights instead")
    return folder / ONNX


class OnnxStudent:
    """An exported student run by onnxruntime on one core; answers as :class:`~.student.Student` does.

    Parameters
    ----------
    path : Path
        Of the ONNX file.

    Raises
    ------
    DeployError
        onnxruntime is not installed, or the file is missing, damaged or another network.
    """

    def __init__(self, path: Path):
        if reason := onnx_missing(("onnxruntime",)):
            raise DeployError(reason)
        import onnxruntime

        if not Path(path).is_file():
            raise DeployError(f"{path}: no such file; {AGAIN} with the extra 'onnx', or use the torch weights")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4  # a damaged file is told once, below
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            names = [[value.name for value in side()] for side in (self._session.get_inputs, self._session.get_outputs)]
            if names != [["video", "frame_mask"], ["logits", "p_high"]]:
                raise ValueError(f"it maps {names[0]} to {names[1]}")
        except Exception as error:  # the runtime has an error class for every occasion
            reason = str(error).splitlines()[0]
            raise DeployError(f"{path}: cannot be read as an exported student ({reason}); {AGAIN}") from error

    def __call__(self, video: np.ndarray, frame_mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Logits, shape (n_windows, 2), and P(high), shape (n_windows,)."""
        logits, p_high = self._session.run(None, {"video": video, "frame_mask": frame_mask})
        return logits, p_high


def random_windows(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Features in [0, 1), as histograms have them, and a mask; the last window has no frame at all."""
    video = rng.random((n, N_FRAMES, N_VIDEO_FEATURES), dtype=np.float32)
    mask = rng.random((n, N_FRAMES)) < 0.8
    mask[-1] = False
    return video, mask


def parity(
    student: Student, other: OnnxStudent, rng: np.random.Generator, sizes: tuple[int, ...] = (1, 7, 64)
) -> float:
    """Largest difference of logits or P(high) between two ways to run a student, on random windows."""
    worst = 0.0
    for n in sizes:
        windows = random_windows(n, rng)
        pairs = zip(student(*windows), other(*windows), strict=True)
        worst = max(worst, *(float(np.abs(a - b).max()) for a, b in pairs))
    return worst


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter reports every optional package that it could use."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
