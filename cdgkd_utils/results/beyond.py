"""When does crossing modalities help? The hypotheses of configs/beyond.md and what a grid's scores say to them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from ..data.twin import WORLDS, find_world
from .statistics import holm, independent_repeats

HELP = ("0.2/0.05/0/1.6", "0.35/0.05/0.05/1.6", "0.3/0.2/0.05/1.6", "0.2/0.15/0.1/1.6")
HARM = ("0.05/0.3/0.1/1.6", "0.1/0.2/0.3/1.6", "0.05/0.15/0.4/1.6", "0/0.2/0.4/1.6")
NAMED = tuple(WORLDS)
SHARED = ("shared_view", "same_feeling")
ALPHA = 0.05
# What the check's three verdicts choose.
CHOICES = {"distil": "kd@eeg", "distil gently": "kd_gentle@eeg", "do not distil": "ce"}
CHOSEN = "chosen by the check"
UNIT = ["world", "target", "seed"]


@dataclass(frozen=True)
class Hypothesis:
    """One line of the protocol: ``sign * (first - second) > 0`` on average over `worlds`.

    Attributes
    ----------
    name, statement : str
    first, second : str
        Methods.
    worlds : tuple of str
    sign : {1, -1}
    """

    name: str
    statement: str
    first: str
    second: str
    worlds: tuple[str, ...]
    sign: int = 1


HYPOTHESES = (
    Hypothesis("H1a", "Where the margin is positive, the EEG-only guide helps", "kd@eeg", "ce", HELP),
    Hypothesis("H1b", "Where it is negative, it does harm", "kd@eeg", "ce", HARM, -1),
    Hypothesis("H1c", "The guide passes on what it knows of each trial", "kd@eeg", "kd@shuffled", HELP),
    Hypothesis("H2a", "The check chooses better than always distilling", CHOSEN, "kd@eeg", HELP + HARM),
    Hypothesis("H2b", "The check chooses better than never distilling", CHOSEN, "ce", HELP + HARM),
    Hypothesis("H3", "Where the margin is positive, the EEG-only guide beats CDGKD", "kd@eeg", "cdgkd", HELP + SHARED),
    Hypothesis("H4a", "With 8 rated trials per person, the EEG-only guide helps", "kd@eeg#8", "ce#8", SHARED),
    Hypothesis("H4b", "and more than self-training", "kd@eeg#8", "kd@ce#8", SHARED),
    Hypothesis(
        *("H5", "A constant weight rebalances better than the adaptive one", "fusion_constant", "fusion_rebalanced"),
        NAMED,
    ),
    Hypothesis("H6a", "Dense guidance helps at equal dropping", "cdgkd", "kd_drop", NAMED),
    Hypothesis("H6b", "Dropping helps at equal guides", "cdgkd", "dense", NAMED),
)


def with_choices(scores: pd.DataFrame, reports: pd.DataFrame) -> pd.DataFrame:
    """The scores and, as a method of its own, what the check would have chosen, unit by unit.

    Parameters
    ----------
    scores : DataFrame
        Columns ``world, target, seed, protocol, method, points``: expected accuracy in per cent.
    reports : DataFrame
        Columns ``world, target, seed, verdict`` and more: the check on the EEG-only guide.

    Raises
    ------
    ValueError
        A score that a verdict asks for is missing.
    """
    wanted = reports[[*UNIT, "verdict"]].assign(method=reports["verdict"].map(CHOICES))
    chosen = wanted.merge(scores, on=[*UNIT, "method"], how="left")
    if chosen["points"].isna().any():
        hole = chosen[chosen["points"].isna()].iloc[0]
        raise ValueError(f"scores: {hole['method']} is missing in world {hole['world']}, seed {hole['seed']}")
    return pd.concat([scores, chosen.assign(method=CHOSEN)[scores.columns]], ignore_index=True)


def seed_differences(
    scores: pd.DataFrame, first: str, second: str, worlds: Iterable[str], protocol: str = "trial"
) -> pd.Series:
    """``first - second`` in points, paired within world, target and seed, averaged within each seed.

    Parameters
    ----------
    scores : DataFrame
        As in :func:`with_choices`.
    first, second : str
    worlds : iterable of str
    protocol : {"trial", "subject"}

    Returns
    -------
    Series
        Indexed by seed.

    Raises
    ------
    ValueError
        A world lacks a method or, in some seed, a score.
    """
    worlds = list(worlds)
    mine = scores[scores["world"].isin(worlds) & (scores["protocol"] == protocol)]
    wide = mine[mine["method"].isin((first, second))].pivot(index=UNIT, columns="method", values="points")
    n_seeds, n_targets = mine["seed"].nunique(), mine["target"].nunique()
    if {first, second} - set(wide) or wide.isna().any(axis=None) or len(wide) != len(worlds) * n_targets * n_seeds:
        raise ValueError(f"{first} - {second}: expected both in every world, target and seed of {', '.join(worlds)}")
    return (wide[first] - wide[second]).groupby("seed").mean()


def estimate(differences: pd.Series) -> dict[str, float]:
    """``n, mean, se, low, high`` (95 %) and ``p`` (two-sided) by Student's t over independent values."""
    test = independent_repeats(differences.to_numpy(), np.arange(len(differences)))
    se = differences.std(ddof=1) / np.sqrt(len(differences))
    return {name: test[name] for name in ("n", "mean")} | {"se": se} | {k: test[k] for k in ("low", "high", "p")}


