"""Intervals, paired tests and claims for repeated hold-out runs, whose training sets overlap (Nadeau and Bengio,
Machine Learning 52, 2003, 4.1.2; Bouckaert and Frank, PAKDD 2004) or which are those of independent repetitions;
families of tests by Holm (Scand. J. Statistics 6, 1979), effect sizes by Cumming and Finch (2001)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from scipy import optimize, special, stats

from .metrics import METRIC_NAMES
from .paper import CLAIMS, COLUMNS, DATASET_NAMES, PAPER, PROTOCOL_NAMES, WHY, Claim, display_name

NAN = float("nan")
LEVEL = 0.05
MARGIN = 1.0  # points: what lies within them, either way, is called no difference
MIN_REPEATS = 3  # repetitions from which on their means are taken for the independent units
INTERVALS = {"corrected": "corrected for overlapping training sets (Nadeau and Bengio)"}
INTERVALS |= {"repetitions": "over repetitions, each with people of its own"}
CELL = ["world", "dataset", "target", "protocol"]


def summarise(values: np.ndarray, n_train: float = 1.0, n_test: float = 0.0, repeat: np.ndarray | None = None) -> dict:
    """Mean of repeated runs (or of paired differences between them), its interval and its test against zero.

    Of `values`, one per run, NaN is left out. `n_train, n_test`: trials in a run's parts; runs that share training
    trials are correlated, so the factor 1/n of the variance of the mean becomes 1/n + n_test/n_train. `repeat`:
    repetition of each run, where repetitions share no data, as the twin's: the test is the ordinary one of their means.

    Returns ``mean, sd, n_runs`` over runs; ``n`` independent units, ``low, high`` (95 %), ``low90, high90``, ``t``,
    ``p``, ``p_naive`` (t test over runs), ``dz`` = mean / sd over the units, ``scale`` = dz / t, and ``detectable``:
    the difference that 4 of 5 such experiments would find. NaN for fewer than two units, or equal ones, whose variance
    is not known; if all are 0, t = 0 and p = 1.
    """
    values = np.asarray(values, dtype=float).ravel()
    kept = np.isfinite(values)
    runs = units = values[kept]
    if repeat is not None:
        units, n_test = pd.Series(runs).groupby(np.ravel(repeat)[kept]).mean().to_numpy(), 0.0
    n = len(units)
    found = dict.fromkeys(("low", "high", "low90", "high90", "t", "p", "p_naive", "dz", "scale", "detectable"), NAN)
    found |= {"mean": float(units.mean()) if n else NAN, "n": n, "n_runs": len(runs)}
    found["sd"] = NAN if len(runs) < 2 else 0.0 if _equal(runs) else float(runs.std(ddof=1))
    if n < 2:
        return found
    if _equal(units):
        return found | ({"t": 0.0, "p": 1.0, "p_naive": 1.0, "dz": 0.0} if np.allclose(units, 0, atol=1e-12) else {})
    mean, sd, scale = found["mean"], float(units.std(ddof=1)), float(np.sqrt(1 / n + n_test / n_train))
    half, half90, power = (float(special.stdtrit(n - 1, share)) * sd * scale for share in (0.975, 0.95, 0.8))
    t, naive = mean / (sd * scale), mean / (found["sd"] / np.sqrt(len(runs)))
    found |= {"low": mean - half, "high": mean + half, "low90": mean - half90, "high90": mean + half90}
    found |= {"t": t, "dz": mean / sd, "scale": scale, "detectable": half + power}
    p, p_naive = 2 * special.stdtr(n - 1, -abs(t)), 2 * special.stdtr(len(runs) - 1, -abs(naive))
    return found | {"p": float(p), "p_naive": float(p_naive)}


def _equal(values: np.ndarray) -> bool:  # up to rounding, which leaves a standard deviation that is tiny but not 0
    return bool(np.ptp(values) <= 1e-12 * max(1.0, float(np.abs(values).max())))


def effect_interval(found: dict) -> tuple[float, float]:
    """95 % interval of ``dz`` in :func:`summarise`: the effects under which the observed t cuts off 2.5 %.

    Given its standard deviation, whose distribution is taken at 4000 equal steps, t is normal around the noncentrality;
    SciPy's own noncentral t is NaN far out.
    """
    t, df = found["t"], found["n"] - 1
    if np.isnan(found["scale"]):
        return NAN, NAN
    sds = np.sqrt(stats.chi2.ppf((np.arange(4000) + 0.5) / 4000, df) / df)
    ends = np.sort(t * sds[[0, -1]]) + np.array([-10.0, 10.0])
    low, high = (
        optimize.brentq(lambda x, share=share: special.ndtr(t * sds - x).mean() - share, *ends)
        for share in (0.975, 0.025)
    )
    return found["scale"] * low, found["scale"] * high


def holm(p: Iterable[float]) -> np.ndarray:
    """Holm's correction, which makes p values hold together as a family; NaN (not tested) stays and does not count."""
    p = np.asarray(p, dtype=float)
    tested = np.flatnonzero(np.isfinite(p))
    adjusted = np.full(p.shape, np.nan)
    order = tested[np.argsort(p[tested], kind="stable")]
    adjusted[order] = np.minimum(np.maximum.accumulate((len(order) - np.arange(len(order))) * p[order]), 1.0)
    return adjusted


