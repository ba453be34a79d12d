"""Your own arrays: they arrive unchanged, in order and in the right units, or one error names what is wrong."""

import doctest

import numpy as np
import pandas as pd
import pytest

from cdgkd_utils.data.constants import CHANNELS, DEAP_EEG
from cdgkd_utils.data.extractors.hog768 import box_reduce, hog768
from cdgkd_utils.data.load import prepared
from cdgkd_utils.data.own import arrays
from cdgkd_utils.data.own.arrays import from_arrays, from_csv
from cdgkd_utils.data.splits import make_folds
from cdgkd_utils.data.types import DataError

N = 6


def make(n_times=1024, n_chans=28, n_rows=N, n_frames=10):
    """Two subjects with three trials of 8 s at 128 Hz."""
    rng = np.random.default_rng(0)
    return {
        "eeg": rng.normal(0, 10, (n_rows, n_chans, n_times)),
        "video": rng.normal(size=(n_rows, n_frames, 768)),
        "subject": [2, 2, 2, 1, 1, 1],
        "trial": [1, 2, 3, 3, 2, 1],
        "ratings": {"valence": [1.0, 2, 3, 4, 5, 6], "arousal": [9.0, 8, 7, 6, 5, 4]},
        "sfreq": 128,
        "channels": CHANNELS,
    }


def test_the_example_of_the_docstring_runs_and_is_short():
    result = doctest.testmod(arrays)
    assert result.attempted and not result.failed
    lines = [line for line in arrays.__doc__.splitlines() if line.startswith(">>>")]
    assert len(lines) <= 15


def test_samples_frames_and_ratings_arrive_where_they_belong():
    given = make()
    windows = from_arrays(**given)
    assert windows.eeg.dtype == windows.video.dtype == np.float32 and windows.frame_mask.all()
    assert list(windows.index[["subject", "trial", "window"]].itertuples(index=False, name=None)) == [
        (subject, trial, window) for subject in (1, 2) for trial in (1, 2, 3) for window in (0, 1)
    ]
    for place, row in enumerate([5, 4, 3, 0, 1, 2]):  # sorted by subject and trial
        for window in (0, 1):
            at = 2 * place + window
            np.testing.assert_array_equal(
                windows.eeg[at], given["eeg"][row, :, 512 * window : 512 * window + 512].astype(np.float32)
            )
            np.testing.assert_array_equal(
                windows.video[at], given["video"][row, 5 * window : 5 * window + 5].astype(np.float32)
            )
            assert windows.index["valence"][at] == row + 1 and windows.index["arousal"][at] == 9 - row
    assert windows.index["presentation"].tolist() == [3, 3, 2, 2, 1, 1, 1, 1, 2, 2, 3, 3]
    assert windows.index["liking"].isna().all() and (windows.index["stimulus"] == "unknown").all()
    assert windows.meta["name"] == "own data" and windows.meta["synthetic"] is False


def test_channels_are_picked_by_name_in_any_order_and_case():
    given = make(n_chans=33)
    names = [*reversed([f" {name.upper()} " for name in DEAP_EEG]), "EXG1"]
    windows = from_arrays(**given | {"channels": names})
    expected = [names.index(f" {name.upper()} ") for name in CHANNELS]
    np.testing.assert_array_equal(windows.eeg[6], given["eeg"][0, expected, :512].astype(np.float32))


@pytest.mark.parametrize("sfreq", [250, 256, 500, 512.0, 100])
def test_resampling_keeps_waves_of_the_band_in_place(sfreq):
    given = make()
    time, new = np.arange(round(8 * sfreq)) / sfreq, np.arange(1024) / 128
    frequencies = np.linspace(4, 44, 28)[:, None]
    wave = np.sin(2 * np.pi * frequencies * time + frequencies)
    eeg = 10 * np.stack([wave * (1 + 0.1 * row) for row in range(N)])
    windows = from_arrays(**given | {"eeg": eeg, "sfreq": sfreq})
    expected = 10 * np.sin(2 * np.pi * frequencies * new + frequencies)
    found = np.concatenate(windows.eeg[6:8], axis=1)  # subject 2, trial 1 is row 0
    # At 100 Hz the waves close to 50 Hz are damped; elsewhere the ends of the row are the only trouble.
    slow = frequencies[:, 0] < (40 if sfreq == 100 else 45)
    np.testing.assert_allclose(found[slow, 64:-64], expected[slow, 64:-64], atol=0.25)


