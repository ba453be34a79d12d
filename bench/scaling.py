"""How cost grows: ``python bench/scaling.py [--figures FOLDER]``.

CPU and wall time against the number of windows, subjects, guides, runs and planned runs, with the exponent p of
cost ∝ size^p: slope of a straight line through the logarithms, 95 % t-interval over the sizes. "Linear from" is the
least size from which on the exponent, fitted to it and all larger ones, is within 0.1 of 1.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from grid import fresh_home, in_this_process, small_runs, smoke_homes
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, StrMethodFormatter
from measurement import Measurement, report, write_json
from provenance import provenance
from scipy.stats import linregress, t
from steps import random_inputs

from cdgkd_utils.config import TARGETS
from cdgkd_utils.data.twin.generator import TwinSettings, prepare_twin
from cdgkd_utils.data.twin.leadfield import leadfield
from cdgkd_utils.experiments.configs import GridConfig
from cdgkd_utils.experiments.plan import plan_config
from cdgkd_utils.methods.distillation import DenseGuidance
from cdgkd_utils.methods.loss import CrossEntropy
from cdgkd_utils.models.output import ModelOutput
from cdgkd_utils.models.registry import build_model
from cdgkd_utils.training import TrainSettings, fit
from cdgkd_utils.viz import style

REPEATS = 5
TOLERANCE = 0.1  # of an exponent that counts as 1
LEAST_POINTS = 3  # of a fitted line


@dataclass(frozen=True)
class Curve:
    """Cost by size.

    Attributes
    ----------
    name : str
        What was done.
    axis : str
        What `sizes` counts.
    sizes : tuple of int
    cpu, wall : tuple of float
        Median seconds at each size.
    """

    name: str
    axis: str
    sizes: tuple[int, ...]
    cpu: tuple[float, ...]
    wall: tuple[float, ...]

    def exponent(self, start: int = 0) -> tuple[float, float, float]:
        """Exponent of the sizes from place `start` on, with the ends of its interval."""
        line = linregress(np.log(self.sizes[start:]), np.log(self.cpu[start:]))
        reach = t.ppf(0.975, len(self.sizes) - start - 2) * line.stderr
        return float(line.slope), float(line.slope - reach), float(line.slope + reach)

    @property
    def linear_from(self) -> int | None:
        """Least size from which on the cost is linear; None if there is no such size."""
        for start in range(len(self.sizes) - LEAST_POINTS + 1):
            if abs(self.exponent(start)[0] - 1) <= TOLERANCE:
                return self.sizes[start]
        return None


def curve(name: str, axis: str, sizes: Sequence[int], work: Callable[[int], Callable[[], object]]) -> Curve:
    """Time `work` at each size; the sizes take turns, and a first turn is not counted."""
    cases = [work(size) for size in sizes]
    seconds = np.empty((REPEATS + 1, len(cases), 2))
    for row in seconds:
        for place, case in enumerate(cases):
            before = time.process_time(), time.perf_counter()
            case()
            row[place] = np.subtract((time.process_time(), time.perf_counter()), before)
    cpu, wall = np.median(seconds[1:], axis=0).T.tolist()
    return Curve(name, axis, tuple(sizes), tuple(cpu), tuple(wall))


def training_epoch(model: str) -> Callable[[int], Callable[[], object]]:
    """One epoch of a compact network on so many windows."""

    def work(n_windows: int) -> Callable[[], object]:
        inputs, settings = random_inputs(n_windows, with_signal=False), TrainSettings(epochs=1)
        return lambda: fit(build_model(model, 0), inputs, CrossEntropy(), settings, seed=0)

    return work


def preparation(n_subjects: int) -> Callable[[], object]:
    """The twin's windows of so many subjects, in one process."""
    settings = TwinSettings(n_subjects=n_subjects, n_trials=4, n_windows=2)
    return lambda: prepare_twin(settings, progress=False)


def guided_loss(n_guides: int) -> Callable[[], object]:
    """Dense guidance of 64 windows by so many guides, there and back, ten times."""
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(64, 2, generator=generator, requires_grad=True), torch.arange(64) % 2
    loss = DenseGuidance({f"guide {g}": torch.randn(64, 2, generator=generator) for g in range(n_guides)})

    def work() -> None:
        for _ in range(10):
            logits.grad = None
            loss(ModelOutput(logits, {}, {}), labels, torch.arange(64)).total.backward()
        loss.kept_history.clear()

    return work


def stored_runs(folder: Path) -> Callable[[int], Callable[[], object]]:
    """So many small runs, trained and stored in this process."""

    def work(n_runs: int) -> Callable[[], object]:
        runs = small_runs(n_runs, 2)

        def make() -> None:
            fresh_home(folder)
            in_this_process(runs)

        return make

    return work


