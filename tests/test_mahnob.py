"""The reader of MAHNOB-HCI on sessions made by hand: the cut, the chain, and every way a session can be broken."""

import functools
import math
import re
import tempfile

import av
import numpy as np
import pytest

from cdgkd_utils.data.constants import CHANNELS, DEAP_EEG
from cdgkd_utils.data.files.bdf_writer import write_bdf
from cdgkd_utils.data.mahnob import reader as mahnob
from cdgkd_utils.data.mahnob.reader import SUBSETS, open_mahnob, trials_of
from cdgkd_utils.data.types import DataError

LABELS = [*DEAP_EEG, "EXG1", "Resp", "Temp"]
ONSET, SECONDS = 30 * 256 + 3, 6.32  # an odd sample, and no whole number of seconds
BURST, EARLIER = 4.25, -1.5  # s after the clip's start; the earlier one is in the baseline


@functools.cache
def clip(n_frames):
    """Bytes of a small clip whose header announces 61 frames per second."""
    black = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
    with tempfile.NamedTemporaryFile(suffix=".avi") as file:
        with av.open(file.name, "w", format="avi") as container:
            stream = container.add_stream("libx264", rate=61, options={"preset": "ultrafast", "threads": "1"})
            stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
            for number in range(n_frames):
                black.pts = number
                container.mux(stream.encode(black))
            container.mux(stream.encode())
        return file.read()


def wave(t):
    """A burst of 20 Hz around 0 s."""
    return np.cos(2 * np.pi * 20 * t) * np.exp(-0.5 * (t / 0.2) ** 2)


def signals(onset=ONSET, seconds=70, sfreq=256):
    """A 20 Hz burst in the clip with another height at each electrode, on offsets, drift, hum and slow waves."""
    t = np.arange(seconds * sfreq) / sfreq
    burst = wave(t - onset / sfreq - BURST)
    heights = np.arange(1.0, 33)
    rng = np.random.default_rng(0)
    eeg = (
        heights[:, None] * (burst + wave(t - onset / sfreq - EARLIER))
        + 1e5 * rng.standard_normal((32, 1))
        + np.outer(rng.standard_normal(32), t)
    )
    eeg += 40 * np.sin(2 * np.pi * 50 * t) + 30 * np.outer(heights / 32, np.sin(2 * np.pi * 1 * t))
    return np.vstack([eeg, np.zeros((3, len(t)))])


def pulses(*starts, seconds=70, sfreq=256):
    status = np.full(seconds * sfreq, 0x180000)  # bits of the amplifier, which mean nothing
    for start in starts:
        status[start : start + 128] |= 268
    return status


END = ONSET + round(SECONDS * 256)


def make_session(root, number, *, bdf=None, xml=lambda text: text, status=None, data=None, video=450, **options):
    """Write a session; keywords replace parts of it."""
    subject, rest = divmod(number - 1, 130)
    subject, t, kind = subject + 1, rest // 2 + 1, "NS"[rest % 2]
    folder = root / "Sessions" / str(number)
    folder.mkdir(parents=True)
    name = bdf or f"Part_{subject}_{kind}_Trial{t}_emotion.bdf"
    data = signals() if data is None else data
    status = pulses(ONSET, END) if status is None else status
    write_bdf(folder / name, data, options.get("labels", LABELS), options.get("sfreq", 256), status)
    camera = f"P{subject}-Rec1-2009_C1 trigger _C_Section_{2 * t}.avi"
    (folder / f"P{subject}-Rec1-2009_BW1.avi").write_bytes(clip(5))
    if video:
        (folder / camera).write_bytes(clip(video))
    felt = 'feltArsl="4" feltVlnc="7" feltCtrl="5" feltPred="3" ' if kind == "S" else ""
    text = (
        f'<session sessionId="{number}" isStim="{int(kind == "S")}" {felt}cutLenSec="{SECONDS}" vidRate="60.9708" '
        f'mediaFile="{t}.avi"><subject id="{subject}"/><track type="Video" color="0" '
        f'filename="P{subject}-Rec1-2009_BW1.avi"/><track type="Video" color="1" filename="{camera}"/></session>'
    )
    (folder / "session.xml").write_text(xml(text))
    return folder


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    root = tmp_path_factory.mktemp("sound")
    for number in (2, 1, 134, 42):
        make_session(root, number)
    (root / "Sessions" / ".DS_Store").mkdir()
    (root / "Sessions" / "notes.txt").write_text("mine")
    return root


