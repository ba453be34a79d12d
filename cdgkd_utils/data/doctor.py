"""The doctor: asks the readers about a data folder, and says what can be done with it. Nothing raises."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pandas as pd

from ..config import shown
from . import deap, mahnob
from .constants import CHANNELS, N_FRAMES, N_VIDEO_FEATURES, SFREQ, TARGETS, WINDOW_SAMPLES, WINDOW_SECONDS
from .deap_raw import open_recording
from .splits import make_folds
from .trees import SYNTHETIC_FILE, lies_at
from .types import DataError, Trial
from .video import LARGEST_DAMAGE, clip_facts, damage

# dataset: (folder that shows it, opening, trials)
_READERS = {
    "deap": (deap.DAT_FOLDER, deap.open_tree, deap.trials_of),
    "deap_raw": (deap.RAW_FOLDER, deap.open_raw_tree, deap.trials_of),
    "mahnob": (mahnob.SESSION_FOLDER, mahnob.open_mahnob, mahnob.trials_of),
}
_NAMES = {"deap": "DEAP", "deap_raw": "DEAP", "mahnob": "MAHNOB-HCI"}
_ALL_CLIPS = 64  # so many clips are decoded as a matter of course; of more, some, unless asked for all
_WINDOW_BYTES = 2 * (len(CHANNELS) * WINDOW_SAMPLES + N_FRAMES * N_VIDEO_FEATURES) + N_FRAMES  # as stored
_SHOWN = 12  # trials that are left out, in the text
_HOW_TO = (
    "DEAP (data_preprocessed_python, metadata_csv, face_video) and MAHNOB-HCI (Sessions) are handed out for research "
    "after signing the end user licence agreements on their own pages; dataset='twin' runs without them"
)


@dataclass
class Report:
    """State of a data folder.

    Attributes
    ----------
    root : Path
    kind : {"DEAP", "MAHNOB-HCI", ""}
    trials : DataFrame
        One row per usable trial and way of reading: ``dataset, subject, trial, seconds, valence, arousal``.
    excluded : list of (str, int, int, str)
        Data set, subject, trial and reason of each trial that is left out.
    runs : dict of str to str
        For each value of ``dataset`` that the folder may be read with, why it does not run; empty where it does.
    notes : list of str
        What is worth knowing: masked pictures, files in the wrong place.
    """

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
            counts = table.groupby("subject")["seconds"].agg(trials="count", seconds="sum")
            left = pd.Series([subject for name, subject, *_ in self.excluded if name == dataset], dtype=int)
            counts = counts.join(left.value_counts().rename("left out"), how="outer").fillna(0).round(1)
            n = int((table["seconds"] // WINDOW_SECONDS).sum())
            size = f"{n} windows of 4 s, {n * _WINDOW_BYTES / 1e6:.1f} MB once prepared"
            blocks.append(f"dataset='{dataset}': {len(table)} trials, {size}\n{_indented(counts.to_string())}")
        lines = [f"{name}, subject {who}, trial {trial}: {why}" for name, who, trial, why in self.excluded]
        if len(lines) > _SHOWN:
            lines[_SHOWN:] = [f"... and {len(lines) - _SHOWN} more"]
        runs = [f"dataset='{name}': {why or 'run'}" for name, why in self.runs.items()]
        for title, found in (
            ("Left out", lines),
            ("Worth knowing", self.notes),
            ("Notebooks", [*runs, "dataset='twin': run, without any files"]),
        ):
            if found:
                blocks.append(f"{title}\n" + _indented("\n".join(f"- {line}" for line in found)))
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
    report = Report(root)
    try:
        report.notes += _misplaced(root)
        ways = [name for name, (folder, *_) in _READERS.items() if (root / folder).is_dir()]
        if not ways and any((root / name).is_dir() for name in (deap.VIDEO_FOLDER, "metadata_csv")):
            ways = ["deap"]
    except OSError as error:
        ways, report.notes = [], [f"the folder cannot be read: {error.strerror or error}"]
    if not ways:
        report.notes.append(_HOW_TO)
        return report
    report.kind = _NAMES[ways[0]]
    clips: dict[Path, str] = {}
    rows = [row for dataset in ways for row in _usable(report, dataset, clips, deep)]
    report.trials = pd.DataFrame(rows, columns=["dataset", "subject", "trial", "seconds", *TARGETS])
    for dataset in ways:
        table = report.trials[report.trials["dataset"] == dataset].reset_index(drop=True)
        report.runs[dataset] = report.runs.get(dataset) or _split_obstacle(table)
    return report


def _usable(report: Report, dataset: str, clips: dict[Path, str], deep: bool) -> Iterator[tuple]:
    """Rows of the usable trials; others go into the report."""
    _, opened, trials_of = _READERS[dataset]
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
                open_recording(tree, subject)
                found += _promised(tree, subject)
            else:
                found += (_light(trial) for trial in trials_of(tree, [subject], excluded=excluded))
        except Exception as error:
            report.runs.setdefault(dataset, str(error))
        report.excluded += [(dataset, subject, trial, reason) for trial, reason in excluded]
    step = 1 if deep or len(found) <= _ALL_CLIPS else len(found) // 3
    if step > 1:
        report.notes.append(f"{dataset}: {len(found[::step])} of {len(found)} clips decoded; --deep decodes all")
    for place, trial in enumerate(found):
        if trial.video not in clips or place % step == 0:
            clips[trial.video] = _examine_clip(report, dataset, trial, clips.get(trial.video), place % step == 0)
        if clips[trial.video]:
            report.excluded.append((dataset, trial.subject, trial.trial, clips[trial.video]))
        else:
            yield dataset, trial.subject, trial.trial, float(trial.eeg), *(trial.ratings[name] for name in TARGETS)


def _light(trial: Trial) -> Trial:
    """The same with the seconds of its EEG in place of the EEG."""
    return replace(trial, eeg=trial.eeg.shape[1] / SFREQ, baseline=None)


def _promised(tree: deap.DeapTree, subject: int) -> Iterator[Trial]:
    for row in tree.rows(subject).itertuples():
        if row.clip is not None:
            ratings = {name: getattr(row, name.capitalize()) for name in TARGETS}
            yield Trial(subject, row.Experiment_id, row.Trial, "", tree.seconds, None, ratings, row.clip)


def _examine_clip(report: Report, dataset: str, trial: Trial, known: str | None, decode: bool) -> str:
    """Why a trial's clip cannot be used; empty where it can. What is masked becomes a note."""
    if known is not None and not decode:
        return known
    try:
        facts = clip_facts(trial.video)
        n, n_masked = damage(trial.video) if decode else (len(facts.places), 0)
    except DataError as error:
        report.runs.setdefault(dataset, str(error))  # the preparation stops there
        return str(error)
    if n_masked > LARGEST_DAMAGE * n:
        return f"{trial.video.name}: {n_masked} of {n} pictures are damaged"
    lasts = facts.seconds * facts.rate / trial.video_rate if trial.video_rate else facts.seconds
    notes = [f"{n_masked} of {n} pictures are damaged and masked"] if n_masked else []
    if float(trial.eeg) - lasts >= WINDOW_SECONDS:
        notes.append(f"{lasts:.1f} s of {float(trial.eeg):g} s; windows after its end are left out")
    if not trial.video_rate and lasts - float(trial.eeg) >= WINDOW_SECONDS:
        notes.append(f"{lasts:.1f} s, but its trial has {float(trial.eeg):g} s; is the EEG at {SFREQ:g} Hz?")
    report.notes += [f"{trial.video.name}: {note}" for note in notes]
    return ""


