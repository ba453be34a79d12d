"""What is measured on a finished run: scores of stored predictions, and how far the prototypes stand apart."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata
from sklearn.metrics import silhouette_score

from .calibration import brier, calibration_error

METRIC_NAMES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro-F1",
    "auc": "area under the ROC curve",
    "vote_accuracy": "accuracy of trial votes",
    "vote_balanced_accuracy": "balanced accuracy of trial votes",
    "worst_subject": "accuracy of the worst subject",
    "ece": "calibration error, 10 bins of equal width",
    "ece_mass": "calibration error, 10 bins of equal mass",
    "brier": "Brier score",
    "majority": "majority class",
    "expected_accuracy": "expected accuracy",
}
METRICS = tuple(METRIC_NAMES)
LOWER_IS_BETTER = ("ece", "ece_mass", "brier")
MIN_WINDOWS = 10  # of a subject, for its accuracy to be looked at alone
NAN = float("nan")
_TIE = 1e-9  # a mean this near to 1/2 differs from it by rounding only


def score(
    y: np.ndarray,
    probability: np.ndarray,
    posterior: np.ndarray | None = None,
    *,
    subject: np.ndarray | None = None,
    trial: np.ndarray | None = None,
) -> dict[str, float]:
    """Score the predicted probabilities of one test set.

    Parameters
    ----------
    y : ndarray, shape (n_windows,)
        True labels, 0 (low) or 1 (high).
    probability : ndarray, shape (n_windows,)
        Predicted P(high), in [0, 1]; above 0.5 counts as high.
    posterior : ndarray, shape (n_windows,), optional
        The true P(high | latent), which only the synthetic twin knows.
    subject, trial : ndarray, shape (n_windows,), optional
        Subject of each window and its trial, numbered within the subject; both or neither.

    Returns
    -------
    dict
        Shares in [0, 1], in the order of :data:`METRICS`:

        - ``accuracy``, ``balanced_accuracy`` (mean recall of the classes), ``macro_f1``;
        - ``auc``: chance that a high window gets a higher probability than a low one, ties count half;
        - ``ece``, ``ece_mass``, ``brier``: see :mod:`.calibration`; lower is better;
        - ``majority``: what always saying the test set's commoner class would score;
        - with `subject` and `trial`: ``vote_accuracy`` and ``vote_balanced_accuracy`` over trials, whose vote is
          high where the mean probability of the trial's windows lies above 0.5, so that a tie counts as low, as
          it does for a window; ``worst_subject``: the lowest accuracy of a subject with at least
          :data:`MIN_WINDOWS` windows. A minimum falls with the number of subjects and with noise: compare it on
          equal test sets only;
        - with `posterior`: ``expected_accuracy``, the mean of P(y = prediction | latent): the accuracy over every
          rating these latents could have had, and so far less noisy than ``accuracy`` (twin.md, section 2).

        NaN where a score is not defined: balanced accuracy, macro-F1 and AUC when `y` holds one class only, and
        ``worst_subject`` when every subject has too few windows.

    Raises
    ------
    ValueError
        An array is empty, differs in length, or holds something else than labels or probabilities; a trial has
        two labels; only one of `subject` and `trial` is given.
    """
    y = np.asarray(y)
    if y.ndim != 1 or len(y) == 0:
        raise ValueError(f"y: expected a non-empty one-dimensional array, got shape {y.shape}")
    if not ((y == 0) | (y == 1)).all():
        raise ValueError(f"y: expected labels 0 and 1, got {np.unique(y)[:5].tolist()}")
    y = y.astype(int)
    probability = _probabilities("probability", probability, len(y))
    predicted = (probability > 0.5).astype(int)
    share = float(y.mean())
    scores = {
        "accuracy": float((predicted == y).mean()),
        "balanced_accuracy": _balanced_accuracy(y, predicted),
        "macro_f1": _macro_f1(y, predicted),
        "auc": _auc(y, probability),
        "ece": calibration_error(y, probability),
        "ece_mass": calibration_error(y, probability, equal_mass=True),
        "brier": brier(y, probability),
        "majority": max(share, 1 - share),
    }
    if (subject is None) != (trial is None):
        raise ValueError("subject and trial: expected both or neither; trials are numbered within subjects")
    if subject is not None:
        scores |= _votes(y, probability, trial_codes(subject, trial))
        scores["worst_subject"] = _worst_subject(y == predicted, np.unique(subject, return_inverse=True)[1])
    if posterior is not None:
        posterior = _probabilities("posterior", posterior, len(y))
        scores["expected_accuracy"] = float(np.where(predicted == 1, posterior, 1 - posterior).mean())
    return {metric: scores[metric] for metric in METRICS if metric in scores}


def trial_codes(subject: np.ndarray, trial: np.ndarray) -> np.ndarray:
    """Number from 0 of each window's trial over all subjects, shape (n_windows,).

    Parameters
    ----------
    subject, trial : ndarray, shape (n_windows,)
        The trial is numbered within its subject.

    Raises
    ------
    ValueError
        The lengths differ.
    """
    subject, trial = np.asarray(subject), np.asarray(trial)
    if subject.ndim != 1 or subject.shape != trial.shape:
        raise ValueError(f"subject and trial: expected one value per window, got {subject.shape} and {trial.shape}")
    person = np.unique(subject, return_inverse=True)[1]
    names, number = np.unique(trial, return_inverse=True)
    return np.unique(person * len(names) + number, return_inverse=True)[1]


def _balanced_accuracy(y: np.ndarray, predicted: np.ndarray) -> float:
    n_high = y.sum()
    if n_high in (0, len(y)):
        return NAN
    return float((predicted[y == 1].mean() + 1 - predicted[y == 0].mean()) / 2)


def _macro_f1(y: np.ndarray, predicted: np.ndarray) -> float:
    if y.sum() in (0, len(y)):
        return NAN
    wrong = (y != predicted).sum()
    # With both classes in y no denominator is 0: a window is right or wrong.
    right = [((y == k) & (predicted == k)).sum() for k in (0, 1)]
    return float(np.mean([2 * n / (2 * n + wrong) for n in right]))


def _auc(y: np.ndarray, probability: np.ndarray) -> float:
    """Mann-Whitney's U over the number of pairs of a high and a low window."""
    n_high, n_low = y.sum(), len(y) - y.sum()
    if n_high == 0 or n_low == 0:
        return NAN
    return float((rankdata(probability)[y == 1].sum() - n_high * (n_high + 1) / 2) / (n_high * n_low))


def _votes(y: np.ndarray, probability: np.ndarray, code: np.ndarray) -> dict[str, float]:
    if code.shape != y.shape:
        raise ValueError(f"subject and trial: expected {len(y)} values, one per label, got {len(code)}")
    n_windows = np.bincount(code)
    label = np.bincount(code, y) / n_windows
    mixed = int((label % 1 > 0).sum())
    if mixed:
        raise ValueError(
            f"y: {mixed} trials hold windows of both labels; expected one label per trial, as its rating is one"
        )
    vote = (np.bincount(code, probability) / n_windows > 0.5 + _TIE).astype(int)
    label = label.astype(int)
    return {
        "vote_accuracy": float((vote == label).mean()),
        "vote_balanced_accuracy": _balanced_accuracy(label, vote),
    }


def _worst_subject(right: np.ndarray, person: np.ndarray) -> float:
    n_windows = np.bincount(person)
    enough = n_windows >= MIN_WINDOWS
    return float((np.bincount(person, right)[enough] / n_windows[enough]).min()) if enough.any() else NAN


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
