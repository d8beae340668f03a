"""The partners of a query in words."""

import numpy as np

from jcausal.data import Sample, number_in_words, readable_columns

NAMED = 10  # partners that are named, at most


def partners_in_words(sample: Sample, query: int, rows: np.ndarray, weights: np.ndarray) -> str:
    """Who the partners (m,) of a row are, by their weights (m,), and how alike they are to it."""
    return f"{_names(sample, rows, weights)}; {_alike(sample, query, rows, weights)}"


def _names(sample: Sample, rows: np.ndarray, weights: np.ndarray) -> str:
    """Ids of the partners, and their weights."""
    ids = [str(each) for each in sample.id[rows]]
    even = np.allclose(weights, 1 / len(rows), rtol=1e-4)
    if not even:
        ids = [f"{name} ({number_in_words(float(w))})" for name, w in zip(ids, weights)]
    if len(ids) > NAMED:
        listed = f"{', '.join(ids[:NAMED])} and {len(ids) - NAMED} more"
    else:
        listed = ids[0] if len(ids) == 1 else f"{', '.join(ids[:-1])} and {ids[-1]}"
    return f"{listed} (1/{len(ids)} each)" if even and len(ids) > 1 else listed


def _alike(sample: Sample, query: int, rows: np.ndarray, weights: np.ndarray) -> str:
    """The partners' means against the query's own values, where they differ."""
    few = sample.take(np.append(rows, query))
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
