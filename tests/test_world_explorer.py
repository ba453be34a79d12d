"""The world explorer and its phase diagram, without a browser: what is shown is what was set and what came out."""

import re
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from matplotlib.text import Annotation

from cdgkd_utils.data.twin import WORLDS, World, find_world
from cdgkd_utils.viz import style
from cdgkd_utils.viz.phase import COLUMNS, GAIN_COLOURS, gain_limit, n_as_predicted, phase_alt, phase_figure
from cdgkd_utils.viz.widgets.world_explorer import (
    expectation,
    slider_path,
    world_explorer_panel,
    world_explorer_static,
    world_of,
    world_sentence,
)

NEW = ("0.2/0.05/0", "0.35/0.05/0.05", "0.3/0.2/0.05", "0.05/0.3/0.1", "0.1/0.2/0.3", "0/0.2/0.4")


@pytest.fixture(autouse=True)
def styled():
    style.use()
    yield
    plt.close("all")


def point(name, gain, se=0.3, kind="published", world=None):
    w = world or find_world(name)
    shares = {"w_shared": w.w_shared, "w_eeg": w.w_eeg, "w_video": w.w_video}
    seen = {"r_views": w.r_views, "r_label": w.r_label, "margin": w.margin}
    return {"world": name, **shares, **seen, "gain": gain, "se": se, "kind": kind}


@pytest.fixture
def published():
    named = [point(name, gain) for name, gain in zip(WORLDS, (-0.7, 2.0, 2.3, -0.2, -4.0), strict=True)]
    return pd.DataFrame([*named, *(point(name, 5 * find_world(name).margin) for name in NEW)])


def dots(ax):
    """Places and values of all points of an axes."""
    clouds = [c for c in ax.collections if isinstance(c, PathCollection) and len(c.get_offsets())]
    return np.vstack([c.get_offsets() for c in clouds]), np.concatenate([c.get_array() for c in clouds])


# ---- the phase diagram ------------------------------------------------------------------------------


def test_every_world_stands_once_on_either_side_with_its_gain_as_colour(published):
    own = pd.DataFrame([point("0.3/0.1/0.1", 1.0, float("nan"), "own")])
    points = pd.concat([published, own], ignore_index=True)
    plane, bar, against = phase_figure(points).axes
    for ax, x, y in ((plane, "r_label", "r_views"), (against, "margin", "gain")):
        places, values = dots(ax)
        assert np.allclose(places, points[[x, y]]) and np.allclose(values, points["gain"])
        clouds = [c for c in ax.collections if isinstance(c, PathCollection)]
        assert {c.get_clim() for c in clouds} == {(-4.0, 4.0)}
    (bars,) = [c for c in against.collections if hasattr(c, "get_segments") and len(c.get_segments()) == len(points)]
    for segment, row in zip(bars.get_segments(), points.itertuples(), strict=True):
        spread = 0 if np.isnan(row.se) else 2 * row.se
        assert np.allclose(segment, [[row.margin, row.gain - spread], [row.margin, row.gain + spread]])
    low, high = against.get_ylim()
    assert low == -high and high > 4.6
    assert "points" in bar.get_ylabel()


def test_colours_are_symmetric_about_0_and_small_gains_stay_pale(published):
    assert gain_limit(published) == 4 and gain_limit(published.assign(gain=0.1)) == 2
    assert gain_limit(published[:0]) == 2
    middle = np.array(GAIN_COLOURS(0.5)[:3])
    assert np.ptp(middle) < 0.02 and GAIN_COLOURS(0.0) != GAIN_COLOURS(1.0)


def test_names_touch_neither_points_nor_each_other_nor_the_frame(published):
    figure = phase_figure(published)
    plane = figure.axes[0]
    names = [text for text in plane.texts if isinstance(text, Annotation)]
    assert {text.get_text() for text in names} == set(WORLDS)
    boxes = [text.get_window_extent() for text in names]
    places = plane.transData.transform(published[["r_label", "r_views"]])
    frame = plane.get_window_extent()
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:number])
        assert not any(box.x0 - 4 < x < box.x1 + 4 and box.y0 - 4 < y < box.y1 + 4 for x, y in places)
        assert frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1


