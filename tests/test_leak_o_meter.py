"""The leak-o-meter against counts by loops, exhaustive neighbours, and pictures read back."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from cdgkd_utils.data.splits.audit import audit
from cdgkd_utils.data.splits.protocols import Fold
from cdgkd_utils.data.types import Windows
from cdgkd_utils.experiments import leak
from cdgkd_utils.experiments.leak import FaceReader, labels_permuted_between_trials, leak_scores, read_faces
from cdgkd_utils.viz.style import COLOURS
from cdgkd_utils.viz.widgets import leak_o_meter as meter


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def make_windows(n_subjects=6, n_trials=8, n_windows=3):
    """Faces with a fingerprint per trial; labels are pure chance."""
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(range(1, n_subjects + 1), range(1, n_trials + 1), range(n_windows), indexing="ij"), -1)
    index = pd.DataFrame(grid.reshape(-1, 3), columns=["subject", "trial", "window"])
    index["stimulus"] = [f"clip {trial}" for trial in index["trial"]]
    place = np.arange(len(index)) // n_windows
    video = rng.normal(size=(place[-1] + 1, 1, 768))[place] + 0.1 * rng.normal(size=(len(index), 5, 768))
    windows = Windows(
        np.zeros((len(index), 28, 512), np.float32), video.astype(np.float32), np.ones((len(index), 5), bool), index
    )
    return windows, rng.integers(0, 2, place[-1] + 1)[place]


@pytest.fixture(scope="module")
def story():
    windows, labels = make_windows()
    readers = read_faces(windows, labels, seed=0)
    permuted = labels_permuted_between_trials(windows, labels, np.random.default_rng(1))
    scores = leak_scores(readers, windows.index, {"true": labels, "permuted": permuted})
    folds = {name: reader.folds[0] for name, reader in readers.items()}
    return windows, labels, permuted, readers, scores, folds


# ---- what is measured --------------------------------------------------------------------------


def test_the_nearest_faces_are_those_of_an_exhaustive_search(story):
    windows, labels, permuted, readers, scores, _ = story
    faces = windows.video.astype(np.float64).mean(axis=1)
    for name, reader in readers.items():
        for fold, nearest in zip(reader.folds, reader.nearest, strict=True):
            scale = faces[fold.train].std(axis=0)
            right = {"true": 0, "permuted": 0, "same": 0}
            for row, found in zip(fold.test, nearest, strict=True):
                distance = (((faces[fold.train] - faces[row]) / scale) ** 2).sum(axis=1)
                wanted = fold.train[distance.argmin()]
                assert found == wanted
                right["true"] += labels[row] == labels[wanted]
                right["permuted"] += permuted[row] == permuted[wanted]
                keys = windows.index.loc[[row, wanted], ["subject", "trial"]].to_numpy()
                right["same"] += (keys[0] == keys[1]).all()
            for kind in ("true", "permuted"):
                shown = meter.reading(scores, name, kind)
                (line,) = shown[shown["fold"] == fold.number].itertuples()
                assert line.accuracy == pytest.approx(right[kind] / len(fold.test))
                assert line.same_trial == pytest.approx(right["same"] / len(fold.test))


def test_only_the_leaky_protocol_finds_the_trial_and_does_so_whatever_the_labels(story):
    scores = story[4]
    mean = scores.groupby(["protocol", "labels"])[["accuracy", "same_trial"]].mean()
    for kind in ("true", "permuted"):
        assert mean.loc[("window", kind), "same_trial"] > 0.8
        # Of what it recognises it copies every label; of the rest it guesses.
        assert mean.loc[("window", kind), "accuracy"] >= mean.loc[("window", kind), "same_trial"]
        assert (mean.loc[[("trial", kind), ("subject", kind)], "same_trial"] == 0).all()


def test_both_kinds_of_labels_are_read_on_the_same_folds(story):
    windows, labels, _, _, scores, _ = story
    assert scores.groupby(["protocol", "fold"])["same_trial"].nunique().eq(1).all()
    assert list(dict.fromkeys(scores["protocol"])) == list(leak.PROTOCOLS)
    measured = leak.measure_leak(windows, labels, seed=0)
    for name, values in measured.items():
        np.testing.assert_array_equal(values, meter.reading(scores, name, "true")["accuracy"])


def test_no_protocol_but_window_has_an_audited_leak(story):
    windows, labels, _, readers, _, _ = story
    for name, reader in readers.items():
        for fold in reader.folds:
            kinds = audit(windows.index, fold, labels).query("kind == 'leak'")["leak"].tolist()
            assert kinds == (["trial in two parts"] if name == "window" else [])


def test_a_reader_that_copies_from_its_own_test_window_is_always_right():
    labels = np.array([0, 1, 1, 0])
    fold = Fold("window", 0, np.array([0, 1]), np.array([], int), np.array([2, 3]))
    assert FaceReader((fold,), (np.array([2, 3]),)).accuracy(labels).tolist() == [1.0]
    assert FaceReader((fold,), (np.array([0, 1]),)).accuracy(labels).tolist() == [0.0]


# ---- what is shown -----------------------------------------------------------------------------


def test_shared_units_by_hand():
    index = pd.DataFrame({"subject": [1, 1, 1, 2, 2], "trial": [1, 1, 2, 1, 1], "stimulus": ["a", "a", "b", "b", "b"]})
    fold = Fold("window", 0, np.array([0, 3]), np.array([], int), np.array([1, 2, 4]))
    assert meter.shared_units(index, fold).to_dict("index") == {
        "windows": {"test": 3, "shared": 0},
        "trials": {"test": 3, "shared": 2},
        "subjects": {"test": 2, "shared": 2},
        "stimuli": {"test": 2, "shared": 2},
    }


def test_the_figure_shows_the_numbers_it_was_given(story):
    windows, _, _, _, scores, folds = story
    figure = meter.leak_figure(windows.index, folds, scores, 0.6, "window", "permuted")
    diagram, bars, text = figure.axes
    wanted = 100 * scores.query("protocol == 'window' and labels == 'permuted'")["accuracy"]
    (bar,) = bars.patches
    assert bar.get_height() == pytest.approx(wanted.mean())
    assert bar.get_facecolor()[:3] == pytest.approx(to_rgb(COLOURS["leak"]))
    np.testing.assert_allclose(bars.collections[0].get_offsets()[:, 1], wanted)
    assert sorted(line.get_ydata()[0] for line in bars.lines) == [50, 60]
    assert diagram.get_title(plt.rcParams["axes.titlelocation"]).startswith("LEAK")
    shared = meter.shared_units(windows.index, folds["window"]).loc["trials"]
    said = [words.get_text() for words in text.texts]
    assert f"{shared['shared']} of {shared['test']} trials (LEAK)" in said


@pytest.mark.parametrize("protocol", ["trial", "subject"])
def test_nothing_is_called_a_leak_where_there_is_none(story, protocol):
    windows, _, _, _, scores, folds = story
    figure = meter.leak_figure(windows.index, folds, scores, 0.6, protocol, "true")
    assert not any("LEAK" in text.get_text() for text in figure.axes[2].texts)
    assert figure.axes[0].get_title(plt.rcParams["axes.titlelocation"]) == "no trial in two parts"
    assert figure.axes[1].patches[0].get_facecolor()[:3] == pytest.approx(to_rgb(COLOURS["fusion"]))


def test_the_static_twin_has_every_position(story):
    windows, _, _, _, scores, folds = story
    figure = meter.leak_static(windows.index, folds, scores, 0.6)
    heights = [bar.get_height() for ax in figure.axes for bar in ax.patches]
    mean = 100 * scores.groupby(["protocol", "labels"], sort=False)["accuracy"].mean()
    np.testing.assert_allclose(heights, mean.to_numpy())
    names = [ax.get_title(plt.rcParams["axes.titlelocation"]).split(":")[0] for ax in figure.axes[::3]]
    assert names == ["window (LEAKY)", "trial", "subject"]


def test_saving_twice_leaves_the_places_and_writes_no_warning(story, tmp_path, recwarn):
    windows, _, _, _, scores, folds = story
    with plt.rc_context({"figure.constrained_layout.use": True}):
        figure = meter.leak_static(windows.index, folds, scores, 0.6)
        before = [ax.get_position().bounds for ax in figure.axes]
        for _ in range(2):
            figure.savefig(tmp_path / "x.png")
    assert [ax.get_position().bounds for ax in figure.axes] == before
    assert not recwarn.list


@pytest.mark.parametrize(
    ("protocol", "labels", "said"),
    [("loso", "true", "protocol: expected one of window, trial, subject, got 'loso'"), ("trial", "false", "labels: ")],
)
def test_unknown_positions_are_one_sentence(story, protocol, labels, said):
    with pytest.raises(ValueError, match=said):
        meter.reading(story[4], protocol, labels)


def test_the_panel_shows_the_audit_of_the_chosen_protocol(story):
    windows, labels, _, _, scores, folds = story
    panel = meter.leak_panel(windows.index, labels, folds, scores)
    assert panel.values == {"protocol": "subject", "labels": "true"}
    assert "trial in two parts" not in panel.text.value
    panel.set(protocol="window")
    assert "trial in two parts" in panel.text.value and "Protocol window, true labels" in panel.picture.value
    accuracy = scores.query("protocol == 'window' and labels == 'permuted'")["accuracy"].mean()
    panel.set(labels="permuted")
    assert f"permuted labels: mean test accuracy {100 * accuracy:.1f} %" in panel.picture.value
    assert panel.status.value == ""


def test_findings_come_leaks_first_and_none_is_said():
    none = pd.DataFrame(columns=["leak", "kind", "parts", "count", "example", "meaning"])
    assert meter.findings_html(none) == "<p>The audit finds nothing.</p>"
    some = pd.DataFrame(
        [["small", "note", "a", 1, "x", "m"], ["large", "leak", "b", 2, "y", "<n>"]], columns=none.columns
    )
    shown = meter.findings_html(some)
    assert shown.index("large") < shown.index("small")


def test_the_majority_is_the_commoner_class():
    assert meter.majority_share(np.array([0, 0, 0, 1])) == 0.75
    assert meter.majority_share(np.array([1, 1, 1, 0])) == 0.75
