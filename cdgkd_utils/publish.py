"""What a grid found: its tables on disk, and for readers ``figures/RESULTS.md`` with the figures and their records."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from .config import DEFAULT_WORLD, home
from .experiments import grid
from .results import tables
from .results.metrics import GUIDES, guide_quality
from .results.paper import DATASET_NAMES, PROTOCOL_NAMES, RED_FLAGS
from .results.statistics import INTERVALS, claims_text, judge_claims

QUALITY_NAMES = {"nll": "log-likelihood (negative)", "r_posterior": "correlation with the truth"}
QUALITY_NAMES |= {"r_noise": "correlation with what is chance in a rating"}


def summaries(plan: grid.Plan, *, partial: bool = False) -> dict[str, pd.DataFrame]:
    """``scores`` of a plan's stored runs, ``table1``, ``table2`` and ``claims``; a RunError where runs are damaged or,
    unless `partial` (the tables then say so), missing."""
    found = [(cell.params, cell.repeat, folder) for cell, folder in grid.collect(plan, partial=partial)]
    cells: dict[tuple[str, str], set] = {}
    for cell in plan.cells:
        place = (cell.params.world if cell.params.is_twin else "", cell.params.layout)
        cells.setdefault(place, set()).add((cell.repeat, cell.fold))
    scores = tables.collect(found, {place: len(runs) for place, runs in cells.items()})
    one, two = (tables.results_table(scores, number) for number in (1, 2))
    return {"scores": scores, "table1": one, "table2": two, "claims": judge_claims(scores)}


def write_tables(plan: grid.Plan, folder: Path, *, partial: bool = False) -> list[Path]:
    """Write :func:`summaries` as csv files; equal runs give equal bytes, and nothing is written if runs are missing."""
    return [tables.write_csv(table, folder / f"{name}.csv") for name, table in summaries(plan, partial=partial).items()]


def guides_table(plan: grid.Plan) -> pd.DataFrame:
    """What the plan's stored guides know and remember: ``mean ± sd`` of their qualities, by data, windows and guide."""
    missing, rows = {run.name for run in plan.missing()}, []
    for run in [run for run in plan.runs.values() if run.recipe.name in GUIDES and run.name not in missing]:
        with np.load(run.folder / "outputs.npz") as outputs:
            parts = [name for name in outputs.files if name == "train" or name.startswith("test_")]
        for part in parts:
            where = PROTOCOL_NAMES.get(part.removeprefix("test_"), "training windows")
            place = (GUIDES[run.recipe.name], run.params.world, DATASET_NAMES[run.params.layout], where)
            quality = guide_quality({"guide": run.folder}, part).loc["guide", list(QUALITY_NAMES)]
            rows.append((", ".join(place), *quality))
    frame = pd.DataFrame(rows, columns=["guide, data, windows", *QUALITY_NAMES.values()])
    groups = frame.groupby("guide, data, windows", sort=False)
    mean, sd = groups.mean(), groups.std()
    text = mean.map("{:.2f}".format) + sd.map(lambda x: "" if np.isnan(x) else f" ± {x:.2f}")
    return text.where(mean.notna(), "–").assign(n=groups.size().astype(str))


def provenance(config: Path, plan: grid.Plan) -> dict[str, object]:
    """What the published numbers were made from: the configuration, and the keys of all planned runs as one hash."""
    values = asdict(grid.read_config(config))
    values.pop("data_root")
    keys = "\n".join(sorted(run.key for run in plan.runs.values()))
    digest = hashlib.sha256(keys.encode()).hexdigest()
    return {"configuration": config.name, "values": values, "runs": len(plan.runs), "runs sha256": digest}


def results_page(found: dict[str, pd.DataFrame], guides: pd.DataFrame, record: dict, pictures: list[str]) -> str:
    """The text of RESULTS.md."""
    scores = found["scores"]
    worlds = sorted(scores["world"].unique(), key=lambda world: world != DEFAULT_WORLD)
    about = f"Profile {scores['profile'].iloc[0]}, {record['runs']} runs; data: {', '.join(scores['data'].unique())}."
    command = f"python -m cdgkd_utils publish configs/{record['configuration']}"
    lines = ["# Results", "", f"Written whole by `{command}`: do not edit. {about}", ""]
    lines += ["## What the paper claims, and what holds here", "", claims_text(found["claims"])]
    lines += [f"![{name}]({name}.png)\n" for name in pictures]
    for world in worlds:
        lines += [f"## Both tables{', world ' if world else ''}{world}", ""]
        for number in (2, 1):
            long = found[f"table{number}"][found[f"table{number}"]["world"] == world]
            if len(long):
                lines += [tables.poster_caption(long), "", tables.as_markdown(tables.poster_table(long)), ""]
            for dataset in long["dataset"].unique() if world == worlds[0] else ():
                intervals = f"95 % intervals {INTERVALS[long['interval'].iloc[0]]}"
                lines += [f"<details><summary>All rows, {DATASET_NAMES[dataset]}; {intervals}</summary>", ""]
                lines += [tables.as_markdown(tables.readable(long, dataset)), "", "</details>", ""]
    lines += ["## What the guides know, and what they remember", "", tables.as_markdown(guides), ""]
    lines += ["## How far the printed numbers can be trusted", "", *(f"{n}. {f}" for n, f in enumerate(RED_FLAGS, 1))]
    return "\n".join(lines) + "\n"


def _figures(stem: str, found: dict[str, pd.DataFrame], plan: grid.Plan, record: dict) -> list[Path]:
    """The claims, and both tables of every world, as pictures with their numbers' origin."""
    from .viz import draw_claims, draw_results, save_figure, use

    use()
    scores, made = found["scores"], []
    about = {cell.params.world if cell.params.is_twin else "": cell.params for cell in plan.cells}
    data = scores.groupby("world")["data"].first()
    if len(found["claims"]):
        first = next(iter(about.values())), ", ".join(scores["data"].unique())
        made.append(save_figure(draw_claims(found["claims"]), f"{stem}_claims", *first, {"grid": record}))
    for world in scores["world"].unique():
        name = "_".join(filter(None, (stem, "tables", world.replace("/", "-"))))
        made.append(
            save_figure(
                draw_results(scores[scores["world"] == world]), name, about[world], data[world], {"grid": record}
            )
        )
    return made


def publish(config: Path, repository: Path, *, partial: bool = False) -> list[Path]:
    """Write a grid's results into the repository's ``figures``: RESULTS.md, tables, pictures and their records.

    Returns what was written, once all of it was made; the same lies below the home, with the scores of every run.
    """
    plan = grid.plan(grid.read_config(config))
    found, record = summaries(plan, partial=partial), provenance(config, plan)
    folder, figures = home() / "tables" / config.stem, repository / "figures"
    made = [tables.write_csv(table, folder / f"{name}.csv") for name, table in found.items()][1:]  # without the scores
    pictures = _figures(config.stem, found, plan, record)
    made += [path for picture in pictures for path in (picture, picture.with_suffix(".json"))]
    made.append(tables.write_whole(folder / "results.json", json.dumps(record, indent=1, default=list) + "\n"))
    page = results_page(found, guides_table(plan), record, [picture.stem for picture in pictures])
    made.append(tables.write_whole(folder / "RESULTS.md", page))
    figures.mkdir(exist_ok=True)
    for path in made:
        temporary = figures / f".{path.name}.{os.getpid()}.tmp"
        shutil.copyfile(path, temporary)
        os.replace(temporary, figures / path.name)
    return [figures / path.name for path in made]
