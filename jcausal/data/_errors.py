"""Errors of the data stage, each one readable sentence."""

from collections.abc import Iterable


class DataError(ValueError):
    """The data cannot be used as they are: the message names the column, the count and the rows."""


class HonestyError(ValueError):
    """Outcomes that a surface was trained on would be averaged in the groups it shaped."""


def rows_in_words(rows: Iterable[int], limit: int = 5) -> str:
    """Name rows by position: "row 3", "rows 3, 17 and 20", "rows 1, 2, 3, 4, 5 and 12 more"."""
    listed = [str(int(r)) for r in rows]
    if len(listed) == 1:
        return f"row {listed[0]}"
    if len(listed) <= limit:
        return f"rows {', '.join(listed[:-1])} and {listed[-1]}"
    return f"rows {', '.join(listed[:limit])} and {len(listed) - limit} more"
