"""A finished run on disk: its folder, its key, and reading it back."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import tempfile
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from .. import __version__
from ..data.checksums import checksum
from ..models.registry import build_model


class RunError(RuntimeError):
    """A stored run cannot be read, or does not hold what its key says."""


@dataclass(frozen=True)
class RunRecord:
    """A finished run as stored.

    Attributes
    ----------
    spec : dict
        Everything that decides the result; its hash is the key.
    log : DataFrame
        The epoch log; empty for kinds that train no network.
    logits : ndarray, shape (n_windows, 2), float32
        Of all windows, in evaluation mode.
    kept : ndarray, shape (n_steps, n_guides), bool
        Which guides spoke in each mini-batch; empty without guides.
    result : dict
        ``seconds``, and ``data``: what the windows may be called; of a network ``chosen_epoch`` and
        ``n_parameters``, of a fused one ``eeg_share`` (percent); of other kinds what they chose, such as
        ``video_share`` or ``temperature``.
    folder : Path
    """

    spec: dict
    log: pd.DataFrame
    logits: np.ndarray
    kept: np.ndarray
    result: dict
    folder: Path

    @property
    def name(self) -> str:
        return self.spec["recipe"]["name"]

    def model(self) -> nn.Module:
        """The trained network, in evaluation mode.

        Raises
        ------
        RunError
            The run is of a kind that holds no network, or its weights are damaged.
        """
        recipe = self.spec["recipe"]
        if recipe["kind"] != "network":
            raise RunError(f"run {self.name} is of kind {recipe['kind']}, which holds no network")
        model = build_model(recipe["deployed"] or recipe["model"], seed=0, family=self.spec["family"])
        try:
            sums = json.loads((self.folder / "result.json").read_text())["files"]
            _verify(self.folder, sums, ["weights.safetensors"])
            model.load_state_dict(load_file(self.folder / "weights.safetensors"))
        except Exception as error:
            raise RunError(
                f"run folder {self.folder.name} cannot be read ({error}); delete it and run again"
            ) from error
        return model.eval()


@cache
def environment() -> dict[str, str]:
    """Versions that a record notes; they are no part of the key."""
    names = ("numpy", "pandas", "scikit-learn", "scipy")
    versions = {name: metadata.version(name) for name in names}
    return {"package": __version__, "python": platform.python_version(), "torch": torch.__version__} | versions


def run_key(spec: dict) -> str:
    """SHA-256 of the canonical JSON of a run's specification."""
    return hashlib.sha256(json.dumps(spec, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def store_run(record: RunRecord, model: nn.Module | None, identity: dict[str, np.ndarray]) -> None:
    """Write a run's folder under a temporary name and rename it; a folder already there is kept.

    Parameters
    ----------
    record : RunRecord
    model : Module or None
        None for kinds that train no network.
    identity : dict of str to ndarray
        Parts of the split, labels, subjects, trials, posterior: what results need besides the predictions.
    """
    record.folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=record.folder.parent))
    try:
        (temporary / "spec.json").write_text(json.dumps(record.spec, indent=1))
        record.log.to_csv(temporary / "epochs.csv", index=False)
        np.savez(temporary / "outputs.npz", logits=record.logits, kept=record.kept, **identity)
        if model is not None:
            save_file(model.state_dict(), temporary / "weights.safetensors")
        sums = {path.name: checksum(path) for path in sorted(temporary.iterdir())}
        result = record.result | {"environment": environment(), "files": sums}
        (temporary / "result.json").write_text(json.dumps(result, indent=1))
        if not record.folder.exists():
            os.replace(temporary, record.folder)
    except OSError:
        if not record.folder.exists():  # another process may have finished the same run first
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def read_run(folder: Path, spec: dict | None = None) -> RunRecord:
    """Read a stored run.

    Parameters
    ----------
    folder : Path
    spec : dict, optional
        What the run must have been made from.

    Raises
    ------
    RunError
        A file is missing or damaged, or the stored specification is another one.
    """
    try:
        result = json.loads((folder / "result.json").read_text())
        _verify(folder, result["files"], ["epochs.csv", "outputs.npz"])
        stored = json.loads((folder / "spec.json").read_text())
        log = read_log(folder / "epochs.csv")
        with np.load(folder / "outputs.npz") as outputs:
            logits, kept = outputs["logits"], outputs["kept"]
        if log.empty and stored["recipe"]["kind"] == "network":
            raise ValueError("epochs.csv is empty")
    except Exception as error:
        raise RunError(f"run folder {folder.name} cannot be read ({error}); delete it and run again") from error
    if spec is not None and stored != json.loads(json.dumps(spec)):
        raise RunError(f"run folder {folder.name} was made from another specification; delete it and run again")
    return RunRecord(stored, log, logits, kept, result, folder)


def check_run(folder: Path, key: str) -> None:
    """Compare a stored run with its checksums and its key, without reading it.

    Raises
    ------
    RunError
        A file is missing or damaged, or the run was made from another specification.
    """
    try:
        sums = json.loads((folder / "result.json").read_text())["files"]
        _verify(folder, sums, [name for name in sums if name != "weights.safetensors"])
        stored = run_key(json.loads((folder / "spec.json").read_text()))
    except Exception as error:
        raise RunError(f"run folder {folder.name} cannot be read ({error}); delete it and run again") from error
    if stored != key:
        raise RunError(f"run folder {folder.name} was made from another specification; delete it and run again")


def read_log(path: Path) -> pd.DataFrame:
    """An epoch log; an empty file is the log of a run without epochs."""
    return pd.read_csv(path) if path.read_text().strip() else pd.DataFrame()


def _verify(folder: Path, sums: dict[str, str], names: list[str]) -> None:
    for name in names:
        if checksum(folder / name) != sums[name]:
            raise ValueError(f"{name} is not what was stored")
