"""A clip is what a player shows, at the time it shows it."""

import struct

import av
import numpy as np
import pytest
from made_by_hand import coded_clip, decode_numbers, encode, numbered, remux

from cdgkd_utils.data.features import crop_to, face_box, hog768
from cdgkd_utils.data.types import DataError
from cdgkd_utils.data.video import UnusableClip, clip_facts, damage, frames_at

UP = np.kron(np.random.default_rng(0).integers(0, 256, (12, 16, 3)), np.ones((8, 8, 1))).astype(np.uint8)


def features(path, times=(1.0,)):
    frames, mask = frames_at(path, times)
    assert mask.all()
    return hog768(frames).ravel()


@pytest.fixture(scope="module")
def upright(tmp_path_factory):
    return features(encode(tmp_path_factory.mktemp("up") / "up.mp4", [UP] * 50))


@pytest.mark.parametrize(
    ("matrix", "stored"),
    [
        ((0, 1, -1, 0), np.rot90(UP)),
        ((0, -1, 1, 0), np.rot90(UP, -1)),
        ((-1, 0, 0, -1), np.rot90(UP, 2)),
        ((-1, 0, 0, 1), UP[:, ::-1]),  # mirrored, as some phones store their front camera
        ((1, 0, 0, -1), UP[::-1]),
        ((0, 1, 1, 0), UP.swapaxes(0, 1)),
        ((0, -1, -1, 0), UP[::-1, ::-1].swapaxes(0, 1)),
    ],
)
def test_pictures_are_turned_and_mirrored_as_the_container_says(tmp_path, upright, matrix, stored):
    path = encode(tmp_path / "phone.mp4", [np.ascontiguousarray(stored)] * 50)
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 44
    a, b, c, d = (65536 * value for value in matrix)
    content[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    assert np.corrcoef(features(path), upright)[0, 1] > 0.95


@pytest.mark.parametrize("name", ["narrow.mp4", "narrow.mkv"])
def test_pixels_that_are_not_square_are_stretched(tmp_path, upright, name):
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.sample_aspect_ratio = 2
        for _ in range(50):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(UP[:, ::2]), format="rgb24")))
        container.mux(stream.encode())
    assert np.corrcoef(features(tmp_path / name), upright)[0, 1] > 0.95


def test_a_clip_without_a_key_picture_at_its_start_is_masked_until_there_is_one(tmp_path):
    whole = coded_clip(tmp_path / "whole.mkv", 300, 25, g="100", bf="0", sc_threshold="0")
    with av.open(str(whole)) as given, av.open(str(tmp_path / "cut.mkv"), "w") as out:
        stream = given.streams.video[0]
        copy = out.add_stream_from_template(stream)
        for packet in [p for p in given.demux(stream) if p.size][30:]:
            packet.pts, packet.dts, packet.stream = packet.pts - 1200, packet.pts - 1200, copy
            out.mux(packet)
    frames, mask = frames_at(tmp_path / "cut.mkv", np.arange(270) / 25)
    assert mask.tolist() == [number >= 70 for number in range(270)]
    assert decode_numbers(frames[mask]).tolist() == list(range(100, 300))


@pytest.mark.parametrize("name", ["uneven.mp4", "uneven.mkv"])
def test_time_stamps_rule_where_the_rate_is_not_constant(tmp_path, name):
    # A frame each 40 ms, a gap of a second in which the last one stays, and a second of half the rate.
    stamps = np.concatenate([np.arange(50) / 25, 3 + np.arange(13) * 2 / 25])
    encode(tmp_path / name, map(numbered, range(63)), stamps=stamps, options={"bf": "2"})
    times = np.array([0, 0.04, 1.5, 1.96, 2.5, 2.98, 3, 3.05, 3.08, 3.5, 3.9])
    frames, mask = frames_at(tmp_path / name, times + 1e-3)
    assert mask.all()
    assert decode_numbers(frames).tolist() == (np.searchsorted(stamps, times + 1e-3, "right") - 1).tolist()
    assert not frames_at(tmp_path / name, [4.2])[1].any()


@pytest.mark.parametrize("name", ["even.avi", "even.mp4", "even.mkv", "even.ts"])
def test_a_constant_rate_is_the_same_in_every_container(tmp_path, name):
    coded_clip(tmp_path / name, 100, 25)
    frames, mask = frames_at(tmp_path / name, [0.4, 1.2, 2.0, 2.8, 3.6, 3.96, 4.0])
    assert mask.tolist() == [True] * 6 + [False]
    assert decode_numbers(frames[mask]).tolist() == [10, 30, 50, 70, 90, 99]


def test_avi_is_counted_and_a_wrong_rate_is_corrected(tmp_path):
    path = coded_clip(tmp_path / "a.avi", 200, 61)
    times = np.array([0.4, 1.2, 2.0, 3.0])
    for rate in (None, 60.9708, 30.0):
        frames, _ = frames_at(path, times, rate=rate)
        assert decode_numbers(frames).tolist() == np.rint(times * (rate or 61)).tolist()


