"""Scaling fitted on training windows only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .types import Windows

VIDEO_CLIP = 5.0  # standard deviations


@dataclass(frozen=True)
class Normaliser:
    """Per-subject EEG gain and per-feature video z-score.

    Attributes
    ----------
    eeg_scale : dict of int to ndarray, shape (28,)
        Standard deviation in µV of each channel over a known subject's training windows.
    default_eeg_scale : ndarray, shape (28,)
        Median over the known subjects, used for a subject without training windows.
    video_mean, video_scale : ndarray, shape (768,)
        Over all valid training frames.
    """

    eeg_scale: dict[int, np.ndarray]
    default_eeg_scale: np.ndarray
    video_mean: np.ndarray
    video_scale: np.ndarray

    @classmethod
    def fit(cls, windows: Windows, train: np.ndarray) -> Normaliser:
        """Estimate all scales from the training rows; no other row is read."""
        subjects = windows.index["subject"].to_numpy()[train]
        eeg_scale = {}
        for subject in np.unique(subjects):
            eeg = windows.eeg_at(train[subjects == subject])
            eeg_scale[int(subject)] = np.maximum(eeg.std(axis=(0, 2)), 1e-6)
        frames = windows.video_at(train)[windows.frame_mask[train]]
        if not len(frames):
            raise ValueError("no training window has a valid video frame")
        return cls(
            eeg_scale,
            np.median(list(eeg_scale.values()), axis=0),
            frames.mean(axis=0),
            np.maximum(frames.std(axis=0), 1e-3),
        )

    def eeg_scales(self, subjects: np.ndarray) -> np.ndarray:
        """Divisor of each window's channels, shape (n_windows, 28), µV, float32, from the windows' subjects."""
        return np.stack([self.eeg_scale.get(int(s), self.default_eeg_scale) for s in subjects]).astype(np.float32)

    def eeg(self, windows: Windows) -> np.ndarray:
        """EEG in units of the subject's channel sd, shape (n_windows, 28, 512), float32."""
        eeg = np.array(windows.eeg, np.float32)
        eeg /= self.eeg_scales(windows.index["subject"].to_numpy())[:, :, None]
        return eeg

    def video(self, windows: Windows) -> np.ndarray:
        """Video features as z-scores clipped at ±5, zero where the frame is missing; same shape, float32."""
        z = np.array(windows.video, np.float32)  # the only copy: it has a gigabyte in the largest studies
        z -= self.video_mean
        z /= self.video_scale
        np.clip(z, -VIDEO_CLIP, VIDEO_CLIP, out=z)
        z[~np.asarray(windows.frame_mask)] = 0
        return z
