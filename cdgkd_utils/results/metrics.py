"""What is measured on stored predictions, embeddings, guides and chains. NumPy only, knows nothing of models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import entr, softmax
from scipy.stats import rankdata
from sklearn.metrics import silhouette_score

METRIC_NAMES = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "macro_f1": "macro-F1"}
METRIC_NAMES |= {"auc": "area under the ROC curve", "vote_accuracy": "accuracy of trial votes"}
METRIC_NAMES |= {"worst_subject": "accuracy of the worst subject", "ece": "calibration error, 10 bins of equal width"}
METRIC_NAMES |= {"brier": "Brier score", "majority": "majority class", "who": "knows only who it is"}
METRIC_NAMES |= {"expected_accuracy": "expected accuracy"}
METRICS = tuple(METRIC_NAMES)
FLOORS = ("majority", "who")  # of the test set, not of the method
MIN_WINDOWS = 10  # of a subject, for its accuracy to be looked at alone
NAN = float("nan")


def probabilities(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Class probabilities softmax(logits / T), shape (n_windows, n_classes)."""
    return softmax(np.asarray(logits, dtype=float) / temperature, axis=1)


def high_probability(logits: np.ndarray) -> np.ndarray:
    """P(high) from two logits, shape (n_windows,)."""
    return probabilities(logits)[:, 1]


def score(
    y: np.ndarray,
    probability: np.ndarray,
    posterior: np.ndarray | None = None,
    *,
    subject: np.ndarray | None = None,
    trial: np.ndarray | None = None,
) -> dict[str, float]:
    """Score the predicted probabilities of one test set: shares in [0, 1] by :data:`METRICS`.

    `y`, labels from 0; `probability`, P(high) or that of each class, shape (n_windows, n_classes): the likeliest class
    is predicted, in a tie the first; `posterior`, the true P(high | latent), which only the twin knows; `subject` and
    `trial` of each window, the latter numbered within the subject.

    ``auc`` counts ties half; ``majority`` always says the test set's commonest class; ``vote_accuracy`` is that of the
    mean over a trial's windows; ``worst_subject`` the lowest of a subject with :data:`MIN_WINDOWS` windows;
    ``expected_accuracy`` (with `posterior`) that over every rating these latents could have had. NaN where a score is
    not defined: balanced accuracy, macro-F1 and AUC when `y` holds one class only.
    """
    y = np.asarray(y)
    p = _by_class(probability, len(y))
    if not len(y) or not np.isin(y, np.arange(p.shape[1])).all():
        raise ValueError(f"y: expected labels 0 to {p.shape[1] - 1}, got {np.unique(y)[:5].tolist()}")
    y, predicted, two = y.astype(int), p.argmax(axis=1), p.shape[1] == 2
    right, counts = predicted == y, np.bincount(y, minlength=p.shape[1])
    classes = np.flatnonzero(counts)
    f1 = [2 * (right & (y == k)).sum() / (counts[k] + (predicted == k).sum()) for k in classes]
    certain = (y, p[:, 1]) if two else (right.astype(int), p.max(axis=1))
    scores = {
        "accuracy": float(right.mean()),
        "balanced_accuracy": float(np.mean([right[y == k].mean() for k in classes])),
        "macro_f1": float(np.mean(f1)),
        "auc": float(np.mean([_auc(y == k, p[:, k]) for k in (classes[-1:] if two else classes)])),
        "ece": calibration_error(*certain),
        "brier": float(((p - np.eye(p.shape[1])[y]) ** 2).sum(axis=1).mean() / 2),
        "majority": float(counts.max() / len(y)),
    }
    if len(classes) < 2:
        scores |= dict.fromkeys(("balanced_accuracy", "macro_f1", "auc"), NAN)
    if subject is not None:
        code = trial_codes(subject, trial)
        means = pd.DataFrame(p).groupby(code).mean().round(9)  # a tie up to rounding is a tie
        votes, label = means.to_numpy().argmax(axis=1), pd.Series(y).groupby(code).first()
        scores["vote_accuracy"] = float((votes == label).mean())
        people = pd.Series(right).groupby(np.asarray(subject)).agg(["size", "mean"])
        scores["worst_subject"] = float(people.loc[people["size"] >= MIN_WINDOWS, "mean"].min())
    if posterior is not None:
        truth = _by_class(posterior, len(y), "posterior")
        scores["expected_accuracy"] = float(truth[np.arange(len(y)), predicted].mean())
    return {metric: scores[metric] for metric in METRICS if metric in scores}


def _by_class(probability: np.ndarray, n_windows: int, name: str = "probability") -> np.ndarray:
    p = np.asarray(probability, dtype=float)
    if len(p) != n_windows or not ((p >= 0) & (p <= 1)).all():  # NaN is refused too
        raise ValueError(f"{name}: expected values in [0, 1], not logits, for each of {n_windows}, got {p.shape}")
    return np.column_stack([1 - p, p]) if p.ndim == 1 else p


def trial_codes(subject: np.ndarray, trial: np.ndarray) -> np.ndarray:
    """Number from 0 of each window's trial over all subjects, shape (n_windows,); trials are numbered within them."""
    return pd.MultiIndex.from_arrays([np.asarray(subject), np.asarray(trial)]).factorize()[0]


def _auc(positive: np.ndarray, values: np.ndarray) -> float:
    """Mann-Whitney's U over the number of pairs of a positive and another window."""
    n = positive.sum()
    pairs = n * (len(positive) - n)
    return float((rankdata(values)[positive].sum() - n * (n + 1) / 2) / pairs) if pairs else NAN


