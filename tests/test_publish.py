"""The README's tables come from a grid's stored runs, and from nothing else."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cdgkd_utils.cli import main
from cdgkd_utils.collecting import summaries
from cdgkd_utils.config import Params
from cdgkd_utils.data.load import load_windows
from cdgkd_utils.experiments.configs import read_config
from cdgkd_utils.experiments.engine import forget_data
from cdgkd_utils.experiments.plan import plan_config
from cdgkd_utils.experiments.records import RunError
from cdgkd_utils.publish import BEGIN, END, PublishError, provenance, publish, with_results
from cdgkd_utils.results.collect import Design
from cdgkd_utils.results.guides import QUALITIES
from cdgkd_utils.results.markdown import claims_as_markdown, guides_as_markdown, table_as_markdown
from cdgkd_utils.results.paper import ROWS
from cdgkd_utils.results.tables import results_table

REPOSITORY = Path(__file__).parent.parent
CONFIG = "targets: valence\nmethods: [fusion_rebalanced, fusion, kd]\nseeds: 1\nfolds: 1\nprofile: smoke\n"
README = f"before\n{BEGIN}\nold\n{END}\nafter\n"


def long_table(number=1, n_repeats=1, **kind):
    """Runs of one method, 60 and 64 % in turn, in every cell; the others were not run."""
    method = {1: "cdgkd", 2: "fusion_rebalanced"}[number]
    runs = pd.DataFrame(
        {
            "table": number, "dataset": dataset, "target": target, "protocol": protocol, "method": method,
            "repeat": repeat, "fold": fold, "metric": metric, "value": value, "n_train": 30, "n_test": 10,
            "profile": "p", "data": "d",
        }
        for dataset in ("deap", "mahnob")
        for target in ("valence", "arousal")
        for protocol in ("trial", "subject")
        for repeat in range(n_repeats)
        for fold, value in enumerate((0.60, 0.64))
        for metric in ("accuracy", "majority")
    )  # fmt: skip
    return results_table(runs, number, 2 * n_repeats, "p", "d", **kind)


def test_markdown_shows_what_ran_names_what_did_not_and_the_papers_number():
    text = table_as_markdown(long_table())
    row = next(line for line in text.splitlines() if line.startswith("| CDGKD "))
    assert row.count("62.0 ± 2.8") == 4
    assert "65.74" in row
    assert "65.97" in row
    assert "n = 2 runs per cell" in text and "corrected for overlapping training sets" in text
    absent = text.split("Methods without a run yet: ")[1]
    assert len(absent.split(";")) == len(ROWS[1]) - 1
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1


def test_markdown_says_what_its_intervals_allow_for():
    text = table_as_markdown(long_table(n_repeats=3, own_data=True))
    assert "over repetitions, each with people of its own" in text and "corrected" not in text


CLAIM = {"claim": "It is so", "source": "Table 1", "better": "3 of 28", "worse": "1 of 28", "naive": "9 of 28"}
CLAIM |= {"verdict": "mixed", "likely reason": "chance", "n": 32, "mean": 1.24, "low": -0.04, "high": 2.5}
CLAIM |= {"least": -1.26, "most": 3.0, "metric": "expected_accuracy", "test": "repetitions"}


def test_a_claim_stands_with_its_interval():
    text = claims_as_markdown(pd.DataFrame([CLAIM]))
    said = "| It is so (Table 1) | mixed | +1.2 [+0.0, +2.5] | -1.3, +3.0 | 3/28 | 1/28 | 9/28 | chance |"
    assert said in text.splitlines()
    assert "difference in expected accuracy" in text and "n = 32 runs" in text and "t test over the repetitions" in text
    lone = claims_as_markdown(pd.DataFrame([CLAIM | {"low": np.nan, "likely reason": np.nan}]))
    assert "| +1.2 | -1.3, +3.0 | 3/28 | 1/28 | 9/28 |  |" in lone
    assert claims_as_markdown(pd.DataFrame()) == "No claim can be judged by these runs.\n"


def test_guides_stand_in_one_row_with_both_parts():
    row = {"dataset": "deap", "guide": "bagged", "n": 6} | {f"{name}_sd": 0.04 for name in QUALITIES}
    known = {"nll": 0.4, "entropy": 0.3, "agreement": 0.8, "r_posterior": 0.7, "r_noise": 0.3}
    unknown = known | {"nll": 0.61, "r_posterior": np.nan, "r_noise": np.nan}
    text = guides_as_markdown(pd.DataFrame([row | {"part": "train"} | known, row | {"part": "test_trial"} | unknown]))
    said = "| bagged teacher | 6 | 0.40 ± 0.04 | 0.61 ± 0.04 | 0.70 ± 0.04 | – | 0.30 ± 0.04 | – |"
    assert said in text.splitlines()
    assert len({line.count("|") for line in text.splitlines() if line.startswith("|")}) == 1


# ---- from runs to the README -------------------------------------------------------------------


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    """A small grid that ran, and its configuration."""
    home = tmp_path_factory.mktemp("grid")
    smoke = tmp_path_factory.getbasetemp() / "smoke_home"
    config = home / "small.yaml"
    config.write_text(CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CDGKD_HOME", str(smoke))
        load_windows(Params(profile="smoke"), n_jobs=1)
        (home / "prepared").symlink_to(smoke / "prepared")
        patch.setenv("CDGKD_HOME", str(home))
        assert main(["grid", "run", str(config), "--jobs", "1"]) == 0
    forget_data()
    return home, config


@pytest.fixture
def repository(grid, tmp_path, monkeypatch):
    monkeypatch.setenv("CDGKD_HOME", str(grid[0]))
    (tmp_path / "README.md").write_text(README)
    return tmp_path


def test_one_command_writes_tables_figures_and_readme(grid, repository):
    written = {path.name for path in publish(grid[1], repository)}
    pictures = {f"small_table{number}_deap.{ending}" for number in (1, 2) for ending in ("png", "json")}
    tables = {f"{name}.csv" for name in ("table1", "table2", "claims", "comparisons", "guides")}
    assert written == {"README.md", "results.json", *pictures, *tables}
    assert {path.name for path in (repository / "figures").iterdir()} == written - {"README.md"}

    text = (repository / "README.md").read_text()
    assert text.startswith("before\n") and text.endswith(f"{END}\nafter\n") and "\nold\n" not in text
    assert text.index("claim (place") < text.index("Table 2, EEG + video") < text.index("Table 1, video-only student")
    assert "n = 1 runs per cell" in text and "MAHNOB" not in text and "| teacher | 1 |" in text
    assert with_results(text, repository / "figures") == text  # again changes nothing

    record = json.loads((repository / "figures" / "small_table1_deap.json").read_text())["numbers"]["grid"]
    assert record == json.loads((repository / "figures" / "results.json").read_text())
    assert record["runs"] == 3 and record["designs"]["deap"]["runs per cell"] == 1
    assert str(grid[0]) not in json.dumps(record)
    scores = pd.read_csv(grid[0] / "tables" / "small" / "scores.csv")
    one = scores.query("method == 'kd' and metric == 'accuracy' and protocol == 'trial'")["value"].item()
    cell = pd.read_csv(repository / "figures" / "table1.csv").query(
        "method == 'kd' and metric == 'accuracy' and protocol == 'trial' and target == 'valence'"
    )
    assert cell["mean"].item() == pytest.approx(100 * one, abs=1e-3)


def test_runs_without_claims_and_guides_are_published_too(grid, repository, tmp_path):
    lone = tmp_path / "lone.yaml"
    lone.write_text(CONFIG.replace("[fusion_rebalanced, fusion, kd]", "fusion"))
    publish(lone, repository)
    text = (repository / "README.md").read_text()
    assert "No claim can be judged" in text and "No guide was stored" in text


def test_the_digests_follow_the_configuration_and_the_runs(grid, repository, tmp_path):
    other = tmp_path / "other.yaml"
    other.write_text(f"# a comment\n{CONFIG}")
    plans = {path: plan_config(read_config(path)) for path in (grid[1], other)}
    one, two = (provenance(path, plan, []) for path, plan in plans.items())
    assert one["runs sha256"] == two["runs sha256"] and one["configuration sha256"] != two["configuration sha256"]
    other.write_text(CONFIG.replace("fusion, kd", "kd"))
    assert provenance(other, plan_config(read_config(other)), [])["runs sha256"] != one["runs sha256"]


@pytest.mark.parametrize("readme", ["no markers", f"{BEGIN} only", f"{END}\n{BEGIN}", f"{BEGIN}{BEGIN}{END}"])
def test_a_readme_without_its_markers_is_left_alone(readme, grid, repository):
    (repository / "README.md").write_text(readme)
    with pytest.raises(PublishError, match="README"):
        publish(grid[1], repository)
    assert (repository / "README.md").read_text() == readme and not (repository / "figures").exists()


def test_holes_are_refused_unless_told(grid, repository, monkeypatch, tmp_path):
    home = tmp_path / "home"
    shutil.copytree(grid[0] / "runs", home / "runs")
    shutil.rmtree(next((home / "runs").glob("kd-*")))
    monkeypatch.setenv("CDGKD_HOME", str(home))
    with pytest.raises(RunError, match="2 of 3 cells are done"):
        publish(grid[1], repository)
    assert (repository / "README.md").read_text() == README and not (repository / "figures").exists()
    publish(grid[1], repository, partial=True)
    assert "; KD;" in (repository / "README.md").read_text().split("Methods without a run yet: ")[2]


def test_summaries_judge_repetitions_of_a_twin_as_independent():
    def runs(repeat, method, value):
        about = {"table": 1, "dataset": "deap", "target": "valence", "protocol": "trial", "method": method}
        about |= {"repeat": repeat, "fold": 0, "metric": "expected_accuracy", "value": value, "n_train": 30}
        return about | {"n_test": 10, "profile": "p", "data": "d"}

    values = ((0.61, 0.60), (0.64, 0.61), (0.62, 0.62))
    scores = [runs(k, *pair) for k, row in enumerate(values) for pair in zip(("cdgkd", "ce"), row, strict=True)]
    for own_data, test in ((True, "repetitions"), (False, "corrected")):
        claims = summaries([Design("deap", "d", "p", pd.DataFrame(scores), 6, 3, own_data)])["claims"]
        row = claims.set_index("claim").loc["A guide helps the student at all"]
        assert row["mean"] == pytest.approx(4 / 3) and row["n"] == 3 and row["test"] == test
        # t of 2 degrees is 4.3027; differences 1, 3, 0 have variance 7/3; the correction adds 10/30 to 1/3
        half = 4.3027 * np.sqrt(7 / 3 * (1 / 3 + (0 if own_data else 1 / 3)))
        assert (row["low"], row["high"]) == pytest.approx((4 / 3 - half, 4 / 3 + half), abs=1e-3)


def test_the_committed_readme_shows_the_committed_tables():
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert with_results(text, REPOSITORY / "figures") == text
