"""A finished run on disk: its folder, its key, and reading it back."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ..config import home
from ..models import build_model
from .recipes import Recipe


class RunError(RuntimeError):
    """A stored run cannot be read, or does not hold what its key says."""


@dataclass(frozen=True)
class RunRecord:
    """A finished run as stored."""

    spec: dict  # everything that decides the result; its hash is the key
    log: pd.DataFrame  # of the epochs; empty for kinds that train no network
    logits: np.ndarray  # (n_windows, n_classes), float32, of all windows, in evaluation mode
    kept: np.ndarray  # (n_steps, n_guides), bool: which guides spoke in each mini-batch
    # `seconds`, `data` (what the windows may be called), `environment` (device, precision, versions); of a network
    # `chosen_epoch`, `n_parameters`, of a fused one `eeg_share` (%); of other kinds what they chose.
    result: dict
    folder: Path
    recipe: Recipe | None = None  # needed for the network of a model of your own

    @property
    def name(self) -> str:
        return self.spec["recipe"]["name"]

    def model(self) -> nn.Module:
        """The trained network, in evaluation mode; RunError where there is none, or its weights are damaged."""
        recipe, path = self.spec["recipe"], self.folder / "weights.safetensors"
        if "model" not in recipe:
            raise RunError(f"run {self.name} is of kind {recipe['kind']}, which holds no network")
        own = "model" in recipe.get("source", ())
        if own and self.recipe is None:
            raise RunError(f"run {self.name} has a model of your own; ask Experiment.run(recipe) for the record")
        model = build(self.recipe.model if own else recipe.get("deployed") or recipe["model"], 0, self.spec["family"])
        try:
            _check(path, self.result["files"][path.name])
            model.load_state_dict(load_file(path))
        except Exception as error:
            raise RunError(f"run {self.folder.name} cannot be read ({error}); run it again") from error
        return model.eval()


def build(model: str | Callable, seed: int, family: str) -> nn.Module:
    if isinstance(model, str):
        return build_model(model, seed, family)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return model()


def run_key(spec: dict) -> str:
    """SHA-256 of the canonical JSON of a run's specification."""
    return hashlib.sha256(json.dumps(spec, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def run_folder(name: str, key: str) -> Path:
    """Where a run is stored, finished or not."""
    return home() / "runs" / f"{name}-{key[:20]}"


def store_run(record: RunRecord, model: nn.Module | None, identity: dict[str, np.ndarray], *, again: bool) -> None:
    """Write a run's folder under a temporary name and rename it; one that is there is kept, or replaced by `again`."""
    mark = f"{os.getpid()}-{time.time_ns():x}"
    temporary, old = (record.folder.with_name(f".{name}-{mark}") for name in ("unfinished", "old"))
    temporary.mkdir(parents=True)
    try:
        (temporary / "spec.json").write_text(json.dumps(record.spec, indent=1))
        record.log.to_csv(temporary / "epochs.csv", index=False)
        np.savez(temporary / "outputs.npz", logits=record.logits, kept=record.kept, **identity)
        if model is not None:
            save_file(model.state_dict(), temporary / "weights.safetensors")
        files = {path.name: _digest(path) for path in sorted(temporary.iterdir())}
        (temporary / "result.json").write_text(json.dumps(record.result | {"files": files}, indent=1))
        if again and record.folder.exists():
            record.folder.rename(old)
        with contextlib.suppress(OSError) if record.folder.exists() else contextlib.nullcontext():
            temporary.rename(record.folder)
    finally:
        for leftover in (temporary, old):
            shutil.rmtree(leftover, ignore_errors=True)


def read_run(folder: Path, key: str = "") -> RunRecord:
    """Read a stored run; RunError where a file is missing, is not what was stored, or the key is not `key`."""
    try:
        result, spec = (json.loads((folder / f"{name}.json").read_text()) for name in ("result", "spec"))
        for name, digest in result["files"].items():
            _check(folder / name, digest)
        if key and run_key(spec) != key:
            raise ValueError("it was made from another specification")
        with np.load(folder / "outputs.npz") as outputs, contextlib.suppress(pd.errors.EmptyDataError):
            log, logits, kept = pd.DataFrame(), outputs["logits"], outputs["kept"]
            log = pd.read_csv(folder / "epochs.csv")
        return RunRecord(spec, log, logits, kept, result, folder)
    except Exception as error:
        raise RunError(f"run folder {folder.name} cannot be read ({error}); delete it and run again") from error


def set_aside(folder: Path, error: Exception) -> None:
    """Move a damaged run away, so that it is made anew; a warning says where it is."""
    aside = folder.with_name(f".damaged-{folder.name}-{time.time_ns():x}")
    with contextlib.suppress(FileNotFoundError):  # another process was faster
        folder.rename(aside)
    warnings.warn(f"{error}: set aside as {aside.name}, made anew", stacklevel=3)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _check(path: Path, digest: str) -> None:
    if _digest(path) != digest:
        raise ValueError(f"{path.name} is not what was stored")
