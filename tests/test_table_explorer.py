"""The table explorer: a choice's numbers against scipy, and every number back to its runs."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cdgkd_utils.config import home
from cdgkd_utils.results.collect import Design
from cdgkd_utils.results.explorer import Choice, chosen_differences, chosen_intervals, run_records, runs_behind
from cdgkd_utils.results.paper import POSTER_ROWS
from cdgkd_utils.results.tables import both_tables
from cdgkd_utils.viz.widgets import table_explorer
from cdgkd_utils.viz.widgets.evidence import Evidence, explorer_alt, explorer_figure, p_text
from cdgkd_utils.viz.widgets.table_explorer import explorer_panel, followed_html, numbers_html

RAN = {1: ("ce", "kd", "takd", "cdgkd"), 2: ("fusion", "fusion_rebalanced")}
REPEATS = 4
CHOICE = Choice("deap", 1, "valence", "accuracy", ("ce", "kd", "nst"), "cdgkd")


@pytest.fixture
def evidence(tmp_path, monkeypatch):
    """Four repetitions of a few rows, with stored runs; `nst` has no run."""
    monkeypatch.setenv("CDGKD_HOME", str(tmp_path / "home"))
    rng = np.random.default_rng(0)
    rows, runs = [], []
    for table, methods in RAN.items():
        for place, method in enumerate(methods):
            for target in ("valence", "arousal"):
                for repeat in range(REPEATS):
                    folder = home() / "runs" / f"{method}-{target}-{repeat}"
                    folder.mkdir(parents=True)
                    recipe = {"name": method, "row": "", "table": table, "loss": "ce", "options": {}}
                    spec = {"recipe": recipe, "target": target, "fold": 0, "seed": 100 + repeat, "family": "compact"}
                    (folder / "spec.json").write_text(json.dumps(spec))
                    (folder / "result.json").write_text(json.dumps({"epoch": 3, "files": {"a": "b"}, "note": "<i>"}))
                    runs.append((repeat, folder))
                    for protocol in ("trial", "subject"):
                        for metric in ("accuracy", "ece"):
                            value = 0.6 + 0.02 * place + 0.05 * rng.standard_normal()
                            rows.append((table, "deap", target, protocol, method, repeat, 0, metric, value, 30, 10))
    columns = ["table", "dataset", "target", "protocol", "method", "repeat", "fold", "metric", "value", "n_train"]
    scores = pd.DataFrame(rows, columns=[*columns, "n_test"]).assign(profile="p", data="a twin")
    design = Design("deap", "a twin", "p", scores, len(runs), REPEATS, own_data=True)
    tables = pd.concat([both_tables([design], number) for number in (1, 2)], ignore_index=True)
    return Evidence((design,), tables, run_records(runs, "deap"))


def values(evidence, method, protocol, metric="accuracy", target="valence"):
    scores = evidence.designs[0].scores
    wanted = {"method": method, "protocol": protocol, "metric": metric, "target": target}
    return 100 * scores[(scores[list(wanted)] == pd.Series(wanted)).all(axis=1)]["value"].to_numpy()


def test_intervals_are_the_tables_and_a_row_without_runs_says_so(evidence):
    frame = chosen_intervals(evidence.tables, CHOICE).set_index(["method", "protocol"])
    assert {method for method, _ in frame.index} == {"ce", "kd", "nst", "cdgkd"}
    for protocol in ("trial", "subject"):
        for method in ("ce", "kd", "cdgkd"):
            row, mine = frame.loc[(method, protocol)], values(evidence, method, protocol)
            half = stats.t.ppf(0.975, REPEATS - 1) * stats.sem(mine)
            assert (row["mean"], row["low"], row["high"]) == pytest.approx(
                (mine.mean(), *(mine.mean() + half * np.array([-1, 1])))
            )
            assert (row["n_runs"], row["n_expected"], row["interval"]) == (4, 4, "repetitions")
        assert frame.loc[("nst", protocol), "cell"] == "0 of 4"


def test_differences_and_p_values_are_those_of_scipy_and_holm_counts_what_is_shown(evidence):
    frame = chosen_differences(evidence.designs, CHOICE)
    assert len(frame) == 4  # two rows that ran, two protocols
    p = []
    for row in frame.itertuples():
        difference = values(evidence, "cdgkd", row.protocol) - values(evidence, row.method, row.protocol)
        assert row.mean == pytest.approx(difference.mean()) and row.n == REPEATS
        assert row.p_naive == pytest.approx(stats.ttest_1samp(difference, 0).pvalue)
        assert row.p == pytest.approx(row.p_naive)  # one fold each: the repetitions are the runs
        assert row.dz == pytest.approx(difference.mean() / difference.std(ddof=1))
        p.append(row.p)
    order = np.argsort(p)
    expected, running = np.empty(4), 0.0
    for step, place in enumerate(order):
        running = max(running, min(1.0, (4 - step) * p[place]))
        expected[place] = running
    np.testing.assert_allclose(frame["p_holm"], expected)
    alone = chosen_differences(evidence.designs, Choice("deap", 1, "valence", "accuracy", ("ce",), "cdgkd"))
    assert len(alone) == 2 and (alone["p_holm"].to_numpy() <= frame[frame["method"] == "ce"]["p_holm"].to_numpy()).all()


def test_every_number_leads_to_its_runs(evidence):
    found = runs_behind(evidence.designs, evidence.records, CHOICE, "kd", "subject")
    assert found["run"].tolist() == [f"runs/kd-valence-{repeat}" for repeat in range(REPEATS)]
    assert found["seed"].tolist() == [100, 101, 102, 103]
    assert found["value"].mean() == pytest.approx(values(evidence, "kd", "subject").mean())
    assert runs_behind(evidence.designs, evidence.records, CHOICE, "nst", "trial").empty
    lost = evidence.records[evidence.records["run"] != "runs/kd-valence-2"]
    with pytest.raises(ValueError, match="one run for each of the 4 scores of kd"):
        runs_behind(evidence.designs, lost, CHOICE, "kd", "subject")


def test_followed_runs_are_escaped_and_linked_only_below_a_root(evidence):
    text = followed_html(evidence, CHOICE, "kd", "trial", "../build")
    assert text.count("<details>") == REPEATS and 'href="../build/runs/kd-valence-0"' in text
    assert "&lt;i&gt;" in text and "<i>" not in text and "&quot;files&quot;" not in text
    plain = followed_html(evidence, CHOICE, "kd", "trial")
    assert "href" not in plain and str(home()) not in text + plain
    assert "no run has this score" in followed_html(evidence, CHOICE, "nst", "trial")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"table": 3}, "table: expected one of 1, 2, got 3"),
        ({"methods": ()}, "methods: choose at least one row"),
        ({"methods": ("fusion",)}, "methods: table 1 has no row fusion"),
        ({"metric": "majority"}, "metric: expected one of"),
    ],
)
def test_a_choice_that_cannot_be_is_one_sentence(change, said):
    given = {"dataset": "deap", "table": 1, "target": "valence", "metric": "accuracy", "methods": ("ce",)}
    with pytest.raises(ValueError, match=said):
        Choice(**given | {"reference": "cdgkd"} | change)


def test_the_figure_has_a_dot_for_each_row_that_ran_and_names_the_one_that_did_not(evidence):
    figure = explorer_figure(evidence, CHOICE)
    left, right = figure.axes
    assert [label.get_text() for label in left.get_yticklabels()][-1] == "CDGKD"
    assert any("(0 of 4)" in label.get_text() for label in left.get_yticklabels())
    dots = np.concatenate([one.lines[0].get_xdata() for one in left.containers])
    expected = [values(evidence, m, p).mean() for p in ("trial", "subject") for m in ("ce", "kd", "cdgkd")]
    assert sorted(dots) == pytest.approx(sorted(expected))
    assert sum(len(one.lines[0].get_xdata()) for one in right.containers) == 4
    alt = explorer_alt(evidence, CHOICE)
    assert "4 rows of table 1, valence" in alt and "0 of 4" in alt
    assert (p_text(float("nan")), p_text(0.0004), p_text(0.25)) == ("–", "<0.001", "0.250")
    assert "Holm: corrected for the 4 differences shown" in numbers_html(evidence, CHOICE)


def test_the_panel_follows_each_control_once_and_the_rows_follow_the_table(evidence, monkeypatch):
    drawn = []
    real = table_explorer.explorer_figure
    monkeypatch.setattr(table_explorer, "explorer_figure", lambda *args: drawn.append(args[1]) or real(*args))
    panel = explorer_panel(evidence, CHOICE)
    first = panel.picture.value
    panel.set(metric="ece")
    panel.set(target="arousal")
    panel.set(table=2)
    assert len(drawn) == 4 and panel.picture.value != first
    assert drawn[-1].methods == POSTER_ROWS[2] and drawn[-1].reference == POSTER_ROWS[2][-1]
    assert panel.status.value == "" and "lower is better" not in panel.status.value
    before = panel.picture.value
    panel.set(methods=())
    assert panel.picture.value == before and "choose at least one row" in panel.status.value
    panel.set(methods=("fusion",))
    assert panel.status.value == "" and re.search('alt="[^"]*Plain fusion', panel.picture.value)
