"""A student with everything it needs: scaling, network, temperature, and the same as one ONNX file."""

from __future__ import annotations

import importlib.util
import json
import logging
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from .. import __version__
from ..config import Params
from ..data.constants import N_FRAMES, N_VIDEO_FEATURES
from ..data.features import extractor as open_extractor
from ..data.load import new_folder
from ..data.normalise import VIDEO_CLIP, Normaliser
from ..experiments.derived import calibrated_temperature
from ..experiments.runs import Experiment, RunRecord, run_key
from ..experiments.study import Study
from ..models import build_model
from .card import card_scores, model_card
from .clip import DeployError

FORMAT = 1  # raise when the content of the folder changes
WEIGHTS, ABOUT, CARD, ONNX = "weights.safetensors", "about.json", "model_card.md", "student.onnx"
AGAIN = "export the student again"
TOLERANCE = 1e-5  # largest difference of ONNX to torch that is accepted


class StandaloneStudent(nn.Module):
    """From raw features to P(high): scaling, network and temperature in one module; `mean`, `scale` of shape (768,)."""

    def __init__(self, network: nn.Module, mean: Tensor, scale: Tensor, temperature: float):
        super().__init__()
        self.network = network
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)
        self.register_buffer("temperature", torch.tensor(float(temperature)))

    def forward(self, video: Tensor, frame_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Features (n, 5, 768) and mask (n, 5) to logits (n, 2) and, after the temperature, P(high) (n,)."""
        z = ((video - self.mean) / self.scale).clamp(-VIDEO_CLIP, VIDEO_CLIP)
        given = {"video": torch.where(frame_mask.unsqueeze(-1), z, torch.zeros_like(z)), "frame_mask": frame_mask}
        logits = self.network(*(given[name] for name in self.network.inputs)).logits
        return logits, torch.sigmoid((logits[:, 1] - logits[:, 0]) / self.temperature)


@dataclass(frozen=True)
class Student:
    """A finished student; called with features (n, 5, 768) and mask (n, 5) it gives logits (n, 2) and P(high) (n,).

    `about` says what it takes (``extractor``, ``crop``), what it answers (``target``) and where it comes from.
    """

    module: StandaloneStudent
    about: dict

    @torch.no_grad()
    def __call__(self, video: np.ndarray, frame_mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        logits, p_high = self.module(torch.from_numpy(video), torch.from_numpy(frame_mask))
        return logits.numpy(), p_high.numpy()


def deploy(experiment: Experiment, record: RunRecord) -> Student:
    """The student of a run, with its fold's scaling and a temperature chosen on its validation windows.

    A DeployError where the run's network takes more than video, or is one of your own.
    """
    network = record.model()
    if not {"video"} <= set(network.inputs) <= {"video", "frame_mask"}:
        needs = ", ".join(network.inputs)
        raise DeployError(f"run {record.name}: its network takes {needs}; choose a run that takes video only")
    recipe = record.spec["recipe"]
    if "model" in recipe.get("source", ()):
        raise DeployError(f"run {record.name}: its network is one of your own, which no other place can build")
    windows, params, parts = experiment.study.windows, experiment.study.params, experiment.split.parts()
    normaliser = Normaliser.fit(windows, parts["train"])
    labels = experiment.study.labels(experiment.target)[parts["val"]]
    temperature = calibrated_temperature(record.logits[parts["val"]], labels)
    mean, scale = (torch.from_numpy(v).float() for v in (normaliser.video_mean, normaliser.video_scale))
    about = {
        "format": FORMAT,
        "model": recipe.get("deployed") or recipe["model"],
        "family": record.spec["family"],
        "target": experiment.target,
        "extractor": params.extractor,
        "extractor_version": open_extractor(params.extractor).version,
        "crop": "centre" if params.is_twin else params.crop,  # the twin's pictures are faces already
        "temperature": temperature,
        "run": run_key(record.spec)[:20],
        "method": record.name,
        "n_parameters": record.result["n_parameters"],
        "data": windows.meta["name"],
        "synthetic": bool(windows.meta.get("synthetic")),
        "protocol": params.protocol,
        "fold": experiment.fold,
        "seed": experiment.study.seed,
        "n_train": len(parts["train"]),
        "n_val": len(parts["val"]),
        "n_people": int(windows.index["subject"].iloc[parts["train"]].nunique()),
        "package": __version__,
    }
    return Student(StandaloneStudent(network, mean, scale, temperature).eval(), about)


def export_run(params: Params, method: str, out: Path) -> str:
    """Export the student of fold 0 trained by any video-only recipe; returns why there is no ONNX file, or ""."""
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):  # told before anything is trained
        raise FileExistsError(f"--out {out}: exists and is not empty; choose another folder or remove it")
    experiment = Experiment(Study(params), params.target, fold=0)
    record = experiment.run(method, progress=True)
    student = deploy(experiment, record)
    scores = card_scores(record.folder, student.about["temperature"], np.random.default_rng(params.seed))
    export_student(student, out, model_card(student.about, scores))
    return onnx_missing()


def export_student(student: Student, out: Path, card: str, onnx: bool | None = None) -> Path:
    """Write a folder that holds all that answering needs; it appears complete or not at all.

    `out` must not exist, or be empty (FileExistsError). With ``student.onnx`` if `onnx`; None: where it can be made.
    """
    with new_folder(out) as folder:
        save_file({name: t.contiguous() for name, t in student.module.state_dict().items()}, folder / WEIGHTS)
        (folder / ABOUT).write_text(json.dumps(student.about, indent=1) + "\n", encoding="utf-8")
        (folder / CARD).write_text(card, encoding="utf-8")
        if onnx or (onnx is None and not onnx_missing()):
            write_onnx(student, folder)
    return Path(out)


def load_student(folder: Path) -> Student:
    """Read an exported student; a DeployError if a file is missing or damaged, or features are computed otherwise."""
    about = read_about(folder)
    try:
        network = build_model(about["model"], seed=0, family=about["family"])
        module = StandaloneStudent(network, torch.zeros(N_VIDEO_FEATURES), torch.ones(N_VIDEO_FEATURES), 1.0)
        module.load_state_dict(load_file(Path(folder) / WEIGHTS))
    except Exception as error:  # a damaged file can raise nearly anything
        reason = str(error).splitlines()[0]
        raise DeployError(f"{Path(folder) / WEIGHTS}: expected the weights of a student ({reason}); {AGAIN}") from error
    return Student(module.eval(), about)


def read_about(folder: Path) -> dict:
    """What an exported student is; errors as in :func:`load_student`."""
    path = Path(folder) / ABOUT
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        if about["format"] != FORMAT:
            raise ValueError(f"format {about['format']}, this package reads {FORMAT}")
        here, there = open_extractor(about["extractor"]).version, about["extractor_version"]
    except OSError as error:
        raise DeployError(f"{folder}: not the folder of an exported student, {ABOUT} is missing; {AGAIN}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DeployError(f"{path}: expected the description of a student ({error}); {AGAIN}") from error
    if here != there:
        raise DeployError(f"{path}: made with features {there!r}, this package computes {here!r}; {AGAIN}")
    return about


def onnx_missing(names: tuple[str, ...] = ("onnx", "onnxscript", "onnxruntime")) -> str:
    """Why there can be no ONNX here, as a sentence; "" where all packages are installed."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    return f"ONNX needs {', '.join(missing)}, not installed here; run: pip install -e '.[onnx]'" if missing else ""


def write_onnx(student: Student, folder: Path) -> Path:
    """Write ``student.onnx``: ``video`` (n, 5, 768) and ``frame_mask`` (n, 5) to ``logits`` (n, 2) and ``p_high`` (n,).

    A DeployError where a package is missing, or the file does not say what torch says.
    """
    if reason := onnx_missing():
        raise DeployError(reason)
    import onnx

    path, windows = Path(folder) / ONNX, torch.export.Dim("n_windows")
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it reports every optional package that it could use
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"torch\b|onnxscript\b|copyreg")
            program = torch.onnx.export(
                student.module,
                # Two or more windows: the exporter takes a length of 1 for a constant.
                tuple(map(torch.from_numpy, random_windows(2, np.random.default_rng(0)))),
                dynamo=True,
                verbose=False,
                input_names=["video", "frame_mask"],
                output_names=["logits", "p_high"],
                dynamic_shapes={"video": {0: windows}, "frame_mask": {0: windows}},
            )
    finally:
        logger.setLevel(level)
    proto = program.model_proto
    nodes = [*proto.graph.node, *(node for function in proto.functions for node in function.node)]
    for part in (proto, proto.graph, *proto.functions, *nodes, *proto.graph.value_info, *proto.graph.input):
        # The exporter notes where in which source file each part was made: places of this machine.
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    onnx.save(proto, path)
    if (worst := parity(student, OnnxStudent(path), np.random.default_rng(1))) > TOLERANCE:
        raise DeployError(f"{path}: differs from torch by {worst:.1e}; use the torch weights instead")
    return path


class OnnxStudent:
    """An exported student run by onnxruntime on one core; answers as :class:`Student` does."""

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
        return tuple(self._session.run(None, {"video": video, "frame_mask": frame_mask}))


def random_windows(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Features in [0, 1), as histograms have them, and a mask; the last window has no frame at all."""
    video, mask = rng.random((n, N_FRAMES, N_VIDEO_FEATURES), dtype=np.float32), rng.random((n, N_FRAMES)) < 0.8
    mask[-1] = False
    return video, mask


def parity(
    student: Student, other: OnnxStudent, rng: np.random.Generator, sizes: tuple[int, ...] = (1, 7, 64)
) -> float:
    """Largest difference of logits or P(high) between two ways to run a student, on random windows."""
    windows = [random_windows(n, rng) for n in sizes]
    pairs = [pair for given in windows for pair in zip(student(*given), other(*given), strict=True)]
    return max(float(np.abs(a - b).max()) for a, b in pairs)
