"""What the README shows, made from a grid's stored runs: figures, their records, tables and claims."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pandas as pd
from matplotlib import pyplot as plt

from .collecting import collect_guides, collect_plan, summaries
from .config import home
from .experiments.grid import Plan, read_config
from .experiments.grid import plan as plan_config
from .results.collect import Design
from .results.markdown import claims_as_markdown, guides_as_markdown, table_as_markdown
from .results.paper import DATASET_NAMES
from .results.tables import write_csv
from .viz import style
from .viz import draw_results as table_figure
from .viz.style import save_figure

BEGIN, END = "<!-- tables: begin (python -m cdgkd_utils publish) -->", "<!-- tables: end -->"
MARKS = BEGIN, END
RECORD = "results.json"
TABLES = ("table1", "table2", "claims", "comparisons", "guides")  # the single scores stay at home


class PublishError(RuntimeError):
    """There is no place for what is to be published."""


def publish(config: Path, repository: Path, *, partial: bool = False) -> list[Path]:
    """Write a grid's results into ``figures/`` and the README.

    Parameters
    ----------
    config : Path
        The grid's configuration; its runs are stored.
    repository : Path
        Holds ``README.md`` with the two marker lines.
    partial : bool
        Accept cells whose runs are missing; every table says so.

    Returns
    -------
    list of Path
        What was written in the repository; the same lies under the home, with the scores of every run.

    Raises
    ------
    RunError
        Runs are missing, or a stored one is damaged.
    PublishError
        The README has no markers; nothing is written then, nor after the errors above.
    """
    readme = repository / "README.md"
    text = readme.read_text(encoding="utf-8")
    grid = read_config(config)
    _parts(text, *MARKS)
    plan = plan_config(grid)
    designs = collect_plan(plan, partial=partial)
    tables = summaries(designs) | {"guides": collect_guides(plan)}
    folder = home() / "tables" / config.stem
    made = [write_csv(table, folder / f"{name}.csv") for name, table in tables.items()]
    made = [path for path in made if path.stem in TABLES]
    record = provenance(config, plan, designs)
    made += _figures(config.stem, plan, designs, tables, record)
    made.append(_write(folder / RECORD, json.dumps(record, indent=1) + "\n"))

    return _place(made, repository, lambda figures: with_results(text, figures))


def _place(made: list[Path], repository: Path, readme_with: Callable[[Path], str]) -> list[Path]:
    figures = repository / "figures"
    figures.mkdir(exist_ok=True)
    written = [_copy(path, figures / path.name) for path in made]
    return [*written, _write(repository / "README.md", readme_with(figures))]


def _write(path: Path, text: str) -> Path:
    """Whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
    return path


def _copy(source: Path, target: Path) -> Path:
    temporary = target.with_name(f".{target.name}.tmp")
    shutil.copyfile(source, temporary)
    os.replace(temporary, target)
    return target


def provenance(config: Path, plan: Plan, designs: list[Design]) -> dict[str, object]:
    """What the published numbers were made from, as plain JSON values.

    Returns
    -------
    dict
        ``configuration`` (its values, folders left out) and ``configuration sha256`` (of its file), ``runs`` and
        ``runs sha256`` (of the sorted keys of all planned runs, guides included), and where there are designs by their
        layout what the data may be called, how many runs were scored and how many make a cell.
    """
    values = asdict(read_config(config))
    values.pop("data_root")
    keys = "\n".join(sorted(run.key for run in plan.runs.values()))
    about = {
        "configuration": values,
        "configuration sha256": hashlib.sha256(config.read_bytes()).hexdigest(),
        "runs": len(plan.runs),
        "runs sha256": hashlib.sha256(keys.encode()).hexdigest(),
    }
    if designs:
        about["designs"] = {
            d.layout: {"data": d.data, "scored": d.n_runs, "runs per cell": d.n_expected} for d in designs
        }
    return about


def _figures(
    name: str, plan: Plan, designs: list[Design], tables: dict[str, pd.DataFrame], record: dict[str, object]
) -> list[Path]:
    """Both tables of every design as pictures with records."""
    style.use()
    made = []
    for design in designs:
        params = next(cell.params for cell in plan.cells if cell.params.layout == design.layout)
        for number in (1, 2):
            figure = table_figure(tables[f"table{number}"], number, dataset=design.layout)
            numbers = {"table": number, "grid": record}
            picture = save_figure(figure, f"{name}_table{number}_{design.layout}", params, design.data, numbers)
            plt.close(figure)
            made += [picture, picture.with_suffix(".json")]
    return made


def with_results(readme: str, figures: Path) -> str:
    """The README's text with the claims, tables and guides in `figures` between its markers.

    Raises
    ------
    PublishError
        The markers are not there, once each and in order.
    """
    before, after = _parts(readme, *MARKS)
    first, *others = json.loads((figures / RECORD).read_text(encoding="utf-8"))["designs"]
    tables = {name: pd.read_csv(figures / f"{name}.csv") for name in ("claims", "table2", "table1", "guides")}
    blocks = [claims_as_markdown(tables["claims"])]
    blocks += [table_as_markdown(tables[name], first) for name in ("table2", "table1")]
    for layout in others:
        blocks += [f"<details><summary>The same in the design of {DATASET_NAMES[layout]}</summary>", ""]
        blocks += [*(table_as_markdown(tables[name], layout) for name in ("table2", "table1")), "</details>", ""]
    blocks += ["<details><summary>What the guides know and what they remember</summary>", ""]
    blocks += [guides_as_markdown(tables["guides"]), "</details>"]
    return "\n".join([before + BEGIN, "", *blocks, "", END]) + after


def _parts(readme: str, begin: str, end: str) -> tuple[str, str]:
    """What stands before and after the markers."""
    if readme.count(begin) != 1 or readme.count(end) != 1 or readme.index(begin) > readme.index(end):
        raise PublishError(f"README.md: expected the lines {begin!r} and {end!r} once each")
    before, rest = readme.split(begin)
    return before, rest.split(end)[1]
