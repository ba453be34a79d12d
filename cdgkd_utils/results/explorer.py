"""One choice of rows from the tables: its intervals, its paired differences, and the runs behind each number."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ..config import home
from ..experiments.recipes import place_of
from .collect import Design
from .display import cell_text
from .metrics import METRICS
from .paired import paired
from .paper import ROWS
from .statistics import holm
from .tables import interval_kind

UNIT = ["table", "target", "method", "repeat", "fold"]
RECORD_COLUMNS = ["dataset", *UNIT, "seed", "run"]


@dataclass(frozen=True)
class Choice:
    """What is looked at.

    Attributes
    ----------
    dataset : {"deap", "mahnob"}
        Layout of the data.
    table : {1, 2}
    target : {"valence", "arousal"}
    metric : str
    methods : tuple of str
        Rows of the table.
    reference : str
        The row that the others are compared with; differences are reference minus method.

    Raises
    ------
    ValueError
        The table has no such row, or nothing is chosen.
    """

    dataset: str
    table: int
    target: str
    metric: str
    methods: tuple[str, ...]
    reference: str

    def __post_init__(self):
        if self.table not in ROWS:
            raise ValueError(f"table: expected one of {', '.join(map(str, ROWS))}, got {self.table!r}")
        if not self.methods:
            raise ValueError("methods: choose at least one row of the table")
        strange = sorted({*self.methods, self.reference} - set(ROWS[self.table]))
        if strange:
            raise ValueError(f"methods: table {self.table} has no row {', '.join(strange)}")
        if self.metric not in METRICS or self.metric == "majority":
            raise ValueError(f"metric: expected one of {', '.join(m for m in METRICS if m != 'majority')}")

    @property
    def rows(self) -> list[str]:
        """The chosen methods and the reference, in the table's order."""
        return [method for method in ROWS[self.table] if method in self.methods or method == self.reference]


def run_records(runs: Iterable[tuple[int, Path]], dataset: str) -> pd.DataFrame:
    """Which stored run stands behind each row, target and fold.

    Parameters
    ----------
    runs : iterable of (repeat, folder)
        As ``experiments.grid.run_all`` gives them; runs that stand in no table are left out.
    dataset : str
        Layout of the data.

    Returns
    -------
    DataFrame
        Columns ``dataset, table, target, method, repeat, fold, seed, run``; the last is the run's folder relative to
        the project's home, whose name ends with the beginning of the run's key.
    """
    rows = []
    for repeat, folder in runs:
        spec, result = (json.loads((folder / f"{name}.json").read_text()) for name in ("spec", "result"))
        table, row = place_of(spec["recipe"]["name"], result)
        if table:
            place = (table, spec["target"], row, repeat, spec["fold"])
            rows.append((dataset, *place, spec["seed"], f"runs/{folder.name}"))
    return pd.DataFrame(rows, columns=RECORD_COLUMNS)


def chosen_intervals(long_tables: pd.DataFrame, choice: Choice) -> pd.DataFrame:
    """Mean and interval of the chosen rows.

    Parameters
    ----------
    long_tables : DataFrame
        From :func:`~.tables.results_table`; may hold both tables and several data sets.
    choice : Choice

    Returns
    -------
    DataFrame
        One row per protocol and method, in the table's order: ``protocol, method, mean, sd, low, high`` in %,
        ``n_runs``, ``n_expected``, ``interval`` and ``cell``, as the table prints it. A method without runs has
        ``n_runs`` 0 and NaN.

    Raises
    ------
    ValueError
        The tables have no such data set or target.
    """
    wanted = {"dataset": choice.dataset, "table": choice.table, "target": choice.target}
    part = long_tables[(long_tables[list(wanted)] == pd.Series(wanted)).all(axis=1)]
    if part.empty:
        raise ValueError(f"long_tables: no rows for {wanted}")
    part = part[part["method"].isin(choice.rows)]
    scored, counted = (
        part[part["metric"] == metric].set_index(["protocol", "method"]) for metric in (choice.metric, "accuracy")
    )
    # A method that nobody ran has a row for the accuracy only.
    frame = scored.reindex(counted.index)
    frame["n_runs"] = frame["n_runs"].fillna(0).astype(int)
    for column in ("n_expected", "interval"):
        frame[column] = counted[column]
    frame["cell"] = [cell_text(row, row.n_expected) for row in frame.itertuples()]
    columns = ["protocol", "method", "mean", "sd", "low", "high", "n_runs", "n_expected", "interval", "cell"]
    return frame.reset_index()[columns]


