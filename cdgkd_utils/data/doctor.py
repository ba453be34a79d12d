"""The doctor: asks the readers about a data folder, and says what can be done with it. Nothing raises."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from ..config import shown
from . import deap, mahnob
from .constants import CHANNELS, N_FRAMES, N_VIDEO_FEATURES, SFREQ, TARGETS, WINDOW_SAMPLES, WINDOW_SECONDS
from .files import SYNTHETIC_FILE, lies_at
from .splits import make_folds
from .types import DataError, Trial
from .video import LARGEST_DAMAGE, clip_facts, damage

# dataset: (name, folder that shows it, opening, trials)
_READERS = {
    "deap": ("DEAP", deap.DAT_FOLDER, deap.open_tree, deap.trials_of),
    "deap_raw": ("DEAP", deap.RAW_FOLDER, deap.open_raw_tree, deap.trials_of),
    "mahnob": ("MAHNOB-HCI", mahnob.SESSION_FOLDER, mahnob.open_mahnob, mahnob.trials_of),
}
# folder: what lies in it, by its pattern
_PLACES = {
    deap.DAT_FOLDER: r"s\d\d\.dat",
    deap.RAW_FOLDER: r"s\d\d\.bdf",
    deap.VIDEO_FOLDER: r"s\d+_trial\d+\.avi",
    mahnob.SESSION_FOLDER: r"session\.xml",
}
_ALL_CLIPS = 64  # so many clips are decoded as a matter of course; of more, some, unless asked for all
_WINDOW_BYTES = 2 * (len(CHANNELS) * WINDOW_SAMPLES + N_FRAMES * N_VIDEO_FEATURES) + N_FRAMES  # as stored
_SHOWN = 12  # trials that are left out, in the text
_HOW_TO = (
    "DEAP (data_preprocessed_python, metadata_csv, face_video) and MAHNOB-HCI (Sessions) are handed out for research "
    "after signing the end user licence agreements on their own pages; dataset='twin' runs without them"
)


@dataclass
class Report:
    """State of a data folder."""

    root: Path
    kind: str = ""
    trials: pd.DataFrame = field(default_factory=pd.DataFrame)
    excluded: list[tuple[str, int, int, str]] = field(default_factory=list)
    runs: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def usable(self) -> bool:
        """The notebooks run on this folder as it is, in one way or another."""
        return "" in self.runs.values()

    def text(self) -> str:
        """The report for reading, without absolute paths."""
        synthetic = ", SYNTHETIC (written by the twin)" if (self.root / SYNTHETIC_FILE).is_file() else ""
        blocks = [f"{shown(self.root)}: {self.kind or 'neither DEAP nor MAHNOB-HCI'}{synthetic}"]
        for dataset in self.runs if len(self.trials) else ():
            table = self.trials[self.trials["dataset"] == dataset]
            counts = table.groupby("subject")["seconds"].agg(trials="count", seconds="sum").round(1)
            n = int((table["seconds"] // WINDOW_SECONDS).sum())
            size = f"{n} windows of 4 s, {n * _WINDOW_BYTES / 1e6:.1f} MB once prepared"
            blocks.append(f"dataset='{dataset}': {len(table)} trials, {size}\n{counts.to_string()}")
        lines = [f"{name}, subject {who}, trial {trial}: {why}" for name, who, trial, why in self.excluded]
        if len(lines) > _SHOWN:
            lines[_SHOWN:] = [f"... and {len(lines) - _SHOWN} more"]
        runs = [f"dataset='{name}': {why or 'run'}" for name, why in self.runs.items()]
        runs += ["dataset='twin': run, without any files"]
        for title, found in (("Left out", lines), ("Worth knowing", self.notes), ("Notebooks", runs)):
            if found:
                blocks.append("\n".join([title, *(f"- {line}" for line in found)]))
        text = "\n\n".join(blocks)
        for form in {str(self.root), str(self.root.absolute())} - {"."}:
            text = text.replace(f"{form}{os.sep}", "").replace(form, shown(self.root))
        return text + "\n"


def check_folder(path: str | os.PathLike, deep: bool = False) -> Report:
    """Examine a folder of DEAP or MAHNOB-HCI, complete or not.

    Parameters
    ----------
    path : path-like
        The folder that holds ``data_preprocessed_python`` and so on (DEAP) or ``Sessions`` (MAHNOB-HCI).
    deep : bool
        Decode every clip, even if there are more than 64, and read every original recording.

    Returns
    -------
    Report
        ``report.text()`` is for reading, ``report.usable`` says whether the notebooks run on the folder.

    Examples
    --------
    >>> print(check_folder("DEAP").text())  # doctest: +SKIP
    """
    root = Path(path).expanduser()
    report = Report(root, notes=_misplaced(root))
    ways = [name for name, (_, folder, *_) in _READERS.items() if (root / folder).is_dir()]
    if not ways and (root / deap.VIDEO_FOLDER).is_dir():
        ways = ["deap"]
    if not ways:
        report.notes.append(_HOW_TO)
        return report
    report.kind, rows = _READERS[ways[0]][0], [row for dataset in ways for row in _usable(report, dataset, deep)]
    report.trials = pd.DataFrame(rows, columns=["dataset", "subject", "trial", "seconds", *TARGETS])
    for dataset in ways:
        table = report.trials[report.trials["dataset"] == dataset].reset_index(drop=True)
        report.runs[dataset] = report.runs.get(dataset) or _split_obstacle(table)
    return report


def _usable(report: Report, dataset: str, deep: bool) -> Iterator[tuple]:
    """Rows of the usable trials; others go into the report."""
    *_, opened, trials_of = _READERS[dataset]
    try:
        tree = opened(report.root)
        subjects = tree.subjects or sorted({found.subject for found in tree.sessions if found.kind == "S"})
    except Exception as error:  # a doctor outlives the patient
        report.runs[dataset] = str(error)
        return
    found: list[Trial] = []
    for subject in subjects:
        excluded: list[tuple[int, str]] = []
        try:
            if dataset == "deap_raw" and not deep:
                deap.open_recording(tree, subject)
                for row in tree.rows(subject).dropna(subset="clip").rename(columns=str.lower).itertuples():
                    place, ratings = (subject, row.experiment_id, row.trial), {n: getattr(row, n) for n in TARGETS}
                    found.append(Trial(*place, "", tree.seconds, None, ratings, row.clip))
            else:  # the seconds of the EEG take its place
                read = trials_of(tree, [subject], excluded=excluded)
                found += (replace(trial, eeg=trial.eeg.shape[1] / SFREQ, baseline=None) for trial in read)
        except Exception as error:
            report.runs.setdefault(dataset, str(error))
        report.excluded += [(dataset, subject, trial, reason) for trial, reason in excluded]
    step = 1 if deep or len(found) <= _ALL_CLIPS else len(found) // 3
    if step > 1:
        report.notes.append(f"{dataset}: {len(found[::step])} of {len(found)} clips decoded; --deep decodes all")
    for place, trial in enumerate(found):
        try:
            reason, notes = _examine_clip(trial, decode=place % step == 0)
        except DataError as error:  # the preparation stops there
            reason, notes = str(error), []
            report.runs.setdefault(dataset, reason)
        report.notes += [note for note in notes if note not in report.notes]
        if reason:
            report.excluded.append((dataset, trial.subject, trial.trial, reason))
        else:
            yield dataset, trial.subject, trial.trial, float(trial.eeg), *(trial.ratings[name] for name in TARGETS)


def _examine_clip(trial: Trial, decode: bool) -> tuple[str, list[str]]:
    """Why a trial's clip is left out, empty where it is not; and what else is to be known about it."""
    facts, lasts, name = clip_facts(trial.video), float(trial.eeg), trial.video.name
    n, n_masked = damage(trial.video) if decode else (len(facts.places), 0)
    if n_masked > LARGEST_DAMAGE * n:
        return f"{name}: {n_masked} of {n} pictures are damaged", []
    shows = facts.seconds * facts.rate / trial.video_rate if trial.video_rate else facts.seconds
    notes = [f"{name}: {n_masked} of {n} pictures are damaged and masked"] if n_masked else []
    if lasts - shows >= WINDOW_SECONDS:
        notes.append(f"{name}: {shows:.1f} s of {lasts:g} s; windows after its end are left out")
    if not trial.video_rate and shows - lasts >= WINDOW_SECONDS:
        notes.append(f"{name}: {shows:.1f} s, but its trial has {lasts:g} s; is the EEG at {SFREQ:g} Hz?")
    return "", notes


