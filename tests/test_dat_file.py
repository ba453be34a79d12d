"""The ``.dat`` file: Python 2's bytes out, nothing but arrays in."""

import mmap
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from cdgkd_utils.data.deap.dat_file import _Python2Pickler, read_dat, write_dat
from cdgkd_utils.data.types import DataError


def test_dat_has_the_bytes_of_python_2(tmp_path):
    path = tmp_path / "s01.dat"
    data = np.full((40, 40, 8064), -1.5)
    write_dat(path, data, np.full((40, 4), 5.0))
    assert path.stat().st_size == 103_220_699
    raw = path.read_bytes()
    assert raw.startswith(bytes.fromhex("80027d71002855066c6162656c73")) and b"numpy._core" not in raw
    assert b"cnumpy.core.multiarray\n_reconstruct\n" in raw and b"_codecs" not in raw
    with pytest.raises(UnicodeDecodeError, match="ascii"):
        pickle.loads(raw)
    assert pickle.loads(raw, encoding="latin1")["data"].shape == (40, 40, 8064)
    assert np.array_equal(read_dat(path)[0], data)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_runs_something_is_refused(tmp_path, protocol):
    class Attack:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    (tmp_path / "s01.dat").write_bytes(pickle.dumps({"labels": Attack(), "data": 0}, protocol))
    with pytest.raises(DataError, match=r"s01\.dat.*refers to"):
        read_dat(tmp_path / "s01.dat")
    assert not (tmp_path / "ran").exists()
    pickle.loads((tmp_path / "s01.dat").read_bytes())
    assert (tmp_path / "ran").exists(), "the planted pickle does nothing, so the test shows nothing"


def numbers(n_trials=3, n_times=1408, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n_trials, 40, n_times)), rng.uniform(1, 9, (n_trials, 4))


def is_mapped(array):
    while getattr(array, "base", None) is not None:
        array = array.base
    return isinstance(array, memoryview) or isinstance(getattr(array, "obj", None), mmap.mmap)


@pytest.mark.parametrize("n_trials", [3, 40], ids=["labels in a short string", "labels in a long string"])
@pytest.mark.parametrize("order", ["labels first", "data first"])
def test_mapped_and_unpickled_are_the_same_numbers(tmp_path, n_trials, order):
    path = tmp_path / "s01.dat"
    data, labels = numbers(n_trials, 900)
    data[0, 0, :3] = [-0.0, 5e-324, 1e308]
    # Numbers that look like the mark before the payload must not be taken for it.
    labels[0] = np.frombuffer(b"abc\x89T\x00\x00\x10" * 4)
    if order == "labels first":
        write_dat(path, data, labels)
    else:
        with open(path, "wb") as file:
            _Python2Pickler(file, protocol=2).dump({"data": data, "labels": labels})
    mapped, unpickled = read_dat(path), read_dat(path, mapped=False)
    assert is_mapped(mapped[0]) and not is_mapped(unpickled[0])
    for one, other, wanted in zip(mapped, unpickled, (data, labels), strict=True):
        assert one.tobytes() == other.tobytes() == wanted.tobytes() and one.dtype == other.dtype == np.float64
    assert not mapped[0].flags.writeable


OTHER_LAYOUTS = {
    "Fortran order": lambda data, labels: {"labels": labels, "data": np.asfortranarray(data)},
    "single precision": lambda data, labels: {"labels": labels, "data": data.astype(np.float32)},
    "more content": lambda data, labels: {"labels": labels, "data": data, "note": "a"},
    "labels are the data": lambda data, labels: {"labels": data, "data": data},
    "data twice": lambda data, labels: {"labels": labels, "data": data, "again": data.copy()},
}


@pytest.mark.parametrize("layout", OTHER_LAYOUTS)
def test_other_layouts_are_read_as_the_unpickler_reads_them(tmp_path, layout):
    path = tmp_path / "s01.dat"
    with open(path, "wb") as file:
        _Python2Pickler(file, protocol=2).dump(OTHER_LAYOUTS[layout](*numbers()))

    def outcome(mapped):
        try:
            return [array.tobytes() + str(array.dtype).encode() for array in read_dat(path, mapped)]
        except DataError as error:
            return str(error)

    assert outcome(True) == outcome(False)


def test_attack_behind_real_looking_numbers_is_refused(tmp_path):
    """A file in the release's layout up to its last bytes, which run something when unpickled freely."""
    path = tmp_path / "s01.dat"
    write_dat(path, *numbers())
    attack = f"cpathlib\nPath.touch\n(cpathlib\nPath\n(V{tmp_path}/ran\ntRtR0.".encode()
    raw = path.read_bytes()
    assert raw.endswith(b"u.")
    path.write_bytes(raw[:-1] + attack)
    with pytest.raises(DataError, match=r"refers to pathlib"):
        read_dat(path)
    assert not (tmp_path / "ran").exists()


def test_promise_of_two_thousand_million_objects_reserves_nothing(tmp_path):
    """A memo index of 2**31 - 1 makes the unpickler in C reserve 32 GB."""
    (tmp_path / "s01.dat").write_bytes(b"\x80\x02}r\xff\xff\xff\x7f.")
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="holds no dict"):
            read_dat(tmp_path / "s01.dat")
        assert tracemalloc.get_traced_memory()[1] < 1e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kept", [0, 100, 5_000])
def test_a_cut_file_is_named_with_a_reason(tmp_path, kept):
    path = tmp_path / "s01.dat"
    write_dat(path, np.zeros((2, 40, 896)), np.full((2, 4), 5.0))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DataError, match=r"s01\.dat: not a readable DEAP file \(.+\); it is damaged or truncated"):
        read_dat(path)


@pytest.mark.parametrize("code", [b"m8", b"M8", b"O8", b"V8", b"c8", b"f9"])
@pytest.mark.parametrize("mapped", [True, False])
def test_numpy_is_not_handed_the_state_of_another_type(tmp_path, code, mapped):
    """NumPy 2.4 ends the process when a time type (``m8``) gets a state without its unit: one changed byte does it."""
    path = tmp_path / "s01.dat"
    write_dat(path, *numbers())
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"U\x02f8", b"U\x02" + code, 1))
    with pytest.raises(DataError, match=r"s01\.dat: not a readable DEAP file \(its type of numbers"):
        read_dat(path, mapped)
