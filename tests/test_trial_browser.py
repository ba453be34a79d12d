"""The trial browser: the head map against MNE and known fields, moments against the windows, choices that follow."""

from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from cdgkd_utils.data.constants import BANDS, CHANNELS, RATINGS, SFREQ
from cdgkd_utils.data.load import load_windows
from cdgkd_utils.data.types import Windows
from cdgkd_utils.data.windows import trial_frames
from cdgkd_utils.viz.signals import band_power, electrode_positions
from cdgkd_utils.viz.style import COLOURS
from cdgkd_utils.viz.widgets import trial_browser as browser
from cdgkd_utils.viz.widgets import trial_view as view

# Trials of three people; windows of a trial are not in order and one is missing.
TRIALS = {1: {1: [0, 2], 4: [5, 1, 3]}, 2: {4: [0], 9: [2, 7]}, 5: {2: [1]}}


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def windows():
    keys = [(s, t, w) for s, trials in TRIALS.items() for t, numbers in trials.items() for w in numbers]
    index = pd.DataFrame(keys, columns=["subject", "trial", "window"]).sample(frac=1, random_state=0)
    index = index.reset_index(drop=True)
    for place, name in enumerate(RATINGS):
        index[name] = 1.0 + place + index["trial"] % 5
    index["liking"] = np.nan  # as in MAHNOB-HCI
    rng = np.random.default_rng(0)
    eeg = rng.normal(0, 10, (len(index), 28, 512)).astype(np.float32)
    mask = np.ones((len(index), 5), bool)
    mask[:, 3] = False
    return Windows(eeg, np.zeros((len(index), 5, 768), np.float32), mask, index)


@pytest.fixture
def trials(windows):
    """Pictures tell the number of their window; every fetch is noted."""
    fetched = []

    def pictures(rows):
        fetched.append(list(rows))
        frames = np.zeros((len(rows), 5, 8, 8, 3), np.uint8) + np.array(rows, np.uint8)[:, None, None, None, None]
        return frames, windows.frame_mask[rows], np.array([0.4, 1.2, 2.0, 2.8, 3.6])

    made = browser.Trials(windows, pictures)
    made.fetched = fetched
    return made


def moment(eeg, start=8.0, mask=(True,) * 5, **ratings):
    frames = np.zeros((5, 8, 8, 3), np.uint8)
    times = np.array([0.4, 1.2, 2.0, 2.8, 3.6])
    return view.Moment(3, 12, start, np.asarray(eeg), frames, np.array(mask), times, ratings)


# ---- pictures ----------------------------------------------------------------------------------


def test_the_pictures_of_a_trial_are_those_of_its_windows(study):
    windows, params = study.windows, study.params
    rows = windows.index.query("subject == 2 and trial == 3").index.tolist()
    frames, mask, times = trial_frames(params, windows, rows, size=32)
    assert frames.shape == (len(rows), 5, 32, 32, 3) and len(rows) == 2
    for row, shown, exists in zip(rows, frames, mask, strict=True):
        one, one_mask, one_times = (part[0] for part in trial_frames(params, windows, [row], size=32))
        np.testing.assert_array_equal(one, shown)
        np.testing.assert_array_equal(one_mask, exists)
        np.testing.assert_array_equal(one_times, times)
    assert (frames[0] != frames[1]).any()


def test_rows_of_several_trials_are_refused_and_own_arrays_have_no_pictures(study, windows):
    with pytest.raises(ValueError, match="rows: expected windows of one trial, got those of 2 trials"):
        trial_frames(study.params, study.windows, [0, 2])
    with pytest.raises(ValueError, match="0 trials"):
        trial_frames(study.params, study.windows, [])
    # Their subject 1 is not the twin's: its face would be somebody else's.
    frames, mask, _ = trial_frames(study.params, windows, [0], size=16)
    assert frames.shape == (1, 5, 16, 16, 3) and not mask.any()


# ---- the head map ------------------------------------------------------------------------------


def at(picture, xy):
    """Values of a head picture at places in head radii, between its pixels."""
    from scipy.interpolate import RegularGridInterpolator

    place = (np.arange(view.HEAD_PIXELS) + 0.5) / view.HEAD_PIXELS * 2 - 1
    return RegularGridInterpolator((place, place), picture)(np.asarray(xy)[:, ::-1])


