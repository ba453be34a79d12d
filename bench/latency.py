"""How long the student takes on one core: ``python bench/latency.py [--rounds 30] [--profile smoke]``.

From a clip of one window of 4 s to P(high): decoding, features of five frames, network; by torch and, where the extra
'onnx' is installed, by onnxruntime. Clips are the twin's face in H.264: as a webcam films (640 x 480, 30 frames per
second, x264's default quality), as the twin's small tree holds them (160 x 128, 50) and in DEAP's size (720 x 576, 50).
Median and 95th percentile of the wall clock and the median of the processor's time in ms; on a busy machine the last
one tells more. The run is read back, or trained first.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy and torch read it

import av
import numpy as np
import torch
from cdgkd_utils.deploy.onnx_file import OnnxStudent, onnx_missing, write_onnx
from threadpoolctl import threadpool_limits

from cdgkd_utils.config import Params
from cdgkd_utils.data.extractors import extractor
from cdgkd_utils.data.files.video import frames_at
from cdgkd_utils.data.twin import TwinSettings, plan_subject
from cdgkd_utils.data.twin.face import face_track, render
from cdgkd_utils.data.windows import FRAME_OFFSETS
from cdgkd_utils.deploy.clip import read_clip
from cdgkd_utils.deploy.student import deploy
from cdgkd_utils.experiments.runs import Experiment
from cdgkd_utils.experiments.study import Study


def timed(call, rounds: int) -> str:
    """Median, 95th percentile, median of the processor's time, after one call that opens what is to be opened."""
    call()
    took = []
    for _ in range(rounds):
        start = time.perf_counter(), time.process_time()
        call()
        took.append((1000 * (time.perf_counter() - start[0]), 1000 * (time.process_time() - start[1])))
    wall, processor = np.array(took).T
    return f"{np.median(wall):8.1f}{np.percentile(wall, 95):8.1f}{np.median(processor):8.1f}"


def film(path: Path, width: int, height: int, rate: int, crf: int) -> None:
    """Four seconds of the twin's face in the middle of a picture."""
    settings = TwinSettings(n_subjects=1, n_trials=1, n_windows=1)
    track = face_track(settings, plan_subject(settings, 1), 0)
    with av.open(str(path), "w") as container:
        options = {"crf": str(crf), "preset": "veryfast", "threads": "1"}
        stream = container.add_stream("libx264", rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        margin = (width - height) // 2
        for face in render(track, np.arange(4 * rate) / rate, height):
            picture = np.pad(face, ((0, 0), (margin, margin), (0, 0)), mode="edge")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def measure(rounds: int, profile: str) -> None:
    experiment = Experiment(Study(Params(profile=profile)), "valence", fold=0)
    student = deploy(experiment, experiment.run("cdgkd", progress=True))
    hog = extractor("hog")
    print(f"{'ms on one core':<48}{'median':>8}{'95 %':>8}{'CPU':>8}")
    with tempfile.TemporaryDirectory() as scratch:
        runtimes = {"torch": student}
        if reason := onnx_missing():
            print(reason)
        else:
            runtimes["onnx"] = OnnxStudent(write_onnx(student, Path(scratch)))
        for width, height, rate, crf in ((640, 480, 30, 23), (160, 128, 50, 10), (720, 576, 50, 23)):
            path, what = Path(scratch, f"{height}.mp4"), f"{width} x {height}, {rate}/s"
            film(path, width, height, rate, crf)
            clip, frames = read_clip(path), frames_at(path, FRAME_OFFSETS, hog.size)[0]
            calls = {
                "decoding": lambda p=path: frames_at(p, FRAME_OFFSETS, hog.size),
                "features of five frames": lambda f=frames: hog(f),
            }
            for name, predict in runtimes.items():
                calls[f"network, {name}"] = lambda p=predict, c=clip: p(c.features, c.mask)
                calls[f"clip to P(high), {name}"] = lambda p=predict, f=path: read_clip(f).answer(p)
            for name, call in calls.items():
                print(f"{f'{what}: {name}':<48}{timed(call, rounds)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--profile", default="quick")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        measure(arguments.rounds, arguments.profile)


if __name__ == "__main__":
    main()
