"""From a plan's stored runs to the scores and tables on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from .experiments.grid import cell_folders
from .experiments.plan import Cell, Plan, stored_names
from .experiments.records import RunError
from .results.collect import collect_design
from .results.tables import both_tables, write_csv


def write_tables(plan: Plan, folder: Path, *, partial: bool = False) -> list[Path]:
    """Write ``scores.csv``, ``table1.csv`` and ``table2.csv``; equal runs give equal bytes.

    Parameters
    ----------
    plan : Plan
    folder : Path
    partial : bool
        Accept cells whose runs are missing; the tables then show fewer runs than expected.

    Returns
    -------
    list of Path

    Raises
    ------
    RunError
        Runs are missing, or a stored one is damaged. Nothing is written then.
    """
    stored = stored_names()
    whole = [cell for cell in plan.cells if stored.issuperset(cell.runs)]
    if len(whole) < len(plan.cells) and not partial:
        hole = next(cell for cell in plan.cells if not stored.issuperset(cell.runs))
        raise RunError(
            f"{len(whole)} of {len(plan.cells)} cells are done; the first hole is {hole.recipe} on "
            f"{hole.params.dataset}, {hole.target}, repetition {hole.repeat}, fold {hole.fold}: "
            "'grid run' fills them, --partial accepts them"
        )
    if not whole:
        raise RunError("not one cell is done: 'grid run' makes the runs")
    by_dataset: dict[str, list[tuple[Cell, Path]]] = {}
    for cell, path in cell_folders(plan, whole):
        by_dataset.setdefault(cell.params.dataset, []).append((cell, path))
    designs = []
    for dataset, found in by_dataset.items():
        params = found[0][0].params
        mine = [cell for cell in plan.cells if cell.params.dataset == dataset]
        n_expected = len({(cell.repeat, cell.fold) for cell in mine})
        name = json.loads((found[0][1] / "result.json").read_text())["data"]
        about = {"layout": params.layout, "data": name, "profile": params.profile}
        runs = sorted((cell.repeat, path) for cell, path in found)
        designs.append(collect_design(runs, n_expected=n_expected, **about))
    tables = {f"table{number}": both_tables(designs, number) for number in (1, 2)}
    tables["scores"] = pd.concat([design.scores for design in designs], ignore_index=True)
    return [write_csv(table, folder / f"{name}.csv") for name, table in tables.items()]
