"""DEAP's original recordings: written by the twin, brought to what the ``.dat`` holds, and refused when wrong."""

import json
import shutil
from dataclasses import asdict
from functools import partial
from pathlib import Path

import mne
import numpy as np
import pandas as pd
import pytest

from cdgkd_utils.config import Params
from cdgkd_utils.data.constants import BASELINE_SAMPLES, CHANNEL_ROWS, CHANNELS, DEAP_EEG
from cdgkd_utils.data.deap import raw_writer as deap_raw_writer
from cdgkd_utils.data.deap.raw import open_raw_tree, read_deap_raw
from cdgkd_utils.data.deap.raw_signal import EOG, agreement
from cdgkd_utils.data.deap.raw_writer import TWENTE_EEG, synthesise_peripheral, trigger_words, write_raw
from cdgkd_utils.data.deap.timing import check_owner, timing_error
from cdgkd_utils.data.deap.writer import write_deap
from cdgkd_utils.data.doctor import deap_raw as doctor_deap_raw
from cdgkd_utils.data.doctor.diagnose import diagnose
from cdgkd_utils.data.files.bdf import channel_words, open_bdf
from cdgkd_utils.data.files.bdf_writer import write_bdf
from cdgkd_utils.data.load import load_windows
from cdgkd_utils.data.twin import TwinSettings, plan_subject
from cdgkd_utils.data.twin.eeg import synthesise_eeg
from cdgkd_utils.data.types import DataError, Trial

SETTINGS = TwinSettings(n_subjects=29, n_trials=4, n_windows=2, seed=3)
SUBJECTS = (1, 28, 29)  # each trigger label: Status, nothing, two of nothing
CSV, BDF = "metadata_csv/participant_ratings.csv", "data_original/s{:02d}.bdf"


