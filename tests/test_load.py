"""Preparing and storing windows: made once, resumed, keyed by what decides them, whole or not at all."""

import os
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
from planted import planted_windows

from cdgkd_utils.config import Params
from cdgkd_utils.data import load
from cdgkd_utils.data.load import load_windows, new_folder, prepared, windows_key
from cdgkd_utils.data.types import DataError, Windows
from cdgkd_utils.data.windows import trial_frames

SMOKE = Params(profile="smoke")
SETTINGS = {"dataset": "planted", "seed": 1}


def person(subject, excluded=(), spoilt=False):
    windows = planted_windows(n_subjects=1, n_trials=3, seed=subject)
    windows.index["subject"] = subject
    windows.index["stimulus"] = "007"  # a name, not a number
    windows.meta |= {"excluded": [*excluded], "name": "planted", "synthetic": True}
    if spoilt:
        windows.eeg[4, 0, 0] = np.inf
    return windows


def parts(*subjects, **options):
    return {subject: partial(person, subject, **options) for subject in subjects}


def test_what_is_stored_is_what_was_made_and_is_not_made_again(home):
    made = prepared(SETTINGS, {1: parts(1)[1], 2: partial(person, 2, excluded=[(2, 9, "flat")])})
    again = prepared(SETTINGS, dict.fromkeys((1, 2)))  # None cannot be called: nothing is made
    one, two = person(1), person(2)
    for found in (made, again):
        assert isinstance(found.eeg, np.memmap) and not found.eeg.flags.writeable
        for name in ("eeg", "video", "frame_mask"):
            whole = np.concatenate([getattr(one, name), getattr(two, name)])
            np.testing.assert_array_equal(getattr(found, name), whole.astype(np.float16))
        assert (
            found.index.equals(pd.concat([one.index, two.index], ignore_index=True))
            and found.index["stimulus"].iloc[0] == "007"
        )
        assert found.meta["excluded"] == [[2, 9, "flat"]] and found.meta["key"] == load.settings_key(SETTINGS)
    assert [path.name for path in (home / "prepared").iterdir()] == [made.meta["key"]]


def test_an_interrupted_preparation_goes_on_where_it_stopped(home):
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepared(SETTINGS, {**parts(1, 2), 3: stop})
    (waiting,) = (home / "prepared").iterdir()
    assert sorted(path.name for path in waiting.iterdir()) == ["s01", "s02"]
    (waiting / ".s03.4711-abc").mkdir()  # what a killed process leaves
    found = prepared(SETTINGS, {1: None, 2: None, **parts(3)})
    assert found.index["subject"].unique().tolist() == [1, 2, 3]
    assert [path.name for path in (home / "prepared").iterdir()] == [found.meta["key"]]


def test_two_processes_that_prepare_the_same_end_with_one(home):
    def other_first():
        prepared(SETTINGS, parts(1, 2))  # finishes, and removes the parts
        return person(2)

    found = prepared(SETTINGS, {**parts(1), 2: other_first})
    assert len(found) == 12 and [path.name for path in (home / "prepared").iterdir()] == [found.meta["key"]]


def test_a_new_folder_appears_whole_or_not_at_all(tmp_path):
    with pytest.raises(RuntimeError), new_folder(tmp_path / "out") as folder:
        (folder / "half").write_text("x")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with new_folder(tmp_path / "out") as folder:
        (folder / "whole").write_text("x")
    assert (tmp_path / "out" / "whole").is_file()
    with pytest.raises(FileExistsError, match="not empty"), new_folder(tmp_path / "out"):
        pass


def deap(folder):
    """A folder as far as a key looks at it."""
    for name in ("data_preprocessed_python/s01.dat", "metadata_csv/participant_ratings.csv", "face_video/s01/a.avi"):
        path = folder / name
        path.parent.mkdir(parents=True)
        path.write_bytes(b"content")
        os.utime(path, ns=(1, 1))
    return Params(dataset="deap", data_root=str(folder), profile="smoke")


def key(params):
    load._files_digest.cache_clear()
    return windows_key(params)


