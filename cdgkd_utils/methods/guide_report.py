"""A check before distilling: does a guide tell more about what the face shows than the label does?

A video-only student can learn from a guide only what the face shows. A prediction from the video, by a model that has
not seen the trial, stands for it; guide and label are compared by their correlation with it, over trials.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
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
    """What the check found; correlations and bootstrap intervals are over trials. The verdict goes by the margin."""

    r_guide: float  # correlation of the guide's mean P(high) of a trial with the out-of-fold video prediction
    r_label: float  # of the trial's label
    margin: float  # r_guide - r_label, and its interval
    low: float
    high: float
    ratio: float  # r_guide / r_label, free of how well the face model reads faces; useless with r_label near 0
    ratio_low: float
    ratio_high: float
    r_out_of_fold: float  # of guides that did not see the trial; NaN if none was given
    nll_in_sample: float  # mean negative log-likelihood of the labels, nats: as a student hears the guide, and of one
    nll_out_of_fold: float  # that did not see the trial; a large difference is memory
    n_windows: int
    n_trials: int
    verdict: str  # of VERDICTS

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
    out_of_fold: ArrayLike | None = None,
    saw_video: bool = False,
    **apart,
) -> GuideReport:
    """Whether a guide is worth listening to, from what a user has: its answers, the labels and the faces.

    Parameters
    ----------
    guide : array-like, shape (n_windows,)
        Its P(high) on the student's training windows, as the student would hear it.
    labels, groups : array-like, shape (n_windows,)
        0 or 1, and the trial of each window.
    video : array-like, shape (n_windows, n_features), or (n_windows,)
        Features of the face, or a prediction by a model that never saw the trial.
    seed : int
        Of folds and bootstrap.
    out_of_fold : array-like, shape (n_windows,), optional
        P(high) of guides of the same kind that did not see the trial.
    saw_video : bool
        Whether the guide has seen the faces: then its margin says nothing, and the verdict is ``cannot say``.
    **apart
        `subjects`, `films` and `unseen_subjects` of :func:`video_prediction`.

    Returns
    -------
    GuideReport
        ``distil`` if the margin reaches 0.1 and its interval of 95 % lies above 0, ``do not distil`` if that lies below
        0, else ``distil gently``. How often that is right is known on the twin alone, see ``docs/method.md``.
    """
    prediction = np.asarray(video, float)
    if prediction.ndim > 1:
        prediction = video_prediction(prediction, labels, groups, seed=seed, **apart)
    _, labels, trial = _checked(prediction[:, None], labels, groups)
    guide = _probabilities("guide", guide, len(labels))
    other = None if out_of_fold is None else _probabilities("out_of_fold", out_of_fold, len(labels))
    shown, told, rated = (_by_trial(trial, x) for x in (prediction, guide, labels))
    n = len(shown)
    draws = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=N_BOOTSTRAP)
    # The trials once each, then as drawn.
    of_guide, of_label = (_correlations(np.vstack([np.ones(n), draws]), x, shown) for x in (told, rated))
    with np.errstate(divide="ignore", invalid="ignore"):
        margins, ratios = of_guide - of_label, of_guide / of_label
    (low, high), (ratio_low, ratio_high) = (np.nanquantile(x[1:], [0.025, 0.975]) for x in (margins, ratios))
    verdict = "distil gently"
    if saw_video:
        verdict = "cannot say"
    elif low > 0 and margins[0] >= MARGIN:
        verdict = "distil"
    elif high < 0:
        verdict = "do not distil"
    numbers = [of_guide[0], of_label[0], margins[0], low, high, ratios[0], ratio_low, ratio_high]
    numbers.append(np.nan if other is None else _correlations(np.ones((1, n)), _by_trial(trial, other), shown)[0])
    numbers += [_nll(guide, labels), np.nan if other is None else _nll(other, labels)]
    return GuideReport(*map(float, numbers), n_windows=len(labels), n_trials=n, verdict=verdict)


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
    """Predict each trial's label from the face, by ridge regressions that did not see the trial, for all its windows.

    `video`, shape (n_windows, n_features), is averaged over a trial. With `subjects`, one per window, a person's mean
    face is taken away, which differs more between people than feelings change it. With `films` each film is predicted
    by models that saw other films alone: a guide and a face that have nothing but the film in common would agree
    otherwise. `unseen_subjects`: each person by models that saw other people alone.
    """
    video, labels, trial = _checked(video, labels, groups)
    first = np.unique(trial, return_index=True)[1]
    people = np.zeros(len(labels)) if subjects is None else np.asarray(subjects)
    for name, told, needed in (("subjects", people, unseen_subjects), ("films", films, films is not None)):
        if (told is not None and np.shape(told) != labels.shape) or (needed and len(np.unique(told)) < N_FOLDS):
            raise ValueError(f"{name}: expected one per window, of {N_FOLDS} or more if they are to be kept apart")
    faces, high = _by_trial(trial, video), labels[first]
    person = np.unique(people[first], return_inverse=True)[1]
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
    rows = np.arange(len(faces))
    if not kept_apart:
        return list(StratifiedGroupKFold(N_FOLDS, shuffle=True, random_state=seed).split(faces, high, rows))
    dealer = GroupKFold(N_FOLDS, shuffle=True, random_state=seed)  # reads no label, so that none tells of its own fold
    dealt = [[np.isin(rows, mine) for _, mine in dealer.split(faces, groups=groups)] for groups in kept_apart]
    inside = [np.stack(parts) for parts in product(*dealt)]
    return [(np.flatnonzero(~x.any(0)), np.flatnonzero(x.all(0))) for x in inside if x.all(0).any()]


def _by_trial(trial: np.ndarray, values: np.ndarray, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
    """Mean over (some of) the rows of each trial, which are numbered from 0; shape (n_trials, ...)."""
    sums, counts = np.zeros((trial.max() + 1, *values.shape[1:])), np.bincount(trial[rows], minlength=trial.max() + 1)
    np.add.at(sums, trial[rows], values[rows])
    return sums / np.maximum(counts, 1).reshape(-1, *[1] * (values.ndim - 1))


def _checked(video: ArrayLike, labels: ArrayLike, groups: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, labels as numbers, and numbers of the trials, if they go together."""
    video, labels, groups = np.asarray(video, float), np.asarray(labels), np.asarray(groups)
    if video.ndim != 2 or not len(video) == len(labels) == len(groups) or not np.isfinite(video).all():
        raise ValueError("video: expected finite numbers, one row for each of labels and groups")
    if not np.isin(labels, (0, 1)).all() or len(np.unique(labels)) < 2:
        raise ValueError("labels: expected 0 (low) and 1 (high), both of them")
    names, trial = np.unique(groups, return_inverse=True)
    if len(names) < N_FOLDS:
        raise ValueError(f"groups: expected {N_FOLDS} trials or more, got {len(names)}")
    if not np.isin(_by_trial(trial, labels), (0, 1)).all():
        raise ValueError("labels: expected one label for all windows of a trial; groups must name trials, not people")
    return video, labels.astype(float), trial


def _correlations(counts: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Correlation over trials for each row of `counts`, how often each trial is taken."""
    n, a_, b_, aa, bb, ab = np.stack([np.ones_like(a), a, b, a * a, b * b, a * b]) @ counts.T
    with np.errstate(divide="ignore", invalid="ignore"):
        return (ab - a_ * b_ / n) / np.sqrt((aa - a_**2 / n) * (bb - b_**2 / n))


def _nll(probability: np.ndarray, labels: np.ndarray) -> float:
    return -np.log(np.where(labels == 1, probability, 1 - probability).clip(1e-12)).mean()


def _probabilities(name: str, values: ArrayLike, n: int) -> np.ndarray:
    values = np.asarray(values, float)
    if values.shape != (n,) or not ((values >= 0) & (values <= 1)).all() or np.ptp(values) == 0:
        raise ValueError(f"{name}: expected P(high), not logits, of each of {n} windows, not the same for all")
    return values
