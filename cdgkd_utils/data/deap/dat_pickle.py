"""Pickles of arrays, read without running anything: not a name they mention, and not NumPy's own ``__setstate__``.

A pickle is a program. The usual answer, to admit only NumPy's names, is not enough for a damaged one: handed a wrong
state, ``numpy.dtype.__setstate__`` ends the whole process. So names stand for themselves here, what a pickle wants
done with them is noted down, and an array is made only when all of that is what pickled arrays of numbers say.
"""

from __future__ import annotations

import math
import pickle
import re
from typing import BinaryIO

import numpy as np

# All that a pickled array of numbers refers to, under NumPy's old and new module names.
_ADMITTED = {("numpy", "ndarray"), ("numpy", "dtype")} | {
    (f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")
}
_DTYPE_STATE = (None, None, None, -1, -1, 0)  # after version and byte order: no fields, nothing special


class _Note:
    """What a pickle says about one thing: a name, the call made of it, the state given to it."""

    __slots__ = ("arguments", "name", "state")

    def __init__(self, name: str, arguments: tuple | None = None):
        self.name, self.arguments, self.state = name, arguments, None

    def __call__(self, *arguments):
        return _Note(self.name, arguments)

    def __setstate__(self, state):
        self.state = state


class _ArrayUnpickler(pickle._Unpickler):
    """Notes instead of objects.

    The unpickler in Python: a file has some fifty instructions, and a damaged one cannot make it reserve
    memory for a number of objects that it claims to have.
    """

    def find_class(self, module: str, name: str) -> _Note:
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}, which no DEAP file does")
        return _Note(name)


def load_notes(file: BinaryIO) -> object:
    """Content of a pickle, with a note in place of each array; byte strings of Python 2 become ``str`` (latin1).

    Raises
    ------
    Exception
        Nearly any, for a damaged file.
    """
    return _ArrayUnpickler(file, encoding="latin1").load()


def numbers_of(note: object) -> str | bytes:
    """The bytes of the numbers that a note has for an array."""
    return _array_state(note)[3]


def array_of(note: object, numbers: bytes | memoryview | None = None) -> np.ndarray:
    """The array that a note describes.

    Parameters
    ----------
    note : object
        From :func:`load_notes`.
    numbers : bytes-like, optional
        Take these bytes instead of the note's own.

    Returns
    -------
    ndarray
        Read-only; a view of the bytes.

    Raises
    ------
    pickle.UnpicklingError
        It is no note of an array of numbers, or the bytes do not fill it.
    """
    shape, dtype, fortran, own = _array_state(note)
    if numbers is None:
        numbers = own.encode("latin1") if isinstance(own, str) else own
    count = math.prod(shape)
    if len(numbers) != count * dtype.itemsize:
        raise pickle.UnpicklingError(f"{len(numbers)} bytes do not fill an array of shape {shape} and type {dtype}")
    return np.frombuffer(numbers, dtype, count).reshape(shape, order="F" if fortran else "C")


def _array_state(note: object) -> tuple[tuple[int, ...], np.dtype, bool, str | bytes]:
    """Shape, type, Fortran's order, numbers."""
    match note:
        case _Note(
            name="_reconstruct",
            arguments=(_Note(name="ndarray", arguments=None), (0,), "b" | b"b"),
            state=(int(), tuple(shape), dtype, bool() | 0 | 1 as fortran, str() | bytes() as numbers),
        ) if all(isinstance(n, int) and 0 <= n < 1 << 31 for n in shape):
            return shape, _dtype(dtype), bool(fortran), numbers
    raise pickle.UnpicklingError("an array in it is not described as pickled arrays are")


def _dtype(note: object) -> np.dtype:
    match note:
        case _Note(name="dtype", arguments=(str(code), *_), state=(int(), "<" | ">" | "=" as order, *rest)):
            if re.fullmatch("[fiu][248]", code) and tuple(rest) == _DTYPE_STATE:
                return np.dtype(order + code)
    raise pickle.UnpicklingError("its type of numbers is not described as that of pickled arrays is")
