"""The reader of DEAP: what the twin writes comes back, and each fault is one error that names it."""

import pickle

import numpy as np
import pandas as pd
import pytest
from made_by_hand import BDF, LABELS, PLAYBACK, deap_by_hand, raw_by_hand

from cdgkd_utils.data.constants import BASELINE_SAMPLES, CHANNEL_ROWS, CHANNELS, DEAP_EEG
from cdgkd_utils.data.deap import EOG, RATINGS_FILE, open_raw_tree, open_tree, trials_of
from cdgkd_utils.data.files import read_dat
from cdgkd_utils.data.signals import UnusableSignal, band_pass, open_bdf
from cdgkd_utils.data.twin import TwinSettings, plan_subject
from cdgkd_utils.data.twin.eeg import synthesise_eeg
from cdgkd_utils.data.twin.files import write_bdf, write_dat, write_deap
from cdgkd_utils.data.types import DataError

SETTINGS = TwinSettings(n_subjects=1, n_trials=3, n_windows=2, seed=3)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_deap(SETTINGS, tmp_path_factory.mktemp("deap") / "tree", seconds=8, frame_size=64, raw=True)


def test_both_readers_yield_what_the_twin_wrote(written):
    plan = plan_subject(SETTINGS, 1)
    eeg = synthesise_eeg(SETTINGS, plan)[:, list(CHANNEL_ROWS)]
    dat, raw = list(trials_of(open_tree(written))), list(trials_of(open_raw_tree(written)))
    assert [t.trial for t in dat] == [t.trial for t in raw] == [1, 2, 3]
    for row, (one, other) in enumerate(zip(dat, raw, strict=True)):
        np.testing.assert_array_equal(np.hstack([one.baseline, one.eeg]), eeg[row])
        assert one.presentation == other.presentation == plan.presentation[row] and one.video == other.video
        assert list(one.ratings.values()) == plan.ratings[row].tolist()
        # The chain of the recording takes hum, offsets and eyes away again; the .dat holds more than 4 to 45 Hz.
        same_band = band_pass(np.hstack([one.baseline, one.eeg]), 128)[:, 384:]
        agree = [np.corrcoef(a, b)[0, 1] for a, b in zip(same_band, other.eeg, strict=True)]
        assert np.median(agree) > 0.97


def test_published_loading_lines_read_the_file(written, tmp_path):
    files = [root / "data_preprocessed_python" for root in (written, deap_by_hand(tmp_path))]
    for path in (files[0] / "s01.dat", files[1] / "s07.dat"):
        with open(path, "rb") as file:
            found = pickle.load(file, encoding="latin1")  # TorchEEG, TSception, EEGain
        for name, array in zip(("data", "labels"), read_dat(path), strict=True):
            np.testing.assert_array_equal(found[name], array)


def test_steps_end_in_the_trial_and_are_those_of_mne(written):
    steps: list = []
    trial = next(trials_of(open_raw_tree(written), trace=steps))
    names = [name for name, *_ in steps]
    assert names == ["trial", "4–45 Hz", "128 Hz", "average reference", "eyes out", "stimulus"]
    np.testing.assert_array_equal(steps[-1][1], trial.eeg)
    assert all(signal.shape[0] == 28 for _, signal, _ in steps)
    # The same by MNE's objects alone, on the whole recording: events, filter, epochs, reference.
    import mne

    raw = mne.io.read_raw_bdf(written / "data_original/s01.bdf", preload=True, verbose="warning")
    events = mne.find_events(raw, "Status", mask=0xFF, mask_type="and", consecutive=True, verbose="warning")
    raw.filter(4, 45, picks="all", verbose="warning")
    onset = events[events[:, 2] == 4, 0][trial.presentation - 1]
    eeg = 1e6 * raw.get_data(picks=DEAP_EEG, start=onset, stop=onset + 4096)[:, ::4]
    expected = (eeg - eeg.mean(axis=0))[list(CHANNEL_ROWS)]
    np.testing.assert_allclose(dict((n, s) for n, s, _ in steps)["average reference"], expected, atol=1e-6)


