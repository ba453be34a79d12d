"""The twelve traps of the two data sets (data-formats.md, section 0): each is built, and read rightly.

Every test also takes the wrong way, which public code has taken, and shows that its result is another one:
a reader that fell into the trap could not pass.
"""

import re
import xml.etree.ElementTree as ElementTree

import av
import mne
import numpy as np
import pandas as pd
import pytest
from test_deap_raw import BDF, CSV, ONSET, by_hand, make_root, read_deap_raw
from test_mahnob import BURST, make_session, open_mahnob, pulses, signals, trials_of, wave
from test_video import coded_clip, decode_numbers

from cdgkd_utils.data import windows
from cdgkd_utils.data.constants import CHANNELS, DEAP_EEG, MISSING_CLIPS, VIDEO_SUBJECTS
from cdgkd_utils.data.deap.dat_file import write_dat
from cdgkd_utils.data.deap.raw_signal import EOG
from cdgkd_utils.data.deap.raw_writer import TWENTE_EEG, trigger_words
from cdgkd_utils.data.deap.reader import open_tree, read_deap
from cdgkd_utils.data.files.bdf_writer import write_bdf
from cdgkd_utils.data.files.video import frames_at
from cdgkd_utils.data.types import DataError
from cdgkd_utils.data.windows import windows_from_trials

LABELS = np.array([[2.0, 8, 3, 4], [7, 2, 6, 5], [8, 7, 2, 6]])  # of experiments 1, 2, 3
ORDER = (3, 1, 2)  # when they were shown


