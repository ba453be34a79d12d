"""The reference family against a plain port: ``python bench/reference.py``.

The port (`port.py`) has the same parameters and computes the same function, checked before the clock starts. How the C
library keeps freed memory matters as much as the kernels, so each side is a process of its own with its own
environment: ours the documented one (the Makefile's), the port's the default, as someone would have it who only
installed PyTorch. Both sides under equal settings are shown too. The processes take turns, one step at a time; CPU
time, one thread each.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from measurement import Measurement, milliseconds, ratio, report
from port import plain_port
from torch import Tensor, nn
from torch.nn import functional as F

from cdgkd_utils.experiments.cluster import ENVIRONMENT
from cdgkd_utils.models.output import ModelOutput
from cdgkd_utils.models.reference import MODELS

BATCH = 128
REPEATS = 5
SHAPES = {"signal": (28, 512), "video": (5, 768)}
DOCUMENTED, DEFAULT = "documented", "default"


class TemporalBlocks(nn.Module):
    """The teacher's three temporal convolutions alone, with a readout that costs next to nothing."""

    inputs = ("signal",)

    def __init__(self):
        super().__init__()
        self.blocks = MODELS["teacher"]().eeg.temporal

    def forward(self, signal: Tensor) -> ModelOutput:
        per_filter = torch.cat([block(signal).mean((2, 3)) for block in self.blocks], dim=1)
        return ModelOutput(per_filter.unflatten(1, (2, -1)).sum(2), {})


NETWORKS = {"temporal convolutions": TemporalBlocks, **{name: MODELS[name] for name in ("teacher", "student")}}
# A kernel has to earn its place by itself: under equal settings, those that come with PyTorch. With the documented
# ones the chain of operations no longer asks the system for memory in each step, and the kernel wins less.
GOALS = {
    "temporal convolutions, training step: port over ours, both with the default settings": 1.7,
    "teacher, training step: port over ours": 2.0,
    "teacher, evaluation: port over ours": 3.0,
}


def training_step(model: nn.Module, inputs: list[Tensor], labels: Tensor) -> Callable[[], None]:
    """One step of the paper's optimiser."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, amsgrad=True, eps=1e-7, fused=True)

    def step() -> None:
        model.train()
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(*inputs).logits.float(), labels).backward()
        optimizer.step()

    return step


def evaluation(model: nn.Module, inputs: list[Tensor]) -> Callable[[], None]:
    """One pass without gradient."""

    def run() -> None:
        model.eval()
        with torch.no_grad():
            model(*inputs)

    return run


def build(kind: str, network: str) -> tuple[nn.Module, list[Tensor], Tensor]:
    """The same network, inputs and labels in every process, ours or as a plain port."""
    torch.manual_seed(0)
    model = NETWORKS[network]()
    inputs = [torch.randn(BATCH, *SHAPES[view]) for view in model.inputs]
    labels = torch.randint(2, (BATCH,))
    return (plain_port(model) if kind == "port" else model), inputs, labels


def serve(kind: str, network: str) -> None:
    """Do what each line of the standard input names, and answer with its CPU seconds."""
    model, inputs, labels = build(kind, network)
    cases = {"training step": training_step(model, inputs, labels), "evaluation": evaluation(model, inputs)}
    for line in sys.stdin:
        what, _, precision = line.strip().partition(", ")
        autocast = torch.autocast("cpu", torch.bfloat16) if precision else contextlib.nullcontext()
        start = time.process_time()
        with autocast:
            cases[what]()
        print(time.process_time() - start, flush=True)


class Side:
    """A process that serves one kind of network in one environment."""

    def __init__(self, kind: str, network: str, environment: str):
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
        settings = ENVIRONMENT if environment == DOCUMENTED else {"OMP_NUM_THREADS": "1"}
        arguments = [sys.executable, __file__, "--serve", kind, network]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(arguments, env=inherited | settings, **pipes)

    def seconds(self, what: str) -> float:
        """CPU seconds of one piece of work."""
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def end(self) -> None:
        """Close the input, upon which the process ends."""
        self.process.stdin.close()
        self.process.wait()


def compare(network: str, sides: tuple[tuple[str, str], ...], works: tuple[str, ...]) -> dict:
    """CPU seconds by kind, environment and work: arrays of shape (REPEATS,), of turns after one that is not counted."""
    with contextlib.ExitStack() as stack:
        running = {}
        for kind, environment in sides:
            running[kind, environment] = side = Side(kind, network, environment)
            stack.callback(side.end)
        found = {}
        for what in works:
            turns = [[side.seconds(what) for side in running.values()] for _ in range(REPEATS + 1)][1:]
            found |= {(*key, what): column for key, column in zip(running, np.array(turns).T, strict=True)}
    return found


def check_equal(network: str) -> None:
    """Stop unless the port computes what our network does."""
    (ours, inputs, _), (port, *_) = build("ours", network), build("port", network)
    few = [value[:8] for value in inputs]
    with torch.no_grad():
        a, b = ours.eval()(*few).logits, port.eval()(*few).logits
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def measurements() -> Iterator[Measurement]:
    every = tuple((kind, environment) for kind in ("port", "ours") for environment in (DOCUMENTED, DEFAULT))
    for network in NETWORKS:
        check_equal(network)
        cpu = compare(network, every, ("training step", "evaluation"))
        for what in ("training step", "evaluation"):
            name, ours = f"{network}, {what}: port over ours", cpu["ours", DOCUMENTED, what]
            yield ratio(name, cpu["port", DEFAULT, what], ours, at_least=GOALS.get(name),
                        note="port with the default allocator, ours with the documented settings")  # fmt: skip
            for environment in (DOCUMENTED, DEFAULT):
                equal = f"{name}, both with the {environment} settings"
                same = cpu["port", environment, what], cpu["ours", environment, what]
                yield ratio(equal, *same, at_least=GOALS.get(equal))
            yield milliseconds(f"{network}, {what}: ours, batch {BATCH}", ours)
        if network in MODELS:
            yield from bfloat16(network)


def bfloat16(network: str) -> Iterator[Measurement]:
    """For information: what PyTorch's automatic bfloat16 would save, and how far it is off."""
    works = ("training step", "evaluation")
    cpu = compare(network, (("ours", DOCUMENTED),), (*works, *(f"{what}, bfloat16" for what in works)))
    for what in works:
        single, half = (cpu["ours", DOCUMENTED, name] for name in (what, f"{what}, bfloat16"))
        yield ratio(f"{network}, {what}: float32 over bfloat16, ours", single, half, note="one after the other")
    model, inputs, _ = build("ours", network)
    with torch.no_grad():
        exact = model.eval()(*inputs).logits
        with torch.autocast("cpu", torch.bfloat16):
            off = model(*inputs).logits - exact
    share = 100 * float(off.abs().max() / exact.std())
    yield Measurement(f"{network}: largest error of a logit in bfloat16", share, "% of their sd")


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1:2] == ["--serve"]:
        serve(*sys.argv[2:])
    else:
        report(measurements, __doc__)
