"""What the product runs, against others' ways and against itself: ``python bench/speed.py`` writes bench/results.md.

Both sides of a ratio take turns within this run, so the ratios may be trusted; times hold for one machine. One thread
a process. ``--only NAME`` prints one section without writing. TorchEEG is no dependency: it is timed where it can be
imported.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from unittest.mock import patch

os.environ.setdefault("OMP_NUM_THREADS", "1")

import av
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cdgkd_utils.config import Params, n_cores
from cdgkd_utils.data import windows
from cdgkd_utils.data.files import read_dat
from cdgkd_utils.data.load import load_windows
from cdgkd_utils.data.twin import TwinSettings, files
from cdgkd_utils.data.video import frames_at
from cdgkd_utils.experiments.grid import GridConfig, plan, run
from cdgkd_utils.experiments.recipes import RECIPES
from cdgkd_utils.methods.distillation import DenseGuidance
from cdgkd_utils.methods.loss import CrossEntropy
from cdgkd_utils.models import build_model
from cdgkd_utils.models.layers import TemporalBlock, same_padding
from cdgkd_utils.training import Inputs, predict

HERE = Path(__file__).resolve().parent
BATCH = 128
GUIDES = ("teacher", "ta1", "ta2")
Row = tuple[str, str, str, str]  # what, measured, least to largest, goal


def rounds(cases: Sequence[Callable[[], object]], repeats: int, clock=time.process_time) -> np.ndarray:
    """Seconds of each case in each round, shape (n_cases, repeats); cases take turns, a first round is not counted."""
    seconds = np.empty((repeats + 1, len(cases)))
    for row in seconds:
        for place, case in enumerate(cases):
            start = clock()
            case()
            row[place] = clock() - start
    return seconds[1:].T


def ratio(what: str, slow: np.ndarray, fast: np.ndarray, goal: str) -> Row:
    ratios = slow / fast
    return what, f"{np.median(ratios):.2f} ×", f"{ratios.min():.2f} to {ratios.max():.2f}", goal


# ---- steps of training -------------------------------------------------------------------------


def random_inputs(n_windows: int) -> Inputs:
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(n_windows, 4, 28, 28, generator=generator)
    return Inputs(
        eeg=mixing @ mixing.transpose(2, 3) / 28,
        video=torch.randn(n_windows, 5, 768, generator=generator),
        frame_mask=torch.ones(n_windows, 5, dtype=torch.bool),
        labels=torch.randint(2, (n_windows,), generator=generator),
        train=torch.arange(n_windows),
        val=torch.arange(2),
        views={"signal": torch.randn(n_windows, 28, 512, generator=generator)},
    )


class AskedEachStep(DenseGuidance):
    """Dense guidance that runs its guides for every mini-batch."""

    def __init__(self, guides: dict[str, nn.Module], inputs: Inputs):
        super().__init__({name: torch.zeros(len(inputs.labels), 2) for name in guides})
        self.guides, self.inputs = list(guides.values()), inputs

    def __call__(self, output, labels: Tensor, rows: Tensor):
        for guide, logits in zip(self.guides, self.guide_logits, strict=True):
            logits[rows] = predict(guide, self.inputs, rows).logits
        return super().__call__(output, labels, rows)


def one_step(model: nn.Module, inputs: Inputs, loss: CrossEntropy, rows: Tensor) -> Callable[[], None]:
    """A step on one mini-batch as the training loop makes it."""
    optimizer = torch.optim.Adam(loss.param_groups(model), lr=1e-4, amsgrad=True, eps=1e-7, fused=True)
    model.train()

    def step() -> None:
        value = loss(model(*inputs.of(model, rows)), inputs.labels[rows], rows)
        optimizer.zero_grad(set_to_none=True)
        value.total.backward()
        loss.before_step(model, optimizer)
        optimizer.step()
        loss.after_step(model, inputs)

    return step


def steps() -> Iterator[Row]:
    """The paper's student: dense guidance by stored logits, by guides run in each step, and none."""
    inputs = random_inputs(2 * BATCH)
    guides = {name: build_model(name, seed, "reference") for seed, name in enumerate(GUIDES)}
    stored = {name: predict(guide, inputs, inputs.every_row).logits for name, guide in guides.items()}
    losses = [CrossEntropy(), DenseGuidance(stored), AskedEachStep(guides, inputs)]
    rows = torch.randperm(2 * BATCH, generator=torch.Generator().manual_seed(1))[:BATCH]
    plain, ours, again = rounds([one_step(build_model("student", 9, "reference"), inputs, x, rows) for x in losses], 5)
    for logits, name in zip(losses[2].guide_logits, GUIDES, strict=True):
        torch.testing.assert_close(logits[rows], stored[name][rows], rtol=1e-4, atol=1e-5)
    yield ratio("dense step (three guides, stored logits) over a step of cross-entropy", ours, plain, "≤ 1.05 ×")
    yield ratio("guides run in each step over guides stored", again, ours, "≥ 3 ×")


