"""From run folders to the tidy table of scores. Reads files only; knows nothing of models."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..data.constants import TARGETS
from .metrics import score
from .paper import PROTOCOL_NAMES, in_order
from .tables import RUN_COLUMNS


@dataclass(frozen=True)
class Design:
    """All scores on one data set.

    Attributes
    ----------
    layout : {"deap", "mahnob"}
        Columns of the paper's tables that they stand beside.
    data : str
        What the data may be called.
    profile : str
    scores : DataFrame
        From :func:`collect`.
    n_runs : int
    n_expected : int
        Runs that make a cell complete.
    """

    layout: str
    data: str
    profile: str
    scores: pd.DataFrame
    n_runs: int
    n_expected: int

    @property
    def protocols(self) -> list[str]:
        """Of the scores, in order."""
        return in_order(self.scores["protocol"])


def collect_design(runs: list[tuple[int, Path]], *, layout: str, data: str, profile: str, n_expected: int) -> Design:
    """Scores of the runs on one data set, with what the tables have to say about them."""
    scores = collect(runs, profile=profile, data=data, dataset=layout)
    return Design(layout, data, profile, scores, len(runs), n_expected)


def high_probability(logits: np.ndarray) -> np.ndarray:
    """P(high) from two logits, shape (n_windows,)."""
    return 1 / (1 + np.exp(-np.clip(logits[:, 1].astype(float) - logits[:, 0], -500, 500)))


def score_run(folder: Path, *, repeat: int, profile: str, data: str, dataset: str) -> list[dict]:
    """Score one stored run on its test parts.

    Parameters
    ----------
    folder : Path
        Of a finished run.
    repeat : int
    profile, data, dataset : str
        What the numbers may be called; see :func:`~.tables.results_table`.

    Returns
    -------
    list of dict
        One row per protocol and metric; ``n_train`` and ``n_test`` count trials, the independent units.
    """
    spec = json.loads((folder / "spec.json").read_text())
    rows = []
    with np.load(folder / "outputs.npz") as outputs:
        probability = high_probability(outputs["logits"])
        labels, posterior = outputs["labels"], outputs["posterior"]
        trial = np.array([f"{s}/{t}" for s, t in zip(outputs["subject"], outputs["trial"], strict=True)])
        n_train = len(np.unique(trial[outputs["train"]]))
        # Stored parts are named after the protocol's label, so a leaky result says so wherever it goes.
        for protocol in (name.removeprefix("test_") for name in outputs.files if name.startswith("test_")):
            part = outputs[f"test_{protocol}"]
            truth = posterior[part] if len(posterior) else None
            for metric, value in score(labels[part], probability[part], truth).items():
                rows.append(
                    {
                        "table": spec["recipe"]["table"],
                        "dataset": dataset,
                        "target": spec["target"],
                        "protocol": protocol,
                        "method": spec["recipe"]["row"] or spec["recipe"]["name"],
                        "repeat": repeat,
                        "fold": spec["fold"],
                        "metric": metric,
                        "value": value,
                        "n_train": n_train,
                        "n_test": len(np.unique(trial[part])),
                        "profile": profile,
                        "data": data,
                    }
                )
    return rows


def collect(runs: Iterable[tuple[int, Path]], *, profile: str, data: str, dataset: str = "deap") -> pd.DataFrame:
    """Scores of many runs.

    Parameters
    ----------
    runs : iterable of (repeat, folder)
    profile, data, dataset : str

    Returns
    -------
    DataFrame
        As :func:`~.tables.results_table` takes it; assistants, which stand in no table, are left out.
    """
    rows = [
        row
        for repeat, folder in runs
        for row in score_run(folder, repeat=repeat, profile=profile, data=data, dataset=dataset)
    ]
    frame = pd.DataFrame(rows, columns=RUN_COLUMNS)
    order = {name: place for place, name in enumerate((*TARGETS, *PROTOCOL_NAMES))}
    columns = ["table", "target", "protocol", "method", "repeat", "fold"]
    in_order = frame[frame["table"] > 0].sort_values(
        columns, key=lambda c: c.map(order) if c.name in ("target", "protocol") else c, kind="stable"
    )
    return in_order.reset_index(drop=True)
