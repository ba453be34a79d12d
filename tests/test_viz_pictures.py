"""Numbers drawn are numbers given: what was recorded, how it is split, teachers while they train."""

from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from cdgkd_utils import viz
from cdgkd_utils.data.constants import CHANNELS, SFREQ
from cdgkd_utils.data.types import Windows
from cdgkd_utils.viz import data, signals
from cdgkd_utils.viz.panel import blank
from cdgkd_utils.viz.style import STYLE_FILE
from cdgkd_utils.viz.training import tries_table


@pytest.fixture(autouse=True)
def style():
    with plt.style.context(STYLE_FILE):
        yield


def texts(figure):
    return [text.get_text() for ax in figure.axes for text in ax.texts]


def line(ax, label):
    (found,) = [one for one in ax.lines if one.get_label() == label]
    return np.asarray(found.get_xdata(), float), np.asarray(found.get_ydata(), float)


@pytest.fixture
def windows(rng):
    """Two subjects; the second has other trials, of other lengths."""
    rows = [(1, 1, 0), (1, 1, 1), (1, 2, 0), (2, 7, 0), (2, 7, 1), (2, 7, 2)]
    index = pd.DataFrame(rows, columns=["subject", "trial", "window"]).assign(stimulus=["a", "a", "b", "a", "a", "a"])
    index = index.assign(valence=[3.0, 3, 6, 8, 8, 8], arousal=4.0, dominance=np.nan, liking=5.0)
    eeg = rng.normal(size=(6, 28, 512)).astype(np.float32)
    return Windows(eeg, np.zeros((6, 5, 768), np.float32), np.ones((6, 5), bool), index, meta={"name": "x"})


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_heads_are_seen_from_above_with_the_nose_up():
    at = dict(zip(CHANNELS, signals.electrodes(), strict=True))
    assert at["Fp1"][1] > 0.5 and at["O1"][1] < -0.5 and at["T7"][0] < -0.6 and at["T8"][0] > 0.6
    assert (np.hypot(*signals.electrodes().T) < 1).all()
    image = signals.draw_head(blank(2, 2).subplots(), np.eye(28)[CHANNELS.index("Fp1")], (0, 1))
    left, right, bottom, top = image.get_extent()
    places = np.argwhere(image.get_array() == np.nanmax(image.get_array()))[0] / np.array(image.get_array().shape)
    assert left + (right - left) * places[1] < 0 < bottom + (top - bottom) * places[0]


def test_band_power_of_a_sine_is_in_its_band():
    wave = 10 * np.sin(2 * np.pi * 10 * np.arange(512) / SFREQ)
    power = {band: float(signals.band_power(wave[None], band)[0]) for band in ("theta", "alpha", "beta", "gamma")}
    # A²/2 = 50 µV² within 8 to 13 Hz, at 0.5 Hz a bin of ten bins.
    assert power["alpha"] == pytest.approx(10 * np.log10(50 / 5), abs=0.2)
    assert power["alpha"] > 30 + max(power["theta"], power["beta"], power["gamma"])


def test_a_trial_is_drawn_as_recorded_and_the_browser_follows_subjects_with_other_trials(windows, monkeypatch):
    pictures = np.full((3, 5, 8, 8, 3), 7, np.uint8), np.tile(np.arange(5) != 2, (3, 1)), np.arange(5) * 0.8
    figure = viz.draw_trial(windows, 4, (pictures[0][1], pictures[1][1], pictures[2]))
    traces = figure.axes[0].collections[1].get_segments()
    spacing = signals.scales_of(windows)["traces"][1]
    for channel in (0, 13, 27):
        assert np.allclose(traces[channel][:, 1], windows.eeg[4, channel] - spacing * channel, atol=1e-4)
    assert np.allclose(traces[0][[0, -1], 0], [4, 8 - 1 / SFREQ])
    assert "no frame" in texts(figure) and figure.axes[0].get_title(loc="left") == "subject 2, trial 7, 4–8 s"
    monkeypatch.setattr("cdgkd_utils.viz.signals.trial_frames", lambda params, windows, rows: pictures)
    browser = viz.trial_browser(windows, None, row=0)
    assert browser.values == {"subject": 1, "trial": 1, "start": 0.0, "band": "alpha"} and browser.error is None
    browser.controls["subject"].value = 2
    assert browser.values["trial"] == 7 and list(browser.controls["start"].options) == [0.0, 4.0, 8.0]
    browser.set(start=8.0)
    assert browser.error is None and "subject 2, trial 7, 8–12 s" in browser.picture.value


def test_a_planted_leak_is_counted_and_shared_units_are_those_of_an_exhaustive_search(windows):
    fold = SimpleNamespace(train=np.array([0, 2]), leaky=True, tests=lambda: {"test": np.array([1, 3])})
    fold.parts = lambda: {"train": fold.train, "val": np.array([4, 5]), **fold.tests()}
    figure = viz.draw_split(windows.index, fold.parts())
    assert figure.axes[0].get_title(loc="left") == "LEAK: 2 trials have windows in two parts"
    grid = figure.axes[0].collections[0].get_array()
    assert grid.tolist() == [[4, 1], [4, 0]]  # rows subjects, columns trials; 4 is the leak, 0 no trial
    units = data.shared_units(windows.index, fold)
    of = {"windows": range(6), "trials": [(1, 1), (1, 1), (1, 2), *[(2, 7)] * 3]}
    of |= {"subjects": [1, 1, 1, 2, 2, 2], "stimuli": list("aabaaa")}
    for name, values in of.items():
        test, train = {values[1], values[3]}, {values[0], values[2]}
        assert units[name] == (len(test & train), len(test))
    rows = [("window", kind, n, a, 0.9) for kind, a in (("true", 0.8), ("permuted", 0.6)) for n in range(2)]
    scores = pd.DataFrame(rows, columns=["protocol", "labels", "fold", "accuracy", "same_trial"])
    meter = viz.leak_o_meter(windows, {"window": fold}, scores)
    assert meter.error is None and [p.get_height() for p in meter.static.axes[1].patches] == pytest.approx([80, 60])
    meter.set(labels="permuted")
    assert meter.error is None