def test_the_head_map_is_right_at_the_electrodes_and_for_flat_and_sloping_fields():
    xy = electrode_positions()
    values = np.random.default_rng(0).normal(size=28)
    np.testing.assert_allclose(at(view.head_map() @ values, xy), values, atol=0.05)
    np.testing.assert_allclose(view.head_map() @ np.ones(28), 1, atol=1e-9)
    place = (np.arange(view.HEAD_PIXELS) + 0.5) / view.HEAD_PIXELS * 2 - 1
    slope = view.head_map() @ (2 * xy[:, 0] - xy[:, 1])
    np.testing.assert_allclose(slope, 2 * place[None, :] - place[:, None], atol=1e-9)


def test_the_head_map_agrees_with_mne():
    from mne.viz import plot_topomap

    xy = electrode_positions()
    values = np.cos(3 * xy[:, 0]) + xy[:, 1]
    image, _ = plot_topomap(values, xy, axes=plt.figure().add_subplot(), show=False, sphere=1.0, contours=0, res=64)
    left, right, low, high = image.get_extent()
    other = np.ma.filled(image.get_array(), np.nan)
    rng = np.random.default_rng(0)
    inside = xy[rng.integers(28, size=200)] * rng.uniform(0, 0.9, (200, 1))
    column = ((inside[:, 0] - left) / (right - left) * other.shape[1]).astype(int)
    row = ((inside[:, 1] - low) / (high - low) * other.shape[0]).astype(int)
    difference = at(view.head_map() @ values, inside) - other[row, column]
    assert np.abs(difference).max() < 0.15 * np.ptp(values)


# ---- scales and spectra ------------------------------------------------------------------------


def test_a_tone_has_its_power_at_its_place():
    amplitude, frequency = 20.0, 10.0
    eeg = np.tile(amplitude * np.sin(2 * np.pi * frequency * np.arange(512) / SFREQ), (28, 1))
    frequencies, density = view.spectra(eeg)
    assert (frequencies[density.argmax(axis=1)] == frequency).all()
    power = (10 ** (density / 10)).sum(axis=1) * (frequencies[1] - frequencies[0])
    np.testing.assert_allclose(power, amplitude**2 / 2, rtol=1e-3)


def test_scales_are_of_all_windows_and_grow_with_the_signal(windows):
    scales = view.scales_of(windows)
    assert set(scales.power) == set(BANDS) and all(low < high for low, high in scales.power.values())
    # Normal noise of 10 µV: 97 % of it within 21.7 µV, times 1.5, in whole tens.
    assert scales.spacing == 40
    louder = Windows(10 * windows.eeg, windows.video, windows.frame_mask, windows.index)
    for band, (low, high) in view.scales_of(louder).power.items():
        assert (low - scales.power[band][0], high - scales.power[band][1]) == pytest.approx((20, 20), abs=1e-3)


def test_flat_windows_still_have_scales(windows):
    flat = Windows(0 * windows.eeg, windows.video, windows.frame_mask, windows.index)
    scales = view.scales_of(flat)
    assert scales.spacing > 0 and scales.density[0] < scales.density[1]
    nothing = Windows(windows.eeg[:0], windows.video[:0], windows.frame_mask[:0], windows.index.iloc[:0])
    with pytest.raises(ValueError, match="windows: none"):
        view.scales_of(nothing)


# ---- one moment --------------------------------------------------------------------------------


def test_traces_are_in_their_rows_at_their_times():
    eeg = np.random.default_rng(0).normal(0, 5, (28, 512))
    ax = plt.figure().add_subplot()
    view.draw_traces(ax, moment(eeg), 40)
    marks, lines = ax.collections
    for number, path in enumerate(lines.get_paths()):
        np.testing.assert_allclose(path.vertices[:, 0], 8 + np.arange(512) / SFREQ)
        np.testing.assert_allclose(path.vertices[:, 1], eeg[number] - 40 * number)
    assert [label.get_text() for label in ax.get_yticklabels()] == list(CHANNELS)
    np.testing.assert_allclose([segment[0, 0] for segment in marks.get_segments()], [8.4, 9.2, 10.0, 10.8, 11.6])
    assert {"40 µV", "left hemisphere", "right hemisphere"} <= {text.get_text() for text in ax.texts}
    (bar,) = ax.lines
    assert np.ptp(bar.get_ydata()) == 40 and ax.get_xlim() == (8, 12)


