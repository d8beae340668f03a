"""The order of times that are words: as numbers, as dates, naturally, or not at all."""

import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int

from jcausal.data import DataError
from jcausal.panels._dates_in_words import YEARS, Key, date_readings

ORDINAL = re.compile(r"(?<=\d)(st|nd|rd|th)\b")
SIGN = re.compile(r"(?<!\d)[-+](?=\s?\d)")
DECIMAL = r"\d+\.\d+"
UNSIGNED = re.compile(r"\d+(\.\d+)?")
SHOWN = 3


def time_order(
    name: str, labels: Sequence[str], first: Int[np.ndarray, " m"]
) -> Int[np.ndarray, " m"]:
    """Positions (m,) that put distinct labels in the order of time.

    **Arguments:** `first` (m,): where each label is met first, the last resort of words that have
    neither a date nor a number.

    **Raises:** `DataError` where two orders are possible, with both, and for one time that is
    written in two ways.
    """
    words = [_plain(label) for label in labels]
    readings = certain_readings(words)
    if not readings:
        readings = {"by letters": _chunks(words), "as the rows have them": [(k,) for k in first]}
    apart = {how: keys for how, keys in readings.items() if len(set(keys)) == len(keys)}
    if not apart:
        _refuse_twice(name, labels, next(iter(readings.values())))
    orders = {how: sorted(range(len(labels)), key=keys.__getitem__) for how, keys in apart.items()}
    (how, order), *others = orders.items()
    for other, rival in others:
        if rival != order:
            _refuse_both(name, labels, {how: order, other: rival})
    return np.array(order)


def check_in_order(labels: np.ndarray) -> None:
    """Refuse columns whose labels are times in an order of their own, and stand in another.

    **Raises:** `DataError`.
    """
    if all(isinstance(label, str) for label in labels):
        readings = list(certain_readings([_plain(label) for label in labels]).values())
    else:
        readings = [list(labels)] if labels.dtype.kind in "iufM" else []
    late = [[k for k, (a, b) in enumerate(pairwise(keys)) if a > b] for keys in readings]
    if late and all(late):
        before, after = (str(label) for label in labels[late[0][0] :][:2])
        raise DataError(
            f"the columns of y are times, and {before!r} stands before {after!r}: put them in "
            "order (those of d too), or give the times as they are with time=."
        )


def certain_readings(words: Sequence[str]) -> dict[str, list[Key]]:
    """Every reading of labels (as `_plain` makes them) that gives them an order by itself."""
    dates, found = date_readings(words), numbers_of(words)
    if found is None:
        return dates or _natural(words)
    numbers: list[Key] = [(float(v),) for v in found]
    whole = all(word.isdecimal() for word in words)
    zeros = any(re.match(r"0\d", word) for word in words)
    with_year = {how: keys for how, keys in dates.items() if keys[0][0] in YEARS}
    if "month-year" in with_year or (whole and zeros and with_year):
        return with_year  # 10.2019, 01022020
    if zeros or _versions(words):
        return {"as numbers": numbers} | dates | _natural(words)
    return {"as numbers": numbers} | with_year


def _plain(label: str) -> str:
    """Lower case, one kind of minus, single blanks, 1 for 1st."""
    words = re.sub("[\u2010-\u2015\u2212]", "-", label).casefold().split()
    return ORDINAL.sub("", " ".join(words))


def _versions(words: Sequence[str]) -> bool:
    """Whether a decimal part ends in 0, such as that of 1.10, which may be ten and not a tenth."""
    plain = all(UNSIGNED.fullmatch(word) for word in words)
    return plain and any(re.search(r"\.\d+0$", word) for word in words)


def numbers_of(words: Sequence[str]) -> Float[np.ndarray, " m"] | None:
    """Words that are numbers, such as "9" and "10"; 2020_9 is none, though Python reads one."""
    if any("_" in word for word in words):
        return None
    try:
        found = np.array(words).astype(float)
    except ValueError:
        return None
    return found if np.isfinite(found).all() else None


def _natural(words: Sequence[str]) -> dict[str, list[Key]]:
    """Words that differ in their numbers alone, by these from left to right, years first."""
    found = {}
    for said, signed in _signs(words).items():
        for pattern, how in ((r"\d+", "by their numbers"), (DECIMAL, "by their decimals")):
            rows = _fields(words, pattern, signed)
            if rows is not None:
                found |= {f"{how}{said}{way}": keys for way, keys in _years_first(rows).items()}
    return found


def _years_first(rows: list[Key]) -> dict[str, list[Key]]:
    """Numbers from left to right; behind a year that does not stand first, perhaps the other way.

    So come "13/01/2020" and "01/13/2020" together, that are dates in no one form.
    """
    years = [k for k in range(len(rows[0])) if all(row[k] in YEARS for row in rows)]
    if len(years) != 1 or years[0] == 0:
        return {"": rows}
    at = years[0]
    forward = [(row[at], *row[:at], *row[at + 1 :]) for row in rows]
    backward = [(row[0], *row[1:][::-1]) for row in forward]
    return {" from the left": forward, " from the right": backward}


def _signs(words: Sequence[str]) -> dict[str, bool]:
    """Whether "t-1" is one time before "t0", or a hyphen as in "week-9"; both where it is open."""
    signs = [SIGN.search(word) is not None for word in words]
    if not any(signs):
        return {"": False}
    short = all(re.match(r"\W*[^\W\d]?\W*\d", word) for word in words)
    origin = any(re.search(r"\+\s?\d|(?<!\d)0$", word) for word in words)
    if all(signs) and not short and not origin:
        return {"": False}
    if origin or (short and not all(signs)):
        return {"": True}
    return {" with signs": True, " without signs": False}


def _fields(words: Sequence[str], pattern: str, signed: bool) -> list[Key] | None:
    """The numbers of each label; None where labels differ in more, or have none."""
    number = (r"(?<!\d)[-+]?\s?" if signed else "") + rf"(?:{pattern}|\d+)"
    rows = [[float(v.replace(" ", "")) for v in re.findall(number, word)] for word in words]
    letters = {re.sub(r"[\W_]", "", re.sub(number, "#", word).replace("#", "0")) for word in words}
    if len(letters) > 1 or not rows[0]:
        return None
    return [tuple(row) for row in rows]


def _chunks(words: Sequence[str]) -> list[tuple]:
    """Letters as letters and numbers as numbers, for words that differ in both."""
    split = [re.split(r"(\d+)", word) for word in words]
    chunks = [tuple(int(v) if k % 2 else v for k, v in enumerate(row)) for row in split]
    return list(zip(chunks, range(len(words))))


def _refuse_twice(name: str, labels: Sequence[str], keys: list) -> None:
    order = sorted(range(len(labels)), key=keys.__getitem__)
    a, b = next((a, b) for a, b in pairwise(order) if keys[a] == keys[b])
    raise DataError(
        f"time {name!r} writes one time in two ways, {labels[a]!r} and {labels[b]!r}: write it in "
        "one."
    )


def _refuse_both(name: str, labels: Sequence[str], orders: dict[str, list[int]]) -> None:
    one, two = orders.values()
    at = next(k for k, (a, b) in enumerate(zip(one, two)) if a != b)
    said = [
        f"{how} ({'..., ' * (at > 0)}{', '.join(repr(str(labels[k])) for k in order[at:][:SHOWN])}"
        f"{', ...' * (len(order) > at + SHOWN)})"
        for how, order in orders.items()
    ]
    raise DataError(
        f"time {name!r} holds words that can be put in two orders, {' or '.join(said)}: make it "
        "dates, numbers, or an ordered category."
    )
