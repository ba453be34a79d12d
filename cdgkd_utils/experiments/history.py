"""Recording what the log does not hold: embeddings and prototypes at the beginning of every epoch."""

from __future__ import annotations

import contextlib
import os
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..config import home
from ..methods.rebalancing import MODALITIES, RebalancedCrossEntropy
from ..training import predict
from .learner import Learner
from .recipes import RECIPES, Recipe
from .runs import Experiment, RunRecord, run_key

FORMAT = 1  # raise when the content of the file changes
N_SHOWN = 150  # windows at most, of the training and of the validation part each
MAX_FRAMES = 32


def record_history(
    experiment: Experiment,
    recipe: str | Recipe,
    *,
    on_epoch: Callable[[pd.DataFrame], None] | None = None,
    progress: bool = False,
    again: bool = False,
) -> Path:
    """Train a rebalanced or plain teacher and record its course; a history that is stored is not recorded again.

    Watching changes nothing: the recorded training is the run itself, which is stored too.

    Parameters
    ----------
    experiment : Experiment
    recipe : str or Recipe
        Of loss ``rebalanced`` with ``source="epoch"``, the default; of a tuned one the chosen setting is recorded.
    on_epoch : callable, optional
        Gets the log so far after each epoch.
    progress : bool
        Show a bar.
    again : bool
        Train even if the history is stored.

    Returns
    -------
    Path
        For ``results.history.read_history``. A frame per epoch, or for every second (third, ...) where there would
        be more than ``MAX_FRAMES``.

    Raises
    ------
    ValueError
        The recipe's loss has no prototypes that hold for an epoch.
    """
    recipe = RECIPES[recipe] if isinstance(recipe, str) else recipe
    if recipe.loss != "rebalanced" or recipe.options.get("source", "epoch") != "epoch":
        raise ValueError(
            f"recipe {recipe.name}: expected loss 'rebalanced' with prototypes of whole epochs (source 'epoch'), "
            f"got loss {recipe.loss!r}, {recipe.options}"
        )
    recipe = _chosen(experiment, recipe)
    path = history_path(experiment, recipe)
    if again or not _intact(path):
        recorder = _Recorder(_shown_rows(experiment), on_epoch)
        record = experiment.run(recipe, again=True, watch=recorder.watch, progress=progress)
        recorder.store(path, record, experiment)
    return path


def history_path(experiment: Experiment, recipe: Recipe) -> Path:
    """Where the history of one setting is stored, recorded or not."""
    key = run_key({"run": experiment.spec(recipe), "format": FORMAT, "n_shown": N_SHOWN, "max_frames": MAX_FRAMES})
    return home() / "histories" / f"{recipe.name}-{key[:20]}.npz"


def _chosen(experiment: Experiment, recipe: Recipe) -> Recipe:
    """The one setting, or the one that tuning prefers."""
    variants = experiment.variants(recipe)
    if len(variants) == 1:
        return variants[0]
    key = run_key(experiment.run(recipe).spec)
    return next(one for one in variants if run_key(experiment.spec(one)) == key)


def _intact(path: Path) -> bool:
    """Whether a whole file is there; its archive holds a checksum of every array."""
    with contextlib.suppress(OSError, zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
        return archive.testzip() is None
    return False


def _shown_rows(experiment: Experiment) -> Tensor:
    """Some training windows, then some validation windows, each ascending; the same for every recipe of a fold."""
    rng = np.random.default_rng([experiment.study.seed, experiment.fold])
    parts = (experiment.inputs.train.numpy(), experiment.inputs.val.numpy())
    drawn = [np.sort(rng.choice(rows, size=min(N_SHOWN, len(rows)), replace=False)) for rows in parts]
    return torch.from_numpy(np.concatenate(drawn))


class _Recorder:
    """Collects frames during one training.

    Parameters
    ----------
    rows : Tensor of int64
    on_epoch : callable or None
    """

    def __init__(self, rows: Tensor, on_epoch: Callable[[pd.DataFrame], None] | None):
        self.rows, self.on_epoch = rows, on_epoch
        self.epochs: list[int] = []
        self.embeddings: dict[str, list[np.ndarray]] = {m: [] for m in MODALITIES}
        self.prototypes: dict[str, list[np.ndarray]] = {m: [] for m in MODALITIES}

    def watch(self, learner: Learner) -> Callable[[pd.DataFrame], None]:
        """What to call after each epoch of the learner's training."""
        step = -(-learner.settings.epochs // MAX_FRAMES)
        state = self._embed(learner)

        def after_epoch(log: pd.DataFrame) -> None:
            nonlocal state
            epoch = len(log) - 1
            if epoch % step == 0:
                self._keep(epoch, state, learner.loss)
            if (epoch + 1) % step == 0 and epoch + 1 < learner.settings.epochs:
                state = self._embed(learner)
            if self.on_epoch is not None:
                self.on_epoch(log)

        return after_epoch

    def _embed(self, learner: Learner) -> dict[str, np.ndarray]:
        features = predict(learner.model, learner.inputs, self.rows.to(learner.inputs.labels.device)).features
        return {m: features[m].cpu().numpy() for m in MODALITIES}

    def _keep(self, epoch: int, state: dict[str, np.ndarray], loss: RebalancedCrossEntropy) -> None:
        """The state in which an epoch began, with the prototypes that the loss then took from it."""
        self.epochs.append(epoch)
        for m in MODALITIES:
            self.embeddings[m].append(state[m])
            self.prototypes[m].append(loss.prototypes[m].value.cpu().numpy().copy())

    def store(self, path: Path, record: RunRecord, experiment: Experiment) -> None:
        """Write the file whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = self.rows.numpy()
        arrays = {
            "name": np.array(record.name),
            "log": record.log.to_records(index=False),
            "epochs": np.array(self.epochs),
            "rows": rows,
            "labels": experiment.inputs.labels.numpy()[rows],
            "is_train": np.isin(rows, experiment.inputs.train.numpy()),
            **{m: np.stack(self.embeddings[m]) for m in MODALITIES},
            **{f"prototypes_{m}": np.stack(self.prototypes[m]) for m in MODALITIES},
        }
        handle, temporary = tempfile.mkstemp(prefix=f".{path.stem}-", dir=path.parent)
        try:
            with open(handle, "wb") as file:
                np.savez(file, **arrays)
            os.replace(temporary, path)
        finally:
            Path(temporary).unlink(missing_ok=True)
