"""A student with everything it needs: scaling, network, temperature, and what it was made from."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from .. import __version__
from ..data.extractors import extractor as open_extractor
from ..data.files.new_folder import new_folder
from ..data.normalise import VIDEO_CLIP, Normaliser
from ..experiments.derived import calibrated_temperature
from ..experiments.records import RunRecord, run_key
from ..experiments.runs import Experiment
from ..models.registry import build_model
from .errors import DeployError

FORMAT = 1  # raise when the content of the folder changes
WEIGHTS, ABOUT, CARD = "weights.safetensors", "about.json", "model_card.md"
AGAIN = "export the student again"


class StandaloneStudent(nn.Module):
    """From raw features to P(high): scaling, network and temperature in one module.

    Parameters
    ----------
    network : Module
        A video-only student.
    mean, scale : Tensor, shape (768,)
        Of the features over the training frames of the network's fold.
    temperature : float
        Divides the logits before P(high).
    """

    def __init__(self, network: nn.Module, mean: Tensor, scale: Tensor, temperature: float):
        super().__init__()
        self.network = network
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)
        self.register_buffer("temperature", torch.tensor(float(temperature)))

    def forward(self, video: Tensor, frame_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Answer windows.

        Parameters
        ----------
        video : Tensor, shape (n_windows, 5, 768)
            Features as the extractor gives them.
        frame_mask : Tensor, shape (n_windows, 5), bool
            False where there is no frame; its features may hold anything finite.

        Returns
        -------
        logits : Tensor, shape (n_windows, 2)
            Of low and high, as the network gives them.
        p_high : Tensor, shape (n_windows,)
            After the temperature.
        """
        z = ((video - self.mean) / self.scale).clamp(-VIDEO_CLIP, VIDEO_CLIP)
        given = {"video": torch.where(frame_mask.unsqueeze(-1), z, torch.zeros_like(z)), "frame_mask": frame_mask}
        logits = self.network(*(given[name] for name in self.network.inputs)).logits
        return logits, torch.sigmoid((logits[:, 1] - logits[:, 0]) / self.temperature)


@dataclass(frozen=True)
class Student:
    """A finished student and what it is.

    Attributes
    ----------
    module : StandaloneStudent
        In evaluation mode.
    about : dict
        ``model, family, target, extractor, extractor_version, crop, temperature``; of its origin ``run, method, data,
        synthetic, protocol, fold, seed, n_train, n_val, package``.
    """

    module: StandaloneStudent
    about: dict

    @torch.no_grad()
    def __call__(self, video: np.ndarray, frame_mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Logits, shape (n_windows, 2), and P(high), shape (n_windows,); see :class:`StandaloneStudent`."""
        logits, p_high = self.module(torch.from_numpy(video), torch.from_numpy(frame_mask))
        return logits.numpy(), p_high.numpy()


def deploy(experiment: Experiment, record: RunRecord) -> Student:
    """The student of a run, with its fold's scaling and a temperature chosen on its validation windows.

    Raises
    ------
    DeployError
        The run's network takes more than video.
    """
    network = record.model()
    if not {"video"} <= set(network.inputs) <= {"video", "frame_mask"}:
        raise DeployError(
            f"run {record.name}: its network takes {', '.join(network.inputs)}; choose a run that takes video only"
        )
    windows, params, parts = experiment.study.windows, experiment.study.params, experiment.split.parts()
    normaliser = Normaliser.fit(windows, parts["train"])
    labels = experiment.study.labels(experiment.target)
    temperature = calibrated_temperature(record.logits[parts["val"]], labels[parts["val"]])
    mean, scale = (torch.from_numpy(v).float() for v in (normaliser.video_mean, normaliser.video_scale))
    about = {
        "format": FORMAT,
        "model": record.spec["recipe"]["deployed"] or record.spec["recipe"]["model"],
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


def export_student(
    student: Student, out: Path, card: str, write_more: Callable[[Student, Path], object] | None = None
) -> Path:
    """Write a folder that holds all that answering needs; it appears complete or not at all.

    Parameters
    ----------
    student : Student
    out : Path
        A folder that does not exist yet, or is empty.
    card : str
        Text of ``model_card.md``.
    write_more : callable, optional
        Gets the student and the unfinished folder, for instance :func:`.onnx_file.write_onnx`.

    Returns
    -------
    Path
        `out`, with ``weights.safetensors``, ``about.json`` and ``model_card.md``.

    Raises
    ------
    FileExistsError
        `out` exists and is not an empty folder; nothing in it is touched.
    """
    with new_folder(out) as folder:
        save_file({name: t.contiguous() for name, t in student.module.state_dict().items()}, folder / WEIGHTS)
        (folder / ABOUT).write_text(json.dumps(student.about, indent=1) + "\n", encoding="utf-8")
        (folder / CARD).write_text(card, encoding="utf-8")
        if write_more is not None:
            write_more(student, folder)
    return Path(out)


def load_student(folder: Path) -> Student:
    """Read an exported student.

    Raises
    ------
    DeployError
        The folder or a file of it is missing or damaged, or its features are computed otherwise here.
    """
    about = read_about(folder)
    try:
        network = build_model(about["model"], seed=0, family=about["family"])
        module = StandaloneStudent(network, torch.zeros(768), torch.ones(768), 1.0)
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
