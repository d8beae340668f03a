"""How large groups would have to be for an interval of a given width."""

from typing import NamedTuple

import numpy as np

from jcausal.data import check_kind, check_share, normal_quantile, number_in_words
from jcausal.effects import Effects
from jcausal.inference._abadie_imbens import means_in_use
from jcausal.inference._single_queries import (
    check_groups,
    check_no_clusters,
    own_or_pooled,
)


class GroupSize(NamedTuple):
    """Units per arm that an interval of `width` takes, at the median query; infinite if no number.

    `present`: units of the smaller arm whose mean is used, at the median query now. `least`: the
    width that is left with groups without end, that of the query's own outcome.
    """

    width: float
    level: float
    units: float
    present: float
    least: float

    def __str__(self) -> str:
        """In one line."""
        percent, width = f"{100 * self.level:g}%", number_in_words(self.width)
        if not np.isfinite(self.units):
            least = number_in_words(self.least)
            return (
                f"no group is large enough for {percent} intervals of width {width}: the query's "
                f"own outcome alone gives {least}; use effect='group' or an average"
            )
        return (
            f"{percent} intervals of width {width} take {self.units:,.0f} units in each arm of a "
            f"group (now {self.present:,.3g}), at the median query"
        )

    def __repr__(self) -> str:
        """As it prints."""
        return str(self)


def group_size(effects: Effects, width: float, *, level: float = 0.95) -> GroupSize:
    """The units per arm that normal intervals of single queries of a given width would take.

    With s_a^2 the variance of arm a in the query's group (pooled where an arm has one unit) and z
    the normal quantile, the width is 2 z sqrt(own + sum of s_a^2 / n over the arms whose mean is
    used), own being the variance of the query's own outcome under effect "own", else 0. Solved for
    n; the median over the matched queries. Larger groups drift further: this is noise alone.

    **Arguments:** `effects`; `width` of the interval in outcome units; `level`.

    **Returns:** `GroupSize`.

    **Raises:** ValueError for a width of 0 or less, regressions and samples with clusters.

    **Example:**

        >>> import jcausal as jc
        >>> sample = jc.datasets.lalonde("experiment")
        >>> effects = jc.estimate(sample, jc.AHB(outcome=jc.Ridge()), effect="group", key=0)
        >>> str(jc.group_size(effects, 2000.0)).startswith("95% intervals of width 2,000 take")
        True
    """
    check_kind(effects, Effects, "group_size", "pass what jc.estimate returns")
    check_groups(effects, "jc.group_size")
    check_no_clusters(effects, "jc.group_size")
    level = check_share("level", level)
    if not (np.isfinite(width) and width > 0):
        raise ValueError(f"width is {width}: it must be a number above 0.")
    matching = effects.matching
    use = np.asarray(effects.matched)
    used = np.asarray(means_in_use(matching.query, matching.query_treated, effects.effect))[use]
    variance = np.asarray(own_or_pooled(effects)[0], float)[use]
    own, means = np.where(used, 0, variance).sum(1), np.where(used, variance, 0).sum(1)
    z = normal_quantile(level)
    left = (width / (2 * z)) ** 2 - own
    units = np.where(left > 0, means / np.where(left > 0, left, 1), np.inf)
    present = np.where(used, np.asarray(effects.effective)[use], np.inf).min(1)
    least = 2 * z * np.sqrt(np.median(own))
    return GroupSize(
        float(width),
        level,
        float(np.ceil(np.quantile(units, 0.5, method="lower"))),
        float(np.median(present)),
        float(least),
    )
