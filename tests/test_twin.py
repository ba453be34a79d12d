"""Latents, views, ratings and clips of the twin against the equations, in all worlds and both designs."""

import math
from dataclasses import asdict, replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from cdgkd_utils.config import WORLDS
from cdgkd_utils.data.constants import MISSING_CLIPS, TARGETS
from cdgkd_utils.data.twin import (
    RATING_SCALE,
    TwinSettings,
    eeg_posterior,
    find_world,
    plan_subject,
    truth_table,
)
from cdgkd_utils.data.types import Windows

# Nothing shared; a face that knows nothing; a face without a part of its own; an unequal mixture.
ALL = (*WORLDS, "0/0.3/0.25/1.6", "0/0.4/0", "0.35/0.05/0", "0.1/0.25/0.4")
N_TRIALS = 20_000
TOLERANCE = 4 / math.sqrt(N_TRIALS * len(TARGETS))  # four standard errors of a correlation near 0; others have smaller


def correlation(a, b):
    return np.corrcoef(np.ravel(a), np.ravel(b))[0, 1]


def many(world, **settings):
    return plan_subject(TwinSettings(n_trials=N_TRIALS, world=world, **settings), 1)


@pytest.mark.parametrize("world", ALL)
def test_the_views_go_together_as_the_shares_say(world):
    plan, (shared, eeg, video) = many(world), TwinSettings(world=world).shares
    total = shared + eeg + video
    assert plan.z.var() == pytest.approx(total, abs=1.5 * TOLERANCE)
    for view, own in ((plan.x_eeg, eeg), (plan.x_video, video)):
        assert view.var() == pytest.approx(1, abs=1.5 * TOLERANCE) and abs(view.mean()) < TOLERANCE
        assert correlation(plan.z, view) == pytest.approx(math.sqrt((shared + own) / total), abs=TOLERANCE)
    assert correlation(plan.x_eeg, plan.x_video) == pytest.approx(find_world(world).r_views, abs=TOLERANCE)
    for one in ("z", "x_eeg", "x_video"):  # the two targets have nothing to do with each other
        assert abs(correlation(getattr(plan, one)[:, 0], getattr(plan, one)[:, 1])) < 1.5 * TOLERANCE


@pytest.mark.parametrize(
    ("world", "r_views", "r_label"),
    [
        ("mixed", 0.5, 0.504627),  # 0.2 / sqrt(0.4 · 0.4); sqrt(2 / pi) sqrt(0.4)
        ("shared_view", 0.866025, 0.437019),  # 0.3 / sqrt(0.4 · 0.3)
        ("same_feeling", 1.0, 0.398942),
        ("eeg_rich", 0.408248, 0.309019),  # 0.1 / sqrt(0.4 · 0.15)
        ("complementary", 0.0, 0.437019),
        ("0.1/0.25/0.4", 0.239046, 0.564190),  # 0.1 / sqrt(0.35 · 0.5)
        ("0/0.4/0", 0.0, 0.0),
    ],
)
def test_the_rules_two_correlations_by_hand(world, r_views, r_label):
    found = find_world(world)
    assert found.r_views == pytest.approx(r_views, abs=1e-6) and found.r_label == pytest.approx(r_label, abs=1e-6)
    assert found.margin == pytest.approx(r_views - r_label, abs=2e-6)


@pytest.mark.parametrize("layout", ["deap", "mahnob"])
@pytest.mark.parametrize("world", ALL)
def test_faces_are_the_same_to_the_bit_in_every_world(world, layout):
    settings = TwinSettings(n_subjects=2, n_trials=20, n_windows=2, seed=5, layout=layout)
    one, other = plan_subject(settings, 2), plan_subject(replace(settings, world=world), 2)
    assert one.x_video.tobytes() == other.x_video.tobytes() and one.identity == other.identity
    assert np.array_equal(one.presentation, other.presentation) and np.array_equal(one.has_video, other.has_video)
    assert (world == "mixed") == np.array_equal(one.z, other.z)


def light(settings, truth):
    """Windows as far as eeg_posterior looks at them."""
    meta = {"settings": asdict(settings) | {"extractor": "hog"}}
    return Windows(*(np.zeros((len(truth), 0)),) * 3, truth, truth, meta)


def people(world, layout="deap"):
    """Truth and ratings of many people, without any signal."""
    settings = TwinSettings(n_trials=20, world=world, layout=layout)
    plans = [plan_subject(replace(settings, seed=seed), 1) for seed in range(1500)]
    truth = pd.concat([truth_table(plan) for plan in plans], ignore_index=True)
    return light(settings, truth), np.concatenate([plan.ratings for plan in plans])


@pytest.mark.parametrize(("world", "layout"), [("mixed", "deap"), ("0.3/0.35/0.05", "deap"), ("eeg_rich", "mahnob")])
def test_a_perfect_eeg_network_is_right_as_often_as_it_says(world, layout):
    windows, ratings = people(world, layout)
    for j, target in enumerate(TARGETS):
        said, high = eeg_posterior(windows, target), ratings[:, j] > 5
        assert 0.45 < said.mean() < 0.55 if layout == "deap" else said.mean() < 0.45  # whole ratings: 5.5 or more
        edges = np.quantile(said, np.linspace(0, 1, 11))
        for low, top in pairwise(edges):
            inside = (said >= low) & (said < top)
            error = high[inside].mean() - said[inside].mean()
            # Trials of a person share a bias: 20 of them are at least as good as 20 / (1 + 19 · 0.025) on their own.
            assert abs(error) < 4 * 0.5 * math.sqrt(1.5 / inside.sum()) + 0.002