def test_resampling_does_not_ring_at_the_ends_of_a_row():
    # A slope on an offset, with a little noise: padding by zeros would put steps of 50 µV at both ends.
    rng = np.random.default_rng(0)
    line = np.linspace(50, 60, 2000)
    windows = from_arrays(**make() | {"eeg": line + 0.1 * rng.normal(size=(N, 28, 2000)), "sfreq": 250})
    expected = np.linspace(50, 60, 1024).reshape(2, 1, 512)
    assert np.abs(windows.eeg[:2] - expected).max() < 1


def test_longer_rows_lose_their_rest_and_pieces_follow_each_other():
    given = make(n_times=1400)
    assert len(from_arrays(**given)) == 12
    pieces = make(n_times=512, n_frames=5) | {"subject": [1] * 6, "trial": [1, 1, 1, 2, 2, 2]}
    pieces["ratings"] = {"valence": [2, 2, 2, 7, 7, 7], "arousal": [5] * 6}
    assert from_arrays(**pieces).index["window"].tolist() == [0, 1, 2, 0, 1, 2]
    placed = from_arrays(**pieces | {"window": [9, 0, 4, 2, 1, 0]})
    assert placed.index["window"].tolist() == [0, 4, 9, 0, 1, 2]
    np.testing.assert_array_equal(placed.eeg[2], pieces["eeg"][0].astype(np.float32))


def test_pictures_become_hog_of_their_central_square():
    rng = np.random.default_rng(1)
    pictures = rng.integers(0, 256, (N, 10, 64, 80, 3), dtype=np.uint8)
    mask = np.ones((N, 10), bool)
    mask[0, 3] = False
    windows = from_arrays(**make() | {"video": pictures, "frame_mask": mask})
    np.testing.assert_array_equal(windows.video[7], hog768(box_reduce(pictures[0, 5:, :, 8:72])))
    assert windows.frame_mask.sum() == 59 and not windows.video[6, 3].any() and windows.video[6, 2].any()


def test_frames_of_nan_are_missing_and_windows_without_a_face_are_dropped():
    given = make()
    given["video"][0, 2] = np.nan
    given["video"][5, :5] = np.nan
    windows = from_arrays(**given)
    assert len(windows) == 11 and windows.meta["dropped"] == 1
    assert windows.index.iloc[0][["subject", "trial", "window"]].tolist() == [1, 1, 1]
    assert np.isfinite(windows.video).all() and windows.frame_mask[5].tolist() == [True, True, False, True, True]


def test_names_are_numbered_and_kept():
    given = make() | {"subject": ["zoe", "zoe", "zoe", "ann", "ann", "ann"], "stimulus": list("abcabc")}
    windows = from_arrays(**given)
    assert windows.index["subject"].tolist() == [1] * 6 + [2] * 6
    assert windows.meta["subject_names"] == ["ann", "zoe"] and "trial_names" not in windows.meta
    assert windows.index["stimulus"].tolist() == list("ccbbaaaabbcc")


def changed(key, place, value):
    def change(given):
        given[key] = np.array(given[key])
        given[key][place] = value

    return change


def rated(name, values):
    return lambda given: given["ratings"].update({name: values})


