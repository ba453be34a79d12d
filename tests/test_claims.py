"""Claims of the paper as comparisons, and the verdict on each."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cdgkd_utils.results.claims import CLAIMS, claim_intervals, compare_claims, judge_claims
from cdgkd_utils.results.paired import paired
from cdgkd_utils.results.paper import METHODS, ROWS
from cdgkd_utils.results.statistics import holm

METRIC = "expected_accuracy"


def make_runs(gain, n_runs=12, table=1, methods=("ce", "cdgkd"), protocols=("trial", "subject")):
    """Runs in which the last method is better than the others by `gain` points per protocol, almost without noise."""
    rng = np.random.default_rng(0)
    rows = []
    for target in ("valence", "arousal"):
        for protocol, points in zip(protocols, gain, strict=True):
            for run in range(n_runs):
                base = rng.uniform(0.55, 0.6)
                for method in methods:
                    value = base + (points / 100 if method == methods[-1] else 0) + rng.normal(0, 0.002)
                    rows.append(
                        {"table": table, "dataset": "deap", "target": target, "protocol": protocol, "method": method}
                        | {"repeat": run, "fold": 0, "metric": METRIC, "value": value, "n_train": 300, "n_test": 100}
                        | {"profile": "smoke", "data": "made up"}
                    )
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("gain", "verdict", "better", "worse"),
    [
        ((3, 3), "holds", "4 of 4", "0 of 4"),
        ((3, 0), "in part", "2 of 4", "0 of 4"),
        ((-3, 0), "against", "0 of 4", "2 of 4"),
        ((3, -3), "mixed", "2 of 4", "2 of 4"),
        ((0, 0), "not shown", "0 of 4", "0 of 4"),
    ],
)
def test_planted_differences_are_judged(gain, verdict, better, worse):
    judged = judge_claims(compare_claims(make_runs(gain), METRIC))
    assert judged.index.tolist() == ["A guide helps the student at all"]  # nothing else was run
    row = judged.iloc[0]
    assert (row["verdict"], row["better"], row["worse"]) == (verdict, better, worse)
    assert (row["likely reason"] == "") == (verdict == "holds")
    mean, low, high = (float(word.strip("()")) for word in row["difference"].replace(" to ", " ").split())
    assert (mean, low, high) == pytest.approx((np.mean(gain), min(gain), max(gain)), abs=0.25)


def test_the_correction_counts_all_comparisons_of_a_claim():
    runs = make_runs((0.3, 0.3), methods=("kd", "takd", "cdgkd"))
    frame = compare_claims(runs, METRIC)["CDGKD is the best student"]
    assert len(frame) == 2 * 2 * 2
    alone = paired(runs, 1, "cdgkd", METRIC)
    assert frame["p"].tolist() == alone["p"].tolist()
    assert frame["p_holm"].tolist() == holm(alone["p"].to_numpy()).tolist()
    assert (frame["p_holm"] >= alone["p_holm"] - 1e-12).all() and (frame["p_holm"] > alone["p_holm"]).any()


def test_claims_name_rows_of_their_table():
    for claim in CLAIMS:
        assert {claim.better, *claim.than} <= set(ROWS[claim.table]) and claim.better not in claim.than
        assert all(name in METHODS for name in claim.than)
    assert len({claim.text for claim in CLAIMS}) == len(CLAIMS)


def test_repetitions_with_their_own_data_are_tested_as_independent():
    runs = make_runs((0.15, 0.15))
    shared, own = (compare_claims(runs, METRIC, own_data=flag)["A guide helps the student at all"] for flag in (0, 1))
    assert set(shared["test"]) == {"corrected"} and set(own["test"]) == {"repetitions"}
    assert shared["p_holm"].tolist() == holm(shared["p"].to_numpy()).tolist()
    assert own["p_holm"].tolist() == holm(own["p_repeats"].to_numpy()).tolist()
    # one run per repetition: the means are the runs, and the test is the ordinary one
    assert own["p_repeats"].tolist() == pytest.approx(own["p_naive"].tolist())
    few = runs[runs["repeat"] < 2]
    assert set(compare_claims(few, METRIC, own_data=True)["A guide helps the student at all"]["test"]) == {"corrected"}


def test_intervals_belong_to_the_test():
    runs = make_runs((0.15, 0.15))
    claim = "A guide helps the student at all"
    shared, own = (compare_claims(runs, METRIC, own_data=flag)[claim] for flag in (False, True))
    assert ((own["low"] > 0) == (own["p_repeats"] < 0.05)).all() and ((shared["low"] > 0) == (shared["p"] < 0.05)).all()
    assert (own["high"] - own["low"] < shared["high"] - shared["low"]).all()


def test_a_claims_interval_is_that_of_the_means_over_its_comparisons():
    runs = make_runs((1, 2), n_runs=4, methods=("kd", "takd", "cdgkd"))
    runs = runs[(runs["repeat"] < 3) | (runs["target"] == "valence")]  # the last run did not make every comparison
    differences = np.zeros((3, 2, 2, 2))
    for repeat in range(3):
        for i, target in enumerate(("valence", "arousal")):
            for j, protocol in enumerate(("trial", "subject")):
                cell = runs[(runs[["repeat", "target", "protocol"]] == [repeat, target, protocol]).all(axis=1)]
                value = dict(zip(cell["method"], cell["value"], strict=True))
                differences[repeat, i, j] = [100 * (value["cdgkd"] - value[other]) for other in ("kd", "takd")]
    by_run = differences.mean(axis=(1, 2, 3))
    row = claim_intervals(runs, METRIC, own_data=True).loc["CDGKD is the best student"]
    expected = stats.ttest_1samp(by_run, 0).confidence_interval(0.95)
    assert row.tolist() == pytest.approx([3, by_run.mean(), expected.low, expected.high])
    shared = claim_intervals(runs, METRIC).loc["CDGKD is the best student"]
    assert shared["high"] - shared["low"] == pytest.approx((row["high"] - row["low"]) * np.sqrt((1 / 3 + 1 / 3) * 3))
