"""From stored runs to tidy scores, from these to the long table, and to what people read."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from ..config import Params
from . import paper as printed
from .metrics import FLOORS, METRIC_NAMES, METRICS, knows_only_who, probabilities, score, trial_codes
from .paper import PROTOCOL_NAMES, display_name, in_order, paper_accuracy
from .statistics import CELL, kind_of_test, summarise

RUN = [*CELL, "table", "method", "repeat", "fold"]
SCORES = [*RUN, "metric", "value", "n_train", "n_test", "n_expected", "profile", "data", "seed", "run"]
LONG = [*CELL, "table", "method", "metric", "mean", "sd", "low", "high", "n_runs", "n_expected", "paper", "interval"]
LONG += ["profile", "data"]


def collect(
    runs: Iterable[tuple[Params, int, Path]], expected: Mapping[tuple[str, str], int] | None = None
) -> pd.DataFrame:
    """Scores of stored runs (parameters, repetition, folder), the tidy table from which all others are made.

    `expected`: runs that make a cell complete, by (world, data set); default: those that are there. Returns columns
    :data:`SCORES`, one row per run, test part and metric; ``value`` is a share in [0, 1], ``dataset`` the paper's data
    set whose design the data have, ``world`` the twin's ("" on files), ``n_train`` and ``n_test`` count trials. Runs
    that stand in no table, such as assistants, are left out. A run that cannot be scored or stands there twice, and
    runs of two profiles or data, are a ValueError that names the run.
    """
    scores = pd.DataFrame([row for run in runs for row in score_run(*run) if row["table"]], columns=SCORES)
    if twice := list(scores[scores.duplicated([*RUN, "metric"])]["run"].unique()):
        raise ValueError(f"runs: {twice[0]} repeats the method, data, repetition and fold of another; keep one of them")
    if (scores.groupby(["world", "dataset"])[["profile", "data"]].nunique() > 1).any(axis=None):
        raise ValueError("runs: of several profiles or data; collect them one by one")
    for cell, part in scores.groupby(["world", "dataset"]):
        found = len(part[["repeat", "fold"]].drop_duplicates())
        scores.loc[part.index, "n_expected"] = (expected or {}).get(cell, found)
    order = scores.assign(protocol=scores["protocol"].map(list(PROTOCOL_NAMES).index))
    return scores.loc[order.sort_values(RUN, kind="stable").index].reset_index(drop=True)


def score_run(params: Params, repeat: int, folder: Path) -> list[dict]:
    """The rows of :func:`collect` of one stored run, also where its ``table`` is 0; `repeat` is its repetition."""
    spec, result = (json.loads((folder / name).read_text(encoding="utf-8")) for name in ("spec.json", "result.json"))
    table, row = printed.place(spec["recipe"]["name"])
    if not table:  # a method of one's own: as its record says
        table, row = result.get("table", 0), result.get("row", row)
    with np.load(folder / "outputs.npz") as stored:
        outputs = dict(stored)
    p, labels, posterior = probabilities(outputs["logits"]), outputs["labels"], outputs["posterior"]
    subject, trial, train = outputs["subject"], outputs["trial"], outputs["train"]
    code = trial_codes(subject, trial)
    about = {"world": params.world if params.is_twin else "", "dataset": params.layout, "target": spec["target"]}
    about |= {"table": table, "method": row, "repeat": repeat, "fold": spec["fold"], "profile": params.profile}
    about |= {"data": result.get("data", ""), "seed": spec["seed"], "run": folder.name}
    about |= {"n_train": len(np.unique(code[train])), "n_expected": 0}
    rows = []
    for name in [name for name in outputs if name.startswith("test_")]:  # a leaky part's name says so
        part = outputs[name]
        truth = posterior[part] if len(posterior) else None
        try:
            found = score(labels[part], p[part], truth, subject=subject[part], trial=trial[part])
        except ValueError as error:
            raise ValueError(f"run {folder.name}, test part {name!r}: {error}") from error
        found["who"] = knows_only_who(labels, subject, train, part)
        about |= {"protocol": name.removeprefix("test_"), "n_test": len(np.unique(code[part]))}
        rows += [about | {"metric": metric, "value": value} for metric, value in found.items()]
    return rows


def results_table(scores: pd.DataFrame, table: int) -> pd.DataFrame:
    """Summarise the runs of one of the paper's tables (1 or 2) from :func:`collect`, with the rows nobody ran.

    Returns columns :data:`LONG`; ``mean, sd, low, high`` (95 %) and ``paper`` in %. ``interval`` says what the interval
    allows for, as in :func:`~.statistics.kind_of_test`. For every target and protocol with runs, each method of the
    table has an accuracy row; one without runs has ``n_runs`` 0 and NaN.
    """
    rows = []
    for (world, dataset), design in scores.groupby(["world", "dataset"], sort=False):
        kind, runs = kind_of_test(design), design[design["table"] == table]
        groups = dict(list(runs.groupby(["target", "protocol", "method", "metric"])))
        constant = {"world": world, "dataset": dataset, "table": table, "interval": kind}
        constant |= design[["n_expected", "profile", "data"]].iloc[0].to_dict()
        cells = runs[["target", "protocol"]].drop_duplicates().itertuples(index=False)
        methods = dict.fromkeys((*printed.ROWS[table], *runs["method"]))
        for (target, protocol), method, metric in product(cells, methods, METRICS):
            part = groups.get((target, protocol, method, metric), scores[:0])
            if part.empty and metric != "accuracy":
                continue
            repeat = part["repeat"] if kind == "repetitions" else None
            found = summarise(100 * part["value"], part["n_train"].mean(), part["n_test"].mean(), repeat)
            found |= {end: float(np.clip(found[end], 0, 100)) for end in ("low", "high")}
            paper = paper_accuracy(table, method, dataset, target) if metric == "accuracy" else math.nan
            cell = {"target": target, "protocol": protocol, "method": method, "metric": metric, "paper": paper}
            rows.append(constant | cell | found)
    return pd.DataFrame(rows, columns=LONG)


def readable(long: pd.DataFrame, dataset: str = "") -> pd.DataFrame:
    """One table of the first world as people read it: methods down, target and protocol across, accuracy in %.

    A cell reads ``63.1 ± 1.2 [60.9, 65.3] n=3/3`` (mean ± sd over runs, 95 % interval, runs done of runs expected) or
    ``0 of 3``; beside the accuracy of each target stands the paper's. The last rows are the floors: the majority class,
    and on known people what knowing only who it is would score. Rows marked * are not the paper's.
    """
    first = long.iloc[0]
    dataset, table, n_expected = dataset or first["dataset"], int(first["table"]), int(first["n_expected"])
    part = long[(long["dataset"] == dataset) & (long["world"] == first["world"])]
    cells = {(r.method, r.target, r.protocol): r for r in part[part["metric"] == "accuracy"].itertuples()}
    methods, columns = list(dict.fromkeys(part["method"])), {}
    for target in dict.fromkeys(part["target"]):
        for protocol in in_order(part["protocol"]):
            texts = [cell_text(cells.get((method, target, protocol)), n_expected) for method in methods]
            columns[target, PROTOCOL_NAMES[protocol]] = texts + _floors(part, target, protocol)
        numbers = [_number(paper_accuracy(table, method, dataset, target), 2) for method in methods]
        columns[target, "paper"] = [*numbers, "–", "–"]
    return pd.DataFrame(columns, index=_names(methods)).rename_axis(columns=("target", "protocol"))


def _names(methods: Iterable[str]) -> pd.Index:
    return pd.Index([*map(display_name, methods), *(METRIC_NAMES[floor] for floor in FLOORS)], name="method")


def cell_text(row, n_expected: int) -> str:
    """One cell of :func:`readable` from a row of the long table, or from None where there is no row."""
    if row is None or row.n_runs == 0 or math.isnan(row.mean):
        return f"0 of {n_expected}"
    interval = "" if math.isnan(row.low) else f" [{row.low:.1f}, {row.high:.1f}]"
    return f"{_mean(row.mean, row.sd)}{interval} n={row.n_runs}/{row.n_expected}"


def _mean(mean: float, sd: float) -> str:
    return _number(mean, 1) + ("" if math.isnan(sd) else f" ± {sd:.1f}")


def _floors(part: pd.DataFrame, target: str, protocol: str) -> list[str]:
    here = part[(part["target"] == target) & (part["protocol"] == protocol)]
    return [_number(here.loc[here["metric"] == floor, "mean"].mean(), 1) for floor in FLOORS]


def _number(value: float, digits: int) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def poster_caption(long: pd.DataFrame) -> str:
    """What :func:`poster_table` shows of a long table of one world."""
    row, where = long.iloc[0], PROTOCOL_NAMES[in_order(long["protocol"])[0]]
    what = f"Table {row['table']}, {printed.TABLE_TITLES[row['table']]}: accuracy on {where} in %, mean ± sd over"
    return f"{what} n = {row['n_expected']} runs (the paper's number); {row['data']}, profile {row['profile']}"


def poster_table(long: pd.DataFrame) -> pd.DataFrame:
    """A table of the first world in the poster's layout: method by data set and target, the poster's methods and those
    they are read against; one ``mean ± sd (paper's number)`` a cell, in %, of the first protocol that was tested (by
    default unseen trials). The last two rows are the floors, as in :func:`readable`."""
    part, table, protocol = (
        long[long["world"] == long["world"].iloc[0]],
        int(long["table"].iloc[0]),
        in_order(long["protocol"])[0],
    )
    part, rows = part[part["protocol"] == protocol], printed.SHORT_ROWS[table]
    columns = {}
    for dataset, target in printed.COLUMNS:
        here = part[(part["dataset"] == dataset) & (part["target"] == target)]
        ours = here[here["metric"] == "accuracy"].set_index("method").reindex(rows)
        texts = []
        for method, mean, sd in ours[["mean", "sd"]].itertuples():
            both = _mean(mean, sd), _number(paper_accuracy(table, method, dataset, target), 2)
            texts.append("–" if both == ("–", "–") else f"{both[0]} ({both[1]})")
        columns[printed.DATASET_NAMES[dataset], target] = texts + _floors(here, target, protocol)
    return pd.DataFrame(columns, index=_names(rows))


def ablation(longs: pd.DataFrame, dataset: str) -> pd.DataFrame:
    """The poster's five variants, from both long tables: our accuracy, its interval and the printed one, in %."""
    wide = {table: readable(longs[longs["table"] == table], dataset) for table in (1, 2)}
    return pd.DataFrame({name: wide[table].loc[display_name(row)] for name, (table, row) in printed.VARIANTS.items()}).T


