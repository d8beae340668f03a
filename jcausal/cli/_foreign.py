"""Tables of other programs: Stata, SPSS, SAS, Excel, Feather, by the readers of pandas."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from jcausal.cli._cells import MISSING
from jcausal.cli._manner import Manner, Source, Wanted, check_manner, named
from jcausal.cli._terminal import UserError

LEAST = 16.0**-65  # what some versions of pandas make of a transport file's zero


class Kind(NamedTuple):
    """A program's files: its name, the package that reads them, the options that say how."""

    name: str
    package: str | None
    read: Callable[[Path, Manner], pd.DataFrame]
    options: Sequence[str] = ()


def open_foreign(path: Path, manner: Manner) -> Source:
    """The file's names and its rows, read at once.

    **Raises:** `UserError` for a reader that is not installed, and for a file that it cannot read.
    """
    kind = KINDS[path.suffix.lower()]
    check_manner(path, manner, kind.options)
    try:
        table = kind.read(path, manner)
    except UserError:
        raise
    except ImportError as error:
        raise UserError(
            f"{kind.name} files need {kind.package}: pip install {kind.package}, or save {path} as "
            "CSV."
        ) from error
    except UnicodeError as error:
        raise UserError(
            f"{path} holds text that is not {manner.encoding or 'UTF-8'}: say --encoding, such as "
            "latin-1 or cp1252 for western Europe."
        ) from error
    except Exception as error:  # each reader has errors of its own
        raise UserError(f"{path} is no {kind.name} file that can be read ({error}).") from error
    table.columns = pd.Index([str(name) for name in table.columns])

    def read(wanted: Wanted) -> pd.DataFrame:
        columns: Any = table[list(wanted.columns)]
        return columns

    return Source(list(table.columns), read)


def _stata(path: Path, manner: Manner) -> pd.DataFrame:
    return _labelled(pd.read_stata, path)


def _spss(path: Path, manner: Manner) -> pd.DataFrame:
    return _labelled(pd.read_spss, path)


def _sas(path: Path, manner: Manner) -> pd.DataFrame:
    infer = "infer" if path.suffix.lower() == ".sas7bdat" else "utf-8"
    table: Any = pd.read_sas(path, encoding=manner.encoding or infer)
    for name, column in table.items():
        if column.dtype.kind == "f":
            table[name] = column.mask(column.abs() == LEAST, 0.0)
    return _no_blanks(table)


def _feather(path: Path, manner: Manner) -> pd.DataFrame:
    return pd.read_feather(path)


def _labelled(reader: Callable[..., Any], path: Path) -> pd.DataFrame:
    """Codes that all have a label as levels; 0 and 1, and numbers of which some have one, stay."""
    table = reader(path, convert_categoricals=False)
    try:
        labelled = reader(path)
    except ValueError as error:  # two codes of one label
        warnings.warn(f"the codes of {path} are taken without labels ({error}).", stacklevel=4)
        return _no_blanks(table)
    for name, column in labelled.items():
        if isinstance(column.dtype, pd.CategoricalDtype):
            used = column.cat.remove_unused_categories().cat.categories
            codes = table[name].dropna()
            if all(isinstance(v, str) for v in used) and not codes.isin((0, 1)).all():
                table[name] = column
    return _no_blanks(table)


def _no_blanks(table: pd.DataFrame) -> pd.DataFrame:
    """Words without a letter are missing: these programs know no other missing word."""
    for name, column in table.items():
        if column.dtype.kind == "O" and not isinstance(column.dtype, pd.CategoricalDtype):
            blank = np.array([isinstance(v, str) and not v.strip() for v in column], bool)
            table[name] = column.astype(object).mask(blank)
    return table


def _sheet(path: Path, manner: Manner) -> pd.DataFrame:
    """The sheet that the user named, or the only one."""
    engine: Any = ENGINES[path.suffix.lower()]
    with pd.ExcelFile(path, engine=engine) as book:
        name = _which(path, [str(sheet) for sheet in book.sheet_names], manner.sheet)
        parse: Any = book.parse
        header = parse(name, header=None, nrows=1, dtype=str, keep_default_na=False)
        if not len(header):
            raise UserError(f"sheet {name!r} of {path} is empty: it has not even a header.")
        table = parse(name, keep_default_na=False, na_values=[""])
    table.columns = pd.Index(named([str(word) for word in header.iloc[0]]))
    if table.columns.is_unique:  # else the caller tells which stands twice
        for column in table.columns:
            table[column] = _numbers(table[column])
    return table


def _numbers(column: pd.Series) -> pd.Series:
    """Numbers among which words for a missing value stand; other columns as they are."""
    if column.dtype.kind != "O":
        return column
    gaps = column.isin(MISSING) | column.isna()
    numbers = [isinstance(v, int | float) for v in column[~gaps]]
    return column.mask(gaps).astype(float) if numbers and all(numbers) else column


def _which(path: Path, sheets: Sequence[str], wanted: str | None) -> str:
    if wanted in sheets:
        return str(wanted)
    if wanted is not None and wanted.isdigit() and 1 <= int(wanted) <= len(sheets):
        return sheets[int(wanted) - 1]
    if wanted is None and len(sheets) == 1:
        return sheets[0]
    listed = ", ".join(sheets)
    if wanted is None:
        raise UserError(f"{path} has {len(sheets)} sheets: name one with --sheet, of {listed}.")
    raise UserError(f"there is no sheet {wanted!r} in {path}: its sheets are {listed}.")


EXCEL = {".xlsx": "openpyxl", ".xlsm": "openpyxl", ".xls": "xlrd", ".xlsb": "pyxlsb"}
ENGINES = EXCEL | {".ods": "odf"}
KINDS = {
    **{ending: Kind("Excel", package, _sheet, ["sheet"]) for ending, package in EXCEL.items()},
    ".ods": Kind("OpenDocument", "odfpy", _sheet, ["sheet"]),
    ".dta": Kind("Stata", None, _stata),
    **{ending: Kind("SPSS", "pyreadstat", _spss) for ending in (".sav", ".zsav")},
    **{ending: Kind("SAS", None, _sas, ["encoding"]) for ending in (".sas7bdat", ".xpt")},
    **{ending: Kind("Feather", "pyarrow", _feather) for ending in (".feather", ".arrow")},
}