def kind_of_test(scores: pd.DataFrame) -> str:
    """What tests of these runs allow for: "repetitions" with people of their own, or "corrected" for overlap."""
    own = len(scores) > 0 and (scores["world"] != "").all()  # only the twin has a world
    return "repetitions" if own and scores["repeat"].nunique() >= MIN_REPEATS else "corrected"


def compare(
    scores: pd.DataFrame, table: int, better: str, than: Iterable[str], metric: str, *, pooled: bool = False
) -> pd.DataFrame:
    """One method minus others on the runs of one world that they share, in points; methods without a run are left out.

    `pooled`: one row per method, of the differences averaged within a run over data sets, targets and protocols; else
    one per data set, target, protocol and method. Returns ``world, dataset, target, protocol`` ("" where pooled),
    ``method``, those of :func:`summarise`, ``dz_low, dz_high``, ``p_holm`` over all rows, and ``test`` as
    :func:`kind_of_test` says.
    """
    than = [method for method in dict.fromkeys(than) if method != better]
    chosen = scores[(scores["table"] == table) & (scores["metric"] == metric)]
    chosen = chosen[chosen["method"].isin([better, *than])]
    kind, rows = kind_of_test(scores), []
    wide = chosen.pivot(index=["repeat", "fold"], columns=[*CELL, "method"], values="value")
    cells = [cell for cell in dict.fromkeys(name[:-1] for name in wide) if (*cell, better) in wide]
    cells.sort(key=lambda cell: (*cell[:3], list(PROTOCOL_NAMES).index(cell[3])))
    for method in than:
        both = {cell: 100 * (wide[*cell, better] - wide[*cell, method]) for cell in cells if (*cell, method) in wide}
        if pooled and both:
            both = {(cells[0][0], "", "", ""): pd.DataFrame(both).dropna().mean(axis=1)}
        for cell, difference in both.items():
            part = chosen if pooled else chosen[(chosen[CELL] == list(cell)).all(axis=1)]
            repeat = difference.index.get_level_values("repeat") if kind == "repetitions" else None
            found = summarise(difference, part["n_train"].mean(), part["n_test"].mean(), repeat)
            found["dz_low"], found["dz_high"] = effect_interval(found)
            rows.append(dict(zip(CELL, cell, strict=True)) | {"method": method} | found)
    frame = pd.DataFrame(rows, columns=[*CELL, "method", *summarise([]), "dz_low", "dz_high"])
    return frame.assign(p_holm=holm(frame["p"]), test=kind)


