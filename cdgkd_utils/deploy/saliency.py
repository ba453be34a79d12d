"""What an answer hangs on: gradient times input, and covering the face piece by piece.

The answer is the decision value, logit(high) minus logit(low). Features of a picture are histograms, through which
no gradient flows here, so a picture's places are asked by covering them.

References
----------
A. Shrikumar et al., Not just a black box: learning important features through propagating activation differences,
arXiv:1605.01713, 2016 (gradient times input). M. Zeiler and R. Fergus, Visualizing and understanding convolutional
networks, ECCV 2014, section 4.2 (occlusion).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from .perturb_video import GREY

N_BOXES = 7  # along each edge of the picture


def gradient_times_input(model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gradient of the decision value at each input, times the input.

    For a linear model without bias these add up to the decision value; for others they are a first-order guess.

    Parameters
    ----------
    model : Module
        With ``inputs``, in evaluation mode; its parameters get no gradient.
    tensors : mapping of str to Tensor
        At least what the model names, first axis windows.

    Returns
    -------
    dict of str to Tensor
        For each floating input its shape.
    """
    given = [tensors[name].detach() for name in model.inputs]
    given = [tensor.clone().requires_grad_() if tensor.is_floating_point() else tensor for tensor in given]
    wanted = {name: tensor for name, tensor in zip(model.inputs, given, strict=True) if tensor.requires_grad}
    logits = model(*given).logits
    # Windows do not meet in evaluation mode, so one backward pass of the sum serves all of them.
    gradients = torch.autograd.grad((logits[:, 1] - logits[:, 0]).sum(), list(wanted.values()))
    return {name: (g * wanted[name]).detach() for g, name in zip(gradients, wanted, strict=True)}


def frame_saliency(products: Mapping[str, Tensor]) -> np.ndarray:
    """How much hangs on each frame: sum of |gradient x input| over its features, shape (n_windows, 5)."""
    return products["video"].abs().sum(-1).numpy()


def channel_saliency(products: Mapping[str, Tensor]) -> np.ndarray | None:
    """How much hangs on each EEG channel, shape (n_windows, 28); None for a model without EEG.

    On band covariances a pair of channels counts for both, a half each; on the signal itself times add up.
    """
    if "eeg" in products:
        size = products["eeg"].abs().sum(1)
        return ((size.sum(1) + size.sum(2)) / 2).numpy()
    return products["signal"].abs().sum(-1).numpy() if "signal" in products else None


def occlusion_map(answer: Callable[[np.ndarray], np.ndarray], frames: np.ndarray, n_boxes: int = N_BOXES) -> np.ndarray:
    """Change of the answer when a box of all frames of one window is covered.

    Parameters
    ----------
    answer : callable
        From windows, shape (n, n_frames, size, size, 3), to one number each, shape (n,).
    frames : ndarray, shape (n_frames, size, size, 3), uint8
    n_boxes : int
        Boxes along each edge; together they tile the picture.

    Returns
    -------
    ndarray, shape (n_boxes, n_boxes)
        Answer as it is minus answer with the box covered: positive where the picture speaks for "high".
    """
    edges = np.rint(np.linspace(0, frames.shape[1], n_boxes + 1)).astype(int)
    copies = np.repeat(frames[None], n_boxes**2 + 1, axis=0)
    for number in range(n_boxes**2):
        row, column = divmod(number, n_boxes)
        copies[number, :, edges[row] : edges[row + 1], edges[column] : edges[column + 1]] = GREY
    values = np.asarray(answer(copies), float)
    return (values[-1] - values[:-1]).reshape(n_boxes, n_boxes)
