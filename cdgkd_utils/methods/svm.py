"""Support-vector machine with probabilities, for windows of which several come from one trial."""

from __future__ import annotations

import numpy as np
from scipy.special import log_expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

N_FOLDS = 5
_CHUNK = 1024  # windows scored at once


def fit_svm(
    features: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    train_rows: np.ndarray,
    *,
    seed: int,
    c: float = 1.0,
    gamma: float | None = None,
) -> np.ndarray:
    """Log-probabilities of all windows from an RBF machine that is fitted on the training rows.

    Scores become probabilities by Platt's sigmoid, fitted on scores of training windows whose whole trial was
    held out: a machine knows the windows of its own trials too well. A sigmoid that would turn the machine's
    ranking round is made flat instead: what it learned did not carry over to other trials.

    Parameters
    ----------
    features : ndarray, shape (n_windows, n_features)
        Finite; z-scored here with the mean and deviation of the training rows.
    labels : ndarray of int, shape (n_windows,)
        0 or 1; only those of `train_rows` are read.
    groups : ndarray of int, shape (n_windows,)
        Number of each window's trial, unique over subjects (``splits.trial_ids``).
    train_rows : ndarray of int
    seed : int
        Deals the trials into folds.
    c : float
        Cost of an error; 1 is scikit-learn's default.
    gamma : float, optional
        Of the kernel exp(-gamma |x - x'|²); default 1 / n_features, scikit-learn's for z-scored features.

    Returns
    -------
    ndarray, shape (n_windows, 2), float32
        ln P(low), ln P(high).

    Raises
    ------
    ValueError
        A shape does not fit, a feature is not finite, or a class has fewer than two trials among the training rows.

    References
    ----------
    method.md, section 6, row CNN+SVM. Platt: Probabilistic outputs for support vector machines, 1999, equation 4.
    """
    features, labels, groups = np.asarray(features, dtype=float), np.asarray(labels), np.asarray(groups)
    _check(features, labels, groups)
    x, y, trials = features[train_rows], labels[train_rows], groups[train_rows]
    n_trials = [len(np.unique(trials[y == k])) for k in (0, 1)]
    if min(n_trials) < 2:
        raise ValueError(
            f"train_rows: each class needs 2 trials or more to calibrate on held-out trials, got {n_trials[0]} low "
            f"and {n_trials[1]} high; use more trials"
        )
    scaler = StandardScaler().fit(x)
    x = scaler.transform(x)
    gamma = 1 / features.shape[1] if gamma is None else gamma
    # One kernel matrix for all folds, by matrix products: several times faster than libsvm's own kernel.
    kernel = rbf_kernel(x, gamma=gamma)
    machine = SVC(C=c, kernel="precomputed")
    folds = StratifiedGroupKFold(min(N_FOLDS, *n_trials), shuffle=True, random_state=seed)
    held_out = cross_val_predict(machine, kernel, y, groups=trials, cv=folds, method="decision_function")
    slope, offset = _platt(held_out, y)
    machine.fit(kernel, y)
    support, weights = x[machine.support_], machine.dual_coef_[0]
    scores = [
        rbf_kernel(scaler.transform(features[start : start + _CHUNK]), support, gamma=gamma) @ weights
        for start in range(0, len(features), _CHUNK)
    ]
    margin = slope * (np.concatenate(scores) + machine.intercept_) + offset
    return np.stack([log_expit(-margin), log_expit(margin)], axis=1).astype(np.float32)


def _platt(scores: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope, 0 or more, and offset of P(high) = sigmoid(slope * score + offset)."""
    n_low, n_high = (y == 0).sum(), (y == 1).sum()
    # Platt's targets are not quite 0 and 1; each window counts once as high and once as low, with these weights.
    target = np.where(y == 1, (n_high + 1) / (n_high + 2), 1 / (n_low + 2))
    sigmoid = LogisticRegression(C=np.inf, tol=1e-8).fit(
        np.tile(scores, 2)[:, None], np.repeat([1, 0], len(y)), sample_weight=np.concatenate([target, 1 - target])
    )
    if sigmoid.coef_.item() > 0:
        return sigmoid.coef_.item(), sigmoid.intercept_.item()
    return 0.0, float(np.log(target.sum() / (1 - target).sum()))


def _check(features: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> None:
    if features.ndim != 2 or labels.shape != features.shape[:1] or groups.shape != features.shape[:1]:
        raise ValueError(
            "features, labels and groups: expected shapes (n_windows, n_features), (n_windows,) and (n_windows,), "
            f"got {features.shape}, {labels.shape} and {groups.shape}"
        )
    finite = np.isfinite(features).all(axis=1)
    if not finite.all():
        raise ValueError(f"features: expected finite numbers, {(~finite).sum()} windows hold others; see the EEG there")
