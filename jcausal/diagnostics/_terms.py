"""The rows of a table of balance: prognostic scores, covariates, squares and interactions."""

from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jcausal.data import Sample, covariate_of_columns, readable_columns
from jcausal.diagnostics._compared import Compared


class Term(NamedTuple):
    """One row: its label, values (n,), NaN where they are not known, whether they are 0 and 1.

    `column`: which of the readable columns it is, -1 for what is made of several.
    """

    label: str
    values: Float[np.ndarray, " n"]
    share: bool
    column: int = -1


def score_terms(sample: Sample, of: Compared) -> list[Term]:
    """The predictions that guided a matching, of the arms that its estimand asks for."""
    if of.prognosis is None:
        return []
    scores = np.asarray(of.prognosis.units, np.float64)
    use = np.asarray(sample.valid) & (np.asarray(of.fold) >= 0)
    arms = dict(att=(0,), atc=(1,), ate=(0, 1))[of.estimand]
    words = ("prognostic score, untreated", "prognostic score, treated")
    found = [a for a in arms if np.isfinite(scores[use, a]).all()]
    labels = ["prognostic score"] if len(arms) == 1 else [words[a] for a in found]
    return [Term(label, scores[:, a], False) for label, a in zip(labels, found)]


def covariate_terms(sample: Sample, squares: bool, interactions: bool) -> Iterator[Term]:
    """Covariates and levels, then what is made of them, one at a time.

    Shares have no squares, and levels of one category no interactions: these would be 0.
    """
    labels, columns, shares = readable_columns(sample)
    for r, label in enumerate(labels):
        yield Term(label, columns[:, r], bool(shares[r]), r)
    if squares:
        for r in np.flatnonzero(~shares):
            yield Term(f"{labels[r]}^2", columns[:, r] ** 2, False)
    if interactions:
        flags, of = sample.schema.flag_of, covariate_of_columns(sample.schema)
        own = [flags.get(int(j), int(j)) for j in of]  # a number goes with its flag of gaps
        for r, s in combinations(range(len(labels)), 2):
            if own[r] != own[s]:
                product = columns[:, r] * columns[:, s]
                yield Term(f"{labels[r]} * {labels[s]}", product, bool(shares[r] and shares[s]))
