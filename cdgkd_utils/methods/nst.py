"""Neuron selectivity transfer (NST; Huang and Wang, 2017; method.md, section 5.3)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from ..models.output import ModelOutput
from .loss import CrossEntropy, LossValue


def selectivity_divergence(map_: Tensor, guide_map: Tensor) -> Tensor:
    """Squared maximum mean discrepancy between two sets of channels, kernel (a · b)², mean over windows.

    One sample is one channel's activation over the positions, scaled to length 1. The sum over all pairs of
    channels of (a · b)² is the inner product of Σ a aᵀ with Σ b bᵀ, so the three kernel means of the discrepancy
    collapse into the squared distance of two matrices of n_positions²: no pair of channels is ever formed, and
    the two sets may have different sizes.

    Parameters
    ----------
    map_ : Tensor, shape (n_windows, n_positions, n_channels)
    guide_map : Tensor, shape (n_windows, n_guide_positions, n_guide_channels)
        No gradient. The map with more positions is average-pooled to the smaller number.

    Returns
    -------
    Tensor, scalar
        0 .. 2.
    """
    n_positions = min(map_.shape[1], guide_map.shape[1])
    difference = _second_moment(map_, n_positions) - _second_moment(guide_map.detach(), n_positions)
    return difference.square().sum((1, 2)).mean()


def _second_moment(map_: Tensor, n_positions: int) -> Tensor:
    """Mean over channels of f fᵀ, shape (n_windows, n_positions, n_positions)."""
    channels = map_.transpose(1, 2)
    if channels.shape[2] != n_positions:
        channels = F.adaptive_avg_pool1d(channels, n_positions)
    channels = F.normalize(channels, dim=2)  # a channel that is 0 everywhere stays 0
    return channels.transpose(1, 2) @ channels / channels.shape[1]


class NSTLoss(CrossEntropy):
    """CE + weight · Σ selectivity divergences between maps of the guide and of the student.

    Each ``video`` map of the guide is compared with the student's map of that name, and the guide's ``eeg`` map,
    which a video-only student has no counterpart of, with the student's deepest video map.

    Parameters
    ----------
    guide_maps : dict of str to Tensor, shape (n_all_windows, n_positions, n_channels)
        Inner activations of the frozen guide in evaluation mode; rows are looked up.
    weight : float

    Raises
    ------
    ValueError
        No map is given, or (when called) the student lacks one that is to be compared.
    """

    def __init__(self, guide_maps: dict[str, Tensor], *, weight: float = 50.0):
        super().__init__()
        if not guide_maps:
            raise ValueError("guide_maps is empty; NST needs the guide's inner maps (predict with with_maps=True)")
        self.guide_maps = {name: map_.detach() for name, map_ in guide_maps.items()}
        self.weight = weight

    def __call__(self, output: ModelOutput, labels: Tensor, rows: Tensor) -> LossValue:
        total = F.cross_entropy(output.logits, labels)
        parts = {"loss_ce": total.item()}
        for name, guide_map in self.guide_maps.items():
            counterpart = name if name.startswith("video") else "video"
            if counterpart not in output.maps:
                known = ", ".join(output.maps) or "none"
                raise ValueError(f"guide map {name!r} needs a student map {counterpart!r}; the student offers {known}")
            term = self.weight * selectivity_divergence(output.maps[counterpart], guide_map[rows])
            total, parts[f"loss_nst_{name}"] = total + term, term.item()
        return LossValue(total, parts)
