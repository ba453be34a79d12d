"""The full grid on files: configs/paper.yaml resolves against trees in the real layouts."""

from pathlib import Path

import pytest
from cdgkd_utils.experiments.configs import read_config
from cdgkd_utils.experiments.plan import plan_config

from cdgkd_utils.cli import main
from cdgkd_utils.data.deap.writer import write_deap
from cdgkd_utils.data.mahnob.writer import write_mahnob
from cdgkd_utils.data.twin import TwinSettings
from cdgkd_utils.experiments.recipes import table_recipes

PAPER = Path(__file__).parent.parent / "configs" / "paper.yaml"


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """The configuration, with small synthetic trees where the two data sets belong."""
    folder = tmp_path_factory.mktemp("trees")
    size = {"n_subjects": 2, "n_trials": 2}
    write_deap(TwinSettings(**size), folder / "deap", seconds=4, frame_size=64)
    mahnob = TwinSettings(**size, n_windows=0, layout="mahnob")
    write_mahnob(mahnob, folder / "mahnob", max_seconds=4, frame_size=64)
    text = PAPER.read_text()
    for place in ("data/DEAP", "data/MAHNOB-HCI"):
        assert text.count(place) == 1
    text = text.replace("data/DEAP", str(folder / "deap")).replace("data/MAHNOB-HCI", str(folder / "mahnob"))
    path = folder / "paper.yaml"
    path.write_text(text)
    return path


def test_every_row_on_every_fold_under_the_papers_networks(config, home):
    plan = plan_config(read_config(config))
    rows = [name for table in (1, 2) for name in table_recipes(table, with_truth=False)]  # files do not tell it
    assert len(plan.cells) == 2 * 2 * 5 * 3 * len(rows)
    assert {cell.recipe for cell in plan.cells} == set(rows)
    assert {run.params.model_family for run in plan.runs.values()} == {"reference"}
    assert {run.epochs for run in plan.runs.values()} == {100}
    tuned = {len(cell.runs) for cell in plan.cells}
    assert tuned == {1, 2, 3}  # up to three settings a row
    # files are the same for every seed, and the two data sets are not
    assert len({run.data_key for run in plan.runs.values()}) == 2
    order = {name: place for place, name in enumerate(plan.runs)}
    assert all(order[guide] < order[name] for name, run in plan.runs.items() for guide in run.guides)


def test_the_command_counts_it(config, home, capsys):
    assert main(["grid", "plan", str(config)]) == 0
    lines = capsys.readouterr().out.splitlines()
    n_runs = len(plan_config(read_config(config)).runs)
    assert next(line.split() for line in lines if line.startswith("all"))[1:5] == [str(n_runs), "0", "0", str(n_runs)]


def test_a_missing_tree_is_one_line(home, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["grid", "plan", str(PAPER)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "DEAP" in said
