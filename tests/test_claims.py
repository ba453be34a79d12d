"""One pooled test a claim, against its best rival; the text says what was measured on these data and no more."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from test_tables import SCORES

from cdgkd_utils.results.paper import CLAIMS, ROWS, WHY, place
from cdgkd_utils.results.statistics import claims_text, compare, effect_interval, holm, judge_claims, summarise

GUIDE, BEST, TEACHER = (
    "A guide helps the student at all",
    "CDGKD is the best student",
    "The rebalanced teacher is the best",
)


def make_runs(points, n=12, table=1, world="mixed", noise=0.2, seed=0):
    """Runs in which a method lies `points` above a level that changes from run to run, all with expected accuracies."""
    rng, rows = np.random.default_rng(seed), []
    for target in ("valence", "arousal"):
        for protocol in ("trial", "subject"):
            for run in range(n):
                base = rng.uniform(0.55, 0.6)
                for method, above in points.items():
                    cell = (world, "deap", target, protocol, table, method, run, 0)
                    value = base + (above + rng.normal(0, noise)) / 100
                    data = f"made up ({world})"
                    rows.append((*cell, "expected_accuracy", value, 300, 100, n, "smoke", data, run, f"{method}-{run}"))
    return pd.DataFrame(rows, columns=SCORES)


def judged(runs):
    return judge_claims(runs).set_index("claim")


@pytest.mark.parametrize(
    ("gain", "noise", "verdict"),
    [(3, 0.2, "holds"), (-3, 0.2, "against"), (0, 0.2, "no difference"), (0, 8, "not shown")],
)
def test_planted_differences_are_judged(gain, noise, verdict):
    row = judged(make_runs({"ce": 0, "cdgkd": gain}, noise=noise)).loc[GUIDE]
    assert row["verdict"] == verdict
    if noise < 1:
        assert row["mean"] == pytest.approx(gain, abs=0.2) and row["low"] < gain < row["high"]


def test_a_pooled_difference_by_scipy():
    runs = make_runs({"ce": 0, "cdgkd": 1}, n=5)
    runs = runs[(runs["repeat"] < 4) | (runs["target"] == "valence")]  # the last run did not make every comparison
    wide = runs[runs["repeat"] < 4].pivot(index="repeat", columns=["target", "protocol", "method"], values="value")
    by_run = np.mean(
        [100 * (wide[t, p, "cdgkd"] - wide[t, p, "ce"]) for t in ("valence", "arousal") for p in ("trial", "subject")],
        axis=0,
    )
    row, expected = judged(runs).loc[GUIDE], stats.ttest_1samp(by_run, 0)
    assert (row["n"], row["mean"], row["p"]) == pytest.approx((4, by_run.mean(), expected.pvalue))
    assert (row["low"], row["high"]) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert row["dz"] == pytest.approx(by_run.mean() / by_run.std(ddof=1))  # of the test that was used
    assert (row["dz_low"] > 0) == (row["p"] < 0.05) and row["test"] == "repetitions"
    shared = judged(runs.assign(world="")).loc[GUIDE]
    assert shared["test"] == "corrected"
    wider = (shared["high"] - shared["low"]) / (row["high"] - row["low"])
    assert wider == pytest.approx(np.sqrt((1 / 4 + 1 / 3) * 4))


def test_the_best_must_beat_its_best_rival_and_names_those_beaten():
    """Far ahead of NST and level with KD is not best; ahead of all is; behind one of them is said."""
    level = judged(make_runs({"kd": 0, "nst": -5, "takd": -4, "cdgkd": 0})).loc[BEST]
    assert level["verdict"] != "holds" and level["rival"] == "kd" and level["beaten"] == "2 of 3 (NST, TAKD)"
    first = judged(make_runs({"kd": -2, "nst": -5, "takd": -4, "cdgkd": 0})).loc[BEST]
    assert (first["verdict"], first["rival"], first["beaten"]) == ("holds", "kd", "3 of 3 (KD, NST, TAKD)")
    behind = judged(make_runs({"kd": 3, "nst": -5, "takd": -4, "cdgkd": 0})).loc[BEST]
    assert (behind["verdict"], behind["rival"]) == ("against", "kd") and behind["mean"] == pytest.approx(-3, abs=0.2)
    teacher = judged(make_runs({"cnn_svm": 1, "dgc_jca": -9, "emotionkd": -9, "fusion_rebalanced": 0}, table=2)).loc[
        TEACHER
    ]
    assert teacher["verdict"] == "against" and teacher["beaten"].startswith("2 of 3")


def test_a_best_of_equals_is_seldom_called_best():
    methods = dict.fromkeys(("kd", "fitnets", "nst", "takd", "emotionkd", "ambokd", "cdgkd"), 0)
    found = [judged(make_runs(methods, n=8, noise=3, seed=seed)).loc[BEST, "verdict"] for seed in range(15)]
    assert found.count("holds") + found.count("against") <= stats.binom.ppf(0.9999, 15, 0.05)


def test_the_claims_of_a_world_are_corrected_together():
    runs = make_runs({"ce": 0, "takd": 0, "dense": 0.1, "kd_drop": 0, "cdgkd": 0.2}, noise=1)
    table = judge_claims(runs)
    assert len(table) == 5 and table["p_holm"].tolist() == pytest.approx(holm(table["p"]).tolist())
    assert (table["p_holm"] >= table["p"]).all()
    both = judge_claims(pd.concat([runs, make_runs({"ce": 0, "cdgkd": 2}, world="shared_view")]))
    assert both[both["world"] == "mixed"]["p_holm"].tolist() == table["p_holm"].tolist()  # world by world
    assert both[both["world"] == "shared_view"]["verdict"].tolist() == ["holds"]


def test_single_comparisons_are_those_of_their_cells():
    runs = make_runs({"ce": 0, "kd": 0.5, "cdgkd": 1}, n=6)
    frame = compare(runs, 1, "cdgkd", ("kd", "ce", "cdgkd", "absent"), "expected_accuracy")
    assert len(frame) == 2 * 2 * 2 and frame["p_holm"].tolist() == holm(frame["p"]).tolist()
    for row in frame.itertuples():
        cell = runs[(runs["target"] == row.target) & (runs["protocol"] == row.protocol)]
        wide = cell.pivot(index="repeat", columns="method", values="value")
        expected = summarise(100 * (wide["cdgkd"] - wide[row.method]), repeat=wide.index)
        assert (row.mean, row.p) == pytest.approx((expected["mean"], expected["p"]))
        assert (row.dz_low, row.dz_high) == pytest.approx(effect_interval(expected))
    assert compare(runs, 1, "dense", ("kd",), "expected_accuracy").empty


def test_reasons_are_only_those_measured_on_these_data():
    """On noise named DEAP nothing is known of what guides remember, and nothing is said of it."""
    bare = claims_text(judge_claims(make_runs({"ce": 0, "cdgkd": 0}, noise=8, world="").assign(data="DEAP")))
    assert "no further experiment was run on these data" in bare
    assert all(text not in bare for reasons in WHY.values() for text, _, _ in reasons)
    runs = make_runs({"ce": 0, "cdgkd": 0, "kd_oracle": 2.5}, noise=0.1)
    told = claims_text(judge_claims(runs))
    row = compare(runs, 1, "kd_oracle", ("ce",), "expected_accuracy", pooled=True).iloc[0]
    assert f"the true posterior as guide {row['mean']:+.1f} [{row['low']:+.1f}, {row['high']:+.1f}]" in told
    assert "that saw none of the labels" not in told


def test_the_text_has_three_lines_a_claim_and_every_world_in_them():
    runs = pd.concat([make_runs({"ce": 0, "cdgkd": gain}, world=w) for w, gain in (("shared_view", 2), ("mixed", 0))])
    lines = claims_text(judge_claims(runs)).splitlines()
    assert lines[0] == f"**{GUIDE}** (Variant 5 over 3)"
    assert [line.split("*")[1] for line in lines[1:4]] == ["Paper:", "Here:", "Why:"]
    assert "65.97 against 61.47 (CE (no guide))" in lines[1]
    assert "shared_view: **holds**, +2." in lines[2] and "mixed: **no difference**" in lines[2] and "n = 12" in lines[2]
    assert claims_text(judge_claims(make_runs({"nst": 0}))) == "No claim can be judged by these runs."


def test_claims_name_rows_of_their_table():
    for claim in CLAIMS:
        assert {claim.better, *claim.than} <= set(ROWS[claim.table]) and claim.better not in claim.than
        for _, better, than in WHY[claim.text]:
            assert {place(name)[0] for name in (better, than)} == {claim.table}
    assert [claim.source == "ours" for claim in CLAIMS] == [False] * 8 + [True]
