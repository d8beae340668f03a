"""CSV files of known data sets: those in the package, and those of the user."""

import zipfile
import zlib
from collections.abc import Sequence
from importlib import resources
from os import PathLike
from typing import Any

import pandas as pd

from jcausal.data import DataError


def read_packaged(name: str) -> pd.DataFrame:
    """A table that the package holds."""
    file = resources.files("jcausal.datasets").joinpath(f"{name}.csv.gz")
    with file.open("rb") as stream:
        return pd.read_csv(stream, compression="gzip")


def read_table(path: str | PathLike, what: str, needed: Sequence[str]) -> Any:
    """The file's table, if it has every column that the file of `what` has.

    **Raises:** `DataError`; OSError when it cannot be opened.
    """
    if not isinstance(path, str | PathLike):
        raise DataError(f"the path of the file of {what} is {path!r}: give a string or a Path.")
    try:
        frame = pd.read_csv(path, low_memory=False)
    except (ValueError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise DataError(_unreadable(path, error)) from None
    except OSError as error:
        if error.filename is not None:
            raise
        raise DataError(_unreadable(path, error)) from None  # a broken archive, without its path
    missing = [name for name in needed if name not in frame.columns]
    if missing:
        names = ", ".join(map(str, frame.columns[:20])) + (
            " ..." if len(frame.columns) > 20 else ""
        )
        raise DataError(
            f"{path} is not the file of {what}: {', '.join(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} not among its columns, which are {names}."
        )
    return frame


def _unreadable(path: str | PathLike, error: Exception) -> str:
    words = str(error).strip().rstrip(".")
    return f"{path} is no CSV file, nor the archive of one: {words}."
