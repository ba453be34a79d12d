"""Clips of one's own: what is read is what was filmed, and what is no clip is told in one sentence."""

import numpy as np
import pytest
from clips import clip_of, levels
from PIL import Image
from scipy.io import wavfile

from cdgkd_utils.config import Params
from cdgkd_utils.data.features import hog768
from cdgkd_utils.data.twin.files import write_clip
from cdgkd_utils.deploy.clip import DeployError, answer_bytes, example_clip, read_clip

MIDDLES = np.array([0.4, 1.2, 2.0, 2.8, 3.6])


@pytest.mark.parametrize(
    ("name", "codec", "rate", "n_frames"),
    [("a:b.mp4", "libx264", 25, 112), ("a.avi", "libx264", 25, 112), ("a.webm", "libvpx", 10, 86)],
)
def test_frames_are_those_shown_at_the_middle_of_each_bin(tmp_path, monkeypatch, name, codec, rate, n_frames):
    monkeypatch.chdir(tmp_path)
    clip = read_clip(clip_of(tmp_path / name, n_frames, rate, codec).name)  # a relative name, with a colon
    n_windows = n_frames // (4 * rate)
    expected = rate * (4 * np.arange(n_windows)[:, None] + MIDDLES)
    assert clip.mask.shape == (n_windows, 5) and clip.mask.all()
    np.testing.assert_allclose(levels(clip.frames), expected, atol=1.6)  # the codec rounds grey levels
    np.testing.assert_array_equal(clip.features[0], hog768(clip.frames[0]))


def test_answers_are_the_students_and_missing_where_nothing_is_seen(tmp_path):
    path, asked = clip_of(tmp_path / "a.mp4", 200), []
    clip = read_clip(path)

    def predict(features, mask):
        asked.append(features)
        return np.zeros((2, 2)), np.array([0.25, 0.75])

    about = {"extractor": "hog", "crop": "centre"}
    name, frames, mask, p = answer_bytes(predict, about, path.read_bytes(), "mine.mp4")
    assert (name, p.tolist()) == ("mine.mp4", [0.25, 0.75])
    np.testing.assert_array_equal(asked[0], clip.features)
    np.testing.assert_array_equal(frames, clip.frames)
    np.testing.assert_array_equal(mask, clip.mask)
    clip.mask[1] = False
    np.testing.assert_array_equal(clip.answer(predict), [0.25, np.nan])


def plain(path, pictures):
    """25 pictures a second whose upper and lower halves have the given greys."""
    halves = (np.repeat(np.uint8(pair), 32)[:, None, None] * np.ones((1, 64, 3), np.uint8) for pair in pictures)
    write_clip(path, 25, halves)
    return path


def test_pictures_of_one_colour_have_no_answer(tmp_path):
    with pytest.raises(DeployError, match=r"white\.mp4: every picture is of one colour"):
        read_clip(plain(tmp_path / "white.mp4", [(200, 200)] * 100))
    clip = read_clip(plain(tmp_path / "covered.mp4", [(200, 7)] * 50 + [(0, 0)] * 150))
    assert clip.mask.tolist() == [[True, True, False, False, False], [False] * 5]
    assert np.isnan(clip.answer(lambda features, mask: (None, np.array([0.3, 0.3])))).tolist() == [False, True]


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("none.mp4", lambda path: None),
        ("letter.mp4", lambda path: path.write_text("this is a letter\n" * 200)),
        ("empty.mp4", lambda path: path.touch()),
        ("song.wav", lambda path: wavfile.write(path, 8000, np.zeros(40000, np.int16))),
        ("one.png", lambda path: Image.new("RGB", (64, 64)).save(path)),
        ("short.mp4", lambda path: clip_of(path, 98)),
        ("half.avi", lambda path: path.write_bytes((b := clip_of(path, 400).read_bytes())[: len(b) // 3])),
    ],
)
def test_what_is_no_clip_is_told_in_one_sentence(tmp_path, name, make):
    make(tmp_path / name)
    with pytest.raises(DeployError, match=name) as caught:
        read_clip(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_wrong_bytes_are_named_by_their_own_name():
    with pytest.raises(DeployError, match=r"^mine.webm: ") as caught:
        answer_bytes(None, {"extractor": "hog", "crop": "centre"}, b"RIFF" * 100, "mine.webm")
    assert "tmp" not in str(caught.value)


def test_the_example_is_written_once_and_its_truth_is_its_trials(home):
    path, truth = example_clip(Params())
    assert path.is_file() and 0 <= truth["posterior_valence"] <= 1 and abs(truth["x_video_valence"]) > 0
    stamp = path.stat().st_mtime_ns
    assert example_clip(Params())[0] == path and path.stat().st_mtime_ns == stamp
    assert len(read_clip(path).mask) == 6
