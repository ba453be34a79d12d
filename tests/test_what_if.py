"""The what-if pictures show the numbers they were given, and the panel asks for what its controls say."""

from dataclasses import dataclass, fields

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from cdgkd_utils.data.constants import CHANNELS
from cdgkd_utils.deploy.perturb import GROUPS, Change
from cdgkd_utils.viz import style
from cdgkd_utils.viz.deployed import reliability_lines, sweep_figure
from cdgkd_utils.viz.signals import electrode_positions
from cdgkd_utils.viz.widgets import what_if
from cdgkd_utils.viz.widgets.what_if import (
    answer_bars,
    face_maps,
    head_map,
    what_if_alt,
    what_if_figure,
    what_if_panel,
    what_if_static,
)

ROLES = ("teacher", "ta1", "ta2", "student")


@dataclass
class Seen:
    frames: np.ndarray
    mask: np.ndarray
    times: np.ndarray
    before: dict
    after: dict
    per_frame: np.ndarray
    per_channel: np.ndarray | None
    label: int = 1
    truth: float = 0.8


def seen(**changes):
    given = {
        "frames": np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((5, 8, 8, 3), np.uint8) * 20,
        "mask": np.array([True, True, False, True, True]),
        "times": np.array([0.4, 1.2, 2.0, 2.8, 3.6]),
        "before": dict(zip(ROLES, (0.9, 0.8, 0.7, 0.6), strict=True)),
        "after": dict(zip(ROLES, (0.85, 0.4, 0.75, 0.3), strict=True)),
        "per_frame": np.array([0.5, 0.3, 0.0, 0.2, 0.0]),
        "per_channel": np.linspace(0, 1, 28) / np.linspace(0, 1, 28).sum(),
    }
    return Seen(**(given | changes))


@pytest.fixture(autouse=True)
def styled():
    style.use()
    yield
    plt.close("all")


def words(figure):
    return " | ".join(text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text())


def test_bars_are_the_answers_after_and_circles_those_before():
    ax = answer_bars(seen().before, seen().after, plt.subplots()[1], 0.8)
    assert [bar.get_width() for bar in ax.patches] == [0.85, 0.4, 0.75, 0.3]
    circles = next(line for line in ax.lines if line.get_label() == "before")
    assert circles.get_xdata().tolist() == [0.9, 0.8, 0.7, 0.6]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["teacher", "assistant 1", "assistant 2", "student"]
    lines = {line.get_label(): line.get_xdata() for line in ax.lines}
    assert lines["undecided"] == [0.5, 0.5] and lines["true P(high)"] == [0.8, 0.8]
    unknown = answer_bars(seen().before, seen().after, plt.subplots()[1])
    assert "true P(high)" not in [line.get_label() for line in unknown.lines]
    with pytest.raises(ValueError, match="expected the same networks"):
        answer_bars({"teacher": 0.5}, {"student": 0.5}, plt.subplots()[1])


def test_the_head_shows_a_channels_share_as_area_at_its_place():
    shares = np.zeros(28)
    shares[CHANNELS.index("O2")] = 1
    dots = head_map(shares, plt.subplots()[1]).collections[0]
    assert dots.get_sizes().tolist() == [2500.0 * s for s in shares]
    np.testing.assert_allclose(dots.get_offsets(), electrode_positions())
    with pytest.raises(ValueError, match="expected one number for each of 28 channels"):
        head_map(np.zeros(27), plt.subplots()[1])


def test_the_picture_names_times_weights_label_and_missing_frames():
    said = words(what_if_figure(seen()))
    for part in ("0.4 s", "3.6 s", "50 % of the weight", "no frame", "the label is high", "each EEG channel"):
        assert part in said
    assert said.count("no frame") == 1
    blind = what_if_figure(seen(per_channel=None, label=0))
    assert "EEG channel" not in words(blind) and "the label is low" in words(blind)


def test_frames_stand_in_order_and_a_lost_one_is_white():
    figure = what_if_figure(seen())
    row = np.asarray(figure.axes[0].images[0].get_array())
    shown = [row[:, 16 * k + 4 : 16 * k + 12] for k in range(5)]
    assert [np.unique(one).tolist() for one in shown] == [[0], [20], [255], [60], [80]]


def test_the_text_says_who_changed_the_answer():
    alt = what_if_alt(seen())
    assert alt == (
        "4 of 5 face frames of one window and four bars. P(high): teacher 0.90 to 0.85, assistant 1 0.80 to 0.40, "
        "assistant 2 0.70 to 0.75, student 0.60 to 0.30. assistant 1, student changed the answer; the label is high."
    )
    assert "Nobody changed" in what_if_alt(seen(after=seen().before))


