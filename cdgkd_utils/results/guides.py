"""How much a guide knows and how much it only remembers, from its stored answers. Knows nothing of models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from .collect import high_probability

QUALITIES = ("nll", "entropy", "agreement", "r_posterior", "r_noise")


def guide_quality(folders: Mapping[str, Path], part: str = "train") -> pd.DataFrame:
    """What guides answer on one part of the split, compared with the labels and, on the twin, with the truth.

    Parameters
    ----------
    folders : mapping of str to Path
        Run folders by the guide's name; networks or averaged guides alike.
    part : str
        Name of a stored part, such as ``train`` (what a student hears) or ``test_trial``.

    Returns
    -------
    DataFrame, indexed by the guide's name
        ``nll``: mean negative log-likelihood of the labels, in nats; ``entropy``: mean entropy of the answers, in
        nats, 0 .. ln 2; ``agreement``: share of windows whose prediction is the label, 0 .. 1; ``r_posterior``:
        correlation of P(high) with the true posterior; ``r_noise``: its correlation with label − posterior, the
        part of a rating that is chance, which only memory can know. The last two are NaN where the truth is not
        stored or one side is constant.

    Raises
    ------
    ValueError
        A run has no such part.

    References
    ----------
    guides.md, section 5.
    """
    rows = {name: _quality(folder, part) for name, folder in folders.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=list(QUALITIES)).rename_axis("guide")


def _quality(folder: Path, part: str) -> dict[str, float]:
    with np.load(folder / "outputs.npz") as outputs:
        if part not in outputs.files:
            known = [name for name in outputs.files if name in ("train", "val") or name.startswith("test_")]
            raise ValueError(f"part: run {folder.name} has no part {part!r}; it has {', '.join(known)}")
        rows = outputs[part]
        logits, labels = outputs["logits"][rows].astype(float), outputs["labels"][rows]
        posterior = outputs["posterior"][rows] if len(outputs["posterior"]) else np.full(len(rows), np.nan)
    log_p = logits - np.logaddexp(logits[:, 0], logits[:, 1])[:, None]
    high = high_probability(logits)
    return {
        "nll": float(-log_p[np.arange(len(rows)), labels].mean()),
        "entropy": float(-(np.exp(log_p) * log_p).sum(axis=1).mean()),
        # As scores are counted: exactly one half is low.
        "agreement": float(((high > 0.5) == (labels == 1)).mean()),
        "r_posterior": _correlation(high, posterior),
        "r_noise": _correlation(high, labels - posterior),
    }


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    if np.isnan(b).any() or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])
