"""All folds on several processes are the same runs as one after another in this process."""

import numpy as np
import pytest
from cdgkd_utils.experiments.engine import forget_data
from cdgkd_utils.experiments.records import RunError

from cdgkd_utils.config import PROFILES, Params
from cdgkd_utils.data.load import load_windows
from cdgkd_utils.experiments import grid, runs
from cdgkd_utils.experiments.grid import run_all
from cdgkd_utils.experiments.runs import Experiment, read_run
from cdgkd_utils.experiments.study import Study
from cdgkd_utils.results.tables import collect

SMOKE = Params(profile="smoke")
RECIPES = ("eeg", "kd")


@pytest.fixture(scope="module")
def smoke_home(tmp_path_factory):
    """A home with the smoke profile's windows."""
    home = tmp_path_factory.getbasetemp() / "smoke_home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CDGKD_HOME", str(home))
        load_windows(SMOKE, n_jobs=1)
    return home


@pytest.fixture
def home(smoke_home, tmp_path, monkeypatch):
    """A home with windows and without runs."""
    monkeypatch.setenv("CDGKD_HOME", str(tmp_path))
    (tmp_path / "prepared").symlink_to(smoke_home / "prepared")
    forget_data()
    yield tmp_path
    forget_data()


def run_here(**options):
    """In this process, one after another."""
    return run_all(SMOKE, n_jobs=1, progress=False, **{"recipes": RECIPES} | options)


def test_two_processes_give_what_this_process_gives(home, smoke_home, tmp_path_factory, monkeypatch):
    found = run_all(SMOKE, targets=("valence",), recipes=RECIPES, n_jobs=2, progress=False)
    assert len(found) == 4  # two folds of two recipes; the teacher was trained, but not asked for
    stored = {path.name for path in (home / "runs").iterdir()}
    assert len(stored) == 6

    other = tmp_path_factory.mktemp("other")
    (other / "prepared").symlink_to(smoke_home / "prepared")
    monkeypatch.setenv("CDGKD_HOME", str(other))
    again = run_here(targets=("valence",))
    assert [(repeat, folder.name) for repeat, folder in found] == [(repeat, folder.name) for repeat, folder in again]
    assert {path.name for path in (other / "runs").iterdir()} == stored
    for name in stored:
        one, two = read_run(home / "runs" / name), read_run(other / "runs" / name)
        assert np.array_equal(one.logits, two.logits) and np.array_equal(one.kept, two.kept)
        assert one.log.drop(columns="seconds").equals(two.log.drop(columns="seconds"))


def test_a_second_call_trains_nothing(home, monkeypatch):
    first = run_here()
    assert len(first) == len(set(first)) == 2 * 2 * 2

    def refuse(*_, **__):
        raise AssertionError("a training was started")

    monkeypatch.setattr(runs, "fit", refuse)
    assert run_here() == first
    with pytest.raises(RunError, match=r"4 of 4 runs failed; ce-\w+: AssertionError: a training was started"):
        run_here(recipes=("ce",))

    scores = collect([(SMOKE, *one) for one in first])
    cells = scores[scores["metric"] == "accuracy"].groupby(["table", "target", "protocol", "method"]).size()
    assert len(cells) == 2 * 2 * 2 and (cells == 2).all()  # recipes × targets × protocols, two folds each


def test_an_interrupted_call_goes_on_where_it_stopped(home, monkeypatch):
    trained = []
    fit = runs.fit

    def stop_at_the_third(*arguments, **options):
        if len(trained) == 2:
            raise KeyboardInterrupt
        trained.append(1)
        return fit(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(runs, "fit", stop_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            run_here(targets=("valence",))
    assert len(list((home / "runs").iterdir())) == 2
    trained.clear()

    def count(*arguments, **options):
        trained.append(1)
        return fit(*arguments, **options)

    monkeypatch.setattr(runs, "fit", count)
    run_here(targets=("valence",))
    assert len(trained) == 4


def test_a_repetition_has_its_own_seed(home, monkeypatch):
    asked = []
    monkeypatch.setattr(grid, "run_missing", lambda runs, **_: asked.extend(runs) or [])
    monkeypatch.setattr(grid, "cell_folders", lambda plan: [])
    run_all(Params(profile="bench"), recipes=("ce",), progress=False)
    n_repeats = PROFILES["bench"].n_repeats
    assert len({run.name for run in asked}) == len(asked) == n_repeats * 2 * 3
    assert {run.repeat for run in asked} == set(range(n_repeats))
    assert len({run.data_key for run in asked}) == n_repeats > 1


def test_a_damaged_run_is_an_error_that_names_it(home):
    _, folder = run_here(targets=("valence",), recipes=("ce",))[0]
    path = folder / "outputs.npz"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RunError, match=rf"{folder.name} cannot be read \(outputs.npz is not what was stored\); delete"):
        run_here(targets=("valence",), recipes=("ce",))


def test_a_selection_rule_for_all_reaches_the_guides_too(home):
    study = Study(SMOKE)
    default, last = Experiment(study, "valence", 0), Experiment(study, "valence", 0, "last_epoch")
    for name in ("ce", "kd", "cdgkd"):
        ours, theirs = (e.spec(e.recipe(name)) for e in (last, default))
        assert ours["recipe"]["selection"] == ours["training"]["selection"] == "last_epoch"
        assert theirs["recipe"]["selection"] == "best_val"
        assert len(ours["guides"]) == len(theirs["guides"])
        assert not set(ours["guides"]) & set(theirs["guides"])
    assert last.spec(last.recipe("ce_last")) == default.spec(default.recipe("ce_last"))
