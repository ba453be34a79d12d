"""Reader of a MAHNOB-HCI folder (or of the twin written as one): EEG, felt ratings and the colour camera's clips.

::

    root/Sessions/<sessionId>/  session.xml
                                Part_<p>_S_Trial<t>_emotion.bdf              30 s, the clip, 30 s
                                P<p>-Rec1-..._C1 trigger _C_Section_<n>.avi  from the clip's start, and on past its end

Neutral sessions (``_N_``) and those of the tagging experiments share the tree; they are reported, not read.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ..constants import RATINGS
from ..files.mark import SYNTHETIC_FILE, TRUTH_FILE, read_mark, read_truth, tree_name
from ..types import DataError, Trial
from .recording import read_eeg
from .session import XML_FILE, MahnobSession, inspect_session
from .session_xml import session_place

SESSION_FOLDER = "Sessions"
_ALL = range(1, 31)
# Subjects of the subsets that publications use (data sheet: Soleymani et al., 2012).
SUBSETS = {
    "24": tuple(p for p in _ALL if p not in (3, 9, 12, 15, 16, 26)),  # complete sessions of both modalities
    "27": tuple(p for p in _ALL if p not in (9, 12, 15)),  # the data set's own paper; 26 of them have video
    "527": tuple(p for p in _ALL if p not in (12, 15, 26)),  # every session with EEG and video
}
_HOW_TO = (
    f"expected a MAHNOB-HCI folder with {SESSION_FOLDER}/2/{XML_FILE} and so on; the data set is handed out for "
    "research after signing the end user licence agreement on its own page; dataset='twin' runs without it"
)


@dataclass(frozen=True)
class MahnobTree:
    """What a MAHNOB-HCI folder holds, found by listing it.

    Attributes
    ----------
    root : Path
    sessions : tuple of MahnobSession
        Sorted by number; of the chosen subjects only.
    synthetic : dict or None
        Content of the ``SYNTHETIC`` file, which only the twin's folders have.
    """

    root: Path
    sessions: tuple[MahnobSession, ...]
    synthetic: dict | None

    @property
    def usable(self) -> tuple[MahnobSession, ...]:
        """The sessions that give trials."""
        return tuple(session for session in self.sessions if session.usable)

    @property
    def subjects(self) -> tuple[int, ...]:
        """Subjects with at least one usable session."""
        return tuple(sorted({session.subject for session in self.usable}))

    @property
    def name(self) -> str:
        """What numbers computed from this folder may be called."""
        return tree_name("MAHNOB-HCI", self.synthetic)

    @property
    def n_skipped(self) -> int:
        """Number of emotional clips that are not usable."""
        return sum(session.kind == "S" and not session.usable for session in self.sessions)

    def report(self) -> pd.DataFrame:
        """One row per session: what is there, whether it is usable, and why not.

        Returns
        -------
        DataFrame
            ``session, kind, subject, presentation, stimulus, xml, bdf, video, labels, triggers, usable, reason``.
        """
        rows = [
            {
                "session": found.session,
                "kind": found.kind,
                "subject": found.subject,
                "presentation": found.presentation,
                "stimulus": found.xml.media if found.xml else "",
                "xml": found.xml is not None,
                "bdf": found.bdf is not None,
                "video": found.video is not None,
                "labels": found.ratings is not None,
                "triggers": found.span is not None and found.span.by_pulses,
                "usable": found.usable,
                "reason": found.reason,
            }
            for found in self.sessions
        ]
        return pd.DataFrame(rows)

    def files(self) -> list[Path]:
        """Every file that decides what the reader yields."""
        fixed = [path for path in (self.root / SYNTHETIC_FILE, self.root / TRUTH_FILE) if path.is_file()]
        return [*fixed, *(path for found in self.usable for path in (found.xml.path, found.bdf, found.video))]

    def truth(self) -> pd.DataFrame | None:
        """The latents stored with a synthetic folder, one row per trial; None for real data."""
        return read_truth(self.root, self.synthetic)


def open_mahnob(root: str | Path, subset: str | None = None, subjects: Iterable[int] | None = None) -> MahnobTree:
    """List a MAHNOB-HCI folder: what each session has and whether it is usable. Damaged sessions do not raise.

    Parameters
    ----------
    root : path-like
        The folder that holds ``Sessions``.
    subset : {"24", "27", "527"}, optional
        A standard subset of the subjects, see ``SUBSETS``; default: all.
    subjects : iterable of int, optional
        Take these only.

    Raises
    ------
    DataError
        The folder is no MAHNOB-HCI tree.
    ValueError
        The subset is unknown.
    """
    if subset is not None and subset not in SUBSETS:
        raise ValueError(f"subset: expected one of {', '.join(SUBSETS)}, got {subset!r}")
    root = Path(root).expanduser()
    folder = root / SESSION_FOLDER
    if not folder.is_dir():
        raise DataError(f"data_root {str(root)!r}: no folder {SESSION_FOLDER} in it; {_HOW_TO}")
    # Numbers only: unpacking and desktops leave stray files and folders.
    found = {int(p.name): p for p in folder.iterdir() if p.name.isascii() and p.name.isdigit() and p.is_dir()}
    if not found:
        raise DataError(f"data_root {str(root)!r}: no session in its folder {SESSION_FOLDER}; {_HOW_TO}")
    chosen = set(_ALL if subset is None else SUBSETS[subset])
    chosen &= set(_ALL if subjects is None else subjects)
    everyone = subset is None and subjects is None
    kept = [n for n in sorted(found) if everyone or ((place := session_place(n)) and place[0] in chosen)]
    sessions = tuple(inspect_session(found[number], number) for number in kept)
    return MahnobTree(root, sessions, read_mark(root))


def trials_of(
    tree: MahnobTree, subjects: Iterable[int] | None = None, excluded: list[tuple[int, str]] | None = None
) -> Iterator[Trial]:
    """Yield the trials of the usable sessions, sorted by session; one recording is in memory at a time.

    A trial's identity is the session's number, its stimulus the name of the film (the order of the films
    differs between subjects). Nobody rated liking here: it is NaN; ``feltPred``, predictability, is
    another question and stays in ``tree.sessions``.

    Parameters
    ----------
    tree : MahnobTree
    subjects : iterable of int, optional
        Some of ``tree.subjects``; default: all.
    excluded : list, optional
        Takes (session, reason) of each recording whose signals turn out unusable, which is left out then;
        without it they raise.

    Raises
    ------
    DataError
        A recording is damaged, or a channel of it is flat.
    """
    wanted = set(tree.subjects if subjects is None else subjects)
    for found in tree.usable:
        if found.subject not in wanted:
            continue
        try:
            baseline, eeg = read_eeg(found.bdf, found.span)
        except DataError as error:
            if excluded is None:
                raise
            excluded.append((found.session, str(error)))
            continue
        ratings = {name: float(found.ratings.get(name, math.nan)) for name in RATINGS}
        yield Trial(
            subject=found.subject,
            trial=found.session,
            presentation=found.presentation,
            stimulus=found.xml.media,
            eeg=eeg,
            baseline=baseline,
            ratings=ratings,
            video=found.video,
            video_rate=found.video_rate,
        )
