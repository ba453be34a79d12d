"""When does crossing modalities help? The hypotheses of beyond.md, and what the stored runs of beyond.yaml say to them.

    python -m cdgkd_utils grid run studies/beyond.yaml    # about an hour on two cores, once
    python studies/beyond.py                              # tables, figures and RESULTS.md into studies/results

The same for beyond_few.yaml, which repeats H4 on other seeds.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from cdgkd_utils.data.twin import WORLDS, find_world
from cdgkd_utils.results.statistics import holm

HERE = Path(__file__).parent
HELP = ("0.2/0.05/0/1.6", "0.35/0.05/0.05/1.6", "0.3/0.2/0.05/1.6", "0.2/0.15/0.1/1.6")
HARM = ("0.05/0.3/0.1/1.6", "0.1/0.2/0.3/1.6", "0.05/0.15/0.4/1.6", "0/0.2/0.4/1.6")
NAMED = ("mixed", "shared_view", "same_feeling", "eeg_rich", "complementary")
SHARED = ("shared_view", "same_feeling")
ALPHA = 0.05
# What the check's three verdicts choose.
CHOICES = {"distil": "kd@eeg", "distil gently": "kd_gentle@eeg", "do not distil": "ce"}
CHOSEN = "chosen by the check"
UNIT = ["world", "target", "seed"]


@dataclass(frozen=True)
class Hypothesis:
    """One line of the protocol: ``sign * (first - second) > 0`` on average over `worlds`."""

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

    `scores` has ``world, target, seed, protocol, method, points`` (expected accuracy in per cent), `reports`
    ``world, target, seed, verdict, margin``: the check on the EEG-only guide.
    """
    if reports.empty:
        return scores
    wanted = reports[[*UNIT, "verdict"]].assign(method=reports["verdict"].map(CHOICES))
    chosen = wanted.merge(scores, on=[*UNIT, "method"], how="left")
    if chosen["points"].isna().any():
        raise ValueError(f"scores: missing for a choice: {chosen[chosen['points'].isna()].iloc[0].to_dict()}")
    return pd.concat([scores, chosen.assign(method=CHOSEN)[scores.columns]], ignore_index=True)


def seed_differences(
    scores: pd.DataFrame, first: str, second: str, worlds: tuple[str, ...], protocol: str = "trial"
) -> pd.Series:
    """``first - second`` in points, paired within world, target and seed, averaged within each seed."""
    mine = scores[scores["world"].isin(worlds) & (scores["protocol"] == protocol)]
    wide = mine[mine["method"].isin((first, second))].pivot(index=UNIT, columns="method", values="points")
    n_expected = len(worlds) * mine["target"].nunique() * mine["seed"].nunique()
    if {first, second} - set(wide) or wide.isna().any(axis=None) or len(wide) != n_expected:
        raise ValueError(f"{first} - {second}: expected both in every world, target and seed of {', '.join(worlds)}")
    return (wide[first] - wide[second]).groupby("seed").mean()


def estimate(differences: pd.Series) -> dict[str, float]:
    """``n, mean, se, low, high`` (95 %) and ``p`` (two-sided) by Student's t over seeds, whose people differ."""
    n, mean, sd = len(differences), differences.mean(), differences.std(ddof=1)
    found = {"n": n, "mean": mean, "se": sd / np.sqrt(n), "low": np.nan, "high": np.nan, "p": np.nan}
    if n < 2 or sd <= 1e-12 * max(1.0, differences.abs().max()):  # no spread, no test
        return found | ({"p": 1.0} if n > 1 and abs(mean) < 1e-12 else {})
    test = stats.ttest_1samp(differences, 0.0)
    low, high = test.confidence_interval(0.95)
    return found | {"low": low, "high": high, "p": test.pvalue}


def hypothesis_table(
    scores: pd.DataFrame, protocol: str = "trial", hypotheses: tuple[Hypothesis, ...] = HYPOTHESES
) -> pd.DataFrame:
    """Every hypothesis of a family: difference, estimate, Holm's p, and held, against, or not resolved."""
    rows = {}
    for one in hypotheses:
        about = {"statement": one.statement, "difference": f"{one.first} − {one.second}", "worlds": len(one.worlds)}
        about["expected"] = "> 0" if one.sign > 0 else "< 0"
        rows[one.name] = about | estimate(seed_differences(scores, one.first, one.second, one.worlds, protocol))
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("hypothesis")
    table["p_holm"] = holm(table["p"].to_numpy())
    as_expected = np.sign(table["mean"]) == np.where(table["expected"] == "> 0", 1, -1)
    sure = table["p_holm"] < ALPHA
    table["verdict"] = np.where(~sure, "not resolved", np.where(as_expected, "held", "against"))
    return table


