"""Fusion at the level of decisions: a weighted mean of two networks' probabilities, the weight chosen on validation."""

from __future__ import annotations

import numpy as np
from scipy.special import log_softmax

N_SHARES = 101  # 0, 0.01, .., 1


def late_fusion(
    video_logits: np.ndarray, eeg_logits: np.ndarray, labels: np.ndarray, val_rows: np.ndarray
) -> tuple[float, np.ndarray]:
    """Choose the share of the video on validation rows, then fuse all rows.

    Parameters
    ----------
    video_logits, eeg_logits : ndarray, shape (n_windows, 2)
        Logits or log-probabilities.
    labels : ndarray of int, shape (n_windows,)
        Only those of `val_rows` are read.
    val_rows : ndarray of int

    Returns
    -------
    video_share : float
        k of s = k s_face + (1 - k) s_eeg, 0 .. 1.
    log_probabilities : ndarray, shape (n_windows, 2), float32

    Raises
    ------
    ValueError
        The shapes differ, a value is NaN, or there is no validation row.

    References
    ----------
    method.md, section 6, rows CNN+SVM and CNN+LSTM.
    """
    video_logits, eeg_logits, labels = np.asarray(video_logits), np.asarray(eeg_logits), np.asarray(labels)
    if not video_logits.shape == eeg_logits.shape == (len(labels), 2):
        raise ValueError(
            "video_logits and eeg_logits: expected shape (n_windows, 2) for n_windows labels, "
            f"got {video_logits.shape}, {eeg_logits.shape} and {len(labels)} labels"
        )
    for name, values in (("video_logits", video_logits), ("eeg_logits", eeg_logits)):
        if np.isnan(values).any():
            raise ValueError(f"{name}: expected numbers, {np.isnan(values).any(axis=1).sum()} windows hold NaN")
    if not len(val_rows):
        raise ValueError("val_rows: expected validation rows to choose the share on, got none")
    share = choose_share(video_logits[val_rows], eeg_logits[val_rows], labels[val_rows])
    return share, fused_log_probabilities(video_logits, eeg_logits, share).astype(np.float32)


def fused_log_probabilities(video_logits: np.ndarray, eeg_logits: np.ndarray, video_share: float) -> np.ndarray:
    """ln(k p_video + (1 - k) p_eeg), shape (n_windows, 2), float64.

    Parameters
    ----------
    video_logits, eeg_logits : ndarray, shape (n_windows, 2)
        Logits or log-probabilities.
    video_share : float
        k, 0 .. 1.
    """
    with np.errstate(divide="ignore"):  # ln 0 = -inf is what a share of 0 means
        parts = np.log(video_share), np.log1p(-video_share)
    video, eeg = (log_softmax(np.asarray(logits, dtype=float), axis=1) for logits in (video_logits, eeg_logits))
    return np.logaddexp(parts[0] + video, parts[1] + eeg)


def choose_share(video_logits: np.ndarray, eeg_logits: np.ndarray, labels: np.ndarray) -> float:
    """The share of the video, out of 0, 0.01, .., 1, with the highest balanced accuracy.

    Ties go to the lower cross-entropy, then to the share nearest to one half, then to the smaller one.

    Parameters
    ----------
    video_logits, eeg_logits : ndarray, shape (n_windows, 2)
        Of validation windows.
    labels : ndarray of int, shape (n_windows,)
    """
    classes = np.unique(labels)
    best, best_rank = 0.0, None
    for step in range(N_SHARES):
        share = step / (N_SHARES - 1)
        fused = fused_log_probabilities(video_logits, eeg_logits, share)
        right = fused.argmax(axis=1) == labels
        recall = np.mean([right[labels == k].mean() for k in classes])
        cross_entropy = -fused[np.arange(len(labels)), labels].mean()
        # Rounded, so that equal shares do not differ in the last bit.
        rank = (-round(recall, 12), round(cross_entropy, 12), abs(2 * step - (N_SHARES - 1)))
        if best_rank is None or rank < best_rank:
            best, best_rank = share, rank
    return best
