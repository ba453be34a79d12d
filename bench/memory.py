"""Memory of a preparation, by number of subjects: ``python bench/memory.py``.

Proportional set size (``/proc/*/smaps_rollup``) of the preparing process and its workers together, the most that
any of the samples saw. Full-size subjects of DEAP: two ``.dat`` files read again and again under other names, or
(``--twin``) generated, which takes a minute per subject.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from joblib.externals.loky import get_reusable_executor
from prepare import dat_windows
from threadpoolctl import threadpool_limits

from cdgkd_utils.data.deap.dat_file import write_dat
from cdgkd_utils.data.load import prepared
from cdgkd_utils.data.twin import TwinSettings, prepare_subject

FIELDS = ("Pss", "Pss_Anon", "Pss_File")


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found, todo = [], [pid]
    while todo:
        found.append(one := todo.pop())
        try:
            for task in Path(f"/proc/{one}/task").iterdir():
                todo += map(int, (task / "children").read_text(encoding="ascii").split())
        except OSError:
            continue
    return found


def held(pid: int) -> dict[str, float]:
    """MB of one process, by field."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return dict.fromkeys(FIELDS, 0.0)
    values = {line.split(":")[0]: int(line.split()[1]) / 1000 * 1.024 for line in lines}
    return {field: values.get(field, 0.0) for field in FIELDS}


class Watch(threading.Thread):
    """Samples the memory of a process and its descendants until told to stop."""

    def __init__(self, pid: int, every: float = 0.05):
        super().__init__(daemon=True)
        self.pid, self.every, self.stopped = pid, every, threading.Event()
        self.most = dict.fromkeys(FIELDS, 0.0)
        self.largest_worker = 0.0

    def run(self) -> None:
        while not self.stopped.wait(self.every):
            each = [held(pid) for pid in family(self.pid)]
            for field in FIELDS:
                self.most[field] = max(self.most[field], sum(one[field] for one in each))
            self.largest_worker = max([self.largest_worker, *(one["Pss"] for one in each[1:])])


def prepare(parts: dict, n_jobs: int, root: Path, results) -> None:
    """Prepare in a process of its own and say how large the cache is."""
    with tempfile.TemporaryDirectory(dir=root) as home:
        start = time.perf_counter()
        windows = prepared({"n_subjects": len(parts)}, parts, Path(home), n_jobs=n_jobs)
        spent = time.perf_counter() - start
        stored = sum(path.stat().st_size for path in Path(home).rglob("*") if path.is_file())
        results.put((len(windows), spent, stored / 1e6))
    get_reusable_executor().shutdown()  # idle workers would keep this process for five minutes


def measure(parts: dict, n_jobs: int, root: Path) -> dict[str, float]:
    context = multiprocessing.get_context("spawn")
    results = context.SimpleQueue()
    process = context.Process(target=prepare, args=(parts, n_jobs, root, results))
    process.start()
    watch = Watch(process.pid)
    watch.start()
    n_windows, spent, stored = results.get()
    watch.stopped.set()
    process.join()
    return {
        "windows": n_windows,
        "total, MB": watch.most["Pss"],
        "anonymous, MB": watch.most["Pss_Anon"],
        "mapped files, MB": watch.most["Pss_File"],
        "largest worker, MB": watch.largest_worker,
        "cache, MB": stored,
        "s": spent,
    }


def dat_parts(root: Path, n_subjects: int) -> dict:
    rng = np.random.default_rng(0)
    paths = [root / "s01.dat", root / "s02.dat"]
    for path in paths:
        if not path.exists():
            write_dat(path, rng.normal(0, 10, (40, 40, 8064)), rng.uniform(1, 9, (40, 4)))
    return {f"s{s:02d}": partial(dat_windows, paths[s % 2], s) for s in range(1, n_subjects + 1)}


def twin_parts(n_subjects: int) -> dict:
    settings = TwinSettings(n_subjects=n_subjects, n_trials=40, n_windows=15, seed=0)
    return {f"s{s:02d}": partial(prepare_subject, settings, s) for s in range(1, n_subjects + 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subjects", type=int, nargs="+", default=[8, 16, 32])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--twin", action="store_true")
    options = parser.parse_args()
    with threadpool_limits(1), tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        rows = {}
        for n in options.subjects:
            parts = twin_parts(n) if options.twin else dat_parts(root, n)
            rows[f"{n} subjects"] = measure(parts, options.jobs, root)
    print(pd.DataFrame(rows).round(1).to_string())


if __name__ == "__main__":
    main()
