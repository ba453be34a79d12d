"""Damaged files by the thousand: each is one clear error, or what is read is still sound. Seeded, so it repeats."""

import time

import av
import numpy as np
import pandas as pd
import pytest

from cdgkd_utils.data.constants import DEAP_EEG
from cdgkd_utils.data.deap.dat_file import read_dat, write_dat
from cdgkd_utils.data.deap.reader import RATING_COLUMNS, open_tree, trials_of
from cdgkd_utils.data.errors import DataError
from cdgkd_utils.data.files.bdf_writer import write_bdf
from cdgkd_utils.data.files.video import frames_at
from cdgkd_utils.data.mahnob.recording import read_eeg, stimulus_span
from cdgkd_utils.data.mahnob.session_xml import read_session

SLOWEST = 5.0  # s for one input: a hang, not a timing


def mutations(raw, count, seed, head=None):
    """`count` damaged versions of some bytes; half of the damage is in the first `head` bytes, where formats live."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        out = bytearray(raw)
        reach = min(head or len(raw), len(raw)) if number % 2 else len(raw)
        match number % 5:
            case 0:  # cut
                del out[int(rng.integers(reach)) :]
            case 1:  # flip bits
                for place in rng.integers(reach, size=rng.integers(1, 5)):
                    out[place] ^= 1 << int(rng.integers(8))
            case 2:  # swap two pieces
                length = int(rng.integers(1, 33))
                a, b = sorted(rng.integers(max(1, reach - length), size=2).tolist())
                if b - a >= length:
                    out[a : a + length], out[b : b + length] = out[b : b + length], out[a : a + length]
            case 3:  # other bytes: all zeros, all ones, or anything
                length, a = int(rng.integers(1, 9)), int(rng.integers(reach))
                fill = [bytes(length), b"\xff" * length, rng.bytes(length)][rng.integers(3)]
                out[a : a + length] = fill[: len(out) - a]
            case 4:  # lose or double a piece
                length, a = int(rng.integers(1, 65)), int(rng.integers(reach))
                out[a : a + length] = b"" if rng.random() < 0.5 else out[a : a + length] * 2
        yield bytes(out)


def fuzz(path, raw, count, read, check, head=None, seed=0):
    """Read every damaged version; returns how many were refused and how many were read."""
    refused = sound = 0
    for number, damaged in enumerate(mutations(raw, count, seed, head)):
        path.write_bytes(damaged)
        start = time.monotonic()
        try:
            found = read()
        except DataError as error:
            assert "\n" not in str(error) and path.parent.name in str(error), number
            refused += 1
        else:
            check(found)
            sound += 1
        assert time.monotonic() - start < SLOWEST, number
    assert refused + sound == count
    return refused, sound


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

    refused, sound = fuzz(path, path.read_bytes(), 600, read, check, head=600)
    assert refused > 200 and sound > 50


def test_ratings(tmp_path, subject):
    data, labels = subject
    for folder in ("data_preprocessed_python", "metadata_csv", "face_video/s01"):
        (tmp_path / folder).mkdir(parents=True)
    write_dat(tmp_path / "data_preprocessed_python/s01.dat", data, labels)
    for trial in (1, 2):
        (tmp_path / f"face_video/s01/s01_trial0{trial}.avi").touch()
    table = pd.DataFrame({"Participant_id": 1, "Trial": [2, 1], "Experiment_id": [1, 2], "Start_time": 0})
    table[RATING_COLUMNS] = labels
    path = tmp_path / "metadata_csv/participant_ratings.csv"
    table.to_csv(path, index=False)

    def read():
        try:
            return list(trials_of(open_tree(tmp_path)))
        except DataError as error:
            raise DataError(f"metadata_csv: {error}") from error  # some name the other file of the contradiction

    def check(trials):
        assert len(trials) == 2 and {trial.presentation for trial in trials} == {1, 2}
        for trial, rated in zip(trials, labels, strict=True):
            assert list(trial.ratings.values()) == rated.tolist()

    refused, sound = fuzz(path, path.read_bytes(), 250, read, check)
    assert refused > 100 and sound > 5


def test_bdf_header(tmp_path):
    path = tmp_path / "Part_1_S_Trial1_emotion.bdf"
    eeg = np.random.default_rng(0).normal(0, 10, (32, 65 * 256))
    status = np.zeros(65 * 256, int)
    status[30 * 256 :: 5 * 256][:2] = 268
    write_bdf(path, eeg, DEAP_EEG, 256, status)

    def read():
        return read_eeg(path, stimulus_span(path, 5.0))

    def check(found):
        baseline, eeg = found
        assert baseline.shape == (28, 384) and eeg.shape == (28, 640)
        assert np.isfinite(eeg).all() and np.isfinite(baseline).all()

    refused, _ = fuzz(path, path.read_bytes(), 60, read, check, head=256 * 34)
    assert refused > 15


SESSION = (
    '<?xml version="1.0" encoding="UTF-8"?><session sessionId="2" isStim="1" feltArsl="4" feltVlnc="7" feltCtrl="5" '
    'feltPred="3" cutLenSec="87.32" vidRate="60.9708" mediaFile="funny_f.avi"><subject id="1"/><track type="Video" '
    'color="1" filename="P1-Rec1_C1 trigger _C_Section_2.avi"><annotation filename="a.tsv"/></track></session>'
)


def test_session_xml(tmp_path):
    path = tmp_path / "session.xml"

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

    refused, sound = fuzz(path, SESSION.encode(), 2000, read, check)
    assert refused > 1000 and sound > 100


def test_avi(tmp_path):
    path = tmp_path / "clip.avi"
    with av.open(str(path), "w", format="avi") as container:
        stream = container.add_stream("libx264", rate=50, options={"g": "8", "bf": "2", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        rng = np.random.default_rng(0)
        for _ in range(24):
            picture = rng.integers(0, 256, (8, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    times = np.arange(0, 0.6, 0.1)
    whole, _ = frames_at(path, times, 16)

    def check(found):
        frames, mask = found
        assert frames.shape == whole.shape and mask.shape == (6,) and not frames[~mask].any()

    refused, sound = fuzz(path, path.read_bytes(), 250, lambda: frames_at(path, times, 16), check, head=6000)
    assert refused > 20 and sound > 20
