"""The tug-of-war player and the rebalancing bench, without a browser: what is drawn is what was given."""

from dataclasses import replace
from io import BytesIO

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from cdgkd_utils.results.history import History
from cdgkd_utils.results.metrics import separation
from cdgkd_utils.viz import style
from cdgkd_utils.viz.widgets.rebalancing_bench import Tried, draw_tries, rebalancing_bench_panel, tries_alt, tries_table
from cdgkd_utils.viz.widgets.scene import balance_at, make_scene, strip_epochs
from cdgkd_utils.viz.widgets.tug_of_war import draw_moment, film_strip, tug_of_war_panel

N_FRAMES, N_TRAIN, N_VAL = 4, 40, 12


@pytest.fixture(autouse=True)
def styled():
    style.use()
    yield
    plt.close("all")


def log(n_epochs=N_FRAMES, help=0.0, last=0.6):
    epoch = np.arange(n_epochs)
    accuracy = {"train_accuracy": 0.5 + epoch / 20, "val_accuracy": 0.5 + epoch / 50}
    weights = {"eeg_weight": help * epoch, "video_weight": 0.0, "imbalance_ratio": 1 + epoch / 10}
    score = {"val_balanced_accuracy": [*np.full(n_epochs - 1, 0.55), last]}
    proto = {"proto_accuracy_eeg": 0.6, "proto_accuracy_video": 0.9}
    return pd.DataFrame({"epoch": epoch} | accuracy | weights | score | proto)


def history(name="plain", seed=0, help=0.0, offset=0.0, n_frames=N_FRAMES):
    """Two classes that move apart along the sum of all axes, in a cloud that drifts."""
    rng = np.random.default_rng(seed)
    n = N_TRAIN + N_VAL
    labels = rng.permutation(np.arange(n) % 2)
    embeddings, prototypes = {}, {}
    for m, width in (("eeg", 7), ("video", 5)):
        noise = rng.normal(size=(n, width)) * np.linspace(1, 0.2, width)
        apart = np.arange(n_frames)[:, None, None] * (2 * labels[:, None] - 1)
        embeddings[m] = (noise + apart + offset * np.arange(n_frames)[:, None, None]).astype(np.float32)
        train = embeddings[m][:, :N_TRAIN]
        prototypes[m] = np.stack([train[:, labels[:N_TRAIN] == k].mean(axis=1) for k in (0, 1)], axis=1)
    parts = np.array(["train"] * N_TRAIN + ["val"] * N_VAL)
    return History(name, log(n_frames, help), np.arange(n_frames), embeddings, prototypes, np.arange(n), labels, parts)


@pytest.fixture
def pair():
    return {"plain": history(), "rebalanced": history("rebalanced", help=0.1)}


# ---- one frame for all --------------------------------------------------------------------------


def test_the_projection_is_the_principal_plane_of_the_last_frames(pair):
    """Against the eigenvectors of the covariance matrix, in loops."""
    pair["rebalanced"] = history("rebalanced", seed=0, help=0.1, offset=3.0)
    scene = make_scene(pair)
    for m in ("eeg", "video"):
        centred = []
        for h in pair.values():
            last = h.embeddings[m][-1].astype(float)
            centred.append(last[:N_TRAIN] - last[:N_TRAIN].mean(axis=0))
        stacked = np.concatenate(centred)
        values, vectors = np.linalg.eigh(stacked.T @ stacked)
        assert np.allclose(scene.explained[m], values[::-1][:2] / values.sum())
        for name, h in pair.items():
            for frame in range(N_FRAMES):
                cloud = h.embeddings[m][frame].astype(float)
                cloud -= cloud[:N_TRAIN].mean(axis=0)
                wanted = np.abs(cloud @ vectors[:, ::-1][:, :2])
                assert np.allclose(np.abs(scene.points[name, m][frame]), wanted, atol=1e-5)