def test_faces_stand_over_their_share_of_the_time_and_a_missing_one_is_said():
    ax = plt.figure().add_subplot()
    view.draw_faces(ax, moment(np.zeros((28, 512)), mask=(True, True, False, True, True)))
    extents = [image.get_extent()[:2] for image in ax.images]
    np.testing.assert_allclose(extents, [[8, 8.8], [8.8, 9.6], [10.4, 11.2], [11.2, 12]])
    (missing,) = ax.texts
    assert missing.get_text() == "no frame" and missing.get_position()[0] == pytest.approx(10)


def test_ratings_have_the_colour_of_their_class_and_five_is_low():
    ax = plt.figure().add_subplot()
    view.draw_ratings(ax, moment(np.zeros((28, 512)), valence=5.0, arousal=5.01, dominance=9.0))
    (dots,) = ax.collections
    np.testing.assert_array_equal(dots.get_offsets()[:, 0], [5, 5.01, 9])
    from matplotlib.colors import to_rgba_array

    np.testing.assert_allclose(dots.get_facecolor(), to_rgba_array([COLOURS[c] for c in ("low", "high", "high")]))


def test_the_head_shows_the_band_that_was_chosen():
    eeg = np.zeros((28, 512))
    eeg[CHANNELS.index("O1")] = 30 * np.sin(2 * np.pi * 20 * np.arange(512) / SFREQ)
    eeg += np.random.default_rng(0).normal(0, 0.5, eeg.shape)
    ax = plt.figure().add_subplot()
    view.draw_head(ax, moment(eeg), (-10, 20), "beta")
    (image,) = ax.images
    assert image.get_clim() == (-10, 20)
    shown = at(np.asarray(image.get_array()), electrode_positions())
    assert CHANNELS[int(shown.argmax())] == "O1"


# ---- browsing ----------------------------------------------------------------------------------


def test_trials_lists_what_there_is(trials):
    assert trials.subjects == [1, 2, 5]
    assert {s: trials.trials(s) for s in trials.subjects} == {1: [1, 4], 2: [4, 9], 5: [2]}
    assert trials.starts(1, 4) == [4.0, 12.0, 20.0]
    assert trials.starts(2, 9) == [8.0, 28.0]


def test_a_moment_is_the_window_of_that_time_with_its_pictures(trials, windows):
    for subject, found in TRIALS.items():
        for trial, numbers in found.items():
            for number in numbers:
                (row,) = windows.index.query("subject == @subject and trial == @trial and window == @number").index
                shown = trials.moment(subject, trial, 4.0 * number)
                np.testing.assert_array_equal(shown.eeg, windows.eeg[row])
                assert (shown.frames == row).all() and shown.mask.tolist() == [True, True, True, False, True]
                assert shown.ratings == {name: windows.index.at[row, name] for name in RATINGS if name != "liking"}
    assert len(trials.fetched) == sum(map(len, TRIALS.values()))  # each trial once, however many moments


def test_a_window_is_found_by_its_number(trials, windows):
    for row in range(len(windows)):
        assert (trials.moment(*trials.where(row)).frames == row).all()


def test_pictures_of_few_trials_are_kept(trials, monkeypatch):
    monkeypatch.setattr(browser, "KEPT_TRIALS", 2)
    for subject, trial, start in ((1, 1, 0.0), (1, 4, 4.0), (2, 4, 0.0)):
        trials.moment(subject, trial, start)
    assert [trials.seen(1, 1), trials.seen(1, 4), trials.seen(2, 4)] == [False, True, True]


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ((1, 2, 0.0), "trial 2 of subject 1: no such trial, subject 1 has 1, 4"),
        ((3, 1, 0.0), "trial 1 of subject 3: no such trial, subjects are 1, 2, 5"),
        ((1, 4, 8.0), "start: trial 4 of subject 1 has windows at 4, 12, 20 s, got 8.0"),
    ],
)
def test_a_moment_that_is_not_there_is_one_sentence(trials, where, said):
    with pytest.raises(ValueError, match=said):
        trials.moment(*where)
    with pytest.raises(ValueError, match=said):
        browser.trial_panel(trials, *where)


