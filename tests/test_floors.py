"""What is reached by knowing only who it is, or only the film: no more than chance where a split is honest about it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from cdgkd_utils.data.splits import deal_trials, make_folds, trial_ids
from cdgkd_utils.data.twin import TwinSettings, plan_subject
from cdgkd_utils.results.metrics import knows_only_who

PEOPLE = pd.DataFrame([(s, t) for s in range(1, 23) for t in range(1, 41)], columns=["subject", "trial"])
SETTINGS = TwinSettings(n_subjects=22, n_trials=40)


def above_chance(protocol, part, n_seeds=12, dealt=None):
    """Accuracy of knowing only who it is on permuted labels, less that of its guesses at random: mean, standard error.

    `dealt` deals training and test part in another way than the protocol.
    """
    gains = []
    for seed in range(n_seeds):
        labels = np.random.default_rng(seed).permutation(np.arange(len(PEOPLE)) % 25 < 13).astype(int)  # 52 % high
        subjects = PEOPLE["subject"].to_numpy()
        folds = [(f.train, f.rows[part]) for f in make_folds(PEOPLE, labels, protocol, seed=seed)]
        for train, test in dealt(labels, seed) if dealt else folds:
            found = knows_only_who(labels, subjects, train, test)
            guesses = pd.Series(labels[train]).groupby(subjects[train]).mean().loc[subjects[test]].to_numpy() > 0.5
            gains.append(found - (guesses.mean() * labels.mean() + (1 - guesses.mean()) * (1 - labels.mean())))
    return np.mean(gains), np.std(gains) / np.sqrt(len(gains))


@pytest.mark.parametrize(("protocol", "part"), [("trial+subject", "test_trial"), ("trial", "test_trial")])
def test_on_permuted_labels_knowing_who_it_is_helps_nobody(protocol, part):
    mean, error = above_chance(protocol, part)
    assert abs(mean) < 3 * error + 0.005 and error < 0.01


def test_dealing_by_label_would_have_leaked_each_persons_share():
    """Why trials are dealt by person alone: each person's share of high in the test part copied the training part's."""

    def by_label(labels, seed):
        everything, trials, subjects = np.arange(len(PEOPLE)), trial_ids(PEOPLE), PEOPLE["subject"].to_numpy()
        return [deal_trials(everything, trials, subjects, labels, 4, fold, seed) for fold in range(3)]

    mean, error = above_chance("trial", "test_trial", dealt=by_label)
    assert mean > 0.03 and mean > 5 * error


def film_gain(film, protocol):
    """What knowing only the film scores on unseen ratings of valence, above saying the commoner answer throughout."""
    settings = replace(SETTINGS, film=film)
    gains = []
    for seed in range(3):
        plans = [plan_subject(replace(settings, seed=seed), subject) for subject in range(1, 23)]
        index = pd.concat(
            [pd.DataFrame({"subject": p.subject, "trial": p.trial, "stimulus": p.stimulus}) for p in plans]
        )
        labels = np.concatenate([p.ratings[:, 0] > 5 for p in plans]).astype(int)
        for fold in make_folds(index, labels, protocol, seed=seed):
            film_of = index["stimulus"].to_numpy()
            high = pd.Series(labels[fold.train]).groupby(film_of[fold.train]).mean()
            test = fold.rows[f"test_{protocol}"]
            said = high.reindex(film_of[test], fill_value=labels[fold.train].mean()).to_numpy() > 0.5
            gains.append((said == labels[test]).mean() - max(labels[test].mean(), 1 - labels[test].mean()))
    return np.mean(gains)


def test_only_new_films_tell_a_film_effect_from_a_feeling():
    assert film_gain(0.6, "trial") > 0.05  # known films: their average tells of a new person's rating
    assert film_gain(0.6, "stimulus") < 0.01
    assert film_gain(0.0, "trial") < 0.01 and film_gain(0.0, "stimulus") < 0.01
