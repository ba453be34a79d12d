"""Notes on runs that failed: one file each, beside the runs, until they succeed."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import traceback
from pathlib import Path

from ..config import home
from .plan import PlannedRun


def _folder() -> Path:
    return home() / "failed"


def note_failure(run: PlannedRun, error: BaseException) -> None:
    """Store why a run failed; a disk that takes no note is no second failure."""
    lines = traceback.format_exception(error)
    note = {
        "run": run.name,
        "key": run.key,
        "recipe": run.recipe.name,
        "target": run.target,
        "fold": run.fold,
        "error": f"{type(error).__name__}: {' '.join(str(error).split())}",
        "traceback": "".join(lines),
    }
    path = _folder() / f"{run.name}.json"
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(note, indent=1), encoding="utf-8")
        os.replace(temporary, path)


def forget_failure(name: str) -> None:
    """Remove a run's note, if there is one."""
    with contextlib.suppress(OSError):
        (_folder() / f"{name}.json").unlink()
        _folder().rmdir()


def failures() -> dict[str, str]:
    """Why runs failed, one line each, by name of the run."""
    found = {}
    for path in sorted(_folder().glob("[!.]*.json")):
        try:
            found[path.stem] = str(json.loads(path.read_text(encoding="utf-8"))["error"])
        except (OSError, ValueError, KeyError):
            found[path.stem] = "the note about it cannot be read"
    return found
