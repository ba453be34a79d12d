"""From run folders to the tidy table of scores. Reads files only; knows nothing of models."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..data.constants import TARGETS
from ..experiments.recipes import place_of
from .metrics import score, trial_codes
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
    own_data : bool
        Whether every repetition has data of its own, as on the twin.
    """

    layout: str
    data: str
    profile: str
    scores: pd.DataFrame
    n_runs: int
    n_expected: int
    own_data: bool = False

    @property
    def protocols(self) -> list[str]:
        """Of the scores, in order."""
        return in_order(self.scores["protocol"])


def collect_design(
    runs: list[tuple[int, Path]], *, layout: str, data: str, profile: str, n_expected: int, own_data: bool = False
) -> Design:
    """Scores of the runs on one data set, with what the tables have to say about them.

    Parameters
    ----------
    runs : list of (repeat, folder)
    layout, data, profile, n_expected, own_data
        As in :class:`Design`.
    """
    scores = collect(runs, profile=profile, data=data, dataset=layout)
    return Design(layout, data, profile, scores, len(runs), n_expected, own_data)


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

    Raises
    ------
    ValueError
        A prediction is not finite or a part cannot be scored; names the run and the part.
    """
    spec, result, outputs = _stored(folder)
    about = _about(spec, result, repeat) | {"dataset": dataset, "profile": profile, "data": data}
    probability, labels, posterior = high_probability(outputs["logits"]), outputs["labels"], outputs["posterior"]
    subject, trial = outputs["subject"], outputs["trial"]
    code = trial_codes(subject, trial)
    n_train = len(np.unique(code[outputs["train"]]))
    rows = []
    for protocol, part in _test_parts(outputs):
        truth = posterior[part] if len(posterior) else None
        try:
            scores = score(labels[part], probability[part], truth, subject=subject[part], trial=trial[part])
        except ValueError as error:
            raise ValueError(f"run {folder.name}, test part {protocol!r}: {error}; delete it and run again") from error
        sizes = {"protocol": protocol, "n_train": n_train, "n_test": len(np.unique(code[part]))}
        rows += [about | sizes | {"metric": metric, "value": value} for metric, value in scores.items()]
    return rows


def expected_points(folder: Path) -> dict[str, float]:
    """Expected accuracy of a run on each test part, by the true posterior, in per cent.

    Parameters
    ----------
    folder : Path
        Of a finished run on the twin.
    """
    _, _, outputs = _stored(folder)
    probability, labels, posterior = high_probability(outputs["logits"]), outputs["labels"], outputs["posterior"]
    return {
        protocol: 100 * score(labels[part], probability[part], posterior[part])["expected_accuracy"]
        for protocol, part in _test_parts(outputs)
    }


def subject_scores(runs: Iterable[tuple[int, Path]]) -> pd.DataFrame:
    """Accuracy of every tested subject in every run: the units of a bootstrap over people.

    Parameters
    ----------
    runs : iterable of (repeat, folder)

    Returns
    -------
    DataFrame
        Columns ``table, target, protocol, method, repeat, fold, subject, n_windows, accuracy`` (share). On the twin
        equal numbers in two repetitions are two people; on files they are one.
    """
    frames = []
    for repeat, folder in runs:
        spec, result, outputs = _stored(folder)
        right = (high_probability(outputs["logits"]) > 0.5) == outputs["labels"]
        for protocol, part in _test_parts(outputs):
            person, code, n_windows = np.unique(outputs["subject"][part], return_inverse=True, return_counts=True)
            scores = {"subject": person, "n_windows": n_windows, "accuracy": np.bincount(code, right[part]) / n_windows}
            frames.append(pd.DataFrame(_about(spec, result, repeat) | {"protocol": protocol} | scores))
    columns = ["table", "target", "protocol", "method", "repeat", "fold", "subject", "n_windows", "accuracy"]
    return pd.concat(frames, ignore_index=True)[columns] if frames else pd.DataFrame(columns=columns)


def _stored(folder: Path) -> tuple[dict, dict, dict[str, np.ndarray]]:
    """Specification, result and outputs of a run."""
    with np.load(folder / "outputs.npz") as outputs:
        return *(json.loads((folder / f"{name}.json").read_text()) for name in ("spec", "result")), dict(outputs)


def _about(spec: dict, result: dict, repeat: int) -> dict:
    table, row = place_of(spec["recipe"]["name"], result)
    place = {"table": table, "target": spec["target"], "method": row}
    return place | {"repeat": repeat, "fold": spec["fold"]}


def _test_parts(outputs: dict[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """Stored parts are named after the protocol's label, so a leaky result says so wherever it goes."""
    for name, part in outputs.items():
        if name.startswith("test_"):
            yield name.removeprefix("test_"), part


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
