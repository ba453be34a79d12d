"""A run: one network trained on one fold, found again by the hash of everything that decides its result."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from .. import __version__
from ..config import home
from ..data.splits.split import Split
from ..models.registry import build_model
from ..training import Inputs, TrainSettings, fit, predict
from .recipes import RECIPES, Recipe
from .study import Study

# The random numbers of a run are drawn from (seed, fold, number of its architecture).
MODEL_NUMBER = {"teacher": 0, "ta1": 1, "ta2": 2, "student": 3, "eeg": 4, "video": 5}
STAGE_VERSION = 1  # raise when a change of code changes results, so that old runs are not taken for new ones


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
        The epoch log.
    logits : ndarray, shape (n_windows, 2), float32
        Of all windows, in evaluation mode.
    kept : ndarray, shape (n_steps, n_guides), bool
        Which guides spoke in each mini-batch; empty without guides.
    result : dict
        ``chosen_epoch``, ``seconds``, ``n_parameters``, and ``eeg_share`` (percent) of a fused model.
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
        """The trained network, in evaluation mode."""
        model = build_model(self.spec["recipe"]["model"], seed=0)
        try:
            model.load_state_dict(load_file(self.folder / "weights.safetensors"))
        except Exception as error:
            raise RunError(
                f"run folder {self.folder.name} cannot be read ({error}); delete it and run again"
            ) from error
        return model.eval()


@dataclass
class Experiment:
    """All recipes on one target and fold; networks are trained when first asked for, then read back.

    Attributes
    ----------
    study : Study
    target : {"valence", "arousal"}
    fold : int
    selection : str
        "best_val" or "last_epoch" for every network, guides included; "" leaves it to the recipes.
    """

    study: Study
    target: str
    fold: int
    selection: str = ""
    _records: dict[str, RunRecord] = field(default_factory=dict, repr=False)

    @cached_property
    def split(self) -> Split:
        return self.study.split(self.target, self.fold)

    @cached_property
    def inputs(self) -> Inputs:
        return self.study.inputs(self.target, self.fold)

    def recipe(self, recipe: str | Recipe) -> Recipe:
        """A recipe by name, under this experiment's selection rule."""
        recipe = RECIPES[recipe] if isinstance(recipe, str) else recipe
        return replace(recipe, selection=self.selection) if self.selection else recipe

    def settings(self, recipe: Recipe) -> TrainSettings:
        """Training settings of a recipe: one for all students, one for all larger networks."""
        scale = self.study.params.scale
        epochs = scale.student_epochs if recipe.model == "student" else scale.teacher_epochs
        return TrainSettings(epochs=epochs, selection=recipe.selection, patience=scale.patience)

    def spec(self, recipe: Recipe) -> dict:
        """Everything that decides the result, with the guides' keys standing for the guides."""
        return {
            "stage_version": STAGE_VERSION,
            "recipe": recipe.as_dict(),
            "training": self.settings(recipe).as_dict(),
            "data": self.study.windows.meta["key"],
            "target": self.target,
            "seed": self.study.seed,
            "fold": self.fold,
            "guides": [run_key(self.spec(self.recipe(g))) for g in recipe.guides],
        }

    def run(
        self,
        recipe: str | Recipe,
        *,
        on_epoch: Callable[[pd.DataFrame], None] | None = None,
        progress: bool = False,
        again: bool = False,
    ) -> RunRecord:
        """The record of a recipe: read back when it is stored, else trained, after its guides.

        Parameters
        ----------
        recipe : str or Recipe
            Name in ``RECIPES``, or a changed copy of one.
        on_epoch : callable, optional
            Gets the log so far after each epoch of a training.
        progress : bool
            Show a bar per training.
        again : bool
            Train even if the run is stored; an existing record is kept.

        Raises
        ------
        KeyboardInterrupt
            The training was interrupted: nothing is stored, an unfinished run must not enter a table.
        RunError
            The stored run is damaged.
        """
        recipe = self.recipe(recipe)
        spec = self.spec(recipe)
        folder = home() / "runs" / f"{recipe.name}-{run_key(spec)[:20]}"
        if not again and folder.is_dir():
            key = run_key(spec)
            if key not in self._records:
                self._records[key] = read_run(folder, spec)
            return self._records[key]
        return self._train(recipe, spec, folder, on_epoch, progress)

    def _train(self, recipe, spec, folder, on_epoch, progress) -> RunRecord:
        guide_logits = {g: torch.from_numpy(self.run(g, progress=progress).logits) for g in recipe.guides}
        # Learners of one architecture start equal and see equal batches, whatever teaches them: comparisons pair.
        seeds = np.random.SeedSequence([spec["seed"], self.fold, MODEL_NUMBER[recipe.model]])
        init, order, drop = (int(s) for s in seeds.generate_state(3))
        model = build_model(recipe.model, init)
        loss = recipe.loss(guide_logits, drop)
        label = f"{recipe.name} ({self.target}, fold {self.fold})" if progress else None
        done = fit(model, self.inputs, loss, self.settings(recipe), seed=order, on_epoch=on_epoch, progress=label)
        if done.interrupted:
            raise KeyboardInterrupt(f"training of {recipe.name} was interrupted; nothing was stored")
        output = predict(model, self.inputs, torch.arange(len(self.inputs.labels)))
        result = {
            "chosen_epoch": done.chosen_epoch,
            "seconds": float(done.log["seconds"].sum()),
            "n_parameters": sum(p.numel() for p in model.parameters()),
        }
        if hasattr(model, "eeg_share"):
            train = {name: value[self.inputs.train] for name, value in output.features.items()}
            result["eeg_share"] = 100 * model.eeg_share(train)
        kept = torch.stack(loss.kept_history).numpy() if recipe.guides else np.zeros((0, 0), bool)
        record = RunRecord(spec, done.log, output.logits.numpy(), kept, result, folder)
        store_run(record, model, self._identity())
        return record

    def _identity(self) -> dict[str, np.ndarray]:
        """What results need besides logits, so that they never touch the data."""
        windows, posterior = self.study.windows, self.study.windows.posterior(self.target)
        return {
            **self.split.parts(),
            "labels": self.study.labels(self.target),
            "subject": windows.index["subject"].to_numpy(),
            "trial": windows.index["trial"].to_numpy(),
            "posterior": np.zeros(0) if posterior is None else posterior,
        }


def run_key(spec: dict) -> str:
    """SHA-256 of the canonical JSON of a run's specification."""
    return hashlib.sha256(json.dumps(spec, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def store_run(record: RunRecord, model: nn.Module, identity: dict[str, np.ndarray]) -> None:
    """Write a run's folder under a temporary name and rename it; a folder already there is kept."""
    record.folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=record.folder.parent))
    try:
        (temporary / "spec.json").write_text(json.dumps(record.spec, indent=1))
        record.log.to_csv(temporary / "epochs.csv", index=False)
        np.savez(temporary / "outputs.npz", logits=record.logits, kept=record.kept, **identity)
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
        log = pd.read_csv(folder / "epochs.csv")
        with np.load(folder / "outputs.npz") as outputs:
            logits, kept = outputs["logits"], outputs["kept"]
    except Exception as error:
        raise RunError(f"run folder {folder.name} cannot be read ({error}); delete it and run again") from error
    if spec is not None and stored != json.loads(json.dumps(spec)):
        raise RunError(f"run folder {folder.name} was made from another specification; delete it and run again")
    return RunRecord(stored, log, logits, kept, result, folder)