def test_the_sketch_of_the_twin_holds_the_shares_of_its_world():
    said = " ".join(texts(viz.draw_twin(SimpleNamespace(w_shared=0.3, w_eeg=0.1, w_video=0.0))))
    for share in ("30 %", "10 %", "0 %", "60 %"):
        assert f"{share} of a rating" in said
    assert {"teacher", "assistant 1", "assistant 2", "student"} <= set(texts(viz.draw_method()))


def history(rng, shift=1.0, n_epochs=3):
    labels, parts = np.tile([0, 1], 20), np.repeat(["train", "val"], 20)
    frames = rng.normal(size=(n_epochs, 40, 2)) + shift * np.arange(n_epochs)[:, None, None] * labels[:, None]
    stars = np.stack([[frame[:20][labels[:20] == k].mean(axis=0) for k in (0, 1)] for frame in frames])
    log = pd.DataFrame({"epoch": range(n_epochs), "eeg_weight": 0.2, "video_weight": 0.0, "imbalance_ratio": 1.5})
    log = log.assign(train_accuracy=[0.5, 0.6, 0.7], val_accuracy=[0.5, 0.55, 0.6], proto_accuracy_eeg=0.6)
    log = log.assign(val_balanced_accuracy=[0.5, 0.6, 0.55], proto_accuracy_video=0.7)
    both = {"eeg": frames, "video": 2 * frames}
    return SimpleNamespace(
        log=log, epochs=np.arange(n_epochs), embeddings=both, labels=labels, parts=parts, rows=np.arange(40),
        prototypes={"eeg": stars, "video": 2 * stars},
    )  # fmt: skip


def test_training_and_tries_draw_the_log(rng):
    log = history(rng).log
    figure = viz.draw_training(log)
    assert line(figure.axes[0], "validation")[1] == pytest.approx([50, 55, 60])
    assert line(figure.axes[1], "video / EEG")[1].tolist() == [1.5] * 3 and line(figure.axes[2], "EEG")[1][0] == 0.2
    assert line(viz.draw_branches({"plain": log}).axes[1], "plain")[1].tolist() == [70.0] * 3
    live = viz.LiveTraining("teacher", n_epochs=10)
    live.update(log[:0])
    assert live.figure is None
    live.update(log[:2])
    ax = live.figure.axes[0]
    assert line(ax, "validation")[1] == pytest.approx([50, 55]) and ax.get_xlim()[1] > 9
    made = []
    part = viz.rebalancing_tries(lambda on_epoch, **conditions: made.append(conditions) or log)
    assert isinstance(part.error, ValueError)
    part.set(video_signal=40, strength=3)
    part.press()
    assert part.error is None and made == [dict(eeg_signal=100, video_signal=40, strength=3, optimiser="sgd")]
    assert tries_table(part.tries).loc[1, ["best validation (%)", "in epoch"]].tolist() == [60.0, 1]


def test_a_scene_keeps_distances_and_its_gaps_are_those_by_hand(rng):
    one, other = history(rng), history(rng, shift=2.0)
    scene = viz.make_scene({"plain": one, "rebalanced": other})
    for name, h in (("plain", one), ("rebalanced", other)):
        xy, points = h.embeddings["eeg"][2], scene.points[name, "eeg"][2]
        assert np.allclose(np.linalg.norm(xy[3] - xy[7]), np.linalg.norm(points[3] - points[7]))
        assert np.allclose(points[:20].mean(axis=0), 0)
    train, labels = one.embeddings["video"][2][20:], one.labels[20:]
    means = np.stack([train[labels == k].mean(axis=0) for k in (0, 1)])
    spread = np.sqrt(((train - means[labels]) ** 2).sum(axis=1).mean())
    gap = np.linalg.norm(means[0] - means[1]) / spread
    assert scene.gaps["plain", "video", "val"][2] == pytest.approx(gap)
    assert line(viz.draw_gap(scene).axes[1], "plain, validation")[1][2] == pytest.approx(gap)
    part = viz.tug_of_war(scene)
    assert f"plain: EEG, gap {scene.gaps['plain', 'eeg', 'train'][2]:.2f}" in part.picture.value
    part.set(epoch=1, part="val")
    assert part.error is None and f"gap {scene.gaps['rebalanced', 'video', 'val'][1]:.2f}" in part.picture.value
    assert len(part.static.axes) == 3 * 4
    with pytest.raises(ValueError, match="same windows"):
        viz.make_scene({"a": one, "b": SimpleNamespace(**vars(other) | {"rows": np.arange(1, 41)})})


def test_embeddings_are_drawn_by_class(rng):
    xy, labels = rng.normal(size=(30, 2)), np.tile([0, 1, 2], 10)
    ax = viz.draw_embeddings({"EEG": (xy, labels, xy[:3], "gap 1")}).axes[0]
    assert np.allclose(ax.collections[2].get_offsets(), xy[labels == 1])
    assert np.allclose(ax.collections[3].get_offsets(), xy[1])
