"""Worlds in numbers: correlations by theory, one bank of faces for all of them, and the spelling that keys hold."""

import math
from dataclasses import asdict, replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from cdgkd_utils.config import WORLDS, ParameterError, Params
from cdgkd_utils.data import load
from cdgkd_utils.data.constants import TARGETS
from cdgkd_utils.data.twin import TwinSettings, eeg_posterior, find_world, plan_subject, prepare_subject, truth_table
from cdgkd_utils.data.twin.plan import BIAS_SD, RATING_SCALE
from cdgkd_utils.data.types import Windows

# Nothing shared; a face that knows nothing; a face without a part of its own; an unequal mixture.
NUMBERS = ("0/0.3/0.25/1.6", "0/0.4/0", "0.35/0.05/0", "0.1/0.25/0.4")
ALL = (*WORLDS, *NUMBERS)
N_TRIALS = 20_000
TOLERANCE = 4 / math.sqrt(N_TRIALS * len(TARGETS))  # four standard errors of a correlation near 0; others have smaller
SMALL = TwinSettings(n_subjects=1, n_trials=3, n_windows=2, seed=7)


def correlation(a, b):
    return np.corrcoef(np.ravel(a), np.ravel(b))[0, 1]


def many(world, **settings):
    return plan_subject(TwinSettings(n_trials=N_TRIALS, world=world, **settings), 1)


# ---- correlations ------------------------------------------------------------------------------


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


@pytest.mark.parametrize("world", ALL)
def test_a_persons_label_tells_of_the_face_what_the_shares_say(world):
    """Given the person's bias b: P(high | x) = Phi((c x + b) / sqrt(1 - c²)), so cov(label, x) = c phi(b)."""
    plan, shares = many(world), TwinSettings(world=world).shares
    c = math.sqrt(shares[0] + shares[2])
    for j, b in enumerate(plan.bias):
        p = norm.cdf(b)
        expected = c * norm.pdf(b) / math.sqrt(p * (1 - p))
        found = correlation(plan.ratings[:, j] > 5, plan.x_video[:, j])
        assert found == pytest.approx(expected, abs=math.sqrt(2) * TOLERANCE)


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


@pytest.mark.parametrize("world", ALL)
def test_common_draws_link_the_eeg_of_two_worlds(world):
    """u0 of a world is [(√ws + √wv) u0 + (√ws − √wv) uV] / sqrt(2 (ws + wv)) in the draws; mixed sees (u0 + uE)/√2."""
    shared, eeg, video = TwinSettings(world=world).shares
    link = math.sqrt(shared) * (math.sqrt(shared) + math.sqrt(video)) / math.sqrt(2 * (shared + video or 1))
    expected = (link + math.sqrt(eeg)) / math.sqrt(2 * (shared + eeg))
    assert correlation(many(world).x_eeg, many("mixed").x_eeg) == pytest.approx(expected, abs=TOLERANCE)


# ---- one bank of faces -------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["deap", "mahnob"])
@pytest.mark.parametrize("world", ALL)
def test_faces_are_the_same_to_the_bit_in_every_world(world, layout):
    settings = TwinSettings(n_subjects=2, n_trials=20, n_windows=2, seed=5, layout=layout)
    one, other = plan_subject(settings, 2), plan_subject(replace(settings, world=world), 2)
    assert one.x_video.tobytes() == other.x_video.tobytes() and one.identity == other.identity
    assert np.array_equal(one.presentation, other.presentation) and np.array_equal(one.has_video, other.has_video)
    assert (world == "mixed") == np.array_equal(one.z, other.z)


@pytest.mark.parametrize("layout", ["deap", "mahnob"])
def test_windows_are_the_same_with_faces_from_the_bank(layout):
    settings = replace(SMALL, layout=layout, n_trials=2)
    bank = prepare_subject(settings, 1)
    drawn = prepare_subject(replace(settings, world="0.35/0.05/0/1.6"), 1)
    taken = prepare_subject(replace(settings, world="0.35/0.05/0/1.6"), 1, faces=bank)
    for name in ("eeg", "video", "frame_mask"):
        assert getattr(taken, name).tobytes() == getattr(drawn, name).tobytes()
    assert taken.index.equals(drawn.index) and taken.truth.equals(drawn.truth) and taken.meta == drawn.meta
    assert np.array_equal(drawn.video, bank.video) and not np.array_equal(drawn.eeg, bank.eeg)


def test_a_window_without_a_face_in_the_bank_is_left_out():
    bank = prepare_subject(replace(SMALL, n_trials=2), 1)
    kept = [0, 1, 3]
    holes = Windows(bank.eeg[kept], bank.video[kept], bank.frame_mask[kept], bank.index.iloc[kept])
    taken = prepare_subject(replace(SMALL, n_trials=2, world="eeg_rich"), 1, faces=holes)
    all_of_them = prepare_subject(replace(SMALL, n_trials=2, world="eeg_rich"), 1, faces=bank)
    assert taken.index[["trial", "window"]].to_numpy().tolist() == [[1, 0], [1, 1], [2, 1]]
    assert np.array_equal(taken.eeg, all_of_them.eeg[kept]) and np.array_equal(taken.video, bank.video[kept])
    assert taken.truth.equals(all_of_them.truth.iloc[kept].reset_index(drop=True))


