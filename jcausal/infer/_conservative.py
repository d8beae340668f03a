"""Intervals for single queries: the normal approximation with a conservative variance."""

from typing import Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jcausal.data import is_traced
from jcausal.estimate import Effects
from jcausal.infer._interval import Interval, IntervalMethod, normal_interval
from jcausal.match import Leaves


class ConservativeNormal(IntervalMethod):
    """Normal intervals for tau(x) of every query, from the spread of its group.

    V = max(2 s0^2, 2 s1^2, s0^2 + s1^2), with s_a^2 the variance of arm a's outcomes in the group,
    or of their residuals from the model where effects are adjusted; se^2 = V / min(n0, n1)
    (`scale="smaller arm"`) or V (`scale="none"`). With sampling weights s_a^2 is
    sum w (y - mean)^2 / (sum w - sum w^2 / sum w) and n_a the effective units
    (sum w)^2 / sum w^2. Under tau "b" the query's own outcome adds the variance s_a^2 of its arm.
    An arm of one unit has no variance: the arm's variance pooled over all groups of two and more,
    by n_a - 1, stands in, marked `pooled`. ValueError for a sample with clusters.

    **Arguments:** `level` of coverage; `scale`, since the source does not print how V enters.

    **Source:** Morucci et al. (2020), section 6.8, construction 3.
    """

    level: float = eqx.field(static=True, default=0.95)
    scale: Literal["smaller arm", "none"] = eqx.field(static=True, default="smaller arm")

    def __check_init__(self) -> None:
        if self.scale not in ("smaller arm", "none"):
            raise ValueError(f"scale is {self.scale!r}: use 'smaller arm' or 'none'.")

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
        s0, s1 = variance[:, 0], variance[:, 1]
        largest = jnp.maximum(jnp.maximum(2 * s0, 2 * s1), s0 + s1)
        smaller = jnp.maximum(effects.effective.min(1), 1)
        total = largest / smaller if self.scale == "smaller arm" else largest
        if effects.tau == "b":
            own = jnp.where(effects.matching.query_treated, s1, s0)
            total += jnp.where(effects.matching.query >= 0, own, 0)
        total = jnp.where(effects.matched, total, jnp.nan)
        return normal_interval(
            effects.ite, total, pooled, self.level, "tau(x)", "conservative normal"
        )


def check_groups(effects: Effects, name: str) -> None:
    """Refuse regressions, whose groups have no mean to vary.

    **Raises:** ValueError.
    """
    if isinstance(effects.matching, Leaves):
        raise ValueError(
            f"{name} is for means of groups, and these effects come from regressions in leaves: "
            "use jc.AbadieImbens() or jc.Bootstrap() for averages, by=effects.matching.leaf for "
            "leaves."
        )


def own_or_pooled(effects: Effects) -> tuple[Float[Array, "q 2"], Bool[Array, " q"]]:
    """Variances by query and arm, pooled where an arm has one unit, and which those are.

    **Raises:** ValueError when no group holds two units of an arm.
    """
    own, matched = effects.variances, effects.matched[:, None]
    usable, alone = ~jnp.isnan(own) & matched, effects.alone & matched
    freedom = jnp.where(usable, effects.effective - 1, 0)
    pool = (jnp.where(usable, own, 0) * freedom).sum(0) / jnp.where(
        usable.any(0), freedom.sum(0), 1
    )
    if not is_traced(alone, pool):
        for arm, word in enumerate(("controls", "treated")):
            if bool(alone[:, arm].any()) and not bool(usable[:, arm].any()):
                raise ValueError(
                    f"no group holds two {word}, so their variance is unknown: ask for larger "
                    f"groups with min_{word}=2."
                )
    return jnp.where(alone, pool, own), alone.any(1)
