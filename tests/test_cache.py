"""The cache of prepared windows: built once, complete or absent, never silently wrong."""

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
import zlib
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cdgkd_utils.config import Params
from cdgkd_utils.data import cache, cache_files, load
from cdgkd_utils.data.cache import prepared
from cdgkd_utils.data.checksums import Damaged, checksum
from cdgkd_utils.data.errors import DataError
from cdgkd_utils.data.types import Windows

SETTINGS = {"dataset": "planted", "seed": 1, "shares": [0.2, None]}


def make_windows(n=3, seed=0, truth=True):
    rng = np.random.default_rng(seed)
    index = pd.DataFrame({"subject": 1, "trial": range(n), "presentation": 1, "stimulus": "007", "window": 0})
    for name in ("valence", "arousal", "dominance", "liking"):
        index[name] = rng.uniform(1, 9, n)
    return Windows(
        eeg=rng.normal(size=(n, 28, 512)).astype(np.float32),
        video=rng.normal(size=(n, 5, 768)).astype(np.float32),
        frame_mask=rng.random((n, 5)) < 0.5,
        index=index,
        truth=pd.DataFrame({"z_valence": rng.normal(size=n) * 1e-7}) if truth else None,
        meta={"name": "planted", "synthetic": True},
    )


class Builder:
    """Counts how often the windows are built."""

    def __init__(self, **options):
        self.options, self.n_built = options, 0

    def __call__(self):
        self.n_built += 1
        return make_windows(**self.options)


def assert_same(found, wanted):
    """What is stored are the wanted numbers as the nearest float16."""
    for name, dtype in (("eeg", np.float16), ("video", np.float16), ("frame_mask", bool)):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name).astype(dtype))
        assert getattr(found, name).dtype == dtype
    pd.testing.assert_frame_equal(found.index, wanted.index, check_exact=True)
    if wanted.truth is None:
        assert found.truth is None
    else:
        pd.testing.assert_frame_equal(found.truth, wanted.truth, check_exact=True)


def folders(root):
    return sorted(path.name for path in (root / "prepared").iterdir()) if (root / "prepared").exists() else []


@pytest.mark.parametrize("truth", [True, False])
def test_a_hit_does_not_build_again_and_is_exact(tmp_path, truth):
    build = Builder(truth=truth)
    first, second = prepared(SETTINGS, build, tmp_path), prepared(SETTINGS, build, tmp_path)
    assert build.n_built == 1
    for found in (first, second):
        assert_same(found, make_windows(truth=truth))
        assert isinstance(found.eeg, np.memmap) and not found.eeg.flags.writeable
    assert first.meta == second.meta
    assert first.meta["name"] == "planted" and first.meta["cache_settings"] == SETTINGS
    assert folders(tmp_path) == [first.meta["key"]]
    files = {path.name for path in (tmp_path / "prepared" / first.meta["key"]).iterdir()}
    assert files == {"eeg.npy", "video.npy", "mask.npy", "index.csv", "meta.json"} | ({"truth.csv"} if truth else set())


def test_key_follows_every_setting_but_not_their_order(tmp_path):
    build = Builder()
    key = prepared(SETTINGS, build, tmp_path).meta["key"]
    assert prepared(dict(reversed(SETTINGS.items())), build, tmp_path).meta["key"] == key
    others = [{**SETTINGS, "seed": 2}, {**SETTINGS, "seed": "1"}, {**SETTINGS, "shares": [None, 0.2]}, {"seed": 1}]
    keys = {prepared(other, build, tmp_path).meta["key"] for other in others}
    assert len(keys | {key}) == 5 and build.n_built == 5
    with pytest.raises(ValueError, match="JSON compliant"):
        prepared({"gain": float("nan")}, build, tmp_path)


def flip_a_byte(path):
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)


def change_meta(path):
    meta = json.loads(path.read_text())
    path.write_text(json.dumps({**meta, "key": "other"}))