def seeds_config(n_seeds: int) -> GridConfig:
    """Both twins, both targets, every method, one fold."""
    return GridConfig("plan", ("twin", "twin_mahnob"), TARGETS, ("all",), tuple(range(n_seeds)), 1, profile="quick")


def curves() -> Iterator[Curve]:
    windows = tuple(2**k for k in range(8, 14))
    yield curve("an epoch of the compact student", "training windows", windows, training_epoch("student"))
    yield curve("an epoch of the compact teacher", "training windows", windows, training_epoch("teacher"))
    yield curve("ten steps of the dense loss", "guides", (1, 2, 4, 8, 16, 32, 64), guided_loss)
    with smoke_homes() as folder:
        leadfield()
        yield curve("preparing the twin", "subjects", (1, 2, 4, 8, 16), preparation)
        yield curve("training and storing small runs", "runs", (4, 8, 16, 32, 64, 128), stored_runs(folder))
    with tempfile.TemporaryDirectory() as home:
        os.environ["CDGKD_HOME"] = home
        per_seed = len(plan_config(seeds_config(1)).runs)
        seeds = (1, 2, 4, 8, 16, 32, 64)
        planned = curve("planning a grid", "seeds", seeds, lambda n: lambda: plan_config(seeds_config(n)))
        sizes = tuple(per_seed * n for n in planned.sizes)
        yield Curve(planned.name, "planned runs", sizes, planned.cpu, planned.wall)


def measurements(found: list[Curve]) -> Iterator[Measurement]:
    """Figures of all curves, which are added to `found`."""
    for one in curves():
        found.append(one)
        slope, low, high = one.exponent()
        start = one.linear_from
        note = f"{one.sizes[0]:,} to {one.sizes[-1]:,} {one.axis}; 95 % interval; "
        note += "nowhere linear" if start is None else f"linear from {start:,} on"
        yield Measurement(f"{one.name}: exponent", slope, "", low, high, note=note)
        per_unit = 1e3 * one.cpu[-1] / one.sizes[-1]
        yield Measurement(f"{one.name}: CPU time per unit at the largest size", per_unit, "ms")


def draw(found: Sequence[Curve]) -> Figure:
    """One log-log panel per curve: measured points, fitted line, and a line of exponent 1 through the last point."""
    with plt.style.context(style.STYLE_FILE):
        figure, axes = plt.subplots(2, 3, figsize=(9, 5), squeeze=False)
        for ax, one in zip(axes.flat, found, strict=True):
            _panel(ax, one)
        axes[0, 0].legend(loc="upper left")
        return figure


def _panel(ax: Axes, one: Curve) -> None:
    sizes, cpu = np.array(one.sizes, float), np.array(one.cpu)
    line = linregress(np.log(sizes), np.log(cpu))
    ax.plot(sizes, cpu[-1] * sizes / sizes[-1], "--", color=style.COLOURS["chance"], linewidth=1, label="linear")
    ax.plot(sizes, np.exp(line.intercept) * sizes**line.slope, color=style.COLOURS["eeg"], label="fit")
    ax.plot(sizes, cpu, "o", color=style.COLOURS["eeg"], label="CPU time")
    ax.plot(sizes, one.wall, "x", color=style.COLOURS["video"], label="wall time")
    slope, low, high = one.exponent()
    ax.set(xscale="log", yscale="log", xlabel=one.axis, ylabel="seconds")
    shown = one.sizes[:: 1 if len(one.sizes) < 6 else 2]
    ax.set_xticks(shown, labels=[f"{size:,}" for size in shown])
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.minorticks_off()
    ax.set_title(f"{one.name}\nexponent {slope:.2f} ({low:.2f} to {high:.2f})")


def store(found: Sequence[Curve], folder: Path) -> None:
    """``bench_scaling.png`` and its numbers, each under a temporary name first."""
    numbers = {one.name: asdict(one) | {"exponent": one.exponent(), "linear_from": one.linear_from} for one in found}
    temporary = folder / ".bench_scaling.tmp.png"
    draw(found).savefig(temporary, dpi=120)
    os.replace(temporary, folder / "bench_scaling.png")
    write_json(
        folder / "bench_scaling.json", {"figure": "bench_scaling", "provenance": provenance(), "numbers": numbers}
    )


def main() -> None:
    torch.set_num_threads(1)
    found: list[Curve] = []
    report(lambda: measurements(found), __doc__, lambda folder: store(found, folder))


if __name__ == "__main__":
    main()