def make_root(root, plans, starts, n_windows):
    """A DEAP folder with ratings of some people, still without recordings."""
    (root / "metadata_csv").mkdir(parents=True)
    (root / "data_original").mkdir()
    (root / "SYNTHETIC").write_text(json.dumps({"settings": asdict(SETTINGS) | {"n_windows": n_windows}}))
    tables = []
    for subject, presentation, ratings in plans:
        table = pd.DataFrame(ratings, columns=["Valence", "Arousal", "Dominance", "Liking"])
        table.insert(0, "Participant_id", subject)
        table["Trial"], table["Experiment_id"] = presentation, np.arange(1, len(table) + 1)
        table["Start_time"] = (np.array(starts)[np.array(presentation) - 1] * 1e4).astype(int)
        tables.append(table.sort_values("Trial"))
    pd.concat(tables).to_csv(root / CSV, index=False)
    return root


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Recordings of three people: 4 trials of 8 s each; tests that change them take a copy."""
    plans = [plan_subject(SETTINGS, subject) for subject in SUBJECTS]
    people = [(plan.subject, plan.presentation, plan.ratings) for plan in plans]
    root = make_root(tmp_path_factory.mktemp("raw") / "tree", people, [21.003, 40.7, 57, 73.6], SETTINGS.n_windows)
    for plan in plans:
        write_raw(SETTINGS, root, plan)
    (root / "face_video/s01").mkdir(parents=True)
    (root / "face_video/s01/s01_trial02.avi").touch()
    return root


@pytest.fixture(scope="module")
def trials(written):
    return list(read_deap_raw(written))


def dat_trial(subject, trial):
    """What the ``.dat`` file holds of a trial."""
    eeg = synthesise_eeg(SETTINGS, plan_subject(SETTINGS, subject))[trial - 1][list(CHANNEL_ROWS)]
    return Trial(subject, trial, 0, "", eeg[:, BASELINE_SAMPLES:], eeg[:, :BASELINE_SAMPLES], {}, None)


def test_recordings_agree_with_the_preprocessed_release(trials):
    assert [(t.subject, t.trial) for t in trials] == [(s, k) for s in SUBJECTS for k in (1, 2, 3, 4)]
    r = np.array([agreement(trial, dat_trial(trial.subject, trial.trial)) for trial in trials])
    assert r.shape == (12, 28)
    # Measured: median .9985, least .991; over trials of 60 s median .9993.
    assert np.median(r) > 0.995 and r.min() > 0.97
    # One sample of 128 Hz too late, or another channel's place, would be seen.
    late = dat_trial(1, 1)
    late = Trial(1, 1, 0, "", np.roll(late.eeg, 1, axis=1), late.baseline, {}, None)
    assert np.median(agreement(trials[0], late)) < np.median(r[0]) - 0.05


def test_the_order_of_presentation_is_joined_to_the_experiment(trials):
    order = plan_subject(SETTINGS, 1).presentation.tolist()
    assert order != [1, 2, 3, 4], "choose a seed whose first person sees the stimuli in another order"
    first = trials[:4]
    assert [trial.presentation for trial in first] == order
    table = np.array([[np.median(agreement(relabel(a, b), dat_trial(1, b))) for b in range(1, 5)] for a in first])
    assert (table.diagonal() > 0.99).all() and np.abs(table - np.diag(table.diagonal())).max() < 0.4
    with pytest.raises(ValueError, match="trial 1 against subject 1 trial 2"):
        agreement(first[0], dat_trial(1, 2))


def relabel(trial, number):
    return Trial(trial.subject, number, 0, "", trial.eeg, trial.baseline, {}, None)


def test_a_trial_is_what_the_other_reader_yields(trials):
    trial, plan = trials[5], plan_subject(SETTINGS, 28)
    assert trial.eeg.shape == (28, 1024) and trial.baseline.shape == (28, 384) and trial.eeg.dtype == np.float64
    assert trial.stimulus == "stimulus-02" and list(trial.ratings.values()) == plan.ratings[1].tolist()
    assert list(trial.ratings) == ["valence", "arousal", "dominance", "liking"]
    clips = {trial.presentation: trial.video for trial in trials if trial.subject == 1}
    assert clips[2].name == "s01_trial02.avi" and [clips[k] for k in (1, 3, 4)] == [None] * 3


def test_without_the_regression_the_eyes_remain(written, trials):
    with_eyes = list(read_deap_raw(written, [28], remove_eog=False))
    frontal = CHANNELS.index("Fp1"), CHANNELS.index("Fp2")
    for clean, trial in zip(trials[4:8], with_eyes, strict=True):
        dat = dat_trial(28, trial.trial)
        assert (agreement(trial, dat)[list(frontal)] < agreement(clean, dat)[list(frontal)] - 0.02).all()


def test_files_have_the_oddities_of_their_site(written):
    raws = {subject: open_bdf(written / BDF.format(subject), 512) for subject in SUBJECTS}
    assert [len(raws[s].ch_names) for s in SUBJECTS] == [48, 48, 49]
    assert raws[1].ch_names[:32] == TWENTE_EEG and raws[29].ch_names[:32] == DEAP_EEG
    assert sorted(TWENTE_EEG) == sorted(DEAP_EEG)
    assert [raw.ch_names[47:] for raw in raws.values()] == [["Status"], [""], ["-0", "-1"]]
    for subject, raw in raws.items():
        data = raw.get_data(picks=list(range(48)))
        offsets = data[:32].mean(axis=1) * 1e6
        assert np.abs(offsets).max() > 1e4 and np.ptp(offsets) > 1e4  # not re-referenced, not filtered
        gsr = data[raw.ch_names.index("GSR1")] * 1e6
        peripheral = synthesise_peripheral(SETTINGS, plan_subject(SETTINGS, subject))
        ohm = 1e9 / gsr if subject == 1 else gsr
        assert peripheral[:, 4].min() * 0.99 < np.median(ohm) < peripheral[:, 4].max() * 1.01
        # Samples that stand in both files: every fourth.
        onset = round((5 + 21.003) * 128) * 4
        row = plan_subject(SETTINGS, subject).presentation.tolist().index(1)
        eyes = (data[32] - data[33])[onset:][: 4 * 1024 : 4] * 1e6
        stored = peripheral[row, 0, BASELINE_SAMPLES:]
        assert np.corrcoef(np.diff(eyes), np.diff(stored))[0, 1] > 0.999


def test_writing_twice_gives_the_same_bytes(written, tmp_path, monkeypatch):
    (tmp_path / "metadata_csv").mkdir()
    shutil.copy(written / CSV, tmp_path / CSV)
    path = write_raw(SETTINGS, tmp_path, plan_subject(SETTINGS, 28))
    assert path.read_bytes() == (written / BDF.format(28)).read_bytes()
    # The pieces in which it is written leave no seams.
    monkeypatch.setattr(deap_raw_writer, "_BLOCK_SECONDS", 7)
    assert write_raw(SETTINGS, tmp_path, plan_subject(SETTINGS, 28)) == path
    a, b = (open_bdf(root / BDF.format(28), 512).get_data() for root in (written, tmp_path))
    assert np.abs(a - b).max() < 0.07e-6  # two steps of 24 bit
    table = pd.read_csv(tmp_path / CSV)
    table["Start_time"] //= 2
    table.to_csv(tmp_path / CSV, index=False)
    with pytest.raises(ValueError, match=r"participant_ratings\.csv: Start_time of participant 28"):
        write_raw(SETTINGS, tmp_path, plan_subject(SETTINGS, 28))


@pytest.mark.parametrize("subject", [1, 22, 23, 24, 28, 29, 32])
def test_trigger_words_of_a_whole_session(subject):
    onsets = ((175 + 100 * np.arange(40)) * 512 + np.arange(40)).astype(int)
    words = trigger_words(subject, onsets, 60, 4200 * 512)
    codes = words & 0xFF

    def rises(code):
        return np.flatnonzero((codes[1:] == code) & (codes[:-1] != code)) + 1

    np.testing.assert_array_equal(rises(4), onsets)
    assert (codes[np.concatenate([onsets, onsets + 60 * 512 - 1])] == 4).all()
    geneva = subject >= 23
    assert len(rises(3)) == 40 + geneva + (subject == 28) and len(rises(5)) == 40 + 2 * geneva
    assert len(rises(2)) == 4 and len(rises(7)) == 1 and len(rises(1)) == 42
    assert (np.sort(np.r_[rises(3), rises(5)])[: 3 * geneva] < onsets[0] - 5 * 512).all()
    playing = words[onsets].tolist()
    if subject < 24:
        assert set(words.tolist()) == {0, 1, 2, 3, 4, 5, 7}
    else:
        assert words[0] == 0x19FF00 and (words[512:] & 0x18FF00 == 0x18FF00).all()
        assert playing.count(1638148) == (37 if subject == 28 else 40)
        assert playing.count(5832452) == (3 if subject == 28 else 0)


# A recording made by hand: one trial of 4 s, electrodes in any order, every signal known.
ONSET, RATE = 6 * 512 + 3, 512  # not a multiple of 4
ONE_RATING = np.full((1, 4), 5.0)


def by_hand(root, signals, code=None, labels=None, status_labels=("Status",), sfreq=512):
    make_root(root, [(1, [1], ONE_RATING)], [6], n_windows=1)
    n = 14 * 512
    labels = labels or [*DEAP_EEG, *EOG]
    rng = np.random.default_rng(0)
    data = {name: rng.normal(0, 1, n) for name in labels} | signals
    status = np.zeros(n, int)
    status[ONSET : ONSET + 4 * 512] = 4
    status = status if code is None else code(status)
    data = np.array([data[name] for name in labels])
    return write_bdf(root / BDF.format(1), data, labels, sfreq, status, status_labels=status_labels)


def sines(frequency, amplitude):
    return amplitude * np.sin(2 * np.pi * frequency * np.arange(14 * 512) / 512)


def test_the_chain_on_known_signals(tmp_path):
    silent = {name: 1e-1 * np.random.default_rng(5).normal(0, 1, 14 * 512) for name in (*DEAP_EEG, *EOG)}
    common = 2e4 + sines(50, 80) + sines(10, 40)
    signals = {name: noise + common for name, noise in silent.items()}
    signals["F3"] = signals["F3"] + sines(10, 30) - 1e5
    signals["O2"] = signals["O2"] + sines(2, 500)
    signals["T8"] = signals["T8"] + sines(70, 300)
    labels = [*np.random.default_rng(1).permutation(DEAP_EEG).tolist(), *EOG]
    by_hand(tmp_path / "tree", signals, labels=labels)
    (trial,) = read_deap_raw(tmp_path / "tree", remove_eog=False)
    times = (ONSET - 3 * 512 + 4 * np.arange(7 * 128)) / 512
    wave = np.sin(2 * np.pi * 10 * times)
    eeg = dict(zip(CHANNELS, np.hstack([trial.baseline, trial.eeg]), strict=True))
    # Average over 32: what all share is gone, F3 keeps 31/32 of its wave and the others get -1/32.
    assert np.abs(eeg["F3"] - 30 * 31 / 32 * wave).max() < 0.3
    for name in ("Fp1", "C4", "T7"):
        assert np.abs(eeg[name] + 30 / 32 * wave).max() < 0.3
    # Outside the band nothing is left, at 70 Hz nothing is folded down to 58 Hz either.
    assert np.abs(eeg["O2"] + 30 / 32 * wave).max() < 3 and np.abs(eeg["T8"] + 30 / 32 * wave).max() < 1.5


def test_the_eyes_are_regressed_out(tmp_path):
    rng = np.random.default_rng(2)
    aside, blink = rng.normal(0, 80, (2, 14 * 512))
    share = dict(zip(DEAP_EEG, rng.uniform(-0.5, 0.5, (32, 2)), strict=True))
    brain = {name: rng.normal(0, 5, 14 * 512) for name in DEAP_EEG}
    eyes = {"EXG1": 900 + aside / 2, "EXG2": -aside / 2, "EXG3": blink, "EXG4": np.zeros(14 * 512) + rng.normal(0, 0.1)}
    eyes["EXG4"][::2] += 0.1  # not flat
    by_hand(tmp_path / "clean", brain)
    by_hand(tmp_path / "eyes", {n: brain[n] + share[n][0] * aside + share[n][1] * blink for n in DEAP_EEG} | eyes)
    (clean,) = read_deap_raw(tmp_path / "clean", remove_eog=False)
    (dirty,) = read_deap_raw(tmp_path / "eyes", remove_eog=False)
    (cleaned,) = read_deap_raw(tmp_path / "eyes")
    assert np.median(agreement(dirty, clean)) < 0.5 and agreement(cleaned, clean).min() > 0.99


def test_a_trial_is_filtered_as_the_whole_recording(written, trials):
    raw = mne.io.read_raw_bdf(written / BDF.format(1), preload=True, verbose="error").pick(DEAP_EEG)
    raw.filter(4, 45, verbose="error").set_eeg_reference("average", verbose="error")
    onset = round((5 + 21.003) * 128) * 4
    row = plan_subject(SETTINGS, 1).presentation.tolist().index(1)
    whole = raw.get_data(picks=list(CHANNELS))[:, onset - 3 * 512 :][:, : 11 * 512 : 4] * 1e6
    (trial,) = (t for t in read_deap_raw(written, [1], remove_eog=False) if t.trial == row + 1)
    assert np.abs(np.hstack([trial.baseline, trial.eeg]) - whole).max() < 1e-6


@pytest.mark.parametrize(
    ("code", "labels"),
    [
        (lambda s: s | 0x58FF00, ("",)),
        (lambda s: s | 0x98FF00, ("",)),  # the sign bit of 24
        (lambda s: np.where(np.arange(len(s)) < ONSET + 50, s, 0), ("Status",)),  # a short pulse
        (lambda s: s + (np.arange(len(s)) < ONSET) * 3, ("", "")),  # directly after the fixation
        (lambda s: s + (np.arange(len(s)) > ONSET + 2100) * 5, ("Status",)),
    ],
)
def test_playback_is_found_whatever_surrounds_it(tmp_path, code, labels):
    by_hand(tmp_path / "plain", {})
    by_hand(tmp_path / "tree", {}, code, status_labels=labels)
    (plain,), (trial,) = read_deap_raw(tmp_path / "plain"), read_deap_raw(tmp_path / "tree")
    np.testing.assert_array_equal(plain.eeg, trial.eeg)


def test_the_trigger_channel_may_be_the_first_of_the_two(tmp_path):
    by_hand(tmp_path / "plain", {})
    path = by_hand(tmp_path / "tree", {}, status_labels=("", ""))
    words = np.frombuffer(path.read_bytes()[256 * 39 :], np.uint8).reshape(14, 38, 512 * 3)
    words = words[:, [*range(36), 37, 36]]
    path.write_bytes(path.read_bytes()[: 256 * 39] + words.tobytes())
    (plain,), (trial,) = read_deap_raw(tmp_path / "plain"), read_deap_raw(tmp_path / "tree")
    np.testing.assert_array_equal(plain.eeg, trial.eeg)


def edit_csv(root, change):
    table = pd.read_csv(root / CSV)
    change(table).to_csv(root / CSV, index=False)


def bdf_again(root, **options):
    shutil.rmtree(root)
    by_hand(root, options.pop("signals", {}), **options)


def cut(root, n_bytes):
    path = root / BDF.format(1)
    path.write_bytes(path.read_bytes()[:n_bytes])


HALF = [name if name != "Cz" else "CZ" for name in DEAP_EEG]


def two_at_once(root):
    shutil.rmtree(root)
    by_hand(root, {}, code=lambda s: s * (np.arange(len(s)) != ONSET + 512))
    table = pd.read_csv(root / CSV)
    pd.concat([table, table.assign(Trial=2, Experiment_id=2)]).to_csv(root / CSV, index=False)


FAULTS = {
    "no recording": (lambda root: (root / BDF.format(1)).unlink(), r"no recording s01\.bdf; there is none"),
    "no folder": (shutil.rmtree, r"data_original: no recording"),
    "no ratings": (lambda root: (root / CSV).unlink(), r"participant_ratings\.csv: missing"),
    "no column": (lambda root: edit_csv(root, lambda t: t.drop(columns="Liking")), "column Liking missing"),
    "other person": (lambda root: edit_csv(root, lambda t: t.assign(Participant_id=2)), "Trial of participant 1"),
    "other trial": (lambda root: edit_csv(root, lambda t: t.assign(Experiment_id=2)), "Experiment_id of participant 1"),
    "rating 9.5": (lambda root: edit_csv(root, lambda t: t.assign(Arousal=9.5)), "Arousal of participant 1 leaves"),
    "rating blank": (lambda root: edit_csv(root, lambda t: t.assign(Arousal="")), "Arousal of participant 1 leaves"),
    "truncated": (lambda root: cut(root, 300_000), r"s01\.bdf: 300000 bytes.*truncated"),
    "other file": (lambda root: (root / BDF.format(1)).write_text("no recording"), r"s01\.bdf: no BioSemi BDF"),
    "rate": (partial(bdf_again, sfreq=256), r"s01\.bdf: sampled at 256 Hz, expected 512"),
    "renamed": (partial(bdf_again, labels=[*HALF, *EOG], signals={"CZ": sines(9, 9)}), r"s01\.bdf: no channel Cz"),
    "no eyes": (partial(bdf_again, labels=DEAP_EEG), r"s01\.bdf: no channel EXG1, EXG2, EXG3, EXG4"),
    "flat": (
        partial(bdf_again, signals={"Pz": np.full(7168, 7.0)}),
        r"s01\.bdf: channel Pz is flat for 4 s or longer .* at 6\.0 s",
    ),
    "no status": (partial(bdf_again, status_labels=("Trigger",)), r"s01\.bdf: no trigger channel"),
    "no triggers": (partial(bdf_again, code=lambda s: 0 * s), r"s01\.bdf: 0 stimuli .* has 1 trials"),
    "too many": (partial(bdf_again, code=lambda s: s * (np.arange(7168) % 99 > 0)), r"s01\.bdf: 2\d stimuli"),
    "too late": (partial(bdf_again, code=lambda s: np.roll(s, 5 * 512)), r"s01\.bdf: a trial leaves the recording"),
    "too early": (partial(bdf_again, code=lambda s: np.roll(s, -4 * 512)), r"s01\.bdf: a trial leaves the recording"),
    "split pulse": (two_at_once, r"s01\.bdf: two stimuli begin 1\.0 s apart, expected 4 s"),
    "mark": (lambda root: (root / "SYNTHETIC").write_text("yes"), "SYNTHETIC: expected JSON"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_wrong_input_is_one_clear_error(fault, tmp_path):
    root = tmp_path / "tree"
    by_hand(root, {})
    assert len(list(read_deap_raw(root))) == 1
    plant, message = FAULTS[fault]
    plant(root)
    with pytest.raises(DataError, match=message) as caught:
        list(read_deap_raw(root))
    assert "\n" not in str(caught.value) and str(root) in str(caught.value)


def test_the_number_of_stimuli_is_asserted_against_the_ratings(written, tmp_path):
    root = Path(shutil.copytree(written, tmp_path / "tree"))
    edit_csv(root, lambda t: t[(t["Participant_id"] != 1) | (t["Trial"] < 4) & (t["Experiment_id"] > 0)])
    table = pd.read_csv(root / CSV)
    table.loc[table["Participant_id"] == 1, "Experiment_id"] = [1, 2, 3]
    table.to_csv(root / CSV, index=False)
    with pytest.raises(DataError, match=r"s01\.bdf: 4 stimuli .* has 3 trials"):
        list(read_deap_raw(root, [1]))
    with pytest.raises(DataError, match=r"no recording s02\.bdf, s30\.bdf; there is s01, s28, s29"):
        read_deap_raw(root, [1, 2, 30])


def test_the_folder_is_checked_at_once_and_recordings_one_by_one(written, tmp_path):
    root = Path(shutil.copytree(written, tmp_path / "tree"))
    (root / "data_original/s28.bdf.part").touch()
    (root / BDF.format(29)).write_bytes(b"")
    reader = read_deap_raw(root, [28, 29])
    assert [next(reader).trial for _ in range(4)] == [1, 2, 3, 4]
    with pytest.raises(DataError, match=r"s29\.bdf: no BioSemi"):
        next(reader)
    assert open_raw_tree(root).subjects == (1, 28, 29) and open_raw_tree(root).seconds == 8
    (root / "SYNTHETIC").unlink()
    assert open_raw_tree(root).seconds == 60


TWIN = TwinSettings(n_subjects=2, n_trials=2, n_windows=2, seed=3)


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """A folder of the twin with the release's files and the recordings that they were made from."""
    return write_deap(TWIN, tmp_path_factory.mktemp("both") / "tree", seconds=8, frame_size=64, raw=True)


