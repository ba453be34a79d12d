"""Latents, views, ratings and clips of the twin against the equations, in all worlds and both designs."""

import math
from dataclasses import asdict, replace
from itertools import pairwise
from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from cdgkd_utils.config import WORLDS
from cdgkd_utils.data.constants import MISSING_CLIPS, RATINGS, TARGETS
from cdgkd_utils.data.twin import TwinSettings, eeg_posterior, find_world, plan_subject, truth_table
from cdgkd_utils.data.twin.plan import BIAS_SD, RATING_SCALE
from cdgkd_utils.data.types import Windows

MANY = TwinSettings(n_trials=20_000)
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


@pytest.mark.parametrize("world", ["mixed", "shared_view", "0.1/0.25/0.4"])
def test_over_people_the_label_tells_a_little_less_than_the_rule_has_it(world):
    """People's use of the scale adds its variance to the rating's: sqrt(1.04), 2 %, which r_label leaves out."""
    plans = [plan_subject(TwinSettings(n_trials=40, world=world), subject) for subject in range(1, 501)]
    high, shown = np.concatenate([p.ratings[:, :2] > 5 for p in plans]), np.concatenate([p.x_video for p in plans])
    expected = find_world(world).r_label / math.sqrt(1 + BIAS_SD**2)
    assert correlation(high, shown) == pytest.approx(expected, abs=TOLERANCE)


@pytest.mark.parametrize("world", ALL)
def test_what_the_eeg_alone_sees_is_drawn_once_for_all_worlds(world):
    """Going back from z and the views to the normals: of all of them only the plane of the face is turned."""
    settings = TwinSettings(n_trials=500, world=world, seed=3)
    plan, (shared, eeg, video) = plan_subject(settings, 2), settings.shares
    face_only = plan.z - math.sqrt(shared + eeg) * plan.x_eeg  # sqrt(w_video) uV
    brain_only = plan.z - math.sqrt(shared + video) * plan.x_video  # sqrt(w_eeg) uE
    u_eeg, u0, u_video = (
        settings.stream(2, purpose).standard_normal((500, 2)) for purpose in ("eeg_only", "shared", "video_only")
    )
    np.testing.assert_allclose(brain_only, math.sqrt(eeg) * u_eeg, atol=1e-12)
    np.testing.assert_allclose(plan.x_video, (u0 + u_video) / math.sqrt(2), atol=1e-12)
    if shared and video:  # the turned pair, from the shares: as long as the drawn one
        turned = (plan.z - brain_only - face_only) / math.sqrt(shared), face_only / math.sqrt(video)
        np.testing.assert_allclose(turned[0] ** 2 + turned[1] ** 2, u0**2 + u_video**2, atol=1e-9)


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


def test_a_perfect_eeg_network_by_hand():
    seen = pd.DataFrame({"x_eeg_arousal": [-1.2]})
    answers = [
        eeg_posterior(light(settings, seen), "arousal")[0]
        for settings in (
            TwinSettings(world="eeg_rich"),
            TwinSettings(world="eeg_rich", n_trials=20, layout="mahnob"),
            TwinSettings(world="mixed", w_shared=0.1, w_eeg=0.3),
            TwinSettings(world="0/0/0.3"),
        )
    ]
    drawn = math.sqrt(0.4) * -1.2
    whole = norm.cdf((drawn - 0.5 / RATING_SCALE) / math.sqrt(0.64))
    expected = [norm.cdf(drawn / math.sqrt(0.64)), whole, norm.cdf(drawn / math.sqrt(0.64)), 0.5]
    np.testing.assert_allclose(answers, expected, rtol=1e-12)


def test_posterior_is_the_frequency_of_high_ratings():
    plan = plan_subject(MANY, 3)
    high = plan.ratings[:, :2] > 5
    for low in np.arange(0, 1, 0.1):
        inside = (plan.posterior >= low) & (plan.posterior < low + 0.1)
        error = high[inside].mean() - plan.posterior[inside].mean()
        assert abs(error) < 4 * 0.5 / np.sqrt(inside.sum()) + 0.002  # 0.002: ratings are rounded


def test_posterior_by_hand():
    plan = plan_subject(TwinSettings(n_trials=4), 1)
    expected = NormalDist().cdf((plan.z[2, 1] + plan.bias[1]) / np.sqrt(0.4))
    assert plan.posterior[2, 1] == pytest.approx(expected)


def test_ratings_are_on_the_scale_with_two_decimals():
    plan = plan_subject(MANY, 2)
    assert plan.ratings.shape == (20_000, len(RATINGS))
    assert plan.ratings.min() == 1 and plan.ratings.max() == 9
    np.testing.assert_array_equal(plan.ratings, np.round(plan.ratings, 2))
    assert np.corrcoef(plan.ratings.T)[0, 3] > 0.3  # people like what feels good


