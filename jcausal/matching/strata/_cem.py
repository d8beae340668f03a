"""Coarsened exact matching."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from jcausal.data import Sample, is_traced, to_device
from jcausal.matching._matcher import DesignMatcher, Progress, Task
from jcausal.matching._order import groups_of, packed_columns
from jcausal.matching.strata._coarse_columns import coarse_columns, traced_codes
from jcausal.matching.strata._coarsening import Bins, check_bins
from jcausal.matching.strata._strata import Strata, hold_both_arms, strata_of, stratum_status
from jcausal.matching.strata._strata_at_points import strata_at_points
from jcausal.matching.strata._strata_words import cautions
from jcausal.matching.strata._stratum_rules import rules_of
from jcausal.surfaces import ResponseSurface


class CEM(DesignMatcher):
    """Coarsened exact matching: units are compared that agree in every covariate's bin.

    Numbers are cut into bins; binaries and the levels of categories must be equal, and a missing
    value agrees with a missing value only. A query in whose stratum the other arm has no unit of
    weight above 0 stays unmatched: finer bins compare what is more alike, and fewer queries. Means
    over treated queries give a control of stratum s the weight m_T^s / m_C^s.

    Under jit and vmap bins are cut in the dtype of the covariates: in float32 a value within
    rounding of an edge may fall on its other side.

    **Arguments:**

    - `bins`: how numbers are cut, all alike or by a mapping {column: rule} (other columns then
      follow "sturges"). "sturges" (default), "scott" and "fd" (Freedman and Diaconis) say how many
      bins of equal width there are between a column's least and largest value, an int gives that
      number, "q4" cuts at the fourths of the units ("quantile" is "q5"), "exact" does not cut. In a
      mapping also rising edges, of which each belongs to the bin above it.

    **Source:** Iacus, King and Porro (2012), Political Analysis 20(1); bins as in R MatchIt.

    **Example:**

        >>> import jcausal as jc
        >>> sample = jc.datasets.lalonde("experiment")
        >>> effects = jc.estimate(sample, jc.CEM(bins={"income 1974": [1, 5000]}))
        >>> effects.matching.describe(2).split(", ")[0]
        'age 29 to 32 years'
    """

    bins: Bins = "sturges"

    def __check_init__(self) -> None:
        check_bins(self.bins)

    @property
    def traceable(self) -> bool:
        """Always."""
        return True

    def run(
        self, task: Task, surfaces: Sequence[ResponseSurface], progress: Progress | None
    ) -> Strata:
        """Number the strata of units that agree, and keep those that hold both arms.

        **Raises:** `DataError` for rules of columns that there are not.
        """
        if task.at is not None:
            return strata_at_points(task, lambda rows: self.run(rows, surfaces, progress))
        self.check_rows(task)
        found = _traced(task, self.bins) if is_traced(task) else _on_host(task, self.bins)
        return Strata(
            sample=task.sample,
            fold=task.fold,
            query=task.query,
            query_fold=task.query_fold,
            estimand=task.estimand,
            **found,
        )


def _on_host(task: Task, bins: Bins) -> dict[str, Any]:
    """The fields of the strata that hold both arms."""
    sample, rows = task.sample, np.flatnonzero(np.asarray(task.fold) >= 0)
    columns = coarse_columns(sample, bins, "sturges")
    words = packed_columns(column.code[rows] for column in columns)
    group, first = groups_of(words) if words else (np.zeros(rows.size, int), np.arange(1))
    kept = np.flatnonzero(hold_both_arms(sample, rows, group, first.size))
    number = np.full(first.size, -1)
    number[kept] = np.arange(kept.size)
    stratum = np.full(sample.n, -1, np.int32)
    stratum[rows] = number[group]
    levels = np.stack([c.code[rows[first[kept]]] for c in columns], axis=1).astype(np.int32)
    query, asked = np.asarray(task.query), np.asarray(task.asked)
    place = stratum[query]
    return dict(
        place=to_device(place),
        status=to_device(stratum_status(np, place >= 0, asked)),
        guide=rules_of(columns, levels, sample.schema),
        caution=cautions(sample.schema, columns, query[asked], place[asked] >= 0),
        **strata_of(stratum[rows], rows, kept.size),
    )


def _traced(task: Task, bins: Bins) -> dict[str, Any]:
    """The same with room for a stratum a row; those that lack an arm match nobody."""
    sample, n = task.sample, task.sample.n
    inside = jnp.asarray(task.fold) >= 0
    keys = [~inside, *traced_codes(sample, bins, "sturges")]
    order = jnp.lexsort(keys[::-1])
    new = [key[order][1:] != key[order][:-1] for key in keys]
    ranked = jnp.concatenate([jnp.zeros(1, jnp.int32), jnp.cumsum(jnp.any(jnp.stack(new), axis=0))])
    ranked = jnp.where(inside[order], ranked.astype(jnp.int32), n)
    group = jnp.zeros(n, jnp.int32).at[order].set(ranked)
    place = jnp.where(inside, group, -1)[task.query]
    matched = _both_arms(sample, group, n)[jnp.maximum(place, 0)] & (place >= 0)
    return dict(
        rows=order.astype(jnp.int32),
        stratum=ranked,
        place=jnp.where(matched, place, -1),
        count=n,
        status=stratum_status(jnp, matched, task.asked),
    )


def _both_arms(sample: Sample, group: Int[Array, " n"], count: int) -> Bool[Array, " n"]:
    """Which strata hold units of weight above 0 in both arms."""
    partner = sample.weight > 0
    arms = [
        jax.ops.segment_sum((partner & arm).astype(jnp.int32), group, count)
        for arm in (~sample.t, sample.t)
    ]
    return (arms[0] > 0) & (arms[1] > 0)
