"""How often tests find a difference between equal learners: ``python bench/false_positives.py [--sims 2000]``.

Two nearest-centroid learners see different, equally good features of the same windows, so neither is better and
every p < 0.05 is a false positive. Their accuracies are compared over repeated k-fold runs, as the tables compare
methods. "same data": all repetitions split one data set, as on files. "new data": each repetition draws its own, as
on the twin. Nominal rate: 5 %.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import pandas as pd

from cdgkd_utils.results.bootstrap import bootstrap_interval
from cdgkd_utils.results.statistics import independent_repeats, paired_test

N_FEATURES = 4  # of each learner
SHIFT = 0.35  # distance of a class mean from 0 in each feature, in standard deviations; about 75 % right
LEVEL = 0.05
DESIGNS = ((60, 3, 1), (60, 3, 8), (60, 10, 1), (240, 3, 1), (240, 3, 8), (240, 5, 5), (240, 10, 3), (960, 3, 8))
TESTS = ("naive", "bootstrap", "corrected", "by repetition")


def run_differences(n: int, n_folds: int, n_repeats: int, new_data: bool, rng: np.random.Generator) -> np.ndarray:
    """Difference in accuracy of the learners in every run.

    Parameters
    ----------
    n : int
        Samples in a data set; each is a trial, the unit of a split.
    n_folds, n_repeats : int
    new_data : bool
        Draw a data set for each repetition instead of one for all.
    rng : Generator

    Returns
    -------
    ndarray, shape (n_repeats, n_folds)
    """
    differences = np.empty((n_repeats, n_folds))
    for repeat in range(n_repeats):
        if repeat == 0 or new_data:
            labels = rng.permutation(np.arange(n) % 2)
            features = rng.normal(size=(2, n, N_FEATURES)) + SHIFT * (2 * labels - 1)[:, None]
        member = rng.permutation(n)[:, None] % n_folds == np.arange(n_folds)
        accuracy = [_accuracies(x, labels, member) for x in features]
        differences[repeat] = accuracy[0] - accuracy[1]
    return differences


def _accuracies(x: np.ndarray, labels: np.ndarray, member: np.ndarray) -> np.ndarray:
    """Accuracy on each fold of nearest centroids fitted on the others, shape (n_folds,)."""
    train = [(~member & (labels == k)[:, None]).astype(float) for k in (0, 1)]
    means = [chosen.T @ x / chosen.sum(axis=0)[:, None] for chosen in train]
    distance = [((x[:, None] - m) ** 2).sum(axis=2) for m in means]
    right = (distance[1] < distance[0]) == (labels == 1)[:, None]
    return (right & member).sum(axis=0) / member.sum(axis=0)


def false_positives(
    n: int, n_folds: int, n_repeats: int, *, new_data: bool, n_sims: int, seed: int, bootstrap: bool = True
) -> dict[str, float]:
    """Share of simulations in which each test finds a difference at 5 %; NaN where it cannot be made."""
    found = {test: np.full(n_sims, np.nan) for test in TESTS}
    for sim, rng in enumerate(np.random.default_rng(seed).spawn(n_sims)):
        differences = run_differences(n, n_folds, n_repeats, new_data, rng)
        test = paired_test(differences, n - n / n_folds, n / n_folds)
        found["naive"][sim] = test["p_naive"] < LEVEL
        found["corrected"][sim] = test["p"] < LEVEL
        if bootstrap:
            interval = bootstrap_interval(differences, rng, method="percentile", n_resamples=999)
            found["bootstrap"][sim] = interval.low > 0 or interval.high < 0
        if n_repeats > 1:
            repeats = np.repeat(np.arange(n_repeats), n_folds)
            found["by repetition"][sim] = independent_repeats(differences, repeats)["p"] < LEVEL
    return {test: float(values.mean()) for test, values in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sims", type=int, default=2000)
    options = parser.parse_args()
    start, rows = time.monotonic(), []
    for new_data in (False, True):
        for n, n_folds, n_repeats in DESIGNS:
            if new_data and n_repeats == 1:
                continue
            rates = false_positives(n, n_folds, n_repeats, new_data=new_data, n_sims=options.sims, seed=0)
            name = "new data" if new_data else "same data"
            rows.append({"repetitions": name, "samples": n, "folds": n_folds, "repeats": n_repeats} | rates)
    table = pd.DataFrame(rows).set_index(["repetitions", "samples", "folds", "repeats"])
    error = 100 * np.sqrt(LEVEL * (1 - LEVEL) / options.sims)
    print(f"false positives in %, {options.sims} simulations, standard error about {error:.1f} at 5 %")
    print((100 * table).round(1).to_string(na_rep="–"))
    print(f"{time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
