"""The order that breaks ties: by covariates column by column, then by id; no row order matters."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Int

from jcausal.data import Sample
from jcausal_kernels import MISSING


def value_order(
    sample: Sample,
    rows: Int[np.ndarray, " m"],
    first: Int[np.ndarray, " m"] | None = None,
) -> Int[np.ndarray, " m"]:
    """Places of the rows sorted by `first`, then by their covariates' codes, then by id.

    `first` (m,), from 0, is a label that goes before everything else, such as a leaf. Columns are
    packed into as few words as they fit in, and the words sorted.
    """
    words = packed_codes(sample, rows)
    if first is not None:
        words.insert(0, first.astype(np.uint64))
    name = np.asarray(sample.row)[rows].astype(np.uint64)
    words.append((name[:, 0] << np.uint64(32)) | name[:, 1])
    return np.lexsort(words[::-1])


def packed_codes(sample: Sample, rows: Int[np.ndarray, " m"]) -> list[np.ndarray]:
    """The covariates' codes of some rows in as few words (m,) as they fit in, the first leading.

    Two rows have the same words if and only if they agree in every covariate.
    """
    codes = np.asarray(sample.codes)[rows]
    codes = np.where(codes == MISSING, codes.max(where=codes != MISSING, initial=0) + 1, codes)
    return packed(codes)


def packed(codes: Int[np.ndarray, "m p"]) -> list[np.ndarray]:
    """Columns of whole numbers from 0 in as few words (m,) as they fit in: equal iff all agree.

    The words in turn order rows as the columns in turn do; nothing overflows, however many levels.
    """
    return packed_columns(codes.T)


def packed_columns(columns: Iterable[Int[np.ndarray, " m"]]) -> list[np.ndarray]:
    """The same of columns one by one, such as small integers of several dtypes."""
    words, room = [], 0
    for column in columns:
        bits = int(column.max(initial=0)).bit_length()
        if bits > room:
            words, room = [*words, np.zeros(column.size, np.uint64)], 64
        if words:
            words[-1] <<= np.uint64(bits)
            words[-1] |= column.astype(np.uint64)
        room -= bits
    return words


def groups_of(words: list[np.ndarray]) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " g"]]:
    """The group of each row of equal words, numbered in their order, and a first row of each."""
    if not words or not words[0].size:
        size = words[0].size if words else 0
        return np.zeros(size, np.int64), np.arange(min(size, 1))
    order = np.lexsort(words[::-1])
    new = np.zeros(order.size, bool)
    new[0] = True
    for word in words:
        new[1:] |= word[order[1:]] != word[order[:-1]]
    group = np.empty(order.size, np.int64)
    group[order] = np.cumsum(new) - 1
    return group, order[new]
