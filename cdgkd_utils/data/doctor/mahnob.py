"""The doctor's look at a MAHNOB-HCI folder, complete or not, through the reader itself."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ..constants import TARGETS
from ..files.mark import SYNTHETIC_FILE
from ..mahnob.reader import SUBSETS, MahnobTree, open_mahnob
from ..mahnob.recording import MAHNOB_SFREQ, read_eeg
from ..mahnob.session import VIDEO_RATE
from ..mahnob.session_xml import N_MAHNOB_TRIALS
from ..types import DataError
from .report import Report, clip_facts, clip_table, spread

_LICENCE = "MAHNOB-HCI is handed out for research after signing the end user licence agreement on its own page"
_NO_BDF, _NO_VIDEO, _SHORT = (12, 15), (26,), (3, 9, 16)  # subjects, in the release itself
_N_SUBJECTS = 30


def diagnose_mahnob(root: Path, n_clips: int, deep: bool) -> Report:
    """Report on a MAHNOB-HCI folder; see :func:`~cdgkd_utils.data.doctor.diagnose.diagnose`."""
    report = Report(root, "mahnob", synthetic=(root / SYNTHETIC_FILE).is_file())
    try:
        tree = open_mahnob(root)
    except Exception as error:  # a doctor outlives the patient
        report.blockers.append(str(error))
        report.missing.append(("Sessions/<number>/session.xml", f"unpack the sessions here; {_LICENCE}"))
        return report
    table = tree.report()
    clips = table[table["kind"] == "S"]
    counts = table["kind"].value_counts()
    report.facts["sessions"] = (
        f"{len(table)}: {counts.get('S', 0)} emotional clips, {counts.get('N', 0)} neutral ones, "
        f"{counts.get('other', 0)} of other experiments"
    )
    report.facts["emotional clips with"] = ", ".join(
        f"{int(clips[column].sum())} {name}"
        for column, name in (("xml", "session.xml"), ("bdf", "EEG"), ("video", "face video"), ("labels", "ratings"))
    )
    report.facts["status pulses"] = f"2 in {int(clips['triggers'].sum())} of {int(clips['bdf'].sum())} recordings"
    usable = clips[clips["usable"]]
    for name, subjects in SUBSETS.items():
        inside = usable["subject"].isin(subjects)
        report.facts[f"subset {name}"] = (
            f"{int(inside.sum())} sessions of {usable[inside]['subject'].nunique()} subjects"
        )
    _trials(report, tree, clips)
    _gaps(report, clips)
    _signals(report, tree, n_clips, deep)
    report.count_usable()
    return report


def _trials(report: Report, tree: MahnobTree, clips: pd.DataFrame) -> None:
    report.trials = pd.DataFrame(
        [
            (found.subject, found.session, found.span.seconds, *(found.ratings[target] for target in TARGETS))
            for found in tree.usable
        ],
        columns=["subject", "trial", "seconds", *TARGETS],
    )
    out = clips[~clips["usable"]]
    report.excluded = out[["subject", "session", "reason"]].rename(columns={"session": "trial"}).reset_index(drop=True)
    rows = [
        {
            "subject": subject,
            "bdf": int(group["bdf"].sum()),
            "video": int(group["video"].sum()),
            "trials": int(group["usable"].sum()),
            "usable": bool(group["usable"].any()),
            "reason": _reason(subject, group, report.synthetic),
        }
        for subject, group in clips.groupby("subject")
    ]
    report.subjects = pd.DataFrame(rows, columns=["subject", "bdf", "video", "trials", "usable", "reason"])
    if len(report.trials):
        seconds = report.trials["seconds"]
        report.facts["clips"] = f"{seconds.min():.1f} s to {seconds.max():.1f} s, median {seconds.median():.1f} s"
    other = tree.report().query("kind == 'S' and usable and reason != ''")
    report.notes += [f"session {row.session}: {row.reason}" for row in other.itertuples()]


def _reason(subject: int, group: pd.DataFrame, synthetic: bool) -> str:
    n_out = int((~group["usable"]).sum())
    known = "" if synthetic else ", as in the release"
    if subject in _NO_BDF and not group["bdf"].any():
        return f"no EEG{known}"
    if subject in _NO_VIDEO and not group["video"].any():
        return f"no face video{known}"
    return f"{n_out} of {len(group)} sessions left out" if n_out else ""


def _gaps(report: Report, clips: pd.DataFrame) -> None:
    """Sessions of the release that are not here."""
    if report.synthetic:
        return
    counts = clips["subject"].value_counts()
    absent = [subject for subject in range(1, _N_SUBJECTS + 1) if subject not in counts]
    if absent:
        which = ", ".join(map(str, absent))
        report.missing.append((f"all sessions of subjects {which}", f"copy them from the release; {_LICENCE}"))
    few = [f"{subject} ({count})" for subject, count in sorted(counts.items()) if count < N_MAHNOB_TRIALS]
    few = [text for text in few if int(text.split()[0]) not in _SHORT]
    if few:
        report.missing.append((f"some of the 20 sessions of subjects {', '.join(few)}", "copy them from the release"))


def _signals(report: Report, tree: MahnobTree, n_clips: int, deep: bool) -> None:
    """Decode some clips and read some recordings; a few stand for a thousand unless `deep`."""
    sample = list(tree.usable) if deep else spread(tree.usable, n_clips)
    if not sample:
        return
    facts = [clip_facts(found.video, decode=True) for found in sample]
    report.clips, line = clip_table(facts)
    report.facts["face video, sample"] = f"{line} by their headers, {VIDEO_RATE} by session.xml"
    report.facts["EEG"] = f"{MAHNOB_SFREQ} Hz, 32 channels by name; {len(sample)} recordings read"
    for found, fact in zip(sample, facts, strict=True):
        problems = [f"{found.video}: {fact['problem']}; copy it again or remove it"] if fact["problem"] else []
        report.blockers += problems
        try:
            read_eeg(found.bdf, found.span)
        except DataError as error:  # costs this session, as it does when windows are prepared
            problems.append(str(error))
        except Exception as error:  # a doctor outlives the patient
            report.blockers.append(f"{found.bdf}: {error}")
        if problems:
            report.trials = report.trials[report.trials["trial"] != found.session].reset_index(drop=True)
            line = {"subject": found.subject, "trial": found.session, "reason": "; ".join(problems)}
            report.excluded.loc[len(report.excluded)] = line
            report.subjects.loc[report.subjects["subject"] == found.subject, "trials"] -= 1
