"""The paper's networks, trained by the paper's optimiser on the twin: ``python bench/gpu.py``.

One repetition has people of its own, in the world where the EEG sees more of the feeling than the face shows; unimodal
networks, fusion, and students with their guides are trained by what every notebook and grid runs. As many repetitions
as fit into ``--minutes`` share the GPU, ``--workers`` at a time. Each result is printed and kept in ``reference.csv``,
after Ctrl-C too; a second call goes on from what is stored. Before that each kind of network is timed alone, validation
included, and compared with a large matrix product. ``--cpu-small`` is one tiny repetition on a processor.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import queue
import tempfile
import time
import traceback
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy: there are more processes than one

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from scipy import stats
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from cdgkd_utils.config import PROFILES, Params, n_cores
from cdgkd_utils.data.load import load_windows
from cdgkd_utils.experiments.runs import Experiment
from cdgkd_utils.experiments.study import Study

METHODS = "eeg video fusion fusion_rebalanced ce kd ta1 ta2_takd takd ta1_drop ta2_drop cdgkd".split()
CHAIN = ("fusion_rebalanced", "ta1_drop", "ta2_drop", "cdgkd")
PAIRS = (("fusion_rebalanced", "fusion"), ("kd", "ce"), ("takd", "ce"), ("cdgkd", "ce"), ("cdgkd", "kd"))
PARTS = {"trial": "trials", "subject": "people"}
# No patience: at this learning rate students stand at chance for hundreds of steps, of which an epoch has 22.
SIZES = {"subjects": 22, "trials": 40, "windows": 8, "epochs": 60, "patience": 0, "repeats": 40}
SMALL = {"subjects": 6, "trials": 10, "windows": 2, "epochs": 2, "repeats": 1, "workers": 1, "minutes": 60.0}


def resize(options: argparse.Namespace, epochs: int) -> None:
    """Give the profile ``paper`` the sizes asked for, in this process."""
    people = {"n_subjects": options.subjects, "n_trials": options.trials, "n_windows": options.windows}
    training = {"teacher_epochs": epochs, "student_epochs": epochs, "patience": options.patience, "tuning_budget": 1}
    PROFILES["paper"] = replace(PROFILES["paper"], **people, **training)
    torch.set_num_threads(1)


def experiment_of(options: argparse.Namespace, repeat: int, n_jobs: int = 1) -> Experiment:
    params = Params(dataset="twin", world="shared_view", profile="paper", family="reference", seed=options.seed)
    load_windows(params, n_jobs=n_jobs, repeat=repeat)
    return Experiment(Study(params, repeat), "valence", 0)


def scored(experiment: Experiment, name: str, repeat: int) -> dict[str, object]:
    """Train a network, or read it back, and score it on unseen trials and on unseen people."""
    record, study, row = experiment.run(name), experiment.study, {"repetition": repeat, "method": name}
    high, labels, posterior = record.logits.argmax(1), study.labels("valence"), study.windows.posterior("valence")
    for part in PARTS:
        here = experiment.split.parts()[f"test_{part}"]
        row[f"accuracy_{part}"] = round(float((high == labels)[here].mean()), 5)
        row[f"expected_{part}"] = round(float(np.where(high == 1, posterior, 1 - posterior)[here].mean()), 5)
    return row | {"epochs": len(record.log), "seconds": round(float(record.log["seconds"].sum()), 2)}


def work(place: int, options: argparse.Namespace, go, found) -> None:
    """A process: one repetition after the other, every so many-th of all."""
    resize(options, options.epochs)
    try:
        for repeat in range(place, options.repeats, options.workers):
            experiment = experiment_of(options, repeat)
            go.wait()
            for name in METHODS:
                found.put(scored(experiment, name, repeat))
    except Exception:  # the other processes go on
        found.put(traceback.format_exc())


def peak(device: torch.device, precision: str, seconds: float = 1.0) -> float:
    """FLOP/s of a large matrix product: the best of as many as fit into `seconds`."""
    n, best, end = 8192 if device.type == "cuda" else 1024, np.inf, time.perf_counter() + seconds
    a, b = torch.randn(2, n, n, device=device, dtype=getattr(torch, precision))
    while best == np.inf or time.perf_counter() < end:
        begin = time.perf_counter()
        (a @ b)[0, 0].item()  # waits for the device
        best = min(best, time.perf_counter() - begin)
    return 2 * n**3 / best


def speeds(options: argparse.Namespace, experiment: Experiment, best: float) -> dict[str, object]:
    """Windows/s of each kind of network, share of the matrix product's FLOP/s, and hours for all of DEAP."""
    table, inputs = {}, experiment.on_device
    n_train, rows = len(inputs.train), inputs.train[:4]
    with tempfile.TemporaryDirectory() as home, patch.dict(os.environ, CDGKD_HOME=home):  # nothing is read back
        resize(options, min(6, 1 + options.epochs))  # the first is not counted
        for name in ("eeg", "video", *CHAIN):
            record = experiment.run(name)
            model, speed = record.model().to(rows.device).train(), n_train / record.log["seconds"][1:].median()
            with FlopCounterMode(display=False) as counter:  # there and back
                F.cross_entropy(model(*inputs.of(model, rows)).logits, inputs.labels[rows]).backward()
            share = 100 * speed * counter.get_total_flops() / len(rows) / best
            table[name] = {"windows_per_s": round(speed, 1), "percent_of_matrix_product": round(share, 2)}
            print(f"{name}: {speed:,.0f} windows/s, {share:.2g} % of the matrix product", flush=True)
    hours = sum(13_200 * 100 / table[name]["windows_per_s"] for name in CHAIN) / 3600
    print(f"one chain on all of DEAP, 13,200 windows x 100 epochs: {hours:.3g} h", flush=True)
    return {"networks": table, "deap_chain_hours": round(hours, 3)}


