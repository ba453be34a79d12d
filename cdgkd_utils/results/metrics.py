"""What is measured on a finished run: scores of stored predictions, and how far the prototypes stand apart."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, silhouette_score

METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "majority", "expected_accuracy")
METRIC_NAMES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro-F1",
    "majority": "majority class",
    "expected_accuracy": "expected accuracy",
}


def score(y: np.ndarray, probability: np.ndarray, posterior: np.ndarray | None = None) -> dict[str, float]:
    """Score the predicted probabilities of one test set.

    Parameters
    ----------
    y : ndarray, shape (n_windows,)
        True labels, 0 (low) or 1 (high).
    probability : ndarray, shape (n_windows,)
        Predicted P(high), in [0, 1]; above 0.5 counts as high.
    posterior : ndarray, shape (n_windows,), optional
        The true P(high | latent), which only the synthetic twin knows.

    Returns
    -------
    dict
        Shares in [0, 1]: ``accuracy``, ``balanced_accuracy``, ``macro_f1``, ``majority`` (what always saying
        the test set's commoner class would score) and, with `posterior`, ``expected_accuracy``, the mean
        of P(y = prediction | latent): the accuracy over every rating these latents could have had, and so far
        less noisy than ``accuracy`` (twin.md, section 2). When `y` holds one class only, balanced accuracy
        and macro-F1 are not defined and are NaN.

    Raises
    ------
    ValueError
        An array is empty, differs in length, or holds something else than labels or probabilities.
    """
    y = np.asarray(y)
    if y.ndim != 1 or len(y) == 0:
        raise ValueError(f"y: expected a non-empty one-dimensional array, got shape {y.shape}")
    if not np.isin(y, (0, 1)).all():
        raise ValueError(f"y: expected labels 0 and 1, got {np.unique(y)[:5].tolist()}")
    probability = _probabilities("probability", probability, len(y))
    predicted = (probability > 0.5).astype(int)
    two_classes = len(np.unique(y)) == 2
    scores = {
        "accuracy": float(accuracy_score(y, predicted)),
        "balanced_accuracy": float(balanced_accuracy_score(y, predicted)) if two_classes else float("nan"),
        "macro_f1": (
            float(f1_score(y, predicted, labels=(0, 1), average="macro", zero_division=0))
            if two_classes
            else float("nan")
        ),
        "majority": float(max(np.mean(y), 1 - np.mean(y))),
    }
    if posterior is not None:
        posterior = _probabilities("posterior", posterior, len(y))
        scores["expected_accuracy"] = float(np.where(predicted == 1, posterior, 1 - posterior).mean())
    return scores


def _probabilities(name: str, values: np.ndarray, n_windows: int) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    if values.shape != (n_windows,):
        raise ValueError(f"{name}: expected shape ({n_windows},), one value per label, got {values.shape}")
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
        raise ValueError(f"{name}: expected finite values in [0, 1]; pass probabilities, not logits")
    return values


def separation(embeddings: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """How far apart the two classes stand in an embedding, in numbers rather than by eye.

    Parameters
    ----------
    embeddings : ndarray, shape (n_windows, n_features)
    labels : ndarray, shape (n_windows,)
        0 or 1.

    Returns
    -------
    dict
        ``gap_within``: distance between the two class means over the root mean square distance of the
        windows to their own class mean (no unit; 0 = same place). ``silhouette``: mean silhouette, -1 .. 1.
        Both NaN when a class has no window or no window has a neighbour of its class.

    Raises
    ------
    ValueError
        `embeddings` is not two-dimensional or `labels` has another length.
    """
    embeddings, labels = np.asarray(embeddings, dtype=float), np.asarray(labels)
    if embeddings.ndim != 2 or labels.shape != (len(embeddings),):
        raise ValueError(
            "embeddings and labels: expected shapes (n_windows, n_features) and (n_windows,), "
            f"got {embeddings.shape} and {labels.shape}"
        )
    classes = np.unique(labels)
    if len(classes) != 2 or len(labels) < 3:
        return {"gap_within": float("nan"), "silhouette": float("nan")}
    means = np.stack([embeddings[labels == k].mean(axis=0) for k in classes])
    own = means[(labels == classes[1]).astype(int)]
    within = np.sqrt(((embeddings - own) ** 2).sum(axis=1).mean())
    gap = np.linalg.norm(means[1] - means[0])
    return {
        "gap_within": float(gap / within) if within > 0 else float("nan"),
        "silhouette": float(silhouette_score(embeddings, labels)),
    }