DAMAGES = {
    "flipped bit": ("eeg.npy", flip_a_byte),
    "flipped feature bit": ("video.npy", flip_a_byte),
    "cut array": ("mask.npy", lambda path: path.write_bytes(path.read_bytes()[:-3])),
    "edited index": ("index.csv", lambda path: path.write_text(path.read_text().replace("007", "008"))),
    "edited truth": ("truth.csv", flip_a_byte),
    "lost array": ("video.npy", lambda path: path.unlink()),
    "lost meta": ("meta.json", lambda path: path.unlink()),
    "cut meta": ("meta.json", lambda path: path.write_text(path.read_text()[:50])),
    "foreign meta": ("meta.json", change_meta),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_noticed_named_moved_aside_and_repaired(tmp_path, damage):
    name, harm = DAMAGES[damage]
    build = Builder()
    key = prepared(SETTINGS, build, tmp_path).meta["key"]
    for number in (1, 2):
        harm(tmp_path / "prepared" / key / name)
        with pytest.warns(UserWarning, match=rf"{name}.*damaged-{number}") as caught:
            assert_same(prepared(SETTINGS, build, tmp_path), make_windows())
        assert len(caught) == 1 and build.n_built == number + 1
    assert folders(tmp_path) == [key, f"{key}.damaged-1", f"{key}.damaged-2"]
    prepared(SETTINGS, build, tmp_path)
    assert build.n_built == 3


@pytest.mark.parametrize("error", [RuntimeError("planted"), KeyboardInterrupt()])
def test_failed_build_leaves_nothing(tmp_path, error):
    def build():
        raise error

    with pytest.raises(type(error)):
        prepared(SETTINGS, build, tmp_path)
    assert not list(tmp_path.iterdir())


def test_failed_store_leaves_nothing_half_written(tmp_path, monkeypatch):
    monkeypatch.setattr(pd.DataFrame, "to_csv", lambda *args, **kwargs: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        prepared(SETTINGS, make_windows, tmp_path)
    assert folders(tmp_path) == []


@pytest.mark.parametrize("name", ["eeg", "video", "frame_mask"])
def test_windows_of_another_form_are_not_stored(tmp_path, name):
    windows = make_windows()
    setattr(windows, name, getattr(windows, name)[:2])
    with pytest.raises(ValueError, match=name.removeprefix("frame_")):
        prepared(SETTINGS, lambda: windows, tmp_path)
    assert folders(tmp_path) == []


def test_of_two_writers_the_first_wins_and_both_have_windows(tmp_path):
    """While one process builds, another one finishes the same windows."""

    def build_while_another_finishes():
        prepared(SETTINGS, lambda: make_windows(seed=1), tmp_path)
        return make_windows(seed=2)

    found = prepared(SETTINGS, build_while_another_finishes, tmp_path)
    assert_same(found, make_windows(seed=1))
    assert folders(tmp_path) == [found.meta["key"]]


def test_store_that_cannot_be_renamed_is_an_error(tmp_path, monkeypatch):
    def refuse(*args):
        raise PermissionError("planted")

    monkeypatch.setattr(cache.os, "replace", refuse)
    with pytest.raises(PermissionError):
        prepared(SETTINGS, make_windows, tmp_path)
    assert folders(tmp_path) == []


def test_load_windows_builds_each_twin_once(tmp_path, monkeypatch):
    monkeypatch.setenv("CDGKD_HOME", str(tmp_path))
    built = []

    def build(settings, subject, extractor, faces=None):
        if subject == 1:
            built.append((settings.seed, settings.world, extractor, faces is not None))
        return make_windows(seed=settings.seed * 100 + subject)

    monkeypatch.setattr(load, "prepare_subject", build)
    smoke = {"profile": "smoke"}
    found = load.load_windows(Params(**smoke, seed=4), n_jobs=1, repeat=2)
    assert_same(found, joined([make_windows(seed=600 + subject) for subject in range(1, 7)]))
    load.load_windows(Params(**smoke, seed=6), n_jobs=1)
    load.load_windows(Params(**smoke, seed=5, target="arousal"), n_jobs=1, repeat=1)
    assert built == [(6, "mixed", "hog", False)]
    load.load_windows(Params(**smoke, seed=6, world="eeg_rich"), n_jobs=1)
    load.load_windows(Params(profile="quick", seed=6), n_jobs=1)
    load.load_windows(Params(**smoke, seed=7, world="eeg_rich"), n_jobs=1)
    # Another world takes its faces from the stored one, where there is one.
    rich = ("eeg_rich", "hog", True)
    assert built[1:] == [(6, *rich), (6, "mixed", "hog", False), (7, "eeg_rich", "hog", False)]


def test_new_generator_code_makes_old_windows_stale(tmp_path, monkeypatch):
    monkeypatch.setenv("CDGKD_HOME", str(tmp_path))
    monkeypatch.setattr(load, "prepare_subject", lambda settings, subject, extractor: make_windows())
    before = load.load_windows(Params(profile="smoke"), n_jobs=1).meta["key"]
    monkeypatch.setattr(load, "TWIN_SOURCES", load.TWIN_SOURCES[:-1])
    assert load.load_windows(Params(profile="smoke"), n_jobs=1).meta["key"] != before


def joined(parts):
    return Windows(
        eeg=np.concatenate([part.eeg for part in parts]),
        video=np.concatenate([part.video for part in parts]),
        frame_mask=np.concatenate([part.frame_mask for part in parts]),
        index=pd.concat([part.index for part in parts], ignore_index=True),
        truth=pd.concat([part.truth for part in parts], ignore_index=True),
        meta=parts[0].meta,
    )


def logged_part(log, number, stop=None):
    """A subject's windows; the log has a line for each time they are made. `stop` is raised instead, if given."""
    if stop is not None:
        raise stop
    with open(log, "a") as file:
        file.write(f"{number}\n")
    return make_windows(n=number, seed=number)


def logged_parts(log, count=4, **stops):
    names = [f"s{number:02d}" for number in range(1, count + 1)]
    return {name: partial(logged_part, log, n, stops.get(name)) for n, name in enumerate(names, 1)}


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def pieces(meta):
    """(bytes, CRC-32) of the pieces of each array, from the text of a ``meta.json``."""
    files = json.loads(meta)["files"]
    return {name: files[name] for name in ("eeg.npy", "video.npy", "mask.npy")}


@pytest.mark.parametrize("kernel", ["whole", "in bits", "not at all", "gives up"])
def test_joined_pieces_have_the_checksums_of_their_bytes_however_they_were_copied(tmp_path, monkeypatch, kernel):
    real, calls = getattr(os, "copy_file_range", None), []

    def in_bits(source, target, count, place):
        calls.append(count)
        if kernel == "gives up" and len(calls) % 3 == 0:
            raise OSError("not between these file systems")
        return real(source, target, min(count, 5000), place)

    if real is None and kernel != "not at all":
        pytest.skip("os.copy_file_range is missing here")
    if kernel == "not at all":
        monkeypatch.delattr(os, "copy_file_range", raising=False)
    elif kernel != "whole":
        monkeypatch.setattr(os, "copy_file_range", in_bits)
    found = prepared(SETTINGS, logged_parts(tmp_path / "log"), tmp_path)
    assert_same(found, joined([make_windows(n=number, seed=number) for number in (1, 2, 3, 4)]))
    folder = tmp_path / "prepared" / found.meta["key"]
    for name, segments in pieces((folder / "meta.json").read_bytes()).items():
        content, place = (folder / name).read_bytes(), 0
        assert len(segments) == 5  # a header and four subjects
        for length, crc in segments:
            assert f"{zlib.crc32(content[place : place + length]):08x}" == crc
            place += length
        assert place == len(content)
    assert bool(calls) == (kernel in ("in bits", "gives up"))


@pytest.mark.parametrize("system", ["knows no reservation", "refuses it", "has reserved too little"])
def test_space_that_is_not_reserved_changes_nothing(tmp_path, monkeypatch, system):
    expected = prepared(SETTINGS, logged_parts(tmp_path / "log"), tmp_path / "undisturbed")
    real, asked = getattr(os, "posix_fallocate", None), []

    def changed(file, place, n_bytes):
        asked.append(n_bytes)
        if system == "refuses it":
            raise OSError(errno.ENOSPC, "planted")
        real(file, place, n_bytes // 3)

    if system == "knows no reservation" or real is None:
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    else:
        monkeypatch.setattr(os, "posix_fallocate", changed)
    prepared(SETTINGS, logged_parts(tmp_path / "log"), tmp_path / "disturbed")
    key = expected.meta["key"]
    assert contents(tmp_path / "disturbed/prepared" / key) == contents(tmp_path / "undisturbed/prepared" / key)
    n_bytes = {28 * 512 * 2, 5 * 768 * 2, 5}  # of a window
    assert not asked or set(asked) == {number * size for number in (1, 2, 3, 4, 10) for size in n_bytes}


def test_a_part_whose_header_has_changed_before_it_is_joined_is_noticed(tmp_path, monkeypatch):
    real = cache.join_arrays

    def turned(parts, lengths, folder):
        path = parts[1] / "video.npy"
        path.write_bytes(path.read_bytes().replace(b"(2, 5, 768)", b"(2, 768, 5)", 1))
        return real(parts, lengths, folder)

    monkeypatch.setattr(cache, "join_arrays", turned)
    with pytest.raises(Damaged, match=r"s02/video\.npy is not what was stored"):
        prepared(SETTINGS, logged_parts(tmp_path / "log"), tmp_path)


@pytest.mark.parametrize("kernel", [True, False])
def test_a_part_that_has_grown_before_it_is_joined_is_noticed(tmp_path, monkeypatch, kernel):
    real = cache.join_arrays

    def grown(parts, lengths, folder):
        with open(parts[1] / "eeg.npy", "ab") as file:
            file.write(b"more")
        return real(parts, lengths, folder)

    if not kernel:
        monkeypatch.delattr(os, "copy_file_range", raising=False)
    monkeypatch.setattr(cache, "join_arrays", grown)
    with pytest.raises(Damaged, match=r"s02/eeg\.npy is not as long as it was stored"):
        prepared(SETTINGS, logged_parts(tmp_path / "log"), tmp_path)


def test_tables_of_parts_are_joined_as_they_were_written(tmp_path):
    prepared(SETTINGS, logged_parts(tmp_path / "log", 2), tmp_path)
    (folder,) = (tmp_path / "prepared").iterdir()
    for name, of in (("index.csv", "index"), ("truth.csv", "truth")):
        one, two = (getattr(make_windows(n=number, seed=number), of).to_csv(index=False) for number in (1, 2))
        assert (folder / name).read_text() == one + two.split("\n", 1)[1]


def without_truth():
    return make_windows(n=2, seed=2, truth=False)


def with_a_column_more():
    windows = make_windows(n=2, seed=2)
    return replace(windows, index=windows.index.assign(age=30))


@pytest.mark.parametrize(("second", "named"), [(without_truth, "truth"), (with_a_column_more, "index")])
@pytest.mark.parametrize("swapped", [False, True])
def test_parts_whose_tables_differ_are_refused(tmp_path, second, named, swapped):
    parts = {"s01": partial(make_windows, 1), "s02": second}
    parts = dict(reversed(parts.items())) if swapped else parts
    with pytest.raises(ValueError, match=rf"{named}\.csv is missing in some parts or has other columns there"):
        prepared(SETTINGS, parts, tmp_path)


def test_each_changed_byte_of_joined_arrays_is_seen(tmp_path):
    key = prepared(SETTINGS, logged_parts(tmp_path / "log"), tmp_path).meta["key"]
    folder = tmp_path / "prepared" / key
    whole = contents(folder)
    for name in ("eeg.npy", "video.npy", "mask.npy"):
        ends = np.cumsum([length for length, _ in pieces(whole["meta.json"])[name]])
        for place in {0, *(ends - 1).tolist(), *ends[:-1].tolist(), len(whole[name]) // 2}:
            changed = bytearray(whole[name])
            changed[place] ^= 1
            (folder / name).write_bytes(changed)
            with pytest.raises(Damaged, match=rf"{name} is not what was stored"):
                cache_files.load(folder, key)
        for changed in (whole[name][:-1], whole[name] + b"x"):
            (folder / name).write_bytes(changed)
            with pytest.raises(Damaged, match=rf"{name} is not what was stored"):
                cache_files.load(folder, key)
        (folder / name).write_bytes(whole[name])
    cache_files.load(folder, key)


def test_preparations_with_one_checksum_for_each_file_are_read_and_joined_as_well(tmp_path):
    """As they were stored before checksums came in pieces."""

    def in_the_old_way(folder):
        meta = json.loads((folder / "meta.json").read_text())
        meta["files"] = {name: checksum(folder / name) for name in meta["files"]}
        (folder / "meta.json").write_text(json.dumps(meta))

    log, undisturbed = tmp_path / "log", tmp_path / "undisturbed"
    expected = prepared(SETTINGS, logged_parts(tmp_path / "other"), undisturbed)
    key = expected.meta["key"]
    with pytest.raises(OSError):
        prepared(SETTINGS, logged_parts(log, s04=OSError("disk full")), tmp_path)
    for number in (1, 2, 3):
        in_the_old_way(tmp_path / f"prepared/{key}.parts/s{number:02d}")
    assert_same(prepared(SETTINGS, logged_parts(log), tmp_path), expected)
    assert len(log.read_text().split()) == 4
    folder = tmp_path / "prepared" / key
    assert contents(folder) == contents(undisturbed / "prepared" / key)
    in_the_old_way(folder)
    assert_same(cache_files.load(folder, key), expected)
    (folder / "eeg.npy").write_bytes((folder / "eeg.npy").read_bytes()[:-2] + b"ab")
    with pytest.raises(Damaged, match=r"eeg\.npy is not what was stored"):
        cache_files.load(folder, key)


def test_a_part_that_loses_its_end_before_it_is_joined_is_noticed(tmp_path, monkeypatch):
    real = cache.join_arrays

    def shortened(parts, lengths, folder):
        with open(parts[1] / "eeg.npy", "r+b") as file:
            file.truncate((parts[1] / "eeg.npy").stat().st_size - 100)
        return real(parts, lengths, folder)

    monkeypatch.setattr(cache, "join_arrays", shortened)
    with pytest.raises(Damaged, match=r"s02/eeg\.npy is not as long as it was stored"):
        prepared(SETTINGS, logged_parts(tmp_path / "log"), tmp_path)
    monkeypatch.setattr(cache, "join_arrays", real)
    with pytest.warns(UserWarning, match="s02"):
        found = prepared(SETTINGS, logged_parts(tmp_path / "log"), tmp_path)
    assert_same(found, joined([make_windows(n=number, seed=number) for number in (1, 2, 3, 4)]))


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_parts_are_joined_in_order_to_the_bytes_of_one_piece(tmp_path, n_jobs):
    parts = logged_parts(tmp_path / "log")
    found = prepared(SETTINGS, parts, tmp_path / "parts", n_jobs=n_jobs)
    whole = joined([make_windows(n=number, seed=number) for number in (1, 2, 3, 4)])
    assert_same(found, whole)
    other = prepared(SETTINGS, lambda: whole, tmp_path / "whole")
    key = found.meta["key"]
    assert folders(tmp_path / "parts") == [key] and other.meta == found.meta
    by_parts, in_one = contents(tmp_path / "parts/prepared" / key), contents(tmp_path / "whole/prepared" / key)
    assert pieces(by_parts.pop("meta.json")) != pieces(in_one.pop("meta.json")) and by_parts == in_one
    assert sorted((tmp_path / "log").read_text().split()) == ["1", "2", "3", "4"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError("disk full"), MemoryError()])
def test_interrupted_preparation_resumes_with_the_parts_that_are_missing(tmp_path, error):
    log, undisturbed = tmp_path / "log", tmp_path / "undisturbed"
    key = prepared(SETTINGS, logged_parts(tmp_path / "other"), undisturbed).meta["key"]
    with pytest.raises(type(error)):
        prepared(SETTINGS, logged_parts(log, s03=error), tmp_path)
    assert folders(tmp_path) == [f"{key}.parts"] and log.read_text().split() == ["1", "2"]
    prepared(SETTINGS, logged_parts(log), tmp_path)
    assert log.read_text().split() == ["1", "2", "3", "4"] and folders(tmp_path) == [key]
    assert contents(tmp_path / "prepared" / key) == contents(undisturbed / "prepared" / key)


@pytest.mark.parametrize("killed_in", ["part", "join"])
def test_killed_preparation_resumes(tmp_path, killed_in):
    """SIGKILL while the third part is being written, or after all parts while they are being joined."""
    script = f"""
        import os, signal, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from pathlib import Path
        from cdgkd_utils.data import cache, cache_files
        import test_cache

        def die(real, here):
            def dying(*args, **options):
                if here(*args):
                    (args[-1] if isinstance(args[-1], Path) else args[1]).joinpath("eeg.npy").write_bytes(b"half")
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*args, **options)
            return dying

        if {killed_in!r} == "part":
            cache.store = die(cache.store, lambda windows, folder, meta: len(windows) == 3)
        else:
            cache.join_arrays = die(cache.join_arrays, lambda *args: True)
        log = Path({str(tmp_path / "log")!r})
        cache.prepared(test_cache.SETTINGS, test_cache.logged_parts(log), Path({str(tmp_path)!r}))
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False
    )
    assert result.returncode == -signal.SIGKILL, result.stderr
    n_done = 2 if killed_in == "part" else 4
    log = tmp_path / "log"
    assert len(log.read_text().split()) == (3 if killed_in == "part" else 4)
    log.unlink()
    found = prepared(SETTINGS, logged_parts(log), tmp_path)
    assert (log.read_text().split() if log.exists() else []) == ["1", "2", "3", "4"][n_done:]
    key = prepared(SETTINGS, logged_parts(tmp_path / "other"), tmp_path / "undisturbed").meta["key"]
    assert folders(tmp_path) == [key] == [found.meta["key"]]
    assert contents(tmp_path / "prepared" / key) == contents(tmp_path / "undisturbed/prepared" / key)


def test_damaged_and_foreign_parts_are_not_used(tmp_path):
    log = tmp_path / "log"
    with pytest.raises(KeyboardInterrupt):
        prepared(SETTINGS, logged_parts(log, s04=KeyboardInterrupt()), tmp_path)
    (waiting,) = (tmp_path / "prepared").iterdir()
    flip_a_byte(waiting / "s02/eeg.npy")
    meta = json.loads((waiting / "s03/meta.json").read_text())
    (waiting / "s03/meta.json").write_text(json.dumps(meta | {"key": "of other code"}))
    log.unlink()
    with pytest.warns(UserWarning, match=r"s0[23]/.*prepared again") as caught:
        prepared(SETTINGS, logged_parts(log), tmp_path)
    assert len(caught) == 2 and log.read_text().split() == ["2", "3", "4"]
    log.unlink()
    with pytest.raises(KeyboardInterrupt):
        prepared({**SETTINGS, "code": "old"}, logged_parts(log, s03=KeyboardInterrupt()), tmp_path)
    prepared({**SETTINGS, "code": "new"}, logged_parts(log), tmp_path)
    assert log.read_text().split() == ["1", "2", "1", "2", "3", "4"]


def test_error_in_the_data_leaves_no_parts(tmp_path):
    with pytest.raises(DataError, match="planted"):
        prepared(SETTINGS, logged_parts(tmp_path / "log", s03=DataError("planted")), tmp_path / "home")
    assert not list((tmp_path / "home").iterdir())

    def refuse(index, metas):
        assert (len(index), len(metas)) == (10, 4)
        raise DataError("all of it")

    with pytest.raises(DataError, match="all of it"):
        prepared(SETTINGS, logged_parts(tmp_path / "log"), tmp_path / "home", finish=refuse)
    assert not list((tmp_path / "home").iterdir())


@pytest.mark.parametrize("truth", [True, False])
def test_part_without_windows_changes_nothing(tmp_path, truth):
    def finish(index, metas):
        assert len(metas) == 4
        pd.testing.assert_frame_equal(index, expected.index, check_exact=True)
        return metas[0]

    empty = partial(make_windows, 0, truth=truth)
    parts = {"s00": empty, **logged_parts(tmp_path / "log", 2), "s03": empty}
    expected = joined([make_windows(n=number, seed=number) for number in (1, 2)])
    assert_same(prepared(SETTINGS, parts, tmp_path, finish=finish), expected)


def test_tables_survive_to_the_last_bit(tmp_path):
    assert_same(prepared(SETTINGS, partial(make_windows, 300), tmp_path), make_windows(300))


def interrupted(root, **changed):
    """The folder of an interrupted preparation under other settings, with one finished part."""
    with pytest.raises(KeyboardInterrupt):
        prepared({**SETTINGS, **changed}, logged_parts(root / "log", 2, s02=KeyboardInterrupt()), root)
    return max(root.glob("prepared/*.parts"), key=lambda path: path.stat().st_mtime_ns)


def age(folder, days, among=lambda path: True):
    """Make it look as if nothing had happened since."""
    then = time.time() - days * 86400
    for path in [*folder.rglob("*"), folder]:
        if among(path):
            os.utime(path, (then, then))


def test_parts_of_other_keys_are_removed_when_they_are_dead_and_kept_while_they_live(tmp_path):
    dead, young, living = (interrupted(tmp_path, code=code) for code in ("old", "new", "of another program"))
    assert len({dead, young, living}) == 3
    age(dead, 8)
    age(young, 6)
    age(living, 30, among=lambda path: path.parent != living)  # its newest part has just been stored
    done = prepared({**SETTINGS, "code": "newest"}, make_windows, tmp_path)
    assert folders(tmp_path) == sorted([young.name, living.name, done.meta["key"]])
    age(young, 8)
    assert prepared({**SETTINGS, "code": "newest"}, make_windows, tmp_path).meta == done.meta
    assert young.name in folders(tmp_path)  # who only reads does not tidy up
    (tmp_path / "log").unlink()
    prepared({**SETTINGS, "code": "of another program"}, logged_parts(tmp_path / "log", 2), tmp_path)
    assert (tmp_path / "log").read_text().split() == ["2"]  # what was kept is of use


def test_own_parts_are_used_however_old_they_are(tmp_path):
    age(interrupted(tmp_path), 400)
    (tmp_path / "log").unlink()
    prepared(SETTINGS, logged_parts(tmp_path / "log", 2), tmp_path)
    assert (tmp_path / "log").read_text().split() == ["2"]


def test_who_comes_back_to_old_parts_shows_life_before_others_tidy_up(tmp_path):
    mine = interrupted(tmp_path)
    age(mine, 400)

    def build_while_another_tidies_up():
        prepared({**SETTINGS, "code": "other"}, make_windows, tmp_path)
        assert mine.name in folders(tmp_path)
        return make_windows(n=2, seed=2)

    parts = logged_parts(tmp_path / "log", 1) | {"s02": build_while_another_tidies_up}
    assert len(prepared(SETTINGS, parts, tmp_path)) == 3


def test_parts_that_cannot_be_removed_are_left(tmp_path, monkeypatch):
    dead = interrupted(tmp_path, code="old")
    age(dead, 8)
    real = cache.shutil.rmtree

    def refuse(path, *args, **options):
        if path == dead:
            raise PermissionError("planted")
        real(path, *args, **options)

    monkeypatch.setattr(cache.shutil, "rmtree", refuse)
    found = prepared(SETTINGS, make_windows, tmp_path)
    assert folders(tmp_path) == sorted([dead.name, found.meta["key"]])


def test_a_full_size_subject_takes_a_32nd_of_less_than_1200_mb(tmp_path):
    found = prepared(SETTINGS, partial(make_windows, 600, truth=False), tmp_path)
    size = sum(path.stat().st_size for path in (tmp_path / "prepared" / found.meta["key"]).iterdir())
    assert 32 * size < 1.2e9
