"""The reader of MAHNOB-HCI: the cut, the chain, and every way a session can be broken."""

import math

import mne
import numpy as np
import pytest
from made_by_hand import BURST, EARLIER, END, ONSET, mahnob_signals, make_session, pulses, wave

from cdgkd_utils.data.constants import CHANNELS, DEAP_EEG
from cdgkd_utils.data.mahnob import open_mahnob, read_session, trials_of
from cdgkd_utils.data.twin import TwinSettings, plan_subject
from cdgkd_utils.data.twin.mahnob_files import write_mahnob
from cdgkd_utils.data.types import DataError


def test_the_clip_is_cut_at_its_pulses_and_goes_through_the_chain(tmp_path):
    folder = make_session(tmp_path, 2)
    steps: list = []
    (trial,) = trials_of(open_mahnob(tmp_path), trace=steps)
    assert (trial.subject, trial.trial, trial.presentation, trial.stimulus) == (1, 2, 1, "1.avi")
    assert trial.eeg.shape == (28, int((END - ONSET) / 2)) and trial.baseline.shape == (28, 384)
    assert math.isnan(trial.ratings["liking"]) and trial.ratings["valence"] == 7 and trial.video_rate == 60.9708
    heights = np.array([DEAP_EEG.index(name) + 1 for name in CHANNELS]) - 16.5  # minus the mean of 1..32
    burst = wave(np.arange(trial.eeg.shape[1]) / 128 - BURST)  # the onset is an odd sample, and kept
    np.testing.assert_allclose(trial.eeg @ burst / (burst @ burst), heights, atol=0.3)
    before = wave(np.arange(-384, 0) / 128 - EARLIER)
    np.testing.assert_allclose(trial.baseline @ before / (before @ before), heights, atol=0.5)
    # The same by MNE's objects alone.
    raw = mne.io.read_raw_bdf(next(folder.glob("*.bdf")), preload=True, verbose="warning").pick(DEAP_EEG)
    raw.set_eeg_reference("average", verbose="warning").filter(4, 45, verbose="warning")
    expected = 1e6 * raw.get_data(picks=list(CHANNELS), start=ONSET, stop=END)[:, ::2]
    n = trial.eeg.shape[1]
    assert min(np.corrcoef(a, b)[0, 1] for a, b in zip(trial.eeg, expected[:, :n], strict=True)) > 0.99
    assert [name for name, *_ in steps] == ["electrodes", "average reference", "4–45 Hz", "128 Hz", "stimulus"]
    np.testing.assert_array_equal(steps[-1][1], trial.eeg)


def test_margins_stand_in_for_missing_pulses(tmp_path):
    make_session(tmp_path, 2, data=mahnob_signals(seconds=66), status=pulses(seconds=66))
    (trial,) = trials_of(open_mahnob(tmp_path))
    assert trial.eeg.shape[1] == 6 * 128


def replaced(old, new):
    return {"xml": lambda text: text.replace(old, new)}


FAULTS = {
    "no recording": ({"bdf": "Part_9_S_Trial1_emotion.bdf"}, r"Part_1_S_Trial1_emotion.bdf: missing, found Part_9"),
    "no clip": ({"video": 0}, r"no clips of the colour camera"),
    "short clip": ({"video": 200}, r"ends after 3\.3 s, but its film lasts 6\.3 s"),
    "other length": (replaced('"6.32"', '"9.5"'), r"give a clip of 6\.32 s, but session\.xml says cutLenSec 9\.50"),
    "early pulse": ({"status": pulses(20 * 256, END)}, r"the first at 20\.000 s, expected 30 s"),
    "no rating": (replaced("feltVlnc", "other"), r"feltVlnc is None"),
    "rating of 0": (replaced('feltArsl="4"', 'feltArsl="0"'), r"feltArsl is '0'"),
    "other subject": (replaced('<subject id="1"', '<subject id="2"'), r"by its folder's number it is 2 of subject 1"),
    "no film": (replaced("mediaFile", "other"), r"no mediaFile"),
    "a way out": (replaced('filename="P1', 'filename="../P1'), r"is no plain name"),
    "entities": (replaced("<session", '<!DOCTYPE a [<!ENTITY b "c">]><session'), r"no well-formed XML"),
    "flat": ({"data": np.vstack([np.zeros((1, 70 * 256)), mahnob_signals()[1:]])}, r"channel Fp1 is flat"),
    "other rate": (replaced('"60.9708"', '"25"'), r"61 frames per second by its header, but vidRate"),
    "no electrode": ({"labels": ["Other", *DEAP_EEG[1:], "EXG1", "Resp", "Temp"]}, r"no channel Fp1"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_session_is_left_out_by_name_and_the_others_are_read(tmp_path, fault):
    options, said = FAULTS[fault]
    make_session(tmp_path, 2, **options)
    make_session(tmp_path, 4)
    excluded: list = []
    assert [trial.trial for trial in trials_of(open_mahnob(tmp_path), [1], excluded)] == [4]
    ((session, reason),) = excluded
    assert session == 2
    with pytest.raises(DataError, match=said):
        raise DataError(reason)


def test_other_sessions_are_not_read(tmp_path):
    for number in (1, 2, 42, 134):
        make_session(tmp_path, number)
    (tmp_path / "Sessions/.DS_Store").mkdir()
    tree = open_mahnob(tmp_path)
    assert [found.kind for found in tree.sessions] == ["N", "S", "other", "S"] and tree.subjects == (1, 2)
    assert [trial.trial for trial in trials_of(tree, [2])] == [134]


def test_sessions_one_folder_down_are_found(tmp_path):
    make_session(tmp_path / "HCI", 2)
    with pytest.raises(DataError, match=r"there is HCI/Sessions/2/session\.xml|no session in its folder"):
        open_mahnob(tmp_path)
    (tmp_path / "HCI/Sessions").rename(tmp_path / "sessions")
    with pytest.raises(DataError, match=r"there is sessions/2/session\.xml"):
        open_mahnob(tmp_path)


def test_the_twin_writes_what_the_reader_reads(tmp_path):
    settings = TwinSettings(n_subjects=1, n_trials=2, n_windows=1, seed=3, layout="mahnob")
    root, plan = write_mahnob(settings, tmp_path / "tree", frame_size=64), plan_subject(settings, 1)
    trials = list(trials_of(open_mahnob(root)))
    assert sorted(trial.trial for trial in trials) == sorted(plan.trial.tolist())
    for trial in trials:
        row = plan.trial.tolist().index(trial.trial)
        assert (trial.stimulus, trial.presentation) == (plan.stimulus[row], plan.presentation[row])
        assert [trial.ratings[name] for name in ("valence", "arousal")] == plan.ratings[row, :2].tolist()
    xml = read_session(root / f"Sessions/{trials[0].trial}/session.xml")
    assert xml.clip_seconds == 4 and xml.video_rate == 60.9708 and len(xml.colour_clips) == 1
