"""What the README shows, made from finished results: figures, their records, and both tables."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pandas as pd

from .config import home
from .results.display import caption, readable

FIGURES = ("05_table1", "05_table2")
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
    text = with_tables(readme.read_text(encoding="utf-8"), [home() / "tables" / f"table{n}.csv" for n in (2, 1)])
    written = [repository / "figures" / name for name in wanted.values()]
    for source, target in zip(wanted, written, strict=True):
        shutil.copyfile(source, target)
    temporary = readme.with_name(".README.md.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, readme)
    return [*written, readme]


def with_tables(readme: str, tables: list[Path]) -> str:
    """The README's text with the tables between its markers.

    Raises
    ------
    PublishError
        The markers are not there, once each and in order.
    """
    if readme.count(BEGIN) != 1 or readme.count(END) != 1 or readme.index(BEGIN) > readme.index(END):
        raise PublishError(f"README.md: expected the lines {BEGIN!r} and {END!r} once each")
    before, rest = readme.split(BEGIN)
    blocks = [as_markdown(pd.read_csv(path)) for path in tables]
    return "\n".join([before + BEGIN, "", *blocks, END]) + rest.split(END)[1]


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
        f"Accuracy in %: mean ± sd [95 % interval]. Not run yet (0 of {n_expected}): {', '.join(absent) or 'none'}.",
        "",
    ]
    return "\n".join(lines)
