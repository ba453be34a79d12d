"""Content hashes: what a cache or a record is keyed by and verified with."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path


@functools.cache
def _digest(path: str, size: int, mtime_ns: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, functools.partial(hashlib.blake2b, digest_size=16)).hexdigest()


def file_digest(path: Path) -> str:
    """BLAKE2b of a file's bytes, 32 hex digits.

    A file whose size and modification time stay the same is read once per process: a study asks
    for the same gigabytes once per repetition.
    """
    stat = path.stat()
    return _digest(str(path.resolve()), stat.st_size, stat.st_mtime_ns)


def files_digest(root: Path, paths: Iterable[Path]) -> str:
    """One digest of the names (relative to `root`) and bytes of several files, in any order."""
    digest = hashlib.blake2b(digest_size=16)
    for name, path in sorted((path.relative_to(root).as_posix(), path) for path in paths):
        digest.update(f"{name}\0{file_digest(path)}\0".encode())
    return digest.hexdigest()


def settings_key(settings: Mapping[str, object]) -> str:
    """SHA-256 of the settings as canonical JSON, 32 hex digits; the order of keys does not matter.

    Raises
    ------
    TypeError, ValueError
        A value is not plain JSON (numbers, strings, booleans, None, lists, mappings), or is NaN.
    """
    text = json.dumps(settings, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