def knows_only_who(labels: np.ndarray, subject: np.ndarray, train: np.ndarray, part: np.ndarray) -> float:
    """Accuracy on the rows `part` of always saying a person's commonest training label: the floor on known people.

    In a tie within a person the whole training part decides. NaN if somebody has no training window.
    """
    labels, (people, code) = np.asarray(labels), np.unique(subject, return_inverse=True)
    counts = np.zeros((len(people), labels.max() + 1))
    np.add.at(counts, (code[train], labels[train]), 1)
    if not counts[code[part]].any(axis=1).all():
        return NAN
    said = (counts + 1e-9 * counts.sum(axis=0)).argmax(axis=1)
    return float((said[code[part]] == labels[part]).mean())


def calibration_error(y: np.ndarray, probability: np.ndarray, n_bins: int = 10) -> float:
    """Mean distance of predicted and observed share over bins (ECE); of truth: :func:`error_if_calibrated`."""
    number = np.searchsorted(np.arange(1, n_bins) / n_bins, probability, side="left")
    # n_b / n times |mean difference in bin b| is |sum of differences in bin b| / n.
    return float(np.abs(np.bincount(number, np.asarray(probability) - y)).sum() / len(number)) if len(number) else NAN


def error_if_calibrated(
    probability: np.ndarray, trial: np.ndarray, rng: np.random.Generator, n_draws: int = 200
) -> np.ndarray:
    """Calibration errors that these very probabilities would show if each were true, one label drawn per trial."""
    code = np.unique(trial, return_inverse=True)[1]
    labels = rng.random((n_draws, code.max() + 1))[:, code] < probability
    return np.array([calibration_error(drawn, probability) for drawn in labels])


def separation(embeddings: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """How far apart the classes stand in an embedding of shape (n_windows, n_features).

    ``gap_within``: mean distance between the class means over the root mean square distance of the windows to their own
    class mean; ``silhouette``: mean silhouette, -1 .. 1. Both NaN where a class is alone or no window has a neighbour.
    """
    embeddings, labels = np.asarray(embeddings, dtype=float), np.asarray(labels)
    classes, own = np.unique(labels, return_inverse=True)
    if len(classes) < 2 or len(labels) <= len(classes):
        return {"gap_within": NAN, "silhouette": NAN}
    means = np.stack([embeddings[labels == k].mean(axis=0) for k in classes])
    within = np.sqrt(((embeddings - means[own]) ** 2).sum(axis=1).mean())
    pairs = np.triu_indices(len(classes), 1)
    gap = np.linalg.norm(means[pairs[0]] - means[pairs[1]], axis=1).mean()
    silhouette = float(silhouette_score(embeddings, labels))
    return {"gap_within": float(gap / within) if within > 0 else NAN, "silhouette": silhouette}


# Recipes that teach, by what they are called.
GUIDES = {"fusion_rebalanced": "teacher", "ta1_drop": "first assistant", "ta2_drop": "second assistant"}
GUIDES |= {"bagged": "bagged teacher", "oof": "out-of-fold teacher", "oracle": "truth"}


def guide_quality(folders: Mapping[str, Path], part: str = "train") -> pd.DataFrame:
    """What guides (run folders by name) answer on a stored part such as ``train``, beside the labels and the truth.

    Returns a row per guide: ``nll``, mean negative log-likelihood of the labels, and ``entropy`` of the answers, in
    nats; ``agreement``, share of windows predicted as labelled; ``r_posterior``, correlation of P(high) with the
    true posterior; ``r_noise``, with label - posterior, the part of a rating that is chance, which only memory can
    know. The last two are NaN where the truth is not stored or one side is constant.
    """
    found = {}
    for name, folder in folders.items():
        with np.load(folder / "outputs.npz") as outputs:
            rows = outputs[part]
            p, labels = probabilities(outputs["logits"][rows]), outputs["labels"][rows]
            posterior = outputs["posterior"][rows] if len(outputs["posterior"]) else np.full(len(rows), NAN)
        said = np.maximum(p[np.arange(len(rows)), labels], np.finfo(float).tiny)
        found[name] = {
            "nll": float(-np.log(said).mean()),
            "entropy": float(entropy(p).mean()),
            "agreement": float((p.argmax(axis=1) == labels).mean()),
            "r_posterior": _correlation(p[:, -1], posterior),
            "r_noise": _correlation(p[:, -1], labels - posterior),
        }
    return pd.DataFrame.from_dict(found, orient="index").rename_axis("guide")


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    return NAN if np.isnan(b).any() or np.ptp(a) == 0 or np.ptp(b) == 0 else float(np.corrcoef(a, b)[0, 1])


@dataclass(frozen=True)
class ChainAnswers:
    """What the networks of a chain say about all windows, by role, largest first, the student last."""

    logits: Mapping[str, np.ndarray]
    labels: np.ndarray
    parts: Mapping[str, np.ndarray]
    index: pd.DataFrame

    @property
    def guides(self) -> list[str]:
        return list(self.logits)[:-1]

    def rows(self, part: str) -> np.ndarray:
        """Window numbers of a part."""
        return self.parts[part]

    def agreement(self, part: str) -> pd.DataFrame:
        """Share of windows of a part for which each pair of networks, and the labels, say the same; symmetric."""
        rows = self.parts[part]
        said = {name: logits[rows].argmax(axis=1) for name, logits in self.logits.items()}
        said = pd.DataFrame(said | {"labels": self.labels[rows]})
        return pd.DataFrame({name: said.eq(said[name], axis=0).mean() for name in said})


def entropy(probability: np.ndarray) -> np.ndarray:
    """Entropy of each row of class probabilities, in nats: 0 for a hard label, ln 2 for one half each."""
    return entr(probability).sum(axis=1)
