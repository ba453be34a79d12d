"""What one fold costs: ``python bench/chain.py [--profile quick] [--target valence] [--fold 0]``.

CPU time of one process with one thread for every recipe, guides first, each trained once; the limit is for the
networks of both tables with their guides, without those that only the notebooks' experiments train.
Windows and lead field already prepared in the home are borrowed; runs go to a temporary home, so nothing is
read back that should be measured and nothing is left behind.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import torch
from threadpoolctl import threadpool_limits

from cdgkd_utils.config import PROFILES, TARGETS, Params, home
from cdgkd_utils.data.load import load_windows
from cdgkd_utils.experiments.recipes import RECIPES
from cdgkd_utils.experiments.runs import Experiment
from cdgkd_utils.experiments.study import Study

LIMIT = 30.0  # s of CPU for the networks of both tables on one fold with the quick profile


def in_tables() -> set[str]:
    """Names of the recipes of both tables and of all that guides them."""
    todo, found = [recipe.name for recipe in RECIPES.values() if recipe.table], set()
    while todo:
        name = todo.pop()
        todo += [] if name in found else RECIPES[name].guides
        found.add(name)
    return found


@contextmanager
def temporary_home() -> Iterator[None]:
    """A home without runs, in which what the present home has prepared can be read."""
    lent = [*(home() / "prepared").glob("*"), *home().glob("leadfield-*.npy")]
    before = os.environ.get("CDGKD_HOME")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "prepared").mkdir()
        for path in lent:
            (Path(folder) / path.relative_to(home())).symlink_to(path)
        os.environ["CDGKD_HOME"] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ["CDGKD_HOME"]
            else:
                os.environ["CDGKD_HOME"] = before


def measure(params: Params, target: str, fold: int) -> tuple[pd.DataFrame, int]:
    """CPU seconds by network, and the number of training windows."""
    load_windows(params, n_jobs=1)
    clock = [time.process_time()]

    def lap() -> float:
        clock.append(time.process_time())
        return clock[-1] - clock[-2]

    rows = {}
    experiment = Experiment(Study(params), target, fold)
    n_train = len(experiment.inputs.train)
    rows["inputs of the fold"] = {"cpu_s": lap()}
    for name, recipe in RECIPES.items():
        record = experiment.run(name)
        rows[name] = {"cpu_s": lap(), "model": recipe.model, "epochs": len(record.log)}
    table = pd.DataFrame.from_dict(rows, orient="index")
    return table.assign(ms_per_epoch=1e3 * table["cpu_s"] / table["epochs"]), n_train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--profile", choices=PROFILES, default="quick")
    parser.add_argument("--target", choices=TARGETS, default="valence")
    parser.add_argument("--fold", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with threadpool_limits(1), temporary_home():
        table, n_train = measure(Params(profile=options.profile), options.target, options.fold)
    total = table["cpu_s"][table.index.isin(in_tables())].sum()
    print(f"profile {options.profile}, {options.target}, fold {options.fold}: {n_train} training windows")
    print(table.round({"cpu_s": 2, "ms_per_epoch": 0}).to_string(na_rep=""))
    print(f"{len(in_tables())} networks of both tables {total:.1f} s of CPU, all {table['cpu_s'].sum():.1f} s", end="")
    print(f", limit {LIMIT:.0f} s: {'ok' if total <= LIMIT else 'TOO SLOW'}" if options.profile == "quick" else "")


if __name__ == "__main__":
    main()
