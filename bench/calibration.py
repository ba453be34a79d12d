"""How much of the feeling linear probes find in the twin: ``python bench/calibration.py [--world mixed] [--seeds 2]``.

The twin is meant to give about 60-65 % from one modality, 66-70 % from both, and r of 0.85-0.9 with the
latents that the modality sees (guesses averaged over a trial). Observed accuracy counts rated labels;
expected accuracy is the mean probability, known from the latents, that the predicted label comes true.
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from cdgkd_utils.data.constants import SFREQ, TARGETS
from cdgkd_utils.data.twin import WORLDS, TwinSettings, prepare_subject
from cdgkd_utils.data.types import Windows

BANDS = ((4, 8), (8, 13), (13, 30), (30, 45))  # Hz
N_FOLDS = 5


def log_band_power(windows: Windows) -> np.ndarray:
    """Log power of each channel and band, shape (n_windows, 112); each person's channels scaled to sd 1."""
    eeg = windows.eeg.astype(np.float64)
    for rows in windows.index.groupby("subject").indices.values():
        eeg[rows] /= eeg[rows].std(axis=(0, 2))[:, None]
    power = np.abs(np.fft.rfft(eeg * np.hanning(eeg.shape[2]))) ** 2
    freqs = np.fft.rfftfreq(eeg.shape[2], 1 / SFREQ)
    bands = [power[:, :, (freqs >= low) & (freqs < high)].mean(axis=2) for low, high in BANDS]
    return np.log(np.concatenate(bands, axis=1))


def mean_frames(windows: Windows) -> np.ndarray:
    """Visual features averaged over the valid frames, shape (n_windows, 768)."""
    valid = windows.frame_mask[:, :, None]
    return (windows.video * valid).sum(axis=1) / valid.sum(axis=1)


def probe(estimator):
    return make_pipeline(StandardScaler(), FunctionTransformer(np.clip, kw_args={"a_min": -5, "a_max": 5}), estimator)


def calibrate(windows: Windows, target: str, unit: str) -> dict[str, float]:
    """Cross-validated probes of one target; folds keep the windows of a trial (or person) together."""
    features = {"eeg": log_band_power(windows), "video": mean_frames(windows)}
    labels, posterior = windows.labels(target), windows.posterior(target)
    groups = windows.index.groupby(["subject"] if unit == "subject" else ["subject", "trial"]).ngroup()
    scores = {name: np.empty(len(windows)) for name in features}
    latents = {name: np.empty(len(windows)) for name in features}
    for train, test in GroupKFold(N_FOLDS, shuffle=True, random_state=0).split(labels, groups=groups):
        for name, x in features.items():
            logistic = probe(LogisticRegression(C=0.01, max_iter=500)).fit(x[train], labels[train])
            scores[name][test] = logistic.decision_function(x[test])
            truth = windows.truth[f"x_{name}_{target}"].to_numpy()
            latents[name][test] = probe(Ridge(300.0)).fit(x[train], truth[train]).predict(x[test])
    scores["late fusion"] = scores["eeg"] + scores["video"]
    out = {}
    for name, score in scores.items():
        guess = score > 0
        out[f"{name}, observed"] = 100 * (guess == labels).mean()
        out[f"{name}, expected"] = 100 * np.where(guess, posterior, 1 - posterior).mean()
    trial = windows.index.groupby(["subject", "trial"]).ngroup()
    for name, guess in latents.items():
        pair = pd.DataFrame({"guess": guess, "truth": windows.truth[f"x_{name}_{target}"]})
        out[f"{name}, r by window"] = pair.corr().loc["guess", "truth"]
        out[f"{name}, r by trial"] = pair.groupby(trial.to_numpy()).mean().corr().loc["guess", "truth"]
    out["known latent, expected"] = 100 * np.maximum(posterior, 1 - posterior).mean()
    out["majority"] = 100 * max(labels.mean(), 1 - labels.mean())
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--world", default="mixed", choices=tuple(WORLDS))
    parser.add_argument("--seeds", type=int, default=2, help="people drawn anew this many times")
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    columns = {}
    for seed in range(options.seeds):
        settings = TwinSettings(seed=seed, world=options.world)
        windows = Windows.joined([prepare_subject(settings, k) for k in range(1, 23)])
        for unit in ("trial", "subject"):
            for target in TARGETS:
                columns[(f"by {unit}", target, seed)] = calibrate(windows, target, unit)
    table = pd.DataFrame(columns)
    table.columns.names = ("folds", "target", "seed")
    mean = table.T.groupby(level=("folds", "target"), sort=False).mean().T
    print(f"world {options.world}, {len(windows)} windows, {options.seeds} seeds, {N_FOLDS} folds: %, r")
    print(mean.round(2).to_string())


if __name__ == "__main__":
    main()
