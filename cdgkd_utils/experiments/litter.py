"""What lies under the home and is of no use any more: runs, checkpoints, prepared windows."""

from __future__ import annotations

import contextlib
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..config import home
from ..data.cache import ABANDONED_AFTER
from .plan import Plan, stored_names

RUN = re.compile(r"[a-z0-9_]+-[0-9a-f]{20}")
WINDOWS = re.compile(r"[0-9a-f]{32}")
LEFT_BEHIND_AFTER = 24 * 3600.0  # s, after which an unfinished run's files belong to nobody
TEMPORARY = ".unfinished-gc-"


def find_litter(plans: Iterable[Plan]) -> dict[str, list[Path]]:
    """What no plan needs, by kind; nothing that somebody may be working on.

    Parameters
    ----------
    plans : iterable of Plan
        All that is to be kept.

    Returns
    -------
    dict of str to list of Path
        ``run folders``: not in a plan, damaged, or left unfinished a day ago. ``checkpoints``: of runs that are stored,
        or in no plan, and untouched for a day (a living training writes its own). ``prepared windows``: for no run
        of a plan, neither written nor read for a week where the disk notes reading, else not written; a process that
        has them open keeps what it has, one that opens them later prepares them anew. Links and unknown names are
        left alone.
    """
    plans = list(plans)
    runs = {name for plan in plans for name in plan.runs}
    windows = {run.data_key for plan in plans for run in plan.runs.values()}
    stored = stored_names()
    return {
        "run folders": [path for path in _within("runs") if path.is_dir() and _is_old_run(path, runs)],
        "checkpoints": [
            path for path in _within("unfinished") if path.is_file() and _is_old_checkpoint(path, runs, stored)
        ],
        "prepared windows": [path for path in _within("prepared") if path.is_dir() and _are_old_windows(path, windows)],
    }


def _within(folder: str) -> Iterator[Path]:
    return (path for path in sorted((home() / folder).glob("*")) if not path.is_symlink())


def _is_old_run(path: Path, needed: set[str]) -> bool:
    if path.name.startswith(".unfinished-"):
        return _idle(path) > LEFT_BEHIND_AFTER
    name, _, damaged = path.name.partition(".damaged-")
    if not RUN.fullmatch(name):
        return False
    return bool(damaged) or (name not in needed and (path / "spec.json").is_file())


def _is_old_checkpoint(path: Path, needed: set[str], stored: set[str]) -> bool:
    # A writer's own temporary file is named after the checkpoint: ".NAME.pt-RANDOM".
    name = path.name.removeprefix(".").partition(".pt")[0]
    if not RUN.fullmatch(name) or ".pt" not in path.name:
        return False
    useless = path.name.startswith(".") or name in stored or name not in needed
    return useless and _idle(path) > LEFT_BEHIND_AFTER


def _are_old_windows(path: Path, needed: set[str]) -> bool:
    if path.name.startswith(TEMPORARY):
        return _idle(path) > LEFT_BEHIND_AFTER
    name, _, rest = path.name.partition(".")
    if not WINDOWS.fullmatch(name):
        return False
    if rest.startswith("damaged-"):
        return True
    if rest not in ("", "parts"):
        return False
    return (bool(rest) or name not in needed) and _idle(path) > ABANDONED_AFTER


def _idle(path: Path) -> float:
    """Seconds since anything in it was written or, where the disk notes that, read."""
    last = 0.0
    for entry in (path, *path.rglob("*")):
        try:
            times = entry.stat()
        except FileNotFoundError:  # somebody is at work there
            return 0.0
        # Looking into a folder counts as reading it, so only files tell of readers.
        last = max(last, times.st_mtime, 0.0 if entry.is_dir() else times.st_atime)
    return time.time() - last


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else (path,)
    return sum(file.stat().st_size for file in files if file.is_file())


def remove(path: Path) -> None:
    """Delete a file or a folder; whoever looks at this moment sees a whole folder or none."""
    with contextlib.suppress(FileNotFoundError):  # another process was faster
        if path.is_dir():
            path = path.rename(path.with_name(f"{TEMPORARY}{path.name}"))
            shutil.rmtree(path)
        else:
            path.unlink()
