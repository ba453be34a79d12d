"""A run: one recipe on one fold, found again by the hash of everything that decides its result."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import nn

from ..config import home
from ..data.splits import Fold, LeakError
from ..methods.loss import UNRATED, CrossEntropy
from ..models import n_parameters
from ..training import Inputs, TrainSettings, fit, predict, training_device
from .losses import Given, Guide, build_loss, derive
from .recipes import Recipe, find_recipe
from .records import RunError, RunRecord, build, read_run, run_folder, run_key, set_aside, store_run
from .study import FoldData, Study, part_rows, rated_rows

RESULTS_VERSION = 2  # raise it when results change (tests/test_golden.py says so): all runs get new keys
FAMILY_TRAINING = {
    "compact": {},
    # The paper's optimiser and batch; the same for every row.
    "reference": {"optimizer": "adam", "learning_rate": 1e-4, "batch_size": 128, "weight_decay": 0.0},
}
STUDENT_TRAINING = {"compact": {"learning_rate": 0.01}, "reference": {}}  # chosen by studies/budget.py
# The random numbers of a run are drawn from (seed, fold, number of its architecture); others count as students.
MODELS = ("teacher", "ta1", "ta2", "student", "eeg", "video", "face_cnn", "eeg_lstm", "dgc_jca", "emotionkd_teacher")
PACKAGES = ("torch", "numpy", "pandas", "scikit-learn", "scipy")


class Learner(NamedTuple):
    """What :func:`~cdgkd_utils.training.fit` takes; `seed` is of the order of the mini-batches and of dropout."""

    model: nn.Module
    inputs: Inputs
    loss: CrossEntropy
    settings: TrainSettings
    seed: int


@dataclass
class Experiment:
    """All recipes on one target and fold; networks are trained when first asked for, then read back.

    `selection`, "best_val" or "last_epoch", is for every network, guides included; "" leaves it to the recipes.
    """

    study: Study
    target: str
    fold: int
    selection: str = ""
    _records: dict[str, RunRecord] = field(default_factory=dict, repr=False)
    _keys: dict[str, str] = field(default_factory=dict, repr=False)

    @cached_property
    def fold_data(self) -> FoldData:
        """Windows, split and inputs on the CPU."""
        return self.study.fold_data(self.target, self.fold)

    @property
    def split(self) -> Fold:
        return self.fold_data.split

    @property
    def inputs(self) -> Inputs:
        return self.fold_data.inputs

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
        student = recipe.model in ("student", "ambokd")
        epochs = scale.student_epochs if student else scale.teacher_epochs
        how = FAMILY_TRAINING[family] | (STUDENT_TRAINING[family] if student else {})
        settings = TrainSettings(epochs, selection=recipe.selection, patience=scale.patience, **how)
        return replace(settings, **_from_environment() | recipe.training)

    def spec(self, recipe: Recipe) -> dict:
        """Everything that decides the result, with the guides' keys standing for the guides."""
        for name in recipe.guides:
            if name not in self._keys:
                self._keys[name] = run_key(self.spec(self.recipe(name)))
        return {
            "version": RESULTS_VERSION,
            "recipe": recipe.as_dict(),
            "family": self.study.params.model_family,
            "training": asdict(self.settings(recipe)),
            "data": self.study.data_key,
            "protocol": self.study.params.protocol,
            "n_folds": self.study.params.scale.dealt_folds,
            "target": self.target,
            "seed": self.study.seed,
            "fold": self.fold,
            "guides": [self._keys[name] for name in recipe.guides],
        }

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
        """The record of a recipe as it is stored: read back, or trained after its guides.

        `recipe` is a name that :func:`~.recipes.find_recipe` knows, a changed copy of a recipe, or one of your own.
        `on_epoch` gets the log so far after each epoch of a training; `progress` shows a bar per training; `again`
        trains even if the run is stored, and takes its place. `watch` gets the network before its first epoch and
        returns what takes the place of `on_epoch`. An interrupted training (KeyboardInterrupt) stores nothing.
        """
        recipe = self.recipe(recipe)
        options = {"on_epoch": on_epoch, "progress": progress, "again": again, "watch": watch}
        if recipe.grid:  # tuned: the setting that does best on validation
            return max((self.run(one, **options) for one in self.variants(recipe)), key=validation_score)
        spec = self.spec(recipe)
        key = run_key(spec)
        folder = run_folder(recipe.name, key)
        if again or not folder.is_dir():
            self._records.pop(key, None)
        elif key not in self._records:
            try:
                self._records[key] = replace(read_run(folder, key), recipe=recipe)
            except RunError as error:
                set_aside(folder, error)
        if key not in self._records:
            self._make(recipe, spec, folder, **options)
            self._records[key] = replace(read_run(folder, key), recipe=recipe)
        return self._records[key]

    def _make(self, recipe: Recipe, spec: dict, folder: Path, on_epoch, progress: bool, again: bool, watch) -> None:
        guides = {name: self.guide(name, progress=progress) for name in recipe.guides}
        start, log, kept = time.perf_counter(), pd.DataFrame(), np.zeros((0, 0), bool)
        settings, device, checkpoint = self.settings(recipe), "cpu", home() / "unfinished" / f"{folder.name}.pt"
        if recipe.kind != "network":
            logits, result = derive(recipe, guides, self.fold_data)
            model = guides[result["chosen"]].model() if "chosen" in result else None
        else:
            learner = self.learner(recipe, guides)
            label = f"{recipe.name} ({self.target}, fold {self.fold})" if progress else None
            options = {"on_epoch": watch(learner) if watch else on_epoch, "progress": label, "seed": learner.seed}
            done = fit(*learner[:4], checkpoint=None if watch or again else checkpoint, **options)
            if done.interrupted:
                raise KeyboardInterrupt(f"training of {recipe.name} was interrupted; nothing was stored")
            model, log, device = learner.model, done.log, str(learner.inputs.labels.device)
            model = model.deployed if recipe.deployed else model
            output = predict(model, self.on_device, self.on_device.every_row)
            logits = output.logits.cpu().numpy()
            if heard := getattr(learner.loss, "kept_history", []):
                kept = torch.stack(heard).numpy()
            result = {"chosen_epoch": done.chosen_epoch, "diverged": done.diverged, "n_parameters": n_parameters(model)}
            if hasattr(model, "eeg_share"):
                train = {name: value[learner.inputs.train] for name, value in output.features.items()}
                result["eeg_share"] = 100 * model.eeg_share(train)
        result |= {"table": recipe.table, "row": recipe.row or recipe.name}
        result |= {"data": self.study.windows.meta.get("name", ""), "seconds": time.perf_counter() - start}
        result |= {"environment": _environment(device, settings.precision if recipe.kind == "network" else "float32")}
        store_run(RunRecord(spec, log, logits, kept, result, folder), model, self.fold_data.identity(), again=again)
        checkpoint.unlink(missing_ok=True)

    def guide(self, name: str, *, progress: bool = False) -> Guide:
        """A finished run as a teacher; LeakError where it saw windows on which its student is tested."""
        record = self.run(name, progress=progress)
        check_guide(name, record, self.split)
        return Guide(record.logits, record.model, self.on_device, record.result)

    def learner(self, recipe: Recipe, guides: dict[str, Guide] | None = None) -> Learner:
        """The network of a recipe, ready to be trained.

        Learners of one architecture start equal and see equal batches, whatever teaches them: comparisons pair.
        """
        number = MODELS.index(recipe.model if recipe.model in MODELS else "student")
        entropy = [self.study.seed, self.fold, number, *([recipe.part + 1] if recipe.part >= 0 else [])]
        init, order, own = (int(s) for s in np.random.SeedSequence(entropy).generate_state(3))
        family = self.study.params.model_family
        model = build(recipe.model, init, family).to(self.on_device.labels.device)
        inputs = self._own_inputs(recipe)
        given = Given(recipe, guides or {}, model, inputs, torch.Generator().manual_seed(own), family)
        return Learner(model, inputs, build_loss(given), self.settings(recipe), order)

    def _own_inputs(self, recipe: Recipe) -> Inputs:
        """The inputs, less the part that a cross-fitted network must not see and the ratings that were not given."""
        inputs, train = self.on_device, self.inputs.train
        if recipe.part >= 0:
            train = train[~torch.isin(train, torch.from_numpy(part_rows(self.fold_data, recipe.part)))]
        inputs = replace(inputs, train=train.to(inputs.labels.device))
        if not recipe.rated:
            return inputs
        train, val = (rows.to(inputs.labels.device) for rows in rated_rows(self.fold_data, recipe.rated))
        labels = torch.full_like(inputs.labels, UNRATED)
        for rows in (train, val):
            labels[rows] = inputs.labels[rows]
        return replace(inputs, labels=labels, val=val, train=inputs.train if recipe.guides else train)


