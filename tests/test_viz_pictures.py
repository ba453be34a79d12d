"""Numbers drawn are numbers given, and moving a part shows another one."""

from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import same_color

from cdgkd_utils import viz
from cdgkd_utils.data.constants import CHANNELS, SFREQ
from cdgkd_utils.data.types import Windows
from cdgkd_utils.viz import data, embeddings, signals, worlds
from cdgkd_utils.viz.panel import blank
from cdgkd_utils.viz.style import COLOURS, STYLE_FILE


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


# ---- what was recorded --------------------------------------------------------------------------


def test_heads_are_seen_from_above_with_the_nose_up():
    x, y = signals.electrodes().T
    at = {name: (x[n], y[n]) for n, name in enumerate(CHANNELS)}
    assert at["Fp1"][1] > 0.5 and at["O1"][1] < -0.5 and at["T7"][0] < -0.6 and at["T8"][0] > 0.6
    assert (np.hypot(x, y) < 1).all()
    for name in ("Fp1", "O2", "T8"):
        image = signals.draw_head(blank(2, 2).subplots(), np.eye(28)[CHANNELS.index(name)], (0, 1))
        left, right, bottom, top = image.get_extent()
        row, column = np.unravel_index(np.nanargmax(image.get_array()), image.get_array().shape)
        n_rows, n_columns = image.get_array().shape
        place = left + (right - left) * column / n_columns, bottom + (top - bottom) * row / n_rows
        assert np.sign(place).tolist() == np.sign(at[name]).tolist() or abs(at[name][1]) < 0.1
    with pytest.raises(ValueError, match="28 electrodes"):
        signals.draw_head(blank(2, 2).subplots(), np.zeros(27), (0, 1))


def test_band_power_of_a_sine_is_in_its_band():
    wave = 10 * np.sin(2 * np.pi * 10 * np.arange(512) / SFREQ)
    power = {band: float(signals.band_power(wave[None], band)[0]) for band in ("theta", "alpha", "beta", "gamma")}
    # A²/2 = 50 µV² within 8 to 13 Hz, at 0.5 Hz a bin of ten bins.
    assert power["alpha"] == pytest.approx(10 * np.log10(50 / 5), abs=0.2)
    assert power["alpha"] > 30 + max(power["theta"], power["beta"], power["gamma"])


def test_a_trial_is_drawn_as_recorded_and_the_browser_follows_subjects_with_other_trials(windows, monkeypatch):
    pictures = (
        np.full((3, 5, 8, 8, 3), 7, np.uint8),
        np.array([[True, True, False, True, True]] * 3),
        np.arange(5) * 0.8,
    )
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
    honest = viz.draw_split(windows.index, {"train": np.array([0, 1]), "val": np.array([2]), "test": np.array([3, 4])})
    assert honest.axes[0].get_title(loc="left") == "no trial in two parts"
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
    with pytest.raises(ValueError, match="no scores"):
        viz.draw_leak(windows, {"window": fold}, scores, "window", "other")


def test_the_sketch_of_the_twin_holds_the_shares_of_its_world():
    said = " ".join(texts(viz.draw_twin(SimpleNamespace(w_shared=0.3, w_eeg=0.1, w_video=0.0))))
    for share in ("30 %", "10 %", "0 %", "60 %"):
        assert f"{share} of a rating" in said
    assert {"teacher", "assistant 1", "assistant 2", "student"} <= set(texts(viz.draw_method()))


# ---- teachers -----------------------------------------------------------------------------------


