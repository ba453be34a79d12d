"""Which frame meets which sample: clips whose frames show their own number."""

import av
import numpy as np
import pandas as pd
import pytest

from cdgkd_utils.data import windows
from cdgkd_utils.data.constants import CHANNEL_ROWS, RATINGS
from cdgkd_utils.data.deap.dat_file import write_dat
from cdgkd_utils.data.deap.reader import RATINGS_FILE, read_deap
from cdgkd_utils.data.files.video import frames_at
from cdgkd_utils.data.windows import window_starts, windows_from_trials


def coded_clip(path, n_frames, fps=50, size=(160, 128)):
    """A clip whose frames show their number as ten black or white stripes in the central square."""
    width, height = size
    with av.open(str(path), "w", format="avi") as container:
        stream = container.add_stream("libx264", rate=fps, options={"bf": "3", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        left = (width - height) // 2
        for number in range(n_frames):
            picture = np.full((height, width, 3), 128, np.uint8)
            for bit in range(10):
                first = left + bit * height // 10
                picture[:, first : first + height // 10] = 255 * (number >> bit & 1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def decode_numbers(frames):
    columns = (2 * np.arange(10) + 1) * frames.shape[2] // 20
    return ((frames[:, frames.shape[1] // 2, columns, 1] > 127) << np.arange(10)).sum(axis=1)


def test_sample_384_meets_frame_0(tmp_path, monkeypatch):
    """Values that name their trial, channel and sample, and frames that name their number."""
    n_trials, n_times = 3, 384 + 2 * 512 + 100
    trial, chan, time = np.ogrid[:n_trials, :40, :n_times]
    data = trial * 16384.0 + chan * 128 + time / 16  # exact in float32, and each sample another
    labels = np.array([[1.0, 2, 3, 4], [5, 6, 7, 8], [9, 8, 7, 6]])
    for folder in ("data_preprocessed_python", "metadata_csv", "face_video/s07"):
        (tmp_path / folder).mkdir(parents=True)
    write_dat(tmp_path / "data_preprocessed_python/s07.dat", data, labels)
    order = [3, 1, 2]
    table = {"Participant_id": 7, "Trial": order, "Experiment_id": [1, 2, 3]}
    table |= dict(zip(("Valence", "Arousal", "Dominance", "Liking"), labels.T, strict=True))
    pd.DataFrame(table).sort_values("Trial").to_csv(tmp_path / RATINGS_FILE, index=False)
    for presentation in order:
        coded_clip(tmp_path / f"face_video/s07/s07_trial{presentation:02d}.avi", 300)
    coded_clip(tmp_path / "face_video/s07/s07_trial02.avi", 160)

    for row, one in enumerate(read_deap(tmp_path)):
        assert (one.subject, one.trial, one.presentation) == (7, row + 1, order[row])
        assert one.video.name == f"s07_trial{order[row]:02d}.avi"
        assert list(one.ratings.values()) == labels[row].tolist() and tuple(one.ratings) == RATINGS
        expected = row * 16384.0 + np.array(CHANNEL_ROWS)[:, None] * 128
        np.testing.assert_array_equal(one.eeg, expected + np.arange(384, n_times) / 16)
        np.testing.assert_array_equal(one.baseline, expected + np.arange(384) / 16)

    class Numbers:
        name, size, version = "number", 64, "1"

        def __call__(self, frames):
            features = np.repeat(decode_numbers(frames)[:, None], 768, axis=1).astype(np.float32)
            return features, np.ones(len(frames), bool)

        def close(self):
            pass

    monkeypatch.setattr(windows, "open_extractor", lambda name: Numbers())
    found = windows_from_trials(read_deap(tmp_path), 0, extractor="number")
    full = [[20, 60, 100, 140, 180], [220, 260, 0, 0, 0]]
    # Trial 3 was shown second and its clip ends after 3.2 s: its second window has no face and is left out.
    assert found.video[..., 0].tolist() == full + full + [[20, 60, 100, 140, 0]]
    assert found.frame_mask.tolist() == (found.video[..., 0] > 0).tolist()
    assert found.index[["trial", "window"]].to_numpy().tolist() == [[1, 0], [1, 1], [2, 0], [2, 1], [3, 0]]
    assert found.meta["dropped"] == 1
    assert (16 * found.eeg[:2, 0, 0]).tolist() == [384, 896]
    flat = windows_from_trials(read_deap(tmp_path), 0, extractor="number", baseline="subtract")
    # The baseline's mean sample is 191.5, in every channel and trial.
    np.testing.assert_array_equal(
        16 * flat.eeg,
        np.broadcast_to(np.arange(512) + 192.5, (5, 28, 512)) + 512 * np.array([0, 1, 0, 1, 0])[:, None, None],
    )


def test_windows_are_spread_evenly_and_do_not_overlap():
    assert window_starts(7680, 4).tolist() == [512, 2560, 4608, 6656]
    assert window_starts(7680, 1).tolist() == [7 * 512]
    assert window_starts(7680, 0).tolist() == window_starts(7680, 99).tolist() == list(range(0, 7680, 512))
    for n_windows in range(1, 16):
        starts = window_starts(7700, n_windows)
        assert len(starts) == n_windows and starts[-1] + 512 <= 7700
        assert (np.diff(starts) >= 512).all() and (n_windows < 2 or np.ptp(np.diff(starts)) <= 512)
    with pytest.raises(ValueError, match="n_samples"):
        window_starts(511, 1)
    with pytest.raises(ValueError, match="n_windows"):
        window_starts(512, -1)


@pytest.mark.parametrize(("fps", "size"), [(50, (160, 128)), (25, (200, 160)), (50, (128, 128))])
def test_frames_at_takes_exactly_the_wanted_frames(tmp_path, fps, size):
    coded_clip(tmp_path / "clip.avi", 120, fps, size)
    wanted = np.array([0, 119, 57, 57, 1, 118, 120, 5000])
    frames, mask = frames_at(tmp_path / "clip.avi", wanted / fps + 0.2 / fps)
    assert frames.shape == (8, 64, 64, 3) and frames.dtype == np.uint8
    assert mask.tolist() == [True] * 6 + [False] * 2
    assert decode_numbers(frames[:6]).tolist() == wanted[:6].tolist()
    assert not frames[6:].any()


def test_true_rate_overrides_the_header(tmp_path):
    coded_clip(tmp_path / "clip.avi", 120, fps=61)
    wanted = np.array([0, 59, 60, 61, 100])
    frames, mask = frames_at(tmp_path / "clip.avi", wanted / 60, rate=60)
    assert mask.all() and decode_numbers(frames).tolist() == wanted.tolist()
    frames, _ = frames_at(tmp_path / "clip.avi", wanted / 60)
    assert decode_numbers(frames).tolist() == [0, 60, 61, 62, 102]


@pytest.mark.parametrize("part", [0, 0.5])
def test_lost_packet_masks_its_frame_and_moves_no_other(tmp_path, part):
    """One frame of an all-key-frame clip is overwritten, wholly or from its middle: no other frame may change."""
    texture = np.random.default_rng(0).integers(-20, 21, (64, 64, 1))
    path = tmp_path / "clip.avi"
    with av.open(str(path), "w", format="avi") as container:
        stream = container.add_stream("libx264", rate=50, options={"g": "1", "bf": "0", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for level in range(20, 220, 10):
            picture = (level + np.repeat(texture, 3, axis=2)).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    raw = bytearray(path.read_bytes())
    position, length = packets[7]
    first = position + int(part * length)
    raw[first : position + length] = b"\xff" * (position + length - first)
    path.write_bytes(raw)
    frames, mask = frames_at(path, np.arange(20) / 50, 8)
    assert mask.tolist() == [number != 7 for number in range(20)]
    levels = frames[mask].mean(axis=(1, 2, 3))
    np.testing.assert_allclose(levels, [level for level in range(20, 220, 10) if level != 90], atol=3)
