"""What a reader must know of strata: how many queries they leave out, and bins that part nobody."""

import numpy as np
from jaxtyping import Bool, Int

from jcausal.data import Schema
from jcausal.matching.strata._coarse_columns import CoarseColumn

FEW = 0.9  # of the queries: with fewer in strata the average is not theirs
ONE_BIN = 0.9  # of the queries in one bin: a number is hardly matched
NAMED = 3  # numbers that are named, at most


def cautions(
    schema: Schema,
    columns: list[CoarseColumn],
    query: Int[np.ndarray, " q"],
    matched: Bool[np.ndarray, " q"],
) -> str:
    """A sentence for the summary, or nothing: of the queries (rows) which are in a stratum."""
    parts = [few_matched(matched), _wide_bins(schema, columns, query)]
    return "; ".join(part for part in parts if part)


def few_matched(matched: Bool[np.ndarray, " q"]) -> str:
    """Whose average it is where many queries are left out."""
    count = int(matched.sum())
    if count >= FEW * matched.size:
        return ""
    return (
        f"the average is of the {count:,} queries in strata alone, not of the "
        f"{matched.size - count:,} others, who may well differ"
    )


def _wide_bins(schema: Schema, columns: list[CoarseColumn], query: Int[np.ndarray, " q"]) -> str:
    """Numbers of which one bin, of several values, holds nearly all queries."""
    wide = []
    for column in columns:
        held = np.bincount(column.code[query], minlength=1)
        most = int(held.argmax())
        many = held[most] > ONE_BIN * query.size and most < column.low.size
        if many and column.low.size > 1 and column.low[most] < column.high[most]:
            wide.append(schema.names[column.covariate])
    if not wide:
        return ""
    one = len(wide) == 1
    named = wide if len(wide) <= NAMED else [*wide[:NAMED], f"{len(wide) - NAMED} more"]
    words = named[0] if one else f"{', '.join(named[:-1])} and {named[-1]}"
    return (
        f"one bin of {words} holds nearly all queries, so that "
        f"{'it is' if one else 'they are'} hardly matched: try bins='quantile', or edges"
    )