def history(rng, shift=1.0, n_epochs=3):
    labels, parts = np.tile([0, 1], 20), np.repeat(["train", "val"], 20)
    frames = rng.normal(size=(n_epochs, 40, 2)) + shift * np.arange(n_epochs)[:, None, None] * labels[:, None]
    stars = np.stack([[frame[:20][labels[:20] == k].mean(axis=0) for k in (0, 1)] for frame in frames])
    log = pd.DataFrame({"epoch": range(n_epochs), "eeg_weight": 0.2, "video_weight": 0.0, "imbalance_ratio": 1.5})
    log = log.assign(
        train_accuracy=[0.5, 0.6, 0.7], val_accuracy=[0.5, 0.55, 0.6], val_balanced_accuracy=[0.5, 0.6, 0.55]
    )
    log = log.assign(proto_accuracy_eeg=0.6, proto_accuracy_video=0.7)
    both = {"eeg": frames, "video": 2 * frames}
    return SimpleNamespace(
        log=log, epochs=np.arange(n_epochs), embeddings=both, labels=labels, parts=parts, rows=np.arange(40),
        prototypes={"eeg": stars, "video": 2 * stars},
    )  # fmt: skip


def test_training_and_tries_draw_the_log(rng):
    log = history(rng).log
    figure = viz.draw_training(log, chosen=1)
    assert line(figure.axes[0], "validation")[1] == pytest.approx([50, 55, 60])
    assert line(figure.axes[1], "video / EEG")[1].tolist() == [1.5] * 3 and line(figure.axes[2], "EEG")[1][0] == 0.2
    assert line(viz.draw_branches({"plain": log}).axes[1], "plain")[1].tolist() == [70.0] * 3
    live = viz.LiveTraining("teacher", n_epochs=10)
    live.update(log[:0])
    assert live.figure is None
    live.update(log[:2])
    assert (
        line(live.figure.axes[0], "validation")[1] == pytest.approx([50, 55]) and live.figure.axes[0].get_xlim()[1] > 9
    )
    made = []
    part = viz.rebalancing_tries(lambda on_epoch, **conditions: made.append(conditions) or log)
    assert isinstance(part.error, ValueError)
    part.set(video_signal=40, strength=3)
    part.press()
    assert part.error is None and made == [dict(eeg_signal=100, video_signal=40, strength=3, optimiser="sgd")]
    assert viz.tries_table(part.tries).loc[1, ["best validation (%)", "in epoch"]].tolist() == [60.0, 1]
    with pytest.raises(ValueError, match="panels"):
        viz.draw_training(log, ["weigths"])


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
    assert scene.gap("plain", "video", "val", 2) == pytest.approx(gap)
    assert line(viz.draw_gap(scene).axes[1], "plain, validation")[1][2] == pytest.approx(gap)
    part = viz.tug_of_war(scene)
    assert f"plain: EEG, gap {scene.gap('plain', 'eeg', 'train', 2):.2f}" in part.picture.value
    part.set(epoch=1, part="val")
    assert part.error is None and f"gap {scene.gap('rebalanced', 'video', 'val', 1):.2f}" in part.picture.value
    assert len(part.static.axes) == 3 * 4
    with pytest.raises(ValueError, match="same windows"):
        viz.make_scene({"a": one, "b": SimpleNamespace(**vars(other) | {"rows": np.arange(1, 41)})})


def test_embeddings_are_projected_with_their_prototypes_and_drawn_by_class(rng):
    x, labels = rng.normal(size=(30, 2)), np.tile([0, 1, 2], 10)
    xy, _, stars = viz.project(x, x[:3], 30, rng, "pca")
    assert np.allclose(np.linalg.norm(xy[0] - xy[5]), np.linalg.norm(x[0] - x[5])) and np.allclose(stars, xy[:3])
    ax = viz.draw_embeddings({"EEG": (xy, labels, stars, "gap 1")}).axes[0]
    assert np.allclose(ax.collections[2].get_offsets(), xy[labels == 1]) and np.allclose(
        ax.collections[3].get_offsets(), stars[1]
    )
    assert embeddings.class_names(2) == ("low", "high")
    with pytest.raises(ValueError, match="n_features"):
        viz.project(x, x[:, :1], 5, rng)


# ---- chains -------------------------------------------------------------------------------------


