"""Are predicted probabilities true? Reliability by bins, expected calibration error and Brier score.

What is binned is P(high), not the probability of the predicted class: a model that overrates both classes alike
and one that leans to "high" are then told apart. Folding P(high) at 1/2 can only merge bins, so the error given
here is never below the "top-label" one of Guo et al. with bins of the same width.

References
----------
C. Guo et al., On calibration of modern neural networks, ICML 2017, eq. 3 (equal-width bins, closed on the right).
K. Nguyen and B. O'Connor, Posterior calibration and exploratory analysis for natural language processing models,
EMNLP 2015, section 3 (bins of equal mass).
G. W. Brier, Verification of forecasts expressed in terms of probability, Monthly Weather Review 78, 1950.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

N_BINS = 10


def reliability(
    y: np.ndarray, probability: np.ndarray, n_bins: int = N_BINS, *, equal_mass: bool = False
) -> pd.DataFrame:
    """Predicted against observed share of high, by bins of the predicted probability.

    Parameters
    ----------
    y : ndarray, shape (n_windows,)
        Labels, 0 (low) or 1 (high); or the true P(high), which only the synthetic twin knows.
    probability : ndarray, shape (n_windows,)
        Predicted P(high), in [0, 1].
    n_bins : int
    equal_mass : bool
        False: bins of width 1 / `n_bins`, each closed on its right side. True: bins cut so that each holds
        1 / `n_bins` of the windows; equal predictions share a bin, so there may be fewer of them.

    Returns
    -------
    DataFrame
        One row per bin that holds a window: ``n_windows``, ``predicted`` (mean probability) and ``observed``
        (share of high), in rising order.

    Raises
    ------
    ValueError
        As in :func:`calibration_error`.
    """
    y, probability = _checked(y, probability, n_bins)
    number = _bin_numbers(probability, n_bins, equal_mass)
    rows = pd.DataFrame({"n_windows": 1, "predicted": probability, "observed": y}).groupby(number)
    return rows.agg({"n_windows": "sum", "predicted": "mean", "observed": "mean"}).reset_index(drop=True)


def calibration_error(
    y: np.ndarray, probability: np.ndarray, n_bins: int = N_BINS, *, equal_mass: bool = False
) -> float:
    """Expected calibration error (ECE): mean distance of predicted and observed share, weighted by windows.

    Parameters
    ----------
    y, probability, n_bins, equal_mass
        As in :func:`reliability`.

    Returns
    -------
    float
        In [0, 1]; NaN without windows. Even true probabilities score above 0 on few trials; see
        :func:`error_if_calibrated`.

    Raises
    ------
    ValueError
        Shapes differ, a value lies outside [0, 1], or `n_bins` is not positive.
    """
    y, probability = _checked(y, probability, n_bins)
    if len(y) == 0:
        return float("nan")
    number = _bin_numbers(probability, n_bins, equal_mass)
    # n_b / n times |mean difference in bin b| is |sum of differences in bin b| / n.
    return float(np.abs(np.bincount(number, probability - y)).sum() / len(y))


def brier(y: np.ndarray, probability: np.ndarray) -> float:
    """Mean squared difference of probability and label, in [0, 1]; NaN without windows.

    Always saying 1/2 scores 0.25. Parameters and errors as in :func:`calibration_error`.
    """
    y, probability = _checked(y, probability)
    return float(np.mean((probability - y) ** 2)) if len(y) else float("nan")


def error_if_calibrated(
    probability: np.ndarray,
    trial: np.ndarray,
    rng: np.random.Generator,
    n_draws: int = 200,
    n_bins: int = N_BINS,
    *,
    equal_mass: bool = False,
) -> np.ndarray:
    """The calibration errors that these very probabilities would show if each of them were true.

    The floor to hold an observed ECE against: one label is drawn per trial, because windows share their trial's
    rating, so a test part tells as much as it has trials, not windows.

    Parameters
    ----------
    probability : ndarray, shape (n_windows,)
    trial : ndarray, shape (n_windows,)
        Any value that names the trial of each window, over all subjects.
    rng : Generator
    n_draws : int
    n_bins, equal_mass
        As in :func:`reliability`.

    Returns
    -------
    ndarray, shape (n_draws,)

    Raises
    ------
    ValueError
        As in :func:`calibration_error`, or there is no window.
    """
    trial = np.asarray(trial)
    _, probability = _checked(np.zeros(len(trial)), probability, n_bins)
    if len(probability) == 0:
        raise ValueError("probability: expected at least one window, got none")
    code = np.unique(trial, return_inverse=True)[1]
    number = _bin_numbers(probability, n_bins, equal_mass)
    labels = rng.random((n_draws, code.max() + 1))[:, code] < probability
    sums = [np.abs(np.bincount(number, probability - drawn)).sum() for drawn in labels]
    return np.array(sums) / len(probability)


def _bin_numbers(probability: np.ndarray, n_bins: int, equal_mass: bool) -> np.ndarray:
    """Number of each window's bin; a bin holds its upper edge."""
    n = len(probability)
    if equal_mass and n:
        # Place of the last window of the first k bins in rising order, in whole numbers: no quantile rounds it.
        last = [-(-k * n // n_bins) - 1 for k in range(1, n_bins)]
        edges = np.sort(probability)[last]
    else:
        edges = np.arange(1, n_bins) / n_bins
    return np.searchsorted(edges, probability, side="left")


def _checked(y: np.ndarray, probability: np.ndarray, n_bins: int = N_BINS) -> tuple[np.ndarray, np.ndarray]:
    y, probability = np.asarray(y, dtype=float), np.asarray(probability, dtype=float)
    if y.ndim != 1 or y.shape != probability.shape:
        raise ValueError(f"y and probability: expected one value each per window, got {y.shape}, {probability.shape}")
    for name, values in (("y", y), ("probability", probability)):
        if not ((values >= 0) & (values <= 1)).all():  # NaN is refused too
            raise ValueError(f"{name}: expected finite values in [0, 1]; pass probabilities, not logits")
    if n_bins < 1:
        raise ValueError(f"n_bins: expected at least 1, got {n_bins}")
    return y, probability
