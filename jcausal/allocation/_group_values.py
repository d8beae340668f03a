"""Values of groups as arguments: numbers of [0, 1], checked once."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Float

from jcausal.data import DataError, as_numbers, check_count, check_number, is_traced, rows_in_words

GroupValues = Float[Array, " k"] | Float[np.ndarray, " k"] | Sequence[float] | pd.Series


def as_values(name: str, values: GroupValues) -> Float[Array, " k"] | Float[np.ndarray, " k"]:
    """Values as they are under tracing, else in float64 and finite.

    **Raises:** `DataError` for no values, a wrong shape, NaN or infinities.
    """
    if is_traced(values):
        return jnp.asarray(values)
    found = as_numbers(name, values)
    if found.ndim != 1 or not found.size:
        raise DataError(f"{name} has shape {found.shape}: one value a group is needed.")
    bad = np.flatnonzero(~np.isfinite(found))
    if bad.size:
        raise DataError(
            f"{name} is NaN or infinite in {bad.size} of {found.size} groups "
            f"({rows_in_words(bad)}): leave these groups out, or estimate them."
        )
    return found


def as_effects(name: str, values: GroupValues, slack: float = 0.0) -> np.ndarray | Array:
    """Values that lie in [0, 1], or at most `slack` outside, as estimates of such values do.

    **Raises:** `DataError` with the groups that do not.
    """
    found = as_values(name, values)
    if is_traced(found):
        return found
    room = slack + 1e-6
    bad = np.flatnonzero((found < -room) | (found > 1 + room))
    if bad.size:
        more = f" by more than rho = {slack:g}" if slack else ""
        raise DataError(
            f"{name} lies outside [0, 1]{more} in {bad.size} of {found.size} groups "
            f"({rows_in_words(bad)}), such as {found[bad[0]]:g}: divide effects by their range "
            "first, as jc.allocation.unit_scale does."
        )
    return found


def check_budget(budget: int, groups: int) -> None:
    """Refuse a budget of less than one group, or of more than there are.

    **Raises:** ValueError.
    """
    budget = check_count("budget", budget, least=0)
    if not 1 <= budget <= groups:
        raise ValueError(f"budget is {budget} of {groups} groups: use 1 to {groups}.")


def check_rho(rho: float) -> None:
    """Refuse an accuracy that is no positive number.

    **Raises:** ValueError.
    """
    if not 0 < check_number("rho", rho) < np.inf:
        raise ValueError(f"rho is {rho}: the accuracy of the estimates must be a positive number.")