def test_a_stream_of_one_picture_is_no_film(tmp_path):
    with av.open(str(tmp_path / "thumb.mkv"), "w") as container:
        cover, film = (container.add_stream("libx264", rate=25, options={"g": "1"}) for _ in range(2))
        for stream in (cover, film):
            stream.height, stream.width, stream.pix_fmt = 128, 160, "yuv420p"
        cover.height, cover.width = 256, 320
        picture = av.VideoFrame.from_ndarray(np.zeros((256, 320, 3), np.uint8), format="rgb24")
        container.mux(cover.encode(picture))
        container.mux(cover.encode())
        for number in range(100):
            container.mux(film.encode(av.VideoFrame.from_ndarray(numbered(number), format="rgb24")))
        container.mux(film.encode())
    frames, mask = frames_at(tmp_path / "thumb.mkv", [0.4, 2.0])
    assert mask.all() and decode_numbers(frames).tolist() == [10, 50]


def test_a_colon_in_a_name_is_no_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    coded_clip(tmp_path / "a.mp4", 50, 25).rename(tmp_path / "12:30.mp4")
    assert decode_numbers(frames_at("12:30.mp4", [1.0])[0]).tolist() == [25]


def zeroed(number, packet):
    return bytes(packet.size) if number == 42 else None


def flipped(number, packet):
    content, half = bytes(packet), packet.size // 2
    spoilt = content[:half] + bytes(255 ^ byte for byte in content[half : half + 8]) + content[half + 8 :]
    return spoilt if number == 42 else None


def lost(number, packet):
    return False if number == 42 else None


@pytest.mark.parametrize("change", [zeroed, flipped, lost])
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("b.mp4", {}),
        ("b.avi", {}),
        ("p.mkv", {"bf": "0"}),
        ("p.avi", {"bf": "0"}),
        ("open.mkv", {"x264-params": "open-gop=1:keyint=100"}),
    ],
)
def test_no_picture_after_damage_passes_as_sound(tmp_path, name, options, change):
    """A decoder that conceals: whatever is marked as seen is what was filmed, to the next key picture and after it."""
    whole = coded_clip(tmp_path / f"whole.{name[-3:]}", 200, 25, g="100", sc_threshold="0", **options)
    broken = remux(whole, tmp_path / name, change)
    frames, mask = frames_at(broken, np.arange(200) / 25)
    assert (decode_numbers(frames[mask]) == np.flatnonzero(mask)).all()
    assert mask[:36].all() and mask[105:].all() and not mask[50:95].any()
    n, n_masked = damage(broken)
    assert n in (199, 200) and 50 <= n_masked <= 65
    assert damage(whole) == (200, 0)


def test_intact_pictures_around_a_lost_one_stay_where_they_are(tmp_path):
    whole = coded_clip(tmp_path / "whole.avi", 100, 25, g="1", bf="0")
    frames, mask = frames_at(remux(whole, tmp_path / "x.avi", zeroed), np.arange(100) / 25)
    assert np.flatnonzero(~mask).tolist() == [42]
    assert decode_numbers(frames[mask]).tolist() == [number for number in range(100) if number != 42]


def test_a_clip_of_damage_is_refused_as_a_whole(tmp_path):
    whole = coded_clip(tmp_path / "whole.mp4", 200, 25, g="1000", sc_threshold="0")
    first = remux(whole, tmp_path / "first.mp4", lambda number, packet: bytes(packet.size) if number == 3 else None)
    with pytest.raises(UnusableClip, match=r"first.mp4: 17\d of 17\d pictures are damaged"):
        frames_at(first, np.arange(8.0))


def test_what_is_no_video_or_cut_off_is_named(tmp_path):
    whole = coded_clip(tmp_path / "whole.avi", 300, 25)
    content = whole.read_bytes()
    for name, part in (
        ("text.avi", b"no video"),
        ("head.avi", content[:300]),
        ("half.avi", content[: len(content) // 2]),
    ):
        (tmp_path / name).write_bytes(part)
        with pytest.raises(DataError, match=name):
            frames_at(tmp_path / name, [0.5, 11.0])
    with pytest.raises(DataError, match=r"none.avi"):
        clip_facts(tmp_path / "none.avi")


def test_one_face_box_for_a_clip_whichever_windows_are_taken(tmp_path):
    """A white square on black stands for a face; it moves, and the box is its median place."""
    pictures = np.zeros((100, 128, 128, 3), np.uint8)
    for number, picture in enumerate(pictures):
        picture[40:60, number // 2 : number // 2 + 20] = 255
    path = encode(tmp_path / "face.mp4", pictures)

    def find(picture):
        rows, columns = np.nonzero(picture[..., 0] > 128)
        return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1] if len(rows) else []

    box = face_box(path, find)
    centre, edge = (box[:2] + box[2:]) / 2 * 128, (box[2:] - box[:2]) * 128
    np.testing.assert_allclose(centre, [35, 50], atol=1.5)
    np.testing.assert_allclose(edge, 20 * 1.6, atol=2)
    frames, _ = frames_at(path, [2.0], 512)
    face = crop_to(frames, box, 64)
    assert face.shape == (1, 64, 64, 3) and face[0, 32, 32].min() > 200 and face[0, 2, 2].max() < 60
    assert face_box(encode(tmp_path / "nobody.mp4", pictures[:, ::-1] * 0), find) is None
