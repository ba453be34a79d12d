"""What "byte-compatible" means (data-formats.md, section 7), and the leaks of its section 4.3: who tests what.

Points without a test elsewhere are tested in this file; the others only stand in the table.

7.1    test_dat_file::test_dat_has_the_bytes_of_python_2
7.1    test_acceptance::test_published_loading_lines_run
7.2    test_deap::test_metadata_follow_deap
7.2    test_deap::test_wrong_input_is_one_clear_error_and_leaves_no_cache
7.2    test_acceptance::test_who_gave_no_familiarity
7.3    test_bdf::test_mne_reads_it_back
7.3    test_deap_raw::test_files_have_the_oddities_of_their_site
7.3    test_acceptance::test_forty_playbacks_in_every_subject
7.3    test_deap_raw::test_trigger_words_of_a_whole_session
7.3    test_deap_raw::test_recordings_agree_with_the_preprocessed_release
7.4    test_twin_plan::test_missing_clips_are_the_last_shown_and_only_in_the_full_design
7.4    test_acceptance::test_geometry_of_a_clip
7.4    test_deap::test_clip_names_are_the_order_of_presentation
7.4    test_extractors::test_faces_of_the_twin_are_found
7.5    test_session_xml::test_numbers_of_sessions
7.5    test_mahnob_writer::test_tree_is_laid_out_as_the_real_one
7.5    test_twin_plan::test_mahnob_has_its_counts
7.5    test_mahnob_writer::test_subjects_without_recording_or_video
7.5    test_session_xml::test_neutral_session_has_no_ratings
7.5    test_mahnob_writer::test_recording_as_mne_reads_it
7.5    test_mahnob_writer::test_clips_run_on_past_their_films
7.5    test_mahnob_writer::test_gaze_tables
7.6    test_twin_eeg::test_code_stands_in_the_eeg_but_not_in_its_baseline
7.6    test_twin_face::test_expression_follows_the_feeling
7.6    test_leak::test_with_trial_fingerprints_a_window_split_scores_everything_and_honest_splits_chance
7.6    test_acceptance::test_everything_synthetic_says_so
7.6    test_deap::test_only_the_synthetic_mark_decides_what_numbers_are_called
7.7    test_acceptance::test_scale_knobs
7.7    test_deap_writer::test_writer_names_the_wrong_parameter
7.7    test_mahnob_writer::test_writer_names_the_wrong_parameter
7.7    test_mahnob_writer::test_full_geometry_is_the_real_one
4.3.1  test_audit::test_one_window_of_a_test_trial_in_train
4.3.2  test_audit::test_overlapping_windows_are_counted_by_samples
4.3.3  test_audit::test_whatever_is_fitted_outside_train_is_named_with_where_it_looked
4.3.3  test_splits::test_normaliser_reads_training_rows_only
4.3.3  test_audit::test_medians_of_all_trials_are_seen_in_the_labels_themselves
4.3.4  test_audit::test_a_shared_stimulus_is_reported_and_forbidden_only_by_its_protocol
4.3.5  test_audit::test_selection_on_the_test_part_and_no_validation_at_all
4.3.6  test_audit::test_a_guide_of_another_fold_saw_the_students_test_units
4.3.7  test_acceptance::test_a_baseline_serves_its_own_trial_only
4.3.8  test_audit::test_subjects_that_rate_one_way_are_noted
4.3.9  test_traps::test_trap_10_neutral_sessions_have_no_ratings
4.3.10 test_traps::test_trap_08_the_clip_runs_on_through_the_spoken_report
4.3.11 test_traps::test_trap_03_only_22_subjects_have_clips_and_some_lack_their_last
4.3.12 test_features::test_each_picture_is_on_its_own
"""

import ast
import json
import pickle
import re
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from cdgkd_utils.data import windows
from cdgkd_utils.data.constants import CHANNELS, DEAP_EEG
from cdgkd_utils.data.deap import writer as deap_writer
from cdgkd_utils.data.deap.dat_file import write_dat
from cdgkd_utils.data.deap.raw_writer import trigger_words
from cdgkd_utils.data.deap.reader import open_tree
from cdgkd_utils.data.mahnob import writer as mahnob_writer
from cdgkd_utils.data.mahnob.reader import open_mahnob
from cdgkd_utils.data.twin import TwinSettings, plan_subject
from cdgkd_utils.data.types import Trial

HERE = Path(__file__).parent
POINTS = {*(f"7.{n}" for n in range(1, 8)), *(f"4.3.{n}" for n in range(1, 13))}


def table_rows(text):
    """(point, file, test) of each row of the table above."""
    return re.findall(r"^([0-9.]+) +(test_\w+)::(test_\w+)$", text, re.MULTILINE)