@pytest.fixture
def answers():
    index = pd.DataFrame({"subject": 1, "trial": [1, 1, 2, 2], "window": [1, 0, 0, 1]})
    logits = {"teacher": np.array([[0.0, 2], [0, 4], [0, -2], [0, 2]]), "student": np.zeros((4, 2))}
    agree = pd.DataFrame([[1, 0.25], [0.25, 1]], index=list(logits), columns=list(logits))
    parts = {"train": np.arange(4), "test_trial": np.array([2, 3])}
    return SimpleNamespace(
        logits=logits, guides=["teacher"], labels=np.array([1, 1, 1, 1]), parts=parts, index=index,
        rows=parts.__getitem__, agreement=lambda part: agree,
    )  # fmt: skip


def test_soft_targets_are_those_by_hand_and_the_most_doubted_trial_comes_first(answers):
    part = viz.soft_targets(answers)
    assert part.values["place"] == 2 and part.values["temperature"] == pytest.approx(2.0, rel=0.01)
    figure = viz.draw_soft(answers, "train", 1, 2.0)
    sigmoid = 1 / (1 + np.exp(-np.array([2.0, 1.0])))  # windows in the order of time
    assert np.allclose(line(figure.axes[0], "teacher")[1], sigmoid)
    assert figure.axes[1].patches[0].get_data().values.sum() == pytest.approx(100)
    far = line(figure.axes[2], "teacher")[1]
    p = 1 / (1 + np.exp(-np.array([2, 4, 2, 2]) / 16))
    assert far[-1] == pytest.approx(-(p * np.log(p) + (1 - p) * np.log(1 - p)).mean())
    part.set(part="test_trial")
    assert "there are 1" in part.status.value
    agreement = viz.agreement(answers)
    assert agreement.error is None and {"100", "25"} <= set(texts(agreement.static))


def test_silence_memory_shares_and_rasters(rng):
    kept = np.array([[True, False], [False, False], [True, True], [False, False]])
    figure = viz.draw_silence({"student": (kept, ["teacher", "assistant 1"], 0.5)}, "student")
    assert "no guide speaks in 50.0 % of all 4 mini-batches (expected 25.0 %)" in figure.axes[0].get_title(loc="left")
    image = figure.axes[0].images[0].get_array()
    assert same_color(image[0, 0], COLOURS["teacher"]) and same_color(image[1, 2], COLOURS["ta1"])
    assert same_color(image[0, 1], "white") and same_color(image[1, 0], "white")
    assert viz.silence({"student": (np.tile(kept, (10, 1)), ["a", "b"], 0.5)}).error is None
    seen, unseen = pd.Series({"a": 0.2, "b": 0.5}), pd.Series({"a": 0.9, "b": 0.6})
    ax = viz.draw_memory(seen, unseen, "unseen trials").axes[0]
    assert line(ax, "training windows")[0].tolist() == [0.2, 0.5] and line(ax, "unseen trials")[0].tolist() == [
        0.9,
        0.6,
    ]
    log = pd.DataFrame({"epoch": [0, 1], "loss_ce": [0.6, 0.2], "loss_kd_t": [0.2, 0.2], "loss_kd_a": [0.2, 0.0]})
    layers = viz.draw_shares(log, {"t": "teacher"}).axes[0].collections
    tops = [layer.get_paths()[0].vertices[:, 1].max() for layer in layers]
    assert tops == pytest.approx([60, 100, 100])
    with pytest.raises(ValueError, match="expected shape"):
        viz.draw_kept(kept, ["one"])


def test_a_chain_is_trained_once_and_its_numbers_are_drawn():
    asked = []

    def train(n, p, tell):
        asked.append((n, p))
        return dict(n_assistants=n, drop_prob=p, balanced_accuracy=0.512, agreement=0.75, silent=p)

    part = viz.chain_tries(train, [train(0, 0.0, None)])
    part.press()
    part.press()
    assert part.error is None and asked == [(0, 0.0), (2, 0.5)]
    part.set(which="all")
    part.press()
    assert len(asked) == len(set(asked)) == 12 and texts(part.static).count("51.2") == 12
    with pytest.raises(ValueError, match="one row for each"):
        viz.draw_chain(pd.DataFrame([train(0, 0.0, None)] * 2))


