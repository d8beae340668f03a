"""Treated units and their donors: the units that are never treated."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jcausal.data import is_traced
from jcausal.panels._panel import Panel


class Donors(NamedTuple):
    """The outcomes of possible donors beside those of all units.

    `start` (n,) as `starts_of` gives it; `y` (n, m) outcomes, NaN where not observed; `use` (c,)
    which donors are never treated (under tracing all units are looked at); `pool` (c, m) their
    outcomes, 0 for those not in use.
    """

    start: Int[Array, " n"]
    y: Float[Array, "n m"]
    use: Bool[Array, " c"]
    pool: Float[Array, "c m"]


def donors_of(panel: Panel, rows: Int[Array, " c"]) -> Donors:
    """The donors among these rows; traceable."""
    start = starts_of(panel)
    y = jnp.where(panel.mask, panel.y, jnp.nan)
    use = start[rows] == panel.m
    return Donors(start, y, use, jnp.where(use[:, None], y[rows], 0))


def starts_of(panel: Panel) -> Int[Array, " n"]:
    """The place in time of each unit's first treated cell, m for units never treated."""
    treated = panel.treated
    return jnp.where(treated.any(1), jnp.argmax(treated, axis=1), panel.m)


def known_starts(panel: Panel) -> Int[np.ndarray, " n"] | None:
    """The same on the host; None under tracing, where it is not known."""
    if is_traced(panel.d, panel.mask):
        return None
    treated = np.asarray(panel.d) & np.asarray(panel.mask)
    return np.where(treated.any(1), treated.argmax(1), panel.m)


def treated_and_donors(panel: Panel) -> tuple[Int[Array, " k"], Int[Array, " c"]]:
    """Rows of treated units and of donors; all as both where it is not known who is treated."""
    start = known_starts(panel)
    if start is None:
        return jnp.arange(panel.n), jnp.arange(panel.n)
    treated, donors = np.flatnonzero(start < panel.m), np.flatnonzero(start == panel.m)
    return jnp.asarray(treated), jnp.asarray(donors)
