"""Latents, ratings and clips of the twin against the equations."""

from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest

from cdgkd_utils import config
from cdgkd_utils.data.constants import MISSING_CLIPS, RATINGS, TARGETS
from cdgkd_utils.data.mahnob.reader import SUBSETS
from cdgkd_utils.data.twin import WORLDS, TwinSettings, plan_subject, truth_table

SMALL = TwinSettings(n_subjects=2, n_trials=3, n_windows=2, seed=4)
MANY = TwinSettings(n_trials=20_000)


@pytest.mark.parametrize("world", config.WORLDS)
def test_shares_give_the_variances_and_the_correlation(world):
    settings = replace(MANY, world=world)
    shared, eeg, video = settings.shares
    plan = plan_subject(settings, 1)
    tolerance = 4 / np.sqrt(plan.z.size)
    assert plan.z.var() == pytest.approx(shared + eeg + video, abs=tolerance)
    assert plan.x_eeg.var() == pytest.approx(1, abs=1.5 * tolerance)
    assert plan.x_video.var() == pytest.approx(1, abs=1.5 * tolerance)

    def correlation(a, b):
        return np.corrcoef(a.ravel(), b.ravel())[0, 1]

    total = shared + eeg + video
    # The shared part alone links the two views; each knows its own share of the latent.
    expected = shared / np.sqrt((shared + eeg) * (shared + video))
    assert correlation(plan.x_eeg, plan.x_video) == pytest.approx(expected, abs=tolerance)
    assert correlation(plan.z, plan.x_eeg) == pytest.approx(np.sqrt((shared + eeg) / total), abs=tolerance)
    assert correlation(plan.z, plan.x_video) == pytest.approx(np.sqrt((shared + video) / total), abs=tolerance)
    assert abs(correlation(plan.x_eeg[:, 0], plan.x_eeg[:, 1])) < 2 * tolerance


def test_worlds_are_the_published_ones():
    assert tuple(WORLDS) == config.WORLDS
    assert {name: (w.w_shared, w.w_eeg, w.w_video, w.eeg_gain) for name, w in WORLDS.items()} == {
        "mixed": (0.20, 0.20, 0.20, 0.8),
        "shared_view": (0.30, 0.10, 0.00, 1.6),
        "same_feeling": (0.25, 0.00, 0.00, 1.6),
        "eeg_rich": (0.10, 0.30, 0.05, 0.8),
        "complementary": (0.00, 0.30, 0.30, 0.8),
    }
    assert TwinSettings(world="mixed", w_video=0.0, eeg_gain=2.0).shares == (0.2, 0.2, 0.0)
    assert TwinSettings(world="mixed", eeg_gain=0.0).code_gain == 0


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


def test_truth_table_repeats_the_plan():
    plan = plan_subject(SMALL, 2)
    table = truth_table(plan)
    assert table[["subject", "trial"]].to_numpy().tolist() == [[2, 1], [2, 2], [2, 3]]
    names = [f"{kind}_{target}" for kind in ("z", "x_eeg", "x_video", "posterior") for target in TARGETS]
    assert list(table.columns[2:]) == names
    np.testing.assert_array_equal(table["x_video_arousal"], plan.x_video[:, 1])


@pytest.mark.parametrize(
    "wrong, name",
    [
        ({"world": "moon"}, "parameter world"),
        ({"n_windows": 0}, "n_windows"),
        ({"seed": -1}, "seed"),
        ({"w_shared": 0.7}, "w_shared"),
        ({"w_eeg": -0.1}, "w_shared, w_eeg, w_video"),
    ],
)
def test_wrong_settings_are_named(wrong, name):
    with pytest.raises(ValueError, match=f"^{name}"):
        TwinSettings(**wrong)


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
    assert sum(n for subject, n in both.items() if subject in SUBSETS["24"]) == 480
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
    [({"n_subjects": 31}, "n_subjects"), ({"n_trials": 21}, "n_trials"), ({"layout": "amigos"}, "layout")],
)
def test_wrong_settings_of_a_layout_are_named(wrong, name):
    with pytest.raises(ValueError, match=f"^{name}"):
        mahnob(**wrong)
