"""How cost grows: ``python bench/scaling.py [--figures FOLDER]``.

CPU and wall time against the number of windows, subjects, guides, runs and planned runs, with the exponent p of
cost ∝ size^p: slope of a straight line through the logarithms, 95 % t-interval over the sizes. "Linear from" is the
least size from which on the exponent, fitted to it and all larger ones, is within 0.1 of 1. Peak memory by size, each
in a process that does nothing else, with the exponent of what is added to that of the least size.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import torch
from grid import smoke_homes
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, StrMethodFormatter
from measurement import Measurement, report, write_json
from provenance import provenance
from scipy.stats import linregress, t
from workloads import Workload, peaks, workloads

from cdgkd_utils.viz import style

REPEATS = 5
TOLERANCE = 0.1  # of an exponent that counts as 1
LEAST_POINTS = 3  # of a fitted line
RESOLUTION = 3.0  # MB; less cannot be told from the scatter of equal processes, which reached 2.6


class Power(NamedTuple):
    """Exponent p of cost ∝ size^p and the ends of its interval."""

    slope: float
    low: float
    high: float


def power_law(sizes: Sequence[float], costs: Sequence[float]) -> Power:
    """Slope of the straight line through the logarithms, with its 95 % t-interval."""
    line = linregress(np.log(sizes), np.log(costs))
    reach = t.ppf(0.975, len(sizes) - 2) * line.stderr
    return Power(float(line.slope), float(line.slope - reach), float(line.slope + reach))


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
    memory : tuple of float
        MB that a process which does nothing else holds at the most, libraries included.
    """

    name: str
    axis: str
    sizes: tuple[int, ...]
    cpu: tuple[float, ...]
    wall: tuple[float, ...]
    memory: tuple[float, ...]

    def exponent(self, start: int = 0) -> Power:
        """Of the CPU time of the sizes from place `start` on."""
        return power_law(self.sizes[start:], self.cpu[start:])

    @property
    def linear_from(self) -> int | None:
        """Least size from which on the CPU time is linear; None if there is no such size."""
        for start in range(len(self.sizes) - LEAST_POINTS + 1):
            if abs(self.exponent(start).slope - 1) <= TOLERANCE:
                return self.sizes[start]
        return None

    @property
    def growth(self) -> tuple[np.ndarray, np.ndarray]:
        """What is added to the least size, and the MB of memory that this adds; libraries and fixed costs cancel."""
        return np.subtract(self.sizes[1:], self.sizes[0]), np.subtract(self.memory[1:], self.memory[0])

    @property
    def memory_exponent(self) -> Power | None:
        """Of the growth of memory where it can be told from the measurement's scatter; None if too little is added."""
        more, added = self.growth
        told = added >= RESOLUTION
        return power_law(more[told], added[told]) if told.sum() >= LEAST_POINTS else None


def timed(one: Workload) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """CPU and wall seconds at each size; the sizes take turns, and a first turn is not counted."""
    cases = [one.work(size) for size in one.sizes]
    seconds = np.empty((REPEATS + 1, len(cases), 2))
    for row in seconds:
        for place, case in enumerate(cases):
            before = time.process_time(), time.perf_counter()
            case()
            row[place] = np.subtract((time.process_time(), time.perf_counter()), before)
    cpu, wall = np.median(seconds[1:], axis=0).T.tolist()
    return tuple(cpu), tuple(wall)


def curves() -> Iterator[Curve]:
    with smoke_homes() as folder:
        found = workloads(folder)
        for one, memory in zip(found, peaks(found), strict=True):
            cpu, wall = timed(one)
            yield Curve(one.name, one.axis, tuple(one.per_size * n for n in one.sizes), cpu, wall, memory)


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
        (*_, more), (*_, added) = one.growth
        grows, note = one.memory_exponent, f"from {one.sizes[0]:,} to {one.sizes[-1]:,} {one.axis}"
        yield Measurement(f"{one.name}: growth of the peak memory", added, "MB", note=note)
        if grows is not None:
            yield Measurement(f"{one.name}: memory per unit added", 1e3 * added / more, "kB")
            yield Measurement(f"{one.name}: exponent of the growth of memory", grows.slope, "", grows.low, grows.high,
                              note="95 % interval")  # fmt: skip


