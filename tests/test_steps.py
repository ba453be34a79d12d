"""A trial's preparation, stage by stage, held against the bytes of its files and against the readers."""

import dataclasses
import shutil

import matplotlib

matplotlib.use("Agg")

import mne
import numpy as np
import pytest

from cdgkd_utils.config import Params
from cdgkd_utils.data.constants import CHANNELS, DEAP_EEG
from cdgkd_utils.data.deap.dat_file import read_dat
from cdgkd_utils.data.load import load_windows
from cdgkd_utils.data.normalise import Normaliser
from cdgkd_utils.data.steps import chain as chain_module
from cdgkd_utils.data.steps import sample
from cdgkd_utils.data.steps.chain import preprocessing_steps
from cdgkd_utils.data.steps.step import Step
from cdgkd_utils.data.types import DataError

SECONDS = 12
WINDOWED = {"windows": (3, 28, 512), "cache": (3, 28, 512), "scaled": (3, 28, 512)}
TWENTE = "Fp1 AF3 F7 F3 FC1 FC5 T7 C3 CP1 CP5 P7 P3 Pz PO3 O1 Oz O2 PO4 P4 P8 CP6 CP2 C4 T8 FC6 FC2 F4 F8 AF4 Fp2 Fz Cz"


@pytest.fixture(scope="module")
def homes(tmp_path_factory):
    """Samples with trials of 12 s, and the three chains made from them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CDGKD_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("TQDM_DISABLE", "1")
        short = {name: dataclasses.replace(settings, n_windows=3) for name, settings in sample.SAMPLES.items()}
        patch.setattr(sample, "SAMPLES", short)
        yield {layout: sample.sample_tree(layout) for layout in short}


@pytest.fixture(scope="module")
def chains(homes):
    found = {}
    for name in ("deap", "deap_raw", "mahnob"):
        params = Params(dataset=name.removesuffix("_raw"), data_root=str(homes[name.removesuffix("_raw")]))
        found[name] = {step.name: step for step in preprocessing_steps(params, name)}
    return found


def bdf_channel(path, name):
    """One channel in µV from the bytes: 24-bit integers of 31.25 nV, records of 1 s, channel after channel."""
    content = path.read_bytes()
    n_chans = int(content[252:256])
    labels = [content[256 + 16 * i : 272 + 16 * i].decode().strip() for i in range(n_chans)]
    sfreq = int(content[256 + 216 * n_chans :][:8])
    body = np.frombuffer(content[256 * (n_chans + 1) :], np.uint8).reshape(-1, n_chans, sfreq, 3)
    three = body[:, labels.index(name)].reshape(-1, 3).astype(np.int64)
    words = three[:, 0] + 256 * three[:, 1] + 65536 * three[:, 2]
    digital = np.where(words >= 1 << 23, words - (1 << 24), words)
    return -262144 + (digital + 8388608) * (262143 + 262144) / (2**24 - 1), words


def bdf(root, name):
    (path,) = root.rglob(name)
    return path


# ---- what each step says ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "deap",  # 3 s before and 12 s of stimulus: 15 * 128 = 1920 samples
            {"file": (2, 40, 1920), "trial": (40, 1920), "electrodes": (32, 1920), "stimulus": (28, 1536)},
        ),
        (
            "deap_raw",  # with 2 s more on either side: 19 * 512 = 9728
            {"recording": None, "trial": (36, 9728), "4–45 Hz": (36, 9728), "128 Hz": (36, 1920)}
            | {"average reference": (32, 1920), "eyes out": (32, 1920), "stimulus": (28, 1536)},
        ),
        (
            "mahnob",  # 30 s, 12 s, 30 s: 72 * 256 = 18432
            {"recording": (47, 18432), "electrodes": (32, 18432), "average reference": (32, 18432)}
            | {"4–45 Hz": (32, 18432), "128 Hz": (32, 9216), "stimulus": (28, 1536)},
        ),
    ],
)
def test_shapes_rates_and_units_by_hand(chains, homes, name, expected):
    steps = chains[name]
    fps, width, n_frames = (50, 80, 600) if name != "mahnob" else (60.9708, 88, None)
    video = {"clip": None, "frames": (3, 5, 64, 64, 3), "features": (3, 5, 768), "frame mask": (3, 5)}
    shapes = {step: found.shape for step, found in steps.items()}
    assert list(steps) == list(expected | WINDOWED | video)
    assert {key: shapes[key] for key, shape in (expected | WINDOWED | video).items() if shape} == {
        key: shape for key, shape in (expected | WINDOWED | video).items() if shape
    }
    if name == "deap_raw":
        size = bdf(homes["deap"], "s01.bdf").stat().st_size
        assert shapes["recording"] == (48, (size - 49 * 256) // (48 * 3))
    assert shapes["clip"][1:] == (64, width, 3) and n_frames in (None, shapes["clip"][0])
    rates = {key: step.sfreq for key, step in steps.items()}
    recorded = {"deap": 128, "deap_raw": 512, "mahnob": 256}[name]
    slow = ("128 Hz", "average reference", "eyes out", "stimulus", *WINDOWED)
    for key in expected | WINDOWED:
        slowed = key in slow and not (name == "mahnob" and key == "average reference")
        assert rates[key] == (128 if slowed else recorded), key
    assert (rates["clip"], rates["frames"], rates["features"]) == (fps, 1.25, 1.25)
    assert {steps[key].unit for key in expected} == {"µV"} and steps["scaled"].unit == "sd"


@pytest.mark.parametrize("name", ["deap", "deap_raw", "mahnob"])
def test_signals_have_the_shape_that_is_told_and_cannot_be_written_to(chains, name):
    for step in chains[name].values():
        if step.signal is not None:
            assert step.signal.shape == step.shape
            assert not step.rows or len(step.rows) == step.shape[-2]
            with pytest.raises(ValueError, match="read-only"):
                step.signal[...] = 0


def test_the_text_tells_the_orders_and_the_marks(chains):
    dat, raw, mahnob = (chains[name] for name in ("deap", "deap_raw", "mahnob"))
    assert "s01.dat (synthetic)" in dat["file"].what
    assert dat["trial"].what.endswith("row 0 is stimulus 1; by the table of ratings it was shown as number 2")
    assert "marks its 2 stimuli" in raw["recording"].what and "shown as number 2, at " in raw["trial"].what
    assert "two pulses of Status say that the film runs from 30.0 s to 42.0 s" in mahnob["recording"].what
    assert all(steps["clip"].what.startswith("s01_trial02.avi") for steps in (dat, raw))
    assert "header says 61 " in mahnob["clip"].what and "header" not in raw["clip"].what
    assert raw["frames"].what.startswith("at 0.4, 1.2, 2.0, 2.8, 3.6 s of each window")


# ---- each step by another way ----------------------------------------------------------------------


def test_the_steps_of_the_preprocessed_file(chains, homes):
    steps = chains["deap"]
    data, _ = read_dat(bdf(homes["deap"], "s01.dat"), mapped=False)
    assert np.array_equal(steps["trial"].signal, data[0])
    assert np.array_equal(steps["electrodes"].signal, data[0, :32])
    for row, name in enumerate(CHANNELS):
        assert np.array_equal(steps["stimulus"].signal[row], data[0, DEAP_EEG.index(name), 384:])


def test_the_steps_of_the_original_recording(chains, homes):
    steps, path = chains["deap_raw"], bdf(homes["deap"], "s01.bdf")
    _, words = bdf_channel(path, "Status")
    rises = [i for i in range(1, len(words)) if words[i] & 255 == 4 and words[i - 1] & 255 != 4]
    first = rises[1] - 5 * 512  # stimulus 1 came second
    names = (*DEAP_EEG, "EXG1", "EXG2", "EXG3", "EXG4")
    assert steps["trial"].rows == names and " ".join(mne_names(path)[:32]) == TWENTE
    wholes = {name: bdf_channel(path, name)[0] for name in names}
    for row, name in enumerate(names):  # as stored, after all later steps have run
        assert np.allclose(steps["trial"].signal[row], wholes[name][first : first + 9728], rtol=0, atol=1e-6)

    whole = mne.filter.filter_data(wholes["F7"], 512, 4, 45, verbose="error")
    cut = steps["4–45 Hz"].signal[names.index("F7")]
    inner = slice(2 * 512, -2 * 512)  # the margin is longer than half the filter: as if the whole had been filtered
    assert np.allclose(cut[inner], whole[first : first + 9728][inner], atol=1e-6)
    slower = steps["128 Hz"].signal
    assert np.array_equal(slower, steps["4–45 Hz"].signal[:, 1024 : 1024 + 7680 : 4])

    referenced, cleaned = steps["average reference"].signal, steps["eyes out"].signal
    for time in (0, 700, 1919):
        mean = sum(slower[row, time] for row in range(32)) / 32
        for row in range(32):
            assert referenced[row, time] == pytest.approx(slower[row, time] - mean, abs=1e-9)
    eyes = np.stack([slower[32] - slower[33], slower[34] - slower[35]])
    removed = referenced - cleaned
    assert np.abs(removed).max() > 1  # µV: there was something to remove
    gram = eyes @ eyes.T
    swapped = np.array([[gram[1, 1], -gram[0, 1]], [-gram[1, 0], gram[0, 0]]])
    inverse = swapped / (gram[0, 0] * gram[1, 1] - gram[0, 1] ** 2)
    assert np.allclose(removed, referenced @ eyes.T @ inverse @ eyes, atol=1e-8)
    for row, name in enumerate(CHANNELS):
        assert np.array_equal(steps["stimulus"].signal[row], cleaned[DEAP_EEG.index(name), 384:])


def test_the_steps_of_a_mahnob_session(chains, homes):
    steps, path = chains["mahnob"], bdf(homes["mahnob"], "Part_1_S_Trial1_emotion.bdf")
    recorded = np.stack([bdf_channel(path, name)[0] for name in DEAP_EEG])
    assert np.allclose(steps["electrodes"].signal, recorded, rtol=0, atol=1e-6)
    referenced = steps["average reference"].signal
    for time in (0, 9000, 18431):
        mean = sum(recorded[row, time] for row in range(32)) / 32
        assert np.allclose(referenced[:, time], recorded[:, time] - mean, atol=1e-6)
    filtered = mne.filter.filter_data(recorded - recorded.mean(axis=0), 256, 4, 45, verbose="error")
    assert np.allclose(steps["4–45 Hz"].signal, filtered, atol=1e-5)
    assert np.array_equal(steps["128 Hz"].signal, steps["4–45 Hz"].signal[:, ::2])
    for row, name in enumerate(CHANNELS):
        film = steps["128 Hz"].signal[DEAP_EEG.index(name), 30 * 128 : 42 * 128]
        assert np.array_equal(steps["stimulus"].signal[row], film)


def mne_names(path):
    return mne.io.read_raw_bdf(path, verbose="error").ch_names


# ---- windows ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["deap", "mahnob"])
def test_the_last_steps_are_what_loading_gives(chains, homes, name, tmp_path, monkeypatch):
    monkeypatch.setenv("CDGKD_HOME", str(tmp_path))
    monkeypatch.setenv("TQDM_DISABLE", "1")
    loaded = load_windows(Params(dataset=name, data_root=str(homes[name]), profile="paper"), n_jobs=1)
    rows = np.flatnonzero(loaded.index["trial"] == loaded.index["trial"].iloc[0])
    steps = chains[name]
    assert np.array_equal(steps["cache"].signal, loaded.eeg[rows])
    assert np.allclose(steps["features"].signal, loaded.video[rows], rtol=2**-10, atol=1e-6)
    assert np.array_equal(steps["frame mask"].signal, loaded.frame_mask[rows])
    assert np.array_equal(steps["scaled"].signal, Normaliser.fit(loaded, rows).eeg(loaded)[rows])


@pytest.mark.parametrize("name", ["deap", "deap_raw", "mahnob"])
def test_windows_are_pieces_of_the_stimulus(chains, name):
    steps = chains[name]
    stimulus, windows = steps["stimulus"].signal, steps["windows"]
    assert windows.starts == (0.0, 4.0, 8.0)
    for number in range(3):
        piece = stimulus[:, 512 * number : 512 * (number + 1)]
        assert np.array_equal(windows.signal[number], piece.astype(np.float32))
    assert steps["cache"].signal.dtype == np.float16
    assert np.allclose(steps["scaled"].signal.astype(float).std(axis=(0, 2)), 1, atol=1e-4)


def test_the_baseline_is_taken_away_if_asked(chains, homes):
    params = Params(dataset="deap", data_root=str(homes["deap"]))
    steps = {step.name: step for step in preprocessing_steps(params, baseline="subtract")}
    data, _ = read_dat(bdf(homes["deap"], "s01.dat"))
    for row, channel in enumerate(CHANNELS):
        mean = data[0, DEAP_EEG.index(channel), :384].mean()
        expected = (chains["deap"]["stimulus"].signal[row, :512] - mean).astype(np.float32)
        assert np.array_equal(steps["windows"].signal[0, row], expected)
    assert "not used" in chains["deap"]["windows"].what and "minus each channel's mean" in steps["windows"].what
    with pytest.raises(ValueError, match="baseline: expected one of none, subtract"):
        preprocessing_steps(params, baseline="ratio")


# ---- which files -----------------------------------------------------------------------------------


def test_files_that_are_named_are_read_and_others_sampled(homes, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(chain_module, "sample_tree", lambda layout: asked.append(layout) or homes[layout])
    real = Params(dataset="deap", data_root=str(homes["deap"]))
    for chain, expected in (("", []), ("deap", []), ("deap_raw", []), ("mahnob", ["mahnob"])):
        asked.clear()
        assert preprocessing_steps(real, chain) and asked == expected
    for params, chain, expected in (
        (Params(), "", "deap"),
        (Params(), "deap_raw", "deap"),
        (Params(dataset="twin_mahnob"), "", "mahnob"),
    ):
        asked.clear()
        assert preprocessing_steps(params, chain) and asked == [expected]
    without = tmp_path / "deap"
    shutil.copytree(homes["deap"], without, ignore=shutil.ignore_patterns("data_original"))
    asked.clear()
    assert preprocessing_steps(Params(dataset="deap", data_root=str(without)), "deap_raw") and asked == ["deap"]
    asked.clear()
    for name in ("deap_raw", "mahnob"):  # what was asked for by name is not replaced by something else
        with pytest.raises(DataError, match=r"data_original|no folder Sessions"):
            preprocessing_steps(Params(dataset=name, data_root=str(without)))
    assert asked == []
    with pytest.raises(ValueError, match="chain: expected one of deap, deap_raw, mahnob, got 'seed'"):
        preprocessing_steps(real, "seed")


def test_the_first_trial_with_a_clip_is_taken_or_the_lack_is_told(homes, tmp_path):
    root = tmp_path / "deap"
    shutil.copytree(homes["deap"], root)
    params = Params(dataset="deap", data_root=str(root))
    (root / "face_video/s01/s01_trial02.avi").unlink()
    for chain in ("deap", "deap_raw"):
        steps = {step.name: step for step in preprocessing_steps(params, chain)}
        assert "stimulus 2" in steps["trial"].what and steps["clip"].what.startswith("s01_trial01.avi")
    (root / "face_video/s01/s01_trial01.avi").unlink()
    with pytest.raises(DataError, match=r"deap'\: no usable trial with EEG and face video"):
        preprocessing_steps(params)


def test_a_sample_is_written_once_and_takes_the_place_of_older_ones(homes, monkeypatch, tmp_path):
    monkeypatch.setenv("CDGKD_HOME", str(tmp_path))
    written = []
    monkeypatch.setattr(sample, "write_deap", lambda settings, out, *args, **kwargs: written.append(out) or out.mkdir())
    stale, other = tmp_path / "sample" / "deap-0123", tmp_path / "sample" / "mahnob-0123"
    stale.mkdir(parents=True), other.mkdir()
    assert sample.sample_tree("deap") == sample.sample_tree("deap") == written[0]
    assert len(written) == 1 and not stale.exists() and other.exists()
    with pytest.raises(ValueError, match="layout: expected one of deap, mahnob, got 'seed'"):
        sample.sample_tree("seed")


def test_a_sample_that_another_process_wrote_meanwhile_is_taken(monkeypatch, tmp_path):
    monkeypatch.setenv("CDGKD_HOME", str(tmp_path))

    def beaten(settings, out, *args, **kwargs):
        out.mkdir(parents=True)
        raise FileExistsError(out)

    monkeypatch.setattr(sample, "write_deap", beaten)
    assert sample.sample_tree("deap").is_dir()

    def full(settings, out, *args, **kwargs):
        raise OSError("no space left")

    monkeypatch.setattr(sample, "write_mahnob", full)
    with pytest.raises(OSError, match="no space left"):
        sample.sample_tree("mahnob")


# ---- looking at them -------------------------------------------------------------------------------


def made_step(**changes):
    signal = np.arange(2 * 2 * 512, dtype=float).reshape(2, 2, 512)
    found = {"name": "x", "shape": signal.shape, "sfreq": 128.0, "unit": "µV", "what": "y", "signal": signal}
    return Step(**(found | {"rows": ("F3", "F4"), "starts": (4.0, 12.0)} | changes))


def test_a_trace_is_found_in_its_window():
    times, values = made_step().trace("F4", 12.5, 1.0)
    assert times[[0, -1]].tolist() == [12.5, 12.5 + 127 / 128] and len(times) == 128
    assert values[[0, -1]].tolist() == [3 * 512 + 64, 3 * 512 + 191]  # fourth row of all, half a second in
    whole = made_step(signal=np.arange(1024.0).reshape(2, 512), starts=(-3.0,))
    assert whole.trace("F3", 0, 0.5)[1][0] == 384


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(("Cz", 5, 1), "has no 'Cz', but F3, F4"), (("F3", 7.5, 1), "no 1 s from 7.5 s"), (("F3", 9, 1), "no 1 s from 9")],
)
def test_a_trace_that_is_not_there_is_told(arguments, said):
    with pytest.raises(ValueError, match=said):
        made_step().trace(*arguments)
