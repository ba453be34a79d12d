"""Versions of the code behind a run, part by part, so that old results are never taken for those of new code."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from pathlib import Path

from .recipes import Recipe

PACKAGE = Path(__file__).parents[1]
# Raise a part's version when a change of its sources changes results: its runs, and all they guide, get new keys.
VERSIONS = {
    "training": 3,
    **dict.fromkeys(("model/compact", "model/reference"), 1),
    **dict.fromkeys(("model/face_cnn", "model/eeg_lstm", "model/dgc_jca", "model/emotionkd_teacher"), 1),
    "model/ambokd": 1,
    **dict.fromkeys(("loss/ce", "loss/dense", "loss/rebalanced", "loss/ogm_ge", "loss/pmr", "loss/fitnets"), 1),
    **dict.fromkeys(("loss/nst", "loss/emotionkd", "loss/ambokd", "loss/released_dense"), 1),
    **dict.fromkeys(("kind/svm", "kind/late_fusion", "kind/bagged", "kind/oof", "kind/oracle"), 1),
    **dict.fromkeys(("kind/oracle_eeg", "kind/shuffled", "kind/report"), 1),
}
_DERIVED = "experiments/derived.py"
# How windows become files is not here: the code that prepares them is in the windows' own key.
SOURCES: dict[str, tuple[str, ...]] = {
    "training": (
        *("experiments/runs.py", "experiments/learner.py", "experiments/losses.py", "experiments/study.py"),
        *("experiments/naming.py", "experiments/few_labels.py"),
        *("training/loop.py", "training/inputs.py", "training/settings.py", "training/device.py"),
        "training/precision.py",
        "methods/loss.py",
        *("models/registry.py", "models/output.py", "models/frontend.py"),
        *("data/normalise.py", "data/eeg_features.py", "data/entropy.py", "data/splits/*.py"),
    ),
    "model/compact": ("models/compact.py",),
    "model/reference": ("models/reference/*.py",),
    "model/face_cnn": ("models/baselines/face_cnn.py",),
    "model/eeg_lstm": ("models/baselines/eeg_lstm.py",),
    "model/dgc_jca": ("models/baselines/dgc_jca.py",),
    "model/emotionkd_teacher": ("models/compact_emotionkd.py", "models/compact.py"),
    "model/ambokd": ("models/peers.py",),
    "loss/ce": ("methods/loss.py",),
    "loss/dense": ("methods/distillation.py",),
    "loss/rebalanced": ("methods/rebalancing.py", "methods/prototypes.py"),
    "loss/ogm_ge": ("methods/ogm_ge.py", "methods/rebalancing.py", "methods/prototypes.py"),
    "loss/pmr": ("methods/pmr.py", "methods/rebalancing.py", "methods/prototypes.py"),
    "loss/fitnets": ("methods/fitnets.py", "methods/distillation.py"),
    "loss/nst": ("methods/nst.py",),
    "loss/emotionkd": ("methods/emotionkd.py", "methods/fitnets.py", "methods/distillation.py"),
    "loss/ambokd": ("methods/ambokd.py", "methods/distillation.py"),
    "loss/released_dense": ("methods/released.py", "methods/distillation.py"),
    "kind/svm": (_DERIVED, "methods/svm.py"),
    "kind/late_fusion": (_DERIVED, "methods/late_fusion.py"),
    **dict.fromkeys(("kind/bagged", "kind/oof", "kind/oracle", "kind/oracle_eeg", "kind/shuffled"), (_DERIVED,)),
    "kind/report": (_DERIVED, "methods/guide_report.py", "methods/video_prediction.py"),
}


def stage_versions(recipe: Recipe, family: str) -> dict[str, int]:
    """Versions of the parts of the code that a run goes through, as its specification holds them.

    Parameters
    ----------
    recipe : Recipe
    family : {"compact", "reference"}
    """
    if recipe.kind != "network":
        parts = [f"kind/{recipe.kind}"]
    else:
        parts = [f"loss/{recipe.loss}", f"model/{family}", f"model/{recipe.model}"]
    # A loss that is unknown is refused where it is built.
    return {part: VERSIONS[part] for part in ("training", *parts) if part in VERSIONS}


def stage_digests(package: Path = PACKAGE) -> dict[str, str]:
    """Digest of each part's sources, 16 hex digits; comments, docstrings and layout do not count.

    Parameters
    ----------
    package : Path
        Folder of the package.

    Raises
    ------
    FileNotFoundError
        A listed source does not exist.
    """
    return {part: _digest(package, part) for part in SOURCES}


def stage_sources(part: str, package: Path = PACKAGE) -> list[Path]:
    """The files behind a part, in order."""
    found: list[Path] = []
    for pattern in SOURCES[part]:
        paths = sorted(package.glob(pattern))
        if not paths:
            raise FileNotFoundError(f"stage {part}: no source {pattern}; correct SOURCES in experiments/stages.py")
        found += paths
    return found


def _digest(package: Path, part: str) -> str:
    digest = hashlib.sha256()
    for path in stage_sources(part, package):
        digest.update(f"{path.relative_to(package).as_posix()}\0{normalised(path.read_text('utf-8'))}\0".encode())
    return digest.hexdigest()[:16]


def normalised(source: str) -> str:
    """A module as its syntax tree, without docstrings and positions; alike under every version of Python."""
    return "".join(_dump(ast.parse(source)))


def _dump(node: object) -> Iterator[str]:
    if isinstance(node, list):
        for item in node:
            yield from _dump(item)
            yield ","
    elif not isinstance(node, ast.AST):
        yield repr(node)
    else:
        yield f"{type(node).__name__}("
        for name, value in ast.iter_fields(node):
            if name == "body" and isinstance(value, list) and _has_docstring(value):
                value = value[1:]
            if value is not None and value != []:  # versions of Python differ in the empty fields they have
                yield f"{name}="
                yield from _dump(value)
        yield ")"


def _has_docstring(body: list) -> bool:
    first = body[0] if body else None
    return isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
