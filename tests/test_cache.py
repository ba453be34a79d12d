"""The cache of prepared windows: built once, complete or absent, never silently wrong."""

import json

import numpy as np
import pandas as pd
import pytest

from cdgkd_utils.config import Params
from cdgkd_utils.data import cache, load
from cdgkd_utils.data.cache import prepared
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
    for name in ("eeg", "video", "frame_mask"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
        assert getattr(found, name).dtype == getattr(wanted, name).dtype
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

    def build(settings, n_jobs):
        built.append((settings.seed, settings.world))
        return make_windows(seed=settings.seed)

    monkeypatch.setattr(load, "prepare_twin", build)
    smoke = {"profile": "smoke"}
    assert_same(load.load_windows(Params(**smoke, seed=4), repeat=2), make_windows(seed=6))
    load.load_windows(Params(**smoke, seed=6))
    load.load_windows(Params(**smoke, seed=5, target="arousal"), repeat=1)
    assert built == [(6, "mixed")]
    load.load_windows(Params(**smoke, seed=6, world="eeg_rich"))
    load.load_windows(Params(profile="quick", seed=6))
    assert built == [(6, "mixed"), (6, "eeg_rich"), (6, "mixed")]


def test_new_generator_code_makes_old_windows_stale(tmp_path, monkeypatch):
    monkeypatch.setenv("CDGKD_HOME", str(tmp_path))
    monkeypatch.setattr(load, "prepare_twin", lambda settings, n_jobs: make_windows())
    before = load.load_windows(Params(profile="smoke")).meta["key"]
    monkeypatch.setattr(load, "TWIN_SOURCES", load.TWIN_SOURCES[:-1])
    assert load.load_windows(Params(profile="smoke")).meta["key"] != before
