"""BDF files: the bytes of the format, MNE as the second reader, and refusals."""

from itertools import pairwise

import numpy as np
import pytest

from cdgkd_utils.data.files.bdf import open_bdf
from cdgkd_utils.data.files.bdf_writer import write_bdf, write_bdf_blocks
from cdgkd_utils.data.types import DataError

STEP = 524287 / 16777215  # µV
SFREQ = 64


@pytest.fixture
def recording(tmp_path):
    data = np.random.default_rng(0).normal(0, 3e3, (3, 40 * SFREQ))
    data[0] += 2e5
    status = np.full(data.shape[1], 0x18FF00)
    status[100:200] = 0x18FF04
    return write_bdf(tmp_path / "x.bdf", data, ["Fp1", "AF3", "EXG1"], SFREQ, status), data, status


def test_bytes_by_hand(tmp_path):
    low, high = -262144, 262143
    data = np.array([[low, high, low + STEP, high - 300 * STEP], [high, low, low, high]])
    path = write_bdf(tmp_path / "x.bdf", data, ["Fp1", "Cz"], 2, np.array([0, 4, 0x58FF04, 0xFFFFFF]), subject="s01")
    content = path.read_bytes()
    assert content[:256] == (
        b"\xffBIOSEMI" + b"s01".ljust(80) + b"synthetic".ljust(80) + b"01.01.1000.00.00"
        b"1024    " + b"24BIT".ljust(44) + b"2       1       3   "
    )
    columns = content[256:1024]
    assert columns[:48] == b"Fp1             Cz              Status          "
    numbers = 3 * (16 + 80)
    assert columns[numbers : numbers + 24] == b"uV      uV      Boolean "
    assert columns[numbers + 24 : numbers + 120] == (
        b"-262144 -262144 -8388608262143  262143  8388607 " + 3 * b"-8388608" + 3 * b"8388607 "
    )
    assert columns[-3 * 40 : -3 * 32] == 3 * b"2       " and columns[-3 * 32 :].strip() == b""
    # Records of 1 s, in each the channels one after the other; the lowest byte first.
    least, most = b"\x00\x00\x80", b"\xff\xff\x7f"
    first = least + most + most + least + b"\0\0\0" + b"\x04\0\0"
    second = b"\x01\x00\x80" + (8388607 - 300).to_bytes(3, "little") + least + most + b"\x04\xff\x58" + b"\xff" * 3
    assert content[1024:] == first + second


def test_mne_reads_it_back(recording):
    path, data, _ = recording
    raw = open_bdf(path, SFREQ)
    assert raw.ch_names == ["Fp1", "AF3", "EXG1", "Status"] and raw.info["sfreq"] == SFREQ
    assert np.abs(raw.get_data(picks=[0, 1, 2]) * 1e6 - data).max() <= STEP / 2 + 1e-6


@pytest.mark.parametrize(
    ("labels", "names", "kind", "values"),
    [
        # MNE knows a trigger channel by its name only, and cuts it to 17 bits then.
        (("Status",), ["Status"], "stim", {65280, 65284}),
        (("",), [""], "eeg", {0x18FF00, 0x18FF04}),
        (("", ""), ["-0", "-1"], "eeg", {0x18FF00, 0x18FF04}),
    ],
)
def test_labels_of_the_trigger_channel(tmp_path, recording, labels, names, kind, values):
    _, data, status = recording
    raw = open_bdf(write_bdf(tmp_path / "y.bdf", data, ["a", "b", "c "], SFREQ, status, status_labels=labels), SFREQ)
    assert raw.ch_names == ["a", "b", "c", *names] and raw.get_channel_types()[-1] == kind
    words = raw.get_data()[3:].astype(int)
    assert set(words[-1]) == values and not words[:-1].any()
    np.testing.assert_array_equal(words[-1] & 0xFF, status & 0xFF)


