"""Parameters are strict, and places on disk are found and shown without naming a machine."""

import os
from pathlib import Path

import numpy as np
import pytest

from cdgkd_utils import config
from cdgkd_utils.config import PROFILES, ParameterError, Params, home, shown


def test_defaults_and_what_follows_from_the_data_set():
    assert Params().scale is PROFILES["quick"] and Params().world == config.DEFAULT_WORLD
    for dataset, is_twin, layout in (("twin", True, "deap"), ("twin_mahnob", True, "mahnob"), ("deap", False, "deap")):
        assert (Params(dataset=dataset).is_twin, Params(dataset=dataset).layout) == (is_twin, layout)
    assert Params(dataset="mahnob", data_root="somewhere").layout == "mahnob"
    assert Params().model_family == "compact" and Params(profile="paper").model_family == "reference"
    assert Params(profile="paper", family="compact").model_family == "compact"
    assert Params(protocol="window", allow_leak=True).protocol == "window"
    assert [params.layout for params in Params().designs()] == ["deap", "mahnob"]
    assert Params(world="0.30/.1/0").world == Params(world="0.3/0.1/0/0.8").world  # one spelling


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("seed", "0", "expected int, got str"),
        ("seed", True, "expected int, got bool"),
        ("seed", np.int64(1), "expected int, got int64"),
        ("seed", -1, "expected 0 or more, got -1"),
        ("dataset", "DEAP", "expected one of twin, twin_mahnob, deap, deap_raw, mahnob, got 'DEAP'"),
        ("data_root", Path("x"), "expected str"),
        ("data_root", "x", "dataset='deap', 'deap_raw', 'mahnob', which read files"),
        ("target", ["valence"], "expected str, got list"),
        ("profile", "quik", "expected one of smoke, quick, bench, paper, got 'quik'"),
        ("world", "flat", "expected one of "),
        ("protocol", "window", "or allow_leak=True"),
        ("allow_leak", 1, "expected bool, got int"),
    ],
)
def test_each_wrong_value_is_one_line_that_names_the_parameter(name, value, said):
    with pytest.raises(ParameterError, match=f"^parameter {name}: ") as caught:
        Params(**{name: value})
    assert said in str(caught.value) and "\n" not in str(caught.value)


def notebook_globals(**extra):
    """What a kernel's namespace holds after the parameters cell."""
    scope = {"In": [], "Out": {}, "_dh": ["/x"], "_i1": "x", "exit": exit, "get_ipython": lambda: None}
    exec(
        "import numpy as np\nfrom pathlib import Path\nfrom cdgkd_utils.config import Params, PROFILES\n"
        "from cdgkd_utils.data.constants import CHANNELS, SFREQ\ndef helper(): pass",
        scope,
    )
    return scope | extra


def test_from_notebook_sees_parameters_and_nothing_else():
    assert Params.from_notebook(notebook_globals(**Params().as_dict())) == Params()
    assert Params.from_notebook(notebook_globals(seed=3, target="arousal")) == Params(seed=3, target="arousal")
    with pytest.raises(ParameterError, match="parameter target: expected str, got function"):
        Params.from_notebook(notebook_globals(target=lambda: None))


@pytest.mark.parametrize("name", ["sed", "Seed", "SEED", "SED", "data_rot", "tarjet", "World", "optons"])
def test_a_misspelt_parameter_is_an_error_in_any_spelling(name):
    value = {} if name == "optons" else 1
    with pytest.raises(ParameterError, match=rf"{name}.*did you mean") as caught:
        Params.from_notebook(notebook_globals(**Params().as_dict(), **{name: value}))
    assert "\n" not in str(caught.value)
    injected = [
        "",
        "import numpy as np",
        "seed: int = 0",
        f"# Parameters\n{name} = {value}\n",
        "lab = start(globals())",
    ]
    with pytest.raises(ParameterError, match=name):
        Params.from_notebook(Params().as_dict() | {"In": injected, name: value})