def grey_clip(path, level):
    """A clip of ten frames of one grey."""
    picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), level, np.uint8), format="rgb24")
    with av.open(str(path), "w", format="avi") as container:
        stream = container.add_stream("libx264", rate=50, options={"threads": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for number in range(10):
            picture.pts = number
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def deap_by_hand(root, subject=7, n_times=384 + 512, clip=grey_clip):
    """One DEAP subject: EEG of 100 times the experiment's number plus the sample's, clips of 50 times it."""
    for folder in ("data_preprocessed_python", "metadata_csv", f"face_video/s{subject:02d}"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    level = 100.0 * np.arange(1, 4)[:, None, None] + np.arange(n_times) / 1024
    write_dat(root / f"data_preprocessed_python/s{subject:02d}.dat", np.repeat(level, 40, axis=1), LABELS)
    table = pd.DataFrame(LABELS, columns=["Valence", "Arousal", "Dominance", "Liking"])
    table.insert(0, "Participant_id", subject)
    table["Trial"], table["Experiment_id"] = ORDER, [1, 2, 3]
    for experiment, presentation in enumerate(ORDER, 1):
        clip(root / f"face_video/s{subject:02d}/s{subject:02d}_trial{presentation:02d}.avi", 50 * experiment)
    if (root / CSV).exists():
        table = pd.concat([pd.read_csv(root / CSV), table])
    table.sort_values(["Participant_id", "Trial"]).to_csv(root / CSV, index=False)
    return root


def brightness(path):
    return frames_at(path, [0.0])[0].mean()


class Numbers:
    """An extractor that reads a coded clip's frame numbers."""

    name, size, version = "number", 64, "1"

    def __call__(self, frames):
        return np.repeat(decode_numbers(frames)[:, None], 768, axis=1).astype(np.float32), np.ones(len(frames), bool)

    def close(self):
        pass


@pytest.fixture
def numbers(monkeypatch):
    monkeypatch.setattr(windows, "open_extractor", lambda name: Numbers())


def test_trap_01_dat_rows_are_experiments_and_clips_are_in_order_of_presentation(tmp_path):
    trials = list(read_deap(deap_by_hand(tmp_path)))
    assert [trial.eeg.mean() // 100 for trial in trials] == [1, 2, 3]
    for trial in trials:
        assert brightness(trial.video) == pytest.approx(50 * trial.trial, abs=3)
        assert list(trial.ratings.values()) == LABELS[trial.trial - 1].tolist()
    # By the number in its name, every clip would meet another experiment's EEG.
    clips = sorted((tmp_path / "face_video/s07").iterdir())
    assert all(abs(brightness(clip) - 50 * row) > 20 for row, clip in enumerate(clips, 1))
    # And the table's own order would give two of three experiments another valence.
    by_presentation = pd.read_csv(tmp_path / CSV)["Valence"].to_numpy() > 5
    assert (by_presentation != (LABELS[:, 0] > 5)).sum() == 2


def test_trap_02_the_clip_has_no_baseline(tmp_path, numbers):
    def clip(path, level):
        coded_clip(path, 2 * 200)

    deap_by_hand(tmp_path, n_times=384 + 2 * 512, clip=clip)
    found = windows_from_trials(read_deap(tmp_path), 0, extractor="number")
    first = found.index[found.index["trial"] == 1].index
    # The value of a sample is its number over 1024, the clip shows frame numbers: both say when.
    samples = (found.eeg[first, 0, 0] - 100) * 1024
    assert samples.tolist() == [384, 384 + 512]
    frames = found.video[first, :, 0]
    since_playback = (samples[:, None] - 384) / 128 + np.array([0.4, 1.2, 2.0, 2.8, 3.6])
    np.testing.assert_allclose(frames / 50, since_playback)
    # Skipping 3 s of the clip, too, shows other frames, and none at all at its end.
    clip_path = next(read_deap(tmp_path)).video
    late, mask = frames_at(clip_path, since_playback.ravel() + 3)
    assert (decode_numbers(late[mask]) - frames.ravel()[mask] == 150).all() and not mask[-4:].any()


def test_trap_03_only_22_subjects_have_clips_and_some_lack_their_last(tmp_path):
    deap_by_hand(tmp_path, subject=5)
    deap_by_hand(tmp_path, subject=23)
    for clip in (tmp_path / "face_video/s23").iterdir():
        clip.unlink()
    (tmp_path / "face_video/s23").rmdir()
    (tmp_path / "face_video/s05/s05_trial03.avi").unlink()  # the tape ran out during experiment 1
    trials = list(read_deap(tmp_path))
    assert [(trial.subject, trial.trial, trial.presentation) for trial in trials] == [(5, 2, 1), (5, 3, 2)]
    assert all(brightness(trial.video) == pytest.approx(50 * trial.trial, abs=3) for trial in trials)
    assert open_tree(tmp_path).n_skipped == 1
    # Pairing the clips that there are with the rows, one after the other, meets other experiments.
    assert [round(brightness(path) / 50) for path in sorted((tmp_path / "face_video/s05").iterdir())] == [2, 3]
    # The real set: 874 clips, not 880.
    assert VIDEO_SUBJECTS * 40 - sum(MISSING_CLIPS.values()) == 874 and sorted(MISSING_CLIPS) == [3, 5, 11, 14]


def test_trap_04_electrodes_are_found_by_name_in_either_site_s_order(tmp_path):
    rng = np.random.default_rng(0)
    known = {name: rng.normal(0, 10, 14 * 512) for name in (*DEAP_EEG, *EOG)}
    for site, electrodes in (("twente", TWENTE_EEG), ("geneva", DEAP_EEG)):
        by_hand(tmp_path / site, known, labels=[*electrodes, *EOG])
    (twente,), (geneva,) = (read_deap_raw(tmp_path / site) for site in ("twente", "geneva"))
    np.testing.assert_array_equal(twente.eeg, geneva.eeg)
    # By place, 30 of 32 electrodes of a Twente recording would be others.
    assert sum(a != b for a, b in zip(TWENTE_EEG, DEAP_EEG, strict=True)) == 30
    by_place = dict(zip(DEAP_EEG, [known[name] for name in TWENTE_EEG], strict=True))
    by_hand(tmp_path / "wrong", by_place | {name: known[name] for name in EOG}, labels=[*DEAP_EEG, *EOG])
    (wrong,) = read_deap_raw(tmp_path / "wrong")
    moved = [np.corrcoef(a, b)[0, 1] < 0.9 for a, b in zip(wrong.eeg, twente.eeg, strict=True)]
    assert sum(moved) == sum(TWENTE_EEG.index(name) != DEAP_EEG.index(name) for name in CHANNELS) > 20


def test_trap_05_codes_are_the_low_byte(tmp_path):
    by_hand(tmp_path / "plain", {})
    (plain,) = read_deap_raw(tmp_path / "plain")
    for number, above in enumerate((0x18FF00, 0x19FF00, 0x58FF00)):
        root = tmp_path / str(number)
        by_hand(root, {}, code=lambda status, above=above: status | above, status_labels=("",))
        (trial,) = read_deap_raw(root)
        np.testing.assert_array_equal(trial.eeg, plain.eeg)
    # Subject 28, a whole session: the word that other files have for a 4 occurs 37 times, a plain 4 never.
    onsets = (20 + 12 * np.arange(40)) * 512
    words = trigger_words(28, onsets, 4, 510 * 512)

    def n_rises(mask):
        return int((mask[1:] & ~mask[:-1]).sum())

    assert n_rises(words & 0xFF == 4) == 40
    assert n_rises(words == 0x18FF04) == 37 and n_rises(words == 4) == 0
    # Bits 8 to 15 are set, so that the low 16 bits are no code either.
    assert n_rises(words & 0xFFFF == 4) == 0


def test_trap_06_the_trigger_channel_has_three_labels(tmp_path):
    by_hand(tmp_path / "plain", {})
    (plain,) = read_deap_raw(tmp_path / "plain")
    names = {}
    for labels in (("Status",), ("",), ("", "")):
        root = tmp_path / str(len(names))
        path = by_hand(root, {}, code=lambda status: status | 0x18FF00, status_labels=labels)
        (trial,) = read_deap_raw(root)
        np.testing.assert_array_equal(trial.eeg, plain.eeg)
        raw = mne.io.read_raw_bdf(path, verbose="error")
        names[tuple(raw.ch_names[36:])] = raw
    assert list(names) == [("Status",), ("",), ("-0", "-1")]
    # By name, two of three files have no triggers, and the third none with the code 4.
    for name, raw in names.items():
        if name == ("Status",):
            assert set(mne.find_events(raw, "Status", verbose="error")[:, 2]) == {0xFF04}
        else:
            with pytest.raises(ValueError):
                mne.find_events(raw, "Status", verbose="error")


def test_trap_07_the_last_30_seconds_come_after_the_film(tmp_path):
    folder = make_session(tmp_path, 2)
    (trial,) = trials_of(open_mahnob(tmp_path))
    burst = wave(np.arange(trial.eeg.shape[1]) / 128 - BURST)
    assert np.corrcoef(trial.eeg[-1], burst)[0, 1] > 0.99
    # 30 s, 6.32 s of film, 30 s and rounding to whole seconds: the file's end holds nothing of the burst.
    raw = mne.io.read_raw_bdf(next(folder.glob("*.bdf")), preload=True, verbose="error").pick(DEAP_EEG)
    raw.set_eeg_reference("average", verbose="error").filter(4, 45, verbose="error")
    eeg = raw.get_data(picks=["O2"])[0] * 1e6
    assert np.abs(eeg[-30 * 256 :]).max() < 0.1 * np.abs(trial.eeg[-1]).max()
    # And the pulses, not the file's middle, say where the film is: here 3 samples later than 30 s.
    onset = open_mahnob(tmp_path).usable[0].span.onset
    assert onset == 30 * 256 + 3 and open_mahnob(tmp_path).usable[0].span.by_pulses


@pytest.fixture
def film(tmp_path):
    """A film of 8.5 s whose clip of 12 s shows its frame numbers at the true rate; the header says 61."""
    seconds = 8.5
    data = signals(30 * 256, seconds=70)
    status = pulses(30 * 256, 30 * 256 + int(seconds * 256))
    folder = make_session(
        tmp_path, 2, data=data, status=status, xml=lambda text: text.replace('cutLenSec="6.32"', 'cutLenSec="8.5"')
    )
    (camera,) = folder.glob("*C1 trigger*.avi")
    coded_clip(camera, int(12.3 * 60.9708), fps=61)
    return tmp_path, camera


def test_trap_08_the_clip_runs_on_through_the_spoken_report(film, numbers):
    root, camera = film
    found = windows_from_trials(trials_of(open_mahnob(root)), 0, extractor="number")
    assert len(found) == 2 and found.frame_mask.all()
    assert found.video.max() < 8.5 * 60.9708
    # Its end is no film's end: counted from there, every frame would be another one.
    with av.open(str(camera)) as container:
        n_frames = container.streams.video[0].frames
    surplus = n_frames - 8.5 * 60.9708
    assert surplus > 3.7 * 60.9708
    # And by the clip's own length there would be a third window, of somebody who speaks.
    assert int(n_frames / 60.9708 // 4) == 3


def test_trap_09_frames_are_counted_at_the_true_rate(film, numbers):
    root, camera = film
    found = windows_from_trials(trials_of(open_mahnob(root)), 0, extractor="number")
    times = np.array([[0.4, 1.2, 2.0, 2.8, 3.6], [4.4, 5.2, 6.0, 6.8, 7.6]])
    assert found.video[..., 0].tolist() == np.rint(times * 60.9708).tolist()
    # After 7.6 s the header's 61 is one frame ahead already; 48 ms in 100 s.
    by_header, _ = frames_at(camera, times.ravel())
    assert (decode_numbers(by_header) != found.video[..., 0].ravel()).any() and decode_numbers(by_header)[-1] == 464
    seconds_ahead = 100 * (61 / 60.9708 - 1)
    assert seconds_ahead == pytest.approx(0.048, abs=5e-4)


def test_trap_10_neutral_sessions_have_no_ratings(tmp_path):
    neutral, stimulus = make_session(tmp_path, 1), make_session(tmp_path, 2)
    tree = open_mahnob(tmp_path)
    assert [trial.trial for trial in trials_of(tree)] == [2]
    report = tree.report().set_index("session")
    assert report.loc[1, "reason"] == "neutral clip, which nobody rated" and tree.n_skipped == 0
    # Both are folders with all their files; only the attributes differ, and asking for them raises.
    assert len(list(neutral.iterdir())) == len(list(stimulus.iterdir()))
    assert int(ElementTree.parse(stimulus / "session.xml").getroot().attrib["feltArsl"]) == 4
    with pytest.raises(KeyError):
        int(ElementTree.parse(neutral / "session.xml").getroot().attrib["feltArsl"])


def test_trap_11_a_rating_of_5_is_low_and_the_threshold_says_so(tmp_path):
    # Trials with valence 4, 5 and 6; films of black frames.
    for session, valence in ((2, 4), (4, 5), (6, 6)):
        make_session(tmp_path, session, xml=lambda text, v=valence: re.sub('feltVlnc="[0-9]"', f'feltVlnc="{v}"', text))
    found = windows_from_trials(trials_of(open_mahnob(tmp_path)), 0)
    assert found.index["valence"].tolist() == [4, 5, 6]
    assert found.labels("valence").tolist() == [0, 0, 1]  # DEAP's paper, TSception, LibEER
    assert found.labels("valence", threshold=4.5).tolist() == [0, 1, 1]  # torcheeg's examples, EEGain
    # DEAP's ratings have decimals; cutting them off first, as one library does, loses those just above 5.
    found.index["valence"] = [5.0, 5.01, 5.9]
    assert found.labels("valence").tolist() == [0, 1, 1]
    assert (np.trunc(found.index["valence"]) > 5).sum() == 0


def two_presentations(root):
    """A recording of two stimuli: experiment 2 was shown first, with 30 µV of 10 Hz at F3; 1 then, with 20 Hz."""
    make_root(root, [(1, [2, 1], LABELS[:2])], [6, 20], n_windows=1)
    n = 30 * 512
    rng = np.random.default_rng(0)
    labels = [*TWENTE_EEG, *EOG]
    data = rng.normal(0, 1, (len(labels), n))
    status = np.zeros(n, int)
    t = np.arange(4 * 512) / 512
    for first, frequency in ((ONSET, 10), (20 * 512, 20)):
        status[first : first + 4 * 512] = 4
        data[labels.index("F3"), first : first + 4 * 512] += 30 * np.sin(2 * np.pi * frequency * t)
    return write_bdf(root / BDF.format(1), data, labels, 512, status)


def loudest(eeg):
    """The frequency of F3's largest wave, in Hz."""
    spectrum = np.abs(np.fft.rfft(eeg[CHANNELS.index("F3")]))
    return spectrum.argmax() / 4


def test_trap_12_triggers_and_labels_are_joined_by_experiment_and_the_join_is_asserted(tmp_path):
    two_presentations(tmp_path)
    trials = list(read_deap_raw(tmp_path))
    shown = {trial.trial: (trial.presentation, loudest(trial.eeg)) for trial in trials}
    assert shown == {1: (2, 20), 2: (1, 10)}
    assert [list(trial.ratings.values()) for trial in trials] == LABELS[:2].tolist()
    # In the order of the triggers the first piece has 10 Hz; the first row of labels belongs to the other one.
    by_trigger = sorted(trials, key=lambda trial: trial.presentation)
    assert [loudest(trial.eeg) for trial in by_trigger] == [10, 20]
    assert [trial.ratings["valence"] > 5 for trial in by_trigger] != (LABELS[:2, 0] > 5).tolist()
    # Where triggers and table cannot belong together it is said, not guessed.
    table = pd.read_csv(tmp_path / CSV)
    third = pd.DataFrame([[1, *LABELS[2], 3, 3, 400000]], columns=table.columns)
    pd.concat([table, third]).to_csv(tmp_path / CSV, index=False)
    with pytest.raises(DataError, match=r"s01\.bdf: 2 stimuli .* has 3 trials"):
        list(read_deap_raw(tmp_path))
    # The same for the .dat: labels that are not the table's.
    root = deap_by_hand(tmp_path / "dat")
    table = pd.read_csv(root / CSV)
    table[["Valence", "Arousal"]] = table.sort_values("Experiment_id")[["Valence", "Arousal"]].to_numpy()
    table.to_csv(root / CSV, index=False)
    with pytest.raises(DataError, match=r"participant_ratings\.csv: .* of participant 7"):
        list(read_deap(root))