def test_the_world_looked_at_is_marked_on_both_sides(published):
    plane, _, against = phase_figure(published, (0.45, 0.62)).axes
    (star,) = [line for line in plane.lines if line.get_marker() == "*"]
    assert star.get_xydata().tolist() == [[0.45, 0.62]]
    assert any(np.allclose(line.get_xdata(), 0.62 - 0.45) for line in against.lines)


def test_no_world_and_one_world_are_shown_and_said(published):
    for empty in (published[:0], pd.DataFrame(columns=COLUMNS)):
        texts = [text.get_text() for text in phase_figure(empty).axes[2].texts]
        assert texts == ["no world has been tried yet"] and "No world has been tried" in phase_alt(empty)
    assert not phase_figure(published[:1]).axes[2].texts
    places, _ = dots(phase_figure(published[:1]).axes[0])
    assert places.shape == (1, 2)


def test_the_alternative_text_counts_signs_and_orders_by_margin(published):
    points = published[:5]  # eeg_rich has the wrong sign: margin +.10, gain -.2
    assert n_as_predicted(points) == 4
    said = phase_alt(points, (0.45, 0.62))
    assert "one sign in 4 of 5" in said and "0.45, 0.62, margin +0.17" in said
    assert said.index("complementary -0.44: -4.0") < said.index("mixed -0.00: -0.7") < said.index("same_feeling")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda points: points.drop(columns=["gain", "se"]), "missing: gain, se"),
        (lambda points: points.assign(kind="mine"), "expected kind published or own, got 'mine'"),
        (lambda points: points.assign(gain=float("nan")), "expected a finite gain"),
    ],
)
def test_points_that_cannot_be_shown_are_named(published, spoil, said):
    for show in (phase_figure, lambda points: world_explorer_panel(lambda **_: {}, points)):
        with pytest.raises(ValueError, match=said):
            show(spoil(published))


# ---- what the controls mean --------------------------------------------------------------------------


def test_weights_divide_what_chance_leaves():
    for shared, brain, face, noise in product((0, 2, 9), (0, 5), (1, 4), (0.05, 0.4, 0.9)):
        world, total = world_of(shared, brain, face, noise), shared + brain + face
        shares = (world.w_shared, world.w_eeg, world.w_video)
        assert np.allclose(shares, [(1 - noise) * part / total for part in (shared, brain, face)])
        assert sum(shares) == pytest.approx(1 - noise)
        assert world_of(3 * shared, 3 * brain, 3 * face, noise).margin == pytest.approx(world.margin)
    assert world_of(1, 1, 1, 0.4).margin == pytest.approx(WORLDS["mixed"].margin)
    assert world_of(3, 1, 0, 0.6).margin == pytest.approx(WORLDS["shared_view"].margin)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ((0, 0, 0, 0.4), "weights: expected 0 or more and at least one above 0, got 0, 0, 0"),
        ((1, -1, 1, 0.4), "weights: expected 0 or more"),
        ((1, 1, 1, 0.01), "noise: expected 0.05 to 0.9 .* got 0.01"),
        ((1, 1, 1, float("nan")), "noise: expected"),
    ],
)
def test_what_is_no_world_is_said_in_one_sentence(values, said):
    with pytest.raises(ValueError, match=said):
        world_of(*values)


def test_the_sentence_says_shares_side_and_outcome():
    world = World(0.3, 0.1, 0.0, 0.8, "")
    said = world_sentence(world)
    for part in ("30% what both see", "10% the brain's own", "0% the face's own", "60% chance", "margin +0.43, help"):
        assert part in said
    assert "Tried" not in said
    tried = world_sentence(world, {"alone": 60.04, "taught": 58.0, "gain": -2.04})
    assert tried.endswith("Tried: 60.0 % alone, 58.0 % taught, gain -2.0 points.")
    assert [expectation(m).split()[0] for m in (0.3, 0.049, -0.049, -0.3)] == ["help", "on", "on", "harm"]


