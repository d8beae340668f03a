"""How a file is to be read: what the user said of it, and what is wanted of it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from jcausal.cli._terminal import UserError

USES = dict(
    sep="text files (.csv, .tsv, .txt)",
    decimal="text files (.csv, .tsv, .txt)",
    encoding="text files and SAS",
    sheet="Excel and OpenDocument files",
)


class Manner(NamedTuple):
    """What the user says of a file; None where the file is to tell."""

    sep: str | None = None
    decimal: str | None = None
    encoding: str | None = None
    sheet: str | None = None


class Wanted(NamedTuple):
    """The columns to read; `words` stay as written, `levels` are categories, `codes` labels.

    Numbers among `levels` and `codes` stay as written where they are not written as numbers are.
    `gaps`: missing values are looked for, so that a word that may mean one does.
    """

    columns: Sequence[str]
    words: Sequence[str] = ()
    levels: Sequence[str] = ()
    codes: Sequence[str] = ()
    gaps: bool = False


class Source(NamedTuple):
    """An opened file: the names of its columns, and how its rows are had."""

    names: list[str]
    read: Callable[[Wanted], pd.DataFrame]


def check_manner(path: Path, manner: Manner, useful: Sequence[str]) -> None:
    """Refuse an option that says nothing of this kind of file."""
    for option, value in manner._asdict().items():
        if value is not None and option not in useful:
            raise UserError(f"--{option} is for {USES[option]}, and {path} is none: leave it out.")


def named(header: Sequence[str]) -> list[str]:
    """A header's names; a blank one is called after its place, as pandas does."""
    names: list[str] = []
    for place, name in enumerate(header):
        shown = name if name.strip() else f"Unnamed: {place}"
        while not name.strip() and shown in (*names, *header):
            shown += ".1"
        names.append(shown)
    return names
