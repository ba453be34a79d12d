"""The README's tables come from stored results, and from nothing else."""

import json
from pathlib import Path

import pandas as pd
import pytest

from cdgkd_utils.publish import BEGIN, END, PublishError, as_markdown, publish, with_results
from cdgkd_utils.results.paper import ROWS
from cdgkd_utils.results.tables import results_table, write_csv

REPOSITORY = Path(__file__).parent.parent


def long_table(number=1):
    """Two runs of one method, 60 and 64 %, in every cell; the others were not run."""
    method = {1: "cdgkd", 2: "fusion_rebalanced"}[number]
    runs = pd.DataFrame(
        {
            "table": number, "dataset": dataset, "target": target, "protocol": protocol, "method": method, "repeat": 0,
            "fold": fold, "metric": metric, "value": value, "n_train": 30, "n_test": 10, "profile": "p", "data": "d",
        }
        for dataset in ("deap", "mahnob")
        for target in ("valence", "arousal")
        for protocol in ("trial", "subject")
        for fold, value in enumerate((0.60, 0.64))
        for metric in ("accuracy", "majority")
    )  # fmt: skip
    return results_table(runs, number, 2, "p", "d")


def test_markdown_shows_what_ran_names_what_did_not_and_the_papers_number():
    text = as_markdown(long_table())
    row = next(line for line in text.splitlines() if line.startswith("| CDGKD "))
    assert row.count("62.0 ± 2.8") == 4
    assert "65.74" in row
    assert "65.97" in row
    assert "n = 2 runs per cell" in text
    absent = text.split("Not run yet (0 of 2): ")[1]
    assert len(absent.split(";")) == len(ROWS[1]) - 1
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1


CLAIM = {"source": "Table 1", "difference": "+1.2 (+0.1 to +2.0)", "better": "3 of 28", "worse": "1 of 28"}
CLAIM |= {"naive": "9 of 28", "verdict": "mixed", "likely reason": "chance"}


def store_results(tables, figures):
    """Everything that notebook 05 leaves."""
    for number in (1, 2):
        write_csv(long_table(number), tables / f"table{number}.csv")
        figures.mkdir(parents=True, exist_ok=True)
        for layout in ("deap", "mahnob"):
            record = {"numbers": {"claims": {"It is so": CLAIM}}}
            (figures / f"05_table{number}_{layout}.json").write_text(json.dumps(record))
            (figures / f"05_table{number}_{layout}.png").write_text("picture")


def test_results_replace_only_what_stands_between_the_markers(tmp_path):
    store_results(tmp_path, tmp_path)
    once = with_results(f"before\n{BEGIN}\nold\n{END}\nafter\n", tmp_path)
    assert once.startswith("before\n")
    assert once.endswith(f"{END}\nafter\n")
    assert "old" not in once
    said = "| It is so (Table 1) | mixed | +1.2 (+0.1 to +2.0) | 3 of 28 | 1 of 28 | 9 of 28 | chance |"
    assert said in once.splitlines()
    assert once.count("Table 1, video-only student") == once.count("Table 2, EEG + video") == 2  # both data sets
    assert once.index("DEAP columns") < once.index("<details>") < once.index("MAHNOB-HCI columns")
    assert with_results(once, tmp_path) == once


@pytest.mark.parametrize("readme", ["no markers", f"{BEGIN} only", f"{END}\n{BEGIN}", f"{BEGIN}{BEGIN}{END}"])
def test_a_readme_without_its_markers_is_left_alone(readme, tmp_path, monkeypatch):
    monkeypatch.setenv("CDGKD_HOME", str(tmp_path / "build"))
    store_results(tmp_path / "build" / "tables", tmp_path / "build" / "figures")
    (tmp_path / "README.md").write_text(readme)
    (tmp_path / "figures").mkdir()
    with pytest.raises(PublishError, match="README"):
        publish(tmp_path)
    assert (tmp_path / "README.md").read_text() == readme
    assert not list((tmp_path / "figures").iterdir())


def test_publish_copies_everything_or_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("CDGKD_HOME", str(tmp_path / "build"))
    (tmp_path / "figures").mkdir()
    readme = tmp_path / "README.md"
    readme.write_text(f"{BEGIN}\n{END}\n")
    store_results(tmp_path / "build" / "tables", tmp_path / "build" / "figures")
    (tmp_path / "build" / "figures" / "05_table1_deap.png").unlink()
    with pytest.raises(PublishError, match=r"05_table1_deap\.png"):
        publish(tmp_path)
    assert not list((tmp_path / "figures").iterdir())
    store_results(tmp_path / "build" / "tables", tmp_path / "build" / "figures")
    publish(tmp_path)
    assert len(list((tmp_path / "figures").iterdir())) == 10
    assert "Rebalanced fusion" in readme.read_text()


def test_the_committed_readme_shows_the_committed_tables():
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert with_results(text, REPOSITORY / "figures") == text
