"""A check before distilling: does a guide tell more about what the face shows than the label does?

A video-only student can learn from a guide only what the face shows. A rating tells a part of that, and chance; a
guide tells another part, and its own errors. What the face shows is unknown on real data, but other trials say how
faces and ratings go together: a prediction from the video, by a model that has not seen the trial, stands for it.
The report compares guide and label by their correlation with that prediction, trial by trial: a rating is of a whole
trial, and a model of single windows would take windows of one trial for so many agreements. Knows nothing of models.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from .video_prediction import by_trial, checked, video_prediction

N_BOOTSTRAP = 2000
MARGIN = 0.1  # a guide that saw the labels shares some of their chance, so it has to win by this much
VERDICTS = {
    "distil": "the guide tells more about what the face shows than the label does",
    "distil gently": "guide and label cannot be told apart; keep the guide's weight at 0.5 or below",
    "do not distil": "the label tells more about what the face shows than the guide does",
    "cannot say": "a guide that has seen the face agrees with it anyway; look at its memory instead",
}


@dataclass(frozen=True)
class GuideReport:
    """What the check found; correlations and intervals are over trials.

    Attributes
    ----------
    r_guide, r_label : float
        Correlation of the guide's mean P(high) of a trial, and of its label, with the out-of-fold video prediction.
    margin, low, high : float
        ``r_guide − r_label`` and its bootstrap interval over trials.
    nll_in_sample, nll_out_of_fold : float
        Mean negative log-likelihood of the labels in nats: of the guide as a student hears it, and of one that did
        not see the trial (NaN if none was given). A large difference is memory.
    n_windows, n_trials : int
    verdict : str
        Of ``VERDICTS``.
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


def guide_report(
    guide: ArrayLike,
    labels: ArrayLike,
    video: ArrayLike,
    groups: ArrayLike,
    *,
    seed: int,
    subjects: ArrayLike | None = None,
    unseen_subjects: bool = False,
    out_of_fold: ArrayLike | None = None,
    saw_video: bool = False,
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
    subjects, unseen_subjects
        As in :func:`video_prediction`.
    out_of_fold : array-like, shape (n_windows,), optional
        P(high) of guides of the same kind that did not see the trial.
    saw_video : bool
        Whether the guide has seen the faces: then its margin says nothing, and the verdict is ``cannot say``.
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
        Shapes differ, a probability lies outside 0 .. 1, a label is not 0 or 1 or changes within a trial, or guide or
        labels are constant.

    Notes
    -----
    How often the verdict is right is known on the twin alone, with about 350 trials, from a confirmation on worlds and
    people of its own: ``configs/beyond.md``, ``figures/beyond_worlds.csv``, notebook 08.

    References
    ----------
    guides.md, section 5; worlds.md, section 6 (where the margin was found, after the fact).
    """
    video = np.asarray(video, float)
    if video.ndim == 1:
        video, labels, groups = checked(video[:, None], labels, groups)
        prediction = video[:, 0]
    else:
        people = {"subjects": subjects, "unseen_subjects": unseen_subjects}
        prediction = video_prediction(video, labels, groups, seed=seed, **people)
        _, labels, groups = checked(video, labels, groups)
    guide = _probabilities("guide", guide, len(labels))
    other = None if out_of_fold is None else _probabilities("out_of_fold", out_of_fold, len(labels))
    if np.ptp(guide) == 0:
        raise ValueError("guide: expected answers that differ between windows, got one value for all")
    _, trial = np.unique(groups, return_inverse=True)
    shown, told, rated = (by_trial(trial, x[:, None])[:, 0] for x in (prediction, guide, labels))
    n_trials = len(shown)
    r_guide, r_label = (_correlations(np.ones((1, n_trials)), x, shown)[0] for x in (told, rated))
    counts = np.random.default_rng(seed).multinomial(n_trials, np.full(n_trials, 1 / n_trials), size=N_BOOTSTRAP)
    drawn = _correlations(counts, told, shown) - _correlations(counts, rated, shown)
    low, high = np.nanquantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    margin = r_guide - r_label
    verdict = "distil gently"
    if saw_video:
        verdict = "cannot say"
    elif low > 0 and margin >= MARGIN:
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


def _correlations(counts: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Correlation over trials for each row of `counts`, how often each trial is taken."""
    n, a_, b_, aa, bb, ab = np.stack([np.ones_like(a), a, b, a * a, b * b, a * b]) @ counts.T
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