def test_the_static_twin_has_a_column_per_change():
    figure = what_if_static({"as it is": seen(), "blur": seen(mask=np.zeros(5, bool))})
    assert len(figure.axes) == 4 and [ax.get_title(loc="center") for ax in figure.axes[:2]] == ["as it is", "blur"]
    assert "no frame" in words(figure)
    assert [bar.get_width() for bar in figure.axes[3].patches] == [0.85, 0.4, 0.75, 0.3]


def test_face_maps_share_one_scale_around_zero():
    maps = [np.full((7, 7), 0.02), np.full((7, 7), -0.3)]
    figure = face_maps([np.zeros((8, 8, 3), np.uint8)] * 2, maps, ["a", "b"])
    over = [ax.images[1] for ax in figure.axes[:2]]
    assert {image.get_clim() for image in over} == {(-0.3, 0.3)}
    assert not np.isnan(
        face_maps([np.zeros((8, 8, 3), np.uint8)], [np.zeros((7, 7))], ["a"]).axes[0].images[1].norm.vmax
    )
    with pytest.raises(ValueError, match="expected one per frame, got 1 frames, 2, 1"):
        face_maps([np.zeros((8, 8, 3), np.uint8)], maps, ["a"])


# ---- the panel ---------------------------------------------------------------------------------


def test_controls_ask_for_their_change_once_each():
    asked = []

    def look(window, **change):
        asked.append((window, Change(**change)))
        return seen()

    panel = what_if_panel(look, 9, list(GROUPS))
    assert asked == [(0, Change())]  # nothing is changed before anything is moved
    panel.set(window=3)
    panel.set(part="lower", blinks=100)
    assert asked[1:] == [(3, Change()), (3, Change(part="lower")), (3, Change(part="lower", blinks=100))]
    assert set(panel.controls) == {"window"} | {field.name for field in fields(Change)}
    assert panel.controls["window"].max == 8
    assert "assistant 1 0.80 to 0.40" in panel.picture.value and panel.status.value == ""
    assert all(control.description for control in panel.controls.values())
    assert set(what_if_panel(look, 9, [], with_eeg=False).controls) == set(panel.controls) - {
        "loose",
        "blinks",
        "noise",
    }


def test_a_wrong_change_is_a_sentence_below_the_last_picture():
    def look(window, **change):
        if change["noise"] > 5:
            raise ValueError("noise: too loud")
        return seen()

    panel = what_if_panel(look, 2, list(GROUPS))
    before = panel.picture.value
    panel.set(noise=9)
    assert panel.status.value == "<b>noise: too loud</b>" and panel.picture.value == before


def test_every_position_of_every_control_is_a_valid_change():
    panel = what_if_panel(lambda window, **change: seen(), 2, list(GROUPS))
    for name, control in panel.controls.items():
        if name == "window":
            continue
        values = [v for _, v in control._options_full] if hasattr(control, "options") else [control.min, control.max]
        for value in values:
            change = Change(**({"part": "box"} | {name: value}))
            change.pictures(np.zeros((1, 5, 16, 16, 3), np.uint8))
            change.eeg(np.zeros((1, 28, 512), np.float32), 0)
            change.mask(np.ones((1, 5), bool), 0)


# ---- the rest of the notebook's figures --------------------------------------------------------


def table():
    rows = [
        {"change": c, "unit": "%", "strength": s, "role": r, "accuracy": 0.9 - s / 100, "same": 1.0, "moved": s / 50}
        for c in ("cover", "blur", "late")
        for s in (0.0, 10.0, 20.0)
        for r in ROLES
    ]
    return pd.DataFrame(rows)


def test_a_sweep_draws_each_network_in_its_colour_with_chance():
    figure = sweep_figure(table(), n_columns=2)
    ax = figure.axes[0]
    assert [a.get_title(loc="left") for a in figure.axes[:3]] == ["cover", "blur", "late"]
    line = next(one for one in ax.lines if one.get_label() == "student")
    assert line.get_color() == style.COLOURS["student"]
    np.testing.assert_allclose(line.get_xydata(), [[0, 90], [10, 80], [20, 70]])
    assert "chance" in [one.get_label() for one in ax.lines]
    moved = sweep_figure(table(), "moved").axes[0]
    assert "chance" not in [one.get_label() for one in moved.lines]
    np.testing.assert_allclose(moved.lines[0].get_ydata(), [0, 20, 40])
    with pytest.raises(ValueError, match="score: expected one of accuracy, same, moved, got 'auc'"):
        sweep_figure(table(), "auc")


def test_reliability_lines_are_the_bins_and_the_diagonal():
    curve = pd.DataFrame({"n_windows": [5, 5], "predicted": [0.2, 0.7], "observed": [0.1, 0.9]})
    ax = reliability_lines({"as trained": curve})
    assert ax.lines[0].get_xydata().tolist() == [[0, 0], [1, 1]]
    assert ax.lines[1].get_xydata().tolist() == [[0.2, 0.1], [0.7, 0.9]] and ax.lines[1].get_label() == "as trained"


def test_viz_takes_no_network_along():
    assert "torch" not in vars(what_if)
