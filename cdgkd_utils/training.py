"""The one fit/evaluate loop. Which method it runs is the business of the loss passed in."""

from __future__ import annotations

import contextlib
import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from .methods.loss import CrossEntropy
from .models.compact import ModelOutput


@dataclass(frozen=True)
class TrainSettings:
    """How a model is trained; the same for every row of a table.

    Attributes
    ----------
    epochs, batch_size : int
    learning_rate, momentum, weight_decay : float
    optimizer : {"sgd", "adamw"}
        AdamW ignores `momentum`. It rescales the EEG gradients, so that the strength of the rebalancing
        has almost no effect with it.
    selection : {"best_val", "last_epoch"}
        ``best_val`` restores the epoch of highest balanced accuracy on the validation part (ties: lower loss).
    patience : int
        Epochs without a better one after which training stops; 0 never stops early.
    """

    epochs: int
    batch_size: int = 64
    learning_rate: float = 0.003
    momentum: float = 0.9
    weight_decay: float = 1e-4
    optimizer: str = "sgd"
    selection: str = "best_val"
    patience: int = 0

    def __post_init__(self):
        for name, choices in (("optimizer", ("sgd", "adamw")), ("selection", ("best_val", "last_epoch"))):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}")
        if self.epochs < 1 or self.batch_size < 2:
            raise ValueError(
                f"epochs must be at least 1 and batch_size at least 2, got {self.epochs}, {self.batch_size}"
            )

    def as_dict(self) -> dict:
        return asdict(self)


@dataclass(frozen=True)
class Inputs:
    """Tensors of all windows, normalised for one split; a model takes those it names.

    Attributes
    ----------
    eeg : Tensor, shape (n_windows, 4, 28, 28)
        Band covariances (compact family).
    video : Tensor, shape (n_windows, 5, 768)
    frame_mask : Tensor, shape (n_windows, 5), bool
    labels : Tensor, shape (n_windows,), int64
    train, val : Tensor of int64
        Row numbers; the loop sees no test rows.
    """

    eeg: Tensor
    video: Tensor
    frame_mask: Tensor
    labels: Tensor
    train: Tensor
    val: Tensor

    def of(self, model: nn.Module, rows: Tensor) -> list[Tensor]:
        """The inputs that `model` names, for the given rows."""
        # index_select copies several times faster than indexing with a tensor.
        return [getattr(self, name).index_select(0, rows) for name in model.inputs]


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
    """

    log: pd.DataFrame
    chosen_epoch: int
    interrupted: bool = False
    extra: dict = field(default_factory=dict)


@contextlib.contextmanager
def deterministic(seed: int) -> Iterator[None]:
    """Dropout masks from `seed` and one thread, with the global state put back afterwards.

    One thread because a sum over threads depends on their number, and because these networks are too small
    to gain from a second.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)


@torch.no_grad()
def predict(model: nn.Module, inputs: Inputs, rows: Tensor, chunk: int = 4096) -> ModelOutput:
    """Outputs in evaluation mode, without gradient; the model's mode is put back.

    Returns
    -------
    ModelOutput
        On the given rows, in their order.
    """
    was_training = model.training
    model.eval()
    outputs = [model(*inputs.of(model, part)) for part in rows.split(chunk)]
    model.train(was_training)
    return ModelOutput(
        torch.cat([o.logits for o in outputs]),
        {name: torch.cat([o.features[name] for o in outputs]) for name in outputs[0].features},
    )


def evaluate(model: nn.Module, inputs: Inputs, rows: Tensor) -> dict[str, float]:
    """Cross-entropy, accuracy and balanced accuracy on `rows`; no guide and no drop enters here."""
    logits, labels = predict(model, inputs, rows).logits, inputs.labels[rows]
    right = (logits.argmax(1) == labels).float()
    recalls = [right[labels == k].mean() for k in labels.unique()]
    return {
        "loss": F.cross_entropy(logits, labels).item(),
        "accuracy": right.mean().item(),
        "balanced_accuracy": torch.stack(recalls).mean().item(),
    }


def fit(
    model: nn.Module,
    inputs: Inputs,
    loss: CrossEntropy,
    settings: TrainSettings,
    *,
    seed: int,
    on_epoch: Callable[[pd.DataFrame], None] | None = None,
    progress: str | None = None,
) -> FitResult:
    """Train `model` in place on the training rows and leave it with the selected epoch's weights.

    Parameters
    ----------
    model : Module
        Freshly initialised.
    inputs : Inputs
    loss : CrossEntropy
        Or another loss of `methods`.
    settings : TrainSettings
    seed : int
        Order of the mini-batches and dropout.
    on_epoch : callable, optional
        Gets the log so far, after each epoch.
    progress : str, optional
        Text of a progress bar; None shows none.

    Returns
    -------
    FitResult

    Raises
    ------
    ValueError
        The loss is not finite; the message names the epoch.
    """
    shuffler = torch.Generator().manual_seed(seed)
    optimizer = _optimizer(model, settings)
    history: list[dict] = []
    best, best_score, best_weights = -1, (-np.inf, -np.inf), None
    interrupted = False

    with deterministic(seed), tqdm(total=settings.epochs, desc=progress, disable=progress is None, leave=False) as bar:
        try:
            for epoch in range(settings.epochs):
                history.append(_one_epoch(model, inputs, loss, settings, optimizer, shuffler, epoch))
                row = history[-1]
                score = (row["val_balanced_accuracy"], -row["val_loss"])
                if score > best_score or settings.selection == "last_epoch":
                    best, best_score, best_weights = epoch, score, copy.deepcopy(model.state_dict())
                if on_epoch is not None:
                    on_epoch(pd.DataFrame(history))
                bar.update()
                if settings.patience and settings.selection == "best_val" and epoch - best >= settings.patience:
                    break
        except KeyboardInterrupt:
            if best_weights is None:
                raise
            interrupted = True
    model.load_state_dict(best_weights)
    model.eval()
    return FitResult(pd.DataFrame(history), best, interrupted)


def _optimizer(model: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    options = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay, "fused": True}
    if settings.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), momentum=settings.momentum, **options)
    return torch.optim.AdamW(model.parameters(), **options)


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
    model.train()
    order = inputs.train[torch.randperm(len(inputs.train), generator=shuffler)]
    sums: dict[str, float] = {}
    seen, right, total = 0, 0, 0.0
    for rows in order.split(settings.batch_size):
        if len(rows) < 2:  # batch normalisation has no variance on one window
            continue
        labels = inputs.labels[rows]
        output = model(*inputs.of(model, rows))
        value = loss(output, labels, rows)
        optimizer.zero_grad(set_to_none=True)
        value.total.backward()
        optimizer.step()
        n = len(rows)
        seen, total = seen + n, total + n * value.total.item()
        right += int((output.logits.detach().argmax(1) == labels).sum())
        for name, part in value.parts.items():
            sums[name] = sums.get(name, 0.0) + n * part
    if not np.isfinite(total):
        raise ValueError(f"the loss is not finite in epoch {epoch}; lower learning_rate or look at the inputs")
    row |= {"train_loss": total / seen, "train_accuracy": right / seen}
    row |= {f"val_{name}": value for name, value in evaluate(model, inputs, inputs.val).items()}
    row |= {name: value / seen for name, value in sums.items()}
    return row | {"seconds": time.perf_counter() - start}
