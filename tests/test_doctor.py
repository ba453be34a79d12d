"""The doctor on whole, partial, damaged, empty and wrong folders: it says what is so, and never falls ill itself."""

import functools
import shutil
import tempfile
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest

from cdgkd_utils.data.constants import DEAP_EEG
from cdgkd_utils.data.deap.dat_file import write_dat
from cdgkd_utils.data.deap.reader import open_tree, read_deap
from cdgkd_utils.data.doctor import mahnob as doctor_mahnob
from cdgkd_utils.data.doctor import report as doctor_report
from cdgkd_utils.data.doctor.diagnose import diagnose
from cdgkd_utils.data.files.bdf_writer import write_bdf
from cdgkd_utils.data.types import DataError

N_TRIALS = 10


@functools.cache
def clip(n_frames, rate=50):
    """Bytes of a small H.264 clip with a moving edge."""
    with tempfile.NamedTemporaryFile(suffix=".avi") as file:
        with av.open(file.name, "w", format="avi") as container:
            stream = container.add_stream("libx264", rate=rate, options={"preset": "ultrafast", "threads": "1"})
            stream.width, stream.height, stream.pix_fmt = 80, 64, "yuv420p"
            for number in range(n_frames):
                picture = np.zeros((64, 80, 3), np.uint8)
                picture[:, number % 80 :] = 200
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
        return Path(file.name).read_bytes()


def make_deap(root, subjects=(1, 2, 3), n_frames=200, n_trials=N_TRIALS):
    """A DEAP folder with ten trials of 4 s; the presentation is the reverse of the experiments' order."""
    rng = np.random.default_rng(0)
    rows = []
    (root / "data_preprocessed_python").mkdir(parents=True)
    (root / "metadata_csv").mkdir()
    for subject in subjects:
        labels = rng.uniform(1, 9, (n_trials, 4)).round(2)
        write_dat(root / f"data_preprocessed_python/s{subject:02d}.dat", rng.normal(0, 9, (n_trials, 40, 896)), labels)
        folder = root / f"face_video/s{subject:02d}"
        folder.mkdir(parents=True)
        for trial in range(1, n_trials + 1):
            (folder / f"s{subject:02d}_trial{trial:02d}.avi").write_bytes(clip(n_frames))
        rows += [(subject, n_trials + 1 - e, e, *labels[e - 1]) for e in range(1, n_trials + 1)]
    columns = ["Participant_id", "Trial", "Experiment_id", "Valence", "Arousal", "Dominance", "Liking"]
    pd.DataFrame(rows, columns=columns).to_csv(root / "metadata_csv/participant_ratings.csv", index=False)
    return root


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return make_deap(tmp_path_factory.mktemp("sound") / "DEAP")


@pytest.fixture
def deap(sound, tmp_path):
    return Path(shutil.copytree(sound, tmp_path / "DEAP"))


def test_a_sound_folder_is_described_and_runs(sound):
    report = diagnose(sound)
    assert report.kind == "deap" and report.usable and not report.blockers and not report.notes
    assert not report.synthetic and report.excluded.empty
    assert report.subjects["trials"].tolist() == [10, 10, 10] and report.subjects["usable"].all()
    read = [(trial.subject, trial.trial) for trial in read_deap(sound)]
    assert list(report.trials[["subject", "trial"]].itertuples(index=False, name=None)) == read
    assert report.facts["trials"] == "3 s before and 4 s of the stimulus, at 128 Hz"
    assert report.facts["clips, sample"] == "h264, 80x64, 50 frames per second; 4 s"
    assert report.facts["usable"] == "3 subjects, 30 trials, 30 windows of 4 s (2 MB once prepared)"
    assert (report.clips[["frames", "announced"]] == 200).all(axis=None) and len(report.clips) == 3
    assert len(diagnose(sound, deep=True).clips) == 30
    text = report.text()
    assert text.startswith("DEAP: DEAP\n") and "dataset='deap': run" in text
    assert str(sound) not in text and str(sound.parent) not in text
    # What the release has and this folder has not, with the way to it.
    missing = {name.split(" of ")[0]: (name, how) for name, how in report.missing}
    assert "s04, s05" in missing["EEG (.dat)"][0] and "s32" in missing["EEG (.dat)"][0]
    assert "s22" in missing["face video"][0] and "s23" not in missing["face video"][0]
    assert all("licence" in how for _, how in missing.values())