def test_listing(sound):
    tree = open_mahnob(sound)
    assert tree.name == "MAHNOB-HCI" and tree.synthetic is None and tree.truth() is None
    table = tree.report().set_index("session")
    assert table["kind"].to_dict() == {1: "N", 2: "S", 42: "other", 134: "S"}
    assert table.loc[2, ["subject", "presentation", "stimulus", "reason"]].tolist() == [1, 1, "1.avi", ""]
    assert table.loc[134, ["subject", "presentation"]].tolist() == [2, 2]
    assert table.loc[2, ["xml", "bdf", "video", "labels", "triggers", "usable"]].all()
    neutral = table.loc[1]
    assert neutral[["xml", "bdf", "video", "triggers"]].all() and not neutral["labels"] and not neutral["usable"]
    assert neutral["reason"] == "neutral clip, which nobody rated" and table.loc[42, "reason"] == "another experiment"
    assert tree.subjects == (1, 2) and tree.n_skipped == 0
    assert {path.parent.name for path in tree.files()} == {"2", "134"} and len(tree.files()) == 6


def test_the_cut_is_exact_and_the_chain_does_what_it_says(sound):
    (trial,) = trials_of(open_mahnob(sound), [1])
    # 1618 samples between the pulses, at half the rate.
    assert (trial.subject, trial.trial, trial.presentation, trial.stimulus) == (1, 2, 1, "1.avi")
    assert trial.eeg.shape == (28, 809) and trial.baseline.shape == (28, 384)
    t = np.arange(trial.eeg.shape[1]) / 128
    burst = wave(t - BURST)
    heights = np.array([1 + DEAP_EEG.index(name) for name in CHANNELS]) - 16.5  # minus the average of 1..32
    # Offsets of 100 mV, drift, hum at 50 Hz and waves of 1 Hz are gone, the burst is whole and in its place.
    np.testing.assert_allclose(trial.eeg, np.outer(heights, burst), atol=0.15)
    t = np.arange(-384, 0) / 128
    np.testing.assert_allclose(trial.baseline, np.outer(heights, wave(t - EARLIER)), atol=0.15)
    assert trial.ratings["valence"] == 7 and trial.ratings["arousal"] == 4 and trial.ratings["dominance"] == 5
    assert math.isnan(trial.ratings["liking"])


def test_video_is_the_colour_camera_at_its_true_rate(sound):
    trials = list(trials_of(open_mahnob(sound)))
    assert [trial.trial for trial in trials] == [2, 134]
    for trial in trials:
        assert "C1 trigger" in trial.video.name  # a grey clip sorts before it
        assert trial.video_rate == 60.9708  # not the header's 61
    with av.open(str(trials[0].video)) as container:
        assert container.streams.video[0].average_rate == 61


def test_colour_camera_without_a_mark(tmp_path):
    make_session(tmp_path, 2, xml=lambda text: text.replace('color="1"', ""))
    (found,) = open_mahnob(tmp_path).sessions
    assert found.usable and "C1 trigger" in found.video.name


@pytest.mark.parametrize("status", [pulses(), pulses(7680)], ids=["no pulse", "one pulse"])
def test_margins_stand_in_for_pulses(tmp_path, status):
    make_session(
        tmp_path, 2, status=status, data=signals(7680), xml=lambda text: text.replace("6.32", "9.5"), video=650
    )
    tree = open_mahnob(tmp_path)
    (found,) = tree.sessions
    assert found.usable and not found.span.by_pulses and "margins of 30 s" in found.reason
    (trial,) = trials_of(tree)
    assert trial.eeg.shape == (28, 10 * 128) and np.abs(trial.eeg[0]).argmax() == BURST * 128


def cut(folder, name, n):
    path = next(folder.glob(name))
    path.write_bytes(path.read_bytes()[:n])