def interval(values: pd.Series) -> float:  # half width, 95 %
    return float(stats.t.ppf(0.975, len(values) - 1) * values.sem()) if len(values) > 1 else float("nan")


def draw(table: pd.DataFrame, path: Path, title: str) -> None:
    figure, shown = Figure(figsize=(10, 7), layout="constrained"), [m for m in METHODS if (table["method"] == m).any()]
    for axes, (part, what) in zip(figure.subplots(2, sharex=True), PARTS.items(), strict=True):
        for place, name in enumerate(shown):
            values = 100 * table.loc[table["method"] == name, f"expected_{part}"]
            axes.plot(np.full(len(values), place - 0.15), values, "o", color="#999999", markersize=4)
            axes.errorbar(place, values.mean(), interval(values), fmt="s", color="#0072B2", capsize=3)
        axes.axhline(50, color="#666666", linestyle="--", linewidth=1)
        axes.set(ylim=(30, 90), ylabel=f"unseen {what}: expected\naccuracy / %")
    labels = [f"{name}, n = {(table['method'] == name).sum()}" for name in shown]
    axes.set_xticks(range(len(shown)), labels, rotation=30, ha="right")
    figure.suptitle(title)
    figure.savefig(path, dpi=110)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=9.0, help="for everything")
    parser.add_argument(
        "--workers",
        type=int,
        default=1,
        help="repetitions at a time; they share the GPU, which more than one hardly speeds up",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the first repetition")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[1] / "figures")
    parser.add_argument("--cpu-small", action="store_true", help=f"one processor, and by default {SMALL}")
    for name, size in SIZES.items():
        parser.add_argument(f"--{name}", type=int, default=size)
    if parser.parse_args().cpu_small:
        os.environ["CDGKD_DEVICE"] = "cpu"
        parser.set_defaults(**SMALL)
    return parser.parse_args()


def main() -> None:
    begin, options, context, rows = time.monotonic(), parsed(), multiprocessing.get_context("spawn"), []
    resize(options, options.epochs)
    experiment = experiment_of(options, 0, n_cores())
    go, found = context.Event(), context.Queue()
    workers = [context.Process(target=work, args=(k, options, go, found), daemon=True) for k in range(options.workers)]
    for worker in workers:
        worker.start()  # they prepare windows; the device is left alone until `go`
    device, precision = experiment.on_device.labels.device, experiment.settings(experiment.recipe("ce")).precision
    best = peak(device, precision)
    facts = {"device": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU, one thread"}
    facts |= {"torch": torch.__version__, "precision": precision, "world": "shared_view", "target": "valence"}
    facts |= {name: value for name, value in vars(options).items() if name != "out"}
    facts |= {"parts": {name: len(rows_of) for name, rows_of in experiment.split.parts().items()}}
    facts |= {"tf32_convolutions": torch.backends.cudnn.allow_tf32, "matrix_product_tflop_per_s": round(best / 1e12, 3)}
    print(json.dumps(facts), flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(KeyboardInterrupt):  # what has ended is kept
        facts |= speeds(options, experiment, best)
        go.set()
        while time.monotonic() < begin + 60 * options.minutes - 15:
            row = None
            with contextlib.suppress(queue.Empty):
                row = found.get(timeout=1)
            if row is None and not any(worker.is_alive() for worker in workers):
                break
            if not isinstance(row, dict):  # nothing yet, or how a process failed
                print(row or "", end="", flush=True)
                continue
            rows.append(row)
            pd.DataFrame(rows).to_csv(options.out / ".reference.csv", index=False)
            os.replace(options.out / ".reference.csv", options.out / "reference.csv")
            n = [other["method"] for other in rows].count(row["method"])
            print(f"{time.monotonic() - begin:.0f} s, n = {n}: {row}", flush=True)
    if not rows:
        raise SystemExit("no network ended in time: give more --minutes, or fewer --windows")
    table = pd.DataFrame(rows)
    for part, what in PARTS.items():
        wide = 100 * table.pivot(index="repetition", columns="method", values=f"expected_{part}")
        for better, than in PAIRS:
            d = (wide[better] - wide[than]).dropna() if {better, than} <= {*wide} else pd.Series(dtype=float)
            print(f"unseen {what}, {better} - {than}: {d.mean():+.2f} ± {interval(d):.2f} points, n = {len(d)}")
    small = "Shrunk to run on a CPU: shows that it runs, not what the networks can do\n" if options.cpu_small else ""
    draw(table, options.out / "reference.png", f"{small}The paper's networks on the twin, {facts['device']}")
    facts["n"] = {name: int(n) for name, n in table["method"].value_counts().items()}
    (options.out / "reference.json").write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
