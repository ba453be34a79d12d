"""Windows with a planted signal, made in memory, and studies of them: nothing is prepared, nothing is read."""

from dataclasses import replace

import numpy as np
import pandas as pd

from cdgkd_utils.config import CHOICES, PROFILES, Params, Profile
from cdgkd_utils.data.constants import CHANNELS, N_FRAMES, N_VIDEO_FEATURES, SFREQ, TARGETS, WINDOW_SAMPLES
from cdgkd_utils.data.splits import trial_ids
from cdgkd_utils.data.types import Windows
from cdgkd_utils.experiments.study import Study

PLANTED = Profile(
    "planted",
    n_subjects=9,
    n_trials=24,
    n_windows=2,
    teacher_epochs=10,
    student_epochs=10,
    patience=0,
    n_folds=2,
    n_repeats=1,
    umap_points=0,
)


def planted_windows(n_subjects=9, n_trials=24, n_windows=2, *, eeg=0.6, video=0.5, seed=0):
    """Windows whose two targets are dealt anew to each subject's trials, half low and half high.

    `eeg` is the change of log amplitude of the alpha band with valence, up in the left channels and down in the
    right ones; `video` the shift of a third of the features. On top lies a fingerprint of each trial, as strong as
    what varies between its windows, so that a trial can be learned by heart without learning anything.
    """
    rng = np.random.default_rng(seed)
    axes = (range(1, n_subjects + 1), range(1, n_trials + 1), range(n_windows))
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    index = pd.DataFrame(grid, columns=["subject", "trial", "window"])
    index["stimulus"] = [f"film {trial}" for trial in index["trial"]]
    n, trials = len(index), trial_ids(index)
    per_trial = {
        target: np.concatenate([rng.permutation(np.arange(n_trials) % 2) for _ in range(n_subjects)])
        for target in TARGETS
    }
    for target in TARGETS:
        index[target] = np.where(per_trial[target][trials], 7.0, 3.0)
    sign = (2 * per_trial["valence"] - 1)[trials]

    faces = rng.normal(size=(n_subjects * n_trials, 1, N_VIDEO_FEATURES))[trials]
    faces = faces + rng.normal(size=(n, N_FRAMES, N_VIDEO_FEATURES))
    faces[:, :, : N_VIDEO_FEATURES // 3] += video * sign[:, None, None]

    side = np.where(np.arange(len(CHANNELS)) < len(CHANNELS) // 2, eeg, -eeg)
    fingerprint = 0.2 * rng.normal(size=(n_subjects * n_trials, len(CHANNELS)))[trials]
    gain = np.exp(fingerprint + side * sign[:, None])
    frequency = np.fft.rfftfreq(WINDOW_SAMPLES, 1 / SFREQ)
    spectrum = np.fft.rfft(rng.normal(size=(n, len(CHANNELS), WINDOW_SAMPLES)))
    spectrum[:, :, (frequency >= 8) & (frequency < 13)] *= gain[:, :, None]
    signal = 10 * np.fft.irfft(spectrum, WINDOW_SAMPLES)

    truth = pd.DataFrame({f"posterior_{t}": np.where(per_trial[t][trials], 0.95, 0.05) for t in TARGETS})
    meta = {"key": f"planted {n_subjects} {n_trials} {n_windows} {eeg} {video} {seed}", "name": "planted windows"}
    mask = np.ones((n, N_FRAMES), bool)
    return Windows(signal.astype(np.float32), faces.astype(np.float32), mask, index, truth, meta)


def relabelled(windows, labels, target="valence"):
    """The same windows with ratings that give other labels; the truth stays what it was."""
    index = windows.index.assign(**{target: np.where(labels, 7.0, 3.0)})
    return replace(windows, index=index, meta=windows.meta | {"key": windows.meta["key"] + " relabelled"})


def planted_study(monkeypatch, windows, profile=PLANTED, **parameters):
    """A study of windows in memory under a profile of the test's own."""
    monkeypatch.setitem(PROFILES, profile.name, profile)
    monkeypatch.setitem(CHOICES, "profile", tuple(PROFILES))
    return Study(Params(profile=profile.name, **parameters), windows=windows)