def test_the_chain_on_known_signals(tmp_path):
    n = PLAYBACK + 8 * 512
    rng = np.random.default_rng(5)

    def sine(frequency, amplitude):
        return amplitude * np.sin(2 * np.pi * frequency * np.arange(n) / 512)

    known = {name: 0.5 * rng.normal(0, 1, n) + 2e4 + sine(50, 80) for name in (*DEAP_EEG, *EOG)}
    known["F3"] = known["F3"] + sine(10, 30) - 1e5
    known["O2"] = known["O2"] + sine(2, 500)
    known["T8"] = known["T8"] + sine(70, 300)
    raw_by_hand(tmp_path, known, labels=[*rng.permutation(DEAP_EEG).tolist(), *EOG])
    steps: list = []
    next(trials_of(open_raw_tree(tmp_path), trace=steps))
    eeg = dict(zip(CHANNELS, dict((n, s) for n, s, _ in steps)["average reference"], strict=True))
    wave = np.sin(2 * np.pi * 10 * (PLAYBACK + 4 * np.arange(512)) / 512)
    # Average over 32: what all share is gone, F3 keeps 31/32 of its wave and the others get -1/32.
    assert np.abs(eeg["F3"] - 30 * 31 / 32 * wave).max() < 1
    assert np.abs(eeg["Fp1"] + 30 / 32 * wave).max() < 1 and np.abs(eeg["T8"] + 30 / 32 * wave).max() < 2
    assert np.abs(eeg["O2"] + 30 / 32 * wave).max() < 4  # outside the band nothing is left


def test_the_eyes_are_regressed_out(tmp_path):
    rng, n = np.random.default_rng(2), PLAYBACK + 8 * 512
    aside, blink = rng.normal(0, 80, (2, n))
    brain = {name: rng.normal(0, 5, n) for name in DEAP_EEG}
    eyes = dict(zip(EOG, (aside / 2, -aside / 2, blink / 2, -blink / 2), strict=True))
    share = {name: rng.uniform(-0.5, 0.5, 2) for name in DEAP_EEG}
    spoilt = {name: brain[name] + share[name] @ np.array([aside, blink]) for name in DEAP_EEG}
    raw_by_hand(tmp_path / "clean", brain | eyes)
    raw_by_hand(tmp_path / "spoilt", spoilt | eyes)
    (clean,), (cured,) = (trials_of(open_raw_tree(tmp_path / name)) for name in ("clean", "spoilt"))
    np.testing.assert_allclose(cured.eeg, clean.eeg, atol=0.05)


def edit(path, change):
    table = pd.read_csv(path)
    change(table)
    table.to_csv(path, index=False)