def test_the_key_of_files_is_their_names_sizes_and_times(tmp_path, monkeypatch):
    monkeypatch.setattr(load, "_OPEN", {})  # no reader opens the folder
    one, copy = deap(tmp_path / "one"), deap(tmp_path / "copy")
    base = key(one)
    assert key(copy) == base  # wherever it lies
    (tmp_path / "one" / "notes.txt").write_text("of no reader's interest")
    assert key(one) == base
    faces = replace(one, crop="face")
    seen = set()
    for version in ("finder 1", "finder 2"):
        monkeypatch.setattr(load, "face_version", lambda version=version: version)
        seen.add(key(faces))
    assert len(seen) == 2 and key(one) == base  # only where faces are looked for
    clip = tmp_path / "one/face_video/s01/a.avi"
    os.utime(clip, ns=(2, 2))
    assert (later := key(one)) != base
    clip.write_bytes(b"longer content")
    os.utime(clip, ns=(2, 2))
    assert key(one) not in (base, later)
    (tmp_path / "one/face_video/s01/b.avi").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"b\.avi: cannot be read"):
        key(one)


def test_faces_are_drawn_once_for_all_worlds(home, monkeypatch):
    drawn, draw = [], load.draw_faces
    monkeypatch.setattr(load, "draw_faces", lambda settings, *rest: drawn.append(rest) or draw(settings, *rest))
    one = load_windows(SMOKE, n_jobs=1)
    assert len(drawn) == SMOKE.scale.n_subjects
    other = load_windows(replace(SMOKE, world="eeg_rich"), n_jobs=1)
    assert len(drawn) == SMOKE.scale.n_subjects and one.meta["key"] != other.meta["key"]
    np.testing.assert_array_equal(one.video, other.video)
    assert not np.array_equal(one.eeg, other.eeg) and "world eeg_rich" in other.meta["name"]


def test_pictures_belong_to_windows_of_a_data_set_and_to_no_others(home):
    windows = load_windows(SMOKE, n_jobs=1)
    frames, mask, _ = trial_frames(SMOKE, windows, [0, 1], size=32)
    assert mask.all() and frames.any()
    own = prepared(SETTINGS, parts(1))  # stored as windows are, but not the twin's
    frames, mask, _ = trial_frames(SMOKE, own, [0, 1], size=32)
    assert not mask.any() and not frames.any()


def test_a_fault_in_the_data_is_named_and_leaves_nothing_and_nobody_is_no_fault(home):
    nobody = person(1)
    nobody = Windows(nobody.eeg[:0], nobody.video[:0], nobody.frame_mask[:0], nobody.index[:0], None, nobody.meta)
    with pytest.raises(DataError, match="eeg: inf in subject 2, trial 3, window 0"):
        prepared(SETTINGS, {**parts(1), **parts(2, spoilt=True)})
    with pytest.raises(DataError, match="not one window"):
        prepared(SETTINGS, {1: lambda: nobody})
    assert list((home / "prepared").iterdir()) == []
    found = prepared(SETTINGS, {1: lambda: nobody, **parts(2)})
    assert len(found) == 6 and found.index.dtypes.equals(person(2).index.dtypes)
    array = home / "prepared" / found.meta["key"] / "video.npy"
    array.write_bytes(array.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"damaged .*delete this folder"):
        prepared(SETTINGS, parts(1))


def test_a_key_follows_what_decides_the_windows_and_nothing_else(monkeypatch, tmp_path):
    base = windows_key(SMOKE)
    same = (replace(SMOKE, target="arousal"), replace(SMOKE, family="reference"), replace(SMOKE, protocol="loso"))
    assert {windows_key(params) for params in same} == {base}
    changes = (
        {"seed": 3},
        {"profile": "quick"},
        {"dataset": "twin_mahnob"},
        {"world": "eeg_rich"},
        {"world": "0.3/0/0"},
    )
    others = [windows_key(replace(SMOKE, **change)) for change in changes] + [windows_key(SMOKE, repeat=1)]
    assert len({base, *others}) == len(others) + 1
    assert windows_key(replace(SMOKE, seed=1)) == windows_key(SMOKE, repeat=1)
    spellings = ("0.30/0.10/0", "0.3/0.1/0/0.8", ".3/1e-1/0.0/0.80", " 0.3 / 0.1 / 0")
    assert len({windows_key(replace(SMOKE, world=world)) for world in spellings}) == 1
    monkeypatch.setitem(load.DATA_VERSION, "twin", 99)
    assert windows_key(SMOKE) != base
    for root in ("", str(tmp_path / "nowhere")):
        with pytest.raises(DataError, match="data_root"):
            load_windows(Params(dataset="deap", data_root=root))
