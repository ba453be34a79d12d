"""What `scaling.py` measures at several sizes, and how much memory a process needs for it."""

from __future__ import annotations

import os
import resource
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch
from grid import fresh_home, in_this_process, small_runs
from steps import random_inputs

from cdgkd_utils.config import TARGETS
from cdgkd_utils.data.constants import VIDEO_SUBJECTS
from cdgkd_utils.data.twin import TwinSettings, prepare_subject
from cdgkd_utils.data.twin.eeg import leadfield
from cdgkd_utils.data.types import Windows
from cdgkd_utils.experiments.cluster import n_cores
from cdgkd_utils.experiments.configs import GridConfig
from cdgkd_utils.experiments.plan import plan_config
from cdgkd_utils.methods.distillation import DenseGuidance
from cdgkd_utils.methods.loss import CrossEntropy
from cdgkd_utils.models.output import ModelOutput
from cdgkd_utils.models import build_model
from cdgkd_utils.training import TrainSettings, fit

N_STORED = 13_200  # windows whose guides' answers are held: 22 people, 40 trials, 15 windows, DEAP's size
Work = Callable[[int], Callable[[], object]]


@dataclass(frozen=True)
class Workload:
    """One kind of work.

    Attributes
    ----------
    name : str
        What is done.
    axis : str
        What `sizes` counts.
    sizes : tuple of int
        Ascending.
    work : callable
        From a size to what is to be called; a module's function, so that another process can be told of it.
    per_size : int
        Units of `axis` in one of `work`'s own.
    """

    name: str
    axis: str
    sizes: tuple[int, ...]
    work: Work
    per_size: int = 1


def training_epoch(model: str, n_windows: int) -> Callable[[], object]:
    """One epoch of a compact network on so many windows."""
    inputs, settings = random_inputs(n_windows, with_signal=False), TrainSettings(epochs=1)
    return lambda: fit(build_model(model, 0), inputs, CrossEntropy(), settings, seed=0)


def preparation(n_subjects: int) -> Callable[[], object]:
    """The twin's windows of so many subjects, in one process; in DEAP's design 22 have faces."""
    leadfield()
    settings = TwinSettings(n_subjects=n_subjects, n_trials=8, n_windows=2)
    return lambda: Windows.joined([prepare_subject(settings, k) for k in range(1, 23)])


def guided_loss(n_guides: int) -> Callable[[], object]:
    """Dense guidance of 64 windows by so many guides, whose answers to all windows are held, there and back."""
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(64, 2, generator=generator, requires_grad=True), torch.arange(64) % 2
    held = {f"guide {g}": torch.randn(N_STORED, 2, generator=generator) for g in range(n_guides)}
    loss = DenseGuidance(held)

    def work() -> None:
        for _ in range(10):
            logits.grad = None
            loss(ModelOutput(logits, {}, {}), labels, torch.arange(64)).total.backward()
        loss.kept_history.clear()

    return work


def stored_runs(folder: Path, n_runs: int) -> Callable[[], object]:
    """So many small runs, trained and stored in this process; `folder` is that of :func:`grid.smoke_homes`."""
    fresh_home(folder)
    runs = small_runs(n_runs, 2)

    def work() -> None:
        fresh_home(folder)
        in_this_process(runs)

    return work


def planned_seeds(n_seeds: int) -> Callable[[], object]:
    """Both twins, both targets, every method, one fold, in a home without runs."""
    config = GridConfig("plan", ("twin", "twin_mahnob"), TARGETS, ("all",), tuple(range(n_seeds)), 1, profile="quick")

    def work() -> object:
        with tempfile.TemporaryDirectory() as home:
            before, os.environ["CDGKD_HOME"] = os.environ.get("CDGKD_HOME"), home
            try:
                return plan_config(config)
            finally:
                os.environ.pop("CDGKD_HOME")
                if before is not None:
                    os.environ["CDGKD_HOME"] = before

    return work


def workloads(folder: Path) -> tuple[Workload, ...]:
    """All that is measured; `folder` is that of :func:`grid.smoke_homes`."""
    windows = tuple(2**k for k in range(8, 14))
    per_seed = len(planned_seeds(1)().runs)
    return (
        Workload("an epoch, compact student", "training windows", windows, partial(training_epoch, "student")),
        Workload("an epoch, compact teacher", "training windows", windows, partial(training_epoch, "teacher")),
        Workload("ten dense-loss steps", "guides", (1, 4, 16, 32, 64, 128, 256), guided_loss),
        Workload("preparing the twin", "subjects", (1, 2, 4, 8, 16, VIDEO_SUBJECTS), preparation),
        Workload("training and storing small runs", "runs", (4, 8, 16, 32, 64, 128), partial(stored_runs, folder)),
        Workload("planning a grid", "planned runs", (1, 2, 4, 8, 16, 32, 64, 128), planned_seeds, per_seed),
    )


def peak_memory(work: Work, size: int) -> float:
    """MB that this process held at the most; to be called in a process that has done nothing else."""
    torch.set_num_threads(1)
    result = work(size)()
    del result
    status = Path("/proc/self/status")
    if status.exists():  # Linux; getrusage would tell the starting process's memory, if that is larger
        line = next(line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def peaks(found: Sequence[Workload]) -> list[tuple[float, ...]]:
    """Peak memory of every workload at each of its sizes, each in a process that does nothing else."""
    jobs = [(one.work, size) for one in found for size in one.sizes]
    with ProcessPoolExecutor(n_cores(), mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        held = iter(list(pool.map(peak_memory, *zip(*jobs, strict=True))))
    return [tuple(next(held) for _ in one.sizes) for one in found]
