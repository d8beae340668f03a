"""Universal singular value thresholding."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jcausal.data import is_traced
from jcausal.panels._assignment import Assignment
from jcausal.panels._completer import Cells, Completed, Completer
from jcausal.panels._low_rank_arms import LowRankArm, completed_arms
from jcausal.panels._masked import reached
from jcausal.panels._panel import Panel
from jcausal.panels._requirements import both_arms_reason
from jcausal.panels._truncated_svd import rank_part, top_factors

FIRST = 20  # singular values looked at before more are asked for


class USVT(Completer):
    """Each arm's outcomes by universal singular value thresholding, one propensity for all cells.

    The arm's outcomes are mapped from [low, high] to [-1, 1] and filled with 0; phat is the share
    of cells that the arm has. Singular values of at least (2 + eta) sqrt(max(n, m) phat) stay; the
    sum of their parts over phat is cut to [-1, 1] and mapped back. With `variance` s^2, that of the
    mapped noise, phat in the threshold becomes phat s^2 + phat (1 - phat)(1 - s^2).

    Where units differ in how often they are treated, one phat for all is wrong for most of
    them: see `RowScaledSpectral`.

    **Arguments:** `eta` in (0, 1), default 0.01; `bounds` (low, high) of outcomes, default the
    least and largest observed in the arm; `variance` at most 1, or None; `max_rank`: how many
    singular values to look at. Default: as many as exceed the threshold; under jit and vmap, where
    that many cannot be waited for, 20. If all of them exceed it, `converged` is False (and
    `jc.complete` warns).

    A unit without a cell in an arm, and a time at which nobody was observed in it, is NaN there.
    Traceable; gradients with respect to y take rank, bounds and cuts as given. `details`:
    threshold (2,), in mapped units, as the singular values are.

    **Source:** Chatterjee (2015), Annals of Statistics 43(1).
    """

    eta: float = eqx.field(static=True, default=0.01)
    bounds: tuple[float, float] | None = eqx.field(static=True, default=None)
    variance: float | None = eqx.field(static=True, default=None)
    max_rank: int | None = eqx.field(static=True, default=None)
    cells: Cells = eqx.field(static=True, init=False, default="all")
    traceable: bool = eqx.field(static=True, init=False, default=True)
    uses_covariates: bool = eqx.field(static=True, init=False, default=False)
    times_before: int = eqx.field(static=True, init=False, default=0)

    def __check_init__(self) -> None:
        if not 0 < self.eta < 1:
            raise ValueError(f"eta is {self.eta}: it must lie between 0 and 1.")
        if self.bounds is not None and not self.bounds[0] < self.bounds[1]:
            raise ValueError(f"bounds are {self.bounds}: the first must be below the second.")
        if self.variance is not None and not 0 < self.variance <= 1:
            raise ValueError(f"variance is {self.variance}: it must lie above 0, at most 1.")
        if self.max_rank is not None and self.max_rank < 1:
            raise ValueError(f"max_rank is {self.max_rank}: it must be at least 1.")

    @property
    def words(self) -> str:
        """As readers know it."""
        return "universal singular value thresholding"

    def refuse(self, assignment: Assignment) -> str | None:
        """Both arms in a row, at times that do not matter."""
        return both_arms_reason(assignment)

    def refuse_copies(self) -> str | None:
        """Copies of a unit do no harm."""
        return None

    def run(self, panel: Panel, key: PRNGKeyArray | None) -> Completed:
        """Each arm alone; with more singular values if all of those looked at stay."""
        small = min(panel.n, panel.m)
        most = min(small, FIRST if self.max_rank is None else self.max_rank)
        found = _run(self, panel, most)
        while self.max_rank is None and most < small and not is_traced(panel):
            if bool(np.asarray(found.converged)):
                break
            most = min(small, 4 * most)
            found = _run(self, panel, most)
        return found


@eqx.filter_jit
def _run(method: USVT, panel: Panel, most: int) -> Completed:
    uses = jnp.stack([panel.control, panel.treated])
    return completed_arms(lax.map(lambda use: _arm(method, panel.y, use, most), uses))


def _arm(method: USVT, y: Float[Array, "n m"], use: Bool[Array, "n m"], most: int) -> LowRankArm:
    """Map, threshold, cut, map back."""
    n, m = y.shape
    low, high = _bounds(method, lax.stop_gradient(y), use)
    half = jnp.where(high > low, (high - low) / 2, 1)
    middle = (high + low) / 2
    filled = jnp.where(use, (y - middle) / half, 0)
    share = use.sum() / (n * m)
    spread = share
    if method.variance is not None:
        spread = share * method.variance + share * (1 - share) * (1 - method.variance)
    threshold = (2 + method.eta) * jnp.sqrt(max(n, m) * spread)
    factors = top_factors(filled, most)
    keep = (factors.s >= threshold).sum()
    factors = top_factors(filled, most, keep)
    mapped = rank_part(filled, factors, keep) / jnp.where(share > 0, share, 1)
    mapped = jnp.clip(mapped, -1, 1)
    enough = (keep < most) | (most == min(n, m))
    y = jnp.where(reached(use), middle + half * mapped, jnp.nan)
    details = {"threshold": threshold}
    return LowRankArm(y, keep, factors.s, factors.converged & enough, details)


def _bounds(method: USVT, y: Float[Array, "n m"], use: Bool[Array, "n m"]) -> tuple[Array, Array]:
    """The interval of outcomes that is mapped to [-1, 1]."""
    if method.bounds is not None:
        return jnp.asarray(method.bounds[0], y.dtype), jnp.asarray(method.bounds[1], y.dtype)
    far = jnp.inf
    return jnp.where(use, y, far).min(), jnp.where(use, y, -far).max()