def test_gaps_are_counted_with_their_reason(deap):
    (deap / "face_video/s02/s02_trial03.avi").unlink()
    (deap / "face_video/s03/s03_trial10.avi").unlink()
    report = diagnose(deap)
    # Trial 3 was shown as the eighth experiment, trial 10 as the first.
    assert list(report.excluded.itertuples(index=False, name=None)) == [
        (2, 8, "no clip s02_trial03.avi"),
        (3, 1, "no clip s03_trial10.avi"),
    ]
    assert report.subjects["trials"].tolist() == [10, 9, 9] and report.usable
    assert report.subjects["reason"].tolist() == ["", "1 of 10 trials left out", "1 of 10 trials left out"]


def test_the_gaps_of_the_release_itself_are_known(tmp_path):
    # s11's tape ran out: of 40 trials the last three have no clip, and no copy will bring them.
    root = make_deap(tmp_path / "DEAP", (11,), n_frames=5, n_trials=40)
    for trial in (7, 38, 39, 40):
        (root / f"face_video/s11/s11_trial{trial:02d}.avi").unlink()
    reasons = diagnose(root).excluded.set_index("trial")["reason"]
    assert reasons.to_dict() == {n: "no clip, in the release neither" for n in (1, 2, 3)} | {
        34: "no clip s11_trial07.avi"
    }


def test_subjects_with_one_modality_and_too_few_of_both(deap):
    shutil.rmtree(deap / "face_video/s02")
    (deap / "data_preprocessed_python/s03.dat").unlink()
    (deap / "data_preprocessed_python/s30.dat").write_bytes(b"")
    report = diagnose(deap)
    assert report.subjects.set_index("subject")["reason"].to_dict() == {
        1: "",
        2: "no face video",
        3: "no .dat file",
        30: "no face video",
    }
    assert not report.usable and "at least 3 subjects" in report.obstacle and "at least 3 subjects" in report.text()
    assert any("were not filmed" in note for note in report.notes)


@pytest.mark.parametrize("piece", ["data_preprocessed_python", "face_video", "metadata_csv"])
def test_a_missing_piece_is_named_with_the_archive_it_comes_from(deap, piece):
    shutil.rmtree(deap / piece)
    report = diagnose(deap)
    assert report.kind == "deap" and not report.usable and report.trials.empty
    assert any(name.startswith(f"{piece}/") and f"{piece}.zip" in how for name, how in report.missing)


def spoil(path, how):
    content = path.read_bytes()
    if how == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "noise":
        path.write_bytes(np.random.default_rng(0).bytes(5000))
    elif how == "folder":
        path.unlink()
        path.mkdir()
    else:
        path.unlink()
        path.symlink_to(path)


DAT, AVI = "data_preprocessed_python/s02.dat", "face_video/s02/s02_trial05.avi"


@pytest.mark.parametrize("how", ["cut", "empty", "noise", "folder", "loop"])
@pytest.mark.parametrize("name", [DAT, AVI, "metadata_csv/participant_ratings.csv"])
def test_a_damaged_file_is_reported_and_nothing_raises(deap, name, how):
    spoil(deap / name, how)
    report = diagnose(deap)
    assert report.kind == "deap" and report.text()
    if name == AVI and how in ("folder", "loop"):  # no file: as good as missing
        assert (2, 6) in set(report.excluded[["subject", "trial"]].itertuples(index=False, name=None))
    else:
        assert not report.usable
        # A subject's file costs that subject, the table of ratings costs all.
        assert any(Path(name).name in said for said in report.blockers)
        left = set(report.trials["subject"])
        if name == AVI:
            assert (2, 6) in set(report.excluded[["subject", "trial"]].itertuples(index=False, name=None))
            assert report.subjects["trials"].tolist() == [10, 9, 10]
        of_table = {1} if how == "cut" else set()  # the first half of the table is that of subject 1
        assert left == (of_table if name.endswith("csv") else {1, 3} if name == DAT else {1, 2, 3})
        assert "To repair" in report.text() and str(deap) not in report.text()


