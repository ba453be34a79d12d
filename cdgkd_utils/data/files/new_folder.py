"""A folder that appears complete or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def new_folder(out: str | os.PathLike) -> Iterator[Path]:
    """Fill a folder under a temporary name beside `out`; it gets its name when the block ends well.

    Parameters
    ----------
    out : path-like
        A folder that does not exist yet, or is empty.

    Yields
    ------
    Path
        The temporary folder.

    Raises
    ------
    FileExistsError
        `out` exists and is not an empty folder; nothing in it is touched.
    """
    out = Path(out).absolute()
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise FileExistsError(f"out {str(out)!r}: exists and is not empty; choose another folder or remove it")
    temporary = out.parent / f".{out.name}.{os.getpid()}-{secrets.token_hex(4)}"
    temporary.mkdir(parents=True)
    try:
        yield temporary
        os.replace(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
