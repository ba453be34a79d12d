"""What a grid's stored runs become: tables, RESULTS.md and pictures; with holes, several worlds and guides by name."""

import json
import shutil

import pandas as pd
import pytest

from cdgkd_utils import publish as module
from cdgkd_utils.experiments import grid
from cdgkd_utils.experiments.runs import RunError
from cdgkd_utils.publish import publish, write_tables
from cdgkd_utils.results.statistics import claims_text, judge_claims

CONFIG = """
datasets: [twin]
world: [mixed, shared_view]
targets: [valence]
methods: [ce, "kd@eeg", cdgkd]
seeds: 2
folds: 1
profile: smoke
"""


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A home with all runs of the grid, and its configuration."""
    folder = tmp_path_factory.mktemp("published")
    (folder / "some.yaml").write_text(CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CDGKD_HOME", str(folder / "home"))
        outcomes = grid.run(grid.plan(grid.read_config(folder / "some.yaml")), n_jobs=1, progress=False)
    assert not any(outcome.error for outcome in outcomes)
    return folder


@pytest.fixture
def place(stored, tmp_path, monkeypatch):
    """That home and configuration, to be changed, beside an empty repository."""
    shutil.copytree(stored / "home", tmp_path / "home")
    shutil.copy(stored / "some.yaml", tmp_path)
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository" / "README.md").write_text("by hand")
    monkeypatch.setenv("CDGKD_HOME", str(tmp_path / "home"))
    return tmp_path


def plan_of(place):
    return grid.plan(grid.read_config(place / "some.yaml"))


def test_a_grid_with_guides_by_name_over_two_worlds_is_collected(place):
    paths = {path.stem: path for path in write_tables(plan_of(place), place / "tables")}
    table = pd.read_csv(paths["table1"])
    ran = table[(table["metric"] == "accuracy") & (table["n_runs"] > 0)]
    methods = ["ce", "cdgkd", "kd@eeg"]
    assert {world: list(rows.unique()) for world, rows in ran.groupby("world")["method"]} == {
        "mixed": methods,
        "shared_view": methods,
    }
    assert (ran["n_runs"] == 2).all() and (ran["n_expected"] == 2).all()
    before = {name: path.read_bytes() for name, path in paths.items()}
    assert {path.stem: path.read_bytes() for path in write_tables(plan_of(place), place / "tables")} == before


def test_holes_are_named_or_with_partial_counted_in_every_world(place):
    plan = plan_of(place)
    hole = next(run for run in plan.runs.values() if run.recipe.name == "cdgkd" and run.params.world == "shared_view")
    shutil.rmtree(hole.folder)
    with pytest.raises(RunError, match="cdgkd"):
        write_tables(plan, place / "tables")
    assert not (place / "tables").exists()
    paths = {path.stem: path for path in write_tables(plan, place / "tables", partial=True)}
    ran = pd.read_csv(paths["table1"]).query("method == 'cdgkd' and metric == 'accuracy' and protocol == 'trial'")
    assert ran.set_index("world")[["n_runs", "n_expected"]].to_dict("index") == {
        "mixed": {"n_runs": 2, "n_expected": 2},
        "shared_view": {"n_runs": 1, "n_expected": 2},
    }


def test_results_are_published_whole_and_the_readme_is_left_alone(place, monkeypatch):
    repository = place / "repository"
    written = publish(place / "some.yaml", repository)
    assert {path.parent for path in written} == {repository / "figures"}
    page = (repository / "figures" / "RESULTS.md").read_text(encoding="utf-8")
    scores = pd.read_csv(place / "home" / "tables" / "some" / "scores.csv")
    assert claims_text(judge_claims(scores)).splitlines()[0] in page  # the text of notebook 05
    for world in ("mixed", "shared_view"):
        assert f"## Both tables, world {world}" in page
    assert "KD @eeg" in page and "knows only who it is" in page and "synthetic" in page
    for name in [line.split("(")[1].rstrip(")") for line in page.splitlines() if line.startswith("![")]:
        picture = repository / "figures" / name
        assert picture.read_bytes().startswith(b"\x89PNG") and json.loads(picture.with_suffix(".json").read_text())
    assert (repository / "README.md").read_text() == "by hand"
    assert not [path.name for path in (repository / "figures").iterdir() if path.name.startswith(".")]

    # A failure half-way leaves the published page as it is.
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(module, "guides_table", fail)
    with pytest.raises(OSError, match="disk full"):
        publish(place / "some.yaml", repository)
    assert (repository / "figures" / "RESULTS.md").read_text(encoding="utf-8") == page


def test_provenance_says_what_was_run_and_not_where(place):
    record = module.provenance(place / "some.yaml", plan_of(place))
    assert record["values"]["seeds"] == (0, 1) and record["runs"] == len(plan_of(place).runs)
    assert str(place) not in json.dumps(record, default=list)
