"""A student with everything it needs: scaling, network, temperature; the same as one ONNX file; and its model card:
what it is for, was measured on, and must not be used for (Mitchell et al., FAT* 2019).
"""

from __future__ import annotations

import json
import logging
import shutil
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from scipy import stats
from torch import Tensor, nn

from .. import __version__
from ..config import Params, home
from ..data.constants import N_FRAMES, N_VIDEO_FEATURES
from ..data.features import extractor as open_extractor
from ..data.load import new_folder
from ..data.types import VIDEO_CLIP, Normaliser
from ..experiments.losses import calibrated_temperature
from ..experiments.runs import Experiment, RunRecord, run_key
from ..experiments.study import Study
from ..models import build_model
from ..results.metrics import calibration_error, error_if_calibrated, high_probability, score, trial_codes
from ..results.paper import PROTOCOL_NAMES
from ..results.tables import as_markdown
from .clip import DeployError

FORMAT = 1  # raise when the content of the folder changes
WEIGHTS, ABOUT, CARD, ONNX = "weights.safetensors", "about.json", "model_card.md", "student.onnx"
TOLERANCE = 1e-5  # largest difference of ONNX to torch that is accepted
TWIN_WARNING = (
    "**This student was trained on a synthetic twin: drawn faces and computed EEG. It has never met a person. "
    "What it says about a real face means nothing, neither about that face nor about people.**"
)
FILES_WARNING = (
    "**What this student says is an estimate of what a rater said about a film, not of what a person feels. "
    "It must not be used to judge people.**"
)


class StandaloneStudent(nn.Module):
    """From raw features to P(high): scaling, network and temperature in one module; `mean`, `scale` of shape (768,)."""

    def __init__(self, network: nn.Module, mean: Tensor, scale: Tensor, temperature: float):
        super().__init__()
        self.network = network
        for name, value in {"mean": mean, "scale": scale, "temperature": torch.tensor(float(temperature))}.items():
            self.register_buffer(name, value)

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

    module: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    about: dict

    @torch.no_grad()
    def __call__(self, video: np.ndarray, frame_mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        logits, p_high = self.module(torch.from_numpy(video), torch.from_numpy(frame_mask))
        return logits.numpy(), p_high.numpy()


def deploy(experiment: Experiment, record: RunRecord) -> Student:
    """The student of a run, with its fold's scaling and a temperature chosen on its validation windows.

    A DeployError where the run's network takes more than video, or is one of your own.
    """
    network, recipe, study = record.model(), record.spec["recipe"], experiment.study
    if not {"video"} <= set(network.inputs) <= {"video", "frame_mask"}:
        needs = ", ".join(network.inputs)
        raise DeployError(f"run {record.name}: its network takes {needs}; choose a run that takes video only")
    if "model" in recipe.get("source", ()):
        raise DeployError(f"run {record.name}: its network is one of your own, which no other place can build")
    windows, params, parts = study.windows, study.params, experiment.split.parts()
    normaliser = Normaliser.fit(windows, parts["train"])
    temperature = calibrated_temperature(record.logits[parts["val"]], study.labels(experiment.target)[parts["val"]])
    mean, scale = (torch.from_numpy(v).float() for v in (normaliser.video_mean, normaliser.video_scale))
    about = {"format": FORMAT, "target": experiment.target, "temperature": temperature, "package": __version__}
    about |= {"model": recipe.get("deployed") or recipe["model"], "family": record.spec["family"]}
    about |= {"extractor": params.extractor, "extractor_version": open_extractor(params.extractor).version}
    about |= {"crop": "centre" if params.is_twin else params.crop}  # the twin's pictures are faces already
    about |= {"run": run_key(record.spec)[:20], "method": record.name, "n_parameters": record.result["n_parameters"]}
    about |= {"data": windows.meta["name"], "synthetic": bool(windows.meta.get("synthetic")), "seed": study.seed}
    about |= {"protocol": params.protocol, "fold": experiment.fold}
    about |= {"n_train": len(parts["train"]), "n_val": len(parts["val"])}
    about |= {"n_people": int(windows.index["subject"].iloc[parts["train"]].nunique())}
    return Student(StandaloneStudent(network, mean, scale, temperature).eval(), about)


def export_run(params: Params, method: str, out: Path) -> str:
    """Export the student of fold 0 trained by any video-only recipe; returns why there is no ONNX file, or ""."""
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):  # told before anything is trained
        raise FileExistsError(f"--out {out}: exists and is not empty; choose another folder or remove it")
    experiment = Experiment(Study(params), params.target, fold=0)
    export(experiment, experiment.run(method, progress=True), out)
    return onnx_missing()


def export(experiment: Experiment, record: RunRecord, out: Path | None = None) -> Path:
    """Write the student of a run and its card as a folder that stands alone; in the home it replaces the one before."""
    student = deploy(experiment, record)
    if out is None:
        shutil.rmtree(home() / "students" / student.about["run"], ignore_errors=True)
    rng = np.random.default_rng(experiment.study.params.seed)
    card = model_card(student.about, card_scores(record.folder, student.about["temperature"], rng))
    return export_student(student, out or home() / "students" / student.about["run"], card)


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


def load_student(folder: Path, runtime: str = "torch") -> Student:
    """Read an exported student, to be run by ``torch`` or by ``onnx``.

    A DeployError if a file is missing or damaged, or this package computes other features.
    """
    folder = Path(folder)
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        there = about["format"], about["extractor_version"]
        if there != (here := (FORMAT, open_extractor(about["extractor"]).version)):
            raise ValueError(f"format and features {there}, this package has {here}")
        if runtime == "onnx":
            return Student(_onnx_module(folder / ONNX), about)
        network, ones = build_model(about["model"], seed=0, family=about["family"]), torch.ones(N_VIDEO_FEATURES)
        module = StandaloneStudent(network, ones, ones.clone(), 1.0)
        module.load_state_dict(load_file(folder / WEIGHTS))
    except Exception as error:  # a damaged file can raise nearly anything
        reason = str(error).splitlines()[0]
        raise DeployError(f"{folder}: cannot be used as a student ({reason}); export it again") from error
    return Student(module.eval(), about)


