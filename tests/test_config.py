"""Parameters are strict, and places on disk are found and shown without naming a machine."""

from pathlib import Path

import numpy as np
import pytest

from cdgkd_utils import config
from cdgkd_utils.config import PROFILES, ParameterError, Params, home, shown

DEFAULTS = {
    "dataset": "twin",
    "data_root": "",
    "target": "valence",
    "profile": "quick",
    "seed": 0,
    "world": "mixed",
    "extractor": "hog",
    "crop": "centre",
    "family": "auto",
    "protocol": "trial+subject",
    "allow_leak": False,
}


@pytest.mark.parametrize(
    ("dataset", "is_twin", "layout"),
    [
        ("twin", True, "deap"),
        ("twin_mahnob", True, "mahnob"),
        ("deap", False, "deap"),
        ("deap_raw", False, "deap"),
        ("mahnob", False, "mahnob"),
    ],
)
def test_each_data_set_knows_its_design_and_whether_it_is_generated(dataset, is_twin, layout):
    params = Params(dataset=dataset)
    assert (params.is_twin, params.layout) == (is_twin, layout)


def test_defaults_and_scale():
    assert Params().as_dict() == DEFAULTS
    assert Params(profile="smoke").scale is PROFILES["smoke"]
    assert Params(protocol="window", allow_leak=True).protocol == "window"
    assert Params().model_family == "compact" and Params(profile="paper").model_family == "reference"
    assert Params(profile="paper", family="compact").model_family == "compact"
    assert Params(dataset="deap", data_root="somewhere").data_root == "somewhere"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("seed", "0", "expected int, got str"),
        ("seed", 1.5, "expected int, got float"),
        ("seed", 1.0, "expected int, got float"),
        ("seed", True, "expected int, got bool"),
        ("seed", np.int64(1), "expected int, got int64"),
        ("seed", None, "expected int, got NoneType"),
        ("seed", -1, "expected 0 or more, got -1"),
        ("dataset", 1, "expected str, got int"),
        ("dataset", "DEAP", "expected one of twin, twin_mahnob, deap, deap_raw, mahnob, got 'DEAP'"),
        ("data_root", Path("x"), "expected str"),
        ("data_root", None, "expected str, got NoneType"),
        ("data_root", "x", "only dataset='deap', 'deap_raw' and 'mahnob' read files"),
        ("target", "", "expected one of valence, arousal, got ''"),
        ("target", ["valence"], "expected str, got list"),
        ("profile", "quik", "expected one of smoke, quick, bench, paper, got 'quik'"),
        ("world", "flat", "expected one of mixed, "),
        ("family", "tiny", "expected one of auto, compact, reference, got 'tiny'"),
        ("protocol", "kfold", "expected one of trial+subject, trial, subject, loso, stimulus, window, got 'kfold'"),
        ("protocol", "window", "set allow_leak=True"),
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
    assert Params.from_notebook(notebook_globals(**DEFAULTS)) == Params()
    assert Params.from_notebook(notebook_globals(seed=3, target="arousal")) == Params(seed=3, target="arousal")
    assert Params.from_notebook(notebook_globals()) == Params()


@pytest.mark.parametrize("name", ["sed", "Seed", "data_rot", "epochs"])
def test_from_notebook_takes_no_misspelt_name_for_a_default(name):
    with pytest.raises(
        ParameterError, match=f"unknown notebook parameter {name}; known: allow_leak, crop, data_root, dataset, "
    ) as caught:
        Params.from_notebook(notebook_globals(**DEFAULTS, **{name: 1}))
    assert "\n" not in str(caught.value)


def test_from_notebook_takes_no_parameter_in_capitals_for_a_constant():
    with pytest.raises(ParameterError, match="unknown notebook parameter SEED"):
        Params.from_notebook(notebook_globals(**DEFAULTS, SEED=1))


def test_from_notebook_names_all_unknown_names_at_once():
    with pytest.raises(ParameterError, match="unknown notebook parameter sed, tarjet; known"):
        Params.from_notebook(notebook_globals(tarjet="valence", sed=1))


def test_from_notebook_does_not_hide_a_known_name_that_became_something_else():
    with pytest.raises(ParameterError, match="parameter target: expected str, got function"):
        Params.from_notebook(notebook_globals(target=lambda: None))


def test_overview_tells_versions_and_keeps_the_data_root_to_itself():
    overview = Params(dataset="deap", data_root="/somewhere/private").overview()
    assert overview["dataset"] == "deap" and overview["seed"] == "0"
    assert {"python", "torch", "numpy", "mne", "scikit-learn"} <= set(overview)
    assert "data_root" not in overview and "private" not in str(overview)


@pytest.fixture
def nested(tmp_path, monkeypatch):
    """outer/pyproject.toml, outer/inner/pyproject.toml, outer/inner/notebooks; no CDGKD_HOME."""
    monkeypatch.delenv("CDGKD_HOME", raising=False)
    inner = tmp_path / "outer" / "inner"
    (inner / "notebooks").mkdir(parents=True)
    (tmp_path / "outer" / "pyproject.toml").touch()
    (inner / "pyproject.toml").touch()
    return inner


def test_home_is_beside_the_nearest_pyproject(nested, monkeypatch):
    monkeypatch.chdir(nested / "notebooks")
    assert home() == nested / "build"
    monkeypatch.chdir(nested.parent)
    assert home() == nested.parent / "build"


def test_home_without_a_pyproject_is_here(tmp_path, monkeypatch):
    monkeypatch.delenv("CDGKD_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    assert home() == tmp_path / "build"


def test_the_environment_variable_wins_unless_it_is_empty(nested, tmp_path, monkeypatch):
    monkeypatch.chdir(nested)
    monkeypatch.setenv("CDGKD_HOME", str(tmp_path / "elsewhere"))
    assert home() == tmp_path / "elsewhere"
    monkeypatch.setenv("CDGKD_HOME", "relative")
    assert home() == nested / "relative"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CDGKD_HOME", "~/mine")
    assert home() == tmp_path / "mine"
    monkeypatch.setenv("CDGKD_HOME", "")
    assert home() == nested / "build"


def test_shown_is_relative_to_the_folder_of_home_or_only_a_name(nested, tmp_path, monkeypatch):
    monkeypatch.chdir(nested)
    assert shown(nested / "build" / "tables" / "table1.csv") == "build/tables/table1.csv"
    assert shown("build/runs") == "build/runs"
    assert shown(nested / "notebooks" / ".." / "build") == "build"
    assert shown(tmp_path / "people" / "private.dat") == "private.dat"


@pytest.mark.parametrize("where", ["build/x", "x", "..", "../..", "../../secret", "/", "/secret/data", "~/x"])
def test_shown_never_shows_where_this_machine_keeps_things(nested, where, tmp_path, monkeypatch):
    monkeypatch.chdir(nested)
    for path in (where, Path(where), Path(where).absolute()):
        text = shown(path)
        assert not Path(text).is_absolute() and str(tmp_path) not in text


def test_config_knows_nothing_of_the_package():
    modules = {value.__name__ for value in vars(config).values() if type(value) is type(config)}
    assert not any(name.startswith("cdgkd_utils") for name in modules)
