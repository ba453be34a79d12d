"""What every section of the benchmark shares: a measured figure with its goal, clocks that take turns, a way to report.

A section is a script with a function ``measurements() -> list of Measurement``; `bench/all.py` runs it in a process of
its own and collects what it writes with ``--json``.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Measurement:
    """One figure.

    Attributes
    ----------
    name : str
    value : float or None
        None where it could not be measured; `note` says why.
    unit : str
        "×" for the ratio of two times.
    low, high : float, optional
        Least and largest of the rounds, or the ends of an interval that `note` names.
    at_least, at_most : float, optional
        The goal; without one the figure is information.
    note : str
        How it was measured, as far as the name does not say it.
    """

    name: str
    value: float | None
    unit: str = "×"
    low: float | None = None
    high: float | None = None
    at_least: float | None = None
    at_most: float | None = None
    note: str = ""

    @property
    def goal(self) -> str:
        """The goal in words; "" without one."""
        return "".join(
            f"{sign} {limit:g} {self.unit}"
            for sign, limit in (("≥", self.at_least), ("≤", self.at_most))
            if limit is not None
        )

    @property
    def held(self) -> bool | None:
        """Whether the goal is reached; None without a goal or without a finite value."""
        if not self.goal or self.value is None or not np.isfinite(self.value):
            return None
        too_small = self.at_least is not None and self.value < self.at_least
        return not (too_small or (self.at_most is not None and self.value > self.at_most))


def rounds(
    cases: Sequence[Callable[[], object]], repeats: int, clock: Callable[[], float] = time.process_time
) -> np.ndarray:
    """Seconds of each case in each round, shape (repeats, n_cases); a first round is not counted.

    The cases take turns, so that a machine which gets slower slows all of them.
    """
    seconds = np.empty((repeats + 1, len(cases)))
    for row in seconds:
        for place, case in enumerate(cases):
            start = clock()
            case()
            row[place] = clock() - start
    return seconds[1:]


def ratio(name: str, slow: np.ndarray, fast: np.ndarray, **goal: float | str) -> Measurement:
    """Median over the rounds of how many times longer `slow` took, with least and largest."""
    ratios = np.asarray(slow) / np.asarray(fast)
    return Measurement(name, float(np.median(ratios)), low=float(ratios.min()), high=float(ratios.max()), **goal)


def milliseconds(name: str, seconds: np.ndarray, **goal: float | str) -> Measurement:
    """Median over the rounds in milliseconds, with least and largest."""
    values = 1e3 * np.asarray(seconds)
    return Measurement(name, float(np.median(values)), "ms", float(values.min()), float(values.max()), **goal)


def write_json(path: Path, content: object) -> None:
    """Write under a temporary name, then rename."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def line(measurement: Measurement) -> str:
    """One figure as a line of text."""
    m = measurement
    value = "not measured" if m.value is None else f"{m.value:.4g} {m.unit}"
    spread = "" if m.low is None else f" ({m.low:.4g} to {m.high:.4g})"
    verdict = {True: "held", False: "MISSED", None: "not measured"}[m.held]
    goal = f"; goal {m.goal}: {verdict}" if m.goal else ""
    return f"{m.name}: {value}{spread}{goal}" + (f"  [{m.note}]" if m.note else "")


def report(
    measurements: Callable[[], Iterable[Measurement]], description: str, draw: Callable[[Path], None] | None = None
) -> None:
    """Command line of a section: print the figures as they come, and store them with ``--json FILE``.

    A section that can draw gets the option ``--figures FOLDER`` too.
    """
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--json", type=Path, help="file for the figures")
    if draw is not None:
        parser.add_argument("--figures", type=Path, help="folder for a picture and its numbers")
    options = parser.parse_args()
    found = []
    for measurement in measurements():
        found.append(measurement)
        print(line(measurement), flush=True)
        if options.json:
            write_json(options.json, [asdict(one) for one in found])
    if draw is not None and options.figures:
        draw(options.figures)
