"""Intervals for single queries: the normal approximation with a conservative variance."""

from typing import Any, Literal

import equinox as eqx
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jcausal.data import is_traced, on_host
from jcausal.effects import Effects
from jcausal.inference._interval import About, Interval, IntervalMethod, normal_interval


class ConservativeNormal(IntervalMethod):
    """Normal intervals for tau(x) of every query, from the spread of its group.

    V = max(2 s0^2, 2 s1^2, s0^2 + s1^2), with s_a^2 the variance of arm a's outcomes in the group,
    or of their residuals from the model where effects are adjusted; se^2 = V / min(n0, n1)
    (`scale="smaller arm"`) or V (`scale="none"`). With sampling weights s_a^2 is
    sum w (y - mean)^2 / (sum w - sum w^2 / sum w) and n_a the effective units
    (sum w)^2 / sum w^2. Under effect "own" the query's outcome adds the variance s_a^2 of its arm.
    An arm of one unit has no variance: the arm's variance pooled over all groups of two and more,
    by n_a - 1, stands in, marked `pooled`. ValueError for a sample with clusters.

    **Arguments:** `level` of coverage; `scale`, since the source does not print how V enters.

    **Source:** Morucci et al. (2020), section 6.8, construction 3.
    """

    level: float = eqx.field(static=True, default=0.95)
    scale: Literal["smaller arm", "none"] = eqx.field(static=True, default="smaller arm")

    def of(self, effects: Effects, key: PRNGKeyArray | None) -> Interval:
        """One interval a query; NaN where the query has no match."""
        if effects.sample.cluster is not None:
            raise ValueError(
                "jc.ConservativeNormal would ignore the sample's clusters, and no method knows "
                "them for single queries: use jc.Bootstrap() for averages, or a sample without "
                "cluster=."
            )
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


def check_groups(effects: Effects, name: str) -> None:
    """Refuse regressions, whose groups have no mean to vary.

    **Raises:** ValueError.
    """
    smoother = effects.matching.smoother()
    if smoother is not None:
        raise ValueError(
            f"{name} is for means of groups, and these effects come from {smoother}: use "
            "jc.AbadieImbens() or jc.Bootstrap() for averages, and by= for those of groups, such "
            "as by=effects.matching.leaf."
        )


def own_or_pooled(effects: Effects) -> tuple[Float[Array, "q 2"], Bool[Array, " q"]]:
    """Variances by query and arm, pooled where an arm has one unit, and which those are.

    **Raises:** ValueError when no group holds two units of an arm.
    """
    found = _pooled(effects.variances, effects.effective, effects.alone, effects.matched)
    variance, pooled, lacking = found
    if not is_traced(lacking):
        for arm, word in enumerate(("controls", "treated")):
            if np.asarray(lacking)[arm]:
                raise ValueError(
                    f"no group holds two {word}, so their variance is unknown: ask for larger "
                    f"groups, of boxes with min_{word}=2, or for an interval of the average."
                )
    return variance, pooled


@on_host
def _pooled(
    lib: Any,
    own: Float[Array, "q 2"],
    effective: Float[Array, "q 2"],
    alone: Bool[Array, "q 2"],
    matched: Bool[Array, " q"],
) -> tuple[Float[Array, "q 2"], Bool[Array, " q"], Bool[Array, " 2"]]:
    """Variances, which are pooled, and the arms in which there is nothing to pool."""
    matched = matched[:, None]
    usable, alone = ~lib.isnan(own) & matched, alone & matched
    df = lib.where(usable, effective - 1, 0)
    total = lib.where(usable.any(0), df.sum(0), 1)
    pool = (lib.where(usable, own, 0) * df).sum(0) / total
    return lib.where(alone, pool, own), alone.any(1), alone.any(0) & ~usable.any(0)
