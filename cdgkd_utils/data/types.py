"""The few types that cross rooms: trials, as a reader yields them, windows, as models see them, and their scaling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from .constants import TARGETS

VIDEO_CLIP = 5.0  # standard deviations
Rows = np.ndarray | slice | int
ALL = slice(None)


class DataError(ValueError):
    """A file of a data set is missing, damaged or contradicts another; the message names it and says what to do."""


@dataclass(frozen=True)
class Trial:
    """One stimulus presentation of one subject."""

    subject: int  # 1-based as on disk
    trial: int  # identity within the subject (DEAP: Experiment_id)
    presentation: int  # place in the session, 1-based (DEAP: Trial; names the video file)
    stimulus: str  # identity of the stimulus, for splits by stimulus
    eeg: np.ndarray  # (28, n_times): the stimulus in µV at 128 Hz, channels in constants.CHANNELS order
    baseline: np.ndarray  # (28, 384): the 3 s before playback, in µV
    ratings: Mapping[str, float]  # valence, arousal, dominance, liking on the 1..9 scale
    video: Path | None  # the face clip; its time 0 is the first sample of `eeg`
    video_rate: float | None = None  # frames per second where the clip's header is known to be wrong (MAHNOB-HCI)


@dataclass
class Windows:
    """Windows of all trials, ready for splitting.

    Those from the cache are read-only memory maps of float16, in which sums overflow: compute on what :meth:`eeg_at`
    and :meth:`video_at` give.

    Attributes
    ----------
    eeg : ndarray, shape (n_windows, 28, 512), float32 or float16
        EEG in µV.
    video : ndarray, shape (n_windows, 5, 768), float32 or float16
        Features of five frames per window; rows of invalid frames are zero.
    frame_mask : ndarray, shape (n_windows, 5), bool
        True where the frame exists.
    index : DataFrame
        One row per window: ``subject, trial, presentation, stimulus, window`` and the four ratings.
    truth : DataFrame or None
        Twin only, one row per window: for each target ``z_*, x_eeg_*, x_video_*, posterior_*``.
    meta : dict
        ``name`` (what the numbers may be called), ``synthetic`` (bool), ``key`` (of what decides the numbers),
        ``excluded`` (what was left out: a list of (subject, trial, reason)), ``settings``.
    """

    eeg: np.ndarray
    video: np.ndarray
    frame_mask: np.ndarray
    index: pd.DataFrame
    truth: pd.DataFrame | None = None
    meta: dict = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.index)

    def eeg_at(self, rows: Rows = ALL) -> np.ndarray:
        """EEG of the given windows (default: all) in µV, shape (n, 28, 512), float32; not to be written to."""
        return np.asarray(self.eeg[rows], np.float32)

    def video_at(self, rows: Rows = ALL) -> np.ndarray:
        """Features of the given windows, shape (n, 5, 768), float32; not to be written to."""
        return np.asarray(self.video[rows], np.float32)

    def labels(self, target: str, threshold: float = 5.0) -> np.ndarray:
        """1 where the rating of "valence" or "arousal" is above `threshold`, else 0; shape (n_windows,), int64.

        A rating equal to the threshold counts as low (DEAP paper, TSception).
        """
        if target not in TARGETS:
            raise ValueError(f"target must be one of {', '.join(TARGETS)}, got {target!r}")
        return (self.index[target].to_numpy() > threshold).astype(np.int64)

    def posterior(self, target: str) -> np.ndarray | None:
        """The true P(y = 1 | latent) of each window, shape (n_windows,); None for real data."""
        return None if self.truth is None else self.truth[f"posterior_{target}"].to_numpy()


@dataclass(frozen=True)
class Normaliser:
    """Per-subject EEG gain and per-feature video z-score, fitted on training windows only."""

    eeg_scale: dict[int, np.ndarray]  # (28,) by subject: sd in µV of each channel over the training windows
    default_eeg_scale: np.ndarray  # (28,): their median, for a subject without training windows
    video_mean: np.ndarray  # (768,), over all valid training frames, as the next
    video_scale: np.ndarray

    @classmethod
    def fit(cls, windows: Windows, train: np.ndarray) -> Normaliser:
        """Estimate all scales from the training rows; no other row is read."""
        subjects = windows.index["subject"].to_numpy()[train]
        of = {int(s): windows.eeg_at(train[subjects == s]).std(axis=(0, 2)) for s in np.unique(subjects)}
        scale = {subject: np.maximum(sd, 1e-6) for subject, sd in of.items()}
        frames = windows.video_at(train)[windows.frame_mask[train]]
        if not len(frames):
            raise ValueError("no training window has a valid video frame")
        default = np.median(list(scale.values()), axis=0)
        return cls(scale, default, frames.mean(axis=0), np.maximum(frames.std(axis=0), 1e-3))

    def eeg_scales(self, subjects: np.ndarray) -> np.ndarray:
        """Divisor of each window's channels, shape (n_windows, 28), µV, float32, from the windows' subjects."""
        return np.stack([self.eeg_scale.get(int(s), self.default_eeg_scale) for s in subjects]).astype(np.float32)

    def eeg(self, windows: Windows) -> np.ndarray:
        """EEG in units of the subject's channel sd, shape (n_windows, 28, 512), float32."""
        return windows.eeg_at() / self.eeg_scales(windows.index["subject"].to_numpy())[:, :, None]

    def video(self, windows: Windows) -> np.ndarray:
        """Video features as z-scores clipped at ±5, zero where the frame is missing; same shape, float32."""
        z = np.array(windows.video, np.float32)  # the only copy: it has a gigabyte in the largest studies
        z -= self.video_mean
        z /= self.video_scale
        np.clip(z, -VIDEO_CLIP, VIDEO_CLIP, out=z)
        z[~np.asarray(windows.frame_mask)] = 0
        return z