def test_what_the_doctor_calls_a_blocker_stops_the_reader(deap):
    spoil(deap / DAT, "cut")
    (blocker,) = diagnose(deap).blockers
    with pytest.raises(DataError) as stopped:
        list(read_deap(deap))
    assert str(stopped.value) == blocker


def test_ratings_that_disagree_with_the_labels(deap):
    path = deap / "metadata_csv/participant_ratings.csv"
    table = pd.read_csv(path)
    table.loc[3, "Arousal"] += 0.5 if table.loc[3, "Arousal"] < 5 else -0.5
    table.to_csv(path, index=False)
    report = diagnose(deap)
    assert report.subjects["trials"].tolist() == [0, 10, 10]
    assert "Arousal of participant 1, Experiment_id 4" in report.blockers[0]


def test_flat_channels_and_short_or_odd_clips_are_noted(deap):
    rng = np.random.default_rng(0)
    data = rng.normal(size=(N_TRIALS, 40, 384 + 1024))
    data[6, 2] = 5.0  # F3
    ratings = open_tree(deap).ratings
    labels = ratings[ratings["Participant_id"] == 1][["Valence", "Arousal", "Dominance", "Liking"]].to_numpy(float)
    write_dat(deap / "data_preprocessed_python/s01.dat", data, labels)
    (deap / "face_video/s01/s01_trial01.avi").write_bytes(clip(100, 25))
    report = diagnose(deap)
    assert report.usable and report.subjects["trials"].tolist() == [9, 10, 10]
    ((subject, trial, reason),) = report.excluded.itertuples(index=False, name=None)
    assert (subject, trial) == (1, 7) and "s01.dat: trial 7: channel F3 is flat" in reason
    assert "s01_trial02.avi: 4 s of 8 s; windows after its end are left out" in report.notes
    assert any(note.startswith("s01_trial01.avi: 25 frames per second") for note in report.notes)


def test_one_sided_ratings_cannot_be_learned():
    trials = pd.DataFrame({"subject": np.repeat([1, 2, 3], 10), "trial": np.tile(range(10), 3)})
    trials["valence"], trials["arousal"] = np.tile([3.0, 7.0], 15), 6.0
    assert "all arousal ratings" in doctor_report.split_obstacle(trials)
    trials["arousal"] = trials["valence"]
    assert doctor_report.split_obstacle(trials) == ""


