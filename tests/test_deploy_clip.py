"""Clips of one's own: what is read is what was filmed, and what is no clip is told in one sentence."""

import shutil
import wave
from fractions import Fraction
from types import SimpleNamespace

import av
import numpy as np
import pytest
from PIL import Image

from cdgkd_utils.config import Params
from cdgkd_utils.data.extractors.hog768 import box_reduce, hog768
from cdgkd_utils.deploy import clip as clips
from cdgkd_utils.deploy.clip import answer_bytes, probe, read_clip, read_clip_bytes
from cdgkd_utils.deploy.errors import DeployError
from cdgkd_utils.deploy.example import example_clip

EDGE = 64


def clip_of(path, n_frames, rate=25, codec="libx264", times=None, size=(EDGE, EDGE)):
    """A clip whose frame k is plain grey of level 2 k."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for number in range(n_frames):
            picture = np.full((size[1], size[0], 3), min(2 * number, 255), np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = round(1000 * times[number]), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def levels(clip):
    """Numbers of the frames that were taken, by their grey."""
    return clip.frames.mean(axis=(2, 3, 4)) / 2


# ---- what is read ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "codec", "rate"), [("a.mp4", "libx264", 25), ("a.avi", "libx264", 25), ("a.webm", "libvpx", 10)]
)
def test_frames_are_those_shown_at_the_middle_of_each_bin(tmp_path, name, codec, rate):
    clip = read_clip(clip_of(tmp_path / name, round(8.6 * rate) if rate < 25 else 112, rate, codec))
    n_windows = 2 if rate == 10 else 1
    expected = rate * (4 * np.arange(n_windows)[:, None] + np.array([0.4, 1.2, 2.0, 2.8, 3.6]))
    assert clip.mask.all() and clip.rate == pytest.approx(rate)
    np.testing.assert_allclose(levels(clip), expected, atol=1.6)  # the codec rounds grey levels
    np.testing.assert_allclose(clip.times, expected / rate)


def test_features_are_those_of_the_shown_pictures(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "5"})
        stream.width, stream.height, stream.pix_fmt = 160, 128, "yuv420p"
        for _ in range(40):
            coarse = rng.integers(0, 256, (8, 10, 3), dtype=np.uint8)
            picture = np.asarray(Image.fromarray(coarse).resize((160, 128), Image.Resampling.BILINEAR))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    clip = read_clip(path)
    np.testing.assert_array_equal(clip.features[0], hog768(clip.frames[0]))
    with av.open(str(path)) as container:
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    central = np.stack([decoded[k][:, 16:144] for k in (4, 12, 20, 28, 36)])
    np.testing.assert_array_equal(clip.frames[0], box_reduce(central, 64))


@pytest.mark.parametrize(("n_frames", "n_windows"), [(100, 1), (199, 1), (200, 2), (260, 2)])
def test_only_whole_windows_count(tmp_path, n_frames, n_windows):
    assert len(read_clip(clip_of(tmp_path / "a.mp4", n_frames)).mask) == n_windows


def test_the_rate_is_measured_where_the_header_tells_a_clocks(tmp_path):
    """As a browser records: stamps in ms, every tenth second a picture, no rate of the camera."""
    times = 0.1 * np.arange(45) + np.random.default_rng(0).uniform(0, 0.01, 45)
    path = clip_of(tmp_path / "a.webm", 45, 1000, "libvpx", times)
    rate, seconds = probe(path)
    assert rate == pytest.approx(10, rel=0.01) and seconds == pytest.approx(4.5, rel=0.01)
    np.testing.assert_allclose(levels(read_clip(path)), [[4, 12, 20, 28, 36]], atol=1.6)


def packets(stamps, average_rate):
    """Stands in for an opened container whose packets bear the given stamps, in ms."""

    class Opened:
        def __enter__(self):
            stream = SimpleNamespace(average_rate=average_rate, time_base=Fraction(1, 1000), type="video")
            self.streams = SimpleNamespace(video=[stream])
            return self

        def __exit__(self, *args):
            return False

        def demux(self, stream):
            return [SimpleNamespace(pts=stamp, size=1) for stamp in stamps] + [SimpleNamespace(pts=None, size=0)]

    return lambda path: Opened()


@pytest.mark.parametrize(
    ("stamps", "told", "expected"),
    [
        ([0, 50, 100, 150], 25, (20.0, 0.2)),  # the stamps count
        ([None] * 100, 25, (25.0, 4.0)),  # no stamps: the header counts
        ([0, None, 80], 25, (25.0, 0.12)),  # some stamps are none
        ([100, 0, 50], 25, (20.0, 0.15)),  # out of order, as with B frames
        ([7], None, (25.0, 0.04)),  # one picture has no rate
    ],
)
def test_rate_and_length_come_from_stamps_or_else_from_the_header(tmp_path, monkeypatch, stamps, told, expected):
    (tmp_path / "a").touch()
    monkeypatch.setattr(clips.av, "open", packets(stamps, told))
    assert probe(tmp_path / "a") == pytest.approx(expected)


def test_pictures_without_any_rate_are_told(tmp_path, monkeypatch):
    (tmp_path / "a").touch()
    monkeypatch.setattr(clips.av, "open", packets([None] * 9, 1000))
    with pytest.raises(DeployError, match="9 pictures without a usable frame rate; convert it"):
        probe(tmp_path / "a")


def test_bytes_are_read_as_the_file_is_and_nothing_is_left_behind(tmp_path, monkeypatch):
    path = clip_of(tmp_path / "a.webm", 45, 10, "libvpx")
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(clips.tempfile, "tempdir", str(tmp_path / "scratch"))
    a, b = read_clip(path), read_clip_bytes(path.read_bytes(), name="mine.webm")
    np.testing.assert_array_equal(a.features, b.features)
    assert b.name == "mine.webm" and not list((tmp_path / "scratch").iterdir())


def test_answers_are_the_students_and_missing_where_nothing_is_seen(tmp_path):
    clip = read_clip(clip_of(tmp_path / "a.mp4", 200))
    asked = []

    def predict(features, mask):
        asked.append((features, mask))
        return np.zeros((2, 2)), np.array([0.25, 0.75])

    assert clip.answer(predict).tolist() == [0.25, 0.75] and asked[0][0] is clip.features
    about = {"extractor": "hog", "crop": "centre"}
    name, frames, mask, p = answer_bytes(predict, about, (tmp_path / "a.mp4").read_bytes(), "mine.mp4")
    assert (name, p.tolist()) == ("mine.mp4", [0.25, 0.75])
    np.testing.assert_array_equal(frames, clip.frames)
    np.testing.assert_array_equal(mask, clip.mask)
    clip.mask[1] = False
    np.testing.assert_array_equal(clip.answer(predict), [0.25, np.nan])


# ---- the face crop, with a detector that stands in for MediaPipe --------------------------------


def test_a_clip_without_a_face_is_refused_when_faces_are_looked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(clips, "find_boxes", lambda frames: [np.zeros((0, 4))] * len(frames))
    path = clip_of(tmp_path / "a.mp4", 100)
    with pytest.raises(DeployError, match=r"a\.mp4: no face in any of its frames; record one face from the front"):
        read_clip(path, crop="face")
    assert read_clip(path).mask.all()  # the central square is believed


def test_frames_without_a_face_are_missing(tmp_path, monkeypatch):
    box = np.array([[100.0, 100, 300, 300]])
    seen = [box] + [np.zeros((0, 4))] * 4
    monkeypatch.setattr(clips, "find_boxes", lambda frames: seen)
    clip = read_clip(clip_of(tmp_path / "a.mp4", 100), crop="face")
    assert clip.mask.tolist() == [[True, True, True, False, False]]  # near a found face it can be followed
    assert not clip.features[0, 3:].any()


# ---- what is no clip ---------------------------------------------------------------------------


def text(path):
    path.write_text("this is a letter\n" * 200)


def sound(path):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(16000 * 5))


def picture(path):
    Image.new("RGB", (64, 64)).save(path)


def halved(path):
    whole = clip_of(path.with_name("whole.avi"), 400).read_bytes()
    path.write_bytes(whole[: len(whole) // 3])


@pytest.mark.parametrize(
    ("name", "make", "said"),
    [
        ("none.mp4", lambda path: None, "no such file; name a video file"),
        ("folder.mp4", lambda path: path.mkdir(), "no such file; name a video file"),
        ("letter.mp4", text, "cannot be read as a video"),
        ("empty.mp4", lambda path: path.touch(), "cannot be read as a video"),
        ("song.wav", sound, "holds sound but no pictures; expected a video of 4 s or more"),
        ("two.mp4", lambda path: clip_of(path, 2), r"2 frames in 0.08 s; expected a video of 4 s or more"),
        ("one.png", picture, "1 frame in 0.04 s; expected a video"),
        ("short.mp4", lambda path: clip_of(path, 98), "98 frames in 3.92 s; expected a video of 4 s or more"),
        ("half.avi", halved, "damaged|cannot be read|frames in"),
    ],
)
def test_what_is_no_clip_is_told_in_one_sentence(tmp_path, name, make, said):
    path = tmp_path / name
    make(path)
    with pytest.raises(DeployError, match=said) as caught:
        read_clip(path)
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_damaged_pictures_are_told(tmp_path, monkeypatch):
    from cdgkd_utils.data.errors import DataError

    def broken(*args):
        raise DataError("x: damaged or truncated; copy the clip again, or remove it to leave its trial out")

    monkeypatch.setattr(clips, "frames_at", broken)
    with pytest.raises(DeployError, match=r"a.mp4: damaged, not all of its pictures can be decoded; record it again$"):
        read_clip(clip_of(tmp_path / "a.mp4", 100))


def test_wrong_bytes_are_named_by_their_own_name():
    with pytest.raises(DeployError, match=r"^mine.webm: it is empty"):
        read_clip_bytes(b"", name="mine.webm")
    with pytest.raises(DeployError, match=r"^mine.webm: cannot be read as a video") as caught:
        read_clip_bytes(b"RIFF" * 100, name="mine.webm")
    assert "tmp" not in str(caught.value)


def test_an_unknown_crop_is_named(tmp_path):
    with pytest.raises(DeployError, match="crop: expected one of centre, face, got 'nose'"):
        read_clip(clip_of(tmp_path / "a.mp4", 100), crop="nose")


# ---- the example -------------------------------------------------------------------------------


def test_the_example_is_written_once_and_its_truth_is_its_trials(home, monkeypatch):
    monkeypatch.setattr("cdgkd_utils.deploy.example.SECONDS", 4)
    path, truth = example_clip(Params())
    assert path.is_file() and 0 <= truth["posterior_valence"] <= 1
    assert abs(truth["x_video_valence"]) > 0
    stamp = path.stat().st_mtime_ns
    again, _ = example_clip(Params())
    assert again == path and path.stat().st_mtime_ns == stamp
    assert len(read_clip(path).mask) == 1
    shutil.rmtree(home / "clips")
    other, _ = example_clip(Params(seed=1))
    assert other.parts[-4] != path.parts[-4]