FAULTS = {
    "dimensions": (lambda g: g.update(eeg=g["eeg"][0]), "eeg: expected numbers of shape"),
    "objects": (lambda g: g.update(eeg=g["eeg"].astype(object)), "eeg: expected numbers"),
    "no rows": (lambda g: g.update(eeg=g["eeg"][:0]), "eeg: expected numbers of shape"),
    "NaN": (changed("eeg", (4, 7, 100), np.nan), "NaN or infinite values in channel T7 of subject 1, trial 2"),
    "infinite": (changed("eeg", (0, 0, 0), np.inf), "channel Fp1 of subject 2, trial 1"),
    "flat": (changed("eeg", (1, 27), 3.0), "channel O2 of subject 2, trial 2 is flat"),
    "flat for a window": (changed("eeg", (1, 27, slice(512, 1024)), 3.0), "channel O2 of subject 2, trial 2 is flat"),
    "copied": (lambda g: changed("eeg", 3, g["eeg"][1])(g), "subject 1, trial 3 holds the same signal as row 1"),
    "volts": (lambda g: g.update(eeg=g["eeg"] * 1e-6), "multiply by 1e6"),
    "offset": (lambda g: g.update(eeg=g["eeg"] + 20000), "filter to 4-45 Hz"),
    "sfreq too low": (lambda g: g.update(sfreq=64), "sfreq: 64 Hz is too low"),
    "sfreq NaN": (lambda g: g.update(sfreq=float("nan")), "sfreq"),
    "sfreq wrong": (lambda g: g.update(sfreq=512), "1024 samples are 2.00 s at sfreq=512 Hz"),
    "names missing": (lambda g: g.update(channels=["T3", *CHANNELS[1:]]), "channels: Fp1 missing"),
    "names twice": (lambda g: g.update(channels=["fp1", *CHANNELS[:27]]), "channels: 'Fp1' is named twice"),
    "names too few": (lambda g: g.update(channels=CHANNELS[:27]), "expected one name per channel of eeg, 28, got 27"),
    "one string": (lambda g: g.update(channels="x" * 28), "one name per channel"),
    "subject short": (lambda g: g.update(subject=[1, 2]), r"subject: .* shape \(6,\), got \(2,\)"),
    "trial none": (lambda g: g.update(trial=[1, None, 2, 1, 2, 3]), "trial: row 1 has none"),
    "trial fractional": (lambda g: g.update(trial=[1.5, 2, 3, 1, 2, 3]), "trial: expected whole numbers"),
    "too high": (rated("valence", [1, 2, 3, 4, 5, 9.5]), "valence of subject 1, trial 1 is 9.5, expected 1..9"),
    "too low": (rated("arousal", [0, 2, 3, 4, 5, 6]), "arousal of subject 2, trial 1 is 0, expected 1..9"),
    "rating NaN": (rated("liking", [np.nan, 2, 3, 4, 5, 6]), "liking of subject 2, trial 1 is nan"),
    "rating word": (rated("arousal", ["high"] * 6), "arousal holds something that is no number"),
    "rating short": (rated("arousal", [1, 2]), r"arousal has shape \(2,\)"),
    "rating missing": (lambda g: g["ratings"].pop("arousal"), "ratings: arousal missing"),
    "video seconds": (lambda g: g.update(video=g["video"][:, :5]), "five frames for each 4 s"),
    "video features": (lambda g: g.update(video=g["video"][:, :, :512]), "video: got float64 \\(6, 10, 512\\)"),
    "video partly NaN": (changed("video", (2, 4, 7), np.nan), "frame 4 of row 2"),
    "mask": (lambda g: g.update(frame_mask=np.ones((6, 10))), "frame_mask: expected bool"),
    "window negative": (lambda g: g.update(window=[-1] * 6), "window: expected whole numbers"),
    "window twice": (
        lambda g: g.update(trial=[1, 1, 2, 1, 2, 3], window=[0, 1, 0, 0, 0, 0], ratings=same_ratings()),
        "window: 1 of subject 2, trial 1 is there twice",
    ),
    "ratings vary": (
        lambda g: g.update(trial=[1, 1, 2, 1, 2, 3]),
        "ratings: valence differs between rows of subject 2",
    ),
}


