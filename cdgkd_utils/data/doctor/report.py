"""What the doctor found in a folder, as data and as text, and what follows for the notebooks."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
import pandas as pd

from ...config import DATASETS, shown
from ..constants import CHANNELS, N_FRAMES, N_VIDEO_FEATURES, TARGETS, WINDOW_SAMPLES, WINDOW_SECONDS
from ..files.video import COMPLETE
from ..splits import make_folds

NAMES = {"deap": "DEAP", "mahnob": "MAHNOB-HCI", "unknown": "neither DEAP nor MAHNOB-HCI"}
_SHOWN_ROWS = 12  # of the left-out trials, in the text
_WINDOW_BYTES = 4 * (len(CHANNELS) * WINDOW_SAMPLES + N_FRAMES * N_VIDEO_FEATURES)


@dataclass
class Report:
    """State of a data folder.

    Attributes
    ----------
    root : Path
    kind : {"deap", "mahnob", "unknown"}
    synthetic : bool
        The folder was written by the twin.
    facts : dict of str to str
        Counts, rates, durations, codec.
    subjects : DataFrame
        One row per subject that appears: what there is, ``trials`` usable, ``usable``, ``reason``.
    trials : DataFrame
        One row per usable trial: ``subject, trial, seconds`` and the ratings in ``TARGETS``.
    excluded : DataFrame
        One row per trial that is left out: ``subject, trial, reason``.
    clips : DataFrame
        One row per clip decoded as a sample: ``clip, codec, size, fps, frames, announced, seconds``.
    blockers : list of str
        Damage that stops the reader until it is repaired or the file is removed.
    notes : list of str
        Oddities that stop nothing.
    missing : list of (str, str)
        What is not there, and how to obtain it.
    other_ways : dict of str to str
        Further values of ``dataset`` that read the same folder, and why the notebooks do not run with them; empty
        where they do.
    """

    root: Path
    kind: str
    synthetic: bool = False
    facts: dict[str, str] = field(default_factory=dict)
    subjects: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["subject", "usable", "reason"]))
    trials: pd.DataFrame = field(
        default_factory=lambda: pd.DataFrame(columns=["subject", "trial", "seconds", *TARGETS])
    )
    excluded: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["subject", "trial", "reason"]))
    clips: pd.DataFrame = field(default_factory=pd.DataFrame)
    blockers: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    missing: list[tuple[str, str]] = field(default_factory=list)
    other_ways: dict[str, str] = field(default_factory=dict)

    @property
    def obstacle(self) -> str:
        """Why the notebooks do not run with ``dataset`` = `kind`; empty if they do."""
        if self.kind == "unknown":
            return "not a folder that can be read"
        if self.kind not in DATASETS:
            return f"this version's notebooks do not read {NAMES[self.kind]} yet"
        if self.blockers:
            return f"{len(self.blockers)} problem{'s' if len(self.blockers) > 1 else ''} to repair first"
        return split_obstacle(self.trials)

    @property
    def usable(self) -> bool:
        """The notebooks run on this folder as it is, in one way or another."""
        return not self.obstacle or "" in self.other_ways.values()

    def text(self) -> str:
        """The report for reading, without absolute paths."""
        what = NAMES[self.kind] + (", SYNTHETIC (written by the twin)" if self.synthetic else "")
        blocks = [f"{shown(self.root)}: {what}"]
        if self.facts:
            width = max(map(len, self.facts))
            blocks.append("\n".join(f"  {name:<{width}}  {value}" for name, value in self.facts.items()))
        if len(self.subjects):
            blocks.append("Subjects\n" + _indented(self.subjects.to_string(index=False)))
        if len(self.clips):
            shown_columns = [name for name in self.clips if name != "problem" or self.clips[name].any()]
            blocks.append("Clips decoded as a sample\n" + _indented(self.clips[shown_columns].to_string(index=False)))
        if len(self.excluded):
            first = self.excluded.head(_SHOWN_ROWS).itertuples()
            lines = [f"subject {row.subject}, trial {row.trial}: {row.reason}" for row in first]
            if (rest := len(self.excluded) - _SHOWN_ROWS) > 0:
                lines.append(f"... and {rest} more")
            blocks.append(f"Trials left out ({len(self.excluded)})\n" + _indented("\n".join(lines)))
        for title, lines in (
            ("To repair", self.blockers),
            ("Worth knowing", self.notes),
            ("Missing", [f"{what}: {how}" for what, how in self.missing]),
        ):
            if lines:
                blocks.append(f"{title}\n" + _indented("\n".join(f"- {line}" for line in lines)))
        ways = {self.kind: self.obstacle} if self.kind != "unknown" else {}
        runs = [f"01 to 05 with dataset='{way}': {why or 'run'}" for way, why in {**ways, **self.other_ways}.items()]
        blocks.append(
            "Notebooks\n" + _indented("\n".join([*runs, "01 to 05 with dataset='twin': run, without any files"]))
        )
        # Messages of the readers name files by their full path; a stored notebook should not.
        text = "\n\n".join(blocks)
        for form in {str(self.root), str(self.root.absolute())} - {"."}:
            text = text.replace(f"{form}{os.sep}", "").replace(form, shown(self.root))
        return text + "\n"

    def count_usable(self) -> None:
        """State the usable subjects, trials, windows and what they will take once prepared."""
        seconds = self.trials["seconds"].to_numpy(float)
        n_windows = int((seconds // WINDOW_SECONDS).sum())
        self.facts["usable"] = (
            f"{self.trials['subject'].nunique()} subjects, {len(self.trials)} trials, {n_windows} windows of 4 s "
            f"({n_windows * _WINDOW_BYTES / 1e6:.0f} MB once prepared)"
        )


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())


def split_obstacle(trials: pd.DataFrame) -> str:
    """Why usable trials cannot be split as the notebooks split them; empty if they can."""
    if trials.empty:
        return "not one usable trial"
    index = trials[["subject", "trial"]].reset_index(drop=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn's, on rare classes: the split copes
        for target in TARGETS:
            labels = (trials[target].to_numpy(float) > 5).astype(int)
            if labels.min() == labels.max():
                return f"all {target} ratings are on one side of 5, so nothing can be learned"
            try:
                make_folds(index, labels, "trial+subject")
            except ValueError as error:
                return str(error)
    return ""


def spread(items: Iterable, n: int) -> list:
    """At most `n` items, evenly spread."""
    items = list(items)
    places = np.unique(np.linspace(0, len(items) - 1, min(n, len(items))).round().astype(int)) if items else []
    return [items[place] for place in places]


def clip_facts(path: Path, decode: bool = False) -> dict[str, object]:
    """Codec, size, rate and number of frames of a clip; what is wrong is its ``problem``. Never raises.

    Parameters
    ----------
    path : Path
    decode : bool
        Count decoded frames; otherwise packets, which is 100 times faster and finds cut files, not damaged pictures.

    Returns
    -------
    dict
        ``clip, codec, size, fps, frames, announced, seconds, problem``.
    """
    facts: dict[str, object] = {"clip": path.name, "problem": ""}
    frames = lost = 0
    try:
        with av.open(os.fspath(path)) as container:
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1
            fps = float(stream.average_rate)
            facts |= {
                "codec": stream.codec_context.name,
                "size": f"{stream.codec_context.width}x{stream.codec_context.height}",
                "fps": round(fps, 4),
                "announced": stream.frames,
            }
            for packet in container.demux(stream):
                if not decode:
                    frames += packet.size > 0
                    continue
                try:
                    frames += len(packet.decode())
                except av.error.InvalidDataError:
                    lost += 1
            facts |= {"frames": frames, "seconds": round(frames / fps, 2)}
        if not frames or frames < COMPLETE * stream.frames:
            facts["problem"] = f"damaged or truncated, {frames} of {stream.frames} frames"
        elif lost:
            facts["problem"] = f"{lost} of {stream.frames} frames are damaged"
    except Exception as error:  # a damaged container can raise nearly anything
        facts["problem"] = f"cannot be opened as a video ({getattr(error, 'strerror', None) or error})"
    return facts


def clip_table(facts: list[dict[str, object]]) -> tuple[pd.DataFrame, str]:
    """The sample as a table, and one line about the intact ones."""
    table = pd.DataFrame(facts, columns=["clip", "codec", "size", "fps", "frames", "announced", "seconds", "problem"])
    intact = table[table["problem"] == ""]
    if intact.empty:
        return table, "none could be decoded"
    kinds = intact[["codec", "size", "fps"]].drop_duplicates()
    said = "; ".join(f"{row.codec}, {row.size}, {row.fps:g} frames per second" for row in kinds.itertuples())
    low, high = intact["seconds"].min(), intact["seconds"].max()
    return table, f"{said}; {low:g} s" + (f" to {high:g} s" if high > low else "")
