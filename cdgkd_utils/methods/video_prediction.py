"""What a face shows, predicted from the faces and labels of other trials."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from sklearn.linear_model import Ridge
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

N_FOLDS = 5
# Ridge penalty per standardised feature: a face tells little, so shrink hard. One value for all folds: chosen fold by
# fold, the folds that happen to fit best would count most, and the prediction would lean against the label.
PENALTY = 4.0


def mean_face(video: np.ndarray, frame_mask: np.ndarray) -> np.ndarray:
    """Mean features over the frames that there are.

    Parameters
    ----------
    video : ndarray, shape (n_windows, n_frames, n_features)
    frame_mask : ndarray, shape (n_windows, n_frames), bool
        At least one frame of each window.

    Returns
    -------
    ndarray, shape (n_windows, n_features)
    """
    mask = frame_mask[..., None].astype(video.dtype)
    return (video * mask).sum(axis=1) / mask.sum(axis=1)


def video_prediction(
    video: ArrayLike,
    labels: ArrayLike,
    groups: ArrayLike,
    *,
    seed: int,
    subjects: ArrayLike | None = None,
    unseen_subjects: bool = False,
) -> np.ndarray:
    """Predict each trial's label from the face, by ridge regressions that did not see the trial.

    Parameters
    ----------
    video : array-like, shape (n_windows, n_features)
        Features of the face, such as the mean over a window's frames; their mean over a trial is used.
    labels : array-like of {0, 1}, shape (n_windows,)
        One for all windows of a trial.
    groups : array-like, shape (n_windows,)
        Trial of each window.
    seed : int
        Of the folds.
    subjects : array-like, shape (n_windows,), optional
        Person of each window. A person's mean face, which differs more between people than feelings change it, is
        then taken away; it needs no label.
    unseen_subjects : bool
        Predict each person by models that saw other people alone.

    Returns
    -------
    ndarray, shape (n_windows,)
        The same for all windows of a trial.

    Raises
    ------
    ValueError
        Shapes differ, a label is not 0 or 1 or changes within a trial, one class is missing, or there are fewer trials
        (`unseen_subjects`: people) than folds.
    """
    video, labels, groups = checked(video, labels, groups)
    _, first, trial = np.unique(groups, return_index=True, return_inverse=True)
    people = np.zeros(len(labels)) if subjects is None else np.asarray(subjects)
    if people.shape != labels.shape or (unseen_subjects and len(np.unique(people)) < N_FOLDS):
        raise ValueError(f"subjects: expected one per window, of {N_FOLDS} people or more if they are to be unseen")
    faces, high = by_trial(trial, video), labels[first]
    _, person = np.unique(people[first], return_inverse=True)
    faces = faces - by_trial(person, faces)[person]
    prediction = np.empty(len(high))
    folds = StratifiedGroupKFold(N_FOLDS, shuffle=True, random_state=seed)  # both labels in every fold
    for others, mine in folds.split(faces, high, person if unseen_subjects else np.arange(len(high))):
        # Ratings within a person, as faces: a person's faces sum to zero, so with unlike base rates those of the other
        # trials would tell about this one, with the wrong sign.
        within = high[others] - by_trial(person, high[:, None], others)[person[others], 0]
        model = make_pipeline(StandardScaler(), Ridge(PENALTY * faces.shape[1])).fit(faces[others], within)
        prediction[mine] = model.predict(faces[mine])
    return prediction[trial]


def by_trial(trial: np.ndarray, values: np.ndarray, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
    """Mean over (some of) the rows of each trial, which are numbered from 0, shape (n_trials, n_columns)."""
    sums, counts = np.zeros((trial.max() + 1, values.shape[1])), np.bincount(trial[rows], minlength=trial.max() + 1)
    np.add.at(sums, trial[rows], values[rows])
    return sums / np.maximum(counts, 1)[:, None]


def checked(video: ArrayLike, labels: ArrayLike, groups: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, labels as numbers, and trials, if they go together; see :func:`video_prediction` for the errors."""
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
    _, trial = np.unique(groups, return_inverse=True)
    high = np.bincount(trial, labels)
    if ((high > 0) & (high < np.bincount(trial))).any():
        raise ValueError("labels: expected one label for all windows of a trial; groups must name trials, not people")
    return video, labels.astype(float), groups