OLDER = {  # of the last windows before there was a bank
    "deap": ([3.23, 6.42, 5.15], [0.6461453904111639, 0.7694492243898856, 0.6815808834357977], 7.749305, 0.147433),
    "mahnob": ([6, 4, 3], [0.5607813439882442, 0.3237429027698201, 0.03219457226550581], 7.361239, 0.149723),
}
OLDER_RICH = {"deap": 7.7619619, "mahnob": 7.3548307}  # of the windows before the head's parameters were written out


@pytest.mark.parametrize("layout", OLDER)
def test_the_world_of_the_faces_is_what_it_was_before_the_bank(layout):
    ratings, posterior, eeg, video = OLDER[layout]
    windows = prepare_subject(replace(SMALL, layout=layout), 1)
    assert windows.index["valence"].tolist() == np.repeat(ratings, 2).tolist()
    np.testing.assert_allclose(windows.truth["posterior_valence"], np.repeat(posterior, 2), rtol=1e-12)
    assert np.abs(windows.eeg).mean() == pytest.approx(eeg, rel=1e-6)
    assert windows.video.mean() == pytest.approx(video, rel=1e-5)


@pytest.mark.parametrize("layout", OLDER_RICH)
def test_another_world_is_what_it_was(layout):
    windows = prepare_subject(replace(SMALL, layout=layout, world="eeg_rich"), 1)
    assert np.abs(windows.eeg).mean() == pytest.approx(OLDER_RICH[layout], rel=1e-6)


def test_the_promise_of_equal_windows_is_about_the_present_sources():
    assert list(load.SAME_WINDOWS) == [load._code(load.TWIN_SOURCES)], (
        "the twin's sources changed: compare windows of every world with those of the older sources, then renew the "
        "entry of SAME_WINDOWS where they are equal to the bit, or drop it"
    )


def test_every_world_keeps_the_key_of_the_sources_that_first_made_its_windows():
    ((faces, others),) = load.SAME_WINDOWS.values()
    codes = {world: load._key_settings(Params(profile="smoke", world=world), 0)["code"] for world in ALL}
    assert codes.pop("mixed") == faces and set(codes.values()) == {others}


def test_the_bank_is_asked_only_if_it_is_there(monkeypatch):
    mixed, rich = Params(profile="smoke"), Params(profile="smoke", world="eeg_rich", seed=4)
    asked = []
    monkeypatch.setattr(load, "load_windows", lambda params, repeat: asked.append((params, repeat)) or "bank")
    for there, bank in ((False, None), (True, "bank")):
        monkeypatch.setattr(load, "is_prepared", lambda params, repeat, there=there: there)
        assert load._bank(rich, 2) == bank and load._bank(mixed, 2) is None
    assert asked == [(replace(rich, world="mixed"), 2)]


# ---- names and numbers -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spellings", "name"),
    [
        (("0.30/0.10/0", "0.3/0.1/0/0.8", ".3/1e-1/0.0/0.80", " 0.3 / 0.1 / 0"), "0.3/0.1/0/0.8"),
        (("0.3/0.1/0/1.60", "0.3000000001/0.1/0/1.6"), "0.3/0.1/0/1.6"),
        (("0/0/0", "0/0/0/0.8"), "0/0/0/0.8"),
    ],
)
def test_one_world_has_one_spelling_and_one_key(spellings, name):
    params = [Params(profile="smoke", world=world) for world in spellings]
    assert {one.world for one in params} == {name}
    assert len({load.windows_key(one) for one in params}) == 1
    assert Params(world=name).world == name  # the spelling is a fixed point


def test_different_worlds_have_different_keys():
    assert len({load.windows_key(Params(profile="smoke", world=world)) for world in ALL}) == len(ALL)


@pytest.mark.parametrize(
    ("world", "said"),
    [
        ("0.5/0.5/0.1", "a sum below 1"),
        ("0.5/0.5/0", "a sum below 1"),
        ("-0.1/0/0", "shares of 0 or more"),
        ("0.1/0.1/0.1/-1", "a gain of 0 or more"),
        ("0.1/0.1/0.1/nan", "a gain of 0 or more"),
        ("0.1/0.1/0.1/inf", "a gain of 0 or more"),
        *((world, "shares of 0 or more") for world in ("nan/0/0", "0/nan/0", "0/0/nan", "inf/0/0")),
        *((world, "expected one of mixed, .*SHARED/EEG/VIDEO") for world in ("a/b/c", "0.1/0.2", "0.1/0.2/", "")),
        ("0.1/0.1/0.1/1/1", "expected one of mixed, .*SHARED/EEG/VIDEO"),
        ("Mixed", "expected one of mixed"),
    ],
)
def test_what_is_no_world_is_refused_in_one_sentence(world, said):
    with pytest.raises(ParameterError, match=f"^parameter world: .*{said}") as caught:
        Params(world=world)
    assert repr(world) in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(ParameterError, match=r"^parameter world"):
        TwinSettings(world=world)


def test_the_numbers_of_a_name_are_the_same_people():
    for name in WORLDS:
        world = find_world(name)
        numbers = f"{world.w_shared}/{world.w_eeg}/{world.w_video}/{world.eeg_gain}"
        named, numbered = (TwinSettings(world=one, n_trials=9) for one in (name, numbers))
        assert named.shares == numbered.shares and named.code_gain == numbered.code_gain
        assert truth_table(plan_subject(named, 1)).equals(truth_table(plan_subject(numbered, 1)))


# ---- what the EEG can say at best --------------------------------------------------------------


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
