"""How well a response surface foretells outcomes, by arm."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Array, Bool, Float

from jcausal.data import Sample, Values, is_traced, on_host, pad_rows, to_device
from jcausal.surfaces._arrays import in_blocks

BLOCK = 16_384  # rows that are evaluated at a time
FEW = 2_048  # of these, where there are no more than BLOCK in all


class FitWarning(UserWarning):
    """A response surface explains nothing of the outcomes that it has not seen."""


def r_squared(
    surface: Callable[[Float[Array, "m p"]], Float[Array, "m 2"]], sample: Sample
) -> Float[Array, " 2"]:
    """1 - residual sum of squares / total sum of squares of each arm, over the valid rows."""
    assert sample.y is not None
    use = counted(sample)
    traced = is_traced(surface, sample.x)
    fitted = by_blocks(surface, sample.x) if traced else predicted(surface, np.asarray(sample.x))
    return on_host(share_explained)(fitted, sample.y, sample.t, use, sample.weight)


def counted(sample: Sample) -> Bool[Array, " n"]:
    """Valid rows of positive weight."""
    return _counted(sample.valid, sample.weight)


@on_host
def _counted(lib: Any, valid: Bool[Array, " n"], weight: Float[Array, " n"]) -> Bool[Array, " n"]:
    return valid & (weight > 0)


def share_explained(
    lib: Any,
    fitted: Float[Values, "n 2"],
    y: Float[Values, " n"],
    t: Bool[Values, " n"],
    use: Bool[Values, " n"],
    weight: Float[Values, " n"],
) -> Any:
    """R2 by arm from predictions, over the rows in use; NaN for a constant outcome.

    Two passes over the outcomes, so that no digits are lost.
    """
    columns = []
    for arm in (False, True):
        mine = use & (t == arm)
        w = lib.where(mine, weight, 0)
        inside = lib.where(mine, y, 0)
        mean = (w * inside).sum() / lib.where(mine.any(), w.sum(), 1)
        total = (w * lib.square(inside - mean)).sum()
        residual = lib.where(mine, y - fitted[:, int(arm)], 0)
        varies = lib.where(mine, y, -lib.inf).max() > lib.where(mine, y, lib.inf).min()
        share = (w * lib.square(residual)).sum() / lib.where(varies, total, 1)
        columns.append(lib.where(varies, 1 - share, lib.nan))
    return lib.stack(columns)


def predicted(
    surface: Callable[[Float[Array, "m p"]], Float[Array, "m 2"]], x: Float[np.ndarray, "n p"]
) -> Float[np.ndarray, "n 2"]:
    """Both outcomes at every point, on the host: one of two programs, whatever their number.

    None for a surface that is NumPy for concrete points, and says so by `evaluates_on_host`.
    """
    host = getattr(surface, "evaluates_on_host", False)
    rows = FEW if len(x) <= BLOCK else BLOCK
    parts = [np.zeros((0, 2), x.dtype)]
    for start in range(0, len(x), rows):
        block = x[start : start + rows]
        found = surface(to_device(block)) if host else _block(surface, pad_rows(block, rows))
        parts.append(np.asarray(found)[: len(block)])
    return np.concatenate(parts)


@eqx.filter_jit
def _block(
    surface: Callable[[Float[Array, "m p"]], Float[Array, "m 2"]], x: Float[Array, "n p"]
) -> Float[Array, "n 2"]:
    return surface(x)


def by_blocks(
    surface: Callable[[Float[Array, "m p"]], Float[Array, "m 2"]], x: Float[Array, "n p"]
) -> Float[Array, "n 2"]:
    """Evaluate block by block of rows, so that no more than one block's work is held."""
    return in_blocks(surface, (x,), BLOCK)


def values_at(
    surface: Callable[[Float[Array, "m p"]], Float[Array, "m 2"]], x: Float[Array, "m p"]
) -> Float[Array, "m 2"]:
    """Both outcomes at every point, in blocks: a part of a traced program, or on the host."""
    if is_traced(surface, x):
        return by_blocks(surface, x)
    return to_device(predicted(surface, np.asarray(x)))