FAULTS = {
    "truncated .dat": (lambda r, d: d.write_bytes(d.read_bytes()[:-1000]), r"s07\.dat: not readable"),
    "no pickle": (lambda r, d: d.write_bytes(b"hello"), r"s07\.dat: not readable"),
    "NaN": (lambda r, d: write_dat(d, np.full((3, 40, 896), np.nan), LABELS), r"NaN or infinite values in trial 1"),
    "other shape": (lambda r, d: write_dat(d, np.zeros((3, 32, 896)), LABELS), r"'data' has shape \(3, 32, 896\)"),
    "256 Hz": (lambda r, d: write_dat(d, np.zeros((3, 40, 16000)), LABELS), r"at most 63 s at 128 Hz"),
    "other labels": (
        lambda r, d: write_dat(d, read_dat(d)[0], LABELS[::-1]),
        r"Valence of participant 7, Experiment_id 1",
    ),
    "fewer trials": (lambda r, d: write_dat(d, read_dat(d)[0][:2], LABELS[:2]), r"2 trials, but .* has 3 rows"),
    "flat": (lambda r, d: write_dat(d, np.zeros((3, 40, 896)), LABELS), r"trial 1: channel Fp1, .* is flat"),
    "volts": (lambda r, d: write_dat(d, 1e6 * read_dat(d)[0], LABELS), r"leaves ±60 mV"),
    "no table": (lambda r, d: (r / RATINGS_FILE).unlink(), r"participant_ratings\.csv: missing"),
    "no column": (
        lambda r, d: edit(r / RATINGS_FILE, lambda t: t.rename(columns={"Trial": "T"}, inplace=True)),
        r"column Trial miss",
    ),
    "doubled trial": (
        lambda r, d: edit(r / RATINGS_FILE, lambda t: t.__setitem__("Trial", 1)),
        r"no permutation of 1\.\.3",
    ),
    "rating of 0": (lambda r, d: edit(r / RATINGS_FILE, lambda t: t.__setitem__("Valence", 0)), r"leaves 1\.\.9"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_has_one_error(tmp_path, fault):
    spoil, said = FAULTS[fault]
    deap_by_hand(tmp_path)
    spoil(tmp_path, tmp_path / "data_preprocessed_python/s07.dat")
    with pytest.raises(DataError, match=said):
        list(trials_of(open_tree(tmp_path)))


@pytest.mark.parametrize(
    ("move", "said"),
    [
        (("data_preprocessed_python/s07.dat", "data_preprocessed_python/S07.DAT"), "data_preprocessed_python/S07.DAT"),
        (("face_video/s07", "face_video/face_video/s07"), "face_video/face_video/s07/s07_trial01.avi"),
        (("data_preprocessed_python", "DEAP/data_preprocessed_python"), "DEAP/data_preprocessed_python/s07.dat"),
    ],
)
def test_files_in_the_wrong_place_are_found(tmp_path, move, said):
    deap_by_hand(tmp_path)
    (tmp_path / move[1]).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / move[0]).rename(tmp_path / move[1])
    with pytest.raises(DataError, match=f"there is {said}: move or rename it"):
        open_tree(tmp_path)


def test_a_table_with_other_line_ends_reads_the_same(tmp_path):
    path = deap_by_hand(tmp_path) / RATINGS_FILE
    before = open_tree(tmp_path).ratings
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    pd.testing.assert_frame_equal(open_tree(tmp_path).ratings, before)


def test_a_trial_without_clip_or_signal_is_left_out_by_name(tmp_path):
    deap_by_hand(tmp_path)
    (tmp_path / "face_video/s07/s07_trial03.avi").unlink()
    path, excluded = tmp_path / "data_preprocessed_python/s07.dat", []
    data = read_dat(path)[0].copy()
    data[1, DEAP_EEG.index("O2"), BASELINE_SAMPLES + 100 :] = 3
    write_dat(path, data, LABELS)
    assert [trial.trial for trial in trials_of(open_tree(tmp_path), excluded=excluded)] == [3]
    assert [number for number, _ in excluded] == [1, 2]
    assert "no clip s07_trial03.avi" in excluded[0][1] and "channel O2 is flat" in excluded[1][1]


def dead(name):
    def spoil(root):
        rng = np.random.default_rng(3)
        raw_by_hand(root, {name: np.full(PLAYBACK + 8 * 512, 1e4) + rng.normal(0, 0.01, PLAYBACK + 8 * 512)})

    return spoil


def test_a_dead_electrode_is_seen_before_it_holds_the_others_mean(tmp_path):
    dead("Cz")(tmp_path)  # not even one of the 28: it would be in their reference
    with pytest.raises(UnusableSignal, match="trial 1: channel Cz is flat"):
        list(trials_of(open_raw_tree(tmp_path)))


def patch(path, place, text, width=8):
    content = bytearray(path.read_bytes())
    content[place : place + width] = text.encode().ljust(width)
    path.write_bytes(content)


def test_a_header_without_scale_names_its_channels(tmp_path):
    raw_by_hand(tmp_path)
    n = 37
    for channel in (2, 5):
        for column in (104, 112):
            patch(tmp_path / BDF, 256 + n * column + 8 * channel, "0")
    with pytest.raises(DataError, match=r"s01\.bdf: channel F3, FC1 has no scale"):
        list(trials_of(open_raw_tree(tmp_path)))
    raw_by_hand(tmp_path)
    patch(tmp_path / BDF, 256 + n * 120 + 8 * 4, "5")
    patch(tmp_path / BDF, 256 + n * 128 + 8 * 4, "5")
    with pytest.raises(DataError, match="channel FC5 has no scale"):
        open_bdf(tmp_path / BDF, 512)


def test_a_recorder_stopped_hard_leaves_a_file_that_is_read(tmp_path):
    raw_by_hand(tmp_path)
    (before,) = trials_of(open_raw_tree(tmp_path))
    patch(tmp_path / BDF, 236, "-1")
    (after,) = trials_of(open_raw_tree(tmp_path))
    np.testing.assert_array_equal(after.eeg, before.eeg)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda p: p.write_bytes(p.read_bytes()[:-5000]), r"its header promises 14 records"),
        (lambda p: p.write_bytes(b"0" * 5000), r"no readable BioSemi BDF"),
        (lambda p: patch(p, 236, "0"), r"no readable BioSemi BDF"),
        (lambda p: patch(p, 252, "9999", 4), r"no readable BioSemi BDF"),
        (lambda p: write_bdf(p, np.ones((2, 512)), ["Cz", "Fz"], 512, np.zeros(512, int)), r"no channel Fp1"),
        (lambda p: write_bdf(p, np.ones((2, 256)), ["Cz", "Fz"], 256, np.zeros(256, int)), r"sampled at 256 Hz"),
        (lambda p: p.unlink(), r"no EEG in data_original"),
    ],
)
def test_each_fault_of_a_recording_has_one_error(tmp_path, spoil, said):
    spoil(raw_by_hand(tmp_path))
    with pytest.raises(DataError, match=said):
        list(trials_of(open_raw_tree(tmp_path)))
