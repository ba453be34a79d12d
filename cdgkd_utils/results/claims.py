"""What the paper claims, as paired comparisons, and what these runs say to each claim."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from .paired import paired, pooled_difference
from .paper import POSTER_ROWS
from .statistics import holm
from .tables import interval_kind

LEVEL = 0.05


@dataclass(frozen=True)
class Claim:
    """One method should do better than others.

    Attributes
    ----------
    text : str
    source : str
        Where the poster says so, or "control" for a question of ours.
    table : {1, 2}
    better : str
    than : tuple of str
    if_not : str
        Why it need not hold here; shown where it does not.
    """

    text: str
    source: str
    table: int
    better: str
    than: tuple[str, ...]
    if_not: str


_STOPPED = (
    "what stopping on validation gives or takes is as large as what a guide adds: compare the rows 'CE' and "
    "'CE, last epoch'"
)
_MEMORY = "the guides learned the training labels by heart, so what they add to a label is mostly noise"
CLAIMS = (
    Claim(
        "Rebalancing makes the fused teacher better",
        "Variant 2 over 1",
        2,
        "fusion_rebalanced",
        ("fusion",),
        "the rule is gentle (weights of a few tenths) and mends the EEG branch more than the fused decision",
    ),
    Claim(
        "The rebalanced teacher is the best of Table 2",
        "Table 2",
        2,
        "fusion_rebalanced",
        POSTER_ROWS[2][:-1],
        "baselines with a strong EEG reader of their own, fused late, never let one modality suppress the other",
    ),
    Claim(
        "A guide helps the student at all",
        "Variant 5 over 3",
        1,
        "cdgkd",
        ("ce",),
        _STOPPED,
    ),
    Claim(
        "CDGKD is the best student",
        "Table 1",
        1,
        "cdgkd",
        POSTER_ROWS[1][:-1],
        "all students share one network, budget and stopping rule, and " + _MEMORY,
    ),
    Claim("Dense guidance beats the chain", "Variant 4 over TAKD", 1, "dense", ("takd",), _MEMORY),
    Claim(
        "Dropping guides at random helps",
        "Variant 5 over 4",
        1,
        "cdgkd",
        ("dense",),
        "a student stopped on validation has little time to overfit to a guide, which dropping would prevent",
    ),
    Claim(
        "The adaptive weight beats a constant one",
        "control",
        2,
        "fusion_rebalanced",
        ("fusion_constant",),
        "the EEG lags in nearly every epoch, so a weight that never lets go does more of the same",
    ),
    Claim(
        "Several guides matter, not only dropping one",
        "control",
        1,
        "cdgkd",
        ("kd_drop",),
        "assistants know nothing that the teacher does not; dropping acts alike on one guide",
    ),
)


def compare_claims(runs: pd.DataFrame, metric: str, *, own_data: bool = False) -> dict[str, pd.DataFrame]:
    """The paired comparisons that speak to each claim.

    Splitting one data set again and again makes runs overlap, and the corrected test of Nadeau and Bengio allows for
    that. Where each repetition draws people of its own, as on the twin, it allows for what is not there and finds
    almost nothing (``bench/false_positives.py``: 0 % false positives at a nominal 5 %); the repetitions' means are
    then independent, and an ordinary t test over them is right.

    Parameters
    ----------
    runs : DataFrame
        As :func:`~.tables.results_table` takes it; may hold both tables and several data sets.
    metric : str
    own_data : bool
        Whether every repetition has data of its own; used from :data:`~.tables.MIN_REPEATS` repetitions on.

    Returns
    -------
    dict of str to DataFrame
        By the claim's text, rows as in :func:`~.paired.paired`, with ``test``: "repetitions" or "corrected". It
        is the test that ``p_holm`` corrects and that ``low`` and ``high`` belong to. ``p_holm`` counts all
        comparisons of the claim, over methods, data sets, targets and protocols. A claim whose methods were not run
        is left out.
    """
    comparisons = {}
    test = interval_kind(runs, own_data)
    for claim, chosen in _tested(runs, metric):
        frame = paired(chosen, claim.table, claim.better, metric)
        if test == "repetitions":
            frame = frame.assign(low=frame["low_repeats"], high=frame["high_repeats"])
        p = frame["p_repeats"] if test == "repetitions" else frame["p"]
        comparisons[claim.text] = frame.assign(p_holm=holm(p.to_numpy()), test=test)
    return comparisons


def claim_intervals(runs: pd.DataFrame, metric: str, *, own_data: bool = False) -> pd.DataFrame:
    """By how much each claim's method is better, over all its comparisons together.

    Parameters
    ----------
    runs, metric, own_data
        As in :func:`compare_claims`.

    Returns
    -------
    DataFrame
        Index: the claim. ``n, mean, low, high`` of :func:`~.paired.pooled_difference`, in percentage points.
    """
    rows = {
        claim.text: pooled_difference(chosen, claim.table, claim.better, claim.than, metric, own_data=own_data)
        for claim, chosen in _tested(runs, metric)
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=["n", "mean", "low", "high"]).rename_axis("claim")


def _tested(runs: pd.DataFrame, metric: str) -> Iterator[tuple[Claim, pd.DataFrame]]:
    """Claims that these runs can speak to, each with the runs of its methods."""
    for claim in CLAIMS:
        chosen = runs[runs["method"].isin([claim.better, *claim.than])]
        held = chosen[(chosen["table"] == claim.table) & (chosen["metric"] == metric)]["method"].unique()
        if claim.better in held and len(held) > 1:
            yield claim, chosen


def judge_claims(comparisons: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """One line per claim: how often it holds, and why it need not where it does not.

    Returns
    -------
    DataFrame
        Index: the claim. ``source``; ``difference``: mean of the comparisons in points, with the least and the
        largest; ``better`` and ``worse``: comparisons significant at 5 % after Holm's correction, of all;
        ``naive``: those that an ordinary t test would have called better; ``verdict``: "holds" (better in every
        comparison), "in part" (better in some, worse in none), "against" (worse in some, better in none), "mixed",
        or "not shown"; ``likely reason``, empty where it holds.
    """
    rows = {}
    for claim in CLAIMS:
        if claim.text not in comparisons:
            continue
        frame = comparisons[claim.text]
        sure, naive = frame["p_holm"] < LEVEL, frame["p_naive"] < LEVEL
        better, worse = int((sure & (frame["mean"] > 0)).sum()), int((sure & (frame["mean"] < 0)).sum())
        verdict = _verdict(better, worse, len(frame))
        low, mean, high = frame["mean"].min(), frame["mean"].mean(), frame["mean"].max()
        rows[claim.text] = {
            "source": claim.source,
            "difference": f"{mean:+.1f} ({low:+.1f} to {high:+.1f})",
            "better": f"{better} of {len(frame)}",
            "worse": f"{worse} of {len(frame)}",
            "naive": f"{int((naive & (frame['mean'] > 0)).sum())} of {len(frame)}",
            "verdict": verdict,
            "likely reason": "" if verdict == "holds" else claim.if_not,
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("claim")


def claims_table(
    runs: pd.DataFrame, comparisons: dict[str, pd.DataFrame], metric: str, *, own_data: bool = False
) -> pd.DataFrame:
    """The verdicts, with the interval of all comparisons of a claim together.

    Parameters
    ----------
    runs, metric, own_data
        As in :func:`compare_claims`.
    comparisons : dict of str to DataFrame
        From it.

    Returns
    -------
    DataFrame
        ``claim``, the columns of :func:`judge_claims` but ``difference``, ``n, mean, low, high`` of
        :func:`claim_intervals`, the ``least`` and ``most`` of the single comparisons, ``metric`` and ``test``.
    """
    judged = judge_claims(comparisons).drop(columns="difference", errors="ignore")
    judged = judged.join(claim_intervals(runs, metric, own_data=own_data)).rename_axis("claim").reset_index()
    ends = {"least": "min", "most": "max"}
    single = {name: [comparisons[claim]["mean"].agg(end) for claim in judged["claim"]] for name, end in ends.items()}
    return judged.assign(**single, metric=metric, test=interval_kind(runs, own_data))


def telling_metric(runs: pd.DataFrame) -> str:
    """The metric that claims are judged by: the least noisy one that these runs have."""
    known = (runs["metric"] == "expected_accuracy").any()  # the twin's truth
    return "expected_accuracy" if known else "balanced_accuracy"


def _verdict(better: int, worse: int, n: int) -> str:
    if better == n:
        return "holds"
    if better and worse:
        return "mixed"
    return "in part" if better else "against" if worse else "not shown"
