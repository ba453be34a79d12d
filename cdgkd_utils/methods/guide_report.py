"""A check before distilling: does a guide tell more about what the face shows than the label does?

A video-only student can learn from a guide only what the face shows. A rating tells a part of that, and chance; a
guide tells another part, and its own errors. What the face shows is unknown on real data, but other trials say how
faces and ratings go together: a prediction from the video, by a model that has not seen the trial, stands for it.
The report compares guide and label by their correlation with that prediction. Knows nothing of models.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

N_FOLDS = 5
N_BOOTSTRAP = 2000
MARGIN = 0.1  # a guide that saw the labels shares some of their chance, so it has to win by this much
PENALTIES = np.logspace(1, 6, 11)  # of the ridge regression; the best by efficient leave-one-out inside each fold
VERDICTS = {
    "distil": "the guide tells more about what the face shows than the label does",
    "distil gently": "guide and label cannot be told apart; keep the guide's weight at 0.5 or below",
    "do not distil": "the label tells more about what the face shows than the guide does",
}


@dataclass(frozen=True)
class GuideReport:
    """What the check found; correlations are over windows, intervals over whole trials.

    Attributes
    ----------
    r_guide, r_label : float
        Correlation of the guide's P(high), and of the label, with the out-of-fold video prediction.
    margin, low, high : float
        ``r_guide − r_label`` and its bootstrap interval over trials.
    nll_in_sample, nll_out_of_fold : float
        Mean negative log-likelihood of the labels in nats: of the guide as a student hears it, and of one that did
        not see the trial (NaN if none was given). A large difference is memory.
    n_windows, n_trials : int
    verdict : {"distil", "distil gently", "do not distil"}
    """

    r_guide: float
    r_label: float
    margin: float
    low: float
    high: float
    nll_in_sample: float
    nll_out_of_fold: float
    n_windows: int
    n_trials: int
    verdict: str

    def text(self) -> str:
        """The report in three sentences."""
        memory = ""
        if np.isfinite(self.nll_out_of_fold):
            memory = (
                f" On trials it saw, the guide's log-likelihood is {self.nll_in_sample:.2f} nats, on others "
                f"{self.nll_out_of_fold:.2f}: the difference is memory."
            )
        return (
            f"Correlation with what the face shows: guide {self.r_guide:.2f}, label {self.r_label:.2f}, margin "
            f"{self.margin:+.2f} [{self.low:+.2f}, {self.high:+.2f}] ({self.n_trials} trials).{memory} "
            f"{self.verdict.capitalize()}: {VERDICTS[self.verdict]}."
        )


def video_prediction(video: ArrayLike, labels: ArrayLike, groups: ArrayLike, *, seed: int) -> np.ndarray:
    """Predict each window's label from the face, by ridge regressions that did not see its trial.

    Parameters
    ----------
    video : array-like, shape (n_windows, n_features)
        Features of the face, such as the mean over a window's frames, scaled within people if labels are.
    labels : array-like of {0, 1}, shape (n_windows,)
    groups : array-like, shape (n_windows,)
        Trial of each window; windows of one trial stay together.
    seed : int
        Of the folds.

    Returns
    -------
    ndarray, shape (n_windows,)

    Raises
    ------
    ValueError
        Shapes differ, a label is not 0 or 1, one class is missing, or there are fewer trials than folds.
    """
    video, labels, groups = _checked(video, labels, groups)
    prediction = np.empty(len(labels))
    # Stratified: otherwise a fold with many high trials lowers the mean of those it is predicted from.
    folds = StratifiedGroupKFold(N_FOLDS, shuffle=True, random_state=seed)
    for others, mine in folds.split(video, labels, groups):
        model = make_pipeline(StandardScaler(), RidgeCV(PENALTIES)).fit(video[others], labels[others])
        prediction[mine] = model.predict(video[mine]) - labels[others].mean()
    return prediction


def guide_report(
    guide: ArrayLike,
    labels: ArrayLike,
    video: ArrayLike,
    groups: ArrayLike,
    *,
    seed: int,
    out_of_fold: ArrayLike | None = None,
    confidence: float = 0.95,
) -> GuideReport:
    """Whether a guide is worth listening to, from what a user has: its answers, the labels and the faces.

    Parameters
    ----------
    guide : array-like, shape (n_windows,)
        Its P(high) on the student's training windows, as the student would hear it.
    labels : array-like of {0, 1}, shape (n_windows,)
    video : array-like, shape (n_windows, n_features), or (n_windows,)
        Features of the face, or an out-of-fold prediction made elsewhere. Never a prediction by a model that saw
        the trial: it would contain the label's chance.
    groups : array-like, shape (n_windows,)
        Trial of each window.
    seed : int
        Of folds and bootstrap.
    out_of_fold : array-like, shape (n_windows,), optional
        P(high) of guides of the same kind that did not see the trial.
    confidence : float
        Coverage of the margin's interval.

    Returns
    -------
    GuideReport
        ``distil`` if the margin reaches 0.1 and its interval lies above 0; ``do not distil`` if its interval lies
        below 0; else ``distil gently``.

    Raises
    ------
    ValueError
        Shapes differ, a probability lies outside 0 .. 1, a label is not 0 or 1, or guide or labels are constant.

    References
    ----------
    guides.md, section 5; worlds.md, section 6 (where the margin was found, after the fact).
    """
    video = np.asarray(video, float)
    prediction = video if video.ndim == 1 else video_prediction(video, labels, groups, seed=seed)
    _, labels, groups = _checked(prediction[:, None], labels, groups)
    guide = _probabilities("guide", guide, len(labels))
    other = None if out_of_fold is None else _probabilities("out_of_fold", out_of_fold, len(labels))
    if np.ptp(guide) == 0:
        raise ValueError("guide: expected answers that differ between windows, got one value for all")
    _, trial = np.unique(groups, return_inverse=True)
    r_guide, r_label = (_correlations(np.ones((1, trial.max() + 1)), trial, x, prediction)[0] for x in (guide, labels))
    rng = np.random.default_rng(seed)
    n_trials = int(trial.max()) + 1
    counts = rng.multinomial(n_trials, np.full(n_trials, 1 / n_trials), size=N_BOOTSTRAP)
    drawn = _correlations(counts, trial, guide, prediction) - _correlations(counts, trial, labels, prediction)
    low, high = np.nanquantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    margin = r_guide - r_label
    verdict = "distil gently"
    if low > 0 and margin >= MARGIN:
        verdict = "distil"
    elif high < 0:
        verdict = "do not distil"
    numbers = {"r_guide": r_guide, "r_label": r_label, "margin": margin, "low": low, "high": high}
    return GuideReport(
        **{name: float(number) for name, number in numbers.items()},
        nll_in_sample=_nll(guide, labels),
        nll_out_of_fold=float("nan") if other is None else _nll(other, labels),
        n_windows=len(labels),
        n_trials=n_trials,
        verdict=verdict,
    )


def as_frame(reports: dict[str, GuideReport]) -> pd.DataFrame:
    """Several guides' reports, one row each, indexed by the guide's name."""
    return pd.DataFrame.from_dict({name: vars(report) for name, report in reports.items()}, orient="index")


def _correlations(counts: np.ndarray, trial: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Correlation over windows for each row of `counts`, how often each trial is taken; from sums by trial."""
    sums = np.stack([np.bincount(trial, x, minlength=counts.shape[1]) for x in (a * 0 + 1, a, b, a * a, b * b, a * b)])
    n, a_, b_, aa, bb, ab = sums @ counts.T
    with np.errstate(divide="ignore", invalid="ignore"):
        return (ab - a_ * b_ / n) / np.sqrt((aa - a_**2 / n) * (bb - b_**2 / n))


