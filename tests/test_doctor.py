"""The doctor asks the readers: what it promises runs, and what does not run it names."""

import numpy as np
import pytest
from made_by_hand import LABELS, coded_clip, deap_by_hand, make_session, raw_by_hand, remux

from cdgkd_utils.cli import main
from cdgkd_utils.data.doctor import check_folder
from cdgkd_utils.data.load import load_windows
from cdgkd_utils.data.twin import TwinSettings
from cdgkd_utils.data.twin.files import write_dat, write_deap

from cdgkd_utils.config import Params  # isort: skip


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    settings = TwinSettings(n_subjects=4, n_trials=8, n_windows=1, seed=1)
    return write_deap(settings, tmp_path_factory.mktemp("doctor") / "DEAP", seconds=4, frame_size=64)


def test_a_sound_folder_runs_and_its_size_is_that_of_the_files(tree, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CDGKD_HOME", str(tmp_path))
    report = check_folder(tree)
    assert report.usable and report.runs == {"deap": ""} and report.excluded == [] and len(report.trials) == 32
    windows = load_windows(Params(dataset="deap", data_root=str(tree), profile="smoke"), n_jobs=1)
    stored = sum((tmp_path / f"prepared/{windows.meta['key']}/{name}.npy").stat().st_size for name in ("eeg", "video"))
    assert f"{stored / 1e6:.1f} MB once prepared" in report.text()
    assert main(["doctor", str(tree)]) == 0
    text = capsys.readouterr().out
    assert "SYNTHETIC" in text and "dataset='deap': run" in text and str(tree) not in text


def test_damage_is_counted_and_named(tree, tmp_path):
    import shutil

    copy = shutil.copytree(tree, tmp_path / "copy")
    clips = sorted((copy / "face_video/s02").iterdir())
    whole = coded_clip(tmp_path / "whole.avi", 200, g="50", sc_threshold="0")
    remux(whole, clips[0], lambda number, packet: bytes(packet.size) if number == 70 else None)
    clips[1].unlink()
    report = check_folder(copy)
    assert report.usable
    (note,) = report.notes
    assert note.startswith(f"{clips[0].name}: 3") and note.endswith("of 200 pictures are damaged and masked")
    ((dataset, subject, _, reason),) = report.excluded
    assert (dataset, subject) == ("deap", 2) and reason == f"no clip {clips[1].name}"
    clips[2].write_bytes(b"no video")
    broken = check_folder(copy)
    assert not broken.usable and clips[2].name in broken.runs["deap"] and str(copy) not in broken.text()


def test_a_fold_with_one_class_is_named_by_the_split(tmp_path):
    for subject in (1, 2, 3):
        deap_by_hand(tmp_path, subject)
    rating = LABELS.copy()
    rating[:, 0] = 2.0
    import pandas as pd

    path = tmp_path / "metadata_csv/participant_ratings.csv"
    pd.read_csv(path).assign(Valence=2.0).to_csv(path, index=False)
    for subject in (1, 2, 3):
        write_dat(
            tmp_path / f"data_preprocessed_python/s{subject:02d}.dat",
            np.random.default_rng(0).normal(0, 10, (3, 40, 896)),
            rating,
        )
    report = check_folder(tmp_path)
    assert not report.usable and report.runs["deap"].startswith("valence: ") and len(report.trials) == 9


def test_files_in_the_wrong_place_and_other_folders(tmp_path, capsys):
    deap_by_hand(tmp_path / "a")
    (tmp_path / "a/data_preprocessed_python/s07.dat").rename(tmp_path / "a/data_preprocessed_python/S07.DAT")
    text = check_folder(tmp_path / "a").text()
    assert "data_preprocessed_python/S07.DAT: not read; rename it to s01.dat" in text
    assert "its parent folder a looks like a data set" in check_folder(tmp_path / "a/face_video").text()
    for path in (tmp_path / "nowhere", tmp_path / "a/face_video/s07/s07_trial01.avi"):
        report = check_folder(path)
        assert not report.usable and report.kind == "" and "licence" in report.text()
    assert main(["doctor", str(tmp_path / "nowhere")]) == 1


def test_recordings_and_sessions_are_asked_for_as_well(tmp_path):
    raw_by_hand(tmp_path / "raw")
    report = check_folder(tmp_path / "raw")
    assert report.kind == "DEAP" and list(report.runs) == ["deap_raw"] and len(report.trials) == 1
    make_session(tmp_path / "hci", 2)
    make_session(tmp_path / "hci", 4, video=0)
    report = check_folder(tmp_path / "hci", deep=True)
    assert report.kind == "MAHNOB-HCI" and report.trials["trial"].tolist() == [2]
    ((_, subject, session, reason),) = report.excluded
    assert (subject, session) == (1, 4) and "colour camera" in reason