def params(root, dataset="deap_raw"):
    return Params(dataset=dataset, data_root=str(root), profile="smoke")


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("CDGKD_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_windows_from_recordings_are_those_of_the_release(both, home):
    dat, raw = load_windows(params(both, "deap"), n_jobs=1), load_windows(params(both), n_jobs=1)
    assert raw.meta["name"] == "synthetic tree in DEAP's layout (world mixed), original recordings"
    assert raw.meta["synthetic"] is True and raw.meta["key"] != dat.meta["key"]
    assert raw.meta["excluded"] == [] == dat.meta["excluded"] and len(raw) == 8
    pd.testing.assert_frame_equal(raw.index, dat.index)
    pd.testing.assert_frame_equal(raw.truth, dat.truth)
    np.testing.assert_array_equal(raw.video, dat.video)
    np.testing.assert_array_equal(raw.frame_mask, dat.frame_mask)
    # Both windows of a trial, one after the other; filtered alike, since the twin's files reach beyond 4 to 45 Hz.
    a, b = (np.asarray(w.eeg, float).reshape(4, 2, 28, 512).swapaxes(1, 2).reshape(4, 28, 1024) for w in (raw, dat))
    r = [agreement(as_trial(x, 1), as_trial(y, 1)) for x, y in zip(a, b, strict=True)]
    # Measured: median .9988, least .9932.
    assert np.median(r) > 0.995 and np.min(r) > 0.97
    others = [agreement(as_trial(x, 1), as_trial(y, 1)) for x, y in zip(a, b[::-1], strict=True)]
    assert np.abs(np.median(others)) < 0.2


def as_trial(eeg, number):
    return Trial(1, number, 0, "", eeg, eeg[:, :0], {}, None)


def test_the_key_follows_the_recordings(both, tmp_path, home):
    root = Path(shutil.copytree(both, tmp_path / "tree"))
    shutil.rmtree(root / "data_preprocessed_python")  # not needed
    first = load_windows(params(root), n_jobs=1)
    with open(root / BDF.format(2), "r+b") as file:
        file.seek(1 << 16)
        file.write(bytes(1 << 16))  # long before the first trial
    again = load_windows(params(root), n_jobs=1)
    assert first.meta["key"] != again.meta["key"]
    assert [folder.name for folder in (home / "prepared").iterdir() if not folder.name.endswith("parts")]
    (root / "face_video/s02").rename(root / "face_video/elsewhere")
    assert set(load_windows(params(root), n_jobs=1).index["subject"]) == {1}
    shutil.rmtree(root / "face_video")
    with pytest.raises(DataError, match=r"data_original: no recording s01\.bdf with face video in face_video"):
        load_windows(params(root), n_jobs=1)


def make_flat(root, subject, presentation):
    """Hold channel AF3 of a recording through one stimulus."""
    path = root / BDF.format(subject)
    raw = open_bdf(path, 512)
    (place,) = [i for i, name in enumerate(raw.ch_names) if name == "AF3"]
    code = channel_words(path, len(raw.ch_names) - 1) & 0xFF
    first = (np.flatnonzero((code[1:] == 4) & (code[:-1] != 4))[presentation - 1] + 1) // 512
    bytes_of = np.memmap(path, np.uint8, "r+", 256 * 49, (raw.n_times // 512, 48, 512, 3))
    bytes_of[first : first + 9, place] = 7
    bytes_of.flush()


def test_a_trial_with_a_flat_channel_is_left_out_by_name(both, tmp_path, home):
    root = Path(shutil.copytree(both, tmp_path / "tree"))
    make_flat(root, 2, 1)
    trial = plan_subject(TWIN, 2).presentation.tolist().index(1) + 1
    windows = load_windows(params(root), n_jobs=1)
    ((*which, reason),) = windows.meta["excluded"]
    assert which == [2, trial] and reason.startswith("data_original/s02.bdf: channel AF3 is flat for 4 s")
    assert len(windows) == 6
    report = diagnose(root, deep=True)
    assert any("s02.bdf: channel AF3 is flat" in note and "left out" in note for note in report.notes)


CACHE_FAULTS = {
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:-100_000]), r"s01\.bdf: .*truncated"),
    "rate": (lambda path: rename_rate(path), r"s01\.bdf: "),
    "dat for a recording": (
        lambda path: shutil.copy(path.parents[1] / "data_preprocessed_python/s01.dat", path),
        "BIOSEMI",
    ),
    "folder": (lambda path: [path.unlink(), path.mkdir()], r"s01\.bdf: cannot be read"),
}


