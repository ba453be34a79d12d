"""What preparing costs, each figure next to its rival's in the same run: ``python bench/prepare.py``.

Full-size ``.dat`` files to the cache; differential entropy; frames of H.264 clips. Memory: ``bench/memory.py``.
One process, one thread. TorchEEG takes part if it is installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import av
import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from cdgkd_utils.data.constants import BANDS, BASELINE_SAMPLES, CHANNEL_ROWS, RATINGS, SFREQ, WINDOW_SAMPLES
from cdgkd_utils.data.deap.dat_file import read_dat, write_dat
from cdgkd_utils.data.files.video import _central_square, frames_at
from cdgkd_utils.data.load import prepared
from cdgkd_utils.data.types import Windows

N_BITS = 12  # stripes of a coded picture


def clock(run: Callable[[], object], repeats: int) -> float:
    """Least seconds of some runs."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def dat_windows(path: Path, subject: int, mapped: bool = True, n_features: int = 768) -> Windows:
    """All windows of a ``.dat`` file; features are zeros, for no clip is read here."""
    data, labels = read_dat(path, mapped)
    n_windows = (data.shape[2] - BASELINE_SAMPLES) // WINDOW_SAMPLES
    n = len(data) * n_windows
    eeg = np.empty((len(data), n_windows, len(CHANNEL_ROWS), WINDOW_SAMPLES), np.float32)
    stop = BASELINE_SAMPLES + n_windows * WINDOW_SAMPLES
    for trial, rows in zip(eeg, data, strict=True):
        for place, chan in enumerate(CHANNEL_ROWS):
            trial[:, place] = rows[chan, BASELINE_SAMPLES:stop].reshape(n_windows, WINDOW_SAMPLES)
    trials = np.repeat(np.arange(len(data)), n_windows)
    index = pd.DataFrame({"subject": subject, "trial": trials + 1, "presentation": trials + 1})
    index["stimulus"], index["window"] = [f"stimulus-{trial + 1:02d}" for trial in trials], np.arange(n) % n_windows
    index[list(RATINGS)] = labels[trials]
    video, mask = np.zeros((n, 5, n_features), np.float32), np.ones((n, 5), bool)
    return Windows(eeg.reshape(n, *eeg.shape[2:]), video, mask, index, meta={"name": "bench"})


def to_cache(paths: list[Path], mapped: bool) -> None:
    parts = {path.stem: partial(dat_windows, path, subject, mapped) for subject, path in enumerate(paths, 1)}
    with tempfile.TemporaryDirectory(dir=paths[0].parent.parent) as root:
        prepared({"mapped": mapped}, parts, Path(root))


def to_lmdb(folder: Path) -> None:
    from torcheeg.datasets import DEAPDataset

    with tempfile.TemporaryDirectory(dir=folder.parent) as root:
        DEAPDataset(
            root_path=str(folder),
            io_path=f"{root}/io",
            chunk_size=WINDOW_SAMPLES,
            num_channel=32,
            num_baseline=3,
            baseline_chunk_size=128,
            io_mode="lmdb",
            io_size=1 << 33,
            num_worker=0,
            verbose=False,
        )


def dat_files(root: Path, repeats: int) -> dict[str, float]:
    folder = root / "data_preprocessed_python"
    folder.mkdir()
    rng = np.random.default_rng(0)
    paths = [folder / "s01.dat", folder / "s02.dat"]
    for path in paths:
        write_dat(path, rng.normal(0, 10, (40, 40, 8064)), rng.uniform(1, 9, (40, 4)))
    out = {
        "cache, zero copy, s per subject": clock(lambda: to_cache(paths, True), repeats) / 2,
        "cache, unpickled, s per subject": clock(lambda: to_cache(paths, False), repeats) / 2,
        "raw read of the bytes, s per subject": clock(lambda: [np.fromfile(p, np.uint8) for p in paths], repeats) / 2,
        "read_dat, zero copy, s per subject": clock(lambda: [read_dat(p) for p in paths], repeats) / 2,
        "read_dat, unpickled, s per subject": clock(lambda: [read_dat(p, False) for p in paths], repeats) / 2,
    }
    for way in ("zero copy", "unpickled"):
        spent = out[f"cache, {way}, s per subject"]
        out[f"cache, {way}: times the raw read"] = spent / out["raw read of the bytes, s per subject"]
    if importlib.util.find_spec("torcheeg") is None:
        out["TorchEEG is not installed"] = np.nan
        return out
    try:
        theirs = {where: torcheeg_seconds(folder, keep) / 2 for where, keep in (("", False), (", our allocator", True))}
    except subprocess.CalledProcessError as error:
        out[f"TorchEEG cannot be run ({error.stderr.strip().splitlines()[-1]})"] = np.nan
        return out
    for where, spent in theirs.items():
        out[f"TorchEEG to LMDB{where}, s per subject"] = spent
        for way in ("zero copy", "unpickled"):
            out[f"cache, {way}: times faster than TorchEEG{where}"] = spent / out[f"cache, {way}, s per subject"]
    return out


