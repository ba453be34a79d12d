"""Models by family and name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn

from .compact import MODELS as COMPACT

FAMILIES: dict[str, Mapping[str, Callable[[], nn.Module]]] = {"compact": COMPACT}


def build_model(name: str, seed: int, family: str = "compact") -> nn.Module:
    """A freshly initialised model; the global random state is left as it was.

    Parameters
    ----------
    name : str
        ``teacher``, ``ta1``, ``ta2``, ``student``, ``eeg``, ``video``, or a network of a baseline.
    seed : int
    family : {"compact", "reference"}

    Raises
    ------
    ValueError
        The family or the name is unknown.
    """
    if family not in FAMILIES:
        raise ValueError(f"unknown family {family!r}; known: {', '.join(FAMILIES)}")
    models = FAMILIES[family]
    if name not in models:
        raise ValueError(f"unknown model {name!r} of the {family} family; known: {', '.join(models)}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return models[name]()


def n_parameters(model: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
