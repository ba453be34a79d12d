"""What comes out of each layer of a network of the reference family, and how many parameters it has."""

from __future__ import annotations

import pandas as pd
import torch
from torch import Tensor, nn

from ...data.constants import CHANNELS, N_FRAMES, N_VIDEO_FEATURES, WINDOW_SAMPLES
from .eeg import SpatialBlock
from .emotionkd import ScoredTokens
from .layers import TransformerBlock
from .temporal import TemporalBlock

INPUT_SHAPES = {"signal": (len(CHANNELS), WINDOW_SAMPLES), "video": (N_FRAMES, N_VIDEO_FEATURES)}
BLOCKS = (TransformerBlock, TemporalBlock, SpatialBlock, ScoredTokens)  # shown as one row
NOT_SHOWN = (nn.Dropout, nn.ReLU)


def layer_table(model: nn.Module) -> pd.DataFrame:
    """Layers in the order in which a window passes them.

    Parameters
    ----------
    model : Module
        Of this family. It runs once, on zeros, in evaluation mode; its mode and statistics are left as they were.

    Returns
    -------
    DataFrame, indexed by the layer's name
        ``kind``; ``output``, the shape behind the layer without the windows' axis; ``n_parameters``, trainable;
        ``n_statistics``, running means and variances of batch normalisation.
    """
    rows: dict[str, dict] = {}

    def remember(name: str, module: nn.Module, output: Tensor) -> None:
        rows[name] = {
            "kind": type(module).__name__,
            "output": tuple(output.shape[1:]),
            "n_parameters": sum(p.numel() for p in module.parameters() if p.requires_grad),
            "n_statistics": sum(b.numel() for b in module.buffers() if b.is_floating_point()),
        }

    handles = [
        module.register_forward_hook(lambda module, _, output, name=name: remember(name, module, output))
        for name, module in _shown(model)
    ]
    was_training = model.training
    try:
        with torch.no_grad():
            model.eval()(*(torch.zeros(1, *INPUT_SHAPES[name]) for name in model.inputs))
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("layer")


def _shown(module: nn.Module, name: str = "") -> list[tuple[str, nn.Module]]:
    """Named layers below a module that get a row of their own."""
    children = list(module.named_children())
    if isinstance(module, BLOCKS) or not children:
        return [] if isinstance(module, NOT_SHOWN) else [(name, module)]
    return [row for key, child in children for row in _shown(child, f"{name}.{key}".lstrip("."))]
