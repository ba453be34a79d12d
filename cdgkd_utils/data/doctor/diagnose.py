"""The doctor: looks at a data folder and says what can be done with it.

It recognises DEAP and MAHNOB-HCI, complete or partial, and asks the readers themselves, so that it promises no
more than they keep. Whatever is wrong becomes part of the report; nothing raises.
"""

from __future__ import annotations

import os
from pathlib import Path

from .deap import MARKS as DEAP_MARKS
from .deap import diagnose_deap
from .report import NAMES, Report

__all__ = ["Report", "diagnose"]
_MARKS = {"deap": DEAP_MARKS, "mahnob": ("Sessions",)}
_HOW_TO = (
    "both data sets are handed out for research after signing the end user licence agreements on their own pages; "
    "dataset='twin' runs without them"
)
_SHOWN_NAMES = 8


def diagnose(path: str | os.PathLike, *, n_clips: int = 3, deep: bool = False) -> Report:
    """Examine a folder.

    Parameters
    ----------
    path : path-like
        The folder that holds ``data_preprocessed_python`` and so on (DEAP) or ``Sessions`` (MAHNOB-HCI).
    n_clips : int
        Clips to decode from start to end, spread over the folder (and, of MAHNOB-HCI, recordings to read).
    deep : bool
        Decode and read all of them.

    Returns
    -------
    Report
        ``report.text()`` is for reading, ``report.usable`` says whether the notebooks run on the folder.
    """
    root = Path(path).expanduser()
    try:
        kind = _kind(root)
        if kind == "deap":
            return diagnose_deap(root, n_clips, deep)
        if kind == "mahnob":
            from .mahnob import diagnose_mahnob  # MNE is heavy

            return diagnose_mahnob(root, n_clips, deep)
        return _unknown(root)
    except OSError as error:
        report = Report(root, "unknown")
        report.blockers.append(f"the folder cannot be read: {error.strerror or error}")
        return report


def _kind(root: Path) -> str:
    return next((kind for kind, marks in _MARKS.items() if any((root / mark).is_dir() for mark in marks)), "unknown")


def _unknown(root: Path) -> Report:
    """Neither data set: say what is there, and where one may be."""
    report = Report(root, "unknown")
    if not root.exists():
        report.blockers.append("no such folder")
    elif not root.is_dir():
        report.blockers.append("a file; give the folder that holds the data set")
    else:
        names = sorted(entry.name for entry in root.iterdir())
        rest = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
        report.facts["content"] = f"{', '.join(names[:_SHOWN_NAMES])}{rest}" if names else "empty"
        for folder in (
            *sorted(entry for entry in root.iterdir() if entry.is_dir()),
            *list(root.absolute().parents)[:3],
        ):
            if (kind := _kind(folder)) != "unknown":
                where = f"{root.name}/{folder.name}" if folder.parent == root else f"its parent folder {folder.name}"
                report.notes.append(f"{where} looks like {NAMES[kind]}: give that folder")
        if packed := [name for name in names if name.lower().endswith((".zip", ".tar", ".gz", ".rar", ".7z"))]:
            report.notes.append(f"archives: {', '.join(packed[:_SHOWN_NAMES])}; unpack them side by side")
    for kind, marks in _MARKS.items():
        report.missing.append((f"{NAMES[kind]} ({' or '.join(marks[:2])})", _HOW_TO))
    return report