def test_paths_are_what_theory_says_of_one_control():
    """Shared raises both; more of the brain's own lowers the EEG's; noise lowers the label's alone."""
    start = np.array([WORLDS["mixed"].r_label, WORLDS["mixed"].r_views])
    steps = {name: np.diff(slider_path(name), axis=0) for name in ("shared", "brain", "face", "noise")}
    assert (steps["shared"] > 0).all() and (steps["brain"] < 0).all()
    assert (steps["face"][:, 0] > 0).all() and (steps["face"][:, 1] < 0).all()
    assert (steps["noise"][:, 0] < 0).all() and np.allclose(steps["noise"][:, 1], 0)
    for name in steps:
        assert np.linalg.norm(slider_path(name, 401) - start, axis=1).min() < 0.01  # they meet where controls start


# ---- the panel ---------------------------------------------------------------------------------------


@pytest.fixture
def explorer(published):
    asked = []

    def simulate(w_shared, w_eeg, w_video, tell):
        tell(0.5, "student 2 of 4")
        asked.append((w_shared, w_eeg, w_video))
        asked_status.append(panel.status.value)
        if w_shared == 0:
            raise ValueError("shares: <none> to be had")
        row = point("x/y", 1.5, float("nan"), world=World(w_shared, w_eeg, w_video, 0.8, ""))
        return {**row, "alone": 60.0, "taught": 61.5}

    asked_status = []
    panel = world_explorer_panel(simulate, published)
    return panel, panel.box.children[0].children[-1], asked, asked_status


def alt(panel):
    return re.search('alt="([^"]*)"', panel.picture.value)[1]


def test_a_move_shows_the_expected_side_at_once_and_trains_nothing(explorer):
    panel, _, asked, _ = explorer
    assert "on the border" in panel.text.value
    panel.set(noise=0.7, face=0)
    assert "help is expected" in panel.text.value and "help is expected" in alt(panel)
    panel.set(shared=0, face=6, noise=0.2)
    assert "harm is expected" in panel.text.value and not asked
    panel.set(brain=0)
    before = panel.picture.value
    panel.set(face=0)
    assert panel.status.value.startswith("<b>weights: expected") and panel.picture.value == before


def test_a_trained_world_stays_and_is_not_trained_again(explorer):
    panel, button, asked, told = explorer
    assert "11 worlds" in alt(panel)
    button.click()
    assert asked == [pytest.approx((0.2, 0.2, 0.2))] and "student 2 of 4" in told[0]
    assert "12 worlds" in alt(panel) and "gain +1.5 points" in panel.text.value
    panel.set(shared=6, brain=6, face=6)  # the same world in other numbers
    assert "gain +1.5 points" in panel.text.value
    button.click()
    assert len(asked) == 1 and "this world is known" in panel.status.value
    panel.set(shared=9)
    assert "gain" not in panel.text.value and "12 worlds" in alt(panel) and panel.status.value == ""
    button.click()
    assert len(asked) == 2 and "13 worlds" in alt(panel) and not button.disabled


def test_what_goes_wrong_in_training_is_one_sentence_and_adds_nothing(explorer, published):
    panel, button, *_ = explorer
    panel.set(shared=0)
    button.click()
    assert panel.status.value == "<b>shares: &lt;none&gt; to be had</b>" and "11 worlds" in alt(panel)
    assert not button.disabled

    def stopped(**_):
        raise KeyboardInterrupt

    for simulate, said in ((stopped, "stopped"), (lambda **_: {"world": "a"}, "points: expected columns")):
        other = world_explorer_panel(simulate, published)
        other.box.children[0].children[-1].click()
        assert said in other.status.value and "11 worlds" in alt(other)


def test_it_starts_without_any_published_world(published):
    row = point("0.2/0.2/0.2", 0.4, kind="own") | {"alone": 60.0, "taught": 60.4}
    panel = world_explorer_panel(lambda **_: row, published[:0])
    assert "No world has been tried yet" in alt(panel)
    panel.box.children[0].children[-1].click()
    assert "1 world: 0.2/0.2/0.2" in alt(panel)


def test_the_static_twin_has_every_world_and_the_way_of_every_control(published):
    figure = world_explorer_static(published)
    places, _ = dots(figure.axes[0])
    assert len(places) == len(published)
    (legend,) = figure.legends
    assert len(legend.get_texts()) == 5 and "more chance in a rating" in [t.get_text() for t in legend.get_texts()]
    world_explorer_static(published[:0])