def test_what_papermill_injects_must_be_a_parameter_and_a_variable_of_a_start_up_file_need_not():
    cells = ["", "%matplotlib inline", "seed: int = 0\noptions: dict = {}", "params = Params.from_notebook(globals())"]
    stray = {"x": 1, "seeds": 3, "SED": 2, "data": "y", "epochs": 5}  # none of them set by a cell
    assert Params.from_notebook({"In": cells, "seed": 4} | stray) == Params(seed=4)
    with pytest.raises(ParameterError, match="epochs"):
        Params.from_notebook({"In": [*cells[:3], "# Parameters\nepochs = 5\n", cells[3]], "seed": 4} | stray)


def test_a_session_may_go_on_and_a_corrected_cell_counts_alone():
    cells = ["", "seed = 1\nsed = 2", "params = Params.from_notebook(globals())", "seed = 2", "x = 3", "y = x + 1"]
    assert Params.from_notebook({"In": cells, "seed": 2, "sed": 2, "x": 3, "y": 4}) == Params(seed=2)


def test_options_are_parameters_too():
    found = Params.from_notebook({"seed": 3, "options": {"world": "mixed", "family": "reference"}})
    assert found == Params(seed=3, world="mixed", family="reference")
    assert Params.from_notebook(found.for_notebook()) == found
    assert found.for_notebook()["options"] == {"world": "mixed", "family": "reference"}
    for options, said in (
        ({"wrld": "x"}, "did you mean world"),
        ({"world": 3}, "world: expected str"),
        ([], "options"),
    ):
        with pytest.raises(ParameterError, match=said):
            Params.from_notebook({"options": options})
    with pytest.raises(ParameterError, match="expected one value"):
        Params.from_notebook({"seed": 3, "options": {"seed": 4}})


@pytest.fixture
def nested(tmp_path, monkeypatch):
    """outer/pyproject.toml, outer/inner/pyproject.toml, outer/inner/notebooks; no CDGKD_HOME."""
    monkeypatch.delenv("CDGKD_HOME", raising=False)
    inner = tmp_path / "outer" / "inner"
    (inner / "notebooks").mkdir(parents=True)
    (tmp_path / "outer" / "pyproject.toml").touch()
    (inner / "pyproject.toml").touch()
    return inner


def test_home_is_where_the_environment_says_or_beside_the_nearest_pyproject(nested, tmp_path, monkeypatch):
    for here, expected in ((nested / "notebooks", nested), (nested.parent, nested.parent), (tmp_path, tmp_path)):
        monkeypatch.chdir(here)
        assert home() == expected / "build"
    monkeypatch.setenv("HOME", str(tmp_path))
    for said, expected in (("elsewhere", tmp_path / "elsewhere"), ("~/mine", tmp_path / "mine"), ("", home())):
        monkeypatch.setenv("CDGKD_HOME", said)
        assert home() == expected


def test_shown_is_relative_to_the_folder_of_home_or_only_a_name(nested, tmp_path, monkeypatch):
    monkeypatch.chdir(nested)
    assert shown(nested / "build" / "tables" / "table1.csv") == "build/tables/table1.csv"
    assert shown("build/runs") == "build/runs" and shown(nested / "notebooks" / ".." / "build") == "build"
    assert shown(tmp_path / "people" / "private.dat") == "private.dat"
    for path in ("x", "..", "../../secret", "/", "/secret/data", "~/x"):
        assert not Path(shown(path)).is_absolute() and str(tmp_path) not in shown(Path(path).absolute())
    (tmp_path / "scratch").mkdir()
    (nested / "build").mkdir()
    (nested / "build" / "runs").symlink_to(tmp_path / "scratch")
    assert shown(nested / "build" / "runs" / "ce") == "build/runs/ce"  # a linked folder keeps its place


def test_caches_move_below_home_where_the_users_folder_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.setenv("CDGKD_HOME", str(tmp_path / "home"))
    for name in ("MPLCONFIGDIR", "NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, "")  # put back after the test
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    config.keep_caches_writable()
    assert "NUMBA_CACHE_DIR" not in os.environ
    monkeypatch.setenv("HOME", str(tmp_path / "nowhere"))
    config.keep_caches_writable()
    assert Path(os.environ["NUMBA_CACHE_DIR"]).is_relative_to(tmp_path / "home")


def test_cores_are_those_of_the_quota(monkeypatch):
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
    assert config.n_cores() == 1
