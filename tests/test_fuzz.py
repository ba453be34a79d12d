"""Damaged files by the thousand: each is one clear error or a recorded exclusion, or what is read is still sound.

``CDGKD_FUZZ=100 pytest tests/test_fuzz.py`` tries a hundred times as many, others each time.
"""

import contextlib
import os
import shutil
import signal
import warnings
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cdgkd_utils.config import Params
from cdgkd_utils.data.constants import DEAP_EEG
from cdgkd_utils.data.deap.dat_file import read_dat, write_dat
from cdgkd_utils.data.deap.ratings import RATING_COLUMNS
from cdgkd_utils.data.deap.reader import HALF_A_HUNDREDTH, open_tree, trials_of
from cdgkd_utils.data.files.bdf_writer import write_bdf
from cdgkd_utils.data.files.video import frames_at
from cdgkd_utils.data.load import load_windows
from cdgkd_utils.data.mahnob.recording import read_eeg, stimulus_span
from cdgkd_utils.data.mahnob.session_xml import read_session
from cdgkd_utils.data.types import DataError

FACTOR = int(os.environ.get("CDGKD_FUZZ", "1"))
HANGS_AFTER = 60  # s for one input


@st.composite
def damages(draw, size, head):
    """A few ways to damage `size` bytes one after the other; half of them in the first `head`, where formats live."""
    found = []
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, (min(head, size) if draw(st.booleans()) else size) - 1))
        kind = draw(st.sampled_from(["cut", "flip", "swap", "write", "lose", "double"]))
        if kind == "flip":
            how = draw(st.integers(0, 7))
        elif kind == "swap":
            how = (draw(st.integers(0, size - 1)), draw(st.integers(1, 32)))
        elif kind == "write":
            how = draw(
                st.one_of(st.binary(min_size=1, max_size=8), st.sampled_from([bytes(8), b"\xff" * 8, b"9", b"-"]))
            )
        else:
            how = draw(st.integers(1, 64))
        found.append((kind, place, how))
    return found


def damaged(raw, found):
    out = bytearray(raw)
    for kind, place, how in found:
        match kind:
            case "cut":
                del out[place:]
            case "flip" if place < len(out):
                out[place] ^= 1 << how
            case "swap":
                a, b = sorted((place, how[0]))
                length = min(how[1], b - a, len(out) - b)
                if length > 0:
                    out[a : a + length], out[b : b + length] = out[b : b + length], out[a : a + length]
            case "write":
                out[place : place + len(how)] = how[: max(0, len(out) - place)]
            case "lose":
                del out[place : place + how]
            case "double":
                out[place:place] = out[place : place + how]
    return bytes(out)