def faults_of_table(text, folder):
    """Points without a row, rows without a test, tests that do nothing or are always left out."""
    rows = table_rows(text)
    faults = [f"{point}: no test" for point in sorted(POINTS - {point for point, *_ in rows})]
    faults += [line for line in text.splitlines() if "::" in line and not table_rows(line)]
    for point, module, name in rows:
        path = folder / f"{module}.py"
        tree = ast.parse(path.read_text(encoding="utf-8")) if path.is_file() else ast.Module([], [])
        found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
        if len(found) != 1:
            faults.append(f"{point}: {module}::{name} does not exist")
        elif any("skip" in ast.unparse(mark) or "xfail" in ast.unparse(mark) for mark in found[0].decorator_list):
            faults.append(f"{point}: {module}::{name} is left out")
        elif not any(
            isinstance(node, ast.Assert | ast.With) or "assert" in ast.unparse(node) for node in found[0].body
        ):
            faults.append(f"{point}: {module}::{name} asserts nothing")
    return faults


def test_every_point_has_tests_and_every_test_of_the_table_exists(tmp_path):
    assert faults_of_table(__doc__, HERE) == []
    assert len(table_rows(__doc__)) == __doc__.count("::")
    # Each kind of fault is seen.
    (tmp_path / "test_a.py").write_text(
        "def test_empty():\n    pass\n\n@pytest.mark.skip\ndef test_skipped():\n    assert 1\n\n"
        "def test_good():\n    assert 1\n"
    )
    for row, fault in (
        ("7.1 test_a::test_gone", "7.1: test_a::test_gone does not exist"),
        ("7.1 test_b::test_good", "7.1: test_b::test_good does not exist"),
        ("7.1 test_a::test_empty", "7.1: test_a::test_empty asserts nothing"),
        ("7.1 test_a::test_skipped", "7.1: test_a::test_skipped is left out"),
        ("7.1 test_a::other", "7.1 test_a::other"),
        ("7.2 test_a::test_good", "7.1: no test"),
    ):
        assert fault in faults_of_table(row, tmp_path)
    assert not [f for f in faults_of_table("7.1 test_a::test_good", tmp_path) if f.startswith("7.1")]


def test_published_loading_lines_run(tmp_path):
    """The statements with which three public libraries open a ``.dat`` and what they take from it."""
    rng = np.random.default_rng(0)
    data, ratings = rng.normal(0, 10, (6, 40, 8064)), rng.uniform(1, 9, (6, 4))
    path = tmp_path / "s01.dat"
    write_dat(path, data, ratings)
    # torcheeg: every name in the folder is taken for a subject.
    assert [entry.name for entry in tmp_path.iterdir()] == ["s01.dat"]
    with open(path, "rb") as file:
        subject = pickle.load(file, encoding="iso-8859-1")
    assert list(subject) == ["labels", "data"]
    assert all(type(key) is str for key in subject) and all(type(x) is np.ndarray for x in subject.values())
    assert subject["data"].dtype == subject["labels"].dtype == np.float64
    np.testing.assert_array_equal(subject["data"][4, :32], data[4, :32])
    baseline = subject["data"][4, :32, : 128 * 3].reshape(32, 3, 128).mean(axis=1)
    assert baseline.shape == (32, 128)
    # TSception: C unpickler, 32 channels without 3 s, its own order by name.
    with open(path, "rb") as file:
        subject = pickle.load(file, encoding="latin1")
    cut = subject["data"][:, 0:32, 3 * 128 :]
    assert cut.shape == (6, 32, 7680) and subject["labels"].shape == (6, 4)
    ordered = cut[:, [DEAP_EEG.index(name) for name in CHANNELS], :]
    assert ordered.shape == (6, 28, 7680)
    assert set(np.where(np.where(subject["labels"][:, 1] <= 5, 0, subject["labels"][:, 1]) > 5, 1, 0)) == {0, 1}
    # With bytes as keys, as some load it, and without an encoding, as real files refuse to be read.
    with open(path, "rb") as file:
        assert set(pickle.load(file, encoding="bytes")) == {b"labels", b"data"}
    with open(path, "rb") as file, pytest.raises(UnicodeDecodeError, match="ascii"):
        pickle.load(file)


def test_who_gave_no_familiarity():
    settings = TwinSettings(n_subjects=23, n_trials=3, n_windows=1)
    plans = [plan_subject(settings, subject) for subject in range(1, 33)]
    table = deap_writer._metadata(settings, plans)["participant_ratings.csv"]
    blank = table["Familiarity"].isna().groupby(table["Participant_id"]).agg(["any", "all"])
    assert blank.index[blank["any"]].tolist() == blank.index[blank["all"]].tolist() == [2, 15, 23]
    assert table["Familiarity"].dropna().between(1, 5).all() and len(table) == 32 * 3
    for _, rows in table.groupby("Participant_id"):
        assert sorted(rows["Experiment_id"]) == rows["Trial"].tolist() == [1, 2, 3]


