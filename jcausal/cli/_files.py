"""Files in and out: opened by their ending, read by column."""

import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import pandas as pd

from jcausal.cli._foreign import KINDS, open_foreign
from jcausal.cli._manner import Manner, Source, Wanted, check_manner
from jcausal.cli._terminal import UserError
from jcausal.cli._text import TEXTS, is_text, open_text

PARQUET = (".parquet", ".pq")
INDEX = re.compile(r"__index_level_\d+__$")  # what pandas calls an index without a name
Writer = Callable[[Path], object]


def open_file(path: Path, manner: Manner) -> Source:
    """The columns of a file and a reader of its rows.

    **Raises:** `UserError` for a missing, empty or unreadable file, and for options that say
    nothing of such a file.
    """
    _check_there(path)
    if path.suffix.lower() in KINDS:
        return open_foreign(path, manner)
    if not _is_parquet(path):
        check_manner(path, manner, ("sep", "decimal", "encoding"))
        return open_text(path, manner)
    check_manner(path, manner, ())
    names = [name for name in _parquet(path, None) if not INDEX.match(name)]
    return Source(names, lambda wanted: _parquet(path, wanted.columns))


def read_table(path: Path, source: Source, wanted: Wanted) -> pd.DataFrame:
    """Some columns of a file, numbers to the last digit.

    Where the rows of a file have names (R's, the index of a pandas frame), they are the index.

    **Raises:** `UserError` for an unknown column (the nearest name is given), for a file without
    rows, and for words of which two readings are possible.
    """
    names = source.names
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"the column name {twice[0]!r} stands twice in {path}: rename one.")
    for column in wanted.columns:
        if column not in names:
            raise UserError(f"there is no column {column!r} in {path}{_hint(column, names)}")
    table = source.read(wanted._replace(columns=list(dict.fromkeys(wanted.columns))))
    if not len(table):
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
        raise UserError(f"{path} is a folder: name a file.")
    if not (_is_parquet(path) or path.suffix.lower() in KINDS or is_text(path)):
        known = ", ".join((*TEXTS, *PARQUET, *KINDS))
        raise UserError(f"{path} ends in none of {known}: save it as CSV.")
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty: it has not even a header.")


def _folder(path: Path) -> list[Path]:
    return list(path.parent.iterdir()) if path.parent.is_dir() else []


def _is_parquet(path: Path) -> bool:
    return path.suffix.lower() in PARQUET


def _parquet(path: Path, columns: Sequence[str] | None) -> Any:
    """Some columns, with the index that pandas stored; None: the names alone."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise UserError(
            'Parquet files need pyarrow: pip install "jcausal[parquet]", or give a CSV file.'
        ) from error
    try:
        if columns is None:
            return pq.read_schema(path).names
        wanted = list(columns)
        table = pq.read_table(path, columns=wanted, use_pandas_metadata=True).to_pandas()
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path} is no Parquet file that can be read ({error}).") from error
    stored = [name for name in table.index.names if name in wanted]
    return (table.reset_index(stored) if stored else table)[wanted]


def table_writer(table: pd.DataFrame, parquet: bool) -> Writer:
    """Write a table to a path, floats with all their digits, the row numbers left out."""
    if parquet:
        return lambda path: table.to_parquet(path, index=False)
    return lambda path: table.to_csv(path, index=False)


def table_writers(
    tables: Mapping[str, pd.DataFrame], text: str, parquet: bool
) -> dict[str, Writer]:
    """The summary and the tables: a file's name, and a function that writes it to a path."""
    ending = "parquet" if parquet else "csv"
    return {"summary.txt": lambda path: path.write_text(text + "\n", encoding="utf-8")} | {
        f"{name}.{ending}": table_writer(table, parquet) for name, table in tables.items()
    }
