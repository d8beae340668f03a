"""How far the arms overlap in the chance of treatment, and which covariate tells them apart."""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float

from jcausal.data import Schema
from jcausal.surfaces._encoding import Encoding

ALIKE = 5  # units of the other arm that must be as far out, when it has 20 for each


def shares_beyond(
    chance: Float[Array, " n"], t: Bool[Array, " n"], weight: Float[Array, " n"]
) -> Float[Array, " 2"]:
    """The share by weight of controls, and of treated, that the other arm hardly reaches.

    A treated unit counts when its chance is above that of all controls but four, a control when
    its chance is below that of all treated but four; of a small arm one unit in 20 is passed over,
    not four. Rows of weight 0 count nothing.
    """
    columns = []
    for arm in (False, True):
        far = chance if arm else -chance
        other = (weight > 0) & (t != arm)
        most = lax.top_k(jnp.where(other, far, -jnp.inf), min(ALIKE, t.shape[0]))[0]
        edge = most[jnp.clip(other.sum() // 20, 0, most.shape[0] - 1)]
        mine = jnp.where(t == arm, weight, 0)
        total = mine.sum()
        share = jnp.where(far > edge, mine, 0).sum() / jnp.where(total > 0, total, 1)
        columns.append(jnp.where(total > 0, share, jnp.nan))
    return jnp.stack(columns)


def tells_apart(schema: Schema, slope: Float[np.ndarray, "k f"]) -> str:
    """The covariate with the largest standardised slope, on average over the folds."""
    size = np.abs(np.asarray(slope, np.float64)).mean(0)
    return schema.names[int(Encoding(schema).column[int(size.argmax())])]