def test_a_cloud_that_only_moves_as_a_whole_stands_still(pair):
    still, moving = make_scene({"a": history()}), make_scene({"a": history(offset=50.0)})
    for key in still.points:
        assert np.allclose(still.points[key], moving.points[key], atol=1e-3)
        assert np.allclose(still.stars[key], moving.stars[key], atol=1e-3)


def test_prototypes_share_the_windows_map_and_high_is_right_and_above(pair):
    scene = make_scene(pair)
    for (name, m), stars in scene.stars.items():
        train = scene.points[name, m][:, :N_TRAIN]
        labels = pair[name].labels[:N_TRAIN]
        for k in (0, 1):
            assert np.allclose(stars[:, k], train[:, labels == k].mean(axis=1), atol=1e-5)
    assert all((scene.stars["plain", m][-1, 1] >= scene.stars["plain", m][-1, 0]).all() for m in ("eeg", "video"))


def test_histories_that_do_not_fit_are_refused(pair):
    with pytest.raises(ValueError, match="expected at least one, got none"):
        make_scene({})
    pair["rebalanced"] = replace(pair["rebalanced"], rows=pair["rebalanced"].rows + 1)
    with pytest.raises(ValueError, match="expected the same windows in all"):
        make_scene(pair)


def test_a_teacher_that_stopped_early_ends_the_film():
    scene = make_scene({"long": history(n_frames=6), "short": history(n_frames=3)})
    assert scene.epochs.tolist() == [0, 1, 2]
    draw_moment(scene, 2)
    with pytest.raises(ValueError, match="epoch: expected one of 0, 1, 2, got 3"):
        draw_moment(scene, 3)


# ---- what is drawn ------------------------------------------------------------------------------


def test_numbers_are_those_of_the_log_and_of_all_dimensions(pair):
    scene = make_scene(pair)
    for part, inside in (("train", slice(0, N_TRAIN)), ("val", slice(N_TRAIN, None))):
        numbers = balance_at(scene, "rebalanced", 2, part)
        assert numbers["imbalance_ratio"] == pytest.approx(1.2) and numbers["eeg_weight"] == pytest.approx(0.2)
        for m in ("eeg", "video"):
            own = pair["rebalanced"]
            wanted = separation(own.embeddings[m][2, inside], own.labels[inside])["gap_within"]
            assert numbers[f"gap_{m}"] == pytest.approx(wanted)
    with pytest.raises(ValueError, match="part: expected one of train, val, got 'test'"):
        balance_at(scene, "plain", 0, "test")


@pytest.mark.parametrize(("part", "n_shown"), [("train", N_TRAIN), ("val", N_VAL)])
def test_a_moment_shows_its_windows_in_a_frame_that_does_not_move(pair, part, n_shown):
    scene = make_scene(pair)
    limits, placed = set(), set()
    for epoch in range(N_FRAMES):
        fig = draw_moment(scene, epoch, part)
        cloud = next(ax for ax in fig.axes if ax.get_title(loc="left").startswith("rebalanced: EEG"))
        dots = {c.get_label(): c for c in cloud.collections if c.get_label() in ("low", "high")}
        assert sum(len(c.get_offsets()) for c in dots.values()) == n_shown
        own = pair["rebalanced"]
        reach = scene.reach["eeg"]
        for k, label in enumerate(("low", "high")):
            inside = (own.parts == part) & (own.labels == k)
            wanted = scene.points["rebalanced", "eeg"][epoch, inside].clip(-reach, reach)
            assert np.allclose(dots[label].get_offsets(), wanted)
            assert to_hex(dots[label].get_facecolor()[0]).upper() == style.COLOURS[label].upper()
            star = next(c for c in cloud.collections if c.get_label() == f"prototype {label}")
            assert np.allclose(star.get_offsets()[0], scene.stars["rebalanced", "eeg"][epoch, k])
        cursors = [line for ax in fig.axes for line in ax.lines if line.get_color() == style.COLOURS["fusion"]]
        assert len(cursors) == 4 and all(list(line.get_xdata()) == [epoch, epoch] for line in cursors)
        limits.add((cloud.get_xlim(), cloud.get_ylim()))
        placed.add(tuple(np.round(cloud.get_position().bounds, 9)))
        assert len(fig.axes) == 8
    assert len(limits) == len(placed) == 1


