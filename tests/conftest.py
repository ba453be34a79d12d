"""Runs of the smoke profile, trained once for all tests that look at runs."""

import shutil

import pytest
from smoke_runs import SMOKE, fresh

from cdgkd_utils.data.load import load_windows
from cdgkd_utils.experiments.study import Study


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CDGKD_HOME", str(tmp_path_factory.getbasetemp() / "smoke_home"))
        load_windows(SMOKE, n_jobs=1)  # in this process: starting others takes longer than 120 windows
        study = Study(SMOKE)
        assert len(study.windows) == len(study.covariances)
    return study


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("CDGKD_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="session")
def library(study, tmp_path_factory):
    """A home in which some networks are trained."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CDGKD_HOME", str(tmp_path_factory.mktemp("library")))
        experiment = fresh(study)
        folders = {experiment.run(name).folder.parent for name in ("ce", "eeg", "kd", "cdgkd")}
    return experiment, folders.pop()


@pytest.fixture
def experiment(study, library, home):
    """No run is stored yet."""
    return fresh(study, library[0])


@pytest.fixture
def trained(study, library, home):
    """ce, eeg, kd and cdgkd with their guides are stored."""
    shutil.copytree(library[1], home / "runs")
    return fresh(study, library[0])
