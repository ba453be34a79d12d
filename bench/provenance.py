"""Where figures came from: commit, versions, kind of machine, date. No names of hosts, users or folders."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
LIBRARIES = ("torch", "numpy", "scipy", "pandas", "distributed")
QUIET = 0.3  # processes that may run beside the benchmark on average
STEADY = 1.3  # how many times longer a fixed calculation may take at one moment than at another


def commit() -> str:
    """Commit of the sources, "+" behind it if they were changed since; "" outside a repository."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "--", "*.py") else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def processor() -> str:
    """Maker and family of the processor, without its model number."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.partition(":")[2] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()
    return " ".join(name.replace("(R)", "").replace("(TM)", "").split()[:2])


def load() -> float | None:
    """Processes that ran on this machine on average over the last minute."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def pace() -> float:
    """Seconds of a fixed calculation: on a machine that is shared, others take speed that no load average shows."""
    matrix = torch.rand(512, 512, generator=torch.Generator().manual_seed(0))

    def once() -> float:
        start = time.perf_counter()
        for _ in range(20):
            torch.tanh(matrix @ matrix)
        sum(number for number in range(300_000))
        return time.perf_counter() - start

    once()
    return statistics.median(once() for _ in range(15))


def steadiness(paces: list[float], quiet: bool | None) -> dict[str, object]:
    """What the paces before, between and after the sections say about the machine.

    Parameters
    ----------
    paces : list of float
        Of :func:`pace`.
    quiet : bool, optional
        Whether nothing else ran before; None where that is unknown.

    Returns
    -------
    dict
        ``slowest_over_fastest``, and ``quiet`` as it is in the end.
    """
    spread = round(max(paces) / min(paces), 2)
    return {"slowest_over_fastest": spread, "quiet": quiet if quiet is None else quiet and spread <= STEADY}


def provenance() -> dict[str, object]:
    """Plain JSON values."""
    before = load()
    return {
        "commit": commit(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in LIBRARIES},
        "system": platform.system(),
        "processor": processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load_before": before,
        "quiet": None if before is None else before <= QUIET,
    }