def _split_obstacle(trials: pd.DataFrame) -> str:
    """Why usable trials cannot be split as the notebooks split them; empty if they can."""
    if trials.empty:
        return "not one usable trial"
    try:
        for target in TARGETS:
            make_folds(
                trials[["subject", "trial"]], (trials[target].to_numpy() > 5).astype(int), "trial+subject", seed=0
            )
    except ValueError as error:
        return f"{target}: {error}"
    return ""


def _misplaced(root: Path) -> list[str]:
    """Files that belong to one of the data sets but lie one folder off, or are spelt in another case."""
    if not root.is_dir():
        return ["no such folder" if not root.exists() else "a file; give the folder that holds the data set"]
    notes = []
    patterns: dict[str, tuple[str, Callable[[Path], bool]]] = {
        deap.DAT_FOLDER: (r"s\d+\.dat", lambda path: bool(re.fullmatch(r"s\d\d\.dat", path.name))),
        deap.RAW_FOLDER: (r"s\d+\.bdf", lambda path: bool(re.fullmatch(r"s\d\d\.bdf", path.name))),
    }
    for folder, (pattern, right) in patterns.items():
        files = sorted((root / folder).glob("*")) if (root / folder).is_dir() else []
        odd = [path.name for path in files if re.fullmatch(pattern, path.name, re.IGNORECASE) and not right(path)]
        notes += [f"{folder}/{name}: not read; rename it to s01.{pattern[-3:]} and so on" for name in odd]
        if not any(right(path) for path in files) and (where := lies_at(root, pattern)):
            notes.append(f"{folder}: nothing there{where}")
    if not list((root / deap.VIDEO_FOLDER).glob("s[0-9][0-9]")) and (where := lies_at(root, r"s\d+_trial\d+\.avi")):
        notes.append(f"{deap.VIDEO_FOLDER}: nothing there{where}")
    if not (root / mahnob.SESSION_FOLDER).is_dir() and (where := lies_at(root, r"session\.xml")):
        notes.append(f"{mahnob.SESSION_FOLDER}: not there{where}")
    for parent in list(root.absolute().parents)[:2]:
        if any((parent / folder).is_dir() for folder, *_ in _READERS.values()):
            notes.append(f"its parent folder {parent.name} looks like a data set: give that folder")
    if packed := sorted(path.name for path in root.glob("*.zip")):
        notes.append(f"archives: {', '.join(packed)}; unpack them side by side")
    return notes


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
