"""Checksums of stored files, piece by piece, so that joined files need not be summed again."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import zlib
from pathlib import Path
from typing import BinaryIO

_BLOCK = 1 << 20  # bytes: what is summed and written is still in the processor's cache
Segments = list[list]  # [[bytes, CRC-32], ..] of consecutive pieces of a file


@functools.cache
def _checksums(path: str, lengths: tuple[int, ...], mtime_ns: int) -> tuple[str, ...]:
    sums = []
    with open(path, "rb") as file:
        for left in lengths:
            total = 0
            while left and (block := file.read(min(_BLOCK, left))):
                total, left = zlib.crc32(block, total), left - len(block)
            sums.append(f"{total:08x}")
    return tuple(sums)


def checksum(path: Path) -> str:
    """CRC-32 of a file's bytes: against accidents, at a fifth of the time of a cryptographic digest.

    A file whose size and modification time stay the same is read once per process: a study opens
    the same gigabytes once per repetition.
    """
    stat = path.stat()
    return _checksums(str(path.resolve()), (stat.st_size,), stat.st_mtime_ns)[0]


def is_intact(path: Path, segments: str | Segments) -> bool:
    """Whether a file is what was stored.

    Parameters
    ----------
    path : Path
    segments : list of [int, str], or str
        Of consecutive pieces their numbers of bytes and CRC-32; one text, as older preparations have it, is that
        of the whole file.
    """
    if isinstance(segments, str):
        return checksum(path) == segments
    stat, lengths = path.stat(), tuple(int(length) for length, _ in segments)
    if stat.st_size != sum(lengths):
        return False
    return list(_checksums(str(path.resolve()), lengths, stat.st_mtime_ns)) == [crc for _, crc in segments]


class Damaged(Exception):
    """A stored preparation is not what was written; the text says which file."""


def after_header(file: BinaryIO, segments: str | Segments) -> Segments:
    """Checksums of the numbers of an array file that is open after its header."""
    if not isinstance(segments, str):
        return segments[1:]
    stat, header = os.fstat(file.fileno()), file.tell()
    lengths = (header, stat.st_size - header)
    return [[lengths[1], _checksums(file.name, lengths, stat.st_mtime_ns)[1]]]


class SummedFile:
    """Writes to a file and keeps the checksums of what it wrote, piece by piece."""

    def __init__(self, file: BinaryIO):
        self.file, self.segments = file, []
        self.cut()

    def cut(self) -> None:
        """Begin a new segment."""
        self.segments.append([0, "00000000"])
        self.crc = 0

    def reserve(self, n_bytes: int) -> None:
        """Ask for the space of what follows in one piece, which the file system grants faster than bit by bit."""
        self.file.flush()
        with contextlib.suppress(AttributeError, OSError):  # not on every system; a full disk is told when writing
            os.posix_fallocate(self.file.fileno(), self.file.tell(), n_bytes)

    def write(self, block: bytes | memoryview) -> int:
        self.crc = zlib.crc32(block, self.crc)
        self.segments[-1][0] += len(block)
        self.segments[-1][1] = f"{self.crc:08x}"
        return self.file.write(block)

    def append(self, file: BinaryIO, segments: Segments) -> None:
        """Append the rest of another file, whose checksums are known, in the kernel if it can."""
        expected, copied = sum(length for length, _ in segments), 0
        start = self.file.tell()
        self.file.flush()
        with contextlib.suppress(AttributeError, OSError):  # not on every system, nor between all file systems
            source, place = file.fileno(), file.tell()
            while n := os.copy_file_range(source, self.file.fileno(), expected - copied, place + copied):
                copied += n
        file.seek(place := file.tell() + copied)
        self.file.seek(start + copied)
        shutil.copyfileobj(file, self.file, _BLOCK)
        if copied + file.tell() - place != expected:
            raise Damaged(f"{Path(file.name).parent.name}/{Path(file.name).name} is not as long as it was stored")
        self.segments.extend(segments)
