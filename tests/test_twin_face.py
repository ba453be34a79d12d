"""The twin's faces: parameters in time, light, and expressions that follow the feeling."""

from dataclasses import replace

import numpy as np
import pytest

from cdgkd_utils.data.extractors.hog768 import box_reduce, hog768
from cdgkd_utils.data.twin import TwinSettings, plan_subject
from cdgkd_utils.data.twin.face import PARAMETERS, bin_centres, draw_face, face_track, parameters_at, render

SMALL = TwinSettings(n_subjects=2, n_trials=3, n_windows=2, seed=4)


def test_bin_centres_meet_frames_exactly():
    times = bin_centres(15)
    np.testing.assert_allclose(times[:6], [0.4, 1.2, 2.0, 2.8, 3.6, 4.4])
    np.testing.assert_array_equal(times, np.round(times * 50) / 50)  # no last bit between time and frame number


def test_track_is_exact_at_the_keys_and_linear_between():
    track = face_track(SMALL, plan_subject(SMALL, 1), 0)
    np.testing.assert_array_equal(parameters_at(track, track.times), track.keys)
    middle = (track.times[:-1] + track.times[1:]) / 2
    np.testing.assert_allclose(parameters_at(track, middle), (track.keys[:-1] + track.keys[1:]) / 2, atol=1e-12)
    np.testing.assert_array_equal(parameters_at(track, np.array([0.0, 99.0])), track.keys[[0, -1]])
    plain = replace(track, light=np.array([1.0, 0.0, 0.0]))
    direct = draw_face(track.identity, dict(zip(PARAMETERS, track.keys[3], strict=True)), 128)
    np.testing.assert_array_equal(render(plain, track.times)[3], direct)


def test_light_scales_the_picture():
    track = face_track(SMALL, plan_subject(SMALL, 1), 0)
    plain = render(replace(track, light=np.array([1.0, 0.0, 0.0])), track.times[:1])[0].astype(int)
    half = render(replace(track, light=np.array([0.5, 0.0, 0.0])), track.times[:1])[0]
    np.testing.assert_array_equal(half, plain // 2)
    place = np.linspace(-127 / 128, 127 / 128, 128)  # pixel centres between the edges -1 and 1
    sloped = render(replace(track, light=np.array([0.5, 0.4, -0.2])), track.times[:1])[0]
    expected = plain * (0.5 * (1 + 0.4 * place[None, :, None] - 0.2 * place[:, None, None]))
    assert np.abs(sloped - expected).max() <= 1


def test_expression_follows_the_feeling():
    settings = TwinSettings(n_trials=600, n_windows=4, seed=2)
    plan = plan_subject(settings, 1)
    mean = np.array([face_track(settings, plan, row).keys.mean(axis=0) for row in range(settings.n_trials)])
    for parameter, target, weight in (("mouth_curve", 0, 1.0), ("mouth_open", 1, 1.2), ("brow_tilt", 0, 0.8)):
        shown = mean[:, PARAMETERS.index(parameter)]
        slope = np.polyfit(plan.x_video[:, target], shown, 1)[0]
        # 1.5 gain, 0.775 mean envelope, the person's expressiveness, the row of M.
        assert slope == pytest.approx(1.5 * 0.775 * plan.identity.expressiveness * weight, rel=0.15)
        assert abs(np.polyfit(plan.x_video[:, 1 - target], shown, 1)[0]) < 0.1


def test_each_expression_moves_pixels_and_features():
    who = plan_subject(SMALL, 1).identity
    rest = dict.fromkeys(PARAMETERS, 0.0)
    neutral = draw_face(who, rest, 128)
    for name in PARAMETERS[:6]:
        moved = draw_face(who, {**rest, name: 1.0}, 128)
        features = hog768(box_reduce(np.stack([neutral, moved])))
        assert np.linalg.norm(features[0] - features[1]) > 0.3, name
