"""Covariates in few levels: numbers in bins, binaries and categories as they are."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jcausal.data import Sample
from jcausal.matching.strata._coarsening import Bins, Tally, bins_of_values, check_columns, rule_of
from jcausal_kernels import MISSING

KNOWN = -1  # the level of missing values where there are none


class CoarseColumn(NamedTuple):
    """One covariate in b levels.

    - `covariate`: its place among the covariates.
    - `code` (n,): the level of each row, from 0; bins are numbered as their values rise.
    - `low`, `high` (b,): the least and the largest value of each level; of a category its number.
    - `gap`: the level that means missing, -1 where nothing is missing.
    """

    covariate: int
    code: Int[np.ndarray, " n"]
    low: Float[np.ndarray, " b"]
    high: Float[np.ndarray, " b"]
    gap: int


def coarse_columns(sample: Sample, bins: Bins, default: str) -> list[CoarseColumn]:
    """The covariates of a sample in levels; the flag of a missing number is a level of the number.

    Codes are as small as their levels allow: a column of up to 255 levels takes a byte a row.

    **Raises:** `DataError` for rules of columns that there are not.
    """
    check_columns(bins, sample.schema)
    flags = sample.schema.flag_of.values()
    counts = np.asarray(sample.valid) & (np.asarray(sample.weight) > 0)
    return [_coarse(sample, j, bins, default, counts) for j in range(sample.p) if j not in flags]


def _coarse(sample: Sample, j: int, bins: Bins, default: str, counts: np.ndarray) -> CoarseColumn:
    """One covariate: its rungs are cut into levels, and each row takes the level of its rung."""
    schema, rung = sample.schema, np.asarray(sample.codes)[:, j]
    height = int(np.asarray(sample.heights)[j])
    ladder = np.asarray(sample.ladder[j], np.float64)[:height]
    gaps = rung == MISSING
    rung = np.where(gaps, height, rung) if gaps.any() else rung
    level = np.arange(height)
    if schema.kinds[j] == "number":
        tally = Tally(ladder, np.bincount(rung[counts], minlength=height + 1)[:height])
        level = np.asarray(bins_of_values(np, tally, rule_of(bins, schema.names[j], default)))
    first = np.append(True, level[1:] > level[:-1])
    dense = np.cumsum(first) - 1
    count = int(dense[-1]) + 1
    table = np.append(dense, count).astype(np.min_scalar_type(count))
    last = np.append(np.flatnonzero(first)[1:] - 1, height - 1)
    gap = count if gaps.any() else KNOWN
    if (j, j) in schema.flags and ladder[-1] == len(schema.levels[j]) - 1:
        gap = count - 1
    return CoarseColumn(j, table[rung], ladder[first], ladder[last], gap)


def traced_codes(sample: Sample, bins: Bins, default: str) -> list[Array]:
    """The same levels (n,) of every covariate under tracing, in the dtype of the covariates."""
    schema = sample.schema
    check_columns(bins, schema)
    counts = (sample.valid & (sample.weight > 0)).astype(jnp.int32)
    found = []
    for j in range(sample.p):
        rung: Any = sample.codes[:, j]
        if schema.kinds[j] != "number" or j in schema.flag_of.values():
            found.append(rung)
            continue
        ladder = jnp.asarray(sample.ladder[j])
        place = jnp.where(rung == MISSING, ladder.shape[0], rung)
        tally = Tally(ladder, jnp.zeros(ladder.shape, jnp.int32).at[place].add(counts, mode="drop"))
        level = bins_of_values(jnp, tally, rule_of(bins, schema.names[j], default))
        found.append(
            jnp.where(rung == MISSING, MISSING, level[jnp.minimum(place, len(ladder) - 1)])
        )
    return found
