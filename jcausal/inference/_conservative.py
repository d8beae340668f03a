"""Intervals for single queries: the normal approximation with a conservative variance."""

from typing import Any, Literal

import equinox as eqx
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jcausal.data import on_host
from jcausal.effects import Effects
from jcausal.inference._interval import About, Interval, IntervalMethod, normal_interval
from jcausal.inference._single_queries import check_groups, check_no_clusters, own_or_pooled


class ConservativeNormal(IntervalMethod):
    """Normal intervals for tau(x) of every query, from the spread of its group.

    V = max(2 s0^2, 2 s1^2, s0^2 + s1^2), with s_a^2 the variance of arm a's outcomes in the group,
    or of their residuals from the model where effects are adjusted; se^2 = V / min(n0, n1)
    (`scale="smaller arm"`) or V (`scale="none"`). With sampling weights s_a^2 is
    sum w (y - mean)^2 / (sum w - sum w^2 / sum w) and n_a the effective units
    (sum w)^2 / sum w^2. Under effect "own" the query's outcome adds the variance s_a^2 of its arm.
    An arm of one unit has no variance: the arm's variance pooled over all groups of two and more,
    by n_a - 1, stands in, marked `pooled`; where no group holds two, the mean over the arm of
    (y - the nearest unit's of the arm)^2 / 2. Of 400 groups without drift, of 8 and of 20 a side,
    94% and 96% of 95% intervals held the effect; drift, and effects that differ inside a group, are
    no part of it: over boxes of AHB where effects vary with x (`bench coverage`, Figure 9) some
    two thirds to three quarters did. ValueError for a sample with clusters.

    **Arguments:** `level` of coverage; `scale`, since the source does not print how V enters.

    **Source:** Morucci et al. (2020), section 6.8, construction 3.
    """

    level: float = eqx.field(static=True, default=0.95)
    scale: Literal["smaller arm", "none"] = eqx.field(static=True, default="smaller arm")

    def of(self, effects: Effects, key: PRNGKeyArray | None) -> Interval:
        """One interval a query; NaN where the query has no match."""
        check_no_clusters(effects, "jc.ConservativeNormal")
        check_groups(effects, "jc.ConservativeNormal")
        variance, pooled = own_or_pooled(effects)
        query, treated = effects.matching.query, effects.matching.query_treated
        rows = query if effects.effect == "own" else None
        smaller = effects.effective if self.scale == "smaller arm" else None
        total = _largest(variance, smaller, rows, treated, effects.matched)
        about = About(self.level, "tau(x)", "conservative normal")
        return normal_interval(effects.ite, total, pooled, about)


@on_host
def _largest(
    lib: Any,
    variance: Float[Array, "q 2"],
    units: Float[Array, "q 2"] | None,
    query: Int[Array, " q"] | None,
    treated: Bool[Array, " q"],
    matched: Bool[Array, " q"],
) -> Float[Array, " q"]:
    """V over the smaller arm's units, if given; the own arm's variance is added for rows."""
    s0, s1 = variance[:, 0], variance[:, 1]
    total = lib.maximum(lib.maximum(2 * s0, 2 * s1), s0 + s1)
    if units is not None:
        total = total / lib.maximum(units.min(1), 1)
    if query is not None:
        total = total + lib.where(query >= 0, lib.where(treated, s1, s0), 0)
    return lib.where(matched, total, lib.nan)