def rename_rate(path):
    """Half the samples per record, as another amplifier setting has it."""
    content = path.read_bytes()
    place = 256 + 48 * 216
    path.write_bytes(content[:place] + b"256     " * 48 + content[place + 8 * 48 :])


@pytest.mark.parametrize("fault", CACHE_FAULTS)
def test_a_damaged_recording_is_one_error_and_leaves_no_cache(both, tmp_path, home, fault):
    root = Path(shutil.copytree(both, tmp_path / "tree"))
    plant, said = CACHE_FAULTS[fault]
    plant(root / BDF.format(1))
    with pytest.raises(DataError, match=said) as caught:
        load_windows(params(root), n_jobs=1)
    assert "\n" not in str(caught.value) and not list(home.glob("**/*"))


def test_the_doctor_says_which_way_works(both, tmp_path):
    root = Path(shutil.copytree(both, tmp_path / "tree"))
    report = diagnose(root)
    assert report.facts["EEG, raw"].startswith(
        "2 recordings (s01 to s02), for dataset='deap_raw' only; 4 stimuli in 0.1"
    )
    assert "at 512 Hz" in report.facts["EEG, raw"]
    assert report.other_ways["deap_raw"] == report.obstacle != ""  # two subjects are too few to split
    assert "dataset='deap_raw': " in report.text()
    cut(root, 1_000_000)
    report = diagnose(root)
    assert report.other_ways["deap_raw"] == "1 problem to repair first" and not report.blockers
    assert any(note.startswith("for dataset='deap_raw': ") and "truncated" in note for note in report.notes)
    assert str(root) not in report.text()


