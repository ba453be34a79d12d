"""EEG and features as float16: how much is lost, what is refused, and that nobody computes in it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from cdgkd_utils.data.cache import prepared
from cdgkd_utils.data.errors import DataError
from cdgkd_utils.data.half import half_eeg, half_video, rounded
from cdgkd_utils.data.normalise import Normaliser
from cdgkd_utils.data.twin.generator import TwinSettings, prepare_subject
from cdgkd_utils.data.types import Windows
from cdgkd_utils.experiments import leak
from cdgkd_utils.models.frontend import band_covariances

UNIT = 2.0**-11


def index_of(n, n_subjects=2):
    index = pd.DataFrame({"subject": np.arange(n) % n_subjects + 1, "trial": np.arange(n) // n_subjects + 7})
    return index.assign(presentation=1, stimulus="x", window=3, valence=5.0, arousal=5.0, dominance=5.0, liking=5.0)


def made(n=12, seed=0):
    rng = np.random.default_rng(seed)
    eeg = (rng.normal(size=(n, 28, 512)) * 10.0 ** rng.uniform(-1, 3, (n, 28, 1))).astype(np.float32)
    video = np.abs(rng.normal(size=(n, 5, 768))).astype(np.float32)
    return Windows(eeg, video, np.ones((n, 5), bool), index_of(n), meta={"name": "planted"})


def test_spacing_at_16_to_32_microvolts_is_half_of_the_amplifiers_last_bit():
    assert np.spacing(np.float16(16)) == np.spacing(np.float16(31.9)) == 0.015625  # µV
    assert np.spacing(np.float16(1e-6)) == pytest.approx(60e-9, rel=0.01)


def test_each_sample_is_within_a_2048th_of_itself_and_windows_correlate():
    windows = made(40)
    half = half_eeg(windows.eeg, windows.index)
    exact, rounded = windows.eeg.astype(np.float64), half.astype(np.float64)
    assert half.dtype == np.float16
    assert (np.abs(rounded - exact) <= np.maximum(UNIT * np.abs(exact), 2.0**-25)).all()
    for window in range(40):
        for chan in range(28):
            assert np.corrcoef(exact[window, chan], rounded[window, chan])[0, 1] > 0.999999
    features = half_video(windows.video, windows.index).astype(np.float64)
    assert (np.abs(features - windows.video) <= np.maximum(UNIT * np.abs(windows.video), 2.0**-25)).all()
    np.testing.assert_array_equal(half_eeg(half, windows.index), half)  # again: nothing more is lost


def assert_rounded_as_by_numpy(numbers):
    np.testing.assert_array_equal(rounded(numbers).view(np.uint16), numbers.astype(np.float16).view(np.uint16))


def test_rounding_is_numpys_at_every_float16_its_neighbours_and_every_tie():
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    exact = halves[np.isfinite(halves)].astype(np.float64)
    up = np.unique(exact)
    ties = (up[1:] + up[:-1]) / 2
    edges = np.array([65519.996, -65519.996, 1e-40, -1e-40, 1e-45, 2.0**-25, 3 * 2.0**-25, 2.0**-126])
    base = np.concatenate([exact, ties, edges]).astype(np.float32)
    numbers = np.concatenate([base, np.nextafter(base, np.float32(np.inf)), np.nextafter(base, np.float32(-np.inf))])
    numbers = numbers[np.abs(numbers) < 65520]
    assert len(numbers) > 6 * 63_000 and np.signbit(numbers[numbers == 0]).any()
    assert_rounded_as_by_numpy(numbers)
    for few in (np.zeros(0), np.zeros(1), np.full(3, -0.0), np.ones((2, 0, 4)), np.array(-0.3)):
        assert_rounded_as_by_numpy(few.astype(np.float32))


@pytest.mark.parametrize("scale", [1e-6, 1e-4, 1.0, 1e3])
def test_rounding_of_random_numbers_is_numpys(scale):
    numbers = (np.random.default_rng(0).standard_cauchy((3, 50, 200)) * scale).clip(-65e3, 65e3).astype(np.float32)
    assert_rounded_as_by_numpy(numbers)
    assert_rounded_as_by_numpy(numbers.transpose(2, 0, 1)[::2])
    assert_rounded_as_by_numpy(numbers.astype(np.float64))  # by NumPy itself


def test_rounding_of_random_bits_is_numpys():
    bits = np.random.default_rng(0).integers(0, 2**32, 10**6, dtype=np.uint32)
    numbers = bits.view(np.float32)
    assert_rounded_as_by_numpy(numbers[np.abs(numbers) < 65520])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("value", [65520, -65520, 1e9, np.inf, -np.inf, np.nan, -np.nan])
def test_numbers_without_a_float16_are_refused_wherever_they_are(value, dtype):
    for place in (0, 1, 500, 1002):
        numbers = np.linspace(-65504, 65504, 1003).astype(dtype)
        with np.errstate(over="ignore"):
            numbers[place] = value
        with pytest.raises(OverflowError, match="magnitude 65,520 or more, or NaN"):
            rounded(numbers)


def test_few_windows_need_the_exact_sums_and_none_that_loses_digits_escapes():
    """The quick tests of an offset, against the definition, around the borders where digits begin to be lost."""
    rng = np.random.default_rng(1)
    refused = []
    # Below 64 µV floats are so close that noise is tolerated; above, offset over spread decides.
    offsets = np.concatenate([np.full(200, 1300.0), 10 ** rng.uniform(1, 2.5, 200)])
    for offset, share in zip(offsets, 10 ** rng.uniform(0, 1, 400), strict=True):
        signal = rng.normal(size=512)
        signal = (signal - signal.mean()) / signal.std()
        eeg = np.tile(30 * signal, (1, 28, 1)).astype(np.float32)
        eeg[0, 5] = (offset / share * signal + offset).astype(np.float32)
        exact = eeg[0, 5].astype(np.float64)
        noise = (rounded(eeg[0, 5]).astype(np.float64) - exact).std()
        if min(abs(noise / exact.std() - 1e-3), abs(noise / 10 - 1e-3)) < 2e-5:
            continue
        refused.append(noise > max(1e-3 * exact.std(), 0.01))
        if refused[-1]:
            with pytest.raises(DataError, match=r"FC1 of .* on an offset of"):
                half_eeg(eeg, index_of(1))
        else:
            half_eeg(eeg, index_of(1))
    assert 40 < sum(refused[:200]) < 160 and 10 < sum(refused[200:]) < 160


def test_numbers_that_are_all_ties_are_refused_already_at_a_smaller_offset():
    """The most noise that rounding can make: half a step, up and down, on a signal half as large as its offset."""
    ties = np.tile([1024.5, 1025.5, 2561, 2563], 128)
    eeg = np.tile(np.float32([1, -1]), (1, 28, 256))
    eeg[0, 9] = ties
    assert (rounded(eeg[0, 9]) - ties).std() > 1e-3 * ties.std() > 0.4 * 1e-3 * ties.mean()
    with pytest.raises(DataError, match=r"769 µV of signal on an offset of 1793\.5"):
        half_eeg(eeg, index_of(1))


@pytest.mark.parametrize("offset", [17.9, 20.4, -20.4, -40.0])
def test_the_smallest_offset_that_can_cost_digits_is_examined(offset, monkeypatch):
    """Noise beyond what is tolerated needs a root mean square of 20.48 µV and that the mean is most of it."""
    examined = []
    monkeypatch.setattr(np, "einsum", lambda *given: examined.append(given) or np.zeros(28))
    eeg = np.full((3, 28, 512), 1.0, np.float32)
    eeg[1, 7] = offset
    half_eeg(eeg, index_of(3))
    assert len(examined) == 1
    np.testing.assert_array_equal(examined[0][1], eeg[1])


def test_on_the_twin_rounding_is_71_db_below_the_signal_and_a_hundredth_of_a_standard_deviation_of_a_feature():
    windows = prepare_subject(TwinSettings(n_subjects=1, n_trials=3, n_windows=2, seed=0), 1)
    exact = windows.eeg.astype(np.float64)
    noise = half_eeg(windows.eeg, windows.index).astype(np.float64) - exact
    assert 20 * np.log10(exact.std(axis=2) / noise.std(axis=2)).min() > 70.9
    train = np.arange(len(windows))
    normaliser = Normaliser.fit(windows, train)
    halved = Windows(windows.eeg, half_video(windows.video, windows.index), windows.frame_mask, windows.index)
    assert np.abs(normaliser.video(halved) - normaliser.video(windows)).mean() < 0.01


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (70000.0, r"70000 µV in channel F3 of subject 2, trial 9, window 3.*up to 65,504"),
        (-65520.0, r"-65520 µV in channel F3 of subject 2"),
        (np.nan, r"nan µV in channel F3"),
        (np.inf, r"inf µV in channel F3"),
    ],
)
def test_eeg_that_does_not_fit_is_named_and_nothing_is_stored(tmp_path, value, said):
    windows = made()
    windows.eeg[5, 2, 100] = value
    with pytest.raises(DataError, match=said):
        half_eeg(windows.eeg, windows.index)
    with pytest.raises(DataError, match=said):
        prepared({"planted": 1}, lambda: windows, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_window_far_behind_is_named_right(tmp_path):
    windows = made(80)
    windows.eeg[75, 27, 0] = 1e5
    with pytest.raises(DataError, match=r"channel O2 of subject 2, trial 44, window 3"):
        prepared({"planted": 2}, lambda: windows, tmp_path)


def test_the_largest_number_fits():
    windows = made()
    windows.eeg[5, 2, 100] = 65504
    assert half_eeg(windows.eeg, windows.index)[5, 2, 100] == 65504


def test_an_offset_that_costs_digits_is_refused_and_a_flat_or_small_signal_is_not():
    windows = made()
    windows.eeg[4, 27] = 5 * np.sin(np.arange(512)) + 3000
    with pytest.raises(DataError, match=r"channel O2 of subject 1, trial 9, window 3 is 3\.5. µV.* 3000\.? ?"):
        half_eeg(windows.eeg, windows.index)
    windows.eeg[4, 27], windows.eeg[4, 26], windows.eeg[4, 25] = 0, 20.01, 1e-4 * np.sin(np.arange(512))
    half_eeg(windows.eeg, windows.index)


def test_a_feature_that_does_not_fit_is_named():
    windows = made()
    windows.video[3, 4, 700] = 1e6
    with pytest.raises(DataError, match="feature 700 of frame 4 of subject 2, trial 8, window 3 is 1e\\+06"):
        half_video(windows.video, windows.index)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Loud windows from the cache: in float16 their squares and sums would overflow."""
    windows = made(24, seed=3)
    windows.eeg[:] *= 300 / windows.eeg.std()
    windows.video[:] *= 300
    windows.frame_mask[::4, 2] = False
    return prepared({"planted": "loud"}, lambda: windows, tmp_path_factory.mktemp("home"))


