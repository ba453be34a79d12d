"""A finished run on disk: its folder, its key, and reading it back."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from .. import __version__
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
        ``seconds``; of a network ``chosen_epoch`` and ``n_parameters``, of a fused one ``eeg_share`` (percent); of
        other kinds what they chose, such as ``video_share`` or ``temperature``.
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
            model.load_state_dict(load_file(self.folder / "weights.safetensors"))
        except Exception as error:
            raise RunError(
                f"run folder {self.folder.name} cannot be read ({error}); delete it and run again"
            ) from error
        return model.eval()


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
        environment = {"package": __version__, "torch": torch.__version__, "numpy": np.__version__}
        (temporary / "result.json").write_text(json.dumps(record.result | {"environment": environment}, indent=1))
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
        stored = json.loads((folder / "spec.json").read_text())
        result = json.loads((folder / "result.json").read_text())
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


def read_log(path: Path) -> pd.DataFrame:
    """An epoch log; an empty file is the log of a run without epochs."""
    return pd.read_csv(path) if path.read_text().strip() else pd.DataFrame()