@pytest.mark.parametrize("world", ["mixed", "shared_view"])
@pytest.mark.parametrize("film", [0.0, 0.3, 1.0])
def test_the_films_share_links_people_and_nothing_else(world, film):
    """People who see the same films correlate by the film's share; variances and what the views share stay."""
    settings = TwinSettings(n_trials=N_TRIALS, world=world, film=film)
    one, other = plan_subject(settings, 1), plan_subject(settings, 2)
    for view in ("z", "x_eeg", "x_video"):
        between = correlation(getattr(one, view), getattr(other, view))
        assert between == pytest.approx(film, abs=1.5 * TOLERANCE)
        assert getattr(one, view).var() == pytest.approx(getattr(many(world), view).var(), rel=0.03)
    assert correlation(one.x_eeg, one.x_video) == pytest.approx(find_world(world).r_views, abs=TOLERANCE)
    high = one.ratings[:, :2] > 5
    assert abs(high.mean() - one.posterior.mean()) < 2 * TOLERANCE
    if film == 0:
        assert one.z.tobytes() == plan_subject(replace(settings, film=None), 1).z.tobytes()


@pytest.mark.parametrize("layout", ["deap", "mahnob"])
def test_the_posterior_is_the_frequency_of_high_ratings(layout):
    plans = [plan_subject(TwinSettings(n_trials=20, layout=layout, seed=seed), 3) for seed in range(600)]
    ratings, posterior = (np.concatenate([getattr(plan, name) for plan in plans]) for name in ("ratings", "posterior"))
    np.testing.assert_array_equal(ratings, np.round(ratings, 2 if layout == "deap" else 0))
    assert ratings.min() == 1 and ratings.max() == 9 and np.corrcoef(ratings.T)[0, 3] > 0.3
    for low in np.arange(0.1, 0.9, 0.1):
        inside = (posterior >= low) & (posterior < low + 0.1)
        error = (ratings[:, :2] > 5)[inside].mean() - posterior[inside].mean()
        assert abs(error) < 4 * 0.5 / np.sqrt(inside.sum()) + 0.002  # 0.002: ratings are rounded
    plan, border = plans[0], 0 if layout == "deap" else 0.5 / 1.9  # by hand: a whole rating above 5 was 5.5 or more
    expected = norm.cdf((plan.z[2, 1] + plan.bias[1] - border) / np.sqrt(0.4))
    assert plan.posterior[2, 1] == pytest.approx(expected)


def test_a_perfect_eeg_network_by_hand():
    seen, drawn = pd.DataFrame({"x_eeg_arousal": [-1.2]}), math.sqrt(0.4) * -1.2
    cases = {
        TwinSettings(world="eeg_rich"): norm.cdf(drawn / 0.8),
        TwinSettings(world="eeg_rich", n_trials=20, layout="mahnob"): norm.cdf((drawn - 0.5 / RATING_SCALE) / 0.8),
        TwinSettings(world="mixed", w_shared=0.1, w_eeg=0.3): norm.cdf(drawn / 0.8),
        TwinSettings(world="0/0/0.3"): 0.5,
    }
    for settings, expected in cases.items():
        assert eeg_posterior(light(settings, seen), "arousal")[0] == pytest.approx(expected, rel=1e-12)


def test_each_design_lacks_what_its_data_set_lacks():
    """DEAP: 874 clips of 22 people. MAHNOB-HCI: 547 sessions with EEG, 527 with video too, of 27 people."""
    deap = {s: plan_subject(TwinSettings(), s) for s in range(1, 24)}
    for subject, plan in deap.items():
        missing = plan.presentation[~plan.has_video]
        assert sorted(missing) == list(range(41 - (40 if subject == 23 else MISSING_CLIPS.get(subject, 0)), 41))
    assert sum(plan.has_video.sum() for plan in deap.values()) == 874
    assert plan_subject(TwinSettings(n_trials=39), 11).has_video.all()
    films = TwinSettings(layout="mahnob", n_subjects=30, n_trials=20, n_windows=0)
    plans = {subject: plan_subject(films, subject) for subject in range(1, 31)}
    both = {subject: int((plan.has_eeg & plan.has_video).sum()) for subject, plan in plans.items()}
    assert sum(plan.has_eeg.sum() for plan in plans.values()) == 547
    assert sum(both.values()) == 527 and len([n for n in both.values() if n]) == 27
    assert (both[3], both[9], both[16], both[12], both[15], both[26]) == (17, 14, 16, 0, 0, 0)
    assert not plans[16].has_eeg[plans[16].trial == 1984]  # published as without EEG
    few = replace(films, n_trials=3)
    assert plan_subject(few, 3).has_eeg.all() and not plan_subject(few, 12).has_eeg.any()
    one, other = plans[1], plans[2]
    assert one.stimulus == other.stimulus and len(set(one.stimulus)) == 20 and one.n_windows.sum() == 396
    np.testing.assert_array_equal(one.trial, 2 * one.presentation)
    np.testing.assert_array_equal(other.trial, 130 + 2 * other.presentation)
    assert dict(zip(one.stimulus, one.n_windows, strict=True))["138.avi"] == 29  # 116 s
    assert set(plan_subject(replace(films, n_windows=9), 1).n_windows) == {8, 9}  # 107.avi lasts 34 s
    assert deap[1].identity != one.identity and not np.array_equal(deap[1].z[:20], one.z)  # other people


def test_wrong_settings_are_named():
    wrong = {"n_windows": 0, "seed": -1, "w_shared": 0.7, "film": 1.5, "layout": "amigos", "world": "moon"}
    films = {"n_subjects": 31, "n_trials": 21}
    for name, value in [*wrong.items(), *films.items()]:
        with pytest.raises(ValueError, match=name):
            TwinSettings(**{"layout": "mahnob" if name in films else "deap", name: value})
