"""How much a guide knows and how much it only remembers, from its stored answers. Knows nothing of models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from .collect import high_probability

QUALITIES = ("nll", "entropy", "agreement", "r_posterior", "r_noise")
# Recipes that teach, by what they are called.
GUIDES = {
    "fusion_rebalanced": "teacher",
    "ta1_drop": "first assistant",
    "ta2_drop": "second assistant",
    "bagged": "bagged teacher",
    "oof": "out-of-fold teacher",
    "oracle": "truth",
}


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


def mean_quality(qualities: pd.DataFrame) -> pd.DataFrame:
    """Mean and spread of many guides' qualities.

    Parameters
    ----------
    qualities : DataFrame
        One row per guide's run and part: ``guide`` (a key of :data:`GUIDES`), ``dataset, target, seed, fold, part``
        and the columns of :func:`guide_quality`.

    Returns
    -------
    DataFrame
        One row per data set, part and guide, in the order of :data:`GUIDES`: ``n`` runs over targets, seeds and
        folds, and of each quality its mean, with ``_sd`` its standard deviation over them.
    """
    columns = ["dataset", "part", "guide", "n", *(f"{q}{end}" for q in QUALITIES for end in ("", "_sd"))]
    if qualities.empty:
        return pd.DataFrame(columns=columns)
    rows = []
    for (dataset, part), group in qualities.groupby(["dataset", "part"], sort=False):
        for guide, mine in group.groupby("guide"):
            row = {"dataset": dataset, "part": part, "guide": guide, "n": len(mine)}
            for quality in QUALITIES:
                row |= {quality: mine[quality].mean(), f"{quality}_sd": mine[quality].std()}
            rows.append(row)
    frame = pd.DataFrame(rows, columns=columns)
    order = frame["guide"].map({name: place for place, name in enumerate(GUIDES)})
    blocks = pd.factorize(frame["dataset"] + frame["part"])[0]
    return frame.iloc[np.lexsort((order, blocks))].reset_index(drop=True)


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
