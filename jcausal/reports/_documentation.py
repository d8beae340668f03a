"""What the documentation of a class says of it: its first line, its options, its source."""

import dataclasses
import inspect
import re
from typing import NamedTuple

SOURCE = re.compile(r"\*\*Source:\*\*(.*?)(?:\n\s*\n|\n\*\*|\Z)", re.S)


class Described(NamedTuple):
    """A method's name, its first line, options that are not the defaults, and its source."""

    name: str
    line: str
    options: str
    source: str


def described(method: object) -> Described:
    """What there is to say of a method, or of a class; empty where nothing is written."""
    kind = method if isinstance(method, type) else type(method)
    text = inspect.getdoc(kind) or ""
    found = SOURCE.search(text)
    source = " ".join(found[1].split()).replace("`", "") if found else ""
    line = text.split("\n\n")[0].replace("\n", " ").replace("`", "")
    return Described(kind.__name__, line, _options(method), source)


def _options(method: object) -> str:
    """Options other than the defaults; arrays are not written out."""
    if isinstance(method, type) or not dataclasses.is_dataclass(method):
        return ""
    said = []
    for field in dataclasses.fields(method):
        value = getattr(method, field.name)
        default: object = field.default
        plain = isinstance(value, str | int | float | tuple | type(None))
        if field.init and plain and value != default:
            said.append(f"{field.name}={value!r}")
        elif field.init and not plain and type(value) is not type(default):
            said.append(f"{field.name}={type(value).__name__}")
    return ", ".join(said)
