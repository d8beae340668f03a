"""Words as dates: which readings are possible of all labels at once, each with its order."""

import datetime
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

Key = tuple[float, ...]
YEARS = range(1000, 3000)
NEAR = 30  # years of two digits within so many are taken to lie together, across a century too

MONTHS = "january february march april may june july august september october november december"
WEEKDAYS = "monday tuesday wednesday thursday friday saturday sunday"
PERIODS = {"quarter": 4, "qtr": 4, "q": 4, "half": 2, "h": 2, "semester": 2, "s": 2, "t": 3}
PERIODS |= {"week": 53, "wk": 53, "w": 53, "month": 12, "m": 12, "trimester": 3, "p": 13}
SILENT = {"of", "the", "year", "y", "fy", "cy", "ay"}
BETWEEN = re.compile(r"[\s\-/._,:'()#]*")
CLOCK = re.compile(
    r"(?:^|[t\s:,]\s*)(?P<hour>\d{1,2})(?::(?P<minute>\d{2})(?::(?P<second>\d{2}(?:\.\d+)?))?)?"
    r"\s*(?P<half>[ap])?(?(half)\.?m\.?)\s*(?P<zone>z|utc|gmt|[+-]\d{2}:?\d{2})?$"
)
# What the places of a shape may mean: y, m, d, p (the number of a period), "-" a word without one.
# In a shape: n a number, b the name of a month, a that of a weekday, p a period such as "Q".
FORMS = {
    "n": ("y",),
    "nn": ("ym", "my", "dm", "md"),
    "nnn": ("ymd", "dmy", "mdy"),
    "bn": ("my", "md"),
    "nb": ("ym", "dm"),
    "nbn": ("dmy", "ymd"),
    "bnn": ("mdy",),
    "b": ("m",),
    "a": ("a",),
    "npn": ("y-p", "p-y"),
    "pnn": ("-py",),
}
WORDS = {"y": "year", "m": "month", "d": "day", "p": "period", "a": "weekday"}


class _Token(NamedTuple):
    """A number with its digits, or a word by its number: of the month, the weekday, the period."""

    kind: str
    value: int
    width: int = 0


def _names(words: str) -> dict[str, int]:
    """Names and their first three letters, numbered from 1."""
    full = words.split()
    short = {name[:3]: place for place, name in enumerate(full, 1)}
    return short | {name: place for place, name in enumerate(full, 1)}


MONTH = _names(MONTHS) | {"sept": 9}
WEEKDAY = _names(WEEKDAYS) | {"tues": 2, "thur": 4, "thurs": 4}


def date_readings(labels: Sequence[str]) -> dict[str, list[Key]]:
    """Each way to read all labels (lower case) as dates: its name, and a key a label to sort by."""
    clocks = [_clock(label) for label in labels]
    if len({clock is None for clock in clocks}) > 1:
        return {}  # only some have a time of day
    days = [label if c is None else label[: c.start()] for label, c in zip(labels, clocks)]
    seconds = [_seconds(c) for c in clocks if c is not None]
    if any(s is None for s in seconds) or len({c["zone"] is None for c in clocks if c}) > 1:
        return {}
    late = [(s,) for s in seconds if s is not None] or [()] * len(labels)
    if not any(days):
        return {"time of day": late}
    found = _day_readings(days)
    return {name: [(*k, *s) for k, s in zip(keys, late)] for name, keys in found.items()}


def _clock(label: str) -> re.Match | None:
    """The time of day at the end of a label; an hour alone only with am or pm."""
    found = CLOCK.search(label)
    return found if found and (found["minute"] or found["half"]) else None


def _seconds(clock: re.Match) -> float | None:
    """Seconds since midnight, of UTC where a zone is told; None for an hour that there is not."""
    hour, minute = int(clock["hour"]), int(clock["minute"] or 0)
    second = float(clock["second"] or 0)
    if hour > (12 if clock["half"] else 24) or minute > 59 or second >= 61:
        return None
    if clock["half"]:
        hour = hour % 12 + 12 * (clock["half"] == "p")
    zone, off = clock["zone"] or "z", 0
    if zone[0] in "+-":
        off = (60 * int(zone[1:3]) + int(zone[-2:])) * (-1 if zone[0] == "-" else 1)
    return 60.0 * (60 * hour + minute - off) + second


def _day_readings(labels: Sequence[str]) -> dict[str, list[Key]]:
    rows = [_tokens(label) for label in _apart(labels)]
    shapes = {None if row is None else "".join(token.kind for token in row) for row in rows}
    if len(shapes) > 1 or None in shapes:
        return {}
    shape, known = str(shapes.pop()), [row for row in rows if row is not None]
    if shape == "n" and not any(row[0].width == 2 and row[0].value < 10 for row in known):
        return {}  # numbers alone, none as the years of a new century are written
    found: dict[str, list[Key]] = {}
    for form in FORMS.get(shape, ()):
        found |= _read(form, known)
    if any(_steady(found.get(form, [])) for form in ("month-year", "year-month")):
        return {name: keys for name, keys in found.items() if "day" not in name}
    return found


