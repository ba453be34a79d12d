"""The twelve traps of the two data sets (``docs/data.md``): each is built, and read rightly.

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
from made_by_hand import (
    BURST,
    LABELS,
    PLAYBACK,
    coded_clip,
    deap_by_hand,
    decode_numbers,
    mahnob_signals,
    make_session,
    pulses,
    raw_by_hand,
    wave,
)

from cdgkd_utils.data import deap, mahnob, windows
from cdgkd_utils.data.constants import CHANNELS, DEAP_EEG, MISSING_CLIPS, VIDEO_SUBJECTS
from cdgkd_utils.data.deap import EOG, RATINGS_FILE, open_raw_tree, open_tree
from cdgkd_utils.data.mahnob import open_mahnob
from cdgkd_utils.data.twin.files import TWENTE_EEG
from cdgkd_utils.data.types import DataError
from cdgkd_utils.data.video import frames_at
from cdgkd_utils.data.windows import windows_from_trials


def read_deap(root):
    return deap.trials_of(open_tree(root))


def read_deap_raw(root):
    return deap.trials_of(open_raw_tree(root))


def brightness(path):
    return frames_at(path, [0.0])[0].mean()


class Numbers:
    """An extractor that reads a coded clip's frame numbers."""

    name, size, version = "number", 64, "1"

    def __call__(self, frames):
        return np.repeat(decode_numbers(frames)[:, None], 768, axis=1).astype(np.float32), np.ones(len(frames), bool)


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
    by_presentation = pd.read_csv(tmp_path / RATINGS_FILE)["Valence"].to_numpy() > 5
    assert (by_presentation != (LABELS[:, 0] > 5)).sum() == 2


def test_trap_02_the_clip_has_no_baseline(tmp_path, numbers):
    def clip(path, level):
        coded_clip(path, 2 * 200)

    deap_by_hand(tmp_path, n_times=384 + 2 * 512, clip=clip)
    found = windows_from_trials(read_deap(tmp_path), 0, extractor="number")
    first = found.index[found.index["trial"] == 1].index
    # The value of a sample is its number over 64, the clip shows frame numbers: both say when.
    samples = (found.eeg[first, 0, 0] - 100) * 64
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
    known = {name: rng.normal(0, 10, PLAYBACK + 8 * 512) for name in (*DEAP_EEG, *EOG)}
    for site, electrodes in (("twente", TWENTE_EEG), ("geneva", DEAP_EEG)):
        raw_by_hand(tmp_path / site, known, labels=[*electrodes, *EOG])
    (twente,), (geneva,) = (read_deap_raw(tmp_path / site) for site in ("twente", "geneva"))
    np.testing.assert_array_equal(twente.eeg, geneva.eeg)
    # By place, 30 of 32 electrodes of a Twente recording would be others.
    assert sum(a != b for a, b in zip(TWENTE_EEG, DEAP_EEG, strict=True)) == 30
    by_place = dict(zip(DEAP_EEG, [known[name] for name in TWENTE_EEG], strict=True))
    raw_by_hand(tmp_path / "wrong", by_place | {name: known[name] for name in EOG}, labels=[*DEAP_EEG, *EOG])
    (wrong,) = read_deap_raw(tmp_path / "wrong")
    moved = [np.corrcoef(a, b)[0, 1] < 0.9 for a, b in zip(wrong.eeg, twente.eeg, strict=True)]
    assert sum(moved) == sum(TWENTE_EEG.index(name) != DEAP_EEG.index(name) for name in CHANNELS) > 20


def test_trap_05_codes_are_the_low_byte(tmp_path):
    raw_by_hand(tmp_path / "plain")
    (plain,) = read_deap_raw(tmp_path / "plain")
    for number, above in enumerate((0x18FF00, 0x19FF00, 0x58FF00)):
        root = tmp_path / str(number)
        raw_by_hand(root, code=lambda status, above=above: status | above, status_labels=("",))
        (trial,) = read_deap_raw(root)
        np.testing.assert_array_equal(trial.eeg, plain.eeg)
    # A whole session with the battery's bit in three trials: the word that others have for a 4 occurs 37 times.
    words = np.full(40 * 12 * 512, 0x18FF00)
    for number in range(40):
        words[number * 12 * 512 + 512 :][: 4 * 512] |= 4 | 0x400000 * (number in (10, 20, 30))

    def n_rises(mask):
        return int((mask[1:] & ~mask[:-1]).sum())

    assert n_rises(words & 0xFF == 4) == 40
    assert n_rises(words == 0x18FF04) == 37 and n_rises(words == 4) == 0
    # Bits 8 to 15 are set, so that the low 16 bits are no code either.
    assert n_rises(words & 0xFFFF == 4) == 0


