"""A model card: what an exported student is for, what it was measured on, and what it must not be used for.

References
----------
M. Mitchell et al., Model cards for model reporting, FAT* 2019 (the sections).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from .bootstrap import bootstrap_interval
from .calibration import calibration_error, error_if_calibrated
from .collect import high_probability, subject_scores
from .metrics import score, trial_codes
from .paper import PROTOCOL_NAMES

SHOWN = ("accuracy", "balanced_accuracy", "auc", "brier")
TWIN_WARNING = (
    "**This student was trained on a synthetic twin: drawn faces and computed EEG. It has never met a person. "
    "What it says about a real face means nothing, neither about that face nor about people.**"
)
FILES_WARNING = (
    "**What this student says is an estimate of what a rater said about a film, not of what a person feels. "
    "It must not be used to judge people.**"
)


def card_scores(folder: Path, temperature: float, rng: np.random.Generator) -> pd.DataFrame:
    """What the record of a run says about its test parts.

    Parameters
    ----------
    folder : Path
        Of a finished run.
    temperature : float
        Divides the logits; decisions do not depend on it.
    rng : Generator
        For the bootstrap over people and the calibration floor.

    Returns
    -------
    DataFrame
        One row per test part: ``protocol, n_windows, n_trials, n_people``; ``accuracy, balanced_accuracy, auc,
        brier`` (with temperature), ``majority``; ``low, high``: 95 % interval of the accuracy over people (BCa,
        weighted by windows; NaN for fewer than two); ``ece_before, ece_after`` the temperature, and ``ece_floor``:
        95th percentile of what true probabilities would show on so many trials.

    Raises
    ------
    ValueError
        The temperature is not positive.
    """
    if not temperature > 0:
        raise ValueError(f"temperature: expected a positive number, got {temperature}")
    with np.load(folder / "outputs.npz") as stored:
        outputs = dict(stored)
    people = subject_scores([(0, folder)])
    rows = []
    for name in [name for name in outputs if name.startswith("test_")]:
        part, protocol = outputs[name], name.removeprefix("test_")
        y, logits, subject, trial = (outputs[key][part] for key in ("labels", "logits", "subject", "trial"))
        before, after = high_probability(logits), high_probability(logits / temperature)
        mine = people[people["protocol"] == protocol]
        interval = bootstrap_interval(mine["accuracy"], rng, weights=mine["n_windows"])
        code = trial_codes(subject, trial)
        found = score(y, after)
        rows.append(
            {"protocol": protocol, "n_windows": len(y), "n_trials": len(np.unique(code)), "n_people": len(mine)}
            | {metric: found[metric] for metric in (*SHOWN, "majority")}
            | {"low": interval.low, "high": interval.high}
            | {"ece_before": calibration_error(y, before), "ece_after": calibration_error(y, after)}
            | {"ece_floor": float(np.quantile(error_if_calibrated(after, code, rng), 0.95))}
        )
    return pd.DataFrame(rows)


def model_card(about: Mapping[str, object], scores: pd.DataFrame) -> str:
    """Text of the card, Markdown.

    Parameters
    ----------
    about : mapping
        ``Student.about`` of :mod:`cdgkd_utils.deploy.student`.
    scores : DataFrame
        From :func:`card_scores`.
    """
    a = about
    rows = [
        f"| {PROTOCOL_NAMES.get(r.protocol, r.protocol)} | {r.n_windows} / {r.n_trials} / {r.n_people} "
        f"| {100 * r.accuracy:.1f} {_interval(r.low, r.high)} | {100 * r.majority:.1f} "
        f"| {100 * r.balanced_accuracy:.1f} | {r.auc:.3f} | {r.brier:.3f} |"
        for r in scores.itertuples()
    ]
    calibration = [
        f"| {PROTOCOL_NAMES.get(r.protocol, r.protocol)} | {r.ece_before:.3f} | {r.ece_after:.3f} | {r.ece_floor:.3f} |"
        for r in scores.itertuples()
    ]
    return f"""# Model card: video-only student for {a["target"]}, low or high

{TWIN_WARNING if a["synthetic"] else FILES_WARNING}

## What it is

A {a["family"]} network of the role *{a["model"]}* with {a["n_parameters"]:,} parameters, trained by the recipe
*{a["method"]}* (run {a["run"]}, fold {a["fold"]}, protocol {a["protocol"]}, seed {a["seed"]}, package {a["package"]}).
It takes five frames of a face from 4 s of video, each described by 768 numbers (extractor {a["extractor"]}, crop
{a["crop"]}; {a["extractor_version"]}), and gives P(high {a["target"]}). Scaling and temperature are inside.

## Intended use

Teaching and checking the method: what a student without EEG can learn from a teacher with EEG. **Not for:** decisions
about people, hiring, marking, policing, medicine, advertising, or watching anybody. Reading emotions at work or in
schools is prohibited in the European Union (Regulation 2024/1689, article 5).

## Training data

{a["data"]}: {a["n_train"]} windows of {a["n_people"]} people for training,
{a["n_val"]} for choosing the epoch and the temperature.

## Measured on windows it was not trained on

| test part | windows / trials / people | accuracy (%) | majority class (%) | balanced accuracy (%) | AUC | Brier |
|---|---|---|---|---|---|---|
{chr(10).join(rows)}

In brackets: 95 % interval over people. One fold, one training: the interval resamples people and does not know what
another training would give. Windows of a trial share a label, so the trials count, not the windows.

## Calibration

Temperature {a["temperature"]:.2f}, chosen on validation windows. Expected calibration error, 10 bins:

| test part | before | after | true probabilities stay below |
|---|---|---|---|
{chr(10).join(calibration)}

## Limits

- It has seen one kind of camera, light and framing; `notebooks/07_use_the_student.ipynb` shows how fast cover, blur and
  darkness change its answers. It answers *every* picture, also one without a face.
- It gives one number for 4 s and knows nothing of what came before, of the situation or of the person.
- Low and high are a rating above or below 5 on a scale from 1 to 9: what somebody *said*, about one film.
- Faces are read differently well across people; no group was tested separately.

## Consent

A face is personal data. Film only people who agreed to *this* use after being told what is computed and kept, who can
say no without loss and withdraw later. Everything is computed on this machine; nothing is sent anywhere or kept.
"""


def _interval(low: float, high: float) -> str:
    return f"[{100 * low:.1f}, {100 * high:.1f}]" if np.isfinite([low, high]).all() else "(too few people)"
