"""DGC+JCA: a dense graph network per modality, then joint cross-attention between them (method.md, section 6).

Cheng et al., IEEE Transactions on Computational Social Systems, 2024, doi 10.1109/TCSS.2024.3412074 (the idea);
Praveen et al., joint cross-attention for audio and video (the attention's formula).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ...data.constants import CHANNELS, N_FRAMES, N_VIDEO_FEATURES
from ...data.eeg_features import FIVE_BANDS
from ..output import N_CLASSES, ModelOutput


def normalised_adjacency(weights: Tensor, node_mask: Tensor | None = None) -> Tensor:
    """D^(-1/2) A D^(-1/2) with A = ReLU(weights) and D the sums of A's rows.

    Parameters
    ----------
    weights : Tensor, shape (n_nodes, n_nodes)
    node_mask : Tensor, shape (n_windows, n_nodes), bool, optional
        Nodes that exist; edges from and to others are taken away before the sums.

    Returns
    -------
    Tensor, shape (n_nodes, n_nodes) or (n_windows, n_nodes, n_nodes)
        Rows of nodes without an edge are 0.
    """
    adjacency = torch.relu(weights)
    if node_mask is not None:
        adjacency = adjacency * (node_mask[:, :, None] & node_mask[:, None, :])
    scale = adjacency.sum(-1).clamp(min=1e-5).rsqrt()
    return scale[..., :, None] * adjacency * scale[..., None, :]


class DenseGraph(nn.Module):
    """Graph layers of which each takes the input and the outputs of all layers before it.

    H_(l+1) = ReLU(Ã [H_0; ..; H_l] W_l), with one learned adjacency for all layers.

    Parameters
    ----------
    n_nodes, n_inputs : int
        Nodes, and features of each.
    n_units, n_layers : int
    """

    def __init__(self, n_nodes: int, n_inputs: int, n_units: int = 32, n_layers: int = 3):
        super().__init__()
        # Near the identity: no edge starts out dead under the ReLU, and nodes start out distinct rather than averaged.
        self.adjacency = nn.Parameter(torch.eye(n_nodes) + 2 / n_nodes * torch.rand(n_nodes, n_nodes))
        widths = [n_inputs + layer * n_units for layer in range(n_layers)]
        self.layers = nn.ModuleList(nn.Linear(width, n_units, bias=False) for width in widths)

    def forward(self, nodes: Tensor, node_mask: Tensor | None = None) -> Tensor:
        """Map nodes, shape (n_windows, n_nodes, n_inputs), to shape (n_windows, n_nodes, n_units).

        What stands at a node outside `node_mask`, shape (n_windows, n_nodes), is not read; its output is 0.
        """
        if node_mask is not None:
            nodes = nodes.masked_fill(~node_mask.unsqueeze(-1), 0.0)
        adjacency = normalised_adjacency(self.adjacency, node_mask)
        seen = nodes
        for layer in self.layers:
            # Ã (H W), not (Ã H) W: the units are fewer than the inputs.
            last = torch.relu(adjacency @ layer(seen))
            seen = torch.cat([seen, last], dim=-1)
        return last


class Tokens(nn.Module):
    """Tokens as learned mixtures of the nodes, their features mapped to a common width.

    Parameters
    ----------
    n_nodes, n_units : int
        Of the graph.
    n_tokens, n_features : int
    """

    def __init__(self, n_nodes: int, n_units: int, n_tokens: int, n_features: int):
        super().__init__()
        self.mix = nn.Parameter(_normal(n_nodes, n_tokens).T.contiguous())
        self.project = nn.Linear(n_units, n_features)

    def forward(self, nodes: Tensor) -> Tensor:
        """Map shape (n_windows, n_nodes, n_units) to (n_windows, n_tokens, n_features)."""
        return self.project(self.mix @ nodes)


class JointCrossAttention(nn.Module):
    """Each modality attends to both joined, J = [X_eeg, X_video].

    For each modality: C = tanh(Xᵀ W_j J / √d), H = ReLU(C W_c + Xᵀ W), X' = (H W_h)ᵀ + X, with d the width of J.

    Parameters
    ----------
    n_tokens, n_features : int
        Shape of either modality's tokens.
    n_hidden : int
        Width of H.
    """

    def __init__(self, n_tokens: int = 16, n_features: int = 128, n_hidden: int = 32):
        super().__init__()
        self.weights = nn.ModuleDict(
            {
                modality: nn.ParameterDict(
                    {
                        "joint": _normal(n_tokens, n_tokens),
                        "correlation": _normal(2 * n_features, n_hidden),
                        "own": _normal(n_tokens, n_hidden),
                        "back": _normal(n_hidden, n_tokens),
                    }
                )
                for modality in ("eeg", "video")
            }
        )

    def forward(self, eeg: Tensor, video: Tensor) -> tuple[Tensor, Tensor]:
        """Map tokens, shape (n_windows, n_tokens, n_features) each, to attended tokens of the same shape."""
        joint = torch.cat([eeg, video], dim=-1)
        return self._attend("eeg", eeg, joint), self._attend("video", video, joint)

    def _attend(self, modality: str, tokens: Tensor, joint: Tensor) -> Tensor:
        w = self.weights[modality]
        own = tokens.transpose(1, 2)
        # tanh(x) = 2 sigmoid(2 x) - 1: on a CPU torch's tanh takes ten times as long as its sigmoid.
        correlation = 2 * torch.sigmoid(own @ (w["joint"] @ joint * (2 / joint.shape[-1] ** 0.5))) - 1
        hidden = torch.relu(correlation @ w["correlation"] + own @ w["own"])
        return (hidden @ w["back"]).transpose(1, 2) + tokens


class DGCJCA(nn.Module):
    """Graphs over electrodes and over frames → tokens → joint cross-attention → mean → linear.

    Expects entropy that is standardised on training windows, and video features standardised on training frames.

    Parameters
    ----------
    n_tokens, n_features : int
        Tokens of either modality and their width.
    n_units : int
        Of each graph layer.
    dropout : float
        Before the classifier.
    """

    inputs = ("entropy", "video", "frame_mask")
    chunk = 256  # windows per forward pass in prediction: the attention holds 128 x 256 numbers of each

    def __init__(self, n_tokens: int = 16, n_features: int = 128, n_units: int = 32, dropout: float = 0.6):
        super().__init__()
        self.eeg_graph = DenseGraph(len(CHANNELS), len(FIVE_BANDS), n_units)
        self.video_graph = DenseGraph(N_FRAMES, N_VIDEO_FEATURES, n_units)
        self.eeg_tokens = Tokens(len(CHANNELS), n_units, n_tokens, n_features)
        self.video_tokens = Tokens(N_FRAMES, n_units, n_tokens, n_features)
        self.attention = JointCrossAttention(n_tokens, n_features)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(2 * n_features, N_CLASSES)

    def forward(self, entropy: Tensor, video: Tensor, frame_mask: Tensor) -> ModelOutput:
        """Map entropy, shape (n_windows, 28, 5), frame features, (n_windows, 5, 768), and their mask, (n_windows, 5).

        ``maps`` holds the attended tokens (``eeg``, ``video``) and the graphs' nodes (``eeg_2``, ``video_2``).
        """
        eeg_nodes = self.eeg_graph(entropy)
        video_nodes = self.video_graph(video, frame_mask)
        eeg, video = self.attention(self.eeg_tokens(eeg_nodes), self.video_tokens(video_nodes))
        embeddings = {"eeg": eeg.mean(1), "video": video.mean(1)}
        fused = self.dropout(torch.cat([embeddings["eeg"], embeddings["video"]], dim=1))
        maps = {"eeg": eeg, "video": video, "eeg_2": eeg_nodes, "video_2": video_nodes}
        return ModelOutput(self.classifier(fused), embeddings | {"classifier_input": fused}, maps)


def _normal(n_inputs: int, n_outputs: int) -> nn.Parameter:
    """A matrix whose product with unit normal inputs is unit normal."""
    return nn.Parameter(torch.randn(n_inputs, n_outputs) / n_inputs**0.5)
