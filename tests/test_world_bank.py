"""A world in seconds is the world of the full way: the same people, the same students, the same gain."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from smoke_runs import SMOKE

from cdgkd_utils.data.load import load_windows, twin_settings, windows_key
from cdgkd_utils.data.twin import World, find_world
from cdgkd_utils.experiments import runs
from cdgkd_utils.experiments.runs import Experiment
from cdgkd_utils.experiments.study import Study
from cdgkd_utils.experiments.worlds import Gain, WorldBank, redrawn
from cdgkd_utils.results.metrics import score

SHARES, NAMED = (0.05, 0.1, 0.4), "0.05/0.1/0.4/0.8"


@pytest.fixture(scope="module")
def full(study, tmp_path_factory):
    """The world prepared with its EEG, and both students trained on it, in a home of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CDGKD_HOME", str(tmp_path_factory.getbasetemp() / "smoke_home"))  # has the faces
        params = replace(SMOKE, world=NAMED)
        whole = Study(params, windows=load_windows(params, n_jobs=1))
        experiments = {target: Experiment(whole, target, 1) for target in ("valence", "arousal")}
        records = {(t, name): e.run(name) for t, e in experiments.items() for name in ("ce", "kd@oracle_eeg")}
    return experiments, records


@pytest.fixture
def bank(study, home):
    bank = WorldBank(SMOKE)
    bank.faces = study.windows
    return bank


def test_redrawn_windows_are_those_of_the_full_way_but_for_the_eeg(bank, full):
    whole = full[0]["valence"].study.windows
    params = replace(SMOKE, world=NAMED)
    mine = redrawn(bank.faces, twin_settings(params), windows_key(params))
    pd.testing.assert_frame_equal(mine.index, whole.index)
    pd.testing.assert_frame_equal(mine.truth, whole.truth, check_exact=True)
    assert np.array_equal(mine.video, whole.video) and np.array_equal(mine.frame_mask, whole.frame_mask)
    for entry in ("key", "name", "settings"):
        assert mine.meta[entry] == whole.meta[entry]
    assert np.isnan(mine.eeg).all()
    assert not mine.index[["valence", "arousal"]].equals(bank.faces.index[["valence", "arousal"]])


def test_students_and_gain_equal_those_of_the_full_way_to_the_bit(bank, full):
    experiments, records = full
    told = []
    gain = bank.gain(*SHARES, folds=(1,), tell=lambda share, text: told.append((share, text)))
    assert [share for share, _ in told] == [0, 0.25, 0.5, 0.75] and told[-1][1] == "student 4 of 4"
    study = bank._study(NAMED)
    for (target, name), record in records.items():
        fast = Experiment(study, target, 1).run(name)  # read back: the key is that of the full way
        assert np.array_equal(fast.logits, record.logits)
        assert fast.folder != record.folder and fast.folder.name == record.folder.name
        assert fast.result["data"] == record.result["data"]
    for accuracies, name in ((gain.alone, "ce"), (gain.taught, "kd@oracle_eeg")):
        for accuracy, (target, experiment) in zip(accuracies, experiments.items(), strict=True):
            rows, windows = experiment.split.rows["test_trial"], experiment.study.windows
            probability = softmax(records[target, name].logits.astype(float), axis=1)[rows, 1]
            y, posterior = windows.labels(target)[rows], windows.posterior(target)[rows]
            wanted = score(y, probability, posterior)["expected_accuracy"]
            assert accuracy == pytest.approx(100 * wanted, abs=1e-9)


def test_a_world_is_trained_once_and_another_one_anew(bank, monkeypatch):
    first = bank.gain(*SHARES, targets=("valence",))
    monkeypatch.setattr(runs, "fit", lambda *_, **__: pytest.fail("a training was started"))
    assert bank.gain(*SHARES, targets=("valence",)) == first
    other = {"params": replace(SMOKE, target="arousal", family="reference", protocol="subject", world="eeg_rich")}
    again = WorldBank(**other)
    again.faces = bank.faces
    assert again.gain(*SHARES, targets=("valence",)) == first
    for shares, asked in (((0.05, 0.1, 0.3), {}), (SHARES, {"folds": (2,)}), (SHARES, {"targets": ("arousal",)})):
        with pytest.raises(pytest.fail.Exception):
            bank.gain(*shares, **{"targets": ("valence",)} | asked)


def test_no_network_that_looks_at_the_missing_eeg_is_stored(bank, home):
    experiment = Experiment(bank._study(NAMED), "valence", 0)
    for name in ("eeg", "fusion", "kd", "eeg_svm"):
        with pytest.raises(ValueError):
            experiment.run(name)
    assert not (home / "runs").exists()


def test_a_row_by_hand():
    gain = Gain(World(0.3, 0.1, 0.0, 0.8, ""), (60.0, 62.0, 61.0), (61.0, 66.0, 61.0))
    row = gain.row()
    assert (row["world"], row["alone"], row["gain"]) == ("0.3/0.1/0", 61.0, pytest.approx(5 / 3))
    sd = np.sqrt(((1 - 5 / 3) ** 2 + (4 - 5 / 3) ** 2 + (5 / 3) ** 2) / 2)
    assert row["se"] == pytest.approx(sd / np.sqrt(3))
    assert row["r_views"] == pytest.approx(np.sqrt(0.3 / 0.4)) and row["margin"] == find_world("shared_view").margin
    assert row["r_label"] == pytest.approx(np.sqrt(2 / np.pi * 0.3))
    assert np.isnan(Gain(gain.world, (60.0,), (61.0,)).row()["se"])