def world_table(scores: pd.DataFrame, reports: pd.DataFrame, protocol: str = "trial") -> pd.DataFrame:
    """World by world: what the rule expects, what the guides gave over ``ce`` (``ce#8``), and what the check said."""
    rows = {}
    for name in scores["world"].unique():
        world, mine = find_world(name), scores[(scores["world"] == name) & (scores["protocol"] == protocol)]
        row = {field: getattr(world, field) for field in ("w_shared", "w_eeg", "w_video", "eeg_gain")}
        row |= {"r_views": world.r_views, "r_label": world.r_label, "margin": world.margin}
        row |= {"new": name not in WORLDS, "ce": mine.loc[mine["method"] == "ce", "points"].mean()}
        for method in mine["method"].unique():
            if method in ("ce", "ce#8", "eeg_shuffled") or method.startswith("fusion"):
                continue
            found = estimate(seed_differences(scores, method, "ce#8" if "#" in method else "ce", (name,), protocol))
            row |= {method: found["mean"], f"{method} se": found["se"]}
        said = reports[reports["world"] == name]
        row["measured margin"] = said["margin"].mean()
        rows[name] = row | {verdict: int((said["verdict"] == verdict).sum()) for verdict in CHOICES}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("world")


def sign_table(worlds: pd.DataFrame) -> pd.DataFrame:
    """How sign and rank of the mean gain go with the margin, for the trained and the perfect EEG-only guide."""
    rows = []
    for guide in ("kd@eeg", "kd@oracle_eeg"):
        for margin in ("margin", "measured margin"):
            for group, mine in (("new", worlds[worlds["new"]]), ("named", worlds[~worlds["new"]]), ("all", worlds)):
                same = int((np.sign(mine[guide]) == np.sign(mine[margin])).sum())
                rank = mine[guide].rank().corr(mine[margin].rank())  # Spearman's
                about = {"guide": guide, "margin": margin, "group": group, "worlds": len(mine)}
                rows.append(about | {"same sign": same, "spearman": rank})
    return pd.DataFrame(rows).set_index("guide")


def policy_table(scores: pd.DataFrame, reports: pd.DataFrame, worlds: tuple[str, ...] = HELP + HARM) -> pd.DataFrame:
    """What it costs not to know the world: always, never, gently, and as the check says.

    ``gain`` over never distilling and ``regret`` against the best of the three choices of each world, in points on
    unseen trials; ``right``: share of the check's clear verdicts that go with the sign of their world's mean gain.
    """
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


