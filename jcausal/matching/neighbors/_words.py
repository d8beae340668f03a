"""Pairs in words and as frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from jcausal.data import ids_of, number_in_words, readable_columns
from jcausal.matching._frames import counts_in_words
from jcausal.matching._results import sentence

if TYPE_CHECKING:
    from jcausal.matching.neighbors._pairs import Pairs

NAMED = 10  # partners that are named, at most


def group_in_words(pairs: Pairs, i: int) -> str:
    """Where the partners of the i-th query are from, who they are, and how alike they are."""
    if not np.asarray(pairs.matched)[i]:
        return sentence(int(np.asarray(pairs.status)[i]))
    rows, weights = pairs.group(i)
    treated = np.asarray(pairs.sample.t)[rows]
    parts = [counts_in_words(int((~treated).sum()), int(treated.sum()))]
    place = -1 if pairs.place is None else int(np.asarray(pairs.place)[i])
    if place >= 0:
        parts.insert(0, [rule for guide in pairs.guides for rule in guide.rules()][place])
    query = int(np.asarray(pairs.query)[i])
    if query < 0:
        return ": ".join(parts)
    alike = _alike(pairs, query, rows[:-1], weights[:-1])
    return f"{': '.join(parts)}: {_names(pairs, rows[:-1], weights[:-1])}; {alike}"


def _names(pairs: Pairs, rows: np.ndarray, weights: np.ndarray) -> str:
    """Ids of the partners, and their weights."""
    ids = [str(each) for each in pairs.sample.id[rows]]
    even = np.allclose(weights, 1 / len(rows), rtol=1e-4)
    if not even:
        ids = [f"{name} ({number_in_words(float(w))})" for name, w in zip(ids, weights)]
    if len(ids) > NAMED:
        listed = f"{', '.join(ids[:NAMED])} and {len(ids) - NAMED} more"
    else:
        listed = ids[0] if len(ids) == 1 else f"{', '.join(ids[:-1])} and {ids[-1]}"
    return f"{listed} (1/{len(ids)} each)" if even and len(ids) > 1 else listed


def _alike(pairs: Pairs, query: int, rows: np.ndarray, weights: np.ndarray) -> str:
    """The partners' means against the query's own values, where they differ."""
    few = pairs.sample.take(np.append(rows, query))
    labels, columns, _ = readable_columns(few)
    parts = []
    for label, column in zip(labels, columns.T):
        known = ~np.isnan(column[:-1])
        own = float(column[-1])
        if not known.any() or np.isnan(own):
            if known.any() or not np.isnan(own):
                parts.append(f"{label} known on one side only")
            continue
        mean = float(np.average(column[:-1][known], weights=weights[known]))
        if not np.isclose(mean, own, rtol=1e-5, atol=1e-9):
            parts.append(f"{label} {number_in_words(mean)} against {number_in_words(own)}")
    return ", ".join(parts) if parts else "alike in every covariate"


def pairs_frame(pairs: Pairs) -> pd.DataFrame:
    """One row a query and partner; queries without partners have one row and the reason."""
    sample, query = pairs.sample, np.asarray(pairs.query)
    rows, weights = np.asarray(pairs.rows), np.asarray(pairs.weights)
    held = weights > 0
    alone = np.asarray(pairs.asked) & ~held.any(1)
    i, j = np.nonzero(np.column_stack([held, alone]))
    here = j < rows.shape[1]
    partner = np.where(here, rows[i, np.minimum(j, rows.shape[1] - 1)], -1)
    columns: dict[str, object] = dict(
        id=ids_of(sample, query[i]),
        treated=np.asarray(pairs.query_treated)[i],
        partner=ids_of(sample, partner),
        weight=np.where(here, weights[i, np.minimum(j, rows.shape[1] - 1)], np.nan),
        reason=[sentence(s) for s in np.asarray(pairs.status)[i]],
    )
    if pairs.place is not None:
        columns["place"] = np.asarray(pairs.place)[i]
    return pd.DataFrame(columns)
