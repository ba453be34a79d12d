"""Content hashes: what a cache or a record is keyed by and verified with."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

SAMPLED_ABOVE = 1 << 20  # bytes
CLIPS = {".avi", ".mp4", ".mkv", ".mov"}
CLIP_BLOCKS, CLIP_BLOCK = 8, 1 << 15  # number, bytes
# A row of DEAP's .dat (a trial's channel) has 64,512 bytes, a second of a BDF more than 32 KiB: each is met.
SIGNAL_STEP, SIGNAL_BLOCK = 1 << 15, 1 << 12  # bytes


def _blake2b() -> hashlib.blake2b:
    return hashlib.blake2b(digest_size=16)


@functools.cache
def _digest(path: str, size: int, mtime_ns: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, _blake2b).hexdigest()


@functools.cache
def _sampled_digest(path: str, size: int, mtime_ns: int, kind: str) -> str:
    digest = _blake2b()
    digest.update(f"{size}\0".encode())
    starts, length = _blocks(size, kind)
    with open(path, "rb", buffering=0) as file:  # a buffer would read on after each block
        for start in starts:
            file.seek(start)
            digest.update(file.read(length))
    return digest.hexdigest()


def _blocks(size: int, kind: str) -> tuple[list[int], int]:
    """First bytes of the blocks that are read of a large file, head and tail among them, and their length."""
    if kind == "clip":
        return np.linspace(0, size - CLIP_BLOCK, CLIP_BLOCKS).astype(int).tolist(), CLIP_BLOCK
    return [*range(0, size - SIGNAL_BLOCK, SIGNAL_STEP), size - SIGNAL_BLOCK], SIGNAL_BLOCK


def file_digest(path: Path) -> str:
    """BLAKE2b of a file's bytes, 32 hex digits.

    A file whose size and modification time stay the same is read once per process: a study asks
    for the same files once per repetition.
    """
    stat = path.stat()
    return _digest(str(path.resolve()), stat.st_size, stat.st_mtime_ns)


def sampled_digest(path: Path) -> str:
    """BLAKE2b of a file, of which only blocks are read if it is large, 32 hex digits.

    Data sets have tens of gigabytes, and are asked for whenever a program starts. Up to 1 MiB every byte
    counts. Above, the size counts, and of a clip (by suffix) eight blocks of 32 KiB from its head to its tail; of
    any other file, that is of signals, 4 KiB in every 32 KiB and the last 4 KiB. What another program writes
    differs there: encoders change all that follows, filters change whole channels.

    Not seen is a change between the blocks that keeps the size: of single samples, or of a clip's bytes by a
    fault of the disk. The time of modification does not count, so copies of a data set share what was prepared.
    """
    stat = path.stat()
    if stat.st_size <= SAMPLED_ABOVE:
        return file_digest(path)
    kind = "clip" if path.suffix.lower() in CLIPS else "signal"
    return _sampled_digest(str(path.resolve()), stat.st_size, stat.st_mtime_ns, kind)


def files_digest(root: Path, paths: Iterable[Path]) -> str:
    """One digest of several files in any order: of their names (relative to `root`) and :func:`sampled_digest`."""
    digest = _blake2b()
    for name, path in sorted((path.relative_to(root).as_posix(), path) for path in paths):
        digest.update(f"{name}\0{sampled_digest(path)}\0".encode())
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