FAULTS = {
    "recording of another name": ({"bdf": "Part_1_S_Trial7_emotion.bdf"}, None, r"missing, found Part_1_S_Trial7"),
    "only a tagging recording": ({"bdf": "Part_1_Trial1_taggingVideos.bdf"}, None, "missing, found"),
    "cut recording": ({}, lambda f: cut(f, "*.bdf", 900_000), "truncated"),
    "empty recording": ({}, lambda f: cut(f, "*.bdf", 0), "BIOSEMI"),
    "wrong rate": ({"sfreq": 512, "data": signals(seconds=70), "status": pulses()}, None, "512 Hz, expected 256"),
    "renamed channel": ({"labels": ["Fz1" if x == "Fz" else x for x in LABELS]}, None, "channel Fz missing"),
    "late clip": ({"status": pulses(8000, 8000 + 1618)}, None, r"comes at 31\.250 s"),
    "pulses against cutLenSec": ({"status": pulses(7680, 7680 + 256 * 9)}, None, "give a clip of 9.00 s"),
    "margins against cutLenSec": ({"status": pulses()}, None, "0 status pulses and 70.0 s give a clip of 10.00 s"),
    "no pulses, no cutLenSec": (
        {"status": pulses(), "xml": lambda t: t.replace('cutLenSec="6.32"', "")},
        None,
        "nothing says where",
    ),
    "clip below a window": ({"status": pulses(7680, 7680 + 700)}, None, "a window needs 4 s"),
    "no session.xml": ({}, lambda f: (f / "session.xml").unlink(), "session.xml: not readable"),
    "session.xml is no XML": ({"xml": lambda t: t[:-9]}, None, "no well-formed XML"),
    "entities": ({"xml": lambda t: f"<!DOCTYPE s [<!ENTITY a 'b'>]>{t}"}, None, "document type"),
    "path traversal": ({"xml": lambda t: t.replace("P1-Rec1-2009_BW1", "../../x")}, None, "is no plain name"),
    "another session's xml": ({"xml": lambda t: t.replace('sessionId="2"', 'sessionId="4"')}, None, "its folder is 2"),
    "another subject's xml": (
        {"xml": lambda t: t.replace('<subject id="1"', '<subject id="9"')},
        None,
        "subject 9, but",
    ),
    "neutral by its xml": ({"xml": lambda t: t.replace('isStim="1"', 'isStim="0"')}, None, "isStim contradicts"),
    "rating of 12": ({"xml": lambda t: t.replace('feltArsl="4"', 'feltArsl="12"')}, None, "feltArsl is '12'"),
    "no rating": ({"xml": lambda t: t.replace('feltVlnc="7"', "")}, None, "feltVlnc is None"),
    "no film": ({"xml": lambda t: t.replace('mediaFile="1.avi"', "")}, None, "no mediaFile"),
    "no colour clip": ({"video": 0}, None, "no clips of the colour camera"),
    "two colour clips": ({"xml": lambda t: t.replace('color="0"', 'color="1"')}, None, "2 clips of the colour camera"),
    "vidRate of another camera": ({"xml": lambda t: t.replace("60.9708", "6.09708")}, None, "61 frames per second by"),
    "rating of 5000 digits": (
        {"xml": lambda t: t.replace('feltArsl="4"', f'feltArsl="{"4" * 5000}"')},
        None,
        "feltArsl is '444",
    ),
    "folder for session.xml": (
        {},
        lambda f: [(f / "session.xml").unlink(), (f / "session.xml").mkdir()],
        "not readable",
    ),
    "clip of no video": ({}, lambda f: cut(f, "*C1*.avi", 100), "cannot be opened as a video"),
    "clip shorter than its film": ({"video": 300}, None, r"ends after 4\.9 s, but its film lasts 6\.3 s"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_session_is_reported_by_name_and_never_raises(tmp_path, fault):
    options, damage, reason = FAULTS[fault]
    folder = make_session(tmp_path, 2, **options)
    if damage:
        damage(folder)
    tree = open_mahnob(tmp_path)
    (found,) = tree.sessions
    assert not found.usable
    assert re.search(reason, found.reason), found.reason
    assert tree.n_skipped == 1 and tree.subjects == () and list(trials_of(tree)) == []
    assert not tree.report()["usable"].any()


def test_flat_channel_raises_or_is_recorded(tmp_path):
    data = signals()
    data[4, 7000:10000] = -3.0
    make_session(tmp_path, 2, data=data)
    make_session(tmp_path, 4)
    tree = open_mahnob(tmp_path)
    with pytest.raises(DataError, match=r"Part_1_S_Trial1_emotion\.bdf: channel FC5 is flat"):
        list(trials_of(tree))
    excluded = []
    assert [trial.trial for trial in trials_of(tree, excluded=excluded)] == [4]
    assert [number for number, _ in excluded] == [2] and "FC5" in excluded[0][1]


def test_subsets_by_name(sound):
    assert {name: len(subjects) for name, subjects in SUBSETS.items()} == {"24": 24, "27": 27, "527": 27}
    assert set(SUBSETS["24"]) < set(SUBSETS["527"]) and 26 in SUBSETS["27"] and 9 in SUBSETS["527"]
    assert [s.session for s in open_mahnob(sound, subset="24").sessions] == [1, 2, 134]
    assert [s.session for s in open_mahnob(sound, subjects=[2]).sessions] == [134]
    with pytest.raises(ValueError, match=r"subset: expected one of 24, 27, 527, got '25'"):
        open_mahnob(sound, subset="25")


def test_other_folders_are_no_tree(tmp_path, sound):
    with pytest.raises(DataError, match="no folder Sessions"):
        open_mahnob(tmp_path / "absent")
    with pytest.raises(DataError, match="no folder Sessions"):
        open_mahnob(sound / "Sessions")
    (tmp_path / "Sessions").mkdir()
    with pytest.raises(DataError, match="no session in its folder"):
        open_mahnob(tmp_path)


def test_synthetic_mark_must_be_readable(tmp_path):
    make_session(tmp_path, 2)
    (tmp_path / mahnob.SYNTHETIC_FILE).write_text("{")
    with pytest.raises(DataError, match="SYNTHETIC: expected JSON"):
        open_mahnob(tmp_path)
    (tmp_path / mahnob.SYNTHETIC_FILE).write_text('{"settings": {"world": "mixed"}}')
    tree = open_mahnob(tmp_path)
    assert tree.name == "synthetic tree in MAHNOB-HCI's layout (world mixed)"
    with pytest.raises(DataError, match=r"truth\.csv: missing; write the folder again"):
        tree.truth()
