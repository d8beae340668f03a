"""Synthetic difference in differences: weights of donors and of times, then both differences."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jcausal.data import is_traced
from jcausal.panels._assignment import Assignment
from jcausal.panels._completer import Cells, Completed, Completer, completed, observed_y1
from jcausal.panels._donors import donors_of, known_starts, treated_and_donors
from jcausal.panels._panel import Panel
from jcausal.panels._requirements import donors_reason
from jcausal.panels._simplex_weights import simplex_weights
from jcausal.panels._truncated_svd import product

TINY = 1e-6  # ridge of the time weights over sigma


class SyntheticDiD(Completer):
    """Differences in differences with weights of donors and of times that make trends parallel.

    For units first treated at time s, N_tr of them, with c donors (units never treated) and
    m - s treated times:

    - Donor weights w on the simplex, with an intercept w_0: least sum over t < s of
      (w_0 + sum_j w_j Y_jt - mean of the treated at t)^2 + zeta^2 s sum_j w_j^2,
      zeta = (N_tr (m - s))^(1/4) sigma, sigma the standard deviation of the donors' first
      differences before s.
    - Time weights l on the simplex over t < s, with an intercept: least sum over donors of
      (l_0 + sum_t l_t Y_jt - mean of donor j from s on)^2 + (1e-6 sigma)^2 c sum_t l_t^2; the ridge
      is lost to rounding in float32.
    - y0_it = sum_j w_j Y_jt + sum over t' < s of l_t' (Y_it' - sum_j w_j Y_jt').

    The mean effect on treated cells is the published estimator. With treatment in several cohorts
    each is compared with the never treated alone, and `Completion.att` is the cohorts' mean
    weighted by treated cells. Before treatment `Completion.gap` is what is left of the difference
    in trends. y0 of a donor is NaN: it is not fitted itself (`jc.placebo` does that).

    **Arguments:** `zeta`: in outcome units, for every cohort; None (default): the formula above.

    Treatment must be absorbing, in one block or staggered, with units that are never treated and no
    cell missing; other panels are refused. Units with fewer than 2 times before their treatment are
    NaN, of which `complete` warns; a panel without other treated units is refused. Both weights are
    solved as those of `SyntheticControl`, and `converged` tells the same. Where several time
    weights fit equally well, some between the extremes are taken.

    Traceable; under jit and vmap every time is solved for as the start of a cohort. Gradients with
    respect to y and `zeta` take the sets of donors and times with weight as given. `details`, a row
    a cohort in the order of time (under jit and vmap a row for each of the m starts, NaN where
    nobody starts): zeta (g,), "donor weights" (g, c) of the units never treated in the panel's
    order (under jit and vmap all n), "time weights" (g, m), 0 from the cohort's start on.

    **Source:** Arkhangelsky, Athey, Hirshberg, Imbens and Wager (2021), American Economic Review
    111(12), algorithm 1; cohorts: its appendix on staggered adoption, and Clarke, Pailanir, Athey
    and Imbens (2024), Stata Journal 24(4).

    **Example:**

        >>> import jcausal as jc
        >>> found = jc.complete(jc.datasets.prop99(), jc.SyntheticDiD())
        >>> round(float(found.att), 1)
        -15.6
    """

    zeta: float | Float[Array, ""] | None = None
    cells: Cells = eqx.field(static=True, init=False, default="treated")
    traceable: bool = eqx.field(static=True, init=False, default=True)
    uses_covariates: bool = eqx.field(static=True, init=False, default=False)
    times_before: int = eqx.field(static=True, init=False, default=2)

    def __check_init__(self) -> None:
        if self.zeta is not None and not is_traced(self.zeta) and not 0 <= self.zeta < np.inf:
            raise ValueError(f"zeta is {self.zeta}: it must be finite and not negative.")

    @property
    def words(self) -> str:
        """As readers know it."""
        return "synthetic difference in differences"

    def refuse(self, assignment: Assignment) -> str | None:
        """An absorbing treatment, units never treated, no cell missing."""
        return donors_reason(assignment, before=self.times_before)

    def refuse_copies(self) -> str | None:
        """Copies of a unit do no harm."""
        return None

    def run(self, panel: Panel, key: PRNGKeyArray | None) -> Completed:
        """Cohort by cohort."""
        start = known_starts(panel)
        some = np.arange(panel.m) if start is None else np.unique(start[start < panel.m])
        zeta = None if self.zeta is None else jnp.asarray(self.zeta, panel.y.dtype)
        return _run(panel, treated_and_donors(panel)[1], jnp.asarray(some), zeta)


class _Cohort(NamedTuple):
    """What the units of one start need: y0 is `base` + `times` (Y - base)."""

    base: Float[Array, " m"]
    donors: Float[Array, " c"]
    times: Float[Array, " m"]
    zeta: Float[Array, ""]
    converged: Bool[Array, ""]


@jax.jit
def _run(
    panel: Panel,
    donors: Int[Array, " c"],
    starts: Int[Array, " g"],
    zeta: Float[Array, ""] | None,
) -> Completed:
    start, y, use, pool = donors_of(panel, donors)

    def one(s: Int[Array, ""]) -> _Cohort:
        member = start == s
        mean = jnp.where(member[:, None], y, 0).sum(0) / jnp.maximum(member.sum(), 1)
        return _cohort(pool, use, mean, member.sum(), jnp.maximum(s, 1), zeta)

    found = lax.map(one, starts)  # of a start at 0 or 1 nothing is kept below
    known = (start[:, None] == starts) & (starts > 1)
    place = jnp.argmax(known, axis=1)
    base, times = found.base[place], found.times[place]
    level = (times * (y - base)).sum(1, keepdims=True)
    fitted = known.any(0)[:, None]
    return completed(
        jnp.where(known.any(1, keepdims=True), base + level, jnp.nan),
        observed_y1(panel),
        converged=(found.converged | ~known.any(0)).all(),
        details={
            "zeta": jnp.where(known.any(0), found.zeta, jnp.nan),
            "donor weights": jnp.where(fitted, found.donors, jnp.nan),
            "time weights": jnp.where(fitted, found.times, jnp.nan),
        },
    )


def _cohort(
    pool: Float[Array, "c m"],
    use: Bool[Array, " c"],
    mean: Float[Array, " m"],
    count: Int[Array, ""],
    s: Int[Array, ""],
    zeta: Float[Array, ""] | None,
) -> _Cohort:
    """Both weights of the units that start at s, whose mean outcomes are given."""
    m = mean.shape[0]
    before = jnp.arange(m) < s
    sigma = _sigma(pool, use[:, None] & before[1:])
    zeta = (count * (m - s)) ** 0.25 * sigma if zeta is None else zeta
    donors = simplex_weights(_centred(pool.T - mean[:, None], before), use, zeta**2 * s)
    after = jnp.where(before, 0, pool).sum(1, keepdims=True) / (m - s)
    ridge = (TINY * sigma) ** 2 * use.sum()
    times = simplex_weights(_centred(pool - after, use), before, ridge)
    base = product(donors.w, pool)
    return _Cohort(base, donors.w, times.w, zeta, donors.converged & times.converged)


def _sigma(pool: Float[Array, "c m"], use: Bool[Array, "c k"]) -> Float[Array, ""]:
    """Standard deviation of the first differences in use."""
    steps, count = jnp.diff(pool, axis=1), jnp.maximum(use.sum(), 1)
    mean = jnp.where(use, steps, 0).sum() / count
    variance = jnp.where(use, (steps - mean) ** 2, 0).sum() / count
    return jnp.where(variance > 0, jnp.sqrt(jnp.where(variance > 0, variance, 1)), variance)


def _centred(d: Float[Array, "t c"], rows: Bool[Array, " t"]) -> Float[Array, "t c"]:
    """Columns minus their means over some rows, the others 0: an intercept is then best at 0."""
    kept = jnp.where(rows[:, None], d, 0)
    return jnp.where(rows[:, None], kept - kept.sum(0) / rows.sum(), 0)
