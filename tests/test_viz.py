"""Figures show the numbers they were given: positions, pixels, labels with units, chance lines."""

import subprocess
import sys
import types

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb, to_rgba

from cdgkd_utils.data.constants import CHANNELS, LEFT, SFREQ
from cdgkd_utils.results.paper import ROWS
from cdgkd_utils.results.tables import results_table
from cdgkd_utils.viz import embeddings, signals, splits, style, tables, training

COLOURS = style.COLOURS
N_EPOCHS = 6
RAN = ("ce", "ce_last", "ce_ls", "kd", "kd_drop", "takd", "dense", "cdgkd")  # rows with runs here


@pytest.fixture(autouse=True)
def styled():
    style.use()
    yield
    plt.close("all")


def line(ax, label):
    return next(drawn for drawn in ax.lines if drawn.get_label() == label)


def has_units(ax):
    return all(text.endswith(")") and "(" in text for text in (ax.get_xlabel(), ax.get_ylabel()))


def tone(frequency, amplitude=10.0):
    times = np.arange(512) / SFREQ
    return amplitude * np.sin(2 * np.pi * frequency * times)


@pytest.fixture
def teacher_log():
    epoch = np.arange(1, N_EPOCHS + 1)
    return pd.DataFrame(
        {"epoch": epoch, "train_loss": 1.0 / epoch, "val_loss": 0.7, "train_accuracy": 0.5 + epoch / 20}
        | {"val_accuracy": 0.5 + epoch / 60, "imbalance_ratio": 1 + epoch / 10}
        | {"video_weight": 0.0, "eeg_weight": epoch / 10}
    )


@pytest.fixture
def student_log(teacher_log):
    log = teacher_log.drop(columns=["imbalance_ratio", "video_weight", "eeg_weight"])
    return log.assign(loss_ce=1.0, loss_kd_teacher=2.0, loss_kd_ta1=[1.0] * 5 + [5.0])


# style


def test_colours_differ_also_for_readers_without_red_or_green():
    # Machado, Oliveira and Fernandes (2009), severity 1
    protan = [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    deutan = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    together = [
        *[("eeg", "video"), ("eeg", "ta2"), ("low", "high"), ("trial", "subject"), ("train", "student")],
        *[("teacher", "ta1"), ("teacher", "ta2"), ("ta1", "ta2"), ("ce", "teacher"), ("ce", "ta2"), ("train", "val")],
        *[("train", "test_trial"), ("train", "test_subject"), ("val", "test_subject"), ("subject", "student")],
    ]
    for matrix in (np.eye(3), np.array(protan), np.array(deutan)):
        for one, other in together:
            distance = np.linalg.norm(matrix @ np.subtract(to_rgb(COLOURS[one]), to_rgb(COLOURS[other])))
            assert distance > 0.15, (one, other)


def test_known_names_keep_their_colour_and_others_take_the_palette():
    assert style.colour("eeg", 3) == COLOURS["eeg"]
    assert style.colour("another guide", 1) == plt.rcParams["axes.prop_cycle"].by_key()["color"][1]


# signals


def test_electrodes_are_symmetric_and_the_right_way_round():
    xy = dict(zip(CHANNELS, signals.electrode_positions(), strict=True))
    assert xy["Fp1"][1] > xy["C3"][1] > xy["O1"][1]
    assert all(xy[name][0] < 0 for name in LEFT)
    for left, right in zip(CHANNELS[:14], CHANNELS[14:], strict=True):
        assert xy[right] == pytest.approx(xy[left] * [-1, 1], abs=0.06)
    assert all(0 < np.hypot(*place) < 1 for place in xy.values())


def test_montage_colours_the_hemispheres_and_names_every_channel():
    ax = signals.montage()
    assert {text.get_text() for text in ax.texts} == set(CHANNELS)
    left, right = ax.collections
    assert len(left.get_offsets()) == len(right.get_offsets()) == 14
    assert (left.get_offsets()[:, 0] < 0).all() and (right.get_offsets()[:, 0] > 0).all()
    assert tuple(left.get_facecolor()[0][:3]) == to_rgb(COLOURS["eeg"])


def test_band_power_belongs_to_its_band_and_its_channel():
    eeg = np.random.default_rng(1).normal(0, 0.1, (28, 512))
    eeg[CHANNELS.index("O2")] += tone(10.0)
    power = {band: signals.band_power(eeg, band) for band in signals.BANDS}
    assert CHANNELS[power["alpha"].argmax()] == "O2"
    assert power["alpha"].max() > 10 + max(power[band].max() for band in ("theta", "beta", "gamma"))
    # ten times the amplitude is 20 dB more
    assert signals.band_power(10 * eeg, "beta") - power["beta"] == pytest.approx(np.full(28, 20.0))


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match="eeg: expected shape"):
        signals.band_power(np.zeros((32, 512)), "alpha")


