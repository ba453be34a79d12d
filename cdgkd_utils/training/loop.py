"""The one fit/evaluate loop. Which method it runs is the business of the loss passed in."""

from __future__ import annotations

import contextlib
import copy
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from ..methods.loss import UNRATED, CrossEntropy
from ..models.output import ModelOutput
from .inputs import Inputs, evaluate, predict

CHOICES = {"optimizer": ("sgd", "adam", "adamw"), "selection": ("best_val", "last_epoch")}
CHOICES |= {"precision": ("float32", "bfloat16")}
CHECKPOINT_SECONDS = 60.0  # between two writes: what a kill can cost, besides the epoch it falls into


@dataclass(frozen=True)
class TrainSettings:
    """How a model is trained; the same for every row of a table."""

    epochs: int
    batch_size: int = 64
    learning_rate: float = 0.003
    momentum: float = 0.9  # of SGD
    weight_decay: float = 1e-4
    # The Adams rescale the EEG gradients, so that the strength of the rebalancing has almost no effect with them.
    optimizer: str = "sgd"
    selection: str = "best_val"  # the epoch of highest balanced accuracy on validation (ties: lower loss)
    patience: int = 0  # epochs without a better one after which training stops; 0 never stops early
    train_mode: bool = True  # False: no dropout, frozen batch-norm statistics, as the released code distils
    precision: str = "float32"  # of the layers in a training step alone

    def __post_init__(self):
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}")
        if self.epochs < 1 or self.batch_size < 2:
            raise ValueError(f"expected epochs >= 1 and batch_size >= 2, got {self.epochs}, {self.batch_size}")


def training_device() -> torch.device:
    """The device that ``CDGKD_DEVICE`` names: ``cpu``, ``cuda``, ``cuda:1``; ``auto``, the default, is a GPU if any."""
    name, n_gpus = os.environ.get("CDGKD_DEVICE", "").strip().lower() or "auto", torch.cuda.device_count()
    with contextlib.suppress(RuntimeError):
        device = torch.device(name if name != "auto" else "cuda" if n_gpus else "cpu")
        if device.type == "cpu" or (device.type == "cuda" and (device.index or 0) < n_gpus):
            return device
    raise ValueError(f"CDGKD_DEVICE: expected auto, cpu, cuda or cuda:NUMBER, got {name!r}; torch sees {n_gpus} GPUs")


@contextlib.contextmanager
def deterministic(seed: int, device: torch.device) -> Iterator[None]:
    """Dropout masks from `seed` and one thread, on whose number sums depend; the global state is put back."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)


@dataclass
class FitResult:
    """What a training leaves besides the model's weights."""

    log: pd.DataFrame  # one row per epoch
    chosen_epoch: int  # whose weights the model holds
    interrupted: bool = False  # by the user: the best so far
    n_resumed: int = 0  # epochs taken over from a checkpoint
    diverged: bool = False  # the loss stopped being finite in the epoch after the log's last: the best before it


