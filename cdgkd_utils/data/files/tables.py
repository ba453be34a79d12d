"""Tables of a data set (CSV), read with their columns checked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ..types import DataError


def read_table(path: Path, columns: Sequence[str], remedy: str) -> pd.DataFrame:
    """Read a CSV table and insist on some columns.

    Parameters
    ----------
    path : Path
    columns : sequence of str
        Columns that must be there; others may be.
    remedy : str
        What to do about a table that is missing or damaged.

    Returns
    -------
    DataFrame

    Raises
    ------
    DataError
        The file cannot be read, is no table, or lacks a column.
    """
    try:
        table = pd.read_csv(path)
    except FileNotFoundError as error:
        raise DataError(f"{path}: missing; {remedy}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error}); {remedy}") from error
    except (ValueError, OverflowError) as error:  # undecodable, empty or ragged
        said = " ".join(str(error).split())  # pandas breaks the line
        raise DataError(f"{path}: not a readable CSV table ({said}); {remedy}") from error
    missing = [name for name in columns if name not in table.columns]
    if missing:
        found = ", ".join(map(str, table.columns))
        raise DataError(f"{path}: column {', '.join(missing)} missing, found {' '.join(found.split())}; {remedy}")
    return table


def numbers_only(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """The same table with some columns as numbers; NaN where there is none."""
    return table.assign(**{name: pd.to_numeric(table[name], errors="coerce") for name in columns})