# splits


def index_of(n_subjects=3, n_trials=4, n_windows=2):
    rows = [(s, t, w) for s in range(1, n_subjects + 1) for t in range(1, n_trials + 1) for w in range(n_windows)]
    return pd.DataFrame(rows, columns=["subject", "trial", "window"])


def test_split_diagram_cells_are_the_split():
    index = index_of()
    rows = np.arange(len(index))
    split = {"train": rows[:12], "val": rows[12:16], "test_subject": rows[16:22]}  # the last trial is in no part
    ax = splits.split_diagram(index, split)
    mesh = ax.collections[0]
    assert mesh.get_array().reshape(3, 4).tolist() == [[1, 1, 1, 1], [1, 1, 2, 2], [3, 3, 3, 0]]
    assert ax.get_title(loc="left") == "no trial in two parts"
    assert mesh.cmap(mesh.norm(2)) == to_rgba(COLOURS["val"])
    assert has_units(ax) or ax.get_ylabel() == "subject"


def test_split_diagram_shows_a_planted_leak():
    index = index_of()
    rows = np.arange(len(index))
    ax = splits.split_diagram(index, {"train": rows[:13], "test_trial": rows[13:]})  # cuts subject 2, trial 3
    mesh = ax.collections[0]
    grid = mesh.get_array().reshape(3, 4)
    assert np.argwhere(grid == 3).tolist() == [[1, 2]]
    assert mesh.cmap(mesh.norm(3)) == to_rgba(COLOURS["leak"])
    assert "LEAK: 1 trial" in ax.get_title(loc="left")


# embeddings


def test_pca_projects_prototypes_with_the_same_map():
    rng = np.random.default_rng(3)
    points = rng.normal(size=(50, 6)) * [9, 5, 1, 1, 1, 1]
    result = embeddings.project(points, points[[4, 7]], 50, np.random.default_rng(0), "pca")
    assert result.rows.tolist() == list(range(50))
    assert result.prototypes_xy == pytest.approx(result.xy[[4, 7]])


def test_subsampling_belongs_to_the_generator():
    points = np.random.default_rng(4).normal(size=(50, 3))
    one, same, other = (embeddings.project(points, points[:2], 20, np.random.default_rng(s), "pca") for s in (0, 0, 1))
    assert one.xy.shape == (20, 2) and (np.diff(one.rows) > 0).all()
    assert (one.rows == same.rows).all() and (one.xy == same.xy).all()
    assert (one.rows != other.rows).any()


def test_umap_is_seeded_single_threaded_and_transforms_the_prototypes(monkeypatch):
    calls = []

    class UMAP:
        def __init__(self, **options):
            calls.append(options)

        def fit_transform(self, values):
            calls.append(len(values))
            return values[:, :2]

        def transform(self, values):
            return values[:, :2] + 100

    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=UMAP))
    points = np.random.default_rng(5).normal(size=(9, 3))
    result = embeddings.project(points, points[:2], 5, np.random.default_rng(0))
    assert calls == [{"n_neighbors": 4, "random_state": 0, "n_jobs": 1}, 5]
    assert result.prototypes_xy == pytest.approx(points[:2, :2] + 100)


def test_project_names_what_does_not_fit():
    with pytest.raises(ValueError, match="method: expected one of"):
        embeddings.project(np.eye(3), np.eye(3), 3, np.random.default_rng(0), "tsne")
    with pytest.raises(ValueError, match="same n_features"):
        embeddings.project(np.eye(3), np.eye(4), 3, np.random.default_rng(0), "pca")


def test_scatter_colours_classes_and_stars_prototypes():
    xy, labels = np.arange(10.0).reshape(5, 2), np.array([0, 1, 1, 0, 1])
    ax = embeddings.scatter(None, xy, labels, np.array([[1.0, 2.0], [7.0, 8.0]]), "EEG", "gap 0.18")
    low, high, star_low, star_high = ax.collections
    assert low.get_offsets().tolist() == xy[labels == 0].tolist()
    assert high.get_offsets().tolist() == xy[labels == 1].tolist()
    assert star_low.get_offsets().tolist() == [[1, 2]] and star_high.get_offsets().tolist() == [[7, 8]]
    assert to_rgb(star_low.get_facecolor()[0]) == to_rgb(COLOURS["low"])
    assert "unit" in ax.get_ylabel() and ax.get_xlabel().endswith("gap 0.18")
    embeddings.shared_legend(ax.figure)
    assert [text.get_text() for text in ax.figure.legends[0].get_texts()] == [
        *("low", "high", "prototype low", "prototype high")
    ]


