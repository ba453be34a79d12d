"""The confirmation's statistics by hand, and its protocol against its configuration and its published numbers."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cdgkd_utils.data.twin import find_world
from cdgkd_utils.experiments.grid import read_config

STUDIES = Path(__file__).parents[1] / "studies"
SPEC = importlib.util.spec_from_file_location("beyond", STUDIES / "beyond.py")
beyond = sys.modules["beyond"] = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(beyond)
WORLDS, SEEDS = (*beyond.NAMED, *beyond.HELP, *beyond.HARM), (7, 8, 9)
METHODS = {m for one in beyond.HYPOTHESES for m in (one.first, one.second)} | {"kd_gentle@eeg", "kd@oracle_eeg"}


def scores_of(points):
    """Scores from a function of (world, target, seed, protocol, method), for all methods that a hypothesis names."""
    rows = [
        (world, target, seed, protocol, method, points(world, target, seed, protocol, method))
        for world in WORLDS
        for target in ("valence", "arousal")
        for seed in SEEDS
        for protocol in ("trial", "subject")
        for method in sorted(METHODS - {beyond.CHOSEN})
    ]
    return pd.DataFrame(rows, columns=["world", "target", "seed", "protocol", "method", "points"])


def reports_of(verdict):
    units = [(w, t, s) for w in WORLDS for t in ("valence", "arousal") for s in SEEDS]
    frame = pd.DataFrame(units, columns=["world", "target", "seed"])
    return frame.assign(verdict=[verdict(*unit) for unit in units], margin=[find_world(u[0]).margin / 2 for u in units])


def test_seed_differences_are_paired_and_averaged_by_hand():
    def points(world, target, seed, protocol, method):
        base = 10 * seed + (5 if target == "arousal" else 0) + (1 if world == beyond.HELP[1] else 0)  # cancels in pairs
        extra = (seed if target == "valence" else 3 * seed) if method == "kd@eeg" and protocol == "trial" else 0
        return base + extra

    scores = scores_of(points)
    assert beyond.seed_differences(scores, "kd@eeg", "ce", beyond.HELP).to_dict() == {7: 14.0, 8: 16.0, 9: 18.0}
    assert (beyond.seed_differences(scores, "kd@eeg", "ce", beyond.HELP, "subject") == 0).all()
    hole = (scores["world"] == beyond.HELP[2]) & (scores["seed"] == 8) & (scores["method"] == "ce")
    with pytest.raises(ValueError, match="expected both"):
        beyond.seed_differences(scores[~hole], "kd@eeg", "ce", beyond.HELP)


def test_the_estimate_is_students():
    values = pd.Series([1.0, 2.0, 4.0, 3.5])
    found, test = beyond.estimate(values), stats.ttest_1samp(values, 0)
    assert found["se"] == pytest.approx(np.sqrt(sum((v - 2.625) ** 2 for v in values) / 3) / 2)
    assert (found["mean"], found["p"]) == pytest.approx((2.625, test.pvalue))
    assert (found["low"], found["high"]) == pytest.approx(tuple(test.confidence_interval(0.95)))


def test_verdicts_need_the_sign_and_the_corrected_p():
    steady, shift = (-0.01, 0.0, 0.01), {"kd@eeg": 2.0, "cdgkd": -2.0}

    def points(world, target, seed, protocol, method):
        return 60 + (shift[method] + steady[seed - 7] if method in shift else 0)

    one = beyond.Hypothesis
    family = (
        one("a", "", "kd@eeg", "ce", beyond.HELP),
        one("b", "", "kd@eeg", "ce", beyond.HARM, -1),
        one("c", "", "cdgkd", "kd_drop", beyond.NAMED),
        one("d", "", "dense", "kd_drop", beyond.NAMED),
    )
    table = beyond.hypothesis_table(scores_of(points), hypotheses=family)
    assert table["verdict"].to_dict() == {"a": "held", "b": "against", "c": "against", "d": "not resolved"}
    np.testing.assert_allclose(table["p_holm"].iloc[:3], 4 * table["p"].iloc[0], rtol=1e-6)


def test_choices_policies_worlds_and_signs_by_hand():
    gains = dict(zip((*beyond.HELP, *beyond.HARM), (3, 2, 1, 1, -1, -2, -3, -5), strict=True))

    def points(world, target, seed, protocol, method):
        gain = gains.get(world, 0)
        return 60 + {"kd@eeg": gain, "kd_gentle@eeg": gain / 2 + 0.5, "kd@oracle_eeg": -gain}.get(method, 0)

    def verdict(world, target, seed):
        if world == beyond.HELP[0]:
            return "distil gently"
        return "distil" if gains.get(world, 0) > 0 or (world == beyond.HARM[3] and seed == 7) else "do not distil"

    reports = reports_of(verdict)
    scores = beyond.with_choices(scores_of(points), reports)
    table = beyond.policy_table(scores, reports)
    best = np.array([3, 2, 1, 1, 0, 0, 0, 0])  # gently gives 2, 1.5, 1, 1, 0, -.5, -1, -2
    chosen = np.array([2, 2, 1, 1, 0, 0, 0, -5 / 3])
    assert table.loc["always distil", "regret"] == pytest.approx(best.mean() + 4 / 8)
    assert table.loc["never distil"].tolist()[:2] == pytest.approx([0, best.mean()])
    assert table.loc["always gently", "regret"] == pytest.approx((best - [2, 1.5, 1, 1, 0, -0.5, -1, -2]).mean())
    assert table.loc[beyond.CHOSEN, "regret"] == pytest.approx((best - chosen).mean())
    assert table.loc[beyond.CHOSEN, "right"] == pytest.approx(40 / 42)  # 2 of 7 worlds' clear verdicts are wrong
    worlds = beyond.world_table(scores, reports)
    assert worlds["new"].sum() == 8 and worlds.loc[beyond.HELP[0], list(beyond.CHOICES)].tolist() == [0, 6, 0]
    assert worlds.loc[beyond.HELP[1], "kd@eeg"] == pytest.approx(2)
    signs = beyond.sign_table(worlds).reset_index().set_index(["guide", "margin", "group"])
    assert signs.loc[("kd@eeg", "margin", "new"), ["worlds", "same sign"]].tolist() == [8, 8]
    assert signs.loc[("kd@oracle_eeg", "margin", "new"), "same sign"] == 0


def test_protocol_configuration_and_published_tables_say_the_same():
    config, few = (read_config(STUDIES / f"{name}.yaml") for name in ("beyond", "beyond_few"))
    protocol = (STUDIES / "beyond.md").read_text(encoding="utf-8")
    assert config.world == WORLDS and config.seeds == tuple(range(100, 120))
    assert few.seeds == tuple(range(120, 168))
    for one in beyond.HYPOTHESES:
        assert f"| {one.name} | {one.statement} |" in protocol
        for world in one.worlds:
            has = {*config.recipes("twin", world), beyond.CHOSEN, "fusion_rebalanced"}
            assert {one.first, one.second} <= has
    tests = pd.read_csv(STUDIES / "results" / "beyond_tests.csv", index_col=0)
    assert list(tests["statement"]) == [one.statement for one in beyond.HYPOTHESES]
    worlds = pd.read_csv(STUDIES / "results" / "beyond_worlds.csv", index_col=0)
    for name, row in worlds.iterrows():
        assert row["margin"] == pytest.approx(find_world(name).margin, abs=1e-5)
    stored = (STUDIES / "results" / "RESULTS.md").read_text(encoding="utf-8")
    assert beyond.as_markdown(STUDIES / "results") == stored
