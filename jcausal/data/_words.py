"""Rows and numbers in words."""

from collections.abc import Iterable

import numpy as np
import pandas as pd


def rows_in_words(rows: Iterable[int], limit: int = 5) -> str:
    """Name rows by position: "row 3", "rows 3, 17 and 20", "rows 1, 2, 3, 4, 5 and 12 more"."""
    listed = [str(int(r)) for r in rows]
    if len(listed) == 1:
        return f"row {listed[0]}"
    if len(listed) <= limit:
        return f"rows {', '.join(listed[:-1])} and {listed[-1]}"
    return f"rows {', '.join(listed[:limit])} and {len(listed) - limit} more"


def number_in_words(value: float) -> str:
    """A number for reading: thousands set apart, four significant digits or whole."""
    if value == round(value, 0) or abs(value) >= 1000:
        return f"{value + 0.0:,.0f}"
    return f"{value:.4g}"


def label_in_words(label: object) -> str:
    """A label for reading: days without a time of day, spans as "2 days" or "1 days 06:00:00"."""
    if isinstance(label, np.datetime64 | np.timedelta64) and not np.isnat(label):
        span = isinstance(label, np.timedelta64)
        words = str(pd.Timedelta(label) if span else pd.Timestamp(label))
        return words.removesuffix(" 00:00:00")
    return str(label)


def label_word(label: object) -> str:
    """A label in words: 1 for 1.0."""
    if isinstance(label, float | np.floating) and float(label).is_integer():
        return str(int(label))
    return label.decode(errors="replace") if isinstance(label, bytes) else str(label)


def label_words(labels: np.ndarray) -> np.ndarray:
    """Every label in words."""
    if labels.dtype.kind != "O":
        return labels.astype(str)
    return np.array([label_word(v) for v in labels.tolist()], dtype=str)


def level_label(value: float) -> str:
    """A numeric level in words, all its digits kept."""
    return str(int(value)) if float(value).is_integer() else repr(float(value))
