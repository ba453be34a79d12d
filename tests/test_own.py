"""Own data: what comes in is checked by name, what comes out trains like any data set."""

import mne
import numpy as np
import pytest

from cdgkd_utils.config import Params
from cdgkd_utils.data.constants import CHANNELS
from cdgkd_utils.data.features import hog768
from cdgkd_utils.data.own import from_arrays, from_epochs
from cdgkd_utils.data.types import DataError
from cdgkd_utils.data.video import box_reduce

RNG = np.random.default_rng(0)
N_SUBJECTS, N_TRIALS = 6, 8
N = N_SUBJECTS * N_TRIALS
SUBJECT, TRIAL = np.repeat(np.arange(1, N_SUBJECTS + 1), N_TRIALS), np.tile(np.arange(1, N_TRIALS + 1), N_SUBJECTS)
RATINGS = {"valence": 1 + 8 * (np.arange(N) * 5 % 8) / 7, "arousal": 9 - 8 * (np.arange(N) * 3 % 8) / 7}
EEG = RNG.normal(0, 10, (N, 28, 1024)).astype(np.float32)
VIDEO = RNG.normal(0, 1, (N, 10, 768)).astype(np.float32)


def made(**changed):
    given = {"eeg": EEG, "video": VIDEO, "subject": SUBJECT, "trial": TRIAL, "ratings": RATINGS}
    given |= {"sfreq": 128, "channels": CHANNELS} | changed
    positional = [given.pop(name) for name in ("eeg", "video", "subject", "trial", "ratings")]
    return from_arrays(*positional, **given)


def changed(array, place, value):
    array = array.copy()
    array[place] = value
    return array


def test_windows_hold_what_was_given():
    windows = made()
    assert len(windows) == 2 * N and windows.index["window"].tolist()[:4] == [0, 1, 0, 1]
    np.testing.assert_array_equal(windows.eeg[3], EEG[1][:, 512:])
    np.testing.assert_array_equal(windows.video[3], VIDEO[1][5:])
    assert windows.index["valence"].tolist() == np.repeat(RATINGS["valence"], 2).tolist()
    assert windows.meta["excluded"] == [] and len(windows.meta["key"]) == 32
    assert made().meta["key"] == windows.meta["key"] != made(eeg=EEG + 1e-3).meta["key"]


def test_channels_are_found_by_name_and_rows_may_come_in_any_order():
    order = RNG.permutation(28)
    names = [f" {CHANNELS[place].upper()}" for place in order]
    shuffled = RNG.permutation(N)
    ratings = {name: values[shuffled] for name, values in RATINGS.items()}
    other = made(
        eeg=EEG[shuffled][:, order], video=VIDEO[shuffled], subject=SUBJECT[shuffled], trial=TRIAL[shuffled],
        ratings=ratings, channels=names,
    )  # fmt: skip
    np.testing.assert_array_equal(other.eeg, made().eeg)


