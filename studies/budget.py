"""The training budget of the compact networks, chosen on seeds that no published number uses, before the grid was run.

    python studies/budget.py        # about ten minutes on one core; writes studies/results/budget.csv

A setting is good if students and teachers reach the accuracy of a training five times as long, and scatter little over
seeds; all students then share one, all larger networks another. Only mean and spread of CE, KD and plain fusion are
looked at, never which of them is ahead. Chosen: .01 for students (.003 leaves them short of a long training); .003 for
larger networks, which it serves as well as .01 and where an epoch is a smaller step. Expected accuracy on unseen
trials, world ``shared_view``, both designs.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd

from cdgkd_utils.config import Params
from cdgkd_utils.experiments.runs import Experiment
from cdgkd_utils.experiments.study import Study
from cdgkd_utils.results.tables import score_run

SEEDS = range(900, 906)
METHODS = ("ce", "kd", "fusion")
SETTINGS = {
    "learning rate .003, 16 or 20 epochs, patience 6": {"learning_rate": 0.003},
    "learning rate .01, same": {"learning_rate": 0.01},
    "learning rate .03, same": {"learning_rate": 0.03},
    "learning rate .003, 100 epochs, no patience": {"learning_rate": 0.003, "epochs": 100, "patience": 0},
    "learning rate .01, 40 epochs, patience 12": {"learning_rate": 0.01, "epochs": 40, "patience": 12},
}


class Trial(Experiment):
    """An experiment whose networks, guides included, are all trained in one way."""

    def settings(self, recipe):
        return replace(super().settings(recipe), **SETTINGS[self.name])


def main(seeds) -> pd.DataFrame:
    rows = []
    for seed in seeds:
        for dataset in ("twin", "twin_mahnob"):
            params = Params(dataset=dataset, profile="bench", seed=seed, world="shared_view", family="compact")
            study = Study(params)
            for name in SETTINGS:
                experiment = Trial(study, "valence", 0)
                experiment.name = name
                for method in METHODS:
                    found = pd.DataFrame(score_run(params, 0, experiment.run(method).folder))
                    best = found[(found["metric"] == "expected_accuracy") & (found["protocol"] == "trial")][
                        "value"
                    ].item()
                    rows.append(
                        {"seed": seed, "dataset": dataset, "setting": name, "method": method, "points": 100 * best}
                    )
    return pd.DataFrame(rows)


if __name__ == "__main__":
    os.environ.setdefault("TQDM_DISABLE", "1")
    scores = main(SEEDS)
    scores.to_csv(
        Path(__file__).parent / "results" / "budget.csv", index=False, float_format="%.3f", lineterminator="\n"
    )
    table = scores.groupby(["dataset", "setting", "method"])["points"].agg(["mean", "std"]).round(1).unstack()
    sys.stdout.write(table.to_string() + "\n")
