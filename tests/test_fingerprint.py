"""Fingerprints of data sets: which changes are seen in files of which only blocks are read, and which are not."""

import hashlib
import shutil

import numpy as np
import pytest

from cdgkd_utils.data.files import fingerprint
from cdgkd_utils.data.files.fingerprint import SAMPLED_ABOVE, file_digest, files_digest, sampled_digest

SIZE = 3 * SAMPLED_ABOVE + 12345


@pytest.fixture
def data(tmp_path):
    raw = np.random.default_rng(0).bytes(SIZE)
    for name in ("clip.avi", "signal.dat"):
        (tmp_path / name).write_bytes(raw)
    (tmp_path / "table.csv").write_bytes(raw[:SAMPLED_ABOVE])
    return tmp_path


def digest(folder):
    return files_digest(folder, folder.iterdir())


def flip(path, place):
    with open(path, "r+b") as file:
        file.seek(place)
        byte = file.read(1)
        file.seek(place)
        file.write(bytes([byte[0] ^ 1]))


@pytest.mark.parametrize("name", ["clip.avi", "signal.dat", "table.csv"])
@pytest.mark.parametrize("place", [0, 100, -100, -1])
def test_a_byte_at_head_or_tail_is_seen(data, name, place):
    before = digest(data)
    flip(data / name, place % (data / name).stat().st_size)
    assert digest(data) != before


@pytest.mark.parametrize("name", ["clip.avi", "signal.dat", "table.csv"])
def test_size_and_name_are_seen(data, name):
    seen = [digest(data)]
    path = data / name
    raw = path.read_bytes()
    path.write_bytes(raw + b"\0")
    seen.append(digest(data))
    path.write_bytes(raw[:-1])
    seen.append(digest(data))
    path.write_bytes(raw)
    assert digest(data) == seen[0]
    path.rename(data / f"other-{name}")
    seen.append(digest(data))
    assert len(set(seen)) == 4


@pytest.mark.parametrize("n_read", [1, 7, 8])
def test_every_row_of_a_recording_is_seen(data, n_read):
    """The smallest whole thing that somebody may replace: a trial's channel in DEAP's .dat, 64,512 bytes."""
    path, before = data / "signal.dat", digest(data)
    raw = bytearray(path.read_bytes())
    row = slice(7 + n_read * 64_512, 7 + (n_read + 1) * 64_512)
    raw[row] = bytes(64_512)
    path.write_bytes(raw)
    assert digest(data) != before


def test_small_files_count_to_the_last_byte(data):
    before = digest(data)
    flip(data / "table.csv", 654_321)
    assert digest(data) != before and sampled_digest(data / "table.csv") == file_digest(data / "table.csv")


@pytest.mark.parametrize(("name", "place"), [("clip.avi", 200_000), ("signal.dat", 20_000)])
def test_a_byte_between_the_blocks_of_a_large_file_is_not_seen_as_documented(data, name, place):
    before, whole = digest(data), file_digest(data / name)
    flip(data / name, place)
    assert digest(data) == before and file_digest(data / name) != whole


@pytest.mark.parametrize("name", ["clip.avi", "signal.dat"])
def test_the_digest_is_of_the_documented_blocks(data, name):
    raw = (data / name).read_bytes()
    if name == "clip.avi":
        blocks = [raw[int(k * (SIZE - 32768) / 7) :][:32768] for k in range(8)]
    else:
        blocks = [raw[k:][:4096] for k in range(0, SIZE - 4096, 32768)] + [raw[-4096:]]
    wanted = hashlib.blake2b(str(SIZE).encode() + b"\0" + b"".join(blocks), digest_size=16).hexdigest()
    assert sampled_digest(data / name) == wanted
    assert blocks[0] == raw[:4096] + blocks[0][4096:] and blocks[-1] == raw[-len(blocks[-1]) :]


def test_a_copy_of_another_time_has_the_same_fingerprint(data, tmp_path_factory):
    copy = tmp_path_factory.mktemp("other") / "copy"
    shutil.copytree(data, copy, copy_function=shutil.copy)  # copies bytes, not times
    assert digest(copy) == digest(data)


def test_little_is_read_of_a_clip(data, monkeypatch):
    path, read = data / "clip.avi", []
    real = open

    def counting(*args, **options):
        file = real(*args, **options)
        inner, file_read = file, file.read

        class Counted:
            def __enter__(self):
                return self

            def __exit__(self, *_):
                inner.close()

            def read(self, size):
                read.append(size)
                return file_read(size)

            seek = staticmethod(file.seek)

        return Counted()

    monkeypatch.setattr(fingerprint, "open", counting, raising=False)
    sampled_digest(path)
    assert sum(read) == 8 * 32768
    sampled_digest(path)
    assert sum(read) == 8 * 32768  # once per process