@contextlib.contextmanager
def no_hang():
    def stop(*_):
        raise TimeoutError(f"one input took more than {HANGS_AFTER} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(HANGS_AFTER)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def fuzz(path, count, read, check, head=1 << 30, named=None):
    """Read many damaged versions of a file: how many were refused, and how many were read and found sound."""
    raw, counts = path.read_bytes(), {"refused": 0, "sound": 0}

    @settings(
        max_examples=count * FACTOR,
        derandomize=FACTOR == 1,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(damages(len(raw), head))
    def attempt(found):
        path.write_bytes(damaged(raw, found))
        with no_hang():
            try:
                read_back = read()
            except DataError as error:
                assert "\n" not in str(error) and (named or path.name) in str(error), error
                counts["refused"] += 1
            else:
                check(read_back)
                counts["sound"] += 1

    try:
        attempt()
    finally:
        path.write_bytes(raw)
    assert sum(counts.values()) >= 0.9 * count * FACTOR, "hypothesis tried fewer than it was asked for"
    return counts["refused"] / FACTOR, counts["sound"] / FACTOR


@pytest.fixture(scope="module")
def subject():
    rng = np.random.default_rng(0)
    return rng.normal(0, 10, (2, 40, 896)), np.round(rng.uniform(1, 9, (2, 4)), 2)


def test_dat(tmp_path, subject):
    path = tmp_path / "s01.dat"
    write_dat(path, *subject)

    def read():
        try:
            return read_dat(path)
        except DataError:
            with pytest.raises(DataError):  # neither way may read what the other refuses
                read_dat(path, mapped=False)
            raise

    def check(found):
        for one, other in zip(found, read_dat(path, mapped=False), strict=True):
            np.testing.assert_array_equal(one, other)
            assert np.isfinite(one).all()
        assert found[0].shape[1] == 40 and found[1].shape == (len(found[0]), 4)

    refused, sound = fuzz(path, 400, read, check, head=600)
    assert refused > 150 and sound > 20


def small_deap(root, data, labels):
    """A DEAP folder of one subject; the second experiment was shown first."""
    for folder in ("data_preprocessed_python", "metadata_csv", "face_video/s01"):
        (root / folder).mkdir(parents=True)
    write_dat(root / "data_preprocessed_python/s01.dat", data, labels)
    for trial in (1, 2):
        write_clip(root / f"face_video/s01/s01_trial0{trial}.avi", 200, 50)
    table = pd.DataFrame({"Participant_id": 1, "Trial": [2, 1], "Experiment_id": [1, 2], "Start_time": 0})
    table[RATING_COLUMNS] = labels
    table.to_csv(root / "metadata_csv/participant_ratings.csv", index=False)
    return root


def write_clip(path, n_frames, rate):
    with av.open(str(path), "w", format="avi") as container:
        options = {"g": "8", "bf": "2", "threads": "1", "preset": "ultrafast"}
        stream = container.add_stream("libx264", rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        rng = np.random.default_rng(0)
        pictures = rng.integers(0, 256, (8, 8, 8, 3), np.uint8).repeat(8, 1).repeat(8, 2)
        for number in range(n_frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pictures[number % 8], format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture(scope="module")
def deap(tmp_path_factory, subject):
    return small_deap(tmp_path_factory.mktemp("deap") / "tree", *subject)


def test_ratings(deap, subject):
    path = deap / "metadata_csv/participant_ratings.csv"

    def check(trials):
        assert len(trials) == 2 and {trial.presentation for trial in trials} == {1, 2}
        for trial, rated in zip(trials, subject[1], strict=True):
            # A third decimal changes nothing: the table agrees with the labels to its two.
            assert list(trial.ratings.values()) == pytest.approx(rated.tolist(), abs=HALF_A_HUNDREDTH)

    # Contradictions name both files, the one with fewer rows first.
    refused, sound = fuzz(path, 250, lambda: list(trials_of(open_tree(deap))), check, named="participant_ratings.csv")
    assert refused > 100 and sound > 5


def write_recording(path):
    """30 s, a clip of 5 s, 30 s."""
    eeg = np.random.default_rng(0).normal(0, 10, (32, 65 * 256))
    status = np.zeros(65 * 256, int)
    for start in (30, 35):
        status[start * 256 : start * 256 + 128] = 268
    return write_bdf(path, eeg, DEAP_EEG, 256, status)


def test_bdf_header(tmp_path):
    path = write_recording(tmp_path / "Part_1_S_Trial1_emotion.bdf")

    def check(found):
        baseline, eeg = found
        assert baseline.shape == (28, 384) and eeg.shape == (28, 640)
        assert np.isfinite(eeg).all() and np.isfinite(baseline).all()

    refused, _ = fuzz(path, 60, lambda: read_eeg(path, stimulus_span(path, 5.0)), check, head=256 * 34)
    assert refused > 15


SESSION = (
    '<?xml version="1.0" encoding="UTF-8"?><session sessionId="2" isStim="1" feltArsl="4" feltVlnc="7" feltCtrl="5" '
    'feltPred="3" cutLenSec="5.0" vidRate="60.9708" mediaFile="funny_f.avi"><subject id="1"/><track type="Video" '
    'color="1" filename="P1-Rec1_C1 trigger _C_Section_2.avi"><annotation filename="a.tsv"/></track></session>'
)


def test_session_xml(tmp_path):
    path = tmp_path / "session.xml"
    path.write_text(SESSION)

    def read():
        found = read_session(path)
        return found, found.ratings()

    def check(found):
        session, ratings = found
        assert all(1 <= rating <= 9 for rating in ratings.values()) and len(ratings) == 4
        assert session.session > 0 and session.subject > 0
        for track in session.tracks:
            for name in (track.filename, *track.annotations):
                assert (tmp_path / name).parent == tmp_path and name not in (".", "..")

    refused, sound = fuzz(path, 600, read, check)
    assert refused > 300 and sound > 20


def test_avi(tmp_path):
    path = tmp_path / "clip.avi"
    write_clip(path, 24, 50)
    times = np.arange(0, 0.6, 0.1)
    whole, _ = frames_at(path, times, 16)

    def check(found):
        frames, mask = found
        assert frames.shape == whole.shape and mask.shape == (6,) and not frames[~mask].any()

    refused, sound = fuzz(path, 250, lambda: frames_at(path, times, 16), check, head=6000)
    assert refused > 20 and sound > 20


@pytest.fixture(scope="module")
def mahnob(tmp_path_factory):
    """Two emotional sessions of one subject."""
    root = tmp_path_factory.mktemp("mahnob") / "tree"
    for trial in (1, 2):
        folder = root / f"Sessions/{2 * trial}"
        folder.mkdir(parents=True)
        write_recording(folder / f"Part_1_S_Trial{trial}_emotion.bdf")
        write_clip(folder / f"P1-Rec1_C1 trigger _C_Section_{2 * trial}.avi", 320, 61)
        text = SESSION.replace('sessionId="2"', f'sessionId="{2 * trial}"').replace("n_2.", f"n_{2 * trial}.")
        (folder / "session.xml").write_text(text)
    return root


FILES = {
    "deap": (
        "data_preprocessed_python/s01.dat",
        "metadata_csv/participant_ratings.csv",
        "face_video/s01/s01_trial01.avi",
    ),
    "mahnob": (
        "Sessions/2/session.xml",
        "Sessions/2/Part_1_S_Trial1_emotion.bdf",
        "Sessions/2/P1-Rec1_C1 trigger _C_Section_2.avi",
    ),
}
HEADS = {".dat": 600, ".avi": 6000, ".bdf": 256 * 34}


@pytest.mark.parametrize(("dataset", "name"), [(dataset, name) for dataset in FILES for name in FILES[dataset]])
def test_through_the_cache(dataset, name, request, tmp_path, monkeypatch):
    """Nothing is stored after an error; otherwise each trial is there, or its exclusion is."""
    home = tmp_path / "home"
    monkeypatch.setenv("CDGKD_HOME", str(home))
    root = Path(shutil.copytree(request.getfixturevalue(dataset), tmp_path / "tree"))
    params = Params(dataset=dataset, data_root=str(root), profile="smoke")

    def load():
        shutil.rmtree(home, ignore_errors=True)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                return load_windows(params, n_jobs=1)
            except DataError:
                assert not list(home.glob("**/*"))
                raise

    whole = load()
    expected = set(whole.index["trial"])
    assert len(expected) == 2 and whole.meta["excluded"] == [] and whole.meta["skipped"] == 0

    def check(found):
        meta, there = found.meta, set(found.index["trial"])
        named = {trial for _, trial, _ in meta["excluded"]}
        assert len((expected - there) - named) <= meta["skipped"], "a trial is lost without a word"
        assert np.isfinite(np.asarray(found.eeg, float)).all() and there <= expected
        for column in ("valence", "arousal"):
            rated = found.index.groupby("trial")[column].first()
            assert rated.between(1, 9).all()
            if dataset == "deap":  # both files say it
                assert (rated == whole.index.groupby("trial")[column].first()[rated.index]).all()
        assert [folder.name for folder in (home / "prepared").iterdir()] == [meta["key"]]

    count = 24 if dataset == "deap" else 8
    fuzz(root / name, count, load, check, head=HEADS.get(Path(name).suffix, 1 << 30), named="tree")
