"""In which numbers the layers compute during training. Unlike the device, it is part of what a run is."""

from __future__ import annotations

import os

import torch
from torch import Tensor, nn

from ..models.output import ModelOutput

VARIABLE = "CDGKD_PRECISION"
PRECISIONS = ("float32", "bfloat16")


def training_precision() -> str:
    """``float32`` or ``bfloat16``, as ``CDGKD_PRECISION`` says; the default is float32.

    Raises
    ------
    ValueError
        The variable is something else.
    """
    name = os.environ.get(VARIABLE, "").strip().lower() or PRECISIONS[0]
    if name not in PRECISIONS:
        raise ValueError(f"{VARIABLE}: expected {' or '.join(PRECISIONS)}, got {name!r}")
    return name


def forward(model: nn.Module, inputs: list[Tensor], precision: str) -> ModelOutput:
    """What a model says, in float32; its layers between compute in `precision` where PyTorch takes that to be safe.

    Weights and their gradients are float32 always. With 8 bits of mantissa a matrix product is off by some tenths of a
    per cent.

    Parameters
    ----------
    model : Module
    inputs : list of Tensor
    precision : {"float32", "bfloat16"}
    """
    if precision == "float32":
        return model(*inputs)
    with torch.autocast(inputs[0].device.type, getattr(torch, precision)):
        output = model(*inputs)
    features, maps = ({k: v.float() for k, v in named.items()} for named in (output.features, output.maps))
    return ModelOutput(output.logits.float(), features, maps)
