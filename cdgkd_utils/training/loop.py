"""The one fit/evaluate loop. Which method it runs is the business of the loss passed in."""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn
from tqdm.auto import tqdm

from ..methods.loss import UNRATED, CrossEntropy
from .checkpoint import CheckpointFile, Training, identity
from .inputs import Inputs, evaluate, predict
from .precision import forward
from .settings import TrainSettings


@dataclass
class FitResult:
    """What a training leaves besides the model's weights.

    Attributes
    ----------
    log : DataFrame
        The epoch log, one row per epoch.
    chosen_epoch : int
        Whose weights the model holds.
    interrupted : bool
        Stopped by the user; the model then holds the best weights so far.
    n_resumed : int
        Epochs taken over from a checkpoint.
    diverged : bool
        The loss stopped being finite in the epoch after the log's last; the model holds the best weights before it.
    """

    log: pd.DataFrame
    chosen_epoch: int
    interrupted: bool = False
    n_resumed: int = 0
    diverged: bool = False


class NotFiniteError(ValueError):
    """The loss of an epoch is not a finite number."""


@contextlib.contextmanager
def deterministic(seed: int, device: torch.device) -> Iterator[None]:
    """Dropout masks from `seed` and one thread, with the global state put back afterwards.

    One thread because a sum over threads depends on their number, and because these networks are too small
    to gain from a second. On a GPU, masks come from its own generator, which is treated alike.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)


def fit(
    model: nn.Module,
    inputs: Inputs,
    loss: CrossEntropy,
    settings: TrainSettings,
    *,
    seed: int,
    on_epoch: Callable[[pd.DataFrame], None] | None = None,
    progress: str | None = None,
    checkpoint: Path | None = None,
) -> FitResult:
    """Train `model` in place on the training rows and leave it with the selected epoch's weights.

    Parameters
    ----------
    model : Module
        Freshly initialised, on the device of the inputs.
    inputs : Inputs
    loss : CrossEntropy
        Or another loss of `methods`; fresh, too.
    settings : TrainSettings
    seed : int
        Order of the mini-batches and dropout.
    on_epoch : callable, optional
        Gets the log so far, after each epoch.
    progress : str, optional
        Text of a progress bar; None shows none.
    checkpoint : Path, optional
        File for this training alone, named after all that decides its result. It is written after epochs; where it
        exists, the training goes on after the last one in it, on a CPU to the same bits as if it had never stopped.
        Whoever stores the result removes it with :func:`~cdgkd_utils.training.checkpoint.discard`.

    Returns
    -------
    FitResult

    Raises
    ------
    NotFiniteError
        The loss is not finite and no earlier epoch can be chosen (in the first epoch, or when the last is to be kept);
        the message names the epoch. Else the training ends there and says so.
    CheckpointError
        The checkpoint belongs to another training.
    """
    shuffler = torch.Generator().manual_seed(seed)
    optimizer = _optimizer(loss.param_groups(model), settings)
    training = Training(model, loss, optimizer, shuffler)
    file = state = None
    if checkpoint is not None:
        file = CheckpointFile(checkpoint, identity(training, inputs, settings, seed, checkpoint.stem), training.device)
        state = file.read()
    interrupted = diverged = False

    with deterministic(seed, inputs.labels.device):
        if state is not None:
            training.load_state_dict(state)
        n_resumed = len(training.history)
        bar = tqdm(total=settings.epochs, initial=n_resumed, desc=progress, disable=progress is None, leave=False)
        with bar:
            try:
                while not _is_over(training, settings):
                    epoch = len(training.history)
                    row = _one_epoch(model, inputs, loss, settings, optimizer, shuffler, epoch)
                    _keep(training, row, settings)
                    if file is not None and file.due:
                        file.write(training.state_dict())
                    if on_epoch is not None:
                        on_epoch(pd.DataFrame(training.history))
                    bar.update()
            except KeyboardInterrupt:
                if training.best_weights is None:
                    raise
                interrupted = True
            except NotFiniteError:
                if training.best_weights is None or settings.selection != "best_val":
                    raise
                diverged = True
    model.load_state_dict(training.best_weights)
    model.eval()
    return FitResult(pd.DataFrame(training.history), training.best, interrupted, n_resumed, diverged)


def _is_over(training: Training, settings: TrainSettings) -> bool:
    n_epochs = len(training.history)
    waited = n_epochs - 1 - training.best
    impatient = settings.patience > 0 and settings.selection == "best_val" and waited >= settings.patience
    return n_epochs >= settings.epochs or impatient


def _keep(training: Training, row: dict[str, float], settings: TrainSettings) -> None:
    """Add an epoch's row to the log, and keep its weights if they are to be chosen."""
    training.history.append(row)
    score = (row["val_balanced_accuracy"], -row["val_loss"])
    if score > training.best_score or settings.selection == "last_epoch":
        training.best, training.best_score = row["epoch"], score
        training.best_weights = copy.deepcopy(training.model.state_dict())


def _optimizer(groups: list[dict], settings: TrainSettings) -> torch.optim.Optimizer:
    options = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay, "fused": True}
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=settings.momentum, **options)
    if settings.optimizer == "adam":
        return torch.optim.Adam(groups, amsgrad=True, eps=1e-7, **options)
    return torch.optim.AdamW(groups, **options)


def _one_epoch(
    model: nn.Module,
    inputs: Inputs,
    loss: CrossEntropy,
    settings: TrainSettings,
    optimizer: torch.optim.Optimizer,
    shuffler: torch.Generator,
    epoch: int,
) -> dict[str, float]:
    """One pass over the training rows; returns its row of the log."""
    start = time.perf_counter()
    row = {"epoch": epoch}
    row |= loss.begin_epoch(epoch, lambda: (predict(model, inputs, inputs.train), inputs.labels[inputs.train]))
    model.train(settings.train_mode)
    order = inputs.train[torch.randperm(len(inputs.train), generator=shuffler).to(inputs.train.device)]
    sums: dict[str, float] = {}
    seen, right, total = 0, 0, 0.0
    for rows in order.split(settings.batch_size):
        if len(rows) < 2:  # batch normalisation has no variance on one window
            continue
        labels = inputs.labels[rows]
        output = forward(model, inputs.of(model, rows), settings.precision)
        value = loss(output, labels, rows)
        optimizer.zero_grad(set_to_none=True)
        value.total.backward()
        loss.before_step(model, optimizer)
        optimizer.step()
        after = loss.after_step(model, inputs)
        n = len(rows)
        seen, total = seen + n, total + n * value.total.item()
        right += int((output.logits.detach().argmax(1) == labels).sum())
        for name, part in (value.parts | after).items():
            sums[name] = sums.get(name, 0.0) + n * part
    if not np.isfinite(total):
        raise NotFiniteError(f"the loss is not finite in epoch {epoch}; lower learning_rate or look at the inputs")
    unrated = int((inputs.labels[inputs.train] == UNRATED).sum())
    row |= {"train_loss": total / seen, "train_accuracy": right / max(seen - unrated, 1)}
    row |= {f"val_{name}": value for name, value in evaluate(model, inputs, inputs.val).items()}
    row |= {name: value / seen for name, value in sums.items()}
    return row | {"seconds": time.perf_counter() - start}
