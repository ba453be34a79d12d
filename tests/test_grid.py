"""All folds on several processes are the same runs as one after another in this process."""

from concurrent.futures import Executor, Future

import numpy as np
import pytest

from cdgkd_utils.config import Params
from cdgkd_utils.data.load import load_windows
from cdgkd_utils.experiments import grid, runs
from cdgkd_utils.experiments.grid import run_all, run_fold
from cdgkd_utils.experiments.runs import Experiment, read_run
from cdgkd_utils.experiments.study import Study
from cdgkd_utils.results.collect import collect

SMOKE = Params(profile="smoke")
RECIPES = ("eeg", "kd")


class Here(Executor):
    """Runs each task in this process, when it is submitted."""

    def __init__(self, *_):
        pass

    def submit(self, function, *arguments):
        future = Future()
        try:
            future.set_result(function(*arguments))
        except BaseException as error:
            future.set_exception(error)
        return future


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
    grid._study.cache_clear()
    yield tmp_path
    grid._study.cache_clear()


@pytest.fixture
def here(monkeypatch):
    monkeypatch.setattr(grid, "ProcessPoolExecutor", Here)


def test_two_processes_give_what_this_process_gives(home, smoke_home, tmp_path_factory, monkeypatch):
    found = run_all(SMOKE, targets=("valence",), recipes=RECIPES, n_jobs=2, progress=False)
    assert len(found) == 4  # two folds of two recipes; the teacher was trained, but not asked for
    stored = {path.name for path in (home / "runs").iterdir()}
    assert len(stored) == 6

    other = tmp_path_factory.mktemp("other")
    (other / "prepared").symlink_to(smoke_home / "prepared")
    monkeypatch.setenv("CDGKD_HOME", str(other))
    again = [run for fold in (0, 1) for run in run_fold(SMOKE, "valence", 0, fold, RECIPES)]
    assert sorted((repeat, folder.name) for repeat, folder in found) == sorted((r, f.name) for r, f in again)
    assert {path.name for path in (other / "runs").iterdir()} == stored
    for name in stored:
        one, two = read_run(home / "runs" / name), read_run(other / "runs" / name)
        assert np.array_equal(one.logits, two.logits) and np.array_equal(one.kept, two.kept)
        assert one.log.drop(columns="seconds").equals(two.log.drop(columns="seconds"))


def test_a_second_call_trains_nothing(home, here, monkeypatch):
    first = run_all(SMOKE, recipes=RECIPES, progress=False)
    assert len(first) == len(set(first)) == 2 * 2 * 2

    def refuse(*_, **__):
        raise AssertionError("a training was started")

    monkeypatch.setattr(runs, "fit", refuse)
    assert run_all(SMOKE, recipes=RECIPES, progress=False) == first
    with pytest.raises(AssertionError, match="training was started"):
        run_all(SMOKE, recipes=("ce",), progress=False)

    scores = collect(first, profile="smoke", data="twin")
    cells = scores[scores["metric"] == "accuracy"].groupby(["table", "target", "protocol", "method"]).size()
    assert len(cells) == 2 * 2 * 2 and (cells == 2).all()  # recipes × targets × protocols, two folds each


def test_an_interrupted_call_goes_on_where_it_stopped(home, here, monkeypatch):
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
            run_all(SMOKE, targets=("valence",), recipes=RECIPES, progress=False)
    assert len(list((home / "runs").iterdir())) == 2
    trained.clear()

    def count(*arguments, **options):
        trained.append(1)
        return fit(*arguments, **options)

    monkeypatch.setattr(runs, "fit", count)
    run_all(SMOKE, targets=("valence",), recipes=RECIPES, progress=False)
    assert len(trained) == 4


def test_a_repetition_has_its_own_seed(home, here, monkeypatch):
    asked = []

    def only_note(params, target, repeat, fold, recipes, selection):
        asked.append((target, repeat, fold, recipes))
        return []

    class Unread:
        def __init__(self, params, repeat):
            self.n_folds = lambda: params.scale.n_folds

    monkeypatch.setattr(grid, "run_fold", only_note)
    monkeypatch.setattr(grid, "Study", Unread)
    run_all(Params(profile="bench"), recipes=("ce",), progress=False)
    assert len(asked) == len(set(asked)) == 8 * 2 * 3
    assert {repeat for _, repeat, _, _ in asked} == set(range(8))


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
