"""A test of no heterogeneity between groups."""

from typing import NamedTuple

import numpy as np
from scipy import stats

from jcausal.data import check_count, check_kind
from jcausal.inference._interval import Interval


class Heterogeneity(NamedTuple):
    """Whether the groups' average effects differ: the statistic, its degrees of freedom, p.

    `groups` were compared, `left_out` had too few matched queries or no error.
    """

    statistic: float
    df: int
    p_value: float
    groups: int
    left_out: int

    def __str__(self) -> str:
        """In one line."""
        out = f", {self.left_out} left out" if self.left_out else ""
        return (
            f"chi2 {self.statistic:.4g} on {self.df} degrees of freedom, p {self.p_value:.3g} "
            f"({self.groups} groups{out})"
        )

    def __repr__(self) -> str:
        """As it prints."""
        return str(self)


def heterogeneity(interval: Interval, *, min_queries: int = 10) -> Heterogeneity:
    """Test that the average effect is the same in all groups (Wald's chi-square).

    Q = sum_g (e_g - e)^2 / s_g^2 with e = sum_g e_g s_g^-2 / sum_g s_g^-2 is compared with a
    chi-square of G - 1 degrees of freedom. Groups must not share outcomes: leaves of one tree do
    not, groups of other matchings may share controls, and Q is then only a guide.

    **Arguments:** `interval` of groups, as `jc.interval(effects, method, by=...)` gives it;
    `min_queries`: groups with fewer matched queries are left out, since their errors are little
    known.

    **Returns:** `Heterogeneity`.

    **Raises:** ValueError without groups, or when fewer than two can be compared.

    **Source:** Cochran (1954), Biometrics 10(1).

    **Example:**

        >>> import jcausal as jc
        >>> effects = jc.estimate(jc.datasets.lalonde("psid"), jc.M5Model())
        >>> table = jc.interval(effects, jc.AbadieImbens(), by=effects.matching.leaf)
        >>> jc.heterogeneity(table).df >= 1
        True
    """
    pass_ = "pass jc.interval(effects, method, by=...)"
    check_kind(interval, Interval, "heterogeneity", pass_)
    if interval.groups is None:
        raise ValueError(f"heterogeneity compares groups: {pass_}.")
    min_queries = check_count("min_queries", min_queries, least=0)
    estimate, error = (np.asarray(a, float) for a in (interval.estimate, interval.std_error))
    enough = np.asarray(interval.groups.matched) >= min_queries
    use = enough & np.isfinite(estimate) & np.isfinite(error) & (error > 0)
    count = int(use.sum())
    if count < 2:
        raise ValueError(
            f"{count} of {use.size} groups have an error and {min_queries} matched queries: at "
            "least two are needed; use larger groups, or a smaller min_queries."
        )
    share = error[use] ** -2 / (error[use] ** -2).sum()
    mean = share @ estimate[use]
    statistic = float((((estimate[use] - mean) / error[use]) ** 2).sum())
    p_value = float(stats.chi2.sf(statistic, count - 1))
    return Heterogeneity(statistic, count - 1, p_value, count, use.size - count)
