"""How often tests find a difference between equal learners, whose runs share data as real ones do."""

import numpy as np
import pytest
from scipy import stats

from cdgkd_utils.results.statistics import summarise

N, N_FOLDS, N_REPEATS, N_SIMS = 60, 3, 8, 200


def run_differences(new_data, rng):
    """Difference in accuracy of two nearest-centroid learners on different, equally good features of the same windows.

    Of repeated k-fold runs, shape (N_REPEATS, N_FOLDS): all repetitions split one data set, as on files, or each draws
    its own, as on the twin.
    """
    differences = np.empty((N_REPEATS, N_FOLDS))
    for repeat in range(N_REPEATS):
        if repeat == 0 or new_data:
            labels = rng.permutation(np.arange(N) % 2)
            features = rng.normal(size=(2, N, 4)) + 0.35 * (2 * labels - 1)[:, None]
        fold = rng.permutation(N) % N_FOLDS
        for number in range(N_FOLDS):
            train, test = fold != number, fold == number
            right = []
            for x in features:
                low, high = (x[train & (labels == k)].mean(axis=0) for k in (0, 1))
                nearer = ((x[test] - high) ** 2).sum(axis=1) < ((x[test] - low) ** 2).sum(axis=1)
                right.append((nearer == labels[test]).mean())
            differences[repeat, number] = right[0] - right[1]
    return differences


@pytest.fixture(scope="module")
def rates():
    """Share of simulations in which each test says p < .05, by whether repetitions have data of their own."""
    repeat, found = np.repeat(np.arange(N_REPEATS), N_FOLDS), {}
    for new_data in (False, True):
        runs = [run_differences(new_data, rng) for rng in np.random.default_rng(1).spawn(N_SIMS)]
        corrected = [summarise(d, N - N / N_FOLDS, N / N_FOLDS) for d in runs]
        by_repetition = [summarise(d, repeat=repeat) for d in runs]
        said = {"naive": [one["p_naive"] for one in corrected], "corrected": [one["p"] for one in corrected]}
        said["by repetition"] = [one["p"] for one in by_repetition]
        found[new_data] = {name: np.mean(np.array(p) < 0.05) for name, p in said.items()}
    return found


def test_one_data_set_split_again_and_again_needs_the_correction(rates):
    held = stats.binom.ppf(1 - 1e-4, N_SIMS, 0.05) / N_SIMS
    assert rates[False]["corrected"] <= held
    assert rates[False]["naive"] > 0.25 and rates[False]["by repetition"] > 0.25  # however many runs are made


def test_where_every_repetition_has_data_of_its_own_their_means_are_independent(rates):
    held = stats.binom.ppf(1 - 1e-4, N_SIMS, 0.05) / N_SIMS
    assert rates[True]["by repetition"] <= held and rates[True]["corrected"] <= held
