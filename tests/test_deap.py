"""The DEAP folder: written by the twin, read back, and refused when something is wrong with it."""

import ast
import pickle
import shutil
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest

from cdgkd_utils.config import Params
from cdgkd_utils.data import load, trees
from cdgkd_utils.data.deap.dat_file import read_dat, write_dat
from cdgkd_utils.data.deap.reader import open_tree, read_deap, trials_of
from cdgkd_utils.data.deap.writer import write_deap
from cdgkd_utils.data.load import load_windows
from cdgkd_utils.data.twin import TwinSettings, plan_subject, prepare_subject
from cdgkd_utils.data.types import DataError, Windows
from cdgkd_utils.data.windows import subject_windows, windows_from_trials

SETTINGS = TwinSettings(n_subjects=2, n_trials=4, n_windows=2, seed=3)
CSV = "metadata_csv/participant_ratings.csv"


def prepare_tree(tree, n_windows=0):
    return Windows.joined([subject_windows(tree, s, trials_of, n_windows=n_windows) for s in tree.subjects])


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """2 subjects x 4 trials x 8 s as files; tests that change them take a copy."""
    return write_deap(SETTINGS, tmp_path_factory.mktemp("deap") / "tree", seconds=8)


@pytest.fixture
def tree(written, tmp_path):
    return Path(shutil.copytree(written, tmp_path / "tree"))


@pytest.fixture(scope="session")
def from_disk(written):
    return prepare_tree(open_tree(written))


def read_all(root):
    return windows_from_trials(read_deap(root), 0)


def test_disk_and_direct_way_give_the_same_windows(from_disk):
    direct = Windows.joined([prepare_subject(SETTINGS, k) for k in range(1, SETTINGS.n_subjects + 1)])
    np.testing.assert_array_equal(from_disk.eeg, direct.eeg)
    assert from_disk.eeg.dtype == np.float32 and from_disk.eeg.shape == (16, 28, 512)
    pd.testing.assert_frame_equal(from_disk.index, direct.index)
    pd.testing.assert_frame_equal(from_disk.truth, direct.truth)
    np.testing.assert_array_equal(from_disk.frame_mask, direct.frame_mask)
    # The clips are compressed. Measured: correlation .97 to .99, median difference .005.
    pairs = zip(from_disk.video.reshape(-1, 768), direct.video.reshape(-1, 768), strict=True)
    correlations = [np.corrcoef(a, b)[0, 1] for a, b in pairs]
    assert np.median(correlations) > 0.975 and min(correlations) > 0.95
    assert np.median(np.abs(from_disk.video - direct.video)) < 0.01
    # No frame resembles its neighbour in time as much as itself.
    shifted = np.corrcoef(from_disk.video[:, :-1].ravel(), direct.video[:, 1:].ravel())[0, 1]
    assert shifted < np.corrcoef(from_disk.video.ravel(), direct.video.ravel())[0, 1] - 0.02


def test_metadata_follow_deap(written):
    table = pd.read_csv(written / CSV)
    keys = ["Participant_id", "Trial", "Experiment_id", "Start_time"]
    assert list(table) == [*keys, "Valence", "Arousal", "Dominance", "Liking", "Familiarity"]
    assert table[["Participant_id", "Trial"]].to_numpy().tolist() == [[s, t] for s in (1, 2) for t in (1, 2, 3, 4)]
    assert table["Familiarity"].isna().tolist() == [False] * 4 + [True] * 4
    for subject, rows in table.groupby("Participant_id"):
        _, labels = read_dat(written / f"data_preprocessed_python/s{subject:02d}.dat")
        np.testing.assert_array_equal(
            rows.sort_values("Experiment_id")[["Valence", "Arousal", "Dominance", "Liking"]], labels
        )
        assert (np.diff(rows["Start_time"]) >= (8 + 28) * 1e4).all()


def test_clip_names_are_the_order_of_presentation(tree, from_disk):
    orders = {s: plan_subject(SETTINGS, s).presentation.tolist() for s in (1, 2)}
    assert orders[1] != [1, 2, 3, 4], "choose a seed whose first person sees the stimuli in another order"
    folder = tree / "face_video/s01"
    (folder / "s01_trial01.avi").rename(folder / "keep.avi")
    (folder / "s01_trial02.avi").rename(folder / "s01_trial01.avi")
    (folder / "keep.avi").rename(folder / "s01_trial02.avi")
    swapped = read_all(tree)
    first, second = (orders[1].index(presentation) for presentation in (1, 2))
    source = list(range(8))
    source[first], source[second] = second, first
    per_trial = from_disk.video.reshape(8, 2, 5, 768)
    np.testing.assert_array_equal(swapped.video.reshape(8, 2, 5, 768), per_trial[source])


