"""The twin written as a MAHNOB-HCI folder: as the real tree is laid out, and read back as it was prepared."""

from dataclasses import replace

import av
import mne
import numpy as np
import pytest

from cdgkd_utils.data.constants import DEAP_EEG
from cdgkd_utils.data.mahnob import files as mahnob_files
from cdgkd_utils.data.mahnob import writer as mahnob_writer
from cdgkd_utils.data.mahnob.reader import open_mahnob, trials_of
from cdgkd_utils.data.mahnob.session_xml import read_session
from cdgkd_utils.data.mahnob.writer import write_mahnob
from cdgkd_utils.data.twin import TwinSettings, plan_subject, prepare_subject
from cdgkd_utils.data.twin.face import face_track, parameters_at
from cdgkd_utils.data.types import Windows
from cdgkd_utils.data.windows import windows_from_trials

SETTINGS = TwinSettings(layout="mahnob", n_subjects=1, n_trials=2, n_windows=2, seed=3)


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CDGKD_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="module")
def root(home, tmp_path_factory):
    # The last piece of a film, which fills no window, is recorded, too.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mahnob_writer, "film_seconds", lambda row, n_windows: 9 + row)
        return write_mahnob(SETTINGS, tmp_path_factory.mktemp("tree") / "MAHNOB", frame_size=128)


def test_read_back_as_prepared(root):
    tree = open_mahnob(root)
    read = windows_from_trials(trials_of(tree), n_windows=0)
    direct = Windows.joined([prepare_subject(SETTINGS, k) for k in range(1, SETTINGS.n_subjects + 1)])
    assert read.index.equals(direct.index) and len(read) == 4
    np.testing.assert_array_equal(read.frame_mask, direct.frame_mask)
    # 24 bits on offsets of millivolts, twice the rate and back, another filter design: 0.1 µV in 10.
    assert np.abs(read.eeg - direct.eeg).max() < 0.2 and direct.eeg.std() > 5
    for a, b in zip(read.eeg, direct.eeg, strict=True):
        assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.9999
    video = zip(read.video.reshape(-1, 768), direct.video.reshape(-1, 768), strict=True)
    correlation = [np.corrcoef(a, b)[0, 1] for a, b in video]
    assert np.median(correlation) > 0.98 and min(correlation) > 0.9
    truth = read.index[["subject", "trial"]].merge(tree.truth(), on=["subject", "trial"])
    np.testing.assert_allclose(truth.drop(columns=["subject", "trial"]), direct.truth, rtol=1e-12)
    assert tree.name == "synthetic tree in MAHNOB-HCI's layout (world mixed)"


def test_tree_is_laid_out_as_the_real_one(root):
    assert sorted(int(path.name) for path in (root / "Sessions").iterdir()) == [1, 2, 3, 4]
    for folder in (root / "Sessions").iterdir():
        number = int(folder.name)
        subject, section = (number - 1) // 130 + 1, (number - 1) % 130 + 1
        kind, t = "NS"[number % 2 == 0], (section + 1) // 2
        names = sorted(path.name for path in folder.iterdir())
        assert f"Part_{subject}_{kind}_Trial{t}_emotion.bdf" in names
        assert f"P{subject}-Rec1-All-Data-New_Section_{section}.tsv" in names
        avis = [name for name in names if name.endswith(".avi")]
        assert len(avis) == 6 and len(names) == 9
        (colour,) = [name for name in avis if name.endswith(f"_C1 trigger _C_Section_{section}.avi")]
        xml = read_session(folder / "session.xml")
        assert [track.filename for track in xml.tracks if track.colour] == [colour] and avis[0] != colour
        lines = (folder / "session.xml").read_text().splitlines()
        assert lines[0].startswith("<?xml") and lines[1].startswith(f'<session sessionId="{number}" date="')
        assert bool(xml.felt) == xml.is_stimulus == (kind == "S") and xml.video_rate == 60.9708


def test_recording_as_mne_reads_it(root):
    raw = mne.io.read_raw_bdf(root / "Sessions" / "2" / "Part_1_S_Trial1_emotion.bdf", verbose="error")
    assert raw.info["sfreq"] == 256 and len(raw.ch_names) == 47
    assert raw.ch_names == [*DEAP_EEG, *mahnob_writer.OTHER_CHANNELS, "Status"]
    seconds = read_session(root / "Sessions" / "2" / "session.xml").clip_seconds
    events = mne.find_events(raw, "Status", verbose="error")
    assert events[:, 0].tolist() == [7680, 7680 + seconds * 256] and set(events[:, 2]) == {268}
    assert raw.n_times == (60 + seconds) * 256
    status = raw.get_data(picks=["Status"])[0].astype(int) & 0xFFFF
    assert set(status) == {0, 268} and (status == 268).sum() == 2 * 128


