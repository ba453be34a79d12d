"""Tables, claims and guides in Markdown."""

from __future__ import annotations

import math

import pandas as pd

from .display import INTERVALS, caption, readable
from .guides import GUIDES
from .metrics import METRIC_NAMES
from .paper import DATASET_NAMES, PROTOCOL_NAMES

TESTS = {
    "repetitions": "a t test over the repetitions' means (each repetition of the twin has people of its own)",
    "corrected": "a paired test corrected for overlapping training sets (Nadeau and Bengio)",
}
PARTS = {"train": "training windows"} | {f"test_{name}": text for name, text in PROTOCOL_NAMES.items()}


def claims_as_markdown(claims: pd.DataFrame) -> str:
    """What these runs say to each claim.

    Parameters
    ----------
    claims : DataFrame
        From :func:`~.claims.claims_table`.
    """
    if claims.empty:
        return "No claim can be judged by these runs.\n"
    lines = ["| claim (place in the poster) | here | points [95 %] | least, most | better | worse | naive | reason |"]
    lines.append("|---" * 8 + "|")
    for row in claims.rename(columns={"likely reason": "reason"}).itertuples():
        interval = "" if math.isnan(row.low) else f" [{_signed(row.low)}, {_signed(row.high)}]"
        spread = f"{_signed(row.least)}, {_signed(row.most)}"
        shares = [part.replace(" of ", "/") for part in (row.better, row.worse, row.naive)]
        cells = [f"{row.claim} ({row.source})", row.verdict, f"{_signed(row.mean)}{interval}", spread, *shares]
        lines.append("| " + " | ".join([*cells, row.reason if isinstance(row.reason, str) else ""]) + " |")
    first = claims.iloc[0]
    lines += [
        "",
        f"Points: difference in {METRIC_NAMES[first['metric']]}, all comparisons of the claim (methods, targets, "
        f"protocols, data sets) averaged within a run, n = {first['n']} runs; then the least and the largest single "
        "comparison. Better, worse: single comparisons significant at 5 % after Holm's correction, by "
        f"{TESTS[first['test']]}; naive: those that a t test over all runs would have called better. The verdict "
        'counts single comparisons; an interval without 0 beside "not shown" is an average that no single one bears '
        "out. Reason: the likely one, where the claim does not hold throughout.",
        "",
    ]
    return "\n".join(lines)


def table_as_markdown(long_table: pd.DataFrame, dataset: str = "deap") -> str:
    """A results table with its caption; methods without runs are listed below it.

    Parameters
    ----------
    long_table : DataFrame
        From :func:`~.tables.results_table` (one table of the paper).
    dataset : str
    """
    part = long_table[long_table["dataset"] == dataset]
    wide = readable(part, dataset)
    n_expected = int(part["n_expected"].iloc[0])
    absent = [name for name, row in wide.iterrows() if (row.astype(str) == f"0 of {n_expected}").any()]
    shown = wide.drop(index=absent).map(lambda cell: cell.replace(f" n={n_expected}/{n_expected}", ""))
    interval = INTERVALS[part["interval"].iloc[0]]
    lines = [
        f"**{caption(part, dataset)}; n = {n_expected} runs per cell.**",
        "",
        "| method | " + " | ".join(f"{target}, {what}" for target, what in shown.columns) + " |",
        "|---" * (len(shown.columns) + 1) + "|",
        *("| " + " | ".join([str(name), *row]) + " |" for name, row in shown.iterrows()),
        "",
        f"Accuracy in %: mean ± sd [95 % interval, {interval}]. Methods without a run yet: "
        f"{'; '.join(absent) or 'none'}.",
        "",
    ]
    return "\n".join(lines)


def guides_as_markdown(guides: pd.DataFrame) -> str:
    """What guides know and remember, one row each: training windows against those of the test.

    Parameters
    ----------
    guides : DataFrame
        From :func:`~.guides.mean_quality`.
    """
    if guides.empty:
        return "No guide was stored.\n"
    parts = [part for part in PARTS if part in set(guides["part"])]
    columns = [f"{what}, {PARTS[part]}" for what in ("log-likelihood", "truth", "chance") for part in parts]
    lines = ["| guide | n | " + " | ".join(columns) + " |", "|---" * (len(columns) + 2) + "|"]
    for dataset, block in guides.groupby("dataset", sort=False):
        lines.append(f"| *{DATASET_NAMES[dataset]}'s design* |" + " |" * (len(columns) + 1))
        found = block.set_index(["guide", "part"])
        for guide in dict.fromkeys(block["guide"]):
            rows = [found.loc[(guide, part)] for part in parts]
            cells = [_spread(row, quality) for quality in ("nll", "r_posterior", "r_noise") for row in rows]
            lines.append(f"| {GUIDES[guide]} | {int(rows[0]['n'])} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "Mean ± sd over n runs. Log-likelihood: the labels' mean negative one, in nats (ln 2 = 0.69 says nothing). "
        "Truth: correlation of the guide's P(high) with the true one. Chance: its correlation with the part of a "
        "rating that is chance, which nobody can know on unseen trials and only memory can on training windows.",
        "",
    ]
    return "\n".join(lines)


def _spread(row: pd.Series, quality: str) -> str:
    mean, sd = row[quality], row[f"{quality}_sd"]
    if pd.isna(mean):
        return "–"
    return f"{round(mean, 2) + 0.0:.2f}" + ("" if pd.isna(sd) else f" ± {sd:.2f}")


def hypotheses_as_markdown(table: pd.DataFrame, unseen_people: pd.DataFrame) -> str:
    """Every hypothesis of a confirmation with its verdict.

    Parameters
    ----------
    table, unseen_people : DataFrame
        From :func:`~.beyond.hypothesis_table`, for unseen trials and for unseen people.
    """
    lines = ["| hypothesis | difference | verdict | points [95 %] | se | p (Holm) | unseen people |", "|---" * 7 + "|"]
    for name, row in table.iterrows():
        p = "< .001" if row["p_holm"] < 0.001 else f"{row['p_holm']:.3f}"
        other = f"{_signed(unseen_people.loc[name, 'mean'])} ({unseen_people.loc[name, 'se']:.1f})"
        points = f"{_signed(row['mean'])} [{_signed(row['low'])}, {_signed(row['high'])}]"
        difference = f"`{row['difference']}` {row['expected']}, {row['worlds']} worlds"
        cells = [f"{name}: {row['statement']}", difference, row["verdict"], points, f"{row['se']:.2f}", p, other]
        lines.append("| " + " | ".join(cells) + " |")
    n = int(table["n"].iloc[0])
    lines += [
        "",
        f"Points of expected accuracy on unseen trials, n = {n} seeds with people of their own; p by Student's t over "
        "seeds, corrected by Holm over all hypotheses; last column: the same difference on unseen people (se).",
        "",
    ]
    return "\n".join(lines)


def _signed(points: float) -> str:
    return f"{round(points, 1) + 0.0:+.1f}"  # adding 0 makes -0.0 a plain 0
