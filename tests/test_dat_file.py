"""The ``.dat`` file: Python 2's bytes out, nothing but arrays in."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from cdgkd_utils.data.dat_file import read_dat, write_dat
from cdgkd_utils.data.errors import DataError


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