def chosen_differences(designs: Sequence[Design], choice: Choice) -> pd.DataFrame:
    """The reference minus each other chosen row, on the runs they share.

    Parameters
    ----------
    designs : sequence of Design
    choice : Choice

    Returns
    -------
    DataFrame
        One row per protocol and method, in the table's order: ``protocol, method, n, mean, low, high`` in percentage
        points, ``p_naive`` (ordinary t test over runs), ``p`` (of the test that allows for what the runs share),
        ``p_holm`` (corrected for all rows of this frame), ``dz, dz_low, dz_high``, ``test``: "repetitions" or
        "corrected", as in :func:`~.claims.compare_claims`. Empty where the reference has no other row beside it.

    Raises
    ------
    ValueError
        There is no such data set, or the reference has no run.
    """
    design = _design(designs, choice.dataset)
    scores = design.scores
    chosen = scores[(scores["target"] == choice.target) & scores["method"].isin(choice.rows)]
    frame = paired(chosen, choice.table, choice.reference, choice.metric)
    test = interval_kind(scores, design.own_data)
    if test == "repetitions":
        frame = frame.assign(p=frame["p_repeats"], low=frame["low_repeats"], high=frame["high_repeats"])
    frame = frame.assign(p_holm=holm(frame["p"].to_numpy(dtype=float)), test=test)
    columns = ["protocol", "method", "n", "mean", "low", "high", "p_naive", "p", "p_holm", "dz", "dz_low", "dz_high"]
    return frame[[*columns, "test"]]


def runs_behind(
    designs: Sequence[Design], records: pd.DataFrame, choice: Choice, method: str, protocol: str
) -> pd.DataFrame:
    """The runs behind one number.

    Parameters
    ----------
    designs : sequence of Design
    records : DataFrame
        From :func:`run_records`, of all designs.
    choice : Choice
    method, protocol : str

    Returns
    -------
    DataFrame
        One row per run: ``repeat, fold, seed, value`` (in %) and ``run``. Their mean is the number.

    Raises
    ------
    ValueError
        A score has no record, or two.
    """
    scores = _design(designs, choice.dataset).scores
    wanted = {"table": choice.table, "target": choice.target, "method": method}
    mine = scores[(scores[list(wanted)] == pd.Series(wanted)).all(axis=1)]
    mine = mine[(mine["metric"] == choice.metric) & (mine["protocol"] == protocol)]
    found = mine.merge(records[records["dataset"] == choice.dataset], on=UNIT, how="left", suffixes=("", "_record"))
    if len(found) != len(mine) or found["run"].isna().any():
        raise ValueError(f"records: expected one run for each of the {len(mine)} scores of {method} ({protocol})")
    return found.assign(value=100 * found["value"])[["repeat", "fold", "seed", "value", "run"]].reset_index(drop=True)


def run_summary(run: str) -> dict[str, object]:
    """What a stored run says about itself, for reading; checksums and the split are left to its files.

    Parameters
    ----------
    run : str
        Folder relative to the project's home.
    """
    folder = home() / run
    spec, result = (json.loads((folder / f"{name}.json").read_text()) for name in ("spec", "result"))
    recipe = {name: value for name, value in spec["recipe"].items() if value not in ("", [], {}, -1)}
    environment = result.pop("environment", {})
    kept = {name: value for name, value in result.items() if name != "files"}
    rest = {
        name: spec[name] for name in ("family", "protocol", "training", "guides", "data", "version") if name in spec
    }
    return {"recipe": recipe, "result": kept, **rest, "environment": environment}


def _design(designs: Sequence[Design], dataset: str) -> Design:
    for design in designs:
        if design.layout == dataset:
            return design
    raise ValueError(f"dataset: expected one of {', '.join(d.layout for d in designs)}, got {dataset!r}")
