"""Class prototypes and the prototype cross-entropy (PMR, Fan et al., CVPR 2023; CDGKD's poster, part 1)."""

from __future__ import annotations

import torch
from torch import Tensor


def class_means(embeddings: Tensor, labels: Tensor, n_classes: int = 2) -> tuple[Tensor, Tensor]:
    """Mean embedding of each class.

    Parameters
    ----------
    embeddings : Tensor, shape (n_windows, n_features)
    labels : Tensor, shape (n_windows,)
    n_classes : int

    Returns
    -------
    means : Tensor, shape (n_classes, n_features)
        Zero for an absent class, never NaN.
    present : Tensor, shape (n_classes,), bool
    """
    one_hot = torch.nn.functional.one_hot(labels, n_classes).to(embeddings.dtype)
    counts = one_hot.sum(0)
    return one_hot.T @ embeddings / counts.clamp(min=1)[:, None], counts > 0


def distances(embeddings: Tensor, prototypes: Tensor) -> Tensor:
    """Euclidean distance, as in PMR not squared, of each embedding to each prototype, (n_windows, n_classes)."""
    squared = (embeddings[:, None] - prototypes[None]).square().sum(-1)
    # The root has an infinite slope at 0, where a sample is its own prototype.
    return (squared + 1e-12).sqrt()


def log_probabilities(embeddings: Tensor, prototypes: Tensor, present: Tensor) -> Tensor:
    """Log of softmax(−distance), shape (n_windows, n_classes); −inf for a class that has no prototype."""
    return (-distances(embeddings, prototypes)).masked_fill(~present, -torch.inf).log_softmax(dim=1)


def prototype_cross_entropy(embeddings: Tensor, labels: Tensor, prototypes: Tensor, present: Tensor) -> Tensor:
    """Mean of −log p(own class) over samples whose class has a prototype, which carries no gradient; 0 if none has."""
    usable = present[labels]
    if not usable.any():
        return embeddings.sum() * 0.0
    log_p = log_probabilities(embeddings[usable], prototypes.detach(), present)
    return -log_p.gather(1, labels[usable, None]).mean()


def own_class_probability(embeddings: Tensor, labels: Tensor, prototypes: Tensor, present: Tensor) -> Tensor:
    """Probability p(own class) of each sample, shape (n_windows,); 0 where the class has no prototype."""
    return log_probabilities(embeddings, prototypes, present).exp().gather(1, labels[:, None])[:, 0]


class Prototypes:
    """Running class prototypes of one modality, and which of them are there.

    `momentum` weighs the old value in an update; the first update of a class takes the new mean alone.
    """

    def __init__(self, momentum: float = 0.5):
        self.momentum = momentum
        self.value: Tensor | None = None
        self.present: Tensor | None = None

    def state_dict(self) -> dict[str, Tensor | None]:
        return {"value": self.value, "present": self.present}

    def load_state_dict(self, state: dict[str, Tensor | None]) -> None:
        self.value, self.present = state["value"], state["present"]

    @torch.no_grad()
    def update(self, embeddings: Tensor, labels: Tensor, n_classes: int = 2) -> None:
        """Move towards the class means of `embeddings`; a class that is absent there keeps its prototype."""
        means, present = class_means(embeddings.detach(), labels, n_classes)
        if self.value is None:
            self.value, self.present = means, present
            return
        # A checkpoint comes back on the CPU.
        self.value, self.present = self.value.to(means.device), self.present.to(means.device)
        mixed = (1 - self.momentum) * means + self.momentum * self.value
        fresh = torch.where(self.present[:, None], mixed, means)
        self.value = torch.where(present[:, None], fresh, self.value)
        self.present = self.present | present
