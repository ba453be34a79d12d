"""A run: one recipe on one fold, found again by the hash of everything that decides its result."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ..config import home
from ..data.splits.protocols import Fold
from ..data.splits.split import LeakError, Split
from ..models.registry import n_parameters
from ..training import Inputs, TrainSettings, fit, predict
from ..training.checkpoint import discard
from ..training.device import training_device
from ..training.precision import training_precision
from ..training.settings import training_batch_size
from .derived import derive
from .learner import Learner, fresh_learner
from .losses import Guide
from .naming import find_recipe
from .recipes import Recipe
from .records import RunError, RunRecord, read_run, run_key, store_run
from .stages import stage_versions
from .study import Study

__all__ = ["Experiment", "RunError", "RunRecord", "read_run", "run_key", "store_run"]

FAMILY_TRAINING = {
    "compact": {},
    # The paper's optimiser and batch; the same for every row (method.md, sections 3.2 and 4.4).
    "reference": {"optimizer": "adam", "learning_rate": 1e-4, "batch_size": 128, "weight_decay": 0.0},
}


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
    _keys: dict[str, str] = field(default_factory=dict, repr=False)

    @cached_property
    def split(self) -> Split | Fold:
        return self.study.split(self.target, self.fold)

    @cached_property
    def inputs(self) -> Inputs:
        return self.study.inputs(self.target, self.fold)

    @cached_property
    def on_device(self) -> Inputs:
        """The inputs where networks are trained."""
        return self.inputs.to(training_device())

    def recipe(self, recipe: str | Recipe) -> Recipe:
        """A recipe by name, under this experiment's selection rule and tuning budget."""
        recipe = find_recipe(recipe) if isinstance(recipe, str) else recipe
        recipe = replace(recipe, grid=recipe.grid[: self.study.params.scale.tuning_budget - 1])
        return replace(recipe, selection=self.selection) if self.selection else recipe

    def settings(self, recipe: Recipe) -> TrainSettings:
        """Training settings of a recipe: one for all students, one for all larger networks."""
        scale, family = self.study.params.scale, self.study.params.model_family
        epochs = scale.student_epochs if recipe.model in ("student", "ambokd") else scale.teacher_epochs
        settings = TrainSettings(epochs, selection=recipe.selection, patience=scale.patience, **FAMILY_TRAINING[family])
        chosen = {"precision": training_precision(), "batch_size": training_batch_size(settings.batch_size)}
        return replace(settings, **chosen | recipe.training)

    def spec(self, recipe: Recipe) -> dict:
        """Everything that decides the result, with the guides' keys standing for the guides."""
        return {
            "stages": stage_versions(recipe, self.study.params.model_family),
            "recipe": recipe.as_dict(),
            "family": self.study.params.model_family,
            "training": self.settings(recipe).as_dict(),
            "data": self.study.data_key,
            "protocol": self.study.params.protocol,
            "n_folds": self.study.params.scale.dealt_folds,
            "target": self.target,
            "seed": self.study.seed,
            "fold": self.fold,
            "guides": [self._guide_key(name) for name in recipe.guides],
        }

    def _guide_key(self, name: str) -> str:
        if name not in self._keys:
            self._keys[name] = run_key(self.spec(self.recipe(name)))
        return self._keys[name]

    def variants(self, recipe: str | Recipe) -> list[Recipe]:
        """The runs behind a recipe: itself, or every setting that the tuning budget allows."""
        recipe = self.recipe(recipe)
        # The grid is cut off here, so these runs are the same as those of a smaller budget.
        return [replace(recipe.but(**other), grid=()) for other in ({}, *recipe.grid)]

    def run(
        self,
        recipe: str | Recipe,
        *,
        on_epoch: Callable[[pd.DataFrame], None] | None = None,
        progress: bool = False,
        again: bool = False,
        watch: Callable[[Learner], Callable[[pd.DataFrame], None]] | None = None,
    ) -> RunRecord:
        """The record of a recipe: read back when it is stored, else trained, after its guides.

        Parameters
        ----------
        recipe : str or Recipe
            A name that :func:`~.naming.find_recipe` knows, or a changed copy of one.
        on_epoch : callable, optional
            Gets the log so far after each epoch of a training.
        progress : bool
            Show a bar per training.
        again : bool
            Train even if the run is stored; an existing record is kept.
        watch : callable, optional
            Gets the network before its first epoch and returns what takes the place of `on_epoch`, for records of more
            than the log holds. A watched training goes on from no checkpoint.

        Raises
        ------
        KeyboardInterrupt
            The training was interrupted: nothing is stored, an unfinished run must not enter a table.
        RunError
            The stored run is damaged.
        """
        recipe = self.recipe(recipe)
        if recipe.grid:
            return self._tuned(recipe, on_epoch=on_epoch, progress=progress, again=again, watch=watch)
        spec = self.spec(recipe)
        key = run_key(spec)
        folder = run_folder(recipe.name, key)
        if not again and folder.is_dir():
            if key not in self._records:
                self._records[key] = read_run(folder, spec)
            return self._records[key]
        return self._make(recipe, spec, folder, on_epoch, progress, watch)

    def _make(self, recipe: Recipe, spec: dict, folder: Path, on_epoch, progress: bool, watch) -> RunRecord:
        guides = {name: Guide(self.run(name, progress=progress), self.on_device) for name in recipe.guides}
        for name, guide in guides.items():
            check_guide(name, guide.record, self.split)
        if recipe.kind != "network":
            start = time.perf_counter()
            logits, result = derive(recipe, guides, self)
            result |= {"seconds": time.perf_counter() - start, "data": self.study.windows.meta.get("name", "")}
            record = RunRecord(spec, pd.DataFrame(), logits, np.zeros((0, 0), bool), result, folder)
            store_run(record, None, self._identity())
            return record
        learner = fresh_learner(self, recipe, guides)
        model, inputs, loss, settings, order = learner
        if watch is not None:
            on_epoch = watch(learner)
        label = f"{recipe.name} ({self.target}, fold {self.fold})" if progress else None
        checkpoint = home() / "unfinished" / f"{folder.name}.pt"
        options = {"on_epoch": on_epoch, "progress": label, "checkpoint": None if watch else checkpoint}
        done = fit(model, inputs, loss, settings, seed=order, **options)
        if done.interrupted:
            raise KeyboardInterrupt(f"training of {recipe.name} was interrupted; nothing was stored")
        model = model.deployed if recipe.deployed else model
        output = predict(model, self.on_device, self.on_device.every_row)
        result = {
            "chosen_epoch": done.chosen_epoch,
            "seconds": float(done.log["seconds"].sum()),
            "n_parameters": n_parameters(model),
            "diverged": done.diverged,
            "data": self.study.windows.meta.get("name", ""),
        }
        if hasattr(model, "eeg_share"):
            train = {name: value[inputs.train] for name, value in output.features.items()}
            result["eeg_share"] = 100 * model.eeg_share(train)
        kept = getattr(loss, "kept_history", [])
        kept = torch.stack(kept).numpy() if kept else np.zeros((0, 0), bool)
        record = RunRecord(spec, done.log, output.logits.cpu().numpy(), kept, result, folder)
        store_run(record, model, self._identity())
        discard(checkpoint)
        with contextlib.suppress(OSError):
            checkpoint.parent.rmdir()  # unless others are unfinished
        return record

    def _tuned(self, recipe: Recipe, **options) -> RunRecord:
        """The record of the setting that does best on validation, of those that the budget allows."""
        records = [self.run(one, **options) for one in self.variants(recipe)]
        chosen = [r.log.iloc[r.result["chosen_epoch"]] for r in records]
        scores = [(row["val_balanced_accuracy"], -row["val_loss"]) for row in chosen]
        return records[scores.index(max(scores))]

    def _identity(self) -> dict[str, np.ndarray]:
        """What results need besides logits, so that they never touch the data."""
        windows, posterior = self.study.windows, self.study.windows.posterior(self.target)
        return {
            **test_parts(self.split),
            "labels": self.study.labels(self.target),
            "subject": windows.index["subject"].to_numpy(),
            "trial": windows.index["trial"].to_numpy(),
            "posterior": np.zeros(0) if posterior is None else posterior,
        }


def run_folder(name: str, key: str) -> Path:
    """Where a run is stored, finished or not."""
    return home() / "runs" / f"{name}-{key[:20]}"


def test_parts(split: Split | Fold) -> dict[str, np.ndarray]:
    """Parts of a split as stored with a run: ``train``, ``val`` and ``test_<protocol's label>``."""
    parts = split.parts()
    return {f"test_{split.label}" if name == "test" else name: rows for name, rows in parts.items()}


def check_guide(name: str, record: RunRecord, split: Split | Fold) -> None:
    """Stop if a guide was fitted or selected on a window on which its student is tested.

    Raises
    ------
    LeakError
        Names the guide and the part.
    """
    with np.load(record.folder / "outputs.npz") as stored:
        seen = np.union1d(stored["train"], stored["val"])
    for part, rows in test_parts(split).items():
        if part.startswith("test") and len(np.intersect1d(seen, rows)):
            raise LeakError(f"guide {name} saw windows of part {part!r}, on which its student would be tested")
