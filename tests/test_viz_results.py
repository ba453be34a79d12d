"""Numbers drawn are numbers given: chains, tables, the student in use, worlds, controls."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import same_color
from test_viz_pictures import line, style, texts  # noqa: F401

from cdgkd_utils import viz
from cdgkd_utils.viz import worlds
from cdgkd_utils.viz.style import COLOURS


@pytest.fixture
def rng():
    return np.random.default_rng(0)


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
    figure = part.draw(part="train", place=1, temperature=2.0)
    sigmoid = 1 / (1 + np.exp(-np.array([2.0, 1.0])))  # windows in the order of time
    assert np.allclose(line(figure.axes[0], "teacher")[1], sigmoid)
    assert figure.axes[1].patches[0].get_data().values.sum() == pytest.approx(100)
    far = line(figure.axes[2], "teacher")[1]
    p = 1 / (1 + np.exp(-np.array([2, 4, 2, 2]) / 16))
    assert far[-1] == pytest.approx(-(p * np.log(p) + (1 - p) * np.log(1 - p)).mean())
    part.set(part="test_trial", place=2)
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
    assert line(ax, "training windows")[0].tolist() == [0.2, 0.5]
    assert line(ax, "unseen trials")[0].tolist() == [0.9, 0.6]
    log = pd.DataFrame({"epoch": [0, 1], "loss_ce": [0.6, 0.2], "loss_kd_t": [0.2, 0.2], "loss_kd_a": [0.2, 0.0]})
    layers = viz.draw_shares(log, {"t": "teacher"}).axes[0].collections
    tops = [layer.get_paths()[0].vertices[:, 1].max() for layer in layers]
    assert tops == pytest.approx([60, 100, 100])


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
    part.set(methods=("kd",), reference="cdgkd")
    assert next(one for one in part.static.axes[1].lines if one.get_marker() == "o").get_xdata() == pytest.approx([2.0])
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
    assert [p.get_width() for p in bars.patches] == pytest.approx([0.6, 0.3])
    assert line(bars, "before the change")[0].tolist() == [0.5, 0.4]
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


def test_shares_of_worlds_are_stacked_to_one():
    ax = viz.draw_world_shares({"a": SimpleNamespace(w_shared=0.3, w_eeg=0.1, w_video=0.2)}).axes[0]
    assert [p.get_width() for p in ax.patches] == pytest.approx([0.3, 0.1, 0.2, 0.4])


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