class NotFiniteError(ValueError):
    """The loss of an epoch is not a finite number."""


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

    `model` and `loss` are freshly initialised, on the device of the inputs; `seed` is that of mini-batches and dropout.
    `on_epoch` gets the log so far after each epoch; `progress` is the text of a bar. `checkpoint` is a file of this
    training alone, named after all that decides its result: where it exists, the training goes on after the last epoch
    in it, on a CPU to the same bits as if it had never stopped. Whoever stores the result deletes it.
    Where the loss stops being finite, training ends with the best epoch before and says so; a NotFiniteError if there
    is none, or the last one is to be kept. A ValueError if there is no validation window or but one to train with.
    """
    if len(inputs.train) < 2 or not len(inputs.val):
        raise ValueError(
            f"training needs at least 2 windows and validation at least 1, got {len(inputs.train)} and "
            f"{len(inputs.val)}; use more trials or another protocol"
        )
    training = _Training(model, inputs, loss, settings, seed)
    ended, hidden = {}, {"disable": True} if progress is None else {}  # else TQDM_DISABLE decides
    with deterministic(seed, inputs.labels.device):
        if checkpoint is not None:
            training.resume(checkpoint)
        n_resumed, written = len(training.history), time.monotonic()
        with tqdm(total=settings.epochs, initial=n_resumed, desc=progress, leave=False, **hidden) as bar:
            try:
                while not training.is_over:
                    training.one_epoch()
                    if checkpoint is not None and time.monotonic() - written >= CHECKPOINT_SECONDS:
                        training.write(checkpoint)
                        written = time.monotonic()
                    if on_epoch is not None:
                        on_epoch(pd.DataFrame(training.history))
                    bar.update()
            except (KeyboardInterrupt, NotFiniteError) as stop:
                diverged = isinstance(stop, NotFiniteError)
                if training.best_weights is None or (diverged and settings.selection != "best_val"):
                    raise
                ended = {"diverged": diverged, "interrupted": not diverged}
    model.load_state_dict(training.best_weights)
    model.eval()
    return FitResult(pd.DataFrame(training.history), training.best, n_resumed=n_resumed, **ended)


class _Training:
    """Everything that changes while a network is trained."""

    def __init__(self, model: nn.Module, inputs: Inputs, loss: CrossEntropy, settings: TrainSettings, seed: int):
        self.model, self.inputs, self.loss, self.settings = model, inputs, loss, settings
        self.optimizer = _optimizer(loss.param_groups(model), settings)
        self.shuffler = torch.Generator().manual_seed(seed)
        self.history: list[dict] = []
        self.best, self.best_score = -1, (-float("inf"), -float("inf"))
        self.best_weights: dict[str, Tensor] | None = None

    @property
    def is_over(self) -> bool:
        n_epochs, patience = len(self.history), self.settings.patience
        impatient = 0 < patience <= n_epochs - 1 - self.best and self.settings.selection == "best_val"
        return n_epochs >= self.settings.epochs or impatient

    def one_epoch(self) -> None:
        """One pass over the training rows; adds its row to the log, and keeps its weights if they are to be chosen."""
        start, epoch = time.perf_counter(), len(self.history)
        model, inputs, loss, train = self.model, self.inputs, self.loss, self.inputs.train
        row = {"epoch": epoch} | loss.begin_epoch(epoch, lambda: (predict(model, inputs, train), inputs.labels[train]))
        model.train(self.settings.train_mode)
        order = train[torch.randperm(len(train), generator=self.shuffler).to(train.device)]
        sums, seen, right, total = {}, 0, 0, 0.0
        for rows in order.split(self.settings.batch_size):
            if (n := len(rows)) < 2:  # batch normalisation has no variance on one window
                continue
            labels = inputs.labels[rows]
            output = forward(model, inputs.of(model, rows), self.settings.precision)
            value = loss(output, labels, rows)
            self.optimizer.zero_grad(set_to_none=True)
            value.total.backward()
            loss.before_step(model, self.optimizer)
            self.optimizer.step()
            after = loss.after_step(model, inputs)
            seen, total = seen + n, total + n * value.total.item()
            right += int((output.logits.detach().argmax(1) == labels).sum())
            for name, part in (value.parts | after).items():
                sums[name] = sums.get(name, 0.0) + n * part
        if not np.isfinite(total):
            raise NotFiniteError(f"the loss is not finite in epoch {epoch}; lower learning_rate or look at the inputs")
        n_rated = max(seen - int((inputs.labels[train] == UNRATED).sum()), 1)
        row |= {"train_loss": total / seen, "train_accuracy": right / n_rated}
        row |= {f"val_{name}": value for name, value in evaluate(model, inputs, inputs.val).items()}
        row |= {name: value / seen for name, value in sums.items()}
        self.history.append(row | {"seconds": time.perf_counter() - start})
        score = (row["val_balanced_accuracy"], -row["val_loss"])
        if score > self.best_score or self.settings.selection == "last_epoch":
            self.best, self.best_score, self.best_weights = epoch, score, copy.deepcopy(model.state_dict())

    def write(self, path: Path) -> None:
        """Replace the checkpoint, whole or not at all."""
        device = self.inputs.labels.device
        state = {name: getattr(self, name) for name in ("history", "best", "best_score", "best_weights")}
        state |= {name: getattr(self, name).state_dict() for name in ("model", "loss", "optimizer")}
        state |= {"shuffler": self.shuffler.get_state(), "dropout": torch.get_rng_state()}
        state["gpu"] = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}-{os.getpid()}")
        torch.save(state | {"torch": str(torch.__version__)}, temporary)
        os.replace(temporary, path)

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint; one that is missing, unreadable or of another version of torch counts as none."""
        try:
            # Tensors and plain values: no code in the file is run.
            state = torch.load(path, map_location="cpu", weights_only=True)
            if state["torch"] != str(torch.__version__) or (state["gpu"] is None) == self.inputs.labels.is_cuda:
                return
        except Exception:
            return
        for name in ("model", "loss", "optimizer"):
            getattr(self, name).load_state_dict(state[name])
        for name in ("history", "best", "best_score", "best_weights"):
            setattr(self, name, state[name])
        self.shuffler.set_state(state["shuffler"])
        torch.set_rng_state(state["dropout"])
        if state["gpu"] is not None:
            torch.cuda.set_rng_state(state["gpu"], self.inputs.labels.device)


def forward(model: nn.Module, inputs: list[Tensor], precision: str) -> ModelOutput:
    """What a model says, in float32; its layers between compute in `precision` where PyTorch takes that to be safe."""
    if precision == "float32":
        return model(*inputs)
    with torch.autocast(inputs[0].device.type, getattr(torch, precision)):
        output = model(*inputs)
    features, maps = ({k: v.float() for k, v in named.items()} for named in (output.features, output.maps))
    return ModelOutput(output.logits.float(), features, maps)


def _optimizer(groups: list[dict], settings: TrainSettings) -> torch.optim.Optimizer:
    options = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay, "fused": True}
    if settings.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=settings.momentum, **options)
    if settings.optimizer == "adam":
        return torch.optim.Adam(groups, amsgrad=True, eps=1e-7, **options)
    return torch.optim.AdamW(groups, **options)
