"""What an outcome model foretells of the units and queries of a matching."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jcausal.data import (
    Sample,
    is_traced,
    on_host,
    rows_of,
    to_device,
)
from jcausal.surfaces import ResponseSurface, by_blocks, predicted

Values = Float[Array, "m 2"] | Float[np.ndarray, "m 2"]


class Prognosis(eqx.Module):
    """Outcomes without and with the treatment that a model foretells: of units and of queries.

    `units` (n, 2) by the surface of each unit's own fold, `queries` (q, 2) likewise; NaN in the
    column of an arm that was not fitted. `adjusts` tells whether effects are adjusted by it
    unasked: where the model has not seen the outcomes that are averaged, or is the matching's own
    regression, which then says so.
    """

    units: Float[Array, "n 2"]
    queries: Float[Array, "q 2"]
    adjusts: bool = eqx.field(static=True)


def foretell(
    sample: Sample,
    fold: Int[Array, " n"],
    query: Int[Array, " q"],
    surfaces: Sequence[ResponseSurface],
    *,
    at: Float[Array, "q p"] | None = None,
    query_fold: Int[Array, " q"] | None = None,
    adjusts: bool = True,
) -> Prognosis:
    """Both outcomes of every unit and query, each by the surface of its fold.

    Queries are rows of the sample, or points `at` of the folds `query_fold`.
    """
    units = _of_folds(sample.x, _of_valid(sample.valid, fold), surfaces)
    if at is None:
        found = rows_of(units, query)
    else:
        assert query_fold is not None
        found = _of_folds(at, query_fold, surfaces)
    return Prognosis(to_device(units), to_device(found), adjusts)


@on_host
def _of_valid(lib: Any, valid: Bool[Array, " n"], fold: Int[Array, " n"]) -> Int[Array, " n"]:
    return lib.where(valid, fold, -1)


def _of_folds(
    x: Float[Array, "m p"], fold: Int[Array, " m"], surfaces: Sequence[ResponseSurface]
) -> Values:
    """Predictions of each row by its fold's surface; 0 for rows of no fold."""
    lean = [surface.lean() for surface in surfaces]
    if is_traced(x, fold, lean):
        out = jnp.zeros((x.shape[0], 2), x.dtype)
        for k, surface in enumerate(lean):
            out = jnp.where((fold == k)[:, None], by_blocks(surface, x), out)
        return out
    points, place = np.asarray(x), np.asarray(fold)
    out = np.zeros((points.shape[0], 2), points.dtype)
    for k, surface in enumerate(lean):
        out[place == k] = predicted(surface, points[place == k])
    return out