def test_trap_06_the_trigger_channel_has_three_labels(tmp_path):
    raw_by_hand(tmp_path / "plain")
    (plain,) = read_deap_raw(tmp_path / "plain")
    names = {}
    for labels in (("Status",), ("",), ("", "")):
        root = tmp_path / str(len(names))
        path = raw_by_hand(root, code=lambda status: status | 0x18FF00, status_labels=labels)
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
    (trial,) = mahnob.trials_of(open_mahnob(tmp_path))
    burst = wave(np.arange(trial.eeg.shape[1]) / 128 - BURST)
    assert np.corrcoef(trial.eeg[-1], burst)[0, 1] > 0.99
    # 30 s, 6.32 s of film, 30 s and rounding to whole seconds: the file's end holds nothing of the burst.
    raw = mne.io.read_raw_bdf(next(folder.glob("*.bdf")), preload=True, verbose="error").pick(DEAP_EEG)
    raw.set_eeg_reference("average", verbose="error").filter(4, 45, verbose="error")
    eeg = raw.get_data(picks=["O2"])[0] * 1e6
    assert np.abs(eeg[-30 * 256 :]).max() < 0.1 * np.abs(trial.eeg[-1]).max()
    # And the pulses, not the file's middle, say where the film is: here 3 samples later than 30 s.
    onset, _, by_pulses = mahnob.stimulus_span(next(folder.glob("*.bdf")), 6.32)
    assert onset == 30 * 256 + 3 and by_pulses


@pytest.fixture
def film(tmp_path):
    """A film of 8.5 s whose clip of 12 s shows its frame numbers at the true rate; the header says 61."""
    seconds = 8.5
    data = mahnob_signals(30 * 256, seconds=70)
    status = pulses(30 * 256, 30 * 256 + int(seconds * 256))
    folder = make_session(
        tmp_path, 2, data=data, status=status, xml=lambda text: text.replace('cutLenSec="6.32"', 'cutLenSec="8.5"')
    )
    (camera,) = folder.glob("*C1 trigger*.avi")
    coded_clip(camera, int(12.3 * 60.9708), fps=61)
    return tmp_path, camera


def test_trap_08_the_clip_runs_on_through_the_spoken_report(film, numbers):
    root, camera = film
    found = windows_from_trials(mahnob.trials_of(open_mahnob(root)), 0, extractor="number")
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
    found = windows_from_trials(mahnob.trials_of(open_mahnob(root)), 0, extractor="number")
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
    assert [trial.trial for trial in mahnob.trials_of(tree)] == [2]
    assert tree.sessions[0].reason == "neutral clip, which nobody rated" and tree.n_skipped == 0
    # Both are folders with all their files; only the attributes differ, and asking for them raises.
    assert len(list(neutral.iterdir())) == len(list(stimulus.iterdir()))
    assert int(ElementTree.parse(stimulus / "session.xml").getroot().attrib["feltArsl"]) == 4
    with pytest.raises(KeyError):
        int(ElementTree.parse(neutral / "session.xml").getroot().attrib["feltArsl"])


def test_trap_11_a_rating_of_5_is_low_and_the_threshold_says_so(tmp_path):
    # Trials with valence 4, 5 and 6; films of black frames.
    for session, valence in ((2, 4), (4, 5), (6, 6)):
        make_session(tmp_path, session, xml=lambda text, v=valence: re.sub('feltVlnc="[0-9]"', f'feltVlnc="{v}"', text))
    found = windows_from_trials(mahnob.trials_of(open_mahnob(tmp_path)), 0)
    assert found.index["valence"].tolist() == [4, 5, 6]
    assert found.labels("valence").tolist() == [0, 0, 1]  # DEAP's paper, TSception, LibEER
    assert found.labels("valence", threshold=4.5).tolist() == [0, 1, 1]  # torcheeg's examples, EEGain
    # DEAP's ratings have decimals; cutting them off first, as one library does, loses those just above 5.
    found.index["valence"] = [5.0, 5.01, 5.9]
    assert found.labels("valence").tolist() == [0, 1, 1]
    assert (np.trunc(found.index["valence"]) > 5).sum() == 0


def two_presentations(root):
    """A recording of two stimuli: experiment 2 was shown first, with 30 µV of 10 Hz at F3; 1 then, with 20 Hz."""
    second, t = 20 * 512, np.arange(4 * 512) / 512
    f3 = np.random.default_rng(1).normal(0, 1, second + 8 * 512)
    for first, frequency in ((PLAYBACK, 10), (second, 20)):
        f3[first : first + 4 * 512] += 30 * np.sin(2 * np.pi * frequency * t)
    return raw_by_hand(root, {"F3": f3}, order=(2, 1), onsets=(PLAYBACK, second))


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
    table = pd.read_csv(tmp_path / RATINGS_FILE)
    third = pd.DataFrame([[1, *LABELS[2], 3, 3]], columns=table.columns)
    pd.concat([table, third]).to_csv(tmp_path / RATINGS_FILE, index=False)
    with pytest.raises(DataError, match=r"s01\.bdf: 2 stimuli .* have 3 trials"):
        list(read_deap_raw(tmp_path))
    # The same for the .dat: labels that are not the table's.
    root = deap_by_hand(tmp_path / "dat")
    table = pd.read_csv(root / RATINGS_FILE)
    table[["Valence", "Arousal"]] = table.sort_values("Experiment_id")[["Valence", "Arousal"]].to_numpy()
    table.to_csv(root / RATINGS_FILE, index=False)
    with pytest.raises(DataError, match=r"participant_ratings\.csv: .* of participant 7"):
        list(read_deap(root))