def test_one_teacher_without_help_shows_accuracy_instead_of_empty_weights(pair):
    titles = [ax.get_title(loc="left") for ax in draw_moment(make_scene({"plain": pair["plain"]}), 2).axes]
    assert titles[2:] == ["epoch 2: ratio 1.20", "epoch 2: validation 54 %"]
    titles = [ax.get_title(loc="left") for ax in draw_moment(make_scene(pair), 2).axes]
    assert titles.count("epoch 2: EEG weight 0.00") == titles.count("epoch 2: EEG weight 0.20") == 1


@pytest.mark.parametrize(
    ("n_frames", "wanted"), [(2, [0, 9]), (3, [0, 4, 9]), (4, [0, 3, 6, 9]), (99, list(range(10)))]
)
def test_a_strip_runs_from_the_first_frame_to_the_last(n_frames, wanted):
    assert strip_epochs(make_scene({"a": history(n_frames=10)}), n_frames) == wanted


def test_a_strip_of_one_frame_is_refused(pair):
    with pytest.raises(ValueError, match="n_frames: expected 2 or more, got 1"):
        film_strip(make_scene(pair), 1)


def test_the_film_strip_has_a_row_per_modality_and_teacher(pair):
    fig = film_strip(make_scene(pair), 3)
    titles = [ax.get_title(loc="left") for ax in fig.axes]
    assert len(titles) == 4 * 3 + 2
    assert [title.split(",")[0] for title in titles[:3]] == ["epoch 0", "epoch 2", "epoch 3"]
    assert all(title.startswith("gap ") for title in titles[3:12])
    labels = [ax.get_ylabel() for ax in fig.axes if ax.get_ylabel()]
    assert labels[:4] == ["EEG, plain", "EEG, rebalanced", "video, plain", "video, rebalanced"]
    lines = {line.get_label(): line.get_ydata() for line in fig.axes[-1].lines if not line.get_label().startswith("_")}
    assert np.allclose(lines["rebalanced"], 0.1 * np.arange(N_FRAMES)) and not np.any(lines["plain"])
    alone = film_strip(make_scene({"plain": pair["plain"]}), 3)
    lines = {line.get_label(): line.get_ydata() for line in alone.axes[-1].lines}
    assert np.allclose(lines["EEG, plain"], 60) and np.allclose(lines["video, plain"], 90) and "chance" in lines


def test_the_player_follows_its_slider(pair):
    panel = tug_of_war_panel(make_scene(pair))
    last = panel.picture.value
    assert panel.values == {"epoch": 3, "part": "train"} and "beginning of epoch 3" in last
    panel.set(epoch=1, part="val")
    assert "Embeddings of validation windows at the beginning of epoch 1" in panel.picture.value
    assert "imbalance ratio 1.10, EEG weight 0.10" in panel.picture.value
    panel.set(epoch=3, part="train")
    assert panel.picture.value == last


# ---- the bench ----------------------------------------------------------------------------------


def conditions(**changed):
    return {"eeg_signal": 100, "video_signal": 100, "strength": 10, "optimiser": "sgd"} | changed


def test_the_table_takes_the_best_epoch_for_accuracy_and_the_last_for_balance():
    early = log(help=0.1)
    early["val_balanced_accuracy"] = [0.5, 0.7, 0.7, 0.6]
    table = tries_table([Tried(conditions(), early), Tried(conditions(eeg_signal=40, optimiser="adam"), log())])
    first, second = table.loc[1], table.loc[2]
    assert (first["best validation (%)"], first["in epoch"]) == (70.0, 1)
    assert (first["ratio"], first["EEG weight"], first["EEG branch (%)"]) == (1.3, 0.3, 60.0)
    assert (second["EEG signal (%)"], second["optimiser"], second["in epoch"]) == (40, "Adam", 3)
    assert not [name for name in table if "test" in name]