def test_an_unknown_band_is_named(trials):
    with pytest.raises(ValueError, match="band: expected one of theta, alpha, beta, gamma, got 'delta'"):
        browser.trial_figure(trials, 1, 1, 0.0, "delta")


def test_the_alternative_text_says_what_is_seen(trials):
    shown = trials.moment(2, 9, 28.0)
    power = band_power(shown.eeg, "beta")
    text = browser.trial_alt(trials, 2, 9, 28.0, "beta")
    assert text.startswith("Subject 2, trial 9, 28–32 s: 28 EEG traces")
    assert f"most beta power at {CHANNELS[power.argmax()]} ({power.max():.1f} dB" in text
    assert "4 of 5 face frames; ratings: valence 5, arousal 6, dominance 7." in text


def test_choices_follow_the_subject_and_every_move_draws_once(trials):
    panel = browser.trial_panel(trials, 1, 4, 12.0)
    drawn = []
    original = panel.draw
    panel.draw = lambda **values: drawn.append(values) or original(**values)
    options = {name: [value for _, value in panel.controls[name].options] for name in ("trial", "start")}
    assert options == {"trial": [1, 4], "start": [4.0, 12.0, 20.0]}

    panel.set(subject=2)  # has trial 4 too, but only its first window
    assert panel.values == {"subject": 2, "trial": 4, "start": 0.0, "band": "alpha"}
    panel.set(trial=9)
    assert panel.values["start"] == 8.0  # 8 s is nearer to 0 s than 28 s
    panel.set(start=28.0)
    panel.set(subject=5)
    assert panel.values == {"subject": 5, "trial": 2, "start": 4.0, "band": "alpha"}
    panel.set(band="gamma")
    assert len(drawn) == 5 and drawn[-1] == panel.values
    assert panel.status.value == "" and "Subject 5, trial 2, 4–8 s" in panel.picture.value


def test_contrasts_change_one_thing_at_a_time(trials):
    assert browser.contrasts(trials, 1, 4, 12.0) == {
        "another moment of the trial": (1, 4, 20.0),
        "another trial of the person": (1, 1, 8.0),
        "another person": (2, 4, 0.0),
    }
    assert browser.contrasts(trials, 5, 2, 4.0) == {"another person": (2, 4, 0.0)}


def test_the_static_twin_holds_the_moment_and_its_contrasts(trials):
    figure = browser.trial_static(trials, 1, 1, 0.0)
    axes = [ax for part in figure.subfigs for ax in part.axes]
    titles = [ax.get_title(place) for ax in axes for place in ("left", "center")]  # the style decides where
    assert "subject 1, trial 1, 0–4 s" in titles
    assert [title.split(":")[0] for title in titles if ":" in title] == list(browser.contrasts(trials, 1, 1, 0.0))


def test_a_clip_is_decoded_once_for_all_windows_of_a_trial(tmp_path, monkeypatch):
    from cdgkd_utils.cli import main
    from cdgkd_utils.config import Params
    from cdgkd_utils.data import look

    monkeypatch.setenv("CDGKD_HOME", str(tmp_path / "home"))
    small = ["--subjects", "1", "--trials", "1", "--seconds", "12", "--size", "64", "--seed", "5"]
    assert main(["twin", "--out", str(tmp_path / "tree"), *small]) == 0
    params = Params(dataset="deap", data_root=str(tmp_path / "tree"), profile="smoke", seed=5)
    windows = load_windows(params, n_jobs=1)
    decoded, original = [], look.frames_at
    monkeypatch.setattr(look, "frames_at", lambda *args: decoded.append(1) or original(*args))
    trials = browser.Trials(windows, partial(trial_frames, params, windows, size=32))
    starts = trials.starts(1, 1)
    assert len(starts) == 2
    for start in starts:
        assert trials.moment(1, 1, start).frames.std() > 10  # a face, not a blank
    assert len(decoded) == 1