def _nll(probability: np.ndarray, labels: np.ndarray) -> float:
    told = np.where(labels == 1, probability, 1 - probability)
    return float(-np.log(np.clip(told, 1e-12, None)).mean())


def _probabilities(name: str, values: ArrayLike, n: int) -> np.ndarray:
    values = np.asarray(values, float)
    if values.shape != (n,):
        raise ValueError(f"{name}: expected one P(high) for each of {n} windows, got shape {values.shape}")
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"{name}: expected probabilities between 0 and 1; give P(high), not logits")
    return values


def _checked(video: ArrayLike, labels: ArrayLike, groups: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    video, labels, groups = np.asarray(video, float), np.asarray(labels), np.asarray(groups)
    if video.ndim != 2 or labels.shape != (len(video),) or groups.shape != (len(video),):
        raise ValueError(
            f"video, labels, groups: expected shapes (n, n_features), (n,), (n,), got {video.shape}, {labels.shape}, "
            f"{groups.shape}"
        )
    if not np.isin(labels, (0, 1)).all() or len(np.unique(labels)) < 2:
        raise ValueError("labels: expected 0 (low) and 1 (high), both of them")
    if not np.isfinite(video).all():
        raise ValueError("video: expected finite numbers")
    if (n_groups := len(np.unique(groups))) < N_FOLDS:
        raise ValueError(f"groups: expected {N_FOLDS} trials or more, got {n_groups}")
    return video, labels.astype(float), groups