def same_ratings():
    return {"valence": [5] * N, "arousal": [5] * N}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_has_one_error_that_names_it(fault):
    given = make()
    change, said = FAULTS[fault]
    change(given)
    with pytest.raises(DataError, match=said):
        from_arrays(**given)


def test_bad_rows_can_be_left_out_and_are_listed():
    given = make()
    for fault in ("NaN", "flat", "too high"):
        FAULTS[fault][0](given)
    windows = from_arrays(**given, exclude_bad=True)
    assert [entry["row"] for entry in windows.meta["excluded"]] == [1, 4, 5]
    assert "T7" in windows.meta["excluded"][1]["reason"]
    kept = windows.index[["subject", "trial"]].drop_duplicates()
    assert list(kept.itertuples(index=False, name=None)) == [(1, 3), (2, 1), (2, 3)]
    np.testing.assert_array_equal(windows.eeg[0], make()["eeg"][3, :, :512].astype(np.float32))
    with pytest.raises(DataError, match="2 more rows"):
        from_arrays(**given)
    with pytest.raises(DataError, match="all 6 rows are unusable"):
        from_arrays(**given | {"eeg": np.zeros_like(given["eeg"])}, exclude_bad=True)


def save(folder, given):
    np.save(folder / "eeg.npy", given["eeg"])
    np.save(folder / "video.npy", given["video"])
    table = pd.DataFrame({key: given[key] for key in ("subject", "trial")} | given["ratings"])
    table.to_csv(folder / "index.csv", index=False)
    return [folder / name for name in ("index.csv", "eeg.npy", "video.npy")]


def test_files_and_arrays_give_the_same_and_can_be_cached(tmp_path):
    given = make()
    paths = save(tmp_path, given)
    one, other = from_arrays(**given), from_csv(*paths, sfreq=128, channels=CHANNELS)
    np.testing.assert_array_equal(one.eeg, other.eeg)
    np.testing.assert_array_equal(one.video, other.video)
    pd.testing.assert_frame_equal(one.index, other.index)
    assert one.meta == other.meta
    stored = prepared({"dataset": "own", "fingerprint": one.meta["fingerprint"]}, lambda: one, tmp_path)
    np.testing.assert_array_equal(stored.eeg, one.eeg.astype(np.float16))
    pd.testing.assert_frame_equal(stored.index, one.index)
    given["eeg"][0, 0, 0] += 1
    assert from_arrays(**given).meta["fingerprint"] != one.meta["fingerprint"]


def test_unreadable_files_are_named(tmp_path):
    paths = save(tmp_path, make())
    np.savez(tmp_path / "many.npz", eeg=np.zeros(3))
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (tmp_path / "short.npy").write_bytes(paths[1].read_bytes()[:100])
    (tmp_path / "cut.npy").write_bytes(paths[1].read_bytes()[:5000])
    (tmp_path / "empty.npy").write_bytes(b"")
    for name in ("many.npz", "objects.npy", "short.npy", "cut.npy", "empty.npy", "absent.npy"):
        with pytest.raises(DataError, match=name):
            from_csv(paths[0], tmp_path / name, paths[2], sfreq=128, channels=CHANNELS)
    for content, said in ((b"", "not a readable"), (b"subject,trial\n1,2\n", "valence, arousal missing")):
        paths[0].write_bytes(content)
        with pytest.raises(DataError, match=said):
            from_csv(*paths, sfreq=128, channels=CHANNELS)


def test_own_data_split_by_protocol(tmp_path):
    windows = from_arrays(**make() | {"subject": [1, 1, 2, 2, 3, 3], "trial": [1, 2] * 3})
    assert len(make_folds(windows.index, windows.labels("valence"), "loso")) == 3
    with pytest.raises(ValueError, match="1 stimulus"):
        make_folds(windows.index, windows.labels("valence"), "stimulus")
