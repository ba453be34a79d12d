"""An output folder that appears as a whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class TeachingError(RuntimeError):
    """The material cannot be made, or must not be published as it is."""


@contextmanager
def whole_folder(out: Path, what: str, notebooks: Path) -> Iterator[Path]:
    """A temporary folder that takes the place of `out` when the block ends without an error.

    Parameters
    ----------
    out : Path
        Absent, empty, or made by an earlier call for the same `what`, which is then replaced.
    what : str
        Such as ``class``; its name is left in the folder as a hidden mark.
    notebooks : Path
        Folder of the originals; nothing is written into it.

    Yields
    ------
    Path

    Raises
    ------
    TeachingError
        `out` is a file, lies in the originals' folder, or holds something else.
    """
    out, notebooks = out.expanduser().resolve(), notebooks.resolve()
    mark = f".cdgkd-{what}"
    if out.exists() and not out.is_dir():
        raise TeachingError(f"--out {out.name}: expected a folder, this is a file; name a folder to make")
    if notebooks in (out, *out.parents):
        raise TeachingError(
            f"--out {out.name}: lies in the notebooks' own folder; name one outside, such as build/{what}"
        )
    if out.is_dir() and any(out.iterdir()) and not (out / mark).is_file():
        raise TeachingError(f"--out {out.name}: holds other files; name a new or empty folder, such as build/{what}")
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    made = temporary / "new"
    made.mkdir()
    try:
        yield made
        (made / mark).touch()
        if out.exists():
            os.replace(out, temporary / "old")
        os.replace(made, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
