"""Damaged files: nothing in them is executed, and nothing but the named error comes out."""

import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_by_hand import LABELS, python2_dat

from cdgkd_utils.data.files import read_dat
from cdgkd_utils.data.mahnob import read_session
from cdgkd_utils.data.types import DataError

FEW = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
EXECUTED = []


def run_me(*_):
    EXECUTED.append(1)


class Evil:
    def __reduce__(self):
        return run_me, ("now",)


SOUND = python2_dat(np.zeros((3, 40, 896)), LABELS)
XML = (
    '<session sessionId="2" isStim="1" feltVlnc="7" feltArsl="4" feltCtrl="5" feltPred="3" cutLenSec="6.3" '
    'vidRate="60.9708" mediaFile="1.avi"><subject id="1"/><track type="Video" color="1" filename="a.avi"/></session>'
)


def read_or_name(reader, path, content):
    path.write_bytes(content)
    try:
        reader(path)
    except DataError as error:
        assert str(path) in str(error)


@FEW
@given(st.lists(st.tuples(st.integers(0, 759), st.integers(0, 255)), min_size=1, max_size=6), st.integers(0, 40))
def test_a_damaged_pickle_is_a_named_error(tmp_path, changes, cut):
    content = bytearray(SOUND)
    for place, value in changes:
        content[place if place < 700 else len(SOUND) - 760 + place] = value
    read_or_name(read_dat, tmp_path / "s01.dat", bytes(content[: len(content) - cut]))


@FEW
@given(st.binary(max_size=200), st.integers(0, 5))
def test_any_program_of_a_pickle_is_a_named_error(tmp_path, content, protocol):
    read_or_name(read_dat, tmp_path / "s01.dat", b"\x80" + bytes([protocol]) + content + b".")


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("content", [Evil(), {"data": Evil(), "labels": Evil()}, {b"data": print, b"labels": Evil}])
def test_nothing_in_a_pickle_is_executed(tmp_path, content, protocol):
    (tmp_path / "s01.dat").write_bytes(pickle.dumps(content, protocol))
    with pytest.raises(DataError, match=r"s01\.dat"):
        read_dat(tmp_path / "s01.dat")
    assert not EXECUTED


@pytest.mark.parametrize("protocol", range(2, 6))
def test_any_sound_pickle_of_two_arrays_is_read_or_named(tmp_path, protocol):
    data = np.arange(3 * 40 * 896.0).reshape(3, 40, 896)
    (tmp_path / "s01.dat").write_bytes(pickle.dumps({"data": data, "labels": np.asfortranarray(LABELS)}, protocol))
    if protocol in (3, 4):  # 2 wraps bytes in a call, 5 has another constructor
        found, labels = read_dat(tmp_path / "s01.dat")
        np.testing.assert_array_equal(found, data)
        np.testing.assert_array_equal(labels, LABELS)
    else:
        with pytest.raises(DataError, match=r"s01\.dat"):
            read_dat(tmp_path / "s01.dat")


@FEW
@given(st.lists(st.tuples(st.integers(0, len(XML) - 1), st.characters(codec="utf-8")), max_size=5), st.integers(0, 300))
def test_a_damaged_session_is_a_named_error(tmp_path, changes, cut):
    text = list(XML)
    for place, sign in changes:
        text[place] = sign
    content = "".join(text).encode()
    read_or_name(read_session, tmp_path / "session.xml", content[: len(content) - cut])


@FEW
@given(st.binary(max_size=300))
def test_any_bytes_are_no_session(tmp_path, content):
    read_or_name(read_session, tmp_path / "session.xml", content)


@pytest.mark.parametrize(
    "content",
    [
        '<!DOCTYPE s [<!ENTITY a SYSTEM "file:///etc/passwd">]><session sessionId="2" isStim="1">&a;</session>',
        "<!DOCTYPE s [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;&a;'>]><session mediaFile='&b;'/>",
        "<!DOCTYPE session SYSTEM 'http://example.org/s.dtd'><session/>",
        "<a>" * 100_000,
        "<a>" * 50_000 + "</a>" * 50_000,
        '<?xml version="1.0" encoding="no-such"?><session/>',
        "<session>" + " " * (1 << 20) + "</session>",
    ],
)
def test_documents_that_attack_are_named(tmp_path, content):
    (tmp_path / "session.xml").write_text(content)
    with pytest.raises(DataError, match=r"session\.xml"):
        read_session(tmp_path / "session.xml")
