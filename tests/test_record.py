"""What ``meta.json`` says about prepared windows, to a reader who has nothing else."""

import json
from importlib.metadata import version

import pytest
from test_cache import make_windows

from cdgkd_utils.config import DATASETS, Params
from cdgkd_utils.data.cache import prepared
from cdgkd_utils.data.constants import CHANNELS
from cdgkd_utils.data.load import load_windows
from cdgkd_utils.data.record import FILTERS, preprocessing

CHOICES = {"n_windows": 0, "extractor": "hog", "baseline": "subtract", "crop": "face"}
REAL = {
    "dataset": "mahnob",
    "settings": CHOICES,
    "fingerprint": "f1",
    "code": "c1",
    "extractor": "hog 1a2b",
    "face finder": "faces 3c",
}


def test_every_parameter_is_in_the_file_beside_the_arrays(tmp_path):
    found = prepared(REAL, make_windows, tmp_path)
    (path,) = tmp_path.glob("prepared/*/meta.json")
    said = json.loads(path.read_text(encoding="utf-8"))["preprocessing"]
    assert said == found.meta["preprocessing"] == preprocessing(REAL)
    expected = {
        "dataset": "mahnob",
        "channels": list(CHANNELS),
        "unit": "µV",
        "sfreq_hz": 128.0,
        "filter": "average reference over 32 electrodes, then 4-45 Hz, MNE's FIR without phase shift, "
        "over the whole recording",
        "baseline": "subtract",
        "baseline_seconds": 3.0,
        "window_seconds": 4.0,
        "n_times": 512,
        "overlap_seconds": 0.0,
        "n_windows_per_trial": "all",
        "frames_per_window": 5,
        "n_video_features": 768,
        "extractor": "hog 1a2b",
        "crop": "face",
        "face_finder": "faces 3c",
        "stored_as": str(found.eeg.dtype),
        "source_fingerprint": "f1",
        "code_digest": "c1",
    }
    versions = said.pop("versions")
    assert said == expected
    assert versions["numpy"] == version("numpy") and versions["av"] == version("av") and versions["mne"]


def test_a_number_of_windows_is_a_number_and_absent_settings_are_null():
    few = preprocessing(REAL | {"settings": CHOICES | {"n_windows": 4}})
    assert few["n_windows_per_trial"] == 4
    bare = preprocessing({"seed": 1})
    assert bare["dataset"] is bare["filter"] is bare["code_digest"] is bare["extractor"] is None


def test_every_data_set_has_its_filter():
    assert {f"twin in {design}'s design" for design in ("DEAP", "MAHNOB-HCI")} < set(FILTERS)
    for dataset in set(DATASETS) - {"twin", "twin_mahnob"}:
        assert preprocessing({"dataset": dataset})["filter"]


@pytest.mark.parametrize("dataset", ["twin", "twin_mahnob"])
def test_the_record_of_a_twin_names_its_design_extractor_and_code(tmp_path, monkeypatch, dataset):
    monkeypatch.setenv("CDGKD_HOME", str(tmp_path))
    monkeypatch.setattr("cdgkd_utils.data.load.prepare_subject", lambda *args: make_windows())
    meta = load_windows(Params(profile="smoke", dataset=dataset), n_jobs=1).meta
    said = meta["preprocessing"]
    assert said["dataset"] in FILTERS and ("MAHNOB" in said["dataset"]) == ("mahnob" in dataset)
    assert said["filter"] == FILTERS[said["dataset"]]
    assert said["extractor"].startswith("hog ") and len(said["code_digest"]) == 32
    assert said["n_windows_per_trial"] == meta["cache_settings"]["settings"]["n_windows"] > 0
