"""The tensors of one split, and what a model says about them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..models.output import ModelOutput

CHUNK = 4096  # windows per forward pass in prediction, where a model does not say
GPU_FACTOR = 4  # a model's own chunk suits a processor's cache; a GPU needs more to be busy
TENSORS = ("eeg", "video", "frame_mask", "labels", "train", "val")


@dataclass(frozen=True)
class Inputs:
    """Tensors of all windows, normalised for one split; a model takes those that its ``inputs`` name."""

    eeg: Tensor  # (n_windows, 4, 28, 28), band covariances
    video: Tensor  # (n_windows, 5, 768)
    frame_mask: Tensor  # (n_windows, 5), bool
    labels: Tensor  # (n_windows,), int64
    train: Tensor  # row numbers; the loop sees no test rows
    val: Tensor
    views: dict[str, Tensor] = field(default_factory=dict)  # further inputs by name, as far as made
    make_view: Callable[[str], Tensor] | None = None  # makes the others, when a model first asks for them

    def view(self, name: str) -> Tensor:
        """One input of all windows."""
        if name in TENSORS[:3]:
            return getattr(self, name)
        if name not in self.views:
            if self.make_view is None:
                raise KeyError(f"input {name!r}: not there; known: {', '.join((*TENSORS[:3], *self.views))}")
            self.views[name] = self.make_view(name).to(self.labels.device)
        return self.views[name]

    @property
    def every_row(self) -> Tensor:
        """Numbers of all windows."""
        return torch.arange(len(self.labels), device=self.labels.device)

    def to(self, device: torch.device) -> Inputs:
        """The same on another device; these themselves where they are there already. Views follow when asked for."""
        if self.labels.device == device:
            return self
        tensors = {name: getattr(self, name).to(device) for name in TENSORS}
        return replace(self, **tensors, views={}, make_view=self.view)

    def of(self, model: nn.Module, rows: Tensor) -> list[Tensor]:
        """The inputs that `model` names, for the given rows."""
        # index_select copies several times faster than indexing with a tensor.
        return [self.view(name).index_select(0, rows) for name in model.inputs]


@torch.no_grad()
def predict(model: nn.Module, inputs: Inputs, rows: Tensor, chunk: int = 0, *, with_maps: bool = False) -> ModelOutput:
    """Outputs in evaluation mode, without gradient, in the order of `rows`; the model's mode is put back.

    `chunk` windows go at once; 0 asks the model (``model.chunk``). Maps are many times larger than embeddings.
    """
    was_training = model.training
    model.eval()
    outputs = []
    factor = GPU_FACTOR if rows.device.type == "cuda" else 1
    for part in rows.split(chunk or factor * getattr(model, "chunk", CHUNK)):
        output = model(*inputs.of(model, part))
        outputs.append(output if with_maps else ModelOutput(output.logits, output.features))
    model.train(was_training)
    return ModelOutput(
        torch.cat([o.logits for o in outputs]),
        {name: torch.cat([o.features[name] for o in outputs]) for name in outputs[0].features},
        {name: torch.cat([o.maps[name] for o in outputs]) for name in outputs[0].maps},
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
