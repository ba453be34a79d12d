"""A check before distilling: does a guide tell more about what the face shows than the label does?

A video-only student can learn from a guide only what the face shows. A rating tells a part of that, and chance; a
guide tells another part, and its own errors. What the face shows is unknown on real data, but a prediction from the
video, by a model that has not seen the trial, stands for it. Guide and label are compared by their correlation with
that prediction over trials: a rating is of a whole trial, and windows of one trial are not so many agreements.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

N_FOLDS = 5
N_BOOTSTRAP = 2000
MARGIN = 0.1  # a guide that saw the labels shares some of their chance, so it has to win by this much
# Ridge penalty per standardised feature: a face tells little, so shrink hard. One value for all folds: chosen fold by
# fold, the folds that happen to fit best would count most, and the prediction would lean against the label.
PENALTY = 4.0
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
    ratio, ratio_low, ratio_high : float
        ``r_guide / r_label`` and its interval: unlike the margin free of how well the face model reads faces, but of
        no use where the label's correlation is near 0. The verdict goes by the margin.
    r_out_of_fold : float
        As `r_guide`, of guides that did not see the trial; NaN if none was given.
    nll_in_sample, nll_out_of_fold : float
        Mean negative log-likelihood of the labels in nats: of the guide as a student hears it, and of one that did
        not see the trial. A large difference is memory.
    n_windows, n_trials : int
    verdict : str
        Of ``VERDICTS``.
    """

    r_guide: float
    r_label: float
    margin: float
    low: float
    high: float
    ratio: float
    ratio_low: float
    ratio_high: float
    r_out_of_fold: float
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
    films: ArrayLike | None = None,
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
    subjects, films, unseen_subjects
        As in :func:`video_prediction`.
    out_of_fold : array-like, shape (n_windows,), optional
        P(high) of guides of the same kind that did not see the trial.
    saw_video : bool
        Whether the guide has seen the faces: then its margin says nothing, and the verdict is ``cannot say``.
    confidence : float
        Coverage of the intervals.

    Returns
    -------
    GuideReport
        ``distil`` if the margin reaches 0.1 and its interval lies above 0; ``do not distil`` if its interval lies
        below 0; else ``distil gently``. How often that is right is known on the twin alone, see ``docs/method.md``.

    Raises
    ------
    ValueError
        Shapes differ, a probability lies outside 0 .. 1, the guide is constant, or as in :func:`video_prediction`.
    """
    video = np.asarray(video, float)
    prediction = video
    if video.ndim > 1:
        apart = {"subjects": subjects, "films": films, "unseen_subjects": unseen_subjects}
        prediction = video_prediction(video, labels, groups, seed=seed, **apart)
    _, labels, groups = _checked(prediction[:, None], labels, groups)
    guide = _probabilities("guide", guide, len(labels))
    other = None if out_of_fold is None else _probabilities("out_of_fold", out_of_fold, len(labels))
    _, trial = np.unique(groups, return_inverse=True)
    shown, told, rated = (_by_trial(trial, x) for x in (prediction, guide, labels))
    n_trials = len(shown)
    once = np.ones((1, n_trials))
    draws = np.random.default_rng(seed).multinomial(n_trials, np.full(n_trials, 1 / n_trials), size=N_BOOTSTRAP)
    found = {"r_guide": _correlations(once, told, shown), "r_label": _correlations(once, rated, shown)}
    found["r_out_of_fold"] = np.nan if other is None else _correlations(once, _by_trial(trial, other), shown)
    with np.errstate(divide="ignore", invalid="ignore"):
        found |= {"margin": found["r_guide"] - found["r_label"], "ratio": found["r_guide"] / found["r_label"]}
        of_guide, of_label = _correlations(draws, told, shown), _correlations(draws, rated, shown)
        ends = [(1 - confidence) / 2, (1 + confidence) / 2]
        found["low"], found["high"] = np.nanquantile(of_guide - of_label, ends)
        found["ratio_low"], found["ratio_high"] = np.nanquantile(of_guide / of_label, ends)
    numbers = {name: float(np.squeeze(value)) for name, value in found.items()}
    verdict = "distil gently"
    if saw_video:
        verdict = "cannot say"
    elif numbers["low"] > 0 and numbers["margin"] >= MARGIN:
        verdict = "distil"
    elif numbers["high"] < 0:
        verdict = "do not distil"
    nll = {"nll_in_sample": _nll(guide, labels), "nll_out_of_fold": np.nan if other is None else _nll(other, labels)}
    return GuideReport(**numbers, **nll, n_windows=len(labels), n_trials=int(n_trials), verdict=verdict)


def as_frame(reports: dict[str, GuideReport]) -> pd.DataFrame:
    """Several guides' reports, one row each, indexed by the guide's name."""
    return pd.DataFrame.from_dict({name: vars(report) for name, report in reports.items()}, orient="index")


def mean_face(video: np.ndarray, frame_mask: np.ndarray) -> np.ndarray:
    """Mean over the frames that there are: (n_windows, n_frames, n_features) and mask to (n_windows, n_features)."""
    mask = frame_mask[..., None].astype(video.dtype)
    return (video * mask).sum(axis=1) / mask.sum(axis=1)


def video_prediction(
    video: ArrayLike,
    labels: ArrayLike,
    groups: ArrayLike,
    *,
    seed: int,
    subjects: ArrayLike | None = None,
    films: ArrayLike | None = None,
    unseen_subjects: bool = False,
) -> np.ndarray:
    """Predict each trial's label from the face, by ridge regressions that did not see the trial.

    Parameters
    ----------
    video : array-like, shape (n_windows, n_features)
        Features of the face, which are averaged over a trial.
    labels, groups : array-like, shape (n_windows,)
        0 or 1, one for all windows of a trial; trial of each window.
    seed : int
        Of the folds.
    subjects : array-like, shape (n_windows,), optional
        Person of each window. A person's mean face, which differs more between people than feelings change it, is
        then taken away; it needs no label.
    films : array-like, shape (n_windows,), optional
        Stimulus of each window. Each film is then predicted by models that saw other films alone: a guide and a face
        that have nothing but the film in common would agree otherwise.
    unseen_subjects : bool
        Predict each person by models that saw other people alone; with `films`, other people at other films.

    Returns
    -------
    ndarray, shape (n_windows,)
        The same for all windows of a trial.

    Raises
    ------
    ValueError
        Something does not fit, or there are fewer trials (films, people that are to be unseen) than folds.
    """
    video, labels, groups = _checked(video, labels, groups)
    _, first, trial = np.unique(groups, return_index=True, return_inverse=True)
    people = np.zeros(len(labels)) if subjects is None else np.asarray(subjects)
    for name, told, needed in (("subjects", people, unseen_subjects), ("films", films, films is not None)):
        if (told is not None and np.shape(told) != labels.shape) or (needed and len(np.unique(told)) < N_FOLDS):
            raise ValueError(f"{name}: expected one per window, of {N_FOLDS} or more if they are to be kept apart")
    faces, high = _by_trial(trial, video), labels[first]
    _, person = np.unique(people[first], return_inverse=True)
    faces = faces - _by_trial(person, faces)[person]
    kept_apart = [person] if unseen_subjects else []
    kept_apart += [np.asarray(films)[first]] if films is not None else []
    prediction = np.empty(len(high))
    for others, mine in _folds(faces, high, kept_apart, seed):
        # Ratings within a person, as faces: a person's faces sum to zero, so with unlike base rates those of the other
        # trials would tell about this one, with the wrong sign.
        within = high[others] - _by_trial(person, high, others)[person[others]]
        model = make_pipeline(StandardScaler(), Ridge(PENALTY * faces.shape[1])).fit(faces[others], within)
        prediction[mine] = model.predict(faces[mine])
    return prediction[trial]


def _folds(faces: np.ndarray, high: np.ndarray, kept_apart: list[np.ndarray], seed: int) -> list[tuple]:
    """Training and predicted trials: of disjoint groups of every kind, or of any trials, both labels in every fold."""
    if not kept_apart:
        dealer = StratifiedGroupKFold(N_FOLDS, shuffle=True, random_state=seed)
        return list(dealer.split(faces, high, np.arange(len(high))))
    dealer = GroupKFold(N_FOLDS, shuffle=True, random_state=seed)  # reads no label, so that none tells of its own fold
    dealt = [[mine for _, mine in dealer.split(faces, groups=groups)] for groups in kept_apart]
    folds = []
    for parts in product(*dealt):
        inside = np.stack([np.isin(np.arange(len(faces)), part) for part in parts])
        folds.append((np.flatnonzero(~inside.any(0)), np.flatnonzero(inside.all(0))))
    return [(others, mine) for others, mine in folds if len(mine)]


def _by_trial(trial: np.ndarray, values: np.ndarray, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
    """Mean over (some of) the rows of each trial, which are numbered from 0; shape (n_trials, ...)."""
    sums, counts = np.zeros((trial.max() + 1, *values.shape[1:])), np.bincount(trial[rows], minlength=trial.max() + 1)
    np.add.at(sums, trial[rows], values[rows])
    return sums / np.maximum(counts, 1).reshape(-1, *[1] * (values.ndim - 1))


def _checked(video: ArrayLike, labels: ArrayLike, groups: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, labels as numbers, and trials, if they go together."""
    video, labels, groups = np.asarray(video, float), np.asarray(labels), np.asarray(groups)
    shapes = video.shape, labels.shape, groups.shape
    if video.ndim != 2 or shapes[1:] != ((len(video),), (len(video),)):
        raise ValueError(f"video, labels, groups: expected shapes (n, n_features), (n,), (n,), got {shapes}")
    if not np.isin(labels, (0, 1)).all() or len(np.unique(labels)) < 2:
        raise ValueError("labels: expected 0 (low) and 1 (high), both of them")
    if not np.isfinite(video).all():
        raise ValueError("video: expected finite numbers")
    names, trial = np.unique(groups, return_inverse=True)
    if len(names) < N_FOLDS:
        raise ValueError(f"groups: expected {N_FOLDS} trials or more, got {len(names)}")
    if not np.isin(_by_trial(trial, labels), (0, 1)).all():
        raise ValueError("labels: expected one label for all windows of a trial; groups must name trials, not people")
    return video, labels.astype(float), groups


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
    if name == "guide" and np.ptp(values) == 0:
        raise ValueError("guide: expected answers that differ between windows, got one value for all")
    return values
