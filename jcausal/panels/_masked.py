"""Arrays of which only some cells are in use."""

from typing import Any

from jaxtyping import Array, Bool, Float

from jcausal.data import on_host


@on_host
def or_nan(lib: Any, use: Bool[Array, "n m"], values: Float[Array, "n m"]) -> Float[Array, "n m"]:
    """The values in use, NaN elsewhere."""
    return lib.where(use, values, lib.nan)


@on_host
def mean_of(
    lib: Any, values: Float[Array, "n m"], use: Bool[Array, "n m"], axis: int | None
) -> Float[Array, "..."]:
    """Mean over the cells in use; NaN where there are none."""
    count = use.sum(axis).astype(values.dtype)
    total = lib.where(use, values, 0).sum(axis)
    return lib.where(count > 0, total / lib.where(count > 0, count, 1), lib.nan)


def reached(use: Bool[Array, "n m"]) -> Bool[Array, "n m"]:
    """Cells whose unit and whose time have a cell in use each."""
    return use.any(1)[:, None] & use.any(0)