def test_rows_come_in_single_precision(stored):
    assert stored.eeg.dtype == stored.video.dtype == np.float16
    for rows in (slice(None), np.array([3, 1]), np.arange(24) % 2 == 0, 5):
        for got, held in ((stored.eeg_at(rows), stored.eeg), (stored.video_at(rows), stored.video)):
            assert got.dtype == np.float32
            np.testing.assert_array_equal(got, held[rows])
    assert stored.eeg_at().shape == (24, 28, 512) and stored.eeg_at(5).shape == (28, 512)


def test_normaliser_of_stored_windows_is_that_of_the_same_numbers_in_double_precision(stored):
    train = np.arange(2, 24)
    normaliser = Normaliser.fit(stored, train)
    eeg, video = stored.eeg.astype(np.float64), stored.video.astype(np.float64)
    subjects = stored.index["subject"].to_numpy()
    for subject in (1, 2):
        wanted = eeg[train[subjects[train] == subject]].std(axis=(0, 2))
        np.testing.assert_allclose(normaliser.eeg_scale[subject], wanted, rtol=1e-5)
    frames = video[train][stored.frame_mask[train]]
    np.testing.assert_allclose(normaliser.video_mean, frames.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(normaliser.video_scale, frames.std(axis=0), rtol=1e-5)
    found = normaliser.eeg(stored)
    scale = np.stack([normaliser.eeg_scale[s] for s in subjects])[:, :, None]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, eeg / scale, rtol=1e-5)
    z = np.clip((video - frames.mean(axis=0)) / frames.std(axis=0), -5, 5)
    z[~np.asarray(stored.frame_mask)] = 0
    assert normaliser.video(stored).dtype == np.float32
    np.testing.assert_allclose(normaliser.video(stored), z, atol=1e-4)


def test_covariances_of_stored_windows_are_those_of_single_precision(stored):
    covariances = band_covariances(stored.eeg)
    assert covariances.dtype == torch.float32 and covariances.isfinite().all() and covariances.max() > 65504
    torch.testing.assert_close(covariances, band_covariances(stored.eeg_at()))


def test_the_leak_is_measured_in_single_precision(stored, monkeypatch):
    seen = []

    class Seeing(leak.StandardScaler):
        def fit(self, faces):
            seen.append(faces)
            return super().fit(faces)

    monkeypatch.setattr(leak, "StandardScaler", Seeing)
    number = np.arange(24)
    index = stored.index.assign(subject=number // 4 + 1, trial=number // 2 % 2 + 1)  # enough people to split
    leak.measure_leak(replace(stored, index=index), number // 2 % 2, seed=0, n_repeats=1)
    wanted = stored.video.astype(np.float64).mean(axis=1)
    for faces in seen:
        nearest = np.abs(faces[:, None] - wanted).max(axis=2).min(axis=1)
        assert len(faces) and nearest.max() < 1e-3  # a mean in float16 would be 0.06 off
