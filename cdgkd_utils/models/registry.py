"""Models by family and name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn

from .baselines import DGCJCA
from .baselines import MODELS as BASELINES
from .compact import MODELS as COMPACT
from .compact_emotionkd import CompactEmotionKDTeacher
from .peers import Peers
from .reference import MODELS as REFERENCE


def _peers(models: Mapping[str, Callable[[], nn.Module]], **widths: int) -> Callable[[], nn.Module]:
    return lambda: Peers(models["student"](), models["eeg"](), **widths)


COMPACT_PEERS, REFERENCE_PEERS = _peers(COMPACT, n_video=32, n_eeg=64), _peers(REFERENCE, n_video=1536, n_eeg=768)
FAMILIES: dict[str, Mapping[str, Callable[[], nn.Module]]] = {
    "compact": {
        **COMPACT,
        **BASELINES,
        # A quarter as wide: its attention matrices, one per window, cost a sixteenth.
        "dgc_jca": lambda: DGCJCA(n_features=32),
        "emotionkd_teacher": CompactEmotionKDTeacher,
        "ambokd": COMPACT_PEERS,
    },
    "reference": {**REFERENCE, **BASELINES, "ambokd": REFERENCE_PEERS},
}


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
