"""Three networks that learn side by side: EEG, video, and their fusion (AMBOKD; method.md, section 5.6)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .output import N_CLASSES, ModelOutput

N_HEADS = 2


class TokenFusion(nn.Module):
    """Two embeddings as two tokens, one self-attention, one linear classifier.

    No residual, no layer norm and no output projection, as in the authors' code.

    Parameters
    ----------
    n_eeg, n_video : int
        Widths of the embeddings.
    n_token : int
        Width of a token; shared by the two heads.
    dropout : float
        On the attention.
    """

    def __init__(self, n_eeg: int, n_video: int, n_token: int = 64, dropout: float = 0.5):
        super().__init__()
        self.project_eeg = nn.Linear(n_eeg, n_token)
        self.project_video = nn.Linear(n_video, n_token)
        self.query_key_value = nn.Linear(n_token, 3 * n_token)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(2 * n_token, N_CLASSES)

    def forward(self, eeg: Tensor, video: Tensor) -> Tensor:
        """Map two embeddings, shapes (n_windows, n_eeg) and (n_windows, n_video), to logits (n_windows, 2)."""
        tokens = torch.stack([self.project_eeg(eeg), self.project_video(video)], dim=1)
        heads = self.query_key_value(tokens).unflatten(2, (3, N_HEADS, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = heads.unbind()
        attention = torch.softmax(query @ key.transpose(2, 3) / query.shape[-1] ** 0.5, dim=3)
        attended = self.dropout(attention) @ value
        return self.classifier(attended.transpose(1, 2).flatten(1))


class Peers(nn.Module):
    """An EEG network, a video network and their fusion, trained together; the video network is what is kept.

    Each encoder runs once per batch, and its own classifier and the fusion read the same embedding. The authors
    run it twice, once per loss: the same gradients for twice the time, except that the two passes draw different
    dropout masks and move the batch-norm statistics twice.

    Parameters
    ----------
    video, eeg : Module
        Whole networks with classifier. Built in this order, a video network starts with the weights that
        ``build_model("student", seed)`` gives it, as in the other rows of the table.
    n_video, n_eeg : int
        Widths of their ``classifier_input``.

    Attributes
    ----------
    inputs : tuple of str
        Those of the EEG network, then those of the video network.
    """

    def __init__(self, video: nn.Module, eeg: nn.Module, *, n_video: int, n_eeg: int):
        super().__init__()
        self.inputs = (*eeg.inputs, *video.inputs)
        self.eeg, self.video = eeg, video
        self.fusion = TokenFusion(n_eeg, n_video)
        # A network that needs small chunks in `predict` needs them here too.
        self.chunk = min(getattr(network, "chunk", 4096) for network in (eeg, video))

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