# training


def test_teacher_curves_show_the_log(teacher_log):
    accuracy, imbalance, weights = training.training_curves(teacher_log).axes
    assert line(accuracy, "train").get_ydata() == pytest.approx(100 * teacher_log["train_accuracy"])
    assert line(accuracy, "validation").get_ydata() == pytest.approx(100 * teacher_log["val_accuracy"])
    assert line(accuracy, "chance").get_ydata()[0] == 50
    assert line(imbalance, "video / EEG").get_ydata() == pytest.approx(teacher_log["imbalance_ratio"])
    assert line(imbalance, "balanced").get_ydata()[0] == 1
    assert line(weights, "eeg").get_ydata() == pytest.approx(teacher_log["eeg_weight"])
    assert line(weights, "eeg").get_color() == COLOURS["eeg"] and line(weights, "video").get_color() == COLOURS["video"]
    assert all(has_units(ax) for ax in (accuracy, imbalance, weights))


def test_a_student_without_balance_gets_the_loss_panel(student_log, teacher_log):
    assert training.panels(student_log) == ("accuracy", "loss")
    assert training.panels(teacher_log.assign(imbalance_ratio=np.nan)) == ("accuracy", "loss")
    loss = training.training_curves(student_log).axes[1]
    assert line(loss, "train").get_ydata() == pytest.approx(student_log["train_loss"])
    with pytest.raises(ValueError, match="axes: expected 2"):
        training.training_curves(student_log, [loss])


def test_live_training_outside_a_notebook_draws_and_shows_nothing(teacher_log, capsys):
    live = training.LiveTraining("teacher", N_EPOCHS)
    live.update(teacher_log.iloc[:0])
    assert live.figure is None
    for last in range(1, N_EPOCHS + 1):
        live.update(teacher_log.iloc[:last])
        assert len(line(live.figure.axes[0], "train").get_xdata()) == last
        assert len(live.figure.axes[0].lines) == 3
    assert plt.get_fignums() == []  # pyplot would show the figure once more at the end of a cell
    static = training.training_curves(teacher_log)
    for drawn, twin in zip(live.figure.axes, static.axes, strict=True):
        assert [list(x.get_ydata()) for x in drawn.lines] == [list(x.get_ydata()) for x in twin.lines]
    assert capsys.readouterr().out == ""


def test_live_training_in_a_notebook_updates_one_picture(teacher_log, monkeypatch):
    import IPython

    shown, updates = [], []
    handle = types.SimpleNamespace(update=lambda picture: updates.append(picture.data))

    def display(picture, display_id):
        shown.append((picture.data, display_id))
        return handle

    monkeypatch.setattr(IPython, "get_ipython", lambda: types.SimpleNamespace(kernel=object()))
    monkeypatch.setattr(IPython.display, "display", display)
    live = training.LiveTraining("teacher")
    for last in (1, 2, 3):
        live.update(teacher_log.iloc[:last])
    assert len(shown) == 1 and shown[0][1] is True and len(updates) == 2
    assert len({shown[0][0], *updates}) == 3 and shown[0][0].startswith(b"\x89PNG")


def test_raster_pixels_are_the_mask():
    kept = np.random.default_rng(6).random((40, 3)) > 0.5
    names = ["teacher", "ta1", "another"]
    ax = training.guide_raster(kept, names)
    image = ax.images[0].get_array()
    assert ((image != 1).any(axis=2) == kept.T).all()
    for row, name in enumerate(names):
        assert (image[row][kept[:, row]] == to_rgb(style.colour(name, row))).all()
        assert ax.get_yticklabels()[row].get_text() == f"{name} ({100 * kept[:, row].mean():.0f} % kept)"
    assert ax.images[0].get_extent() == [0.5, 40.5, 2.5, -0.5]
    with pytest.raises(ValueError, match="kept: expected shape"):
        training.guide_raster(kept.T, names)


def test_guide_shares_stack_to_a_hundred(student_log):
    ax = training.guide_shares(student_log)
    tops = [area.get_paths()[0].vertices[:, 1].max() for area in ax.collections]
    # CE : teacher : ta1 is 1 : 2 : 1, in the last epoch 1 : 2 : 5
    assert tops == pytest.approx([25, 75, 100])
    at_end = [{round(y, 6) for x, y in area.get_paths()[0].vertices if x == N_EPOCHS} for area in ax.collections]
    assert {0, 12.5} <= at_end[0] and {12.5, 37.5} <= at_end[1] and {37.5, 100} <= at_end[2]
    assert to_rgb(ax.collections[1].get_facecolor()[0]) == to_rgb(COLOURS["teacher"])
    with pytest.raises(ValueError, match="loss_kd_"):
        training.guide_shares(student_log[["epoch", "loss_ce"]])