def test_missing_clips_are_skipped_and_counted(tree, from_disk):
    (tree / "face_video/s02/s02_trial04.avi").unlink()
    trial = plan_subject(SETTINGS, 2).presentation.tolist().index(4) + 1
    found = prepare_tree(open_tree(tree))
    kept = ~((from_disk.index["subject"] == 2) & (from_disk.index["trial"] == trial)).to_numpy()
    assert found.meta["skipped"] == 1 and kept.sum() == 14
    np.testing.assert_array_equal(found.eeg, from_disk.eeg[kept])
    np.testing.assert_array_equal(found.video, from_disk.video[kept])
    pd.testing.assert_frame_equal(found.truth, from_disk.truth[kept].reset_index(drop=True))


def test_subjects_are_those_with_both_modalities(tree):
    for name in (".DS_Store", "s01.dat.bak", "s04.dat.part", "subjects.txt"):
        (tree / "data_preprocessed_python" / name).write_text("stray")
    (tree / "face_video/s04").mkdir()
    shutil.rmtree(tree / "face_video/s01")
    assert {trial.subject for trial in read_deap(tree)} == {2}
    with pytest.raises(DataError, match=r"subject 1 .*available: 2"):
        read_deap(tree, [1])


def test_only_the_synthetic_mark_decides_what_numbers_are_called(tree, from_disk):
    assert from_disk.meta["synthetic"] is True and "synthetic" in from_disk.meta["name"]
    (tree / "SYNTHETIC").unlink()
    real = prepare_tree(open_tree(tree), 1)
    assert (real.meta["name"], real.meta["synthetic"], real.truth) == ("DEAP", False, None)


def test_fingerprint_is_of_names_and_bytes(tree, written):
    assert deap_fingerprint(tree) == deap_fingerprint(written)
    (tree / "notes.txt").write_text("not read, so not part of it")
    assert deap_fingerprint(tree) == deap_fingerprint(written)
    seen = [deap_fingerprint(tree)]
    for name in ("face_video/s01/s01_trial01.avi", "data_preprocessed_python/s02.dat", CSV, "truth.csv", "SYNTHETIC"):
        (tree / name).write_bytes((tree / name).read_bytes() + b"\n")
        seen.append(deap_fingerprint(tree))
    first, second = (tree / f"face_video/s01/s01_trial0{number}.avi" for number in (1, 2))
    first.rename(tree / "keep.avi")
    second.rename(first)
    (tree / "keep.avi").rename(second)
    seen.append(deap_fingerprint(tree))
    second.unlink()
    seen.append(deap_fingerprint(tree))
    second.with_name("s01_trial03.avi").rename(second)
    seen.append(deap_fingerprint(tree))
    assert len(set(seen)) == len(seen) == 9


def edit_csv(root, column, value, subject=1, experiment=2):
    table = pd.read_csv(root / CSV)
    table[column] = table[column].astype(object)
    table.loc[(table["Participant_id"] == subject) & (table["Experiment_id"] == experiment), column] = value
    table.to_csv(root / CSV, index=False)


def rewrite_dat(root, change):
    path = root / "data_preprocessed_python/s01.dat"
    write_dat(path, *change(*read_dat(path)))


def cut(path, keep):
    path.write_bytes(path.read_bytes()[:keep])