def draw(found: Sequence[Curve]) -> Figure:
    """Log-log panels, time above, memory below: measured points, fitted line, and a line of exponent 1."""
    with plt.style.context(style.STYLE_FILE):
        figure, axes = plt.subplots(4, 3, figsize=(9, 10), squeeze=False)
        for time_ax, memory_ax, one in zip(axes[:2].flat, axes[2:].flat, found, strict=True):
            _time_panel(time_ax, one)
            _memory_panel(memory_ax, one)
        axes[0, 0].legend(loc="upper left")
        axes[3, 1].legend(handles=axes[2, 0].get_legend_handles_labels()[0], loc="upper right")
        return figure


def _time_panel(ax: Axes, one: Curve) -> None:
    _lines(ax, one.sizes, one.cpu)
    ax.plot(one.sizes, one.cpu, "o", color=style.COLOURS["eeg"], label="CPU time")
    ax.plot(one.sizes, one.wall, "x", color=style.COLOURS["video"], label="wall time")
    ax.set(xlabel=one.axis, ylabel="seconds")
    ax.set_title(f"time: {one.name}\nexponent {_words(one.exponent())}")
    shown = one.sizes[:: 1 if len(one.sizes) < 6 else 2]
    ax.set_xticks(shown, labels=[f"{size:,}" for size in shown])


def _memory_panel(ax: Axes, one: Curve) -> None:
    more, added = one.growth
    told, exponent = added >= RESOLUTION, one.memory_exponent
    if exponent is not None:
        _lines(ax, more[told], added[told])
    ax.plot(more, np.maximum(added, RESOLUTION / 2), "s", color=style.COLOURS["fusion"], label="peak memory")
    ax.axhspan(
        RESOLUTION / 6,
        RESOLUTION,
        color=style.COLOURS["chance"],
        alpha=0.15,
        linewidth=0,
        label="cannot be told from 0",
    )
    ax.set(xscale="log", yscale="log", xlabel=f"{one.axis} added to {one.sizes[0]:,}", ylabel="MB added")
    ax.set_ylim(RESOLUTION / 6, max(60, 2 * added.max()))
    flat = f"{'flat, ' if abs(added[-1]) < RESOLUTION else ''}{added[-1]:+.1f} MB in all".replace("-", "−")
    words = flat if exponent is None else f"exponent {_words(exponent)}"
    ax.set_title(f"memory: {one.name}\n{words}")
    shown = more[:: 1 if len(more) < 5 else 2]
    ax.set_xticks(shown, labels=[f"{size:,}" for size in shown])
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.minorticks_off()


def _lines(ax: Axes, sizes: Sequence[float], costs: Sequence[float]) -> None:
    """The fitted power law, and exponent 1 through the last point."""
    sizes, costs = np.array(sizes, float), np.array(costs)
    line = linregress(np.log(sizes), np.log(costs))
    ax.plot(sizes, costs[-1] * sizes / sizes[-1], "--", color=style.COLOURS["chance"], linewidth=1, label="linear")
    ax.plot(sizes, np.exp(line.intercept) * sizes**line.slope, color=style.COLOURS["eeg"], label="fit")
    ax.set(xscale="log", yscale="log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.minorticks_off()


def _words(power: Power) -> str:
    return f"{power.slope:.2f} ({power.low:.2f} to {power.high:.2f})"


def store(found: Sequence[Curve], folder: Path) -> None:
    """``bench_scaling.png`` and its numbers, each under a temporary name first."""
    fitted = ("linear_from", "memory_exponent")
    numbers = {
        one.name: asdict(one) | {"exponent": one.exponent()} | {name: getattr(one, name) for name in fitted}
        for one in found
    }
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