def torcheeg_seconds(folder: Path, keep_allocator: bool) -> float:
    """Seconds that TorchEEG takes for the files of a folder, in a process of its own; the better of two.

    With the default settings of the C library's allocator, as whoever installs TorchEEG has it, or with those that
    this project documents, if they are set here.
    """
    environment = {k: v for k, v in os.environ.items() if keep_allocator or not k.startswith("MALLOC_")}
    command = [sys.executable, "-W", "ignore", __file__, "--torcheeg", str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def entropy(repeats: int, n_windows: int = 100) -> dict[str, float]:
    from scipy.signal import butter, lfilter

    from cdgkd_utils.data.eeg_features import differential_entropy

    windows = np.random.default_rng(0).normal(0, 10, (n_windows, 28, WINDOW_SAMPLES)).astype(np.float32)

    def loop(per_channel: bool) -> np.ndarray:
        out = np.empty((n_windows, 28, len(BANDS)))
        for w, window in enumerate(windows):
            for band, edges in enumerate(BANDS.values()):
                for rows in range(28) if per_channel else [slice(None)]:
                    b, a = butter(5, edges, btype="bandpass", fs=SFREQ)
                    variance = lfilter(b, a, window[rows].astype(float)).var(axis=-1)
                    out[w, rows, band] = 0.5 * np.log(2 * np.pi * np.e * variance)
        return out

    ours = clock(lambda: differential_entropy(windows), max(3, repeats))
    np.testing.assert_allclose(differential_entropy(windows), loop(True), rtol=1e-9)
    channel, window = clock(lambda: loop(True), 1), clock(lambda: loop(False), repeats)
    return {
        "vectorised, ms per window": 1e3 * ours / n_windows,
        "filter designed for each window and channel: times slower": channel / ours,
        "filter designed for each window: times slower": window / ours,
    }


def coded_clip(path: Path, n_frames: int, size: tuple[int, int] = (720, 576)) -> None:
    """H.264 in AVI with three B-frames; the stripes of each picture are its number."""
    with av.open(str(path), "w", format="avi") as container:
        stream = container.add_stream("libx264", rate=50, options={"bf": "3", "preset": "veryfast", "threads": "1"})
        (stream.width, stream.height), stream.pix_fmt = size, "yuv420p"
        noise = np.random.default_rng(0).integers(0, 40, (size[1], size[0], 3), np.uint8)
        for number in range(n_frames):
            picture, left, side = noise.copy(), (size[0] - size[1]) // 2, size[1]
            for bit in range(N_BITS):
                columns = slice(left + bit * side // N_BITS, left + (bit + 1) * side // N_BITS)
                picture[:, columns] += np.uint8(180 * (number >> bit & 1))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def numbers_in(frames: np.ndarray) -> np.ndarray:
    middles = (2 * np.arange(N_BITS) + 1) * frames.shape[2] // (2 * N_BITS)
    return ((frames[:, frames.shape[1] // 2, middles, 1] > 110) << np.arange(N_BITS)).sum(axis=1)


def seeking(path: Path, times: np.ndarray) -> np.ndarray:
    """Each frame by its own seek: to the key frame before it, then on to its time stamp."""
    from cdgkd_utils.data.extractors.hog768 import box_reduce

    frames = np.zeros((len(times), 64, 64, 3), np.uint8)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for place, wanted in enumerate(times):
            container.seek(int(wanted / stream.time_base), stream=stream)
            for frame in container.decode(stream):
                stamp = frame.pts if frame.pts is not None else frame.dts
                if stamp is not None and float(stamp * stream.time_base) >= wanted - 0.01:
                    break
            frames[place] = box_reduce(_central_square(frame)[None], 64)
    return frames


def video(root: Path, n_frames: int, repeats: int) -> dict[str, float]:
    path = root / "clip.avi"
    coded_clip(path, n_frames)
    times = np.arange(0.4, n_frames / 50 - 0.1, 0.8)
    wanted = np.rint(times * 50).astype(int)
    ours, theirs = frames_at(path, times)[0], seeking(path, times)
    sequential, sought = clock(lambda: frames_at(path, times), repeats), clock(lambda: seeking(path, times), 1)
    return {
        "sequential, ms per frame used": 1e3 * sequential / len(times),
        "a seek for each frame: times slower": sought / sequential,
        "sequential: share of exact frames": float(np.mean(numbers_in(ours) == wanted)),
        "a seek for each frame: share of exact frames": float(np.mean(numbers_in(theirs) == wanted)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--torcheeg", type=Path, help=argparse.SUPPRESS)  # see torcheeg_seconds
    parser.add_argument("--frames", type=int, default=2952, help="of the clip; DEAP's have 2952")
    options = parser.parse_args()
    if options.torcheeg:
        import torcheeg.datasets  # noqa: F401  (its import is not counted)

        with threadpool_limits(1):
            sys.stdout.write(f"\n{clock(lambda: to_lmdb(options.torcheeg), 2)}\n")
        return
    with threadpool_limits(1), tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        sections = {
            ".dat to cache": dat_files(root, options.repeats),
            "differential entropy": entropy(options.repeats),
            "video": video(root, options.frames, options.repeats),
        }
    for title, figures in sections.items():
        print(f"\n{title}")
        print(pd.Series(figures).round(4).to_string())


if __name__ == "__main__":
    main()
