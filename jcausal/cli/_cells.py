"""What the words in a text file's columns mean: a missing value, a level, a number."""

import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from jcausal.cli._manner import Wanted
from jcausal.cli._terminal import UserError
from jcausal.data import rows_in_words

MISSING = ("", " ", "NA", "N/A", "n/a", "#N/A", "#N/A N/A", "#NA", "<NA>", "NULL", "null", "None")
MISSING += ("NaN", "nan", "-NaN", "-nan", "1.#IND", "1.#QNAN", "-1.#IND", "-1.#QNAN")
DOTS = (".", *(f".{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"))  # Stata's
LEVELS = ("None", *DOTS)  # words for a missing number that among words are a word
COMMA = re.compile(r"\s*[+-]?\d*,\d+([eE][+-]?\d+)?\s*$")
THOUSANDS = re.compile(r"\s*[+-]?\d{1,3}(,\d{3}){2,}\s*$")
TENTHS = re.compile(r"\s*[+-]?\d*,(\d{1,2}|\d{4,})([eE][+-]?\d+)?\s*$")
WHOLE = re.compile(r"\s*[+-]?\d+([eE][+-]?\d+)?\s*$")
CODE = r"[+-]?(0|[1-9][0-9]{0,14})?([.,][0-9]*)?([eE][+-]?[0-9]+)?"  # without leading zeros
WHOLE_CODE = r"-?(0|[1-9][0-9]*)"
Written = Callable[[Sequence[str]], pd.DataFrame]


def settled(
    table: pd.DataFrame,
    wanted: Wanted,
    path: Path,
    *,
    written: Written,
    quoted: Callable[[str], list[bool]],
    commas: Literal["guess", "ask", "leave"],
) -> pd.DataFrame:
    """The table with what its columns of text leave open: levels like missing values, commas.

    `written` gives columns as they stand, `quoted` whether the fields of one stand in quotes;
    `commas` what to do about numbers with one: they may be decimals, the user must say, or has.

    **Raises:** `UserError` where two readings are possible.
    """
    if commas != "leave":
        table = _decimals(table, wanted, path, commas == "guess")
    table = _codes(table, [*wanted.levels, *wanted.codes], written)
    texts = _texts(table, wanted.words)
    gaps = [name for name, known in texts.items() if len(known) < len(table)]
    if not gaps:
        return table
    words = written(gaps)
    changed = {}
    for name in gaps:
        column, there = table[name].astype(object), np.asarray(words[name], object)
        column = column.where(~np.isin(there.astype(str), LEVELS), there)
        unsure = there == "NA"
        if unsure.any():
            marks = np.array(quoted(name))
            marks = marks if marks.size == len(table) else np.zeros(len(table), bool)
            column = column.mask(unsure & marks, "NA")
            others = ~np.asarray(pd.isna(there)) & ~unsure
            if not marks[others].all():  # else what stands without quotes is no text
                _ask(name, np.flatnonzero(unsure & ~marks), len(table), wanted, path)
        if len(column.dropna()) > len(texts[name]):
            changed[name] = column
    return table.assign(**changed)


def _codes(table: pd.DataFrame, names: Sequence[str], written: Written) -> pd.DataFrame:
    """Codes that lose something as numbers, such as 01234 beside 1234, as they are written."""
    read = [n for n in dict.fromkeys(names) if n in table and table[n].dtype.kind in "iuf"]
    if not read:
        return table
    words, changed = written(read), {}
    for name in read:
        word: Any = words[name].where(table[name].notna()).map(str.strip, na_action="ignore")
        known, numbers = word.dropna(), pd.Series(table[name])
        plain = CODE if numbers.dtype.kind == "f" else WHOLE_CODE
        lost = known.nunique() > numbers.nunique() or not known.str.fullmatch(plain).all()
        if len(known) and lost:
            changed[name] = word
    return table.assign(**changed)


def _texts(table: pd.DataFrame, words: Sequence[str]) -> dict[str, Any]:
    """The known values of the columns with text, but for those columns that stay as written."""
    read = {str(n): c for n, c in table.items() if n not in words and c.dtype.kind == "O"}
    known = {name: column.dropna() for name, column in read.items()}
    return {name: column for name, column in known.items() if any(map(_is_text, column))}


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _ask(name: str, rows: np.ndarray, n: int, wanted: Wanted, path: Path) -> None:
    """The word NA, where nothing tells whether it is a level."""
    if not rows.size:
        return
    where = f"column {name!r} of {path} holds the word NA in {rows.size} of {n} rows"
    if not wanted.gaps:
        raise UserError(
            f"{where} ({rows_in_words(rows)}): if it is a level, put it in quotes or write another "
            "word; if it means missing, say --missing drop or indicator."
        )
    warnings.warn(
        f"{where}: it counts as missing; put it in quotes if it is a level.", stacklevel=2
    )


def _decimals(table: pd.DataFrame, wanted: Wanted, path: Path, guess: bool) -> pd.DataFrame:
    """Columns of numbers with a comma as numbers, where it is certain that it is their decimals'.

    It is where one has other than three digits after the comma, and none a point.
    """
    texts = _texts(table, [*wanted.words, *wanted.levels])
    words = {n: column for n, column in texts.items() if column.map(_with_comma).all()}
    if not words:
        return table
    tenths = any(column.map(_is(TENTHS)).any() for column in words.values())
    thousands = any(column.map(_is(THOUSANDS)).any() for column in words.values())
    if not guess or not tenths or thousands or _has_points(table):
        name, column = next(iter(words.items()))
        raise UserError(
            f"column {name!r} of {path} holds numbers with a comma, such as "
            f"{next(v for v in column if ',' in v)!r}: say --decimal , if it begins their "
            "decimals, else write them without it."
        )
    numbers = {n: [float(v.replace(",", ".")) for v in column] for n, column in words.items()}
    return table.assign(
        **{n: pd.Series(numbers[n], words[n].index).reindex(table.index) for n in words}
    )


def _is(pattern: re.Pattern) -> Callable[[object], bool]:
    return lambda value: isinstance(value, str) and pattern.match(value) is not None


def _with_comma(value: object) -> bool:
    return any(_is(pattern)(value) for pattern in (WHOLE, COMMA, THOUSANDS))


def _has_points(table: pd.DataFrame) -> bool:
    """Whether a column of numbers has decimals after a point."""
    parts = (table[n].dropna() for n in table.columns if table[n].dtype.kind == "f")
    return any((part != part.round()).any() for part in parts)