def _split_obstacle(trials: pd.DataFrame) -> str:
    """Why usable trials cannot be split as the notebooks split them; empty if they can."""
    if trials.empty:
        return "not one usable trial"
    for target in TARGETS:
        labels = (trials[target].to_numpy() > 5).astype(int)
        try:
            make_folds(trials[["subject", "trial"]], labels, "trial+subject", seed=0)
        except ValueError as error:
            return f"{target}: {error}"
    return ""


def _misplaced(root: Path) -> list[str]:
    """Files that belong to one of the data sets but lie one folder off, or are spelt in another case."""
    if not root.is_dir():
        return ["a file; give the folder that holds the data set" if root.exists() else "no such folder"]
    notes = []
    for folder, pattern in _PLACES.items():
        names = [path.name for path in (root / folder).glob("*")]
        if folder in (deap.DAT_FOLDER, deap.RAW_FOLDER):
            odd = [n for n in names if re.fullmatch(r"s\d+" + pattern[-5:], n, re.I) and not re.fullmatch(pattern, n)]
            notes += [f"{folder}/{name}: not read; rename it to s01.{pattern[-3:]} and so on" for name in sorted(odd)]
        right = r"s\d\d" if folder == deap.VIDEO_FOLDER else r"\d+" if folder == mahnob.SESSION_FOLDER else pattern
        if not any(re.fullmatch(right, name) for name in names) and (where := lies_at(root, pattern)):
            notes.append(f"{folder}: nothing there{where}")
    for parent in list(root.absolute().parents)[:2]:
        if any((parent / folder).is_dir() for _, folder, *_ in _READERS.values()):
            notes.append(f"its parent folder {parent.name} looks like a data set: give that folder")
    if packed := sorted(path.name for path in root.glob("*.zip")):
        notes.append(f"archives: {', '.join(packed)}; unpack them side by side")
    return notes
