"""The doctor's look at DEAP's original recordings: their headers and triggers, and their signals if asked."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ..constants import TARGETS
from ..deap.raw import open_raw_tree, open_recording, raw_trials
from ..deap.raw_signal import RAW_SFREQ
from .report import Report, split_obstacle


def examine_recordings(report: Report, recorded: set[int], clips: set[Path], deep: bool) -> None:
    """Say whether ``dataset="deap_raw"`` works, and what is wrong with which recording.

    What is wrong with recordings becomes notes: ``dataset="deap"`` does without them.

    Parameters
    ----------
    report : Report
        Of the same folder; its ``blockers`` that name a clip or the ratings count here, too.
    recorded : set of int
        Subjects with a file in ``data_original``.
    clips : set of Path
        The face clips that are there.
    deep : bool
        Read the signals of every recording, too; some 15 s for an hour of recording.
    """
    if not recorded:
        return
    problems, rows, hours, n_stimuli = [], [], 0.0, 0
    try:
        whole = open_raw_tree(report.root, recorded)
    except Exception:  # somebody's ratings are wrong: each on their own, to see whose
        whole = None
    subjects_with_clips = {int(clip.parent.name[1:]) for clip in clips}
    for subject in sorted(recorded):
        try:
            tree = whole or open_raw_tree(report.root, [subject])
            found = open_recording(tree, subject)
            hours += found.raw.n_times / RAW_SFREQ / 3600
            n_stimuli += len(found.onsets)
            if subject not in subjects_with_clips:
                continue
            left_out: list[tuple[int, str]] = []
            if deep:
                for _ in raw_trials(tree, subject, with_video=True, excluded=left_out):
                    pass
            report.notes += [f"{reason}; with dataset='deap_raw' its trial is left out" for _, reason in left_out]
            gone = {trial for trial, _ in left_out}
            rows += [
                (subject, row.Experiment_id, tree.seconds, *(getattr(row, name.capitalize()) for name in TARGETS))
                for row in tree.rows(subject).itertuples()
                if row.clip is not None and row.Experiment_id not in gone
            ]
        except Exception as error:  # a doctor outlives the patient
            problems.append(str(error))
    report.facts["EEG, raw"] += f"; {n_stimuli} stimuli in {hours:.2g} h at {RAW_SFREQ} Hz"
    news = [said for said in dict.fromkeys(problems) if said not in report.blockers]
    report.notes += [f"for dataset='deap_raw': {said}" for said in news]
    damaged = [said for said in report.blockers if any(str(clip) in said for clip in clips)]
    n_problems = len({*problems, *damaged})
    trials = pd.DataFrame(rows, columns=["subject", "trial", "seconds", *TARGETS])
    report.other_ways["deap_raw"] = (
        f"{n_problems} problem{'s' if n_problems > 1 else ''} to repair first" if n_problems else split_obstacle(trials)
    )