def runs_behind(
    scores: pd.DataFrame, table: int, method: str, dataset: str, target: str, protocol: str, metric: str = "accuracy"
) -> pd.DataFrame:
    """The runs behind one number: ``repeat, fold, seed, value`` (in %) and ``run``, the folder below ``runs``."""
    wanted = {"table": table, "method": method, "dataset": dataset, "target": target, "protocol": protocol}
    mine = scores[(scores[[*wanted, "metric"]] == pd.Series(wanted | {"metric": metric})).all(axis=1)]
    return mine.assign(value=100 * mine["value"])[["repeat", "fold", "seed", "value", "run"]].reset_index(drop=True)


def as_markdown(frame: pd.DataFrame) -> str:
    """A frame of strings as a Markdown table, its index first."""
    heads = [frame.index.name or "", *(", ".join(c) if isinstance(c, tuple) else str(c) for c in frame.columns)]
    rows = [heads, ["---"] * len(heads), *(map(str, row) for row in frame.itertuples())]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)


def write_whole(path: str | os.PathLike, text: str) -> Path:
    """Write `text` so that a reader sees the old file or the whole new one, never a part."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8", newline="\n")
    os.replace(temporary, path)
    return path


def write_csv(table: pd.DataFrame, path: str | os.PathLike) -> Path:
    """Write a table as csv, whole; equal tables give equal bytes."""
    return write_whole(path, table.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