def session(n_trials=10, seed=0):
    """Onsets at 512 Hz and what a table says about them, in ticks of 100 µs from another origin."""
    seconds = 170 + np.cumsum(68 + np.random.default_rng(seed).uniform(10, 40, n_trials))
    return np.round(seconds * 512).astype(int), np.round((seconds - 3.2) * 1e4)


def test_timing_error_is_the_rms_around_the_line():
    onsets, told = session()
    assert timing_error(onsets, told) < 0.002
    # One stimulus 3 s late, by NumPy's own line.
    late = onsets + 3 * 512 * (np.arange(10) == 4)
    residual = late / 512 - np.polyval(np.polyfit(told, late / 512, 1), told)
    assert timing_error(late, told) == pytest.approx(np.sqrt(np.mean(residual**2)), rel=1e-6)
    assert timing_error(onsets, session(seed=1)[1]) > 2
    assert timing_error(onsets, told[:-1]) == timing_error(onsets, 0 * told) == np.inf
    assert timing_error(onsets, np.where(told == told[3], np.nan, told)) == np.inf


def test_a_recording_under_another_subjects_name_is_refused():
    path, tables = Path("s02.bdf"), []
    for subject in (1, 2):
        table = pd.DataFrame({"Participant_id": subject, "Trial": range(1, 11), "Start_time": session(seed=subject)[1]})
        tables.append(table.sample(frac=1, random_state=0))
    ratings = pd.concat(tables)
    own, other = session(seed=2)[0], session(seed=1)[0]
    check_owner(path, 2, own, ratings)
    with pytest.raises(DataError, match=r"s02\.bdf: its stimuli lie where .* participant 1, expected .* participant 2"):
        check_owner(path, 2, other, ratings)
    # Nobody's, too few to tell, or no times: nothing is claimed.
    check_owner(path, 2, session(seed=3)[0], ratings)
    check_owner(path, 2, other[:4], ratings[ratings["Trial"] < 5])
    check_owner(path, 2, other, ratings.drop(columns="Start_time"))
    check_owner(path, 2, other, ratings.assign(Start_time="x"))


def test_recordings_alone_are_enough(both, tmp_path, monkeypatch):
    root = Path(shutil.copytree(both, tmp_path / "tree"))
    shutil.rmtree(root / "data_preprocessed_python")
    monkeypatch.setattr(doctor_deap_raw, "split_obstacle", lambda trials: "" if len(trials) == 4 else "too few")
    report = diagnose(root)
    assert not report.blockers and report.obstacle and report.usable and report.other_ways == {"deap_raw": ""}
    assert "dataset='deap_raw': run" in report.text() and "dataset='deap': not one usable trial" in report.text()


def test_words_of_a_channel_are_what_mne_reads(written):
    path = written / BDF.format(29)
    raw = open_bdf(path, 512)
    for place in (0, 40, 47, 48):
        words = channel_words(path, place)
        assert words.dtype == np.int32 and words.shape == (raw.n_times,)
        signed = np.where(words >= 1 << 23, words - (1 << 24), words)
        step = 1.0 if place > 46 else 524287e-6 / 16777215
        offset = 0.0 if place > 46 else -262144e-6 + 8388608 * step
        np.testing.assert_allclose(raw.get_data(picks=[place])[0], signed * step + offset, atol=1e-9)
