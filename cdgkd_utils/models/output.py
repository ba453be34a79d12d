"""What every model returns, whatever its family."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

N_CLASSES = 2


@dataclass(frozen=True)
class ModelOutput:
    """What every model returns.

    Attributes
    ----------
    logits : Tensor, shape (n_windows, 2)
    features : dict of str to Tensor
        Named embeddings, shape (n_windows, n_features): ``eeg`` and/or ``video``, and ``classifier_input``.
    maps : dict of str to Tensor
        Named inner activations with a place axis, shape (n_windows, n_positions, n_channels): the deepest of a
        modality under its name, earlier ones with a number behind (``video``, ``video_2``).
    """

    logits: Tensor
    features: dict[str, Tensor]
    maps: dict[str, Tensor] = field(default_factory=dict)
