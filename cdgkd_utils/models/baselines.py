"""Networks of the baselines: DGC+JCA, CNN+SVM, CNN+LSTM and AMBOKD's three peers.

No code of the first three is public: widths and depths are this project's choice, anchored on the papers' abstracts.
"""

import torch
from torch import Tensor, nn

from ..data.constants import BANDS, CHANNELS, N_FRAMES, N_VIDEO_FEATURES
from ..data.eeg_features import FIVE_BANDS
from .output import ModelOutput


def _normal(n_inputs: int, n_outputs: int) -> nn.Parameter:
    """A matrix whose product with unit normal inputs is unit normal."""
    return nn.Parameter(torch.randn(n_inputs, n_outputs) / n_inputs**0.5)


def normalised_adjacency(weights: Tensor, node_mask: Tensor | None = None) -> Tensor:
    """D^(-1/2) A D^(-1/2) with A = ReLU(weights), D the sums of A's rows; rows of nodes without an edge are 0.

    Edges from and to nodes outside `node_mask`, shape (n_windows, n_nodes), are taken away before the sums.
    """
    adjacency = torch.relu(weights)
    if node_mask is not None:
        adjacency = adjacency * (node_mask[:, :, None] & node_mask[:, None, :])
    scale = adjacency.sum(-1).clamp(min=1e-5).rsqrt()
    return scale[..., :, None] * adjacency * scale[..., None, :]


class DenseGraph(nn.Module):
    """Graph layers H_(l+1) = ReLU(Ã [H_0; ..; H_l] W_l), with one learned adjacency for all of them."""

    def __init__(self, n_nodes: int, n_inputs: int, n_units: int = 32, n_layers: int = 3):
        super().__init__()
        # Near the identity: no edge starts out dead under the ReLU, and nodes start out distinct rather than averaged.
        self.adjacency = nn.Parameter(torch.eye(n_nodes) + 2 / n_nodes * torch.rand(n_nodes, n_nodes))
        widths = [n_inputs + layer * n_units for layer in range(n_layers)]
        self.layers = nn.ModuleList(nn.Linear(width, n_units, bias=False) for width in widths)

    def forward(self, nodes: Tensor, node_mask: Tensor | None = None) -> Tensor:
        """Shape (n_windows, n_nodes, n_inputs) to (n_windows, n_nodes, n_units), 0 at nodes outside `node_mask`."""
        if node_mask is not None:
            nodes = nodes.masked_fill(~node_mask.unsqueeze(-1), 0.0)
        adjacency, seen = normalised_adjacency(self.adjacency, node_mask), nodes
        for layer in self.layers:
            # Ã (H W), not (Ã H) W: the units are fewer than the inputs.
            last = torch.relu(adjacency @ layer(seen))
            seen = torch.cat([seen, last], dim=-1)
        return last


class Tokens(nn.Module):
    """Tokens as learned mixtures of the nodes, their features mapped to a common width."""

    def __init__(self, n_nodes: int, n_units: int, n_tokens: int, n_features: int):
        super().__init__()
        self.mix = nn.Parameter(_normal(n_nodes, n_tokens).T.contiguous())
        self.project = nn.Linear(n_units, n_features)

    def forward(self, nodes: Tensor) -> Tensor:
        return self.project(self.mix @ nodes)


class JointCrossAttention(nn.Module):
    """Each modality attends to both joined, J = [X_eeg, X_video] (Praveen et al., for audio and video).

    For each modality: C = tanh(Xᵀ W_j J / √d), H = ReLU(C W_c + Xᵀ W), X' = (H W_h)ᵀ + X, with d the width of J.
    """

    def __init__(self, n_tokens: int = 16, n_features: int = 128, n_hidden: int = 32):
        super().__init__()
        sizes = {
            "joint": (n_tokens, n_tokens),
            "correlation": (2 * n_features, n_hidden),
            "own": (n_tokens, n_hidden),
            "back": (n_hidden, n_tokens),
        }
        weights = {m: nn.ParameterDict({k: _normal(*size) for k, size in sizes.items()}) for m in ("eeg", "video")}
        self.weights = nn.ModuleDict(weights)

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

    After the idea of Cheng et al., IEEE Trans. Computational Social Systems, 2024, doi 10.1109/TCSS.2024.3412074.
    """

    inputs = ("entropy", "video", "frame_mask")
    chunk = 256  # windows per forward pass in prediction: the attention holds 128 x 256 numbers of each

    def __init__(
        self, n_tokens: int = 16, n_features: int = 128, n_units: int = 32, dropout: float = 0.6, n_classes: int = 2
    ):
        super().__init__()
        self.eeg_graph = DenseGraph(len(CHANNELS), len(FIVE_BANDS), n_units)
        self.video_graph = DenseGraph(N_FRAMES, N_VIDEO_FEATURES, n_units)
        self.eeg_tokens = Tokens(len(CHANNELS), n_units, n_tokens, n_features)
        self.video_tokens = Tokens(N_FRAMES, n_units, n_tokens, n_features)
        self.attention = JointCrossAttention(n_tokens, n_features)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(2 * n_features, n_classes)

    def forward(self, entropy: Tensor, video: Tensor, frame_mask: Tensor) -> ModelOutput:
        """Map standardised entropy (n_windows, 28, 5) and frame features (n_windows, 5, 768), and the frames' mask."""
        eeg_nodes = self.eeg_graph(entropy)
        video_nodes = self.video_graph(video, frame_mask)
        eeg, video = self.attention(self.eeg_tokens(eeg_nodes), self.video_tokens(video_nodes))
        embeddings = {"eeg": eeg.mean(1), "video": video.mean(1)}
        fused = self.dropout(torch.cat([embeddings["eeg"], embeddings["video"]], dim=1))
        maps = {"eeg": eeg, "video": video, "eeg_2": eeg_nodes, "video_2": video_nodes}
        return ModelOutput(self.classifier(fused), embeddings | {"classifier_input": fused}, maps)