def test_pieces_make_the_same_file(tmp_path, recording):
    path, data, status = recording
    cuts = [0, 1, 3, 40]
    blocks = [(data[:, a * SFREQ : b * SFREQ], status[a * SFREQ : b * SFREQ]) for a, b in pairwise(cuts)]
    pieces = write_bdf_blocks(tmp_path / "y.bdf", blocks, ["Fp1", "AF3", "EXG1"], SFREQ)
    assert pieces.read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": np.full((2, 8), np.nan)}, "'Fp1' has values outside"),
        ({"data": np.array([[0.0] * 8, [0.0] * 7 + [262143.5]])}, "'Cz' has values outside"),
        ({"data": np.zeros((2, 7)), "status": np.zeros(7, int)}, r"multiple of sfreq=4; got \(2, 7\)"),
        ({"data": np.zeros((3, 8))}, "a row per label"),
        ({"data": np.zeros((2, 0)), "status": np.zeros(0, int)}, "not one second"),
        ({"status": np.zeros(9, int)}, r"got \(2, 8\) and \(9,\)"),
        ({"status": np.full(8, 1 << 24)}, "status: expected integers"),
        ({"status": np.full(8, -1)}, "status: expected integers"),
        ({"status": np.zeros(8)}, "status: expected integers"),
        ({"labels": ["Fp1", "C" * 17]}, "label 'C+': longer than the 16"),
        ({"labels": ["Fp1", "µ"]}, "label 'µ': .* ASCII"),
        ({"subject": "s" * 81}, "subject .* longer than the 80"),
        ({"sfreq": 0.5}, "sfreq: expected whole Hz"),
        ({"sfreq": 0}, "sfreq: expected whole Hz"),
    ],
)
def test_what_does_not_fit_leaves_nothing(tmp_path, change, message):
    good = {"data": np.zeros((2, 8)), "labels": ["Fp1", "Cz"], "sfreq": 4, "status": np.zeros(8, int)}
    write_bdf(tmp_path / "good.bdf", **good)
    with pytest.raises(ValueError, match=message):
        write_bdf(tmp_path / "bad.bdf", **good | change)
    assert [path.name for path in tmp_path.iterdir()] == ["good.bdf"]


def test_an_interruption_leaves_the_file_that_was_there(recording):
    path, data, status = recording
    before = path.read_bytes()

    def blocks():
        yield data[:, :SFREQ], status[:SFREQ]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_bdf_blocks(path, blocks(), ["Fp1", "AF3", "EXG1"], SFREQ)
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]


def edit(path, at, new):
    content = bytearray(path.read_bytes())
    content[at : at + len(new)] = new
    path.write_bytes(content)


def cut(path, keep):
    path.write_bytes(path.read_bytes()[:keep])


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda path: path.unlink(), "missing"),
        (lambda path: cut(path, 0), "no BioSemi BDF"),
        (lambda path: path.write_text("0       EDF"), "no BioSemi BDF"),
        (lambda path: cut(path, 200), "header is not readable"),
        (lambda path: cut(path, 1000), "header is not readable"),
        (lambda path: cut(path, 1280), "promises 40 records"),
        (lambda path: cut(path, path.stat().st_size - 1), "promises 40 records"),
        (lambda path: edit(path, 236, b"41      "), "promises 41 records"),
        (lambda path: edit(path, 236, b"-1      "), "promises -1 records"),
        (lambda path: edit(path, 252, b"9999"), "9999 channels"),
        (lambda path: edit(path, 252, b"four"), "header is not readable"),
        (lambda path: edit(path, 256 + 4 * 216, b"0       "), "promises 40 records"),
        (lambda path: edit(path, 256 + 4 * 104, b"what?   "), "MNE cannot read"),
        (lambda path: edit(path, 244, b"2       "), "sampled at 32 Hz, expected 64"),
    ],
)
def test_a_damaged_file_is_one_error_that_names_it(recording, fault, message):
    path, *_ = recording
    fault(path)
    with pytest.raises(DataError, match=rf"x\.bdf: .*{message}"):
        open_bdf(path, SFREQ)


def test_any_damage_to_the_header_opens_or_is_a_data_error(recording):
    path, *_ = recording
    content, rng = path.read_bytes(), np.random.default_rng(1)
    refused = 0
    for _ in range(150):
        damaged = bytearray(content)
        for at in rng.integers(0, 1280, 3):
            damaged[at] = rng.integers(0, 256)
        path.write_bytes(damaged)
        try:
            open_bdf(path, SFREQ)
        except DataError:
            refused += 1
    assert 10 < refused < 150