def test_wrong_folders_are_told_apart(deap, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert diagnose(empty).facts == {"content": "empty"}
    assert diagnose(tmp_path / "none").blockers == ["no such folder"]
    assert "a file" in diagnose(deap / DAT).blockers[0]
    above = diagnose(tmp_path)
    assert above.kind == "unknown" and any("/DEAP looks like DEAP: give that folder" in note for note in above.notes)
    below = diagnose(deap / "face_video" / "s01")
    assert any("parent folder DEAP looks like DEAP" in note for note in below.notes)
    (empty / "face_video.zip").write_bytes(b"")
    assert "archives: face_video.zip" in diagnose(empty).notes[0]
    for report in (above, below, diagnose(empty), diagnose(tmp_path / "none")):
        assert not report.usable and "DEAP" in report.text() and len(report.missing) == 2


def test_a_folder_of_the_twin_is_marked(deap):
    (deap / "SYNTHETIC").write_text('{"settings": {"world": "mixed"}}')
    report = diagnose(deap)
    assert report.synthetic and "SYNTHETIC" in report.text() and report.missing == []
    (deap / "SYNTHETIC").write_text("{")
    assert "expected JSON" in diagnose(deap).blockers[0]


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """30 s, a clip of 5 s, 30 s."""
    rng = np.random.default_rng(0)
    status = np.zeros(65 * 256, int)
    for start in (30, 35):
        status[start * 256 : start * 256 + 128] = 268
    path = tmp_path_factory.mktemp("bdf") / "one.bdf"
    return write_bdf(path, rng.normal(0, 20, (32, 65 * 256)), DEAP_EEG, 256, status)


@pytest.fixture
def mahnob(recording, tmp_path):
    rng = np.random.default_rng(0)
    for subject in (1, 2, 3):
        for t in range(1, 6):
            for kind, number in (("S", 130 * (subject - 1) + 2 * t), ("N", 130 * (subject - 1) + 2 * t - 1)):
                if kind == "N" and t > 1:
                    continue
                folder = tmp_path / f"HCI/Sessions/{number}"
                folder.mkdir(parents=True)
                (folder / f"Part_{subject}_{kind}_Trial{t}_emotion.bdf").symlink_to(recording)
                camera = f"P{subject}-Rec1-2009_C1 trigger _C_Section_{2 * t}.avi"
                (folder / camera).write_bytes(clip(400, 61))
                felt = "".join(
                    f'{name}="{rng.integers(1, 10)}" ' for name in ("feltArsl", "feltVlnc", "feltCtrl", "feltPred")
                )
                (folder / "session.xml").write_text(
                    f'<session sessionId="{number}" isStim="{int(kind == "S")}" {felt if kind == "S" else ""}'
                    f'cutLenSec="5.0" vidRate="60.9708" mediaFile="{t}.avi"><subject id="{subject}"/>'
                    f'<track type="Video" color="1" filename="{camera}"/></session>'
                )
    return tmp_path / "HCI"


def test_mahnob_sound(mahnob, monkeypatch):
    monkeypatch.setattr(doctor_report, "DATASETS", ("twin", "deap", "mahnob"))
    report = diagnose(mahnob)
    assert report.kind == "mahnob" and not report.blockers and report.excluded.empty
    assert report.usable, report.obstacle
    assert report.facts["sessions"] == "18: 15 emotional clips, 3 neutral ones, 0 of other experiments"
    assert report.facts["status pulses"] == "2 in 15 of 15 recordings"
    assert report.facts["subset 24"] == "10 sessions of 2 subjects"  # subject 3 is not in it
    assert report.facts["usable"].startswith("3 subjects, 15 trials, 15 windows of 4 s")
    assert report.subjects["trials"].tolist() == [5, 5, 5]
    assert (report.clips["frames"] == 400).all() and len(report.clips) == 3
    assert any("subjects 4, 5" in name for name, _ in report.missing) and str(mahnob) not in report.text()


def test_mahnob_with_gaps_and_damage(mahnob, monkeypatch):
    monkeypatch.setattr(doctor_report, "DATASETS", ("twin", "deap", "mahnob"))
    sessions = mahnob / "Sessions"
    next((sessions / "2").glob("*.bdf")).unlink()
    (sessions / "132/session.xml").write_text("<session")
    for folder in (262, 264, 266, 268, 270):
        next((sessions / str(folder)).glob("*.avi")).unlink()
    report = diagnose(mahnob)
    reasons = report.excluded.set_index("trial")["reason"]
    assert sorted(reasons.index) == [2, 132, 262, 264, 266, 268, 270]
    assert "bdf: missing" in reasons[2] and "no well-formed XML" in reasons[132] and "colour camera" in reasons[266]
    assert report.subjects["trials"].tolist() == [4, 4, 0] and not report.blockers
    assert not report.usable and "at least 3 subjects" in report.obstacle
    # A clip that is cut passes a look at its header; decoding the sample finds it.
    path = next((sessions / "4").glob("*.avi"))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    deep = diagnose(mahnob, deep=True)
    assert any(path.name in blocker for blocker in deep.blockers) and 4 in set(deep.excluded["trial"])
    assert deep.subjects["trials"].tolist() == [3, 4, 0]


def test_mahnob_that_is_none(tmp_path, mahnob):
    (tmp_path / "x/Sessions").mkdir(parents=True)
    report = diagnose(tmp_path / "x")
    assert report.kind == "mahnob" and not report.usable and "no session" in report.blockers[0]
    assert "licence" in report.text()


def test_a_data_set_that_the_notebooks_do_not_read_is_said(mahnob, monkeypatch):
    monkeypatch.setattr(doctor_report, "DATASETS", ("twin", "deap"))
    assert "do not read MAHNOB-HCI yet" in diagnose(mahnob, n_clips=0).text()


def test_mahnob_reasons_know_the_release():
    group = pd.DataFrame({"usable": [False] * 2, "bdf": [False] * 2, "video": [True] * 2})
    assert doctor_mahnob._reason(12, group, False) == "no EEG, as in the release"
    assert doctor_mahnob._reason(7, group, False) == "2 of 2 sessions left out"