def card_scores(folder: Path, temperature: float, rng: np.random.Generator) -> pd.DataFrame:
    """What the record of a run says about its test parts, one row each.

    ``protocol, n_windows, n_trials, n_people, accuracy, majority, balanced_accuracy, auc, brier`` (with temperature);
    ``low, high``: 95 % BCa interval of the accuracy over people, weighted by windows; ``ece_before, ece_after`` the
    temperature, and ``ece_floor``: 95th percentile of what true probabilities would show on so many trials.
    """
    with np.load(Path(folder) / "outputs.npz") as stored:
        outputs = dict(stored)
    rows = []
    for name in [name for name in outputs if name.startswith("test_")]:
        y, logits, subject, trial = (outputs[key][outputs[name]] for key in ("labels", "logits", "subject", "trial"))
        before, after = high_probability(logits), high_probability(logits / temperature)
        code = trial_codes(subject, trial)
        right, size = pd.Series((after > 0.5) == y).groupby(subject).agg(["sum", "size"]).to_numpy(float).T
        low = high = np.nan
        if np.ptp(right / size) > 1e-12:  # people who do not differ say nothing about their spread
            share = lambda right, size, axis: right.sum(axis=axis) / size.sum(axis=axis)  # noqa: E731
            found = stats.bootstrap((right, size), share, paired=True, n_resamples=4999, rng=rng)
            low, high = found.confidence_interval
        row = {"protocol": name.removeprefix("test_"), "n_windows": len(y), "n_trials": len(set(code))}
        row |= {"n_people": len(size), "low": low, "high": high} | score(y, after)
        row |= {"ece_before": calibration_error(y, before), "ece_after": calibration_error(y, after)}
        rows.append(row | {"ece_floor": float(np.quantile(error_if_calibrated(after, code, rng), 0.95))})
    return pd.DataFrame(rows)


def model_card(about: Mapping[str, object], scores: pd.DataFrame) -> str:
    """Text of the card, Markdown; `about` is ``Student.about``, `scores` come from :func:`card_scores`."""
    rows = {}
    for r in scores.itertuples():
        interval = f"[{100 * r.low:.1f}, {100 * r.high:.1f}]" if np.isfinite(r.low) else "(too few people)"
        rows[PROTOCOL_NAMES.get(r.protocol, r.protocol)] = {
            "windows / trials / people": f"{r.n_windows} / {r.n_trials} / {r.n_people}",
            "accuracy (%)": f"{100 * r.accuracy:.1f} {interval}",
            "majority class (%)": f"{100 * r.majority:.1f}",
            "balanced accuracy (%)": f"{100 * r.balanced_accuracy:.1f}",
            "AUC": f"{r.auc:.3f}",
            "Brier": f"{r.brier:.3f}",
            "calibration error": f"{r.ece_before:.3f} → {r.ece_after:.3f} (if true: up to {r.ece_floor:.3f})",
        }
    table = as_markdown(pd.DataFrame.from_dict(rows, orient="index").rename_axis("test part"))
    warning = TWIN_WARNING if about["synthetic"] else FILES_WARNING
    return (
        (resources.files(__package__) / "card.md")
        .read_text(encoding="utf-8")
        .format(**about, scores=table, warning=warning)
    )


def onnx_missing() -> str:
    """Why there can be no ONNX here, as a sentence; "" where all packages are installed."""
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    return f"ONNX needs {', '.join(missing)}, not installed here; run: pip install -e '.[onnx]'" if missing else ""


def write_onnx(student: Student, folder: Path) -> Path:
    """Write ``student.onnx``: ``video`` (n, 5, 768) and ``frame_mask`` (n, 5) to ``logits`` (n, 2) and ``p_high`` (n,).

    A DeployError where a package is missing, an AssertionError where the file does not say what torch says.
    """
    if reason := onnx_missing():
        raise DeployError(reason)
    import onnx

    path, windows = Path(folder) / ONNX, torch.export.Dim("n_windows")
    # Two or more windows: the exporter takes a length of 1 for a constant.
    given = torch.rand(2, N_FRAMES, N_VIDEO_FEATURES), torch.tensor([[True] * N_FRAMES, [False] * N_FRAMES])
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it reports every optional package that it could use
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"torch\b|onnxscript\b|copyreg")
        names = {"input_names": ["video", "frame_mask"], "output_names": ["logits", "p_high"]}
        shapes = {"video": {0: windows}, "frame_mask": {0: windows}}
        made = torch.onnx.export(student.module, given, dynamo=True, verbose=False, dynamic_shapes=shapes, **names)
    proto = made.model_proto
    nodes = [*proto.graph.node, *(node for function in proto.functions for node in function.node)]
    for part in (proto, proto.graph, *proto.functions, *nodes, *proto.graph.value_info, *proto.graph.input):
        # The exporter notes where in which source file each part was made: places of this machine.
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    onnx.save(proto, path)
    torch.testing.assert_close(_onnx_module(path)(*given), student.module(*given), rtol=0, atol=TOLERANCE)
    return path


def _onnx_module(path: Path) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # a damaged file is told once, by the error
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def module(video: Tensor, frame_mask: Tensor) -> tuple[Tensor, Tensor]:
        return tuple(
            map(torch.from_numpy, session.run(None, {"video": video.numpy(), "frame_mask": frame_mask.numpy()}))
        )

    return module
