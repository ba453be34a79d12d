"""MAHNOB-HCI's session.xml: what it says, and what is refused."""

import pytest

from cdgkd_utils.data.mahnob.session_xml import read_session, session_number, session_place
from cdgkd_utils.data.types import DataError

# As the real files are laid out: the declaration, then everything in one line.
REAL = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<session sessionId="2" date="2009.07.09" time="17:53:46" experimentType="emotion elicitation" isStim="1" '
    'feltEmo="11" feltArsl="4" feltVlnc="7" feltCtrl="5" feltPred="3" cutNr="2" cutLenSec="87.32" vidRate="60.9708" '
    'audRate="44100" audBeginSmp="0" audEndSmp="1" vidBeginSmp="0" vidEndSmp="1" mediaFile=" Funny_F.avi ">'
    '<subject id="1"/><track type="Video" color="1" filename="P1-Rec1_C1 trigger _C_Section_2.avi">'
    '<annotation type="Gaze" filename="P1-Rec1-All-Data-New_Section_2.tsv"/></track>'
    '<track type="Physiological" filename="Part_1_S_Trial1_emotion.bdf"><annotation type="x"/></track></session>'
)


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "session.xml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_what_a_session_says(write):
    found = read_session(write(REAL))
    assert (found.session, found.subject, found.is_stimulus) == (2, 1, True)
    assert found.ratings() == {"valence": 7, "arousal": 4, "dominance": 5, "predictability": 3}
    assert (found.media, found.clip_seconds, found.video_rate) == ("funny_f.avi", 87.32, 60.9708)
    video, recording = found.tracks
    assert video.colour and video.annotations == ("P1-Rec1-All-Data-New_Section_2.tsv",)
    assert video.filename == "P1-Rec1_C1 trigger _C_Section_2.avi"
    assert not recording.colour and recording.kind == "Physiological" and recording.annotations == ()


def test_any_number_of_tracks(write):
    start, rest = REAL.split("<subject", 1)
    assert read_session(write(start + '<subject id="1"/></session>')).tracks == ()
    one = '<subject id="1"/><track type="Video" filename="a.avi"/></session>'
    assert [track.filename for track in read_session(write(start + one)).tracks] == ["a.avi"]
    two = '<track filename="b.avi"><annotation filename="c"/><annotation filename="d"/></track><subject' + rest
    assert read_session(write(start + two)).tracks[0].annotations == ("c", "d")


def test_neutral_session_has_no_ratings(write):
    text = REAL.replace('isStim="1"', 'isStim="0"')
    for name in ("feltEmo", "feltArsl", "feltVlnc", "feltCtrl", "feltPred"):
        before, _, after = text.partition(f'{name}="')
        text = before + after.partition('" ')[2]
    found = read_session(write(text))
    assert not found.is_stimulus and dict(found.felt) == {}
    with pytest.raises(DataError, match=r"session\.xml: feltVlnc is None"):
        found.ratings()


@pytest.mark.parametrize("rating", ["0", "10", "4.5", "", "-3", "four", "²"])
def test_ratings_are_whole_numbers_from_1_to_9(write, rating):
    found = read_session(write(REAL.replace('feltArsl="4"', f'feltArsl="{rating}"')))
    with pytest.raises(DataError, match="feltArsl is"):
        found.ratings()


LAUGHS = '<!DOCTYPE s [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>'


@pytest.mark.parametrize(
    "prolog",
    [LAUGHS, '<!DOCTYPE s SYSTEM "file:///etc/passwd">', '<!DOCTYPE s [<!ENTITY a SYSTEM "x">]>', "<!DOCTYPE s>"],
)
def test_entities_and_document_types_are_refused(write, prolog):
    with pytest.raises(DataError, match=r"session\.xml: holds a document type"):
        read_session(write(REAL.replace("\n", f"\n{prolog}")))


@pytest.mark.parametrize("name", ["../2/x.avi", "/etc/passwd", "..", ".", "", "a\\b.avi", "C:x.avi", "a&#10;b"])
@pytest.mark.parametrize("place", ["Part_1_S_Trial1_emotion.bdf", "P1-Rec1-All-Data-New_Section_2.tsv"])
def test_names_that_lead_elsewhere_are_refused(write, name, place):
    with pytest.raises(DataError, match="is no plain name"):
        read_session(write(REAL.replace(place, name)))


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("session ", "sitting ", "no well-formed"),
        ('<subject id="1"/>', "", "0 elements <subject>"),
        ('<subject id="1"/>', '<subject id="1"/><subject id="2"/>', "2 elements <subject>"),
        ('id="1"', 'id="one"', "id is 'one'"),
        ('sessionId="2"', 'sessionId="0"', "sessionId is '0'"),
        ('isStim="1"', "", "isStim is None"),
        ('cutLenSec="87.32"', 'cutLenSec="nan"', "cutLenSec is 'nan'"),
        ('vidRate="60.9708"', 'vidRate="-1"', "vidRate is '-1'"),
        ('encoding="UTF-8"', 'encoding="martian"', "no well-formed"),
        (' filename="Part_1_S_Trial1_emotion.bdf"', "", "file name '' is no plain name"),
    ],
)
def test_one_error_names_the_fault(write, old, new, found):
    with pytest.raises(DataError, match=f"session.xml: {found}"):
        read_session(write(REAL.replace(old, new)))


def test_other_files_are_refused(write, tmp_path):
    with pytest.raises(DataError, match="first element is <html>"):
        read_session(write("<html><session/></html>"))
    with pytest.raises(DataError, match="larger than"):
        read_session(write(REAL + " " * (1 << 20)))
    with pytest.raises(DataError, match="not readable"):
        read_session(tmp_path / "absent.xml")
    for length in range(0, len(REAL.rstrip()) - 1, 7):  # wherever copying broke off
        with pytest.raises(DataError):
            read_session(write(REAL[:length]))


def test_numbers_of_sessions():
    """The formula of the real tree, and facts about it that were published for other reasons."""
    assert session_number(10, 15) == 1200  # its gaze file is P10-Rec1-All-Data-New_Section_30.tsv
    assert session_place(1854)[0] == 15 and session_place(1984)[0] == 16
    assert session_number(30, 20) == 3810
    all_places = {(p, t, n) for p in range(1, 31) for t in range(1, 21) for n in (True, False)}
    assert {session_place(session_number(*place)) for place in all_places} == all_places
    assert session_place(2) == (1, 1, False) and session_place(1) == (1, 1, True)
    for tagging in (42, 43, 72, 102, 130, 172, 0):
        assert session_place(tagging) is None