DAT, CLIP = "data_preprocessed_python/s01.dat", "face_video/s01/s01_trial01.avi"
FAULTS = {
    "no folder": (shutil.rmtree, r"no such folder.*licence"),
    "empty folder": (lambda root: [shutil.rmtree(root), root.mkdir()], r"no subject.*s01\.dat.*licence.*'twin'"),
    "no ratings": (lambda root: (root / CSV).unlink(), r"participant_ratings\.csv: missing"),
    "empty ratings": (lambda root: (root / CSV).write_text(""), r"participant_ratings\.csv: not a readable"),
    "binary ratings": (
        lambda root: (root / CSV).write_bytes(b"\xff\xfe\x00\x81" * 50),
        r"participant_ratings\.csv: not a",
    ),
    "no column": (
        lambda root: pd.read_csv(root / CSV).drop(columns="Arousal").to_csv(root / CSV),
        r"column Arousal missing",
    ),
    "double trial": (lambda root: edit_csv(root, "Trial", 9), r"Trial of participant 1 is no permutation"),
    "word for number": (lambda root: edit_csv(root, "Trial", "two"), r"Trial of participant 1 is no permutation"),
    "other rating": (
        lambda root: edit_csv(root, "Arousal", 1.234),
        r"Arousal of participant 1, Experiment_id 2 .*s01\.dat",
    ),
    "blank rating": (lambda root: edit_csv(root, "Liking", ""), r"Liking of participant 1 leaves 1\.\.9 or is blank"),
    "rating 12": (lambda root: edit_csv(root, "Arousal", 12), r"Arousal of participant 1 leaves 1\.\.9"),
    "rating 12 in both": (
        lambda root: [
            edit_csv(root, "Arousal", 12),
            rewrite_dat(root, lambda d, y: (d, np.where(np.indices(y.shape).sum(0) == 2, 12, y))),
        ],
        r"ratings\.csv: Arousal of participant 1 leaves 1\.\.9",
    ),
    "folder for a table": (lambda root: [(root / CSV).unlink(), (root / CSV).mkdir()], r"ratings\.csv: cannot be read"),
    "folder for a dat": (lambda root: [(root / DAT).unlink(), (root / DAT).mkdir()], r"s01\.dat: cannot be read"),
    "link to itself": (lambda root: [(root / DAT).unlink(), (root / DAT).symlink_to(root / DAT)], r"s01\.dat: cannot"),
    "dat of another subject": (
        lambda root: shutil.copy(root / "data_preprocessed_python/s02.dat", root / DAT),
        "but s01",
    ),
    "dat at 256 Hz": (
        lambda root: rewrite_dat(root, lambda d, y: (np.tile(d, 6), y)),
        r"s01\.dat: 'data' has shape \(4, 40, 8448\), expected .* 8064",
    ),
    "pickle that runs": (
        lambda root: (root / DAT).write_bytes(b"cos\nsystem\n(S'touch x'\ntR."),
        r"refers to os\.system",
    ),
    "truncated dat": (lambda root: cut(root / DAT, 100_000), r"s01\.dat: not a readable DEAP file"),
    "empty dat": (lambda root: cut(root / DAT, 0), r"s01\.dat: not a readable DEAP file"),
    "other dat": (lambda root: (root / DAT).write_bytes(pickle.dumps([1], 2)), r"s01\.dat: holds no dict"),
    "no channels": (
        lambda root: rewrite_dat(root, lambda d, y: (d[:, :32], y)),
        r"s01\.dat: 'data' has shape \(4, 32, 1408\)",
    ),
    "short": (lambda root: rewrite_dat(root, lambda d, y: (d[..., :895], y)), r"s01\.dat: 'data' has shape"),
    "labels": (lambda root: rewrite_dat(root, lambda d, y: (d, y[:3])), r"s01\.dat: 'labels' has shape \(3, 4\)"),
    "not finite": (
        lambda root: rewrite_dat(root, lambda d, y: (np.where(d > 9, np.nan, d), y)),
        r"s01\.dat: 'data' holds NaN",
    ),
    "fewer trials": (lambda root: rewrite_dat(root, lambda d, y: (d[:3], y[:3])), r"s01\.dat: 3 trials, but .* 4 rows"),
    "text clip": (lambda root: (root / CLIP).write_text("no video"), r"s01_trial01\.avi: cannot be decoded"),
    "empty clip": (lambda root: cut(root / CLIP, 0), r"s01_trial01\.avi: "),
    "truncated clip": (lambda root: cut(root / CLIP, 70_000), r"s01_trial01\.avi: .*truncated.* of 400 frames"),
    "clip without frames": (lambda root: cut(root / CLIP, 6000), r"s01_trial01\.avi: "),
    "other mark": (lambda root: (root / "SYNTHETIC").write_text("yes"), r"SYNTHETIC: expected JSON"),
    "no truth": (lambda root: (root / "truth.csv").unlink(), r"truth\.csv: missing"),
    "short truth": (lambda root: cut(root / "truth.csv", 1000), r"truth\.csv: column .* no numbers"),
    "truth of some trials": (
        lambda root: pd.read_csv(root / "truth.csv").iloc[:-1].to_csv(root / "truth.csv", index=False),
        r"truth\.csv: expected one row for each trial",
    ),
    "words for truth": (
        lambda root: (
            pd.read_csv(root / "truth.csv").astype({"trial": str}).assign(trial="one").to_csv(root / "truth.csv")
        ),
        r"truth\.csv: column trial has values that are no numbers",
    ),
    "deep mark": (lambda root: (root / "SYNTHETIC").write_text("[" * 100_000), r"SYNTHETIC: expected JSON"),
    "no clips": (lambda root: [clip.unlink() for clip in root.rglob("*.avi")], r"not one window"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_wrong_input_is_one_clear_error_and_leaves_no_cache(fault, tree, tmp_path, monkeypatch):
    monkeypatch.setenv("CDGKD_HOME", str(tmp_path / "home"))
    plant, message = FAULTS[fault]
    plant(tree)
    with pytest.raises(DataError, match=message) as caught:
        load_windows(Params(dataset="deap", data_root=str(tree), profile="smoke"), n_jobs=1)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("home/**/*"))


UNUSABLE = {
    "flat": (lambda eeg: np.full_like(eeg, 3.0), "flat for 4 s"),
    "flat in one window": (lambda eeg: np.where(np.arange(eeg.size) >= 384 + 512, 0.0, eeg), "flat for 4 s"),
    "beyond the amplifier": (lambda eeg: np.where(np.arange(eeg.size) == 500, 1e300, eeg), "60 mV"),
}


@pytest.mark.parametrize("fault", UNUSABLE)
def test_a_trial_with_an_unusable_channel_is_left_out_by_name(fault, tree, from_disk, tmp_path, monkeypatch):
    monkeypatch.setenv("CDGKD_HOME", str(tmp_path / "home"))
    change, said = UNUSABLE[fault]

    def plant(data, labels):
        data = np.array(data)
        data[2, 2] = change(data[2, 2])  # F3, in the 28
        data[1, 18] = 0.0  # Fz, which no window holds
        data[0, 39] = 0.0  # temperature
        return data, labels

    rewrite_dat(tree, plant)
    windows = load_windows(Params(dataset="deap", data_root=str(tree), profile="smoke"), n_jobs=1)
    ((subject, trial, reason),) = windows.meta["excluded"]
    assert (subject, trial) == (1, 3) and reason.startswith("data_preprocessed_python/s01.dat: trial 3: channel F3 ")
    assert said in reason
    kept = ~((from_disk.index["subject"] == 1) & (from_disk.index["trial"] == 3)).to_numpy()
    np.testing.assert_array_equal(windows.index["trial"], from_disk.index["trial"][kept])
    np.testing.assert_allclose(windows.eeg, from_disk.eeg[kept], rtol=1e-3)
    with pytest.raises(DataError, match=r"s01\.dat: trial 3: channel F3"):
        list(read_deap(tree))


def test_a_clip_that_ends_early_costs_its_windows_by_name(tree):
    with av.open(str(tree / CLIP)) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    with av.open(str(tree / CLIP), "w", format="avi") as container:
        stream = container.add_stream("libx264", rate=50, options={"preset": "ultrafast", "threads": "1"})
        stream.height, stream.width, stream.pix_fmt = *pictures[0].shape[:2], "yuv420p"
        for picture in pictures[:150]:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    trial = plan_subject(SETTINGS, 1).presentation.tolist().index(1) + 1
    found = prepare_tree(open_tree(tree))
    ((*which, reason),) = found.meta["excluded"]
    assert which == [1, trial] and reason.startswith("s01_trial01.avi: no frame with a face in window 1, left out")
    assert found.meta["dropped"] == 1 and len(found) == 15


def test_data_root_must_be_given():
    with pytest.raises(DataError, match="data_root"):
        load_windows(Params(dataset="deap"))


def test_load_windows_reads_once(tree, tmp_path, monkeypatch):
    monkeypatch.setenv("CDGKD_HOME", str(tmp_path / "home"))
    params = Params(dataset="deap", data_root=str(tree), profile="smoke")
    first = load_windows(params, n_jobs=1)
    monkeypatch.setattr(trees, "windows_from_trials", lambda *args, **kwargs: pytest.fail("prepared twice"))
    again = load_windows(params, n_jobs=1, repeat=5)
    np.testing.assert_array_equal(first.video, again.video)
    assert again.meta["fingerprint"] == deap_fingerprint(tree) and again.meta["skipped"] == 0
    assert not again.eeg.flags.writeable


@pytest.mark.parametrize(
    ("start", "patterns"),
    [
        ("twin/generator.py", load.TWIN_SOURCES),
        ("deap/reader.py", load.DEAP_SOURCES),
        ("windows.py", load.DEAP_SOURCES),
        ("deap/raw.py", load.DEAP_RAW_SOURCES),
        ("windows.py", load.DEAP_RAW_SOURCES),
        ("mahnob/reader.py", load.MAHNOB_SOURCES),
        ("windows.py", load.MAHNOB_SOURCES),
    ],
)
def test_cache_key_covers_all_sources(start, patterns):
    """Every module that the windows depend on stands in the list that the cache key hashes.

    Extractors stand in the key by their version, which holds the digest of their source.
    """
    folder = Path(load.__file__).parent
    closure, todo = set(), {folder / start}
    while todo:
        module = todo.pop()
        closure.add(module)
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level:
                base = module.parents[node.level - 1].joinpath(*(node.module or "").split("."))
                found = {base.with_suffix(".py"), *(base / f"{alias.name}.py" for alias in node.names)}
                todo |= {path for path in found if path.is_file() and path.is_relative_to(folder)} - closure
    listed = {path for pattern in patterns for path in folder.glob(pattern)}
    missing = {p.relative_to(folder).as_posix() for p in closure - listed if "extractors" not in p.parts}
    assert missing <= {"errors.py", "files/fingerprint.py"}, "add the module to the list in load.py"