# ---- tables, student, worlds --------------------------------------------------------------------


@pytest.fixture
def scores(rng):
    rows = []
    for method, table, plus in (("kd", 1, 0.0), ("cdgkd", 1, 0.02), ("fusion", 2, 0.0), ("fusion_rebalanced", 2, 0.1)):
        for repeat in range(4):
            for metric in ("accuracy", "majority"):
                value = 0.52 if metric == "majority" else 0.6 + plus + 0.01 * repeat
                rows.append((method, table, repeat, metric, value))
    frame = pd.DataFrame(rows, columns=["method", "table", "repeat", "metric", "value"])
    about = {"world": "shared_view", "dataset": "deap", "target": "valence", "protocol": "trial", "fold": 0}
    about |= {"n_train": 100, "n_test": 20, "n_expected": 4, "profile": "quick", "data": "twin", "seed": 0, "run": "r"}
    return frame.assign(**about)


def test_the_poster_layout_draws_means_and_the_papers_numbers(scores):
    figure = viz.draw_results(scores)
    students, teachers = figure.axes
    assert [text.get_text() for text in students.get_yticklabels()][-1] == "CDGKD"
    row = len(students.get_yticklabels()) - 1
    dots = next(one for one in students.lines if one.get_marker() == "o")
    assert dots.get_xdata()[list(dots.get_ydata()).index(row)] == pytest.approx(63.5)
    diamonds = dict(zip(*students.collections[-1].get_offsets().T[::-1], strict=True))
    assert diamonds[row] == pytest.approx(65.74)  # poster, Table 1, ours, DEAP valence
    assert "Table 2" in teachers.get_ylabel() and "majority" in viz.describe(figure)


def test_differences_and_claims_are_drawn_where_they_lie(scores):
    part = viz.table_explorer(scores)
    assert part.error is None and "4 runs behind" in part.text.value
    figure = viz.draw_rows(scores, 1, "deap", "valence", "accuracy", methods=("kd",), reference="cdgkd")
    assert next(one for one in figure.axes[1].lines if one.get_marker() == "o").get_xdata() == pytest.approx([2.0])
    part.set(table=2)
    assert part.error is None and part.values["reference"] == "fusion_rebalanced"
    part.set(methods=())
    assert "choose at least one" in part.status.value
    claims = pd.DataFrame({"world": ["a", "b"], "claim": "x", "mean": [1.0, -2], "low": [0.0, -3], "high": [2.0, -1]})
    ax = viz.draw_claims(claims.assign(verdict=["holds", "against"], data="twin")).axes[0]
    assert [one.get_xdata()[0] for one in ax.lines if one.get_marker() in "os"] == [1.0, -2.0]
    assert texts(ax.figure) == ["+1.0 holds", "-2.0 against"]