def test_forty_playbacks_in_every_subject():
    onsets = (20 + 12 * np.arange(40)) * 512
    for subject in range(1, 33):
        codes = trigger_words(subject, onsets, 4, 510 * 512) & 0xFF
        rises = np.flatnonzero((codes[1:] == 4) & (codes[:-1] != 4)) + 1
        np.testing.assert_array_equal(rises, onsets)


@pytest.mark.parametrize(("n_windows", "frame_size", "n_frames"), [(15, 64, 2952), (1, 576, 200)])
def test_geometry_of_a_clip(tmp_path, monkeypatch, n_windows, frame_size, n_frames):
    monkeypatch.setattr(
        deap_writer, "render", lambda track, times, size: np.full((len(times), size, size, 3), 90, np.uint8)
    )
    settings = TwinSettings(n_subjects=1, n_trials=1, n_windows=n_windows)
    deap_writer._write_clip(tmp_path / "a.avi", settings, plan_subject(settings, 1), 0, frame_size)
    with av.open(str(tmp_path / "a.avi")) as container:
        (stream,) = container.streams
        assert stream.codec_context.name == "h264" and stream.average_rate == 50 and stream.frames == n_frames
        assert (stream.width, stream.height) == (frame_size * 5 // 4, frame_size)
    assert n_windows == 1 or n_frames == int(59.05 * 50)


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    """Both layouts at a size of their own: 2 and 1 subjects, 1 trial, 4 s."""
    folder = tmp_path_factory.mktemp("trees")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CDGKD_HOME", str(folder / "home"))
        settings = TwinSettings(n_subjects=2, n_trials=1, n_windows=3, seed=1)
        deap = deap_writer.write_deap(settings, folder / "deap", seconds=4, frame_size=72, raw=True)
        films = replace(settings, layout="mahnob", n_subjects=1)
        mahnob = mahnob_writer.write_mahnob(films, folder / "mahnob", max_seconds=4, frame_size=64)
    return deap, mahnob


def test_everything_synthetic_says_so(trees):
    n_recordings = 0
    for root, opened in zip(trees, (open_tree(trees[0]), open_mahnob(trees[1])), strict=True):
        note = json.loads((root / "SYNTHETIC").read_text(encoding="utf-8"))
        assert "No person was recorded" in note["warning"] and "synthetic" in opened.name
        for path in root.rglob("*.bdf"):
            with open(path, "rb") as file:
                header = file.read(256)
            assert header[:8] == b"\xffBIOSEMI" and header[88:168].strip() == b"synthetic"
            n_recordings += 1
    assert n_recordings == 2 + 2  # of the second tree, the neutral one, too


def test_scale_knobs(trees):
    deap, mahnob = trees
    tree = open_tree(deap)
    assert tree.subjects == (1, 2) and len(tree.ratings) == 2
    with open(deap / "data_preprocessed_python/s02.dat", "rb") as file:
        assert pickle.load(file, encoding="latin1")["data"].shape == (1, 40, 384 + 512)
    with av.open(str(deap / "face_video/s01/s01_trial01.avi")) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, stream.frames) == (90, 72, 200)
    (film,) = open_mahnob(mahnob).usable
    assert film.span.seconds == 4
    with av.open(str(film.video)) as container:
        assert container.streams.video[0].height == 64


def test_a_baseline_serves_its_own_trial_only(monkeypatch):
    monkeypatch.setattr(
        windows,
        "describe_faces",
        lambda path, times, *rest: (np.ones((len(times), 768), np.float32), np.ones(len(times), bool)),
    )
    ratings = {"valence": 3.0, "arousal": 4.0, "dominance": 5.0, "liking": 6.0}

    def trials(shift):
        rng = np.random.default_rng(1)
        for subject in (1, 2):
            for number in (1, 2):
                baseline = rng.normal(0, 5, (28, 384)) + (shift if (subject, number) == (2, 1) else 0)
                yield Trial(subject, number, number, "", rng.normal(0, 5, (28, 1024)), baseline, ratings, Path("x"))

    a, b = (windows.windows_from_trials(trials(shift), 0, baseline="subtract") for shift in (0, 100))
    own = ((a.index["subject"] == 2) & (a.index["trial"] == 1)).to_numpy()
    np.testing.assert_array_equal(a.eeg[~own], b.eeg[~own])
    np.testing.assert_allclose(a.eeg[own] - b.eeg[own], 100, rtol=1e-4)
    # A session's common baseline would have moved the person's other trial as well.
    assert own.sum() == 2 and len(own) == 8
