"""Tables in text files: encoding, separator, header, and rows that do not fit it."""

import bz2
import codecs
import csv
import gzip
import io
import lzma
import re
import warnings
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np
import pandas as pd

from jcausal.cli._cells import DOTS, MISSING, settled
from jcausal.cli._manner import Manner, Source, Wanted, named
from jcausal.cli._terminal import UserError

PACKED = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
TEXTS = (".csv", ".tsv", ".tab", ".txt")
ENDINGS = tuple(kind + packed for kind in TEXTS for packed in ("", *PACKED, ".zip"))
MARKS = (
    *((codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32")),
    *((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")),
)
BROKEN = (ValueError, EOFError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, csv.Error)
HEAD = 200  # lines by which a separator is told
ROWS, EXTRA = "row names, without a header", "fields beyond the header"
OLD = tuple(int(part) for part in pd.__version__.split(".")[:2]) < (3, 1)
EXACT: dict[str, Any] = dict(float_precision="round_trip") if OLD else {}  # newer ones always are


class TextLayout(NamedTuple):
    """How a text file is written.

    `beyond`: names for fields that no header names; `skip`: records up to the first row;
    `rows`: each row begins with its name, as R writes them.
    """

    path: Path
    encoding: str
    sep: str
    decimal: str
    names: list[str]
    beyond: list[str]
    skip: int
    rows: bool = False


def is_text(path: Path) -> bool:
    """Whether a file's name ends as text tables do, packed or not."""
    return path.name.lower().endswith(ENDINGS)


def open_text(path: Path, manner: Manner) -> Source:
    """The file's names and a reader of its rows.

    **Raises:** `UserError` for a file that is empty or no table.
    """
    with _readable(path, manner):
        layout = _laid_out(path, manner)
    return Source(layout.names, partial(_read, layout, manner))


def _read(layout: TextLayout, manner: Manner, wanted: Wanted) -> pd.DataFrame:
    with _readable(layout.path, manner):
        table = _parsed(layout, wanted.columns, wanted.words)
        if np.any(table[layout.beyond].notna()):
            raise UserError(_misfit(layout))
        if layout.rows:
            table = table.set_index(ROWS).rename_axis(None)

        def written(columns: Sequence[str]) -> pd.DataFrame:
            return _parsed(layout, columns, columns).set_index(table.index)

        unsaid = "ask" if layout.sep == "," else "guess"
        columns: Any = table[list(wanted.columns)]
        return settled(
            columns,
            wanted,
            layout.path,
            written=written,
            quoted=partial(_quoted, layout),
            commas=unsaid if manner.decimal is None else "leave",
        )


def _parsed(layout: TextLayout, columns: Sequence[str], words: Sequence[str]) -> pd.DataFrame:
    """Columns of the rows and what stands beyond; in `words` nothing but a blank is missing."""
    names = [ROWS] * layout.rows + layout.names + layout.beyond
    as_written = [*words, *layout.beyond]
    options: dict[str, Any] = dict(
        header=None,
        names=names,
        skiprows=layout.skip,
        index_col=False,
        sep=layout.sep,
        skipinitialspace=layout.sep == " ",
        decimal=layout.decimal,
        encoding=layout.encoding,
        dtype=dict.fromkeys(as_written, str),
        na_values={n: [""] if n in as_written or n == ROWS else [*MISSING, *DOTS] for n in names},
        keep_default_na=False,
        low_memory=False,
        **EXACT,
    )
    some = [ROWS] * layout.rows + list(columns)
    read: Any = partial(pd.read_csv, layout.path)
    with warnings.catch_warnings():  # of fields beyond, which the caller refuses
        warnings.simplefilter("ignore", pd.errors.ParserWarning)
        if set(some) >= set(names) - set(layout.beyond):
            return read(**options)
        try:
            return read(usecols=[*some, *layout.beyond], **options)
        except pd.errors.ParserError:  # no row reaches beyond: then none of those columns is there
            known = names[: -len(layout.beyond)]
            short = dict(names=known, dtype=dict.fromkeys(words, str))
            table = read(usecols=some, **(options | short))
            return table.assign(**dict.fromkeys(layout.beyond))


def _laid_out(path: Path, manner: Manner) -> TextLayout:
    encoding = manner.encoding or _marked(path)
    with _stream(path, encoding) as stream:
        lines = list(islice(stream, HEAD))
    sep = manner.sep or _separator(path, lines)
    records = list(_records(lines, sep))
    if not records:
        raise UserError(f"{path} is empty: it has not even a header.")
    (skip, _, header), rows = records[0], records[1:]
    while len(header) > 1 and not header[-1].strip():
        header = header[:-1]  # ends of lines such as ;;; in which no row has a value
    beyond = [f"{EXTRA} {k}" for k in range(len(records[0].fields) - len(header) + 1)]
    layout = TextLayout(path, encoding, sep, manner.decimal or ".", named(header), beyond, skip)
    if rows and len(rows[0].fields) == len(records[0].fields) + 1 and rows[0].fields[-1]:
        _check_row_names(layout)
        return layout._replace(rows=True)
    return layout


class Record(NamedTuple):
    """The fields of a row, its place among the records and the line on which it ends."""

    place: int
    line: int
    fields: list[str]


def _records(lines: Sequence[str] | TextIO, sep: str) -> Iterator[Record]:
    """All that is not blank."""
    reader = csv.reader(lines, delimiter=sep, skipinitialspace=sep == " ")
    for place, fields in enumerate(reader, 1):
        if place == 1 and fields:
            fields[0] = fields[0].removeprefix("\ufeff")
        if len(fields) > 1 or (fields and fields[0].strip()):
            yield Record(place, reader.line_num, fields)


def _separator(path: Path, lines: Sequence[str]) -> str:
    """The one that divides the header, and every row alike where several do."""
    kind = path.with_suffix("") if path.suffix.lower() in (*PACKED, ".zip") else path
    if kind.suffix.lower() in (".tsv", ".tab"):
        return "\t"
    widths = {sep: [len(r.fields) for r in _records(lines, sep)] for sep in ",;\t|"}
    found = [sep for sep, wide in widths.items() if wide and wide[0] > 1]
    if not found:
        return " " if len(next(_records(lines, " "), Record(0, 0, [])).fields) > 1 else ","
    alike = [sep for sep in found if len(set(widths[sep][:-1])) <= 1] if len(found) > 1 else found
    if len(alike) != 1:
        shown = " and ".join(repr(sep) for sep in found)
        raise UserError(f"the header of {path} holds {shown}: say which divides it with --sep.")
    return alike[0]


def _check_row_names(layout: TextLayout) -> None:
    """Refuse rows of one field more than the header, unless the first field names each row."""
    with _stream(layout.path, layout.encoding) as stream:
        records = list(_records(stream, layout.sep))[1:]  # type: ignore[arg-type]
    wide = len(layout.names) + 1
    first = [record.fields[0] for record in records]
    whole = [name.strip().isdigit() for name in first]
    names = all(whole) or not any(map(_number, first))
    if any(len(r.fields) != wide for r in records) or len(set(first)) < len(first) or not names:
        raise UserError(_misfit(layout))
    warnings.warn(
        f"the header of {layout.path} names {wide - 1} columns and each row has {wide} fields: "
        "the first is taken as the row's name, as R writes it.",
        stacklevel=2,
    )


def _number(word: str) -> bool:
    try:
        float(word.replace(",", "."))
    except ValueError:
        return not word.strip()
    return True


def _misfit(layout: TextLayout) -> str:
    """Which line has more fields than the header."""
    wide = len(layout.names) + layout.rows
    with _stream(layout.path, layout.encoding) as stream:
        for record in list(_records(stream, layout.sep))[1:]:  # type: ignore[arg-type]
            if len(record.fields) > wide and any(field.strip() for field in record.fields[wide:]):
                return (
                    f"line {record.line} of {layout.path} has {len(record.fields)} fields, the "
                    f"header names {len(layout.names)} columns: name every column, and put quotes "
                    f"around a value that holds {layout.sep!r}."
                )
    return f"{layout.path} has rows with more fields than its header has names."


def _quoted(layout: TextLayout, column: str) -> list[bool]:
    """Whether each row's field of a column stands in quotes."""
    at = layout.names.index(column) + layout.rows
    with _stream(layout.path, layout.encoding) as stream:
        rows = list(_as_written(stream.read(), layout.sep))[1:]
    return [len(row) > at and row[at].startswith('"') for row in rows]


def _as_written(text: str, sep: str) -> Iterator[list[str]]:
    """The fields of each row that is not blank, with their quotes."""
    blanks, divider = " *" if sep == " " else "", re.escape(sep)
    plain = rf"[^{divider}\r\n]*"
    field = rf'{blanks}("(?:[^"]|"")*"{plain}|{plain})(\r\n|[{divider}\r\n]|\Z)'
    row: list[str] = []
    for found in re.finditer(field, text):
        row.append(found[1])
        if found[2] != sep:
            if len(row) > 1 or row[0].strip():
                yield row
            row = []


def _marked(path: Path) -> str:
    """The encoding that the first bytes tell; UTF-8 where they do not."""
    with _binary(path) as stream:
        head = stream.read(4096)
    for mark, name in MARKS:
        if head.startswith(mark):
            return name
    if b"\0" in head:
        raise UserError(
            f"{path} is no CSV file that can be read: it holds zero bytes; if it is UTF-16, say "
            "--encoding utf-16-le or utf-16-be."
        )
    return "utf-8"


@contextmanager
def _binary(path: Path) -> Iterator[Any]:
    """The bytes of a file, unpacked."""
    if path.suffix.lower() == ".zip":
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
            if len(members) != 1:
                raise ValueError(f"the archive holds {len(members)} files, not one")
            with archive.open(members[0]) as stream:
                yield stream
    else:
        with PACKED.get(path.suffix.lower(), open)(path, "rb") as stream:
            yield stream


@contextmanager
def _stream(path: Path, encoding: str) -> Iterator[TextIO]:
    """The text of a file, its ends of lines as they are."""
    with _binary(path) as stream:
        yield io.TextIOWrapper(stream, encoding, newline="")


@contextmanager
def _readable(path: Path, manner: Manner) -> Iterator[None]:
    """What goes wrong in reading, as one sentence with the file's name."""
    begin = f"{path} is no CSV file that can be read"
    try:
        yield
    except pd.errors.EmptyDataError as error:
        raise UserError(f"{path} is empty: it has not even a header.") from error
    except UnicodeError as error:
        if manner.encoding is not None:
            raise UserError(f"{begin}: it is not written in {manner.encoding}.") from error
        raise UserError(
            f"{begin}: {_foreign(path)}; say --encoding, such as latin-1 or cp1252 for western "
            "Europe."
        ) from error
    except OSError as error:
        if error.filename is not None:
            raise
        raise UserError(f"{begin} ({error}).") from error
    except BROKEN as error:
        raise UserError(f"{begin} ({str(error).strip().rstrip('.')}).") from error


def _foreign(path: Path) -> str:
    """The first byte that is no UTF-8."""
    with _binary(path) as stream:
        for number, line in enumerate(stream, 1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return f"byte 0x{line[error.start]:02x} in line {number} is not UTF-8"
    return "it is not UTF-8"