def test_curves_are_those_of_the_last_tries_and_keep_their_lines():
    made = [Tried(conditions(strength=s), log(help=s / 100, last=0.6 + s / 1000)) for s in (0, 1, 3, 10, 30)]
    fig = draw_tries(made)
    accuracy, ratio, weights = fig.axes
    curves = {line.get_label().split(":")[0]: line for line in accuracy.lines}
    assert list(curves) == ["try 2", "try 3", "try 4", "try 5", "chance"]
    assert np.allclose(curves["try 5"].get_ydata(), 100 * made[4].log["val_balanced_accuracy"])
    assert np.allclose(weights.lines[0].get_ydata(), 0.01 * np.arange(N_FRAMES))
    assert np.allclose(ratio.lines[0].get_ydata(), 1 + np.arange(N_FRAMES) / 10)
    before = {line.get_label(): line.get_color() for line in draw_tries(made[:4]).axes[0].lines}
    assert all(
        before[line.get_label()] == line.get_color() for name, line in curves.items() if name in ("try 2", "try 4")
    )
    with pytest.raises(ValueError, match="expected at least one"):
        draw_tries([])


def test_video_help_is_drawn_below_zero():
    other = log().assign(video_weight=0.3)
    assert np.allclose(draw_tries([Tried(conditions(), other)]).axes[2].lines[0].get_ydata(), -0.3)


def test_the_bench_trains_when_asked_keeps_its_tries_and_forgets_them():
    asked, told = [], []

    def train(on_epoch, **wanted):
        asked.append(wanted)
        for n in (1, 2):
            on_epoch(log(4).head(n))
            told.append(panel.status.value)
        if wanted["strength"] == 100:
            raise ValueError("the loss is not finite in epoch 1")
        return log()

    panel, made = rebalancing_bench_panel(train, 4, [Tried(conditions(), log())])
    panel.set(eeg_signal=40, optimiser="adam")
    assert not asked
    panel.button.click()
    assert asked == [conditions(eeg_signal=40, optimiser="adam")] and len(made) == 2
    assert told == [
        f'<progress max="1" value="{s}"></progress> epoch {n} of 4' for s, n in (("0.250", 1), ("0.500", 2))
    ]
    assert "of 2 tries" in panel.picture.value and panel.text.value.count("<tr") == 2 + 2
    panel.set(strength=100)
    panel.button.click()
    assert "not finite in epoch 1" in panel.status.value and len(made) == 2 and "of 2 tries" in panel.picture.value
    forget = panel.box.children[-1]
    forget.click()
    assert made == [] and panel.picture.value == panel.text.value == ""
    panel.set(strength=3)
    panel.button.click()
    assert len(made) == 1 and "of 1 tries" in panel.picture.value


def test_the_bench_says_in_words_what_it_shows():
    assert tries_alt([]) == "No try yet."
    text = tries_alt([Tried(conditions(video_signal=40), log(help=0.1))])
    assert "EEG 100 %, video 40 %, strength 10, SGD" in text and "imbalance ratio 1.3, EEG weight 0.3" in text


def test_the_film_strip_keeps_its_places_when_it_is_saved_again(pair):
    """Matplotlib gives a saved figure the style's layout, which squeezed the parts into one another."""
    style.use()
    fig = film_strip(make_scene(pair), 3)
    pictures = []
    for _ in range(2):
        buffer = BytesIO()
        fig.savefig(buffer, format="raw", dpi=50)
        pictures.append(buffer.getvalue())
    assert pictures[0] == pictures[1]
