"""One more covariate beside those of a sample: a binary."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from jcausal.data._errors import DataError
from jcausal.data._host import Values, on_host
from jcausal.data._sample import Sample, replace
from jcausal.data._schema import Schema
from jcausal.data._shapes import is_traced


def with_binary(sample: Sample, name: str, values: Bool[Array, " n"]) -> Sample:
    """The sample with a binary as its last covariate; it may be traced.

    **Raises:** `DataError` when a covariate has that name already.
    """
    schema = sample.schema
    if name in schema.names:
        raise DataError(
            f"a covariate is called {name!r}, which is what the treatment is called among the "
            "covariates: rename it, or leave it out if it is the treatment itself."
        )
    wider = Schema(
        (*schema.names, name),
        (*schema.kinds, "binary"),
        (*schema.units, ""),
        (*schema.levels, ()),
        schema.flags,
    )
    return replace(
        sample,
        schema=wider,
        x=_beside(sample.x, values),
        codes=_beside(sample.codes, values),
        ladder=_with_steps(sample.ladder),
        heights=_longer(sample.heights, 2),
        fill=_longer(sample.fill, 0),
    )


@on_host
def _beside(lib: Any, columns: Array, values: Bool[Array, " n"]) -> Array:
    return lib.concatenate([columns, values[:, None].astype(columns.dtype)], axis=1)


@on_host
def _longer(lib: Any, values: Array, last: int) -> Array:
    return lib.concatenate([values, lib.full(1, last, values.dtype)])


def _with_steps(ladder: Values) -> Any:
    """Ladders (p, l) and one of 0 and 1 below them: float64 on the host, as they are."""
    lib = jnp if is_traced(ladder) else np
    rungs = max(ladder.shape[1], 2)
    wide = lib.pad(ladder, [(0, 0), (0, rungs - ladder.shape[1])], mode="edge")
    steps = lib.minimum(lib.arange(rungs), 1).astype(ladder.dtype)
    return lib.concatenate([wide, steps[None]])