def temporal() -> Iterator[Row]:
    """The teacher's three temporal blocks, forward and backward, against convolution, LeakyReLU and pooling."""
    signal = random_inputs(32).views["signal"]
    blocks = [TemporalBlock(64, length, 8) for length in (64, 32, 16)]

    def plain(block: TemporalBlock) -> Tensor:
        padded = F.pad(signal.unsqueeze(1), same_padding(512, block.length, 1))
        return F.avg_pool2d(F.leaky_relu(F.conv2d(padded, block.convolution.weight), 0.3), (1, 8))

    for block in blocks:
        torch.testing.assert_close(block(signal), plain(block), rtol=1e-4, atol=1e-5)

    def step(way: Callable[[TemporalBlock], Tensor]) -> None:
        for block in blocks:
            way(block).sum().backward()

    chain, ours = rounds([lambda: step(plain), lambda: step(lambda block: block(signal))], 3)
    yield ratio("temporal convolutions of the paper's teacher: plain convolution over ours", chain, ours, "≥ 2 ×")


# ---- data --------------------------------------------------------------------------------------


def coded_clip(path: Path, n_frames: int) -> None:
    """720 x 576 at 50 frames a second, H.264 with B-frames in AVI, as DEAP's faces."""
    with av.open(str(path), "w", format="avi") as container:
        stream = container.add_stream("libx264", rate=50, options={"bf": "3", "preset": "veryfast", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = 720, 576, "yuv420p"
        noise = np.random.default_rng(0).integers(0, 200, (576, 720, 3), np.uint8)
        for number in range(n_frames):
            frame = av.VideoFrame.from_ndarray(np.roll(noise, 4 * number, axis=1), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def clips() -> Iterator[Row]:
    """Frames of a clip for all its windows, against decoding it from start to end and doing nothing with it."""
    with tempfile.TemporaryDirectory() as folder:
        path, n_frames = Path(folder, "clip.avi"), 400
        coded_clip(path, n_frames)
        times = np.arange(0.4, n_frames / 50 - 0.1, 0.8)

        def decode() -> None:
            with av.open(str(path)) as container:
                container.streams.video[0].codec_context.thread_count = 1
                for _ in container.decode(video=0):
                    pass

        plain, ours = rounds([decode, lambda: frames_at(path, times)], 5)
    yield ratio("frames of a clip, cut and reduced, over PyAV's plain decoding", ours, plain, "≤ 1.3 ×")


def deap() -> Iterator[Row]:
    """Two subjects' full-size .dat files to prepared windows, without clips, against TorchEEG's own steps."""
    with tempfile.TemporaryDirectory() as folder:
        root, rng = Path(folder, "DEAP"), np.random.default_rng(0)
        with patch.object(files, "_write_deap_clip", lambda path, *_: Path(path).touch()):
            files.write_deap(TwinSettings(n_subjects=2, n_trials=40), root, seconds=4, frame_size=64)
        for path in sorted((root / "data_preprocessed_python").glob("*.dat")):
            files.write_dat(path, rng.normal(0, 10, (40, 40, 8064)), read_dat(path)[1])
        params = Params(dataset="deap", data_root=str(root), profile="paper")

        def no_pictures(path: object, times: np.ndarray, size: int = 64, rate: float | None = None) -> tuple:
            return np.zeros((len(times), size, size, 3), np.uint8), np.ones(len(times), bool)

        def prepare() -> None:
            os.environ["CDGKD_HOME"] = tempfile.mkdtemp(dir=folder)
            load_windows(params, n_jobs=1)

        with patch.object(windows, "frames_at", no_pictures):
            ours = rounds([prepare], 3)[0] / 2
        yield "DEAP's .dat to prepared windows, a subject", f"{np.median(ours):.2f} s", "without its clips", ""
        if importlib.util.find_spec("torcheeg") is None:
            yield "TorchEEG 1.1.3 over ours, the same files", "not measured", "TorchEEG is not installed", "≥ 2 ×"
            return
        command = [sys.executable, "-W", "ignore", __file__, "--torcheeg", str(root / "data_preprocessed_python")]
        theirs = [float(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(3)]
    yield ratio("TorchEEG over ours, the same files", np.array(theirs) / 2, ours, "≥ 2 ×")


def torcheeg(folder: str) -> float:
    """Seconds of TorchEEG's own reading, cutting and storing."""
    from torcheeg.datasets import DEAPDataset

    with tempfile.TemporaryDirectory() as root:
        settings = {"chunk_size": 512, "num_channel": 32, "num_baseline": 3, "baseline_chunk_size": 128}
        start = time.perf_counter()
        DEAPDataset(root_path=folder, io_path=f"{root}/io", io_size=1 << 33, num_worker=0, verbose=False, **settings)
        return time.perf_counter() - start


# ---- grid --------------------------------------------------------------------------------------


def grid() -> Iterator[Row]:
    """24 students on two processes of dask against one process, and the plan of 10,000 runs."""
    from distributed import Client, LocalCluster

    with tempfile.TemporaryDirectory() as folder:
        os.environ["CDGKD_HOME"] = f"{folder}/first"
        load_windows(Params(profile="smoke"), n_jobs=1)
        names = [f"speed{place}" for place in range(24)]
        for place, name in enumerate(names):
            training = {"epochs": 200, "patience": 0, "learning_rate": 1e-3 * (1 + place / 24)}
            RECIPES[name] = replace(RECIPES["ce"], name=name, training=training, selection="last_epoch")
        small = {"profile": "smoke", "targets": ("valence",), "folds": 1}

        def timed(which: list[str], **where: object) -> float:
            home = tempfile.mkdtemp(dir=folder)
            os.environ["CDGKD_HOME"] = home
            Path(home, "prepared").symlink_to(Path(folder, "first", "prepared"))
            work = plan(GridConfig("speed", methods=tuple(which), **small))
            start = time.perf_counter()
            assert not any(outcome.error for outcome in run(work, progress=False, **where))
            return time.perf_counter() - start

        if n_cores() < 2:
            yield "24 runs: one process over two", "not measured", "needs two cores", "≥ 1.8 ×"
        else:
            with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster):
                on = cluster.scheduler_address
                timed(names[:4], on=on)  # makes both import what a run needs
                pairs = np.array([(timed(names, n_jobs=1), timed(names, on=on)) for _ in range(3)])
            yield ratio("24 runs: one process over two, start-up apart", *pairs.T, "≥ 1.8 ×")
        start = time.perf_counter()
        planned = plan(GridConfig("plan", profile="smoke", datasets=("twin", "twin_mahnob"), seeds=tuple(range(28))))
        took = (time.perf_counter() - start) * 10_000 / len(planned.runs)
        yield f"plan of 10,000 runs (from {len(planned.runs):,})", f"{took:.2f} s", "", "≤ 5 s"


SECTIONS = {"steps": steps, "temporal": temporal, "clips": clips, "deap": deap, "grid": grid}


def provenance() -> str:
    """Where the figures came from, without names of hosts, users or folders."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=HERE, capture_output=True, text=True, check=False).stdout.strip()

    commit = git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "--", "*.py") else "")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "numpy", "av", "distributed"))
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    return (
        f"Commit {commit or 'unknown'}, {datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, {versions}, "
        f"{platform.system()}, {torch.backends.cpu.get_cpu_capability()}, {n_cores()} cores, load before {load}."
    )


def main() -> None:
    """Measure, print, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=SECTIONS)
    parser.add_argument("--torcheeg", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.torcheeg:
        print(torcheeg(options.torcheeg))
        return
    head, rows = provenance(), []
    for name, section in SECTIONS.items():
        for row in section() if options.only in (None, name) else ():
            rows.append(row)
            print(" | ".join(row), flush=True)
    if options.only is None:
        lines = ["# Speed", "", (__doc__ or "").split("\n\n")[1].replace("\n", " "), "", head, ""]
        lines += ["| what | measured | least to largest | goal |", "|---|---|---|---|"]
        text = "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows), ""])
        (HERE / "results.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
