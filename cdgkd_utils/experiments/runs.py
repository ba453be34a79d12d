"""A run: one recipe on one fold, found again by the hash of everything that decides its result."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import shutil
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ..config import home
from ..data.splits import Fold, LeakError
from ..methods.loss import UNRATED, CrossEntropy
from ..models import build_model, n_parameters
from ..training import Inputs, TrainSettings, fit, predict, training_device
from .derived import derive
from .losses import Given, Guide, build_loss
from .recipes import Recipe, find_recipe
from .study import FoldData, Study, part_rows, rated_rows

RESULTS_VERSION = 1  # raise it when results change (tests/test_golden.py says so): all runs get new keys
FAMILY_TRAINING = {
    "compact": {},
    # The paper's optimiser and batch; the same for every row.
    "reference": {"optimizer": "adam", "learning_rate": 1e-4, "batch_size": 128, "weight_decay": 0.0},
}
# The random numbers of a run are drawn from (seed, fold, number of its architecture); others count as students.
MODELS = ("teacher", "ta1", "ta2", "student", "eeg", "video", "face_cnn", "eeg_lstm", "dgc_jca", "emotionkd_teacher")
PACKAGES = ("torch", "numpy", "pandas", "scikit-learn", "scipy")


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
    logits : ndarray, shape (n_windows, n_classes), float32
        Of all windows, in evaluation mode.
    kept : ndarray, shape (n_steps, n_guides), bool
        Which guides spoke in each mini-batch; empty without guides.
    result : dict
        ``seconds``; ``data``, what the windows may be called; ``environment``: device, precision and versions; of a
        network ``chosen_epoch`` and ``n_parameters``, of a fused one ``eeg_share`` (percent); of other kinds what
        they chose, such as ``video_share`` or ``temperature``.
    folder : Path
    recipe : Recipe, optional
        Needed for the network of a model of your own.
    """

    spec: dict
    log: pd.DataFrame
    logits: np.ndarray
    kept: np.ndarray
    result: dict
    folder: Path
    recipe: Recipe | None = None

    @property
    def name(self) -> str:
        return self.spec["recipe"]["name"]

    def model(self) -> nn.Module:
        """The trained network, in evaluation mode.

        Raises
        ------
        RunError
            The run holds no network, its weights are damaged, or its model is one of your own and the record was read
            without its recipe.
        """
        recipe, path = self.spec["recipe"], self.folder / "weights.safetensors"
        if "model" not in recipe:
            raise RunError(f"run {self.name} is of kind {recipe['kind']}, which holds no network")
        own = "model" in recipe.get("source", ())
        if own and self.recipe is None:
            raise RunError(f"run {self.name} has a model of your own; ask Experiment.run(recipe) for the record")
        model = _build(self.recipe.model if own else recipe.get("deployed") or recipe["model"], 0, self.spec["family"])
        try:
            if _digest(path) != self.result["files"][path.name]:
                raise ValueError(f"{path.name} is not what was stored")
            model.load_state_dict(load_file(path))
        except Exception as error:
            raise RunError(f"run {self.folder.name} cannot be read ({error}); run it again") from error
        return model.eval()


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
        epochs = scale.student_epochs if recipe.model in ("student", "ambokd") else scale.teacher_epochs
        settings = TrainSettings(epochs, selection=recipe.selection, patience=scale.patience, **FAMILY_TRAINING[family])
        return replace(settings, **_from_environment() | recipe.training)

    def spec(self, recipe: Recipe) -> dict:
        """Everything that decides the result, with the guides' keys standing for the guides."""
        return {
            "version": RESULTS_VERSION,
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

    def folder(self, recipe: Recipe) -> Path:
        """Where the run of one setting is stored, finished or not."""
        return run_folder(recipe.name, run_key(self.spec(recipe)))

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

        Parameters
        ----------
        recipe : str or Recipe
            A name that :func:`~.recipes.find_recipe` knows, a changed copy of a recipe, or one of your own.
        on_epoch : callable, optional
            Gets the log so far after each epoch of a training.
        progress : bool
            Show a bar per training.
        again : bool
            Train even if the run is stored; the new record takes the place of the old.
        watch : callable, optional
            Gets the network before its first epoch and returns what takes the place of `on_epoch`, for records of more
            than the log holds. A watched training goes on from no checkpoint.

        Raises
        ------
        KeyboardInterrupt
            The training was interrupted: nothing is stored, an unfinished run must not enter a table.
        """
        recipe = self.recipe(recipe)
        if recipe.grid:
            return self._tuned(recipe, on_epoch=on_epoch, progress=progress, again=again, watch=watch)
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
            self._make(recipe, spec, folder, on_epoch, progress, watch, again)
            self._records[key] = replace(read_run(folder, key), recipe=recipe)
        return self._records[key]

    def _make(self, recipe: Recipe, spec: dict, folder: Path, on_epoch, progress: bool, watch, again: bool) -> None:
        guides = {name: self._guide(name, progress) for name in recipe.guides}
        place = {"table": recipe.table, "row": recipe.row or recipe.name}
        about = place | {"data": self.study.windows.meta.get("name", "")}
        if recipe.kind != "network":
            start = time.perf_counter()
            logits, result = derive(recipe, guides, self.fold_data)
            model = guides[result["chosen"]].model() if "chosen" in result else None
            result |= about | {"seconds": time.perf_counter() - start, "environment": self._environment("cpu")}
            record = RunRecord(spec, pd.DataFrame(), logits, np.zeros((0, 0), bool), result, folder)
            store_run(record, model, self._identity(), again=again)
            return
        learner = self.learner(recipe, guides)
        model, inputs, loss, settings, order = learner
        if watch is not None:
            on_epoch = watch(learner)
        label = f"{recipe.name} ({self.target}, fold {self.fold})" if progress else None
        checkpoint = home() / "unfinished" / f"{folder.name}.pt"
        options = {"on_epoch": on_epoch, "progress": label, "checkpoint": None if watch or again else checkpoint}
        done = fit(model, inputs, loss, settings, seed=order, **options)
        if done.interrupted:
            raise KeyboardInterrupt(f"training of {recipe.name} was interrupted; nothing was stored")
        model = model.deployed if recipe.deployed else model
        output = predict(model, self.on_device, self.on_device.every_row)
        result = about | {
            "chosen_epoch": done.chosen_epoch,
            "seconds": float(done.log["seconds"].sum()),
            "n_parameters": n_parameters(model),
            "diverged": done.diverged,
            "environment": self._environment(str(inputs.labels.device)) | {"precision": settings.precision},
        }
        if hasattr(model, "eeg_share"):
            train = {name: value[inputs.train] for name, value in output.features.items()}
            result["eeg_share"] = 100 * model.eeg_share(train)
        kept = getattr(loss, "kept_history", [])
        kept = torch.stack(kept).numpy() if kept else np.zeros((0, 0), bool)
        record = RunRecord(spec, done.log, output.logits.cpu().numpy(), kept, result, folder)
        store_run(record, model, self._identity(), again=again)
        checkpoint.unlink(missing_ok=True)

    def _guide(self, name: str, progress: bool) -> Guide:
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
        model = _build(recipe.model, init, family).to(self.on_device.labels.device)
        inputs = self._own_inputs(recipe)
        given = Given(recipe, guides or {}, model, inputs, torch.Generator().manual_seed(own), family)
        return Learner(model, inputs, build_loss(given), self.settings(recipe), order)

    def _own_inputs(self, recipe: Recipe) -> Inputs:
        """The inputs, less the part that a cross-fitted network must not see and the ratings that were not given."""
        inputs, train = self.on_device, self.inputs.train
        if recipe.part >= 0:
            train = train[~torch.isin(train, torch.from_numpy(part_rows(self.fold_data, recipe.part, recipe.apart)))]
        inputs = replace(inputs, train=train.to(inputs.labels.device))
        if not recipe.rated:
            return inputs
        train, val = (rows.to(inputs.labels.device) for rows in rated_rows(self.fold_data, recipe.rated))
        labels = torch.full_like(inputs.labels, UNRATED)
        for rows in (train, val):
            labels[rows] = inputs.labels[rows]
        return replace(inputs, labels=labels, val=val, train=inputs.train if recipe.guides else train)

    def _tuned(self, recipe: Recipe, **options) -> RunRecord:
        """The record of the setting that does best on validation, of those that the budget allows."""
        records = [self.run(one, **options) for one in self.variants(recipe)]
        chosen = [r.log.iloc[r.result["chosen_epoch"]] for r in records]
        scores = [(row["val_balanced_accuracy"], -row["val_loss"]) for row in chosen]
        return records[scores.index(max(scores))]

    def _environment(self, device: str) -> dict[str, str]:
        """Where and with what a run is made; no part of its key."""
        gpu = {"gpu": torch.cuda.get_device_name(device)} if device.startswith("cuda") else {}
        versions = {name: metadata.version(name) for name in PACKAGES}
        return {"device": device, **gpu, "precision": "float32", "python": platform.python_version()} | versions

    def _identity(self) -> dict[str, np.ndarray]:
        """What results need besides logits, so that they never touch the data."""
        data, posterior = self.fold_data, self.study.windows.posterior(self.target)
        return {
            **self.split.parts(),
            "labels": data.labels,
            "subject": data.index["subject"].to_numpy(),
            "trial": data.index["trial"].to_numpy(),
            "posterior": np.zeros(0) if posterior is None else posterior,
        }


def _build(model: str | Callable, seed: int, family: str) -> nn.Module:
    if isinstance(model, str):
        return build_model(model, seed, family)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return model()


def _from_environment() -> dict:
    """``CDGKD_PRECISION`` and ``CDGKD_BATCH``: unlike the device they change what is learned, and are in the key."""
    chosen, batch = {}, os.environ.get("CDGKD_BATCH", "").strip()
    if precision := os.environ.get("CDGKD_PRECISION", "").strip().lower():
        if precision not in ("float32", "bfloat16"):
            raise ValueError(f"CDGKD_PRECISION: expected float32 or bfloat16, got {precision!r}")
        chosen["precision"] = precision
    if batch:
        if not (batch.isascii() and batch.isdigit() and int(batch) >= 2):
            raise ValueError(f"CDGKD_BATCH: expected a whole number of at least 2, got {batch!r}")
        chosen["batch_size"] = int(batch)
    return chosen


def run_key(spec: dict) -> str:
    """SHA-256 of the canonical JSON of a run's specification."""
    return hashlib.sha256(json.dumps(spec, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def run_folder(name: str, key: str) -> Path:
    """Where a run is stored, finished or not."""
    return home() / "runs" / f"{name}-{key[:20]}"


def check_guide(name: str, record: RunRecord, split: Fold) -> None:
    """Stop if a guide was fitted or selected on a window on which its student is tested.

    Raises
    ------
    LeakError
        Names the guide and the part.
    """
    with np.load(record.folder / "outputs.npz") as stored:
        seen = np.union1d(stored["train"], stored["val"])
    for part, rows in split.tests().items():
        if len(np.intersect1d(seen, rows)):
            raise LeakError(f"guide {name} saw windows of part {part!r}, on which its student would be tested")


def store_run(record: RunRecord, model: nn.Module | None, identity: dict[str, np.ndarray], *, again: bool) -> None:
    """Write a run's folder under a temporary name and rename it.

    A folder already there is kept (another process was faster), or replaced if the run was made `again`.
    """
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
    """Read a stored run; every file of it is compared with its checksum.

    Raises
    ------
    RunError
        A file is missing or damaged, or the stored specification has not the `key` that is asked for.
    """
    try:
        result = json.loads((folder / "result.json").read_text())
        for name, digest in result["files"].items():
            if _digest(folder / name) != digest:
                raise ValueError(f"{name} is not what was stored")
        spec = json.loads((folder / "spec.json").read_text())
        if key and run_key(spec) != key:
            raise ValueError("it was made from another specification")
        log = (folder / "epochs.csv").read_text().strip()
        with np.load(folder / "outputs.npz") as outputs:
            logits, kept = outputs["logits"], outputs["kept"]
        return RunRecord(
            spec, pd.read_csv(folder / "epochs.csv") if log else pd.DataFrame(), logits, kept, result, folder
        )
    except Exception as error:
        raise RunError(f"run folder {folder.name} cannot be read ({error}); delete it and run again") from error


def set_aside(folder: Path, error: Exception) -> None:
    """Move a damaged run away, so that it is made anew; a warning says where it is."""
    aside = folder.with_name(f".damaged-{folder.name}-{time.time_ns():x}")
    with contextlib.suppress(FileNotFoundError):  # another process was faster
        folder.rename(aside)
    warnings.warn(f"{error}: set aside as {aside.name}, made anew", stacklevel=3)


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
