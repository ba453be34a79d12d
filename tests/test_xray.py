"""The distillation X-ray: the pictures hold the numbers they were given, the panels follow their controls."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from cdgkd_utils.results.similarity import ChainAnswers, guides_speaking
from cdgkd_utils.viz import guides
from cdgkd_utils.viz.style import COLOURS
from cdgkd_utils.viz.widgets import chain_bench as bench
from cdgkd_utils.viz.widgets import soft_targets as soft
from cdgkd_utils.viz.widgets import xray

ROLES = ("teacher", "assistant 1", "assistant 2", "student")


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture
def chain():
    rng = np.random.default_rng(0)
    # Three subjects of four trials of three windows; windows stand in no order.
    index = pd.DataFrame([(s, t, w) for s in (1, 2, 3) for t in (1, 2, 5, 7) for w in (2, 0, 1)])
    index.columns = ["subject", "trial", "window"]
    labels = np.repeat(rng.integers(0, 2, 12), 3)
    parts = {"train": np.arange(18), "val": np.arange(18, 24), "test_trial": np.arange(24, 36)}
    logits = {role: 2 * rng.normal(size=(36, 2)) for role in ROLES}
    return ChainAnswers(logits, {role: rng.normal(size=(36, 4)) for role in ROLES}, labels, parts, index)


@pytest.fixture
def learners():
    rng = np.random.default_rng(1)
    return {role: xray.Silence(rng.random((20, n)) > 0.5, ROLES[:n], 5, 0.5) for n, role in enumerate(ROLES) if n}


# ---- soft targets ------------------------------------------------------------------------------


def test_trials_are_those_of_the_part(chain):
    assert soft.trials_of(chain, "train") == [(1, 1), (1, 2), (1, 5), (1, 7), (2, 1), (2, 2)]
    assert soft.trials_of(chain, "val") == [(2, 5), (2, 7)]


def test_the_most_doubted_trial_is_that_of_a_loop(chain):
    by_trial = {}
    for row in chain.parts["train"]:
        p = np.exp(chain.logits["teacher"][row])
        key = tuple(chain.index.loc[row, ["subject", "trial"]])
        by_trial.setdefault(key, []).append(p[chain.labels[row]] / p.sum())
    worst = min(by_trial, key=lambda key: np.mean(by_trial[key]))
    assert soft.trials_of(chain, "train")[soft.most_doubted(chain, "train") - 1] == worst


def test_one_trial_is_drawn_in_the_order_of_time(chain):
    one, _, curves = soft.soft_figure(chain, "train", 2, 4.0).axes
    assert one.get_title(plt.rcParams["axes.titlelocation"]).startswith("subject 1, trial 2, rated ")
    for role, line in zip(ROLES, one.lines[:3], strict=False):
        assert line.get_xdata().tolist() == [0, 4, 8]
        for number, shown in enumerate(line.get_ydata()):
            (row,) = chain.index.query(f"subject == 1 and trial == 2 and window == {number}").index
            p = np.exp(chain.logits[role][row] / 4)
            assert shown == pytest.approx(p[chain.labels[row]] / p.sum())
        assert to_rgb(line.get_color()) == to_rgb(COLOURS[guides.ROLES[role]])
    for role, line in zip(ROLES, curves.lines[:3], strict=False):
        at_one = np.interp(1.0, line.get_xdata(), line.get_ydata())
        assert at_one == pytest.approx(soft.target_summary(chain, "train", 1.0).loc[role, "entropy"], abs=2e-3)


def test_the_distribution_counts_every_window(chain):
    figure = soft.soft_figure(chain, "test_trial", 1, 2.0)
    for role, outline in zip(ROLES, figure.axes[1].patches, strict=False):
        values, edges, _ = outline.get_data()
        counts = [
            sum(low <= v < high for v in chain.true_class(role, "test_trial", 2.0))
            for low, high in itertools.pairwise(edges)
        ]
        np.testing.assert_allclose(values, 100 * np.array(counts) / 12)


def test_a_hotter_guide_is_less_sure_and_says_so(chain):
    summaries = [soft.target_summary(chain, "train", t) for t in (0.5, 2.0, 16.0)]
    for role in ROLES[:3]:
        values = [summary.loc[role, "entropy"] for summary in summaries]
        assert values == sorted(values)
    assert (summaries[2]["hard"] == 0).all() and list(summaries[0].index) == list(ROLES[:3])


def test_the_strip_has_each_temperature_and_both_parts(chain):
    figure = soft.soft_static(chain, "test_trial", 1, (1.0, 8.0))
    assert len(figure.axes) == 8
    cool, hot = figure.axes[0], figure.axes[4]
    for ax, temperature in ((cool, 1.0), (hot, 8.0)):
        for part, outline in zip(("train", "test_trial"), ax.patches, strict=True):
            wanted = np.histogram(chain.true_class("teacher", part, temperature), guides.BINS)[0]
            np.testing.assert_allclose(outline.get_data().values, 100 * wanted / wanted.sum())
        assert ax.get_ylim()[1] > max(outline.get_data().values.max() for outline in ax.patches)


def test_the_soft_panel_follows_and_names_what_does_not_exist(chain):
    panel = soft.soft_panel(chain, 3)
    assert panel.controls["place"].value == 3 and "temperature 2:" in panel.picture.value
    cold = soft.TEMPERATURES[0]
    panel.set(temperature=float(cold), part="val", place=1)
    assert "temperature 0.5:" in panel.picture.value and "subject 2, trial 5" in panel.picture.value
    before = panel.picture.value
    panel.set(place=5)
    assert "trial: there are 2 among the validation windows, got number 5" in panel.status.value
    assert panel.picture.value == before


# ---- how alike ---------------------------------------------------------------------------------


def test_the_matrices_show_their_numbers(chain):
    figure = xray.alike_figure(chain, "test_trial")
    left, right = figure.axes[0], figure.axes[2]
    shown = [text.get_text() for text in left.texts]
    assert shown == [f"{100 * value:.0f}" for value in chain.agreement("test_trial").to_numpy().ravel()]
    assert [t.get_text() for t in right.texts] == [f"{v:.2f}" for v in chain.cka("test_trial").to_numpy().ravel()]
    assert left.images[0].norm.vmin <= chain.agreement("test_trial").min(axis=None)
    np.testing.assert_array_equal(right.images[0].get_array(), chain.cka("test_trial").to_numpy())


def test_numbers_can_be_read_on_their_colours():
    ax = plt.subplots()[1]
    guides.draw_matrix(
        ax, pd.DataFrame([[1, np.nan], [0.5, 0.9]], index=list("ab"), columns=list("ab")), percent=True, low=0.5
    )
    assert [(t.get_text(), t.get_color()) for t in ax.texts] == [
        *(("100", "black"), ("–", "black")),
        *(("50", "white"), ("90", "black")),
    ]


def test_the_static_twin_has_every_part_under_one_scale(chain):
    figure = xray.alike_static(chain)
    titles = [ax.get_title(plt.rcParams["axes.titlelocation"]) for ax in figure.axes[:6:2]]
    assert titles == ["training windows", "validation windows", "unseen trials"]
    assert len({ax.images[0].norm.vmin for ax in figure.axes[:6:2]}) == 1


def test_the_alike_panel_says_what_chance_is(chain):
    panel = xray.alike_panel(chain, np.random.default_rng(3))
    wanted = chain.chance_cka("train", np.random.default_rng(3))
    assert f"have a CKA of {wanted:.2f} here" in panel.text.value
    panel.set(part="test_trial")
    same = chain.agreement("test_trial").loc["student", "teacher"]
    assert f"The student with teacher {100 * same:.0f} %" in panel.picture.value


# ---- who is silent -----------------------------------------------------------------------------


def test_an_epoch_is_its_own_steps(learners):
    silence = learners["student"]
    np.testing.assert_array_equal(silence.epoch(2), silence.kept[4:8])
    for number in (0, 6):
        with pytest.raises(ValueError, match=f"epoch: this training has 5, got {number}"):
            silence.epoch(number)
    with pytest.raises(ValueError, match="expected a multiple of 3 epochs, got 20 steps"):
        xray.Silence(silence.kept, silence.guides, 3, 0.5).epoch(1)


def test_the_rasters_are_white_where_a_guide_was_dropped(learners):
    silence = learners["assistant 2"]
    whole, one, bars = xray.silence_figure(learners, "assistant 2", 3).axes
    for ax, kept in ((whole, silence.kept), (one, silence.kept[8:12])):
        white = (np.asarray(ax.images[0].get_array()) == 1).all(axis=2)
        np.testing.assert_array_equal(white, ~kept.T)
    assert one.get_xlim() == (8.5, 12.5) and one.images[0].get_extent()[:2] == [8.5, 12.5]
    shares = [100 * share for share in silence.kept.mean(axis=0)]
    labels = [label.get_text() for label in whole.get_yticklabels()]
    assert labels == [f"{name} ({share:.0f} %)" for name, share in zip(ROLES, shares, strict=False)]
    wanted = guides_speaking(silence.kept, 0.5)
    np.testing.assert_allclose([bar.get_height() for bar in bars.patches], 100 * wanted["observed"])


def test_the_silence_panel_and_its_twin(learners):
    panel = xray.silence_panel(learners)
    assert panel.values == {"learner": "student", "epoch": 1}
    panel.set(learner="assistant 1", epoch=5)
    assert "Which guide the assistant 1 heard" in panel.picture.value and not panel.status.value
    static = xray.silence_static(learners, 10)
    assert [ax.images[0].get_array().shape[:2] for ax in static.axes[:3]] == [(1, 10), (2, 10), (3, 10)]
    with pytest.raises(ValueError, match="learner: expected one of assistant 1, assistant 2, student, got 'teacher'"):
        xray.silence_figure(learners, "teacher", 1)


# ---- assistants and dropping -------------------------------------------------------------------


def result(n, r, accuracy=0.6):
    return {"n_assistants": n, "drop_prob": r, "balanced_accuracy": accuracy, "agreement": 0.8, "silent": r ** (n + 1)}


def test_the_grid_has_a_hole_where_nothing_was_trained():
    grid = bench.chain_grid(pd.DataFrame([result(2, 0.5, 0.7), result(0, 0.0)]), "balanced_accuracy")
    assert grid.loc[2, 0.5] == 0.7 and grid.loc[0, 0.0] == 0.6 and grid.isna().sum().sum() == 10
    with pytest.raises(ValueError, match="tried: expected one row for each"):
        bench.chain_grid(pd.DataFrame([result(1, 0.5), result(1, 0.5)]), "silent")


def test_the_grid_is_drawn_as_it_is():
    tried = pd.DataFrame([result(2, 0.5, 0.7), result(0, 0.0)])
    accuracy, _, silent = bench.chain_figure(tried, (2, 0.5)).axes
    texts = [text.get_text() for text in accuracy.texts]
    assert texts[0] == "60.0" and texts[10] == "70.0" and texts.count("not\ntrained") == 10
    (frame,) = accuracy.patches
    assert (frame.get_x(), frame.get_y()) == (1.5, 1.5)
    lines = [line for line in silent.lines if line.get_linestyle() == "-"]
    for n, line in enumerate(lines):
        assert line.get_ydata()[50] == pytest.approx(100 * 0.5 ** (n + 1))


def test_nothing_trained_at_all_is_drawn_too():
    figure = bench.chain_figure(bench.tried_frame([]))
    assert len(figure.axes[0].texts) == 12


def test_the_button_trains_only_what_is_missing_and_tells():
    calls, told = [], []

    def train(n, r, tell):
        calls.append((n, r))
        tell(0.5, "half way")
        return result(n, r)

    panel = bench.chain_panel(train, [result(2, 0.5), result(0, 0.0)])
    assert "2 assistants, drop 0.5: 60.0 %" in panel.picture.value
    panel.status.observe(lambda change: told.append(change["new"]), names="value")
    panel.button.click()
    assert not calls  # chosen, and there already
    panel.set(assistants=1, drop=0.25)
    panel.button.click()
    assert calls == [(1, 0.25)] and "1 assistant, drop 0.25" in panel.picture.value
    assert any('value="0.500"' in said and "student 1 of 1: 1 assistant, drop 0.25, half way" in said for said in told)
    panel.set(which="all")
    panel.button.click()
    assert len(calls) == 10 and len(set(calls)) == 10
    assert any('value="0.056"' in said and "student 1 of 9" in said for said in told)


def test_what_was_trained_before_an_interruption_is_kept():
    def train(n, r, tell):
        if r == 0.5:
            raise KeyboardInterrupt
        return result(n, r)

    panel = bench.chain_panel(train, [])
    panel.set(which="all")
    panel.button.click()
    assert "stopped" in panel.status.value
    panel.set(which="one", assistants=0, drop=0.25)
    panel.button.click()
    assert "0 assistants, drop 0: 60.0 %" in panel.picture.value and not panel.status.value