def collect(config: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores and checks of a configuration's stored runs; guides are scored like methods, assistants are not."""
    from cdgkd_utils.experiments.grid import plan, read_config

    grid = plan(read_config(config))
    if missing := grid.missing():
        sys.exit(f"{len(missing)} of {len(grid.runs)} runs are missing: python -m cdgkd_utils grid run {config}")
    scores, reports = [], []
    for run in grid.runs.values():
        place = {"world": run.params.world, "target": run.target, "seed": run.params.seed}
        if run.recipe.kind == "report":
            reports.append(place | json.loads((run.folder / "result.json").read_text())["report"])
        elif not str(run.recipe.model).startswith("ta"):
            with np.load(run.folder / "outputs.npz") as stored:
                outputs = dict(stored)
            says_high = outputs["logits"][:, 1] > outputs["logits"][:, 0]
            expected = 100 * np.where(says_high, outputs["posterior"], 1 - outputs["posterior"])
            for part in ("trial", "subject"):
                points = expected[outputs[f"test_{part}"]].mean()
                scores.append(place | {"protocol": part, "method": run.recipe.name, "points": points})
    return pd.DataFrame(scores), pd.DataFrame(reports, columns=None if reports else [*UNIT, "verdict", "margin"])


def phase_points(worlds: pd.DataFrame, guide: str = "kd@eeg") -> pd.DataFrame:
    """The worlds as the phase diagram of :mod:`cdgkd_utils.viz` takes them."""
    columns = ["w_shared", "w_eeg", "w_video", "r_views", "r_label", "margin"]
    return worlds[columns].assign(gain=worlds[guide], se=worlds[f"{guide} se"], kind="published").reset_index()


def as_markdown(results: Path) -> str:
    """What the tables in `results` say, for RESULTS.md."""
    tables = {path.stem: pd.read_csv(path, index_col=0) for path in results.glob("*.csv")}
    text = ["| hypothesis | difference | verdict | points [95 %] | se | p (Holm) | unseen people |", "|---" * 7 + "|"]
    for name, row in tables["beyond_tests"].iterrows():
        p = "< .001" if row["p_holm"] < 0.001 else f"{row['p_holm']:.3f}"
        other = tables["beyond_tests_people"].loc[name]
        points = f"{row['mean']:+.1f} [{row['low']:+.1f}, {row['high']:+.1f}]"
        difference = f"`{row['difference']}` {row['expected']}, {row['worlds']} worlds"
        cells = [f"{name}: {row['statement']}", difference, row["verdict"], points, f"{row['se']:.2f}", p]
        text.append(f"| {' | '.join(cells)} | {other['mean']:+.1f} ({other['se']:.1f}) |")
    n = int(tables["beyond_tests"]["n"].iloc[0])
    text += [
        "",
        f"Points of expected accuracy on unseen trials of the synthetic twin, n = {n} seeds with people of their own; "
        "p by Student's t over seeds, corrected by Holm over all hypotheses; last column: unseen people (se).",
        "",
    ]
    worlds, policies = tables["beyond_worlds"], tables["beyond_policies"]
    new = worlds[worlds["new"]]
    same = int(((new["kd@eeg"] > 0) == (new["margin"] > 0)).sum())
    regret = ", ".join(f"{name} {abs(row['regret']):.1f}" for name, row in policies.iterrows())
    right = 100 * policies.loc[CHOSEN, "right"]
    text.append(f"Sign of the gain as the rule expects: {same} of {len(new)} new worlds. Regret in points: {regret}.")
    text.append(f"The check's clear verdicts go with the sign of their world's gain in {right:.0f} %.")
    if "beyond_few_tests" in tables:
        again = tables["beyond_few_tests"]
        parts = [f"{name} {r['mean']:+.1f} [{r['low']:+.1f}, {r['high']:+.1f}]" for name, r in again.iterrows()]
        text.append(f"Again on {int(again['n'].iloc[0])} further seeds: {'; '.join(parts)}.")
    return "\n".join([*text, ""])


def main(config: Path = HERE / "beyond.yaml", results: Path = HERE / "results") -> None:
    """Write what a configuration's stored runs say; one that can judge some hypotheses only writes those."""
    scores, reports = collect(config)
    methods = set(scores["method"]) | ({CHOSEN} if len(reports) else set())
    scores = with_choices(scores, reports)
    able = tuple(h for h in HYPOTHESES if set(h.worlds) <= set(scores["world"]) and {h.first, h.second} <= methods)
    tables = {
        "tests": hypothesis_table(scores, "trial", able),
        "tests_people": hypothesis_table(scores, "subject", able),
    }
    if len(able) == len(HYPOTHESES):
        worlds = world_table(scores, reports)
        tables |= {"worlds": worlds, "worlds_people": world_table(scores, reports, "subject")}
        tables |= {"signs": sign_table(worlds), "policies": policy_table(scores, reports)}
    for name, table in tables.items():
        table.to_csv(results / f"{config.stem}_{name}.csv")
    about = {"configuration": config.read_text(encoding="utf-8").splitlines(), "scores": len(scores)}
    (results / f"{config.stem}.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    if "worlds" in tables:
        from cdgkd_utils import viz

        viz.use()
        viz.draw_worlds(phase_points(tables["worlds"])).savefig(results / "beyond_worlds.png")
        viz.draw_hypotheses(tables["tests"], tables["tests_people"]).savefig(results / "beyond_hypotheses.png")
    (results / "RESULTS.md").write_text(as_markdown(results), encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