def test_margins_hold_nothing_of_the_film(root):
    """The last 30 s of a file are no part of the film, as one published reader takes them for."""
    settings = replace(SETTINGS, eeg_gain=8.0)
    plan = plan_subject(settings, 1)
    loud = replace(plan, x_eeg=np.full_like(plan.x_eeg, 3.0))
    a, b = (mahnob_writer._continuous(settings, who, 0, 68, neutral=False) for who in (plan, loud))
    changed = np.flatnonzero((a != b).any(axis=0)) / 128
    # From the film's start (less the cross-fade of 1/8 s) to 2 s after its end, where mirrored signal fades out.
    assert 29.9 < changed.min() < 30.1 and 38 < changed.max() <= 40
    assert np.abs((a - b)[:, round(39.9 * 128) :]).max() < 0.1 * np.abs(a - b).max()  # it ends without a step
    neutral = mahnob_writer._continuous(settings, loud, 0, 68, neutral=True)
    np.testing.assert_array_equal(neutral, mahnob_writer._continuous(settings, plan, 0, 68, neutral=True))
    assert not np.array_equal(neutral, a)


def test_clips_run_on_past_their_films(root):
    for number in (1, 2):
        folder = root / "Sessions" / str(number)
        (path,) = folder.glob("*C1 trigger*.avi")
        seconds = read_session(folder / "session.xml").clip_seconds
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            assert stream.codec_context.name == "h264" and stream.average_rate == 61
            assert (stream.width, stream.height) == (172, 128)
            assert stream.frames == int((seconds + 2) * 60.9708)  # not 61
    # After the film, the mouth speaks.
    track = face_track(SETTINGS, plan_subject(SETTINGS, 1), 0)
    during, after = np.arange(0, 8, 0.1), np.arange(8.2, 10, 0.1)
    longer = mahnob_files._speaking(track, 8, 2)
    np.testing.assert_array_equal(parameters_at(longer, during), parameters_at(track, during))
    assert np.ptp(parameters_at(longer, after)[:, 1]) > 2


def test_gaze_tables(root):
    tables = {path.parent.name: path.read_text().splitlines() for path in root.glob("Sessions/*/*.tsv")}
    n_fields = {}
    for name, lines in tables.items():
        header = lines[23].split("\t")  # line 24, after the preamble
        assert "Event" in header and "ValidityLeft" in header and "\t" not in "".join(lines[:23])
        rows = [line.split("\t") for line in lines[24:]]
        assert [row[-1] for row in rows if row[-1].startswith("Movie")] == ["MovieStart", "MovieEnd"]
        n_fields[name] = {len(row) for row in rows} == {len(header)}
    assert [name for name, sound in n_fields.items() if not sound] == ["4"]


def test_subjects_without_recording_or_video(tmp_path):
    settings = replace(SETTINGS, n_subjects=26, n_trials=1, n_windows=1)
    for subject, session in ((12, 1432), (26, 3252)):
        plan = plan_subject(settings, subject)
        mahnob_writer._write_session(tmp_path / "Sessions", settings, plan, 0, False, 64, 0)
        (found,) = open_mahnob(tmp_path, subjects=[subject]).sessions
        assert found.session == session and not found.usable and found.ratings is not None
        assert (found.bdf is None, found.video is None) == (subject == 12, subject == 26)


def test_full_geometry_is_the_real_one(monkeypatch, tmp_path):
    monkeypatch.setattr(mahnob_files, "VIDEO_RATE", 1.0)
    track = face_track(SETTINGS, plan_subject(SETTINGS, 1), 0)
    mahnob_files.write_clip(tmp_path / "a.avi", track, 2, 1, 580)
    with av.open(str(tmp_path / "a.avi")) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == (780, 580)


def test_writer_touches_nothing_that_exists(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    for out in (tmp_path, tmp_path / "mine.txt"):
        with pytest.raises(FileExistsError, match="not empty"):
            write_mahnob(SETTINGS, out)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_failed_writing_leaves_nothing(tmp_path, monkeypatch, error):
    def fail(*args):
        raise error

    monkeypatch.setattr(mahnob_writer, "_attributes", fail)
    monkeypatch.setattr(mahnob_writer, "write_clip", lambda *args: None)
    with pytest.raises(type(error)):
        write_mahnob(SETTINGS, tmp_path / "deep" / "out")
    assert not list(tmp_path.rglob("*out*"))


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"max_seconds": 10}, "max_seconds"),
        ({"max_seconds": 0}, "max_seconds"),
        ({"frame_size": 65}, "frame_size"),
        ({"settings": TwinSettings()}, "settings"),
    ],
)
def test_writer_names_the_wrong_parameter(tmp_path, options, name):
    with pytest.raises(ValueError, match=f"^{name}"):
        write_mahnob(**{"settings": SETTINGS, "out": tmp_path / "out", **options})
    assert not list(tmp_path.iterdir())