def test_agreement_prints_every_number():
    matrix = np.array([[1.0, 0.81], [0.81, 1.0]])
    ax = training.agreement(matrix, ["teacher", "student"])
    assert [text.get_text() for text in ax.texts] == ["100", "81", "81", "100"]
    assert ax.collections[0].get_array().ravel().tolist() == pytest.approx((100 * matrix).ravel().tolist())
    assert any("%" in other.get_ylabel() for other in ax.figure.axes)
    with pytest.raises(ValueError, match="matrix: expected shape"):
        training.agreement(matrix, ["teacher"])


# tables


@pytest.fixture
def long_table():
    rng = np.random.default_rng(7)
    runs = [
        {"table": 1, "dataset": "deap", "target": "valence", "protocol": protocol, "method": method, "repeat": 0}
        | {"fold": fold, "metric": metric, "value": 0.55 if metric == "majority" else rng.uniform(0.5, 0.7)}
        | {"n_train": 300, "n_test": 100, "profile": "smoke", "data": "made up"}
        for protocol in ("trial", "subject")
        for method in RAN
        for fold in range(2 if method == "kd" else 3)
        for metric in ("accuracy", "majority")
    ]
    return results_table(pd.DataFrame(runs), 1, 3, "smoke", "made up")


def test_dots_bars_and_diamonds_are_the_table(long_table):
    ax = tables.dot_plot(long_table, 1, "valence")
    part = long_table[(long_table["dataset"] == "deap") & (long_table["target"] == "valence")]
    part = part[part["metric"] == "accuracy"].set_index(["protocol", "method"])
    drawn = {container.get_label(): container for container in ax.containers}
    for protocol, label in (("trial", "unseen trials"), ("subject", "unseen subjects")):
        dots, _, (bars,) = drawn[label]
        for x, y, bar in zip(*dots.get_data(), bars.get_segments(), strict=True):
            row = part.loc[protocol, ROWS[1][round(y)]]
            assert x == pytest.approx(row["mean"])
            assert bar[:, 0] == pytest.approx([row["low"], row["high"]])
        assert len(dots.get_xdata()) == len(RAN)
        assert dots.get_color() == COLOURS[protocol]
    diamonds = next(c for c in ax.collections if c.get_label() == "paper").get_offsets()
    assert len(diamonds) == part.loc["trial", "paper"].notna().sum() == 9
    for x, y in diamonds.tolist():
        assert x == part.loc["trial", ROWS[1][round(y)]]["paper"]


def test_the_plot_says_what_was_not_run_and_where_the_numbers_come_from(long_table):
    ax = tables.dot_plot(long_table, 1, "valence")
    counts = {round(text.get_position()[1]): text.get_text() for text in ax.texts}
    not_run = {row for row, method in enumerate(ROWS[1]) if method not in RAN}
    assert counts == {row: "0 of 3" for row in not_run} | {ROWS[1].index("kd"): "2 of 3"}
    grey = {row for row, label in enumerate(ax.get_yticklabels()) if label.get_color() == COLOURS["absent"]}
    assert grey == not_run
    title = ax.get_title(loc="left")
    assert all(word in title for word in ("Table 1", "valence", "made up", "smoke", "n = 2–3 of 3"))
    assert line(ax, "chance").get_xdata()[0] == 50
    assert line(ax, "majority, unseen trials").get_xdata()[0] == pytest.approx(55)
    assert ax.get_xlabel() == "accuracy (%)"


def test_a_plot_without_runs_and_of_another_metric_still_says_so(long_table):
    ax = tables.dot_plot(long_table, 1, "arousal")
    assert len(ax.texts) == len(ROWS[1]) and "n = 0 of 3" in ax.get_title(loc="left")
    ax = tables.dot_plot(long_table, 1, "valence", metric="macro_f1")
    assert not [c for c in ax.collections if c.get_label() == "paper"]
    with pytest.raises(ValueError, match="target"):
        tables.dot_plot(long_table, 1, "liking")


# architecture


def test_results_and_figures_load_without_torch_and_without_slow_optional_parts():
    results = ("metrics", "statistics", "paper", "tables", "display")
    figures = ("style", "signals", "splits", "embeddings", "training", "tables")
    names = [f"cdgkd_utils.results.{name}" for name in results] + [f"cdgkd_utils.viz.{name}" for name in figures]
    code = f"import sys, {', '.join(names)}; print(sorted({{'torch', 'umap', 'mne'}} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