def test_another_rate_is_resampled_and_pictures_are_described():
    times = np.arange(2000) / 250
    eeg = np.sin(2 * np.pi * 10 * times) * np.arange(1, 29)[:, None] + np.zeros((N, 1, 1))
    pictures = RNG.integers(0, 256, (N, 10, 64, 96, 3), dtype=np.uint8)
    windows = made(eeg=eeg, video=pictures, sfreq=250)
    expected = np.sin(2 * np.pi * 10 * np.arange(512) / 128)[20:-20]
    np.testing.assert_allclose(windows.eeg[0, 27, 20:-20] / 28, expected, atol=0.01)
    square = np.ascontiguousarray(pictures[0, :5, :, 16:80])
    np.testing.assert_array_equal(windows.video[0], hog768(box_reduce(square, 64)))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"eeg": changed(EEG, (3, 5), 0)}, r"channel FC1 is flat.*row 3"),
        ({"eeg": changed(EEG, (3, slice(None), slice(88, None)), 0)}, r"is flat"),  # padded with zeros
        ({"eeg": changed(EEG, (3, 5, slice(300, 700)), 7)}, r"FC1 is flat"),  # across two windows
        ({"eeg": changed(EEG, (3, 5), EEG[3, 5] * 1e-3)}, r"FC1 is flat"),  # a floor in µV
        ({"eeg": changed(EEG, (3, 5), np.repeat(EEG[3, 5, ::4], 4))}, r"FC1 is flat"),  # held, not measured
        ({"eeg": changed(EEG, (3, 5), EEG[3, 6])}, r"FC1, C3 are copies"),
        ({"eeg": changed(EEG, (3, 5, 9), np.nan)}, r"NaN.*FC1"),
        ({"eeg": EEG * 1e-6}, r"flat|expected µV"),
        ({"channels": ["A1", *CHANNELS[1:]]}, r"Fp1 missing"),
        ({"sfreq": 64}, r"sfreq: 64"),
        ({"video": VIDEO[:, :7]}, r"video: got"),
        ({"ratings": {"valence": RATINGS["valence"]}}, r"arousal missing"),
        ({"ratings": RATINGS | {"valence": RATINGS["valence"] * 10}}, r"expected 1\.\.9; map a scale"),
        ({"trial": np.ones(N, int)}, r"differs between rows of subject 1, trial 1"),
        ({"subject": np.repeat(["", "b"], N // 2)}, r"subject: expected a name"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(arguments, said):
    with pytest.raises(DataError, match=said):
        made(**arguments)


def test_bad_rows_can_be_left_out_by_name():
    windows = made(eeg=changed(EEG, (3, 5), 0), exclude_bad=True)
    assert len(windows) == 2 * N - 2
    ((subject, trial, reason),) = windows.meta["excluded"]
    assert (subject, trial) == (1, 4) and "FC1" in reason


def test_names_that_differ_in_case_and_blanks_are_one_person():
    names = np.array(["Ada", "ada ", "ADA", "bo", "cy", "\u00e9", "e\u0301"])
    subject = np.resize(names, N)
    trial = np.arange(N)
    with pytest.warns(UserWarning, match=r"subject: taken 'ada ' as 'Ada'"):
        windows = made(subject=subject, trial=trial)
    assert windows.meta["subject_names"] == ["Ada", "bo", "cy", "\u00e9"]
    assert windows.index.groupby("subject")["trial"].nunique().sum() == N
    with pytest.warns(UserWarning, match="stimulus: taken"):
        assert made(stimulus=np.resize(["film", "Film "], N)).index["stimulus"].nunique() == 1


def test_ratings_on_another_scale_are_noticed():
    small = RATINGS | {"valence": 1 + RATINGS["valence"] / 9 * 4}
    with pytest.warns(UserWarning, match=r"valence lies in 1\.\d+\.\.5, so every label is low.*2 rating - 1"):
        made(ratings=small)


def test_epochs_of_mne_are_the_same_as_their_arrays():
    names = [*CHANNELS, "Cz"]
    data = np.pad(EEG, ((0, 0), (0, 1), (128, 0)), constant_values=5.0) * 1e-6  # volts, 1 s before the stimulus
    info = mne.create_info(names, 128, "eeg")
    epochs = mne.EpochsArray(data, info, tmin=-1, verbose="warning")
    windows = from_epochs(epochs, VIDEO, SUBJECT, TRIAL, RATINGS)
    np.testing.assert_allclose(windows.eeg, made().eeg, rtol=1e-5)
    with pytest.raises(DataError, match="resample=True"):
        from_epochs(mne.EpochsArray(data, mne.create_info(names, 256, "eeg"), verbose="warning"), VIDEO, SUBJECT, TRIAL)
    epochs.info["bads"] = ["C3"]
    with pytest.raises(DataError, match="C3 is marked as bad"):
        from_epochs(epochs, VIDEO, SUBJECT, TRIAL, RATINGS)
    with pytest.raises(DataError, match="subject: not given"):
        from_epochs(mne.EpochsArray(data, info, verbose="warning"), VIDEO, trial=TRIAL, ratings=RATINGS)


def test_a_teacher_and_a_student_can_be_trained_on_it(tmp_path, monkeypatch):
    from cdgkd_utils.experiments.runs import Experiment
    from cdgkd_utils.experiments.study import Study

    monkeypatch.setenv("CDGKD_HOME", str(tmp_path))
    study = Study(Params(profile="smoke"), windows=made())
    experiment = Experiment(study, "valence", 0)
    for record in (experiment.run("kd"), experiment.run("ce")):  # a student with its teacher, and one without
        assert record.logits.shape == (2 * N, 2) and np.isfinite(record.logits).all()
