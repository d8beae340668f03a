"""A rule of intervals whose costly part is done once for several tables."""

from collections.abc import Callable
from typing import Literal

import equinox as eqx
from jaxtyping import Array, Float, PRNGKeyArray

from jcausal.data import as_key, step_key
from jcausal.effects import Effects
from jcausal.inference import AverageMethod


class MeasuredOnce(AverageMethod):
    """A rule with what is common to all averages of certain effects, such as each unit's noise.

    `common` is what `rule.variance` gives for all matched queries: it holds for the average and for
    every group of them; `target` and `level` are the rule's.
    """

    rule: AverageMethod
    common: Callable = eqx.field(static=True)
    target: Literal["population", "sample"] = eqx.field(static=True)
    level: float = eqx.field(static=True)

    @property
    def words(self) -> str:
        """The rule's own."""
        return self.rule.words

    def variance(
        self, effects: Effects, share: Float[Array, " q"], key: PRNGKeyArray | None
    ) -> Callable:
        """What is there already."""
        return self.common


def measured_once(
    effects: Effects, rule: AverageMethod, key: PRNGKeyArray | Array | int | None
) -> AverageMethod:
    """The rule for these effects, as `jc.interval` would use it with that key.

    Effects of several partitions have a noise each: the rule is then itself.
    """
    if effects.partitions is not None:
        return rule
    step = None if key is None else step_key(as_key(key, "interval"), "inte")
    return MeasuredOnce(
        rule=rule,
        common=rule.variance(effects, effects.share(), step),
        target=rule.target,
        level=rule.level,
    )