def test_the_student_in_use(rng):
    def look(window, **change):
        after = {"teacher": 0.6, "student": 0.2 + 0.1 * window}
        return SimpleNamespace(
            frames=np.zeros((5, 8, 8, 3), np.uint8), mask=np.arange(5) != 2, times=np.arange(5.0), label=1, truth=0.7,
            before={"teacher": 0.5, "student": 0.4}, after=after, per_frame=np.full(5, 0.2), per_channel=np.ones(28),
        )  # fmt: skip

    networks = {"teacher": SimpleNamespace(inputs=("eeg",)), "student": SimpleNamespace(inputs=("video",))}
    bars = viz.draw_what_if(look(1)).axes[1]
    assert [p.get_width() for p in bars.patches] == pytest.approx([0.6, 0.3]) and line(bars, "before the change")[
        0
    ].tolist() == [0.5, 0.4]
    part = viz.what_if(SimpleNamespace(look=look, rows=np.arange(3), networks=networks))
    assert part.error is None and "noise" in part.controls
    part.set(window=2, blur=1.0)
    assert part.error is None
    video = SimpleNamespace(look=look, rows=np.arange(3), networks={"student": networks["student"]})
    assert "noise" not in viz.what_if(video).controls
    clip = "a.mp4", np.zeros((3, 5, 8, 8, 3), np.uint8), np.ones((3, 5), bool), np.array([0.2, np.nan, 0.9])
    ax = viz.draw_clip(*clip, "valence", 0.7).axes[-1]
    values, edges, _ = ax.patches[0].get_data()
    assert np.allclose(values, clip[3], equal_nan=True) and edges.tolist() == [0, 4, 8, 12]
    own = viz.own_clip(lambda content, name: (name, *clip[1:]), "valence")
    own.press()
    assert "no clip yet" in own.status.value
    labels, p = np.repeat([0, 1], [30, 70]), np.full(100, 0.7)
    observed = line(viz.draw_reliability(rng.permutation(labels), {"told": p}).axes[0], "told")
    assert observed[0] == pytest.approx([0.7]) and observed[1] == pytest.approx([0.7])
    table = pd.DataFrame({"change": "blur", "unit": "%", "strength": [0, 1], "role": "student", "accuracy": [0.6, 0.5]})
    assert line(viz.draw_sweep(table).axes[0], "student")[1].tolist() == [60, 50]


def test_worlds_of_ones_own_are_placed_by_theory_and_kept_when_tried():
    world = worlds.world_of(1, 1, 2, 0.2)
    assert (world.w_shared, world.w_eeg, world.w_video) == pytest.approx((0.2, 0.2, 0.4))
    point = dict(world="a", r_label=0.4, r_views=0.8, margin=0.4, gain=2.0, se=0.5, kind="published")
    figure = viz.draw_worlds(pd.DataFrame([point]), (0.1, 0.2))
    assert figure.axes[1].collections[3].get_offsets().tolist() == [[0.4, 2.0]] and "a" in texts(figure)
    made = []

    def simulate(w_shared, w_eeg, w_video, tell):
        made.append((w_shared, w_eeg, w_video))
        return point | {"world": "own", "alone": 60.0, "taught": 62.0}

    part = viz.world_explorer(simulate, pd.DataFrame([point]))
    part.press()
    assert made == [pytest.approx((0.2, 0.2, 0.2))] and "gain +2.0 points" in part.text.value
    part.press()
    assert "is known" in part.status.value and len(made) == 1
    part.set(shared=0, brain=0, face=0)
    assert "weights" in part.status.value


def test_controls_on_real_images_draw_means_over_seeds():
    rows = [(f, m, s, 60.0 + s, 20 * f + s) for f in (0.0, 0.25) for m in ("ce", "kd", "eeg") for s in (0, 1)]
    scores = pd.DataFrame(rows, columns=["flipped", "method", "seed", "accuracy", "gain"])
    part = viz.control_students(scores)
    assert part.error is None and texts(viz.draw_control_students(scores)) == ["+5.5 (0.5)"]
    part.set(flipped=0.0)
    assert "0 % of labels flipped; without a guide 60.5 %, 2 seeds" in part.picture.value
    about = {"optimizer": "sgd", "agreement": 0.95}
    curves = pd.DataFrame({"method": "kd", "epoch": [0, 1], "eeg_weight": [0.3, 0.1]}).assign(**about)
    figure = viz.draw_control_fusion(scores[scores["method"] == "kd"].assign(**about), curves)
    assert next(one for one in figure.axes[0].lines if one.get_marker() == "o").get_xdata() == pytest.approx([60.5])
    assert line(figure.axes[1], "kd")[1].tolist() == [0.3, 0.1]
