"""The paper's chain with the paper's networks, wherever torch trains: ``python bench/reference_chain.py``.

Teacher, both assistants and student are trained one after the other as a grid trains them (`fit`, the recipes' losses,
guides' logits once) on random windows of DEAP's shape: all of one DEAP on a GPU, few on a CPU. For each network and
batch size windows per second, and which share of what a large matrix product reaches on the same device in the same
precision. ``CDGKD_DEVICE`` and ``CDGKD_PRECISION`` choose the two. Wall time; no figure has a goal.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from measurement import Measurement, line, write_json
from steps import random_inputs
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from workloads import N_STORED

from cdgkd_utils.config import PROFILES
from cdgkd_utils.experiments.losses import build_loss
from cdgkd_utils.experiments.recipes import RECIPES
from cdgkd_utils.experiments.runs import FAMILY_TRAINING
from cdgkd_utils.models import build_model
from cdgkd_utils.training import Inputs, TrainSettings, fit, predict
from cdgkd_utils.training.device import training_device
from cdgkd_utils.training.precision import forward, training_precision

CHAIN = (*RECIPES["cdgkd"].guides, "cdgkd")
FEW = 256  # training windows on a CPU
EPOCHS = 3  # timed, after one that is not
BATCHES = {"cpu": (128,), "cuda": (128, 512, 2048)}
SIDE = {"cpu": 1024, "cuda": 8192}  # of the square matrices multiplied


def flop_per_window(model: nn.Module, inputs: Inputs, precision: str) -> float:
    """Multiplications and additions of the matrix products and convolutions of one window, there and back."""
    rows = inputs.train[:4]
    model.train()
    with FlopCounterMode(display=False) as counter:
        torch.nn.functional.cross_entropy(forward(model, inputs.of(model, rows), precision).logits,
                                          inputs.labels[rows]).backward()  # fmt: skip
    model.zero_grad()
    return counter.get_total_flops() / len(rows)


def peak(device: torch.device, precision: str, seconds: float = 1.0) -> float:
    """FLOP/s of a large matrix product: the best of as many as fit into `seconds`."""
    n = SIDE[device.type]
    a, b = torch.randn(2, n, n, device=device, dtype=getattr(torch, precision))

    def once() -> float:
        start = time.perf_counter()
        (a @ b).sum().item()  # waits for the device
        return time.perf_counter() - start

    once()
    best, end = once(), time.perf_counter() + seconds
    while time.perf_counter() < end:
        best = min(best, once())
    return 2 * n**3 / best


def measurements(n_windows: int, batches: tuple[int, ...], epochs: int) -> Iterator[Measurement]:
    """Figures of every batch size, network by network, then the chain's.

    Parameters
    ----------
    n_windows : int
        Training windows.
    batches : tuple of int
        Windows per step.
    epochs : int
        Timed epochs of every network.
    """
    device, precision = training_device(), training_precision()
    inputs = random_inputs(n_windows).to(device)
    best = peak(device, precision)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU, one thread"
    yield Measurement(f"matrix product, {precision}", best / 1e12, "TFLOP/s", note=where)
    whole = PROFILES["paper"].teacher_epochs
    for batch in batches:
        guides, per_window = {}, 0.0
        for name in CHAIN:
            recipe = RECIPES[name]
            model = build_model(recipe.model, 0, "reference").to(device)
            flop = flop_per_window(model, inputs, precision)
            training = FAMILY_TRAINING["reference"] | {"batch_size": batch, "precision": precision}
            settings = TrainSettings(epochs=epochs + 1, selection="last_epoch", **training)
            heard = {guide: guides[guide] for guide in recipe.guides}
            loss = build_loss(recipe, heard, model, inputs, settings, 0, "reference")
            log = fit(model, inputs, loss, settings, seed=0).log
            guides[name] = SimpleNamespace(logits=predict(model, inputs, inputs.every_row).logits)
            speed = n_windows / log["seconds"].to_numpy()[1:]
            middle, what = float(np.median(speed)), f"{name}, batch {batch}"
            per_window += 1 / middle
            yield Measurement(f"{what}: training", middle, "windows/s", float(speed.min()), float(speed.max()),
                              note=f"{flop / 1e9:.3g} GFLOP a window")  # fmt: skip
            yield Measurement(f"{what}: share of the matrix product", 100 * flop * middle / best, "%")
        hours, chain = per_window * N_STORED * whole / 3600, f"chain of {len(CHAIN)}, {N_STORED:,} windows"
        yield Measurement(f"{chain}, {whole} epochs each, batch {batch}", hours, "h",
                          note=f"none stopped early; timed: {n_windows} windows, {epochs} of the epochs")  # fmt: skip


def main() -> None:
    device = training_device().type
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--windows", type=int, default=N_STORED if device == "cuda" else FEW, help="to train on")
    parser.add_argument("--batches", default=",".join(map(str, BATCHES[device])), help="sizes, with commas between")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="to be timed, of every network")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()
    try:
        batches = tuple(int(size) for size in options.batches.split(","))
    except ValueError:
        parser.error(f"--batches: expected whole numbers with commas between, got {options.batches!r}")
    if options.epochs < 1 or min(batches) < 2 or options.windows < max(batches):
        parser.error("expected --epochs of at least 1, --batches of at least 2 and --windows of at least the largest")
    found = []
    for measurement in measurements(options.windows, batches, options.epochs):
        found.append(measurement)
        print(line(measurement), flush=True)
        if options.json:
            write_json(options.json, [asdict(one) for one in found])


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