class FaceCNN(nn.Module):
    """Convolution over time → ReLU → mean over the valid frames → linear; the face of CNN+SVM and CNN+LSTM."""

    inputs = ("video", "frame_mask")

    def __init__(self, n_features: int = 128, kernel_size: int = 3, n_classes: int = 2):
        super().__init__()
        self.convolution = nn.Conv1d(N_VIDEO_FEATURES, n_features, kernel_size, padding=kernel_size // 2)
        self.classifier = nn.Linear(n_features, n_classes)

    def forward(self, video: Tensor, frame_mask: Tensor) -> ModelOutput:
        """Map frame features (n_windows, 5, 768) and their mask; a missing frame is zeros to its neighbours."""
        valid = frame_mask.unsqueeze(-1)
        hidden = torch.relu(self.convolution(video.masked_fill(~valid, 0.0).transpose(1, 2)).transpose(1, 2)) * valid
        embedding = hidden.sum(1) / valid.sum(1).clamp(min=1)
        features = {"video": embedding, "classifier_input": embedding}
        return ModelOutput(self.classifier(embedding), features, {"video": hidden})


class EEGLSTM(nn.Module):
    """LSTM over half-second steps of band power → its last hidden state → linear; the EEG of CNN+LSTM."""

    inputs = ("band_power",)

    def __init__(self, n_features: int = 64, n_classes: int = 2):
        super().__init__()
        self.lstm = nn.LSTM(len(CHANNELS) * len(BANDS), n_features, batch_first=True)
        self.classifier = nn.Linear(n_features, n_classes)

    def forward(self, band_power: Tensor) -> ModelOutput:
        """Map log band power, shape (n_windows, 8, 112), standardised on training windows."""
        hidden, _ = self.lstm(band_power)
        embedding = hidden[:, -1]
        features = {"eeg": embedding, "classifier_input": embedding}
        return ModelOutput(self.classifier(embedding), features, {"eeg": hidden})


class TokenFusion(nn.Module):
    """Two embeddings as two tokens, one self-attention of two heads, one linear classifier.

    No residual, no layer norm and no output projection, as in AMBOKD's code.
    """

    def __init__(self, n_eeg: int, n_video: int, n_token: int = 64, dropout: float = 0.5, n_classes: int = 2):
        super().__init__()
        self.project_eeg = nn.Linear(n_eeg, n_token)
        self.project_video = nn.Linear(n_video, n_token)
        self.query_key_value = nn.Linear(n_token, 3 * n_token)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(2 * n_token, n_classes)

    def forward(self, eeg: Tensor, video: Tensor) -> Tensor:
        tokens = torch.stack([self.project_eeg(eeg), self.project_video(video)], dim=1)
        heads = self.query_key_value(tokens).unflatten(2, (3, 2, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = heads.unbind()
        attention = torch.softmax(query @ key.transpose(2, 3) / query.shape[-1] ** 0.5, dim=3)
        attended = self.dropout(attention) @ value
        return self.classifier(attended.transpose(1, 2).flatten(1))


class Peers(nn.Module):
    """AMBOKD: a video network, an EEG network and their fusion, trained together; the video network is what is kept.

    Each encoder runs once per batch, where the authors run it twice, once per loss: the same gradients but for dropout
    masks and batch-norm updates. Built first, the video network starts with the weights of ``build_model("student",
    seed)``. `n_video` and `n_eeg` are the widths of their ``classifier_input``.
    """

    def __init__(self, video: nn.Module, eeg: nn.Module, *, n_video: int, n_eeg: int, n_classes: int = 2):
        super().__init__()
        self.inputs = (*eeg.inputs, *video.inputs)
        self.eeg, self.video = eeg, video
        self.fusion = TokenFusion(n_eeg, n_video, n_classes=n_classes)
        self.chunk = min(eeg.chunk, video.chunk)

    @property
    def deployed(self) -> nn.Module:
        """The video peer alone: what is evaluated, stored and reported."""
        return self.video

    def forward(self, *inputs: Tensor) -> ModelOutput:
        """Logits, ``classifier_input`` and maps are the video peer's; ``logits_eeg``, ``logits_fusion`` the others'."""
        n_eeg = len(self.eeg.inputs)
        eeg, video = self.eeg(*inputs[:n_eeg]), self.video(*inputs[n_eeg:])
        fused = self.fusion(eeg.features["classifier_input"], video.features["classifier_input"])
        features = eeg.features | video.features | {"logits_eeg": eeg.logits, "logits_fusion": fused}
        return ModelOutput(video.logits, features, eeg.maps | video.maps)
