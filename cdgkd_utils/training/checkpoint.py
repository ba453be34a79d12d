"""Where a training stands after a whole epoch, and the file from which an interrupted one goes on to the same bits."""

from __future__ import annotations

import contextlib
import glob
import io
import os
import pickle
import tempfile
import time
import warnings
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from ..methods.loss import CrossEntropy
from .inputs import Inputs
from .settings import TrainSettings

FORMAT = 1  # raise when the content of the file changes
N_ATTEMPTS = 5  # at making the folder of a checkpoint
CPU = torch.device("cpu")
WRITE_SHARE = 0.05  # of a training's time, at most, goes into writing checkpoints


class CheckpointError(RuntimeError):
    """A checkpoint belongs to another training."""


@dataclass
class Training:
    """Everything that changes while a network is trained.

    Attributes
    ----------
    model : Module
    loss : CrossEntropy
    optimizer : Optimizer
    shuffler : torch.Generator
        Of the order of the mini-batches. Dropout draws from torch's global generator, and on a GPU from that of the
        device; their states are kept too.
    history : list of dict
        Rows of the epoch log.
    best : int
        Epoch of the best weights, -1 before the first.
    best_score : tuple of float
        Balanced accuracy and minus cross-entropy on the validation part.
    best_weights : dict of str to Tensor, or None
    """

    model: nn.Module
    loss: CrossEntropy
    optimizer: torch.optim.Optimizer
    shuffler: torch.Generator
    history: list[dict] = field(default_factory=list)
    best: int = -1
    best_score: tuple[float, float] = (-float("inf"), -float("inf"))
    best_weights: dict[str, Tensor] | None = None

    @property
    def device(self) -> torch.device:
        """Of the model."""
        return next(self.model.parameters()).device

    def state_dict(self) -> dict:
        """All of it, between two epochs; tensors share the memory of the living ones."""
        return {
            "model": self.model.state_dict(),
            "loss": self.loss.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "shuffler": self.shuffler.get_state(),
            "dropout": torch.get_rng_state(),
            "dropout on gpu": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
            "history": self.history,
            "best": self.best,
            "best_score": self.best_score,
            "best_weights": self.best_weights,
        }

    def load_state_dict(self, state: dict) -> None:
        """Go back to a :meth:`state_dict`, torch's global generators included."""
        self.model.load_state_dict(state["model"])
        self.loss.load_state_dict(state["loss"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.shuffler.set_state(state["shuffler"])
        torch.set_rng_state(state["dropout"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(state["dropout on gpu"], self.device)
        self.history, self.best = state["history"], state["best"]
        self.best_score, self.best_weights = state["best_score"], state["best_weights"]


def identity(training: Training, inputs: Inputs, settings: TrainSettings, seed: int, name: str) -> dict[str, object]:
    """What a checkpoint belongs to, of a training that has not begun.

    Model and loss enter with the values they start from, so that another initialisation is another training. Of
    the data only labels and rows enter; `name` has to stand for the rest.

    Parameters
    ----------
    training : Training
    inputs : Inputs
    settings : TrainSettings
    seed : int
    name : str

    Returns
    -------
    dict of str to str, int or dict
    """
    plain = {key: value for key, value in vars(training.loss).items() if isinstance(value, bool | int | float | str)}
    return {
        "name": name,
        "seed": seed,
        "settings": settings.as_dict(),
        "model": type(training.model).__name__,
        "initial weights": _checksum(training.model.state_dict().values()),
        "loss": type(training.loss).__name__,
        "options of the loss": plain,
        "rows and labels": _checksum([inputs.train, inputs.val, inputs.labels]),
    }


def _checksum(tensors: Iterable[Tensor]) -> int:
    total = 0
    for tensor in tensors:
        total = zlib.crc32(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy(), total)
    return total


def made_with(device: torch.device) -> dict[str, object]:
    """Where equal sums may round differently: a training begun elsewhere could not be finished to the same bits."""
    gpu = {"gpu": torch.cuda.get_device_name(device)} if device.type == "cuda" else {}
    return {"format": FORMAT, "torch": str(torch.__version__), "cpu": torch.backends.cpu.get_cpu_capability()} | gpu


class CheckpointFile:
    """The checkpoint of one training: the last epoch that was written, in one file of ``torch.save``.

    Parameters
    ----------
    path : Path
    belongs_to : dict
        From :func:`identity`.
    device : torch.device
        Of the training.
    """

    def __init__(self, path: Path, belongs_to: dict[str, object], device: torch.device = CPU):
        self.path, self.belongs_to, self.made_with = path, belongs_to, made_with(device)
        self._began, self._writing = time.perf_counter(), 0.0

    def read(self) -> dict | None:
        """The stored state, or None where there is nothing to go on from.

        A file that is damaged, or was written by another version of torch or on another kind of processor, counts
        as nothing, with a warning: the training starts again and replaces it.

        Raises
        ------
        CheckpointError
            The file belongs to another training; it is left as it is.
        """
        try:
            with open(self.path, "rb") as file:
                with zipfile.ZipFile(file) as archive:
                    # torch does not compare the checksums that it writes.
                    if damaged := archive.testzip():
                        raise ValueError(f"{damaged} has changed")
                file.seek(0)
                # Read as tensors and plain values: no code in the file is run.
                stored = torch.load(file, map_location="cpu", weights_only=True)
            belongs_to, elsewhere, state = stored["belongs_to"], stored["made_with"], stored["training"]
        except (FileNotFoundError, NotADirectoryError):
            return None
        except pickle.UnpicklingError:
            return self._start_again("cannot be read (it holds other things than tensors and plain values)")
        except Exception as error:
            return self._start_again(f"cannot be read ({error})")
        # First: another version may start from other weights, too.
        if elsewhere != self.made_with:
            return self._start_again(f"was written with {elsewhere}, this is {self.made_with}")
        for name, here in self.belongs_to.items():
            if (there := belongs_to.get(name)) != here:
                raise CheckpointError(
                    f"checkpoint {self.path.name} belongs to another training: {name} is {there!r} there and {here!r} "
                    "here; delete it to start again, or pass a path of this training's own"
                )
        return state

    def _start_again(self, reason: str) -> None:
        warnings.warn(f"checkpoint {self.path.name} {reason}; the training starts again", stacklevel=4)

    @property
    def due(self) -> bool:
        """Whether writing has taken less than ``WRITE_SHARE`` of the time since the training began or went on.

        So a kill costs the epoch it falls into and, of epochs shorter than that, at most twenty times the time
        of one write.
        """
        return self._writing <= WRITE_SHARE * (time.perf_counter() - self._began)

    def write(self, state: dict) -> None:
        """Replace the file, whole or not at all; a failure is a warning, since the training does not depend on it."""
        start = time.perf_counter()
        content = {"belongs_to": self.belongs_to, "made_with": self.made_with, "training": state}
        # In memory first: torch reports a full disk as an internal error of its archive.
        buffer = io.BytesIO()
        torch.save(content, buffer)
        try:
            handle, temporary = self._temporary_file()
            try:
                with open(handle, "wb") as file:
                    file.write(buffer.getbuffer())
                os.replace(temporary, self.path)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary)
        except OSError as error:
            warnings.warn(
                f"checkpoint {self.path.name} cannot be written ({error}); the training goes on, but could not be "
                "resumed from here",
                stacklevel=3,
            )
        self._writing += time.perf_counter() - start

    def _temporary_file(self) -> tuple[int, str]:
        """Beside the checkpoint; another process may remove the folder in the moment that it is empty."""
        for _ in range(N_ATTEMPTS - 1):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                return tempfile.mkstemp(prefix=_prefix(self.path), dir=self.path.parent)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return tempfile.mkstemp(prefix=_prefix(self.path), dir=self.path.parent)


def _prefix(path: Path) -> str:
    return f".{path.name}-"


def discard(path: Path) -> None:
    """Remove a checkpoint, once its run is stored, and what killed writers of it left beside it.

    Parameters
    ----------
    path : Path
        As passed to :func:`~cdgkd_utils.training.fit`; need not exist.
    """
    for leftover in (path, *path.parent.glob(f"{glob.escape(_prefix(path))}*")):
        leftover.unlink(missing_ok=True)
