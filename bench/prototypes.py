"""Prototype arithmetic against loops over windows: ``python bench/prototypes.py``.

The loops work as those released with PMR, one window and one class at a time (method.md, section 3.1; speed.md,
section 4); results are compared before the clock starts. CPU time of one thread.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from measurement import Measurement, milliseconds, ratio, report, rounds
from torch import Tensor

from cdgkd_utils.methods.prototypes import class_means, distances

REPEATS = 15
N_INNER = 10  # calls per round of the fast side, whose single call a clock would hardly see


def looped_distances(embeddings: Tensor, prototypes: Tensor) -> Tensor:
    """Euclidean distance of each embedding to each prototype, shape (n_windows, n_classes), written pair by pair."""
    matrix = torch.zeros(len(embeddings), len(prototypes))
    for i, embedding in enumerate(embeddings):
        for j, prototype in enumerate(prototypes):
            matrix[i, j] = (embedding - prototype).square().sum().sqrt()
    return matrix


def looped_means(embeddings: Tensor, labels: Tensor, n_classes: int) -> Tensor:
    """Mean embedding of each class, shape (n_classes, n_features), by adding window after window."""
    sums, counts = torch.zeros(n_classes, embeddings.shape[1]), [0] * n_classes
    for embedding, label in zip(embeddings, labels.tolist(), strict=True):
        sums[label] += embedding
        counts[label] += 1
    return torch.stack([total / max(count, 1) for total, count in zip(sums, counts, strict=True)])


def measurements() -> Iterator[Measurement]:
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(128, 768, generator=generator, requires_grad=True)
    prototypes = torch.randn(2, 768, generator=generator)
    torch.testing.assert_close(distances(embeddings, prototypes), looped_distances(embeddings, prototypes))

    def both_ways(function) -> None:
        embeddings.grad = None
        function(embeddings, prototypes).sum().backward()

    slow, fast = rounds(
        [lambda: both_ways(looped_distances), lambda: [both_ways(distances) for _ in range(N_INNER)]], REPEATS
    ).T
    name = "distances, forward and backward, 128 × 768 to 2 prototypes"
    yield ratio(f"{name}: a loop over pairs takes", slow, fast / N_INNER, at_least=25)
    yield milliseconds(f"{name}: ours", fast / N_INNER)

    many = torch.randn(2048, 768, generator=generator)
    labels = torch.randint(2, (2048,), generator=generator)
    torch.testing.assert_close(class_means(many, labels)[0], looped_means(many, labels, 2), rtol=1e-4, atol=1e-5)
    slow, fast = rounds(
        [lambda: looped_means(many, labels, 2), lambda: [class_means(many, labels) for _ in range(N_INNER)]], REPEATS
    ).T
    yield ratio("class means of 2048 × 768: a loop over windows takes", slow, fast / N_INNER, at_least=15)
    yield milliseconds("class means of 2048 × 768: ours", fast / N_INNER)


if __name__ == "__main__":
    torch.set_num_threads(1)
    report(measurements, __doc__)