def _steady(keys: list[Key]) -> bool:
    """Whether months follow each other at even steps within the year, as no days of months do.

    So "Nov-19", "Dec-19", "Jan-20" are of two years. Numbers up to 12 may be first working days.
    """
    months = sorted(12 * key[0] + key[1] for key in keys)
    steps = {b - a for a, b in pairwise(months)}
    late = all(key[0] % 100 > 12 for key in keys)
    return late and len(months) > 2 and len(steps) == 1 and 0 < steps.pop() < 12


def _apart(labels: Sequence[str]) -> Sequence[str]:
    """Digits without separators, as dates where a leading zero shows that they are no numbers."""
    if not (all(v.isdecimal() for v in labels) and any(v[0] == "0" for v in labels)):
        return labels
    widths = {len(v) for v in labels}
    if widths == {8}:
        return [f"{v[:2]} {v[2:4]} {v[4:]}" for v in labels]
    if widths == {4} or (widths == {6} and all(int(v[2:]) in YEARS for v in labels)):
        return [f"{v[:2]} {v[2:]}" for v in labels]
    return [f"{v[:2]} {v[2:4]} {v[4:]}" for v in labels] if widths == {6} else labels


def _tokens(label: str) -> list[_Token] | None:
    """Numbers and words that a date may have; None where there is another."""
    found = re.findall(r"\d+|[^\W\d_]+", label)
    if not BETWEEN.fullmatch(re.sub(r"\d+|[^\W\d_]+", "", label)):
        return None
    tokens = [_token(word) for word in found if word not in SILENT]
    if any(token is None for token in tokens):
        return None
    known = [token for token in tokens if token is not None]
    return [token for token in known if token.kind != "a"] or known


def _token(word: str) -> _Token | None:
    if word.isdecimal():
        return _Token("n", int(word), len(word))
    for kind, names in (("b", MONTH), ("a", WEEKDAY), ("p", PERIODS)):
        if word in names:
            return _Token(kind, names[word])
    return None


def _read(form: str, rows: list[list[_Token]]) -> dict[str, list[Key]]:
    """One form, if every label has a possible date in it, with one or two ways to count years."""
    parts = [{role: token for role, token in zip(form, row)} for row in rows]
    if not all(_possible(part) for part in parts):
        return {}
    name, found = "-".join(WORDS[role] for role in form if role != "-"), {}
    for said, years in _years(form, parts).items():
        keys = [_key(part, year) for part, year in zip(parts, years)]
        if all(key is not None for key in keys):
            found[name + said] = [key for key in keys if key is not None]
    return found


def _possible(part: dict[str, _Token]) -> bool:
    """Whether the numbers lie where months, days, years and periods do."""
    for role, (_, value, width) in part.items():
        if role == "y" and width == 4 and value not in YEARS:
            return False
        if role in "md" and not (width <= 2 and 1 <= value <= (12 if role == "m" else 31)):
            return False
        if role == "p" and not (width <= 2 and 1 <= value <= part["-"].value):
            return False
    return True


def _key(part: dict[str, _Token], year: int) -> Key | None:
    """Year, month, day or what there is of them; None for a day that the month does not have."""
    month, day = (part[role].value if role in part else 1 for role in "md")
    try:
        datetime.date(2000 + year % 100 * ("y" in part) if year < 1000 else year, month, day)
    except ValueError:
        return None
    other = [part[role].value for role in "ap" if role in part]
    return (year, month, day, *other)


def _years(form: str, parts: list[dict[str, _Token]]) -> dict[str, list[int]]:
    """The year of every label; where it has two digits or is not written, perhaps in two ways."""
    widths = {part["y"].width for part in parts} if "y" in form else {0}
    if widths == {4}:
        return {"": [part["y"].value for part in parts]}
    if widths not in ({2}, {0}):
        return {}
    role = next(role for role in "yma" if role in form)
    round_, word = {"y": (100, "centur"), "m": (12, "year"), "a": (7, "week")}[role]
    values = [part[role].value for part in parts]
    plain = values if role == "y" else [0] * len(values)
    first, near = _first_of_round(values, round_)
    turned = [p + (v < first) * (100 if role == "y" else 1) for p, v in zip(plain, values)]
    if turned == plain:
        return {"": plain}
    if role == "y" and near:
        return {"": turned}
    one, two = ("y", "ies") if role == "y" else ("", "s")
    return {f" of one {word}{one}": plain, f" of two {word}{two}": turned}


def _first_of_round(values: list[int], round_: int) -> tuple[int, bool]:
    """Where values that come round lie closest together: the first of them, and whether near."""
    some = sorted(set(values))
    gaps = [b - a for a, b in pairwise(some)]
    widest = max(gaps, default=0)
    if widest <= round_ - (some[-1] - some[0]):
        return some[0], False
    return some[gaps.index(widest) + 1], round_ - widest <= NEAR
