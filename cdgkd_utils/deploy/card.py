"""A model card: what an exported student is for, what it was measured on, and what it must not be used for.

References
----------
M. Mitchell et al., Model cards for model reporting, FAT* 2019 (the sections).
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from ..results.metrics import calibration_error, error_if_calibrated, high_probability, score, trial_codes
from ..results.paper import PROTOCOL_NAMES

TWIN_WARNING = (
    "**This student was trained on a synthetic twin: drawn faces and computed EEG. It has never met a person. "
    "What it says about a real face means nothing, neither about that face nor about people.**"
)
FILES_WARNING = (
    "**What this student says is an estimate of what a rater said about a film, not of what a person feels. "
    "It must not be used to judge people.**"
)


def card_scores(folder: Path, temperature: float, rng: np.random.Generator) -> pd.DataFrame:
    """What the record of a run says about its test parts, one row each.

    ``protocol, n_windows, n_trials, n_people, accuracy, majority, balanced_accuracy, auc, brier`` (with temperature);
    ``low, high``: 95 % BCa interval of the accuracy over people, weighted by windows; ``ece_before, ece_after`` the
    temperature, and ``ece_floor``: 95th percentile of what true probabilities would show on so many trials.
    """
    with np.load(Path(folder) / "outputs.npz") as stored:
        outputs = dict(stored)
    rows = []
    for name in [name for name in outputs if name.startswith("test_")]:
        y, logits, subject, trial = (outputs[key][outputs[name]] for key in ("labels", "logits", "subject", "trial"))
        before, after = high_probability(logits), high_probability(logits / temperature)
        found, code = score(y, after), trial_codes(subject, trial)
        people = pd.Series((after > 0.5) == y).groupby(subject).agg(["mean", "size"]).to_numpy(float)
        low, high = _interval(*people.T, rng)
        rows.append(
            {"protocol": name.removeprefix("test_"), "n_windows": len(y), "n_trials": len(np.unique(code))}
            | {"n_people": len(people), "low": low, "high": high}
            | {metric: found[metric] for metric in ("accuracy", "majority", "balanced_accuracy", "auc", "brier")}
            | {"ece_before": calibration_error(y, before), "ece_after": calibration_error(y, after)}
            | {"ece_floor": float(np.quantile(error_if_calibrated(after, code, rng), 0.95))}
        )
    return pd.DataFrame(rows)


def _interval(values: np.ndarray, weights: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    if len(values) < 2 or np.ptp(values) < 1e-12:  # people who do not differ say nothing about their spread
        return float("nan"), float("nan")

    def mean(total: np.ndarray, weight: np.ndarray, axis: int) -> np.ndarray:
        return total.sum(axis=axis) / weight.sum(axis=axis)

    found = stats.bootstrap((values * weights, weights), mean, paired=True, n_resamples=4999, rng=rng)
    return found.confidence_interval.low, found.confidence_interval.high


def model_card(about: Mapping[str, object], scores: pd.DataFrame) -> str:
    """Text of the card, Markdown; `about` is ``Student.about``, `scores` come from :func:`card_scores`."""
    measured, calibration = [], []
    for r in scores.itertuples():
        part = PROTOCOL_NAMES.get(r.protocol, r.protocol)
        interval = f"[{100 * r.low:.1f}, {100 * r.high:.1f}]" if np.isfinite(r.low) else "(too few people)"
        percent = [f"{100 * r.accuracy:.1f} {interval}", f"{100 * r.majority:.1f}", f"{100 * r.balanced_accuracy:.1f}"]
        counts = f"{r.n_windows} / {r.n_trials} / {r.n_people}"
        measured.append([part, counts, *percent, f"{r.auc:.3f}", f"{r.brier:.3f}"])
        calibration.append([part, f"{r.ece_before:.3f}", f"{r.ece_after:.3f}", f"{r.ece_floor:.3f}"])
    heads = ["test part", "windows / trials / people", "accuracy (%)", "majority class (%)", "balanced accuracy (%)"]
    return (
        (files(__package__) / "card.md")
        .read_text(encoding="utf-8")
        .format(
            **about,
            warning=TWIN_WARNING if about["synthetic"] else FILES_WARNING,
            scores=_table([[*heads, "AUC", "Brier"], *measured]),
            calibration=_table([["test part", "before", "after", "true probabilities stay below"], *calibration]),
        )
    )


def _table(rows: list[list[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])