def judge_claims(scores: pd.DataFrame) -> pd.DataFrame:
    """What these runs say to each claim, world by world: one pooled difference and one test each.

    A claim over several methods holds only against the best of them: its difference is that to the best rival, its p
    the largest of all (each must be beaten) or, where it is behind, that of being behind, corrected for the number of
    rivals. A world's p values are then corrected together by Holm, those of our own methods apart.

    Returns one row per world and claim that has runs: the claim, ``rival`` (the best), ``beaten`` (those shown to be
    worse, of all tested), the columns of :func:`compare`, ``verdict`` ("holds", "against", "no difference", within 1
    point either way, or "not shown") and ``why``: its other comparisons on these data, (text, mean, low, high, n).
    """
    rows = []
    for world, runs in scores.groupby("world", sort=False):
        known = (runs["metric"] == "expected_accuracy").any()  # the least noisy, where the truth is known
        used, mine = "expected_accuracy" if known else "balanced_accuracy", []
        for claim in CLAIMS:
            pooled = compare(runs, claim.table, claim.better, claim.than, used, pooled=True)
            pooled = pooled[pooled["n"] > 0]
            if pooled.empty:
                continue
            best = pooled.loc[pooled["mean"].idxmin()].to_dict()
            best["p"] = pooled["p"].max() if best["mean"] > 0 else best["p_holm"]
            beaten = pooled[(pooled["p_holm"] < LEVEL) & (pooled["mean"] > 0)]["method"]
            about = {"claim": claim.text, "source": claim.source, "table": claim.table, "better": claim.better}
            about |= {"world": world, "data": runs["data"].iloc[0], "profile": runs["profile"].iloc[0], "metric": used}
            why = [(text, compare(runs, claim.table, a, (b,), used, pooled=True)) for text, a, b in WHY[claim.text]]
            why = [(text, *found.loc[0, ["mean", "low", "high", "n"]]) for text, found in why if len(found)]
            names = f" ({', '.join(map(display_name, beaten))})" if len(beaten) else ""
            told = {"rival": best["method"], "beaten": f"{len(beaten)} of {len(pooled)}{names}", "why": why}
            mine.append({key: value for key, value in best.items() if key not in (*CELL, "method")} | about | told)
        for family in ([row for row in mine if (row["source"] == "ours") == ours] for ours in (False, True)):
            corrected = holm([row["p"] for row in family])
            rows += [row | {"p_holm": p, "verdict": _verdict(row, p)} for row, p in zip(family, corrected, strict=True)]
    first = ["world", "data", "profile", "claim", "source", "table", "better", "rival", "beaten", "verdict"]
    frame = pd.DataFrame(rows, columns=None if rows else first)
    return frame[[*first, *(column for column in frame if column not in first)]]


def _verdict(row: dict, p: float) -> str:
    if p < LEVEL:
        return "holds" if row["mean"] > 0 else "against"
    return "no difference" if -MARGIN < row["low90"] <= row["high90"] < MARGIN else "not shown"


def claims_text(claims: pd.DataFrame) -> str:
    """Markdown from :func:`judge_claims`, three lines a claim: the paper's numbers, what holds here, and why."""
    lines = []
    for claim in CLAIMS:
        here, why = [], []
        for row in claims[claims["claim"] == claim.text].itertuples():
            where, beats = row.world or row.data, f", beats {row.beaten}" if len(claim.than) > 1 else ""
            points = _points(row.mean, row.low, row.high)
            here.append(f"{where}: **{row.verdict}**, {points} over {display_name(row.rival)}, n = {row.n}{beats}")
            if row.why:
                why.append(f"{where}: " + "; ".join(f"{text} {_points(*numbers)}" for text, *numbers, _ in row.why))
        if here:
            lines += [f"**{claim.text}** ({claim.source})", f"- *Paper:* {_printed(claim)}"]
            lines.append(f"- *Here:* {'; '.join(here)}.")
            lines += [f"- *Why:* {'. '.join(why) or 'no further experiment was run on these data'}.", ""]
    if not lines:
        return "No claim can be judged by these runs."
    first = claims.iloc[0]
    power = claims["detectable"].median()
    finds = "so few runs find nothing" if np.isnan(power) else f"such runs find {power:.1f} points in 4 of 5 cases"
    note = f"""Points of {METRIC_NAMES[first["metric"]]} over the best rival, averaged within a run over data sets,
targets and protocols; 95 % intervals {INTERVALS[first["test"]]}, n independent units. One test a claim at 5 %, Holm's
correction for all claims of a world. 'No difference': within {MARGIN:g} point either way (90 % interval). 'Not shown'
is not 'refuted': {finds}."""
    return "\n".join([*lines, note.replace("\n", " "), ""])


def _points(mean: float, low: float, high: float) -> str:
    return f"{round(mean, 1) + 0.0:+.1f}" + ("" if np.isnan(low) else f" [{low:+.1f}, {high:+.1f}]")


def _printed(claim: Claim) -> str:
    """The paper's numbers that a claim is about, column by column: the method's, and the best of the others."""
    if claim.source in ("control", "ours"):
        return "does not ask."
    texts = []
    for dataset, target in COLUMNS:
        ours, *others = ((PAPER.get((claim.table, m, dataset, target)), m) for m in (claim.better, *claim.than))
        others = [other for other in others if other[0]]
        against = f" against {max(others)[0]:.2f} ({display_name(max(others)[1])})" if others else ""
        texts += [f"{DATASET_NAMES[dataset]} {target} {ours[0]:.2f}{against}"] if ours[0] else []
    return "; ".join(texts) + "."
