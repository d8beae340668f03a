"""Files in and out: CSV and Parquet, read by column, written whole or not at all."""

import lzma
import re
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import pandas as pd

from jcausal.cli._terminal import UserError

PARQUET = (".parquet", ".pq")
INDEX = re.compile(r"__index_level_\d+__$")  # what pandas calls an index without a name
BROKEN = (
    *(pd.errors.ParserError, UnicodeDecodeError, ValueError, EOFError),
    *(zipfile.BadZipFile, lzma.LZMAError, zlib.error),
)
CSV = (".csv", ".csv.gz", ".csv.bz2", ".csv.xz", ".csv.zip")
OLD = tuple(int(part) for part in pd.__version__.split(".")[:2]) < (3, 1)
EXACT: dict[str, Any] = dict(float_precision="round_trip") if OLD else {}  # newer ones always are
Writer = Callable[[Path], object]


def column_names(path: Path) -> list[str]:
    """The columns of a file, without reading its rows.

    **Raises:** `UserError` for a missing, empty or unreadable file.
    """
    _check_there(path)
    if _is_parquet(path):
        return [name for name in _parquet(path, None, names_only=True) if not INDEX.match(name)]
    return [str(name) for name in _csv(path, nrows=0).columns]


def read_table(
    path: Path, columns: Sequence[str] | None = None, *, words: Sequence[str] = ()
) -> pd.DataFrame:
    """Some columns of a file (None: all), numbers to the last digit; `words` stay as written.

    **Raises:** `UserError` for an unknown column (the nearest name is given), for a file without
    rows, and as `column_names`.
    """
    names = column_names(path)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"the column name {twice[0]!r} stands twice in {path}: rename one.")
    for column in columns or ():
        if column not in names:
            raise UserError(f"there is no column {column!r} in {path}{_hint(column, names)}")
    wanted = None if columns is None else list(dict.fromkeys(columns))
    kept: dict[str, Any] = dict(usecols=wanted, dtype=dict.fromkeys(words, str))
    table = _parquet(path, wanted) if _is_parquet(path) else _csv(path, **kept)
    if table.empty:
        raise UserError(f"{path} has {len(names)} columns and no rows.")
    return table


def _hint(name: str, names: Sequence[str]) -> str:
    folded = {other.casefold(): other for other in names}
    near = get_close_matches(name.casefold(), folded, n=1, cutoff=0.5)
    return f"; did you mean {folded[near[0]]!r}?" if near else f": it has {', '.join(names)}."


def _check_there(path: Path) -> None:
    if not path.exists():
        near = get_close_matches(path.name, [f.name for f in _folder(path)], n=1)
        raise UserError(
            f"there is no file {path}" + (f"; did you mean {near[0]}?" if near else ".")
        )
    if path.is_dir():
        raise UserError(f"{path} is a folder: name a CSV or Parquet file.")
    if not (_is_parquet(path) or path.name.lower().endswith(CSV)):
        raise UserError(f"{path} ends neither in .csv (or .csv.gz) nor in .parquet: convert it.")
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty: it has not even a header.")


def _folder(path: Path) -> list[Path]:
    return list(path.parent.iterdir()) if path.parent.is_dir() else []


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() in PARQUET


def _csv(path: Path, **options: Any) -> pd.DataFrame:
    try:
        header = pd.read_csv(path, header=None, nrows=1, dtype=str)
        names = [str(name) for name in header.iloc[0]]
        if len(set(names)) < len(names):
            return pd.DataFrame(columns=pd.Index(names))  # the caller tells which stands twice
        return pd.read_csv(path, low_memory=False, **EXACT, **options)
    except pd.errors.EmptyDataError as error:
        raise UserError(f"{path} is empty: it has not even a header.") from error
    except BROKEN as error:
        raise UserError(f"{path} is no CSV file that can be read ({error}).") from error


def _parquet(path: Path, columns: list[str] | None, names_only: bool = False) -> Any:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise UserError(
            'Parquet files need pyarrow: pip install "jcausal[parquet]", or give a CSV file.'
        ) from error
    try:
        if names_only:
            return pq.read_schema(path).names
        return pq.read_table(path, columns=columns).to_pandas(ignore_metadata=True)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path} is no Parquet file that can be read ({error}).") from error


def table_writer(table: pd.DataFrame, parquet: bool) -> Writer:
    """Write a table to a path, floats with all their digits, the row numbers left out."""
    if parquet:
        return lambda path: table.to_parquet(path, index=False)
    return lambda path: table.to_csv(path, index=False)


def write_whole(out: Path, files: dict[str, Writer]) -> None:
    """Write every file into a scratch folder, then move all of them: whole or not at all."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".writing-") as scratch:
        for name, write in files.items():
            write(Path(scratch) / name)
        for name in files:
            (Path(scratch) / name).replace(out / name)


def check_folder(out: Path) -> None:
    """Refuse an output folder that cannot be one, before any work."""
    for place in (out, *out.parents):
        if place.exists():
            if not place.is_dir():
                raise UserError(f"{place} is a file: give --out a folder.")
            return
