"""Baselines without a gradient: a support vector machine on windows, and fusion of two networks' decisions."""

import numpy as np
from scipy.special import log_softmax
from sklearn.calibration import CalibratedClassifierCV
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

N_FOLDS = 5
N_SHARES = 101  # 0, 0.01, .., 1


def fit_svm(
    features: np.ndarray, labels: np.ndarray, groups: np.ndarray, train_rows: np.ndarray, *, seed: int, n_classes=2
) -> np.ndarray:
    """Log-probabilities, shape (n_windows, n_classes), float32, from an RBF machine fitted on the training rows.

    Scores become probabilities by Platt's sigmoid, fitted on scores of training windows whose whole trial was
    held out: a machine knows the windows of its own trials too well. A sigmoid that would turn the machine's
    ranking round is made flat instead: what it learned did not carry over to other trials.

    Features, shape (n_windows, n_features), are z-scored by the training rows; `labels` are read there alone; `groups`
    are the windows' trials, dealt into folds by `seed`.
    """
    x, y, trials = features[train_rows], labels[train_rows], groups[train_rows]
    n_trials = [len(np.unique(trials[y == k])) for k in range(n_classes)]
    if min(n_trials) < 2:
        raise ValueError(
            "train_rows: each class needs 2 trials or more to calibrate on held-out trials, got "
            f"{' and '.join(map(str, n_trials))} by class; use more trials"
        )
    folds = StratifiedGroupKFold(min(N_FOLDS, *n_trials), shuffle=True, random_state=seed).split(x, y, trials)
    machine = make_pipeline(StandardScaler(), SVC())
    fitted = CalibratedClassifierCV(machine, cv=list(folds), ensemble=False).fit(x, y)
    sigmoids = fitted.calibrated_classifiers_[0].calibrators
    for k, sigmoid in enumerate(sigmoids, start=int(len(sigmoids) == 1)):
        if sigmoid.a_ > 0:  # P(k) = 1 / (1 + exp(a score + b))
            share = (y == k).mean()
            sigmoid.a_, sigmoid.b_ = 0.0, np.log(1 / share - 1)
    return np.log(fitted.predict_proba(features).clip(1e-12)).astype(np.float32)


def late_fusion(
    video_logits: np.ndarray, eeg_logits: np.ndarray, labels: np.ndarray, val_rows: np.ndarray
) -> tuple[float, np.ndarray]:
    """The video's share k, chosen on validation rows alone, and ln(k p_video + (1 − k) p_eeg) of all, float32."""
    share = choose_share(video_logits[val_rows], eeg_logits[val_rows], labels[val_rows])
    return share, fused_log_probabilities(video_logits, eeg_logits, share).astype(np.float32)


def fused_log_probabilities(video_logits: np.ndarray, eeg_logits: np.ndarray, video_share: float) -> np.ndarray:
    """ln(k p_video + (1 − k) p_eeg) of a share k, shape (n_windows, n_classes), float64."""
    with np.errstate(divide="ignore"):  # ln 0 = -inf is what a share of 0 means
        parts = np.log(video_share), np.log1p(-video_share)
    video, eeg = (log_softmax(np.asarray(logits, dtype=float), axis=1) for logits in (video_logits, eeg_logits))
    return np.logaddexp(parts[0] + video, parts[1] + eeg)


def choose_share(video_logits: np.ndarray, eeg_logits: np.ndarray, labels: np.ndarray) -> float:
    """The share of the video, of 0, 0.01, .., 1, with the highest balanced accuracy on the given windows.

    Ties go to the lower cross-entropy, then to the share nearest to one half, then to the smaller one.
    """
    classes, ranks = np.unique(labels), []
    for step in range(N_SHARES):
        fused = fused_log_probabilities(video_logits, eeg_logits, step / (N_SHARES - 1))
        right = fused.argmax(axis=1) == labels
        recall = np.mean([right[labels == k].mean() for k in classes])
        cross_entropy = -fused[np.arange(len(labels)), labels].mean()
        # Rounded, so that equal shares do not differ in the last bit.
        ranks.append((-round(recall, 12), round(cross_entropy, 12), abs(2 * step - (N_SHARES - 1)), step))
    return min(ranks)[-1] / (N_SHARES - 1)
