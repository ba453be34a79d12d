"""The doctor's look at a DEAP folder, complete or not, through the reader itself."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ..constants import MISSING_CLIPS, SFREQ, TARGETS, VIDEO_FPS, VIDEO_SUBJECTS, WINDOW_SECONDS
from ..deap.ratings import VIDEO_FOLDER
from ..deap.raw import RAW_FOLDER
from ..deap.reader import DAT_FOLDER, open_tree, trials_of
from ..files.mark import SYNTHETIC_FILE
from .deap_raw import examine_recordings
from .report import Report, clip_facts, clip_table, spread

MARKS = (DAT_FOLDER, VIDEO_FOLDER, RAW_FOLDER, "metadata_csv", "data_preprocessed_matlab")
_LICENCE = "DEAP is handed out for research after signing the end user licence agreement on its own page"
# piece: (file that shows it, how it comes here)
_PIECES = {
    DAT_FOLDER: ("s01.dat", "unpack data_preprocessed_python.zip here"),
    "metadata_csv": ("participant_ratings.csv", "unpack metadata_csv.zip here"),
    VIDEO_FOLDER: ("s01/s01_trial01.avi", "unpack face_video.zip here"),
}


def diagnose_deap(root: Path, n_clips: int, deep: bool) -> Report:
    """Report on a DEAP folder; see :func:`~cdgkd_utils.data.doctor.diagnose.diagnose`."""
    report = Report(root, "deap", synthetic=(root / SYNTHETIC_FILE).is_file())
    folder = root / VIDEO_FOLDER
    eeg = {int(path.name[1:3]) for path in (root / DAT_FOLDER).glob("s[0-9][0-9].dat")}
    raw = {int(path.name[1:3]) for path in (root / RAW_FOLDER).glob("s[0-9][0-9].bdf")}
    clips = {int(path.name[1:3]): sorted(path.glob("s*_trial*.avi")) for path in folder.glob("s[0-9][0-9]")}
    report.facts["EEG, preprocessed"] = f"{len(eeg)} files ({_span(eeg)})"
    report.facts["EEG, raw"] = f"{len(raw)} recordings ({_span(raw)}), for dataset='deap_raw' only"
    report.facts["face video"] = f"{sum(map(len, clips.values()))} clips of {_span(clips)}"
    _missing(report, eeg, clips, raw)
    if eeg or not raw:
        try:
            open_tree(root)
        except Exception as error:  # the reader's word on the folder as a whole
            report.blockers.append(str(error))
    sample, rows, usable, excluded = [], [], [], []
    for subject in sorted(eeg | raw | set(clips)):
        trials, left_out, reason = _subject(report, subject, subject in eeg, clips.get(subject, []))
        usable += trials
        excluded += left_out
        rows.append(
            {
                "subject": subject,
                "dat": subject in eeg,
                "bdf": subject in raw,
                "clips": len(clips.get(subject, [])),
                "trials": len(trials),
                "usable": bool(trials),
                "reason": reason,
            }
        )
        sample += clips.get(subject, [])
    report.subjects = pd.DataFrame(rows, columns=["subject", "dat", "bdf", "clips", "trials", "usable", "reason"])
    report.trials = pd.DataFrame(usable, columns=["subject", "trial", "seconds", *TARGETS])
    report.excluded = pd.DataFrame(excluded, columns=["subject", "trial", "reason"])
    _clips(report, sample if deep else spread(sample, n_clips))
    report.count_usable()
    examine_recordings(report, raw, {clip for clips_of in clips.values() for clip in clips_of}, deep)
    return report


def _span(subjects) -> str:
    numbers = sorted(subjects)
    return f"s{numbers[0]:02d} to s{numbers[-1]:02d}" if numbers else "nobody"


def _missing(report: Report, eeg: set[int], clips: dict[int, list[Path]], raw: set[int]) -> None:
    """What the release has and this folder has not; the gaps of the release itself are only noted."""
    for name, (example, how) in _PIECES.items():
        present = {DAT_FOLDER: bool(eeg), VIDEO_FOLDER: any(clips.values())}.get(
            name, (report.root / name / example).is_file()
        )
        if not present:
            report.missing.append((f"{name}/{example}", f"{how}; {_LICENCE}"))
    if report.synthetic:
        return
    for name, there, last in (("EEG (.dat)", eeg, 32), ("face video", {s for s in clips if clips[s]}, VIDEO_SUBJECTS)):
        absent = sorted(set(range(1, last + 1)) - there)
        if there and absent:
            which = ", ".join(f"s{subject:02d}" for subject in absent)
            report.missing.append((f"{name} of {which}", f"copy it from the release; {_LICENCE}"))
    if any(subject > VIDEO_SUBJECTS for subject in eeg | raw):
        report.notes.append("s23 to s32 were not filmed: they have no video in the release either")


def _subject(report: Report, subject: int, has_eeg: bool, clips: list[Path]) -> tuple[list, list, str]:
    """Usable trials as (subject, trial, seconds, ratings), those left out as (subject, trial, reason), and why."""
    if not has_eeg or not clips:
        absent = [name for name, there in ((".dat file", has_eeg), ("face video", bool(clips))) if not there]
        return [], [], f"no {' and no '.join(absent)}"
    damaged, lasts = {}, {}
    for clip in clips:
        facts = clip_facts(clip)
        lasts[clip] = facts.get("seconds", 0.0)
        if problem := facts["problem"]:
            damaged[clip] = problem
            report.blockers.append(f"{clip}: {problem}; copy the clip again, or remove it to leave its trial out")
    usable, left_out = [], []
    try:
        tree = open_tree(report.root, [subject])
        for row in tree.ratings[tree.ratings["clip"].isna()].itertuples():
            known = row.Trial > 40 - MISSING_CLIPS.get(subject, 0) and not report.synthetic
            why = (
                "no clip, in the release neither" if known else f"no clip s{subject:02d}_trial{int(row.Trial):02d}.avi"
            )
            left_out.append((subject, int(row.Experiment_id), why))
        unusable: list[tuple[int, str]] = []
        for trial in trials_of(tree, [subject], excluded=unusable):
            seconds = trial.eeg.shape[1] / SFREQ
            if trial.video in damaged:
                left_out.append((subject, trial.trial, f"{trial.video.name}: {damaged[trial.video]}"))
                continue
            if seconds - lasts[trial.video] >= WINDOW_SECONDS:
                report.notes.append(
                    f"{trial.video.name}: {lasts[trial.video]:g} s of {seconds:g} s; windows after its end are left out"
                )
            if lasts[trial.video] - seconds >= WINDOW_SECONDS:
                report.notes.append(
                    f"{trial.video.name}: {lasts[trial.video]:g} s, but its trial has {seconds:g} s; is the EEG at "
                    f"{SFREQ:g} Hz?"
                )
            usable.append((subject, trial.trial, seconds, *(trial.ratings[target] for target in TARGETS)))
            before = trial.baseline.shape[1] / SFREQ
            report.facts["trials"] = f"{before:g} s before and {seconds:g} s of the stimulus, at {SFREQ:g} Hz"
        left_out += [(subject, number, _short(reason, report.root)) for number, reason in unusable]
    except Exception as error:  # a doctor outlives the patient
        if str(error) not in report.blockers:
            report.blockers.append(str(error))
        return [], left_out, f"not readable: {_short(error, report.root)}"
    reason = f"{len(left_out)} of {len(left_out) + len(usable)} trials left out" if left_out else ""
    return usable, left_out, reason


def _short(error: Exception | str, root: Path) -> str:
    return str(error).replace(f"{root}/", "").split(";")[0]


def _clips(report: Report, sample: list[Path]) -> None:
    facts = [clip_facts(clip, decode=True) for clip in sample]
    if not facts:
        return
    report.clips, report.facts["clips, sample"] = clip_table(facts)
    for clip, fact in zip(sample, facts, strict=True):
        if fact["problem"] and not any(str(clip) in blocker for blocker in report.blockers):
            report.blockers.append(f"{clip}: {fact['problem']}; copy the clip again, or remove it")
        elif not fact["problem"] and abs(fact["fps"] - VIDEO_FPS) > 0.01 * VIDEO_FPS:
            report.notes.append(f"{clip.name}: {fact['fps']:g} frames per second, DEAP's clips have {VIDEO_FPS:g}")