def test_missing_clips_are_the_last_shown_and_only_in_the_full_design():
    shown = {}
    for subject in range(1, 23):
        plan = plan_subject(TwinSettings(), subject)
        assert sorted(plan.presentation) == list(range(1, 41))
        missing = plan.presentation[~plan.has_video]
        assert sorted(missing) == list(range(41 - MISSING_CLIPS.get(subject, 0), 41))
        shown[subject] = plan.has_video.sum()
    assert sum(shown.values()) == 874
    assert plan_subject(TwinSettings(n_trials=39), 11).has_video.all()


def mahnob(**options):
    return TwinSettings(**{"layout": "mahnob", "n_subjects": 30, "n_trials": 20, "n_windows": 0, **options})


def test_mahnob_has_its_counts():
    """What publications count in the real set: 547 sessions with EEG, 527 with video too, 480 of 24 people."""
    plans = {subject: plan_subject(mahnob(), subject) for subject in range(1, 31)}
    both = {subject: int((plan.has_eeg & plan.has_video).sum()) for subject, plan in plans.items()}
    assert sum(plan.has_eeg.sum() for plan in plans.values()) == 547
    assert sum(both.values()) == 527 and len([n for n in both.values() if n]) == 27
    assert (both[3], both[9], both[16], both[12], both[15], both[26]) == (17, 14, 16, 0, 0, 0)
    assert not plans[16].has_eeg[plans[16].trial == 1984]  # published as without EEG
    assert all(plan.n_windows.sum() == 396 for plan in plans.values())
    few = plan_subject(mahnob(n_trials=3), 3)
    assert few.has_eeg.all() and not plan_subject(mahnob(n_trials=3), 12).has_eeg.any()


def test_mahnob_trials_are_films_in_an_order_of_their_own():
    plan, other = plan_subject(mahnob(), 1), plan_subject(mahnob(), 2)
    assert plan.stimulus == other.stimulus and len(set(plan.stimulus)) == 20
    assert not np.array_equal(plan.presentation, other.presentation)
    np.testing.assert_array_equal(plan.trial, 2 * plan.presentation)
    np.testing.assert_array_equal(other.trial, 130 + 2 * other.presentation)
    assert dict(zip(plan.stimulus, plan.n_windows, strict=True))["138.avi"] == 29  # 116 s
    assert set(plan_subject(mahnob(n_windows=9), 1).n_windows) == {8, 9}  # 107.avi lasts 34 s
    assert list(truth_table(plan)["trial"]) == list(plan.trial)


def test_mahnob_ratings_are_whole_and_their_posterior_knows_it():
    z, bias = [], []
    high, posterior = [], []
    for subject in range(1, 300):
        plan = plan_subject(replace(mahnob(), seed=subject), 1)
        assert (plan.ratings == np.round(plan.ratings)).all() and plan.ratings.min() >= 1 and plan.ratings.max() <= 9
        high.append(plan.ratings[:, :2] > 5)
        posterior.append(plan.posterior)
        z.append(plan.z)
        bias.append(plan.bias)
    high, posterior = np.concatenate(high), np.concatenate(posterior)
    for low in np.arange(0.1, 0.9, 0.1):
        inside = (posterior >= low) & (posterior < low + 0.1)
        assert abs(high[inside].mean() - posterior[inside].mean()) < 4 * 0.5 / np.sqrt(inside.sum())
    # By hand: a rating above 5 was 5.5 or more.
    expected = NormalDist().cdf((z[0][2, 1] + bias[0][1] - 0.5 / 1.9) / np.sqrt(0.4))
    assert posterior[2, 1] == pytest.approx(expected)


def test_people_of_the_two_layouts_are_different_people():
    deap, films = plan_subject(TwinSettings(n_trials=5), 1), plan_subject(mahnob(n_trials=5), 1)
    assert deap.identity != films.identity and not np.array_equal(deap.z, films.z)
    assert deap.trial.tolist() == [1, 2, 3, 4, 5] and deap.stimulus[0] == "stimulus-01" and deap.has_eeg.all()


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"world": "moon"}, "parameter world"),
        ({"n_windows": 0}, "n_windows"),
        ({"seed": -1}, "seed"),
        ({"w_shared": 0.7}, "w_shared"),
        ({"w_eeg": -0.1}, "w_shared, w_eeg, w_video"),
        ({"film": 1.5}, "film"),
        ({"layout": "mahnob", "n_subjects": 31}, "n_subjects"),
        ({"layout": "mahnob", "n_trials": 21}, "n_trials"),
        ({"layout": "amigos"}, "layout"),
    ],
)
def test_wrong_settings_are_named(wrong, name):
    with pytest.raises(ValueError, match=f"^{name}"):
        TwinSettings(**wrong)


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
