"""What the README shows, made from finished results: figures, their records, and both tables."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pandas as pd

from .config import home
from .results.display import caption, readable
from .results.paper import DATASET_NAMES

LAYOUTS = ("deap", "mahnob")
FIGURES = tuple(f"05_table{number}_{layout}" for layout in LAYOUTS for number in (1, 2))
BEGIN, END = "<!-- tables: begin (python -m cdgkd_utils publish) -->", "<!-- tables: end -->"


class PublishError(RuntimeError):
    """There is nothing to publish, or no place for it."""


def publish(repository: Path) -> list[Path]:
    """Copy the results of the last run into ``figures/`` and write them into the README.

    Parameters
    ----------
    repository : Path
        Holds ``README.md`` with the two marker lines.

    Returns
    -------
    list of Path
        What was written.

    Raises
    ------
    PublishError
        A result is missing or the README has no markers; nothing is written then.
    """
    wanted = {
        home() / "figures" / f"{name}{ending}": f"{name}{ending}" for name in FIGURES for ending in (".png", ".json")
    }
    wanted |= {home() / "tables" / f"table{number}.csv": f"table{number}.csv" for number in (1, 2)}
    missing = [source.name for source in wanted if not source.is_file()]
    if missing:
        raise PublishError(f"{', '.join(missing)} missing; run notebook 05 first")
    readme = repository / "README.md"
    text = readme.read_text(encoding="utf-8")
    _parts(text)
    written = [repository / "figures" / name for name in wanted.values()]
    for source, target in zip(wanted, written, strict=True):
        shutil.copyfile(source, target)
    text = with_results(text, repository / "figures")
    temporary = readme.with_name(".README.md.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, readme)
    return [*written, readme]


def with_results(readme: str, figures: Path) -> str:
    """The README's text with the tables and verdicts of `figures` between its markers.

    Raises
    ------
    PublishError
        The markers are not there, once each and in order.
    """
    before, after = _parts(readme)
    claims = json.loads((figures / f"{FIGURES[0]}.json").read_text(encoding="utf-8"))["numbers"]["claims"]
    tables = {number: pd.read_csv(figures / f"table{number}.csv") for number in (2, 1)}
    blocks = [claims_as_markdown(claims), *(as_markdown(table, LAYOUTS[0]) for table in tables.values())]
    for layout in LAYOUTS[1:]:
        blocks += [f"<details><summary>The same in the design of {DATASET_NAMES[layout]}</summary>", ""]
        blocks += [*(as_markdown(table, layout) for table in tables.values()), "</details>"]
    return "\n".join([before + BEGIN, "", *blocks, "", END]) + after


def _parts(readme: str) -> tuple[str, str]:
    """What stands before and after the markers."""
    if readme.count(BEGIN) != 1 or readme.count(END) != 1 or readme.index(BEGIN) > readme.index(END):
        raise PublishError(f"README.md: expected the lines {BEGIN!r} and {END!r} once each")
    before, rest = readme.split(BEGIN)
    return before, rest.split(END)[1]


def claims_as_markdown(claims: dict[str, dict[str, str]]) -> str:
    """What these runs say to each claim, from the record that notebook 05 leaves, as a Markdown table."""
    columns = ("verdict", "difference", "better", "worse", "naive", "likely reason")
    lines = [
        "| claim (place in the poster) | here | difference, points | better | worse | naive | likely reason if not |",
        "|---" * (len(columns) + 1) + "|",
        *(
            f"| {claim} ({row['source']}) | " + " | ".join(f"{row[name]}" for name in columns) + " |"
            for claim, row in claims.items()
        ),
        "",
        "Better, worse: paired comparisons significant at 5 % after Holm's correction, by a t test over the "
        "repetitions' means (each repetition of the twin has people of its own); naive: what a t test over all runs "
        "would have called better. Differences (mean, least to most) in expected accuracy.",
        "",
    ]
    return "\n".join(lines)


def as_markdown(long_table: pd.DataFrame, dataset: str = "deap") -> str:
    """A results table in Markdown, with its caption; methods without runs are listed below it."""
    part = long_table[long_table["dataset"] == dataset]
    wide = readable(part, dataset)
    n_expected = int(part["n_expected"].iloc[0])
    absent = [name for name, row in wide.iterrows() if (row.astype(str) == f"0 of {n_expected}").any()]
    shown = wide.drop(index=absent).map(lambda cell: cell.replace(f" n={n_expected}/{n_expected}", ""))
    lines = [
        f"**{caption(part, dataset)}; n = {n_expected} runs per cell.**",
        "",
        "| method | " + " | ".join(f"{target}, {what}" for target, what in shown.columns) + " |",
        "|---" * (len(shown.columns) + 1) + "|",
        *("| " + " | ".join([str(name), *row]) + " |" for name, row in shown.iterrows()),
        "",
        f"Accuracy in %: mean ± sd [95 % interval]. Not run yet (0 of {n_expected}): {'; '.join(absent) or 'none'}.",
        "",
    ]
    return "\n".join(lines)
