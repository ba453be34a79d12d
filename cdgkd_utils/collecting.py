"""From a plan's stored runs to the scores, tables, claims and guides on disk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from .experiments.grid import Cell, Plan, collect
from .experiments.runs import RunError, read_run
from .results.claims import claims_table, compare_claims, telling_metric
from .results.collect import Design, collect_design, expected_points
from .results.guides import GUIDES, guide_quality, mean_quality
from .results.tables import both_tables, write_csv


def collect_plan(plan: Plan, *, partial: bool = False) -> list[Design]:
    """Scores of a plan's stored runs, one design per data set.

    Parameters
    ----------
    plan : Plan
    partial : bool
        Accept cells whose runs are missing; the designs then hold fewer runs than expected.

    Raises
    ------
    RunError
        Runs are missing, or a stored one is damaged.
    """
    by_dataset: dict[str, list[tuple[Cell, Path]]] = {}
    for cell, path in collect(plan, partial=partial):
        by_dataset.setdefault(cell.params.dataset, []).append((cell, path))
    designs = []
    for dataset, found in by_dataset.items():
        params = found[0][0].params
        mine = [cell for cell in plan.cells if cell.params.dataset == dataset]
        n_expected = len({(cell.repeat, cell.fold) for cell in mine})
        name = json.loads((found[0][1] / "result.json").read_text())["data"]
        about = {"layout": params.layout, "data": name, "profile": params.profile, "own_data": params.is_twin}
        runs = sorted((cell.repeat, path) for cell, path in found)
        designs.append(collect_design(runs, n_expected=n_expected, **about))
    return designs


def collect_worlds(plan: Plan) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores and checks of a plan over several worlds of the twin, as :mod:`.results.beyond` takes them.

    Parameters
    ----------
    plan : Plan
        Whose runs are all stored; one fold. Guides are scored like the methods that were asked for, assistants are not.

    Returns
    -------
    scores : DataFrame
        Columns ``world, target, seed, protocol, method, points``.
    reports : DataFrame
        Columns ``world, target, seed`` and those of :class:`~.methods.guide_report.GuideReport`.

    Raises
    ------
    RunError
        Runs are missing, or a stored one is damaged.
    """
    if missing := plan.missing():
        raise RunError(
            f"{len(missing)} of {len(plan.runs)} runs are missing, {missing[0].name} first: 'grid run' first"
        )
    scores, reports = [], []
    for run in plan.runs.values():
        read_run(run.folder, run.key)
        place = {"world": run.params.world, "target": run.target, "seed": run.params.seed}
        if run.recipe.kind == "report":
            reports.append(place | json.loads((run.folder / "result.json").read_text())["report"])
        elif not str(run.recipe.model).startswith("ta"):
            points = expected_points(run.folder)
            scores += [
                place | {"protocol": part, "method": run.recipe.name, "points": value} for part, value in points.items()
            ]
    return pd.DataFrame(scores), pd.DataFrame(reports, columns=None if reports else list(place))


def summaries(designs: list[Design]) -> dict[str, pd.DataFrame]:
    """``table1``, ``table2``, ``claims``, ``comparisons`` (all behind the claims) and ``scores``."""
    scores = pd.concat([design.scores for design in designs], ignore_index=True)
    metric, own_data = telling_metric(scores), all(design.own_data for design in designs)
    comparisons = compare_claims(scores, metric, own_data=own_data)
    return {
        "table1": both_tables(designs, 1),
        "table2": both_tables(designs, 2),
        "claims": claims_table(scores, comparisons, metric, own_data=own_data),
        "comparisons": pd.concat(
            [frame.assign(claim=text) for text, frame in comparisons.items()] or [pd.DataFrame()], ignore_index=True
        ),
        "scores": scores,
    }


def collect_guides(plan: Plan) -> pd.DataFrame:
    """What the plan's stored guides know and remember; as :func:`~.results.guides.mean_quality` has it.

    Raises
    ------
    RunError
        A guide is damaged.
    """
    missing, rows = {run.name for run in plan.missing()}, []
    for run in plan.runs.values():
        if run.recipe.name in GUIDES and run.name not in missing:
            read_run(run.folder, run.key)
            about = {"dataset": run.params.layout, "target": run.target, "seed": run.params.seed, "fold": run.fold}
            for part in _parts(run.folder):
                quality = guide_quality({run.recipe.name: run.folder}, part).reset_index()
                rows.append(quality.assign(part=part, **about))
    return mean_quality(pd.concat(rows, ignore_index=True) if rows else pd.DataFrame())


def _parts(folder: Path) -> list[str]:
    """What guides are asked about: the windows their students are taught with, and those of the test."""
    with np.load(folder / "outputs.npz") as outputs:
        return [name for name in outputs.files if name == "train" or name.startswith("test_")]


def write_tables(plan: Plan, folder: Path, *, partial: bool = False) -> list[Path]:
    """Write what :func:`summaries` gives, or with several worlds :func:`collect_worlds`, each as a csv.

    Equal runs give equal bytes.

    Parameters
    ----------
    plan : Plan
    folder : Path
    partial : bool
        As in :func:`collect_plan`.

    Returns
    -------
    list of Path

    Raises
    ------
    RunError
        As in :func:`collect_plan`. Nothing is written then.
    """
    if len({cell.params.world for cell in plan.cells}) > 1:
        scores, reports = collect_worlds(plan)
        return [write_csv(scores, folder / "scores.csv"), write_csv(reports, folder / "reports.csv")]
    tables = summaries(collect_plan(plan, partial=partial))
    return [write_csv(table, folder / f"{name}.csv") for name, table in tables.items()]