def validation_score(record: RunRecord) -> tuple[float, float]:
    """By which settings are chosen: balanced accuracy of the chosen epoch, then the lower loss."""
    row = record.log.iloc[record.result["chosen_epoch"]]
    return row["val_balanced_accuracy"], -row["val_loss"]


def _environment(device: str, precision: str) -> dict[str, str]:
    """Where and with what a run is made; no part of its key."""
    gpu = {"gpu": torch.cuda.get_device_name(device)} if device.startswith("cuda") else {}
    versions = {name: metadata.version(name) for name in PACKAGES}
    return {"device": device, **gpu, "precision": precision, "python": platform.python_version()} | versions


def _from_environment() -> dict:
    """``CDGKD_PRECISION`` and ``CDGKD_BATCH``: unlike the device they change what is learned, and are in the key."""
    precision, batch = (os.environ.get(f"CDGKD_{name}", "").strip().lower() for name in ("PRECISION", "BATCH"))
    chosen = {"precision": precision, "batch_size": int(batch) if batch.isdecimal() else batch and 0}
    return {name: value for name, value in chosen.items() if value != ""}


def check_guide(name: str, record: RunRecord, split: Fold) -> None:
    """LeakError if a guide was fitted or selected on a window on which its student is tested."""
    with np.load(record.folder / "outputs.npz") as stored:
        seen = np.union1d(stored["train"], stored["val"])
    for part, rows in split.tests().items():
        if len(np.intersect1d(seen, rows)):
            raise LeakError(f"guide {name} saw windows of part {part!r}, on which its student would be tested")
