"""A model card: what a student is for, was measured on, and must not be used for (Mitchell et al., FAT* 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from ..results.metrics import calibration_error, error_if_calibrated, high_probability, score, trial_codes
from ..results.paper import PROTOCOL_NAMES
from ..results.tables import as_markdown

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
        code = trial_codes(subject, trial)
        right, size = pd.Series((after > 0.5) == y).groupby(subject).agg(["sum", "size"]).to_numpy(float).T
        low = high = np.nan
        if np.ptp(right / size) > 1e-12:  # people who do not differ say nothing about their spread
            share = lambda right, size, axis: right.sum(axis=axis) / size.sum(axis=axis)  # noqa: E731
            found = stats.bootstrap((right, size), share, paired=True, n_resamples=4999, rng=rng)
            low, high = found.confidence_interval
        row = {"protocol": name.removeprefix("test_"), "n_windows": len(y), "n_trials": len(set(code))}
        row |= {"n_people": len(size), "low": low, "high": high} | score(y, after)
        row |= {"ece_before": calibration_error(y, before), "ece_after": calibration_error(y, after)}
        rows.append(row | {"ece_floor": float(np.quantile(error_if_calibrated(after, code, rng), 0.95))})
    return pd.DataFrame(rows)


def model_card(about: Mapping[str, object], scores: pd.DataFrame) -> str:
    """Text of the card, Markdown; `about` is ``Student.about``, `scores` come from :func:`card_scores`."""
    rows = {}
    for r in scores.itertuples():
        interval = f"[{100 * r.low:.1f}, {100 * r.high:.1f}]" if np.isfinite(r.low) else "(too few people)"
        rows[PROTOCOL_NAMES.get(r.protocol, r.protocol)] = {
            "windows / trials / people": f"{r.n_windows} / {r.n_trials} / {r.n_people}",
            "accuracy (%)": f"{100 * r.accuracy:.1f} {interval}",
            "majority class (%)": f"{100 * r.majority:.1f}",
            "balanced accuracy (%)": f"{100 * r.balanced_accuracy:.1f}",
            "AUC": f"{r.auc:.3f}",
            "Brier": f"{r.brier:.3f}",
            "calibration error": f"{r.ece_before:.3f} → {r.ece_after:.3f} (if true: up to {r.ece_floor:.3f})",
        }
    table = as_markdown(pd.DataFrame.from_dict(rows, orient="index").rename_axis("test part"))
    warning = TWIN_WARNING if about["synthetic"] else FILES_WARNING
    return (files(__package__) / "card.md").read_text(encoding="utf-8").format(**about, scores=table, warning=warning)
