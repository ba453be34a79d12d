"""What the product runs, against others' ways and against itself: ``python bench/speed.py`` writes bench/results.md.

Both sides of a ratio take turns within this run, so the ratios may be trusted; times hold for one machine. One thread
a process. ``--only NAME`` prints one section without writing. TorchEEG is timed where it is installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import subprocess
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
from torch import Tensor
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


def steps() -> Iterator[Row]:
    """The paper's student: a step without guides, with stored logits, and with guides that are run in each step."""
    inputs, rows = random_inputs(2 * BATCH), torch.arange(0, 2 * BATCH, 2)
    guides = {name: build_model(name, seed, "reference") for seed, name in enumerate(("teacher", "ta1", "ta2"))}
    stored = {name: predict(guide, inputs, inputs.every_row).logits for name, guide in guides.items()}
    dense = DenseGuidance(stored)

    def step(loss: CrossEntropy, asked: bool = False) -> Callable[[], None]:
        model = build_model("student", 9, "reference").train()
        optimizer = torch.optim.Adam(loss.param_groups(model), lr=1e-4, amsgrad=True, eps=1e-7, fused=True)

        def run() -> None:  # as the training loop makes a step
            for name in guides if asked else ():
                stored[name][rows] = predict(guides[name], inputs, rows).logits
            value = loss(model(*inputs.of(model, rows)), inputs.labels[rows], rows)
            optimizer.zero_grad(set_to_none=True)
            value.total.backward()
            loss.before_step(model, optimizer)
            optimizer.step()
            loss.after_step(model, inputs)

        return run

    plain, ours, again = rounds([step(CrossEntropy()), step(dense), step(dense, asked=True)], 5)
    yield ratio("dense step (three guides, stored logits) over a step of cross-entropy", ours, plain, "≤ 1.05 ×")
    yield ratio("guides run in each step over guides stored", again, ours, "≥ 3 ×")


def temporal() -> Iterator[Row]:
    """The teacher's three temporal blocks, forward and backward, against convolution, LeakyReLU and pooling."""
    signal = random_inputs(32).views["signal"]
    blocks = [TemporalBlock(64, length, 8) for length in (64, 32, 16)]

    def plain(block: TemporalBlock) -> Tensor:
        padded = F.pad(signal.unsqueeze(1), same_padding(512, block.length, 1))
        return F.avg_pool2d(F.leaky_relu(F.conv2d(padded, block.convolution.weight), 0.3), (1, 8))

    def step(way: Callable[[TemporalBlock], Tensor]) -> None:
        for block in blocks:
            way(block).sum().backward()

    for block in blocks:
        torch.testing.assert_close(block(signal), plain(block), rtol=1e-4, atol=1e-5)
    chain, ours = rounds([lambda: step(plain), lambda: step(lambda block: block(signal))], 3)
    yield ratio("temporal convolutions of the paper's teacher: plain convolution over ours", chain, ours, "≥ 2 ×")


def clips() -> Iterator[Row]:
    """Frames for all windows of a clip as DEAP's, 720 x 576 at 50 a second in AVI, against decoding and no more."""
    with tempfile.TemporaryDirectory() as folder:
        path, noise = Path(folder, "clip.avi"), np.random.default_rng(0).integers(0, 200, (576, 720, 3), np.uint8)
        files.write_clip(path, 50, (np.roll(noise, 4 * number, axis=1) for number in range(400)))

        def decode() -> None:
            with av.open(str(path)) as container:
                container.streams.video[0].codec_context.thread_count = 1
                for _ in container.decode(video=0):
                    pass

        plain, ours = rounds([decode, lambda: frames_at(path, np.arange(0.4, 7.9, 0.8))], 5)
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

        def torcheeg() -> None:
            from torcheeg.datasets import DEAPDataset

            place = {
                "root_path": str(root / "data_preprocessed_python"),
                "io_path": tempfile.mkdtemp(dir=folder) + "/io",
            }
            cut = {"chunk_size": 512, "num_channel": 32, "num_baseline": 3, "baseline_chunk_size": 128}
            DEAPDataset(**place, **cut, io_size=1 << 33, num_worker=0, verbose=False)

        there = importlib.util.find_spec("torcheeg") is not None
        with patch.object(windows, "frames_at", no_pictures):
            ours, *theirs = rounds([prepare, *[torcheeg] * there], 3)
    yield "DEAP's .dat to prepared windows, a subject", f"{np.median(ours) / 2:.2f} s", "without its clips", ""
    if there:
        yield ratio("TorchEEG over ours, the same files", theirs[0], ours, "≥ 2 ×")


def grid() -> Iterator[Row]:
    """24 students on two processes of dask against one process, and the plan of 10,000 runs."""
    from distributed import Client, LocalCluster

    names = [f"speed{place}" for place in range(24)]
    for place, name in enumerate(names):
        training = {"epochs": 200, "patience": 0, "learning_rate": 1e-3 * (1 + place / 24)}
        RECIPES[name] = replace(RECIPES["ce"], name=name, training=training, selection="last_epoch")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CDGKD_HOME"] = f"{folder}/first"
        load_windows(Params(profile="smoke"), n_jobs=1)

        def timed(which: list[str], **where: object) -> float:
            home = tempfile.mkdtemp(dir=folder)
            os.environ["CDGKD_HOME"] = home
            Path(home, "prepared").symlink_to(Path(folder, "first", "prepared"))
            work = plan(GridConfig("speed", methods=tuple(which), profile="smoke", targets=("valence",), folds=1))
            start = time.perf_counter()
            assert not any(outcome.error for outcome in run(work, progress=False, **where))
            return time.perf_counter() - start

        if n_cores() > 1:
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
    git = {"cwd": HERE, "capture_output": True, "text": True, "check": False}
    commit = subprocess.run(["git", "describe", "--always", "--dirty=+", "--abbrev=12"], **git).stdout.strip()
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "numpy", "av", "distributed"))
    return (
        f"Commit {commit or 'unknown'}, {datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, {versions}, "
        f"{platform.system()}, {n_cores()} cores, load before {os.getloadavg()[0]:.1f}."
    )


def main() -> None:
    """Measure, print, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    only = parser.add_argument("--only", choices=SECTIONS) and parser.parse_args().only
    torch.set_num_threads(1)
    head, rows = provenance(), []
    for name in [only] if only else SECTIONS:
        for row in SECTIONS[name]():
            rows.append(f"| {' | '.join(row)} |")
            print(rows[-1], flush=True)
    if not only:
        about = __doc__.split("\n\n")[1].replace("\n", " ").strip()
        table = ["| what | measured | least to largest | goal |", "|---|---|---|---|", *rows, ""]
        (HERE / "results.md").write_text("\n".join(["# Speed", "", about, "", head, "", *table]), encoding="utf-8")


if __name__ == "__main__":
    main()