def hypothesis_table(
    scores: pd.DataFrame, protocol: str = "trial", hypotheses: Iterable[Hypothesis] = HYPOTHESES
) -> pd.DataFrame:
    """Every hypothesis, held or not.

    Parameters
    ----------
    scores : DataFrame
        From :func:`with_choices`.
    protocol : {"trial", "subject"}
        Unseen trials of known people, or unseen people.
    hypotheses : iterable of Hypothesis
        One family for Holm's correction.

    Returns
    -------
    DataFrame
        By name: ``statement, difference, expected, worlds`` (their number), ``n`` seeds, ``mean, se, low, high`` in
        points, ``p``, ``p_holm`` and ``verdict``: held, against, or not resolved.
    """
    rows = {}
    for one in hypotheses:
        found = estimate(seed_differences(scores, one.first, one.second, one.worlds, protocol))
        about = {"statement": one.statement, "difference": f"{one.first} − {one.second}", "worlds": len(one.worlds)}
        rows[one.name] = about | {"expected": "> 0" if one.sign > 0 else "< 0", "sign": one.sign} | found
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("hypothesis")
    table["p_holm"] = holm(table["p"].to_numpy())
    sure = table["p_holm"] < ALPHA
    as_expected = np.sign(table["mean"]) == table["sign"]
    table["verdict"] = np.where(~sure, "not resolved", np.where(as_expected, "held", "against"))
    return table.drop(columns="sign")


def world_table(scores: pd.DataFrame, reports: pd.DataFrame, protocol: str = "trial") -> pd.DataFrame:
    """World by world: what the rule expects, what the guides gave, and what the check said.

    Returns
    -------
    DataFrame
        By world: its shares and gain, ``r_views, r_label, margin`` of the rule, whether it is ``new``, ``ce`` in
        points, and for each other method its difference from ``ce``, or from ``ce#8`` with few labels, as
        ``<method>`` and ``<method> se``; ``measured margin``, and the number of each verdict.
    """
    rows = {}
    for name in scores["world"].unique():
        world, mine = find_world(name), scores[(scores["world"] == name) & (scores["protocol"] == protocol)]
        row = {field: getattr(world, field) for field in ("w_shared", "w_eeg", "w_video", "eeg_gain")}
        row |= {"r_views": world.r_views, "r_label": world.r_label, "margin": world.margin}
        row |= {"new": name not in WORLDS, "ce": mine.loc[mine["method"] == "ce", "points"].mean()}
        for method in mine["method"].unique():
            if method in ("ce", "ce#8", "eeg_shuffled") or method.startswith("fusion"):
                continue
            base = "ce#8" if "#" in method else "ce"
            found = estimate(seed_differences(scores, method, base, [name], protocol))
            row |= {method: found["mean"], f"{method} se": found["se"]}
        said = reports[reports["world"] == name]
        row["measured margin"] = said["margin"].mean()
        rows[name] = row | {verdict: int((said["verdict"] == verdict).sum()) for verdict in CHOICES}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("world")


def sign_table(worlds: pd.DataFrame) -> pd.DataFrame:
    """How the sign and the rank of the mean gain go with the margin, for the trained and the perfect EEG-only guide.

    Parameters
    ----------
    worlds : DataFrame
        From :func:`world_table`.

    Returns
    -------
    DataFrame
        By guide and group of worlds (``new``, ``named``, ``all``): ``worlds``, ``same sign``, ``spearman``; also with
        the margin that the check measured in place of the rule's.
    """
    rows = []
    for guide in ("kd@eeg", "kd@oracle_eeg"):
        for margin in ("margin", "measured margin"):
            for group, mine in (("new", worlds[worlds["new"]]), ("named", worlds[~worlds["new"]]), ("all", worlds)):
                same = int((np.sign(mine[guide]) == np.sign(mine[margin])).sum())
                tells = len(mine) > 2 and min(mine[guide].nunique(), mine[margin].nunique()) > 1
                rank = stats.spearmanr(mine[guide], mine[margin]).statistic if tells else np.nan
                about = {"guide": guide, "margin": margin, "group": group, "worlds": len(mine)}
                rows.append(about | {"same sign": same, "spearman": rank})
    return pd.DataFrame(rows)


def policy_table(scores: pd.DataFrame, reports: pd.DataFrame, worlds: Iterable[str]) -> pd.DataFrame:
    """What it costs not to know the world: regret of always, never, gently, and as the check says.

    Parameters
    ----------
    scores : DataFrame
        From :func:`with_choices`.
    reports : DataFrame
    worlds : iterable of str

    Returns
    -------
    DataFrame
        By policy: ``gain`` over never distilling and ``regret`` against the best of the three choices of each world
        (known afterwards only), in points on unseen trials, and ``right``: for the check, the share of verdicts
        *distil* or *do not distil* that go with the sign of their world's mean gain (NaN for the others).
    """
    worlds = list(worlds)
    mine = scores[scores["world"].isin(worlds) & (scores["protocol"] == "trial")]
    means = mine.pivot_table(index="world", columns="method", values="points")[[*CHOICES.values(), CHOSEN]]
    best = means[list(CHOICES.values())].max(axis=1)
    table = pd.DataFrame({"gain": means.sub(means["ce"], axis=0).mean(), "regret": means.rsub(best, axis=0).mean()})
    said = reports[reports["world"].isin(worlds) & (reports["verdict"] != "distil gently")]
    helps = said["world"].map(means["kd@eeg"] > means["ce"])
    table["right"] = np.nan
    table.loc[CHOSEN, "right"] = ((said["verdict"] == "distil") == helps).mean() if len(said) else np.nan
    names = {"kd@eeg": "always distil", "kd_gentle@eeg": "always gently", "ce": "never distil"}
    return table.rename(index=names).rename_axis("policy")
