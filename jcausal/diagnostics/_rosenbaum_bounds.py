"""Rosenbaum's bounds: by how much alike units may differ in their odds of treatment."""

from typing import Any, Literal

import equinox as eqx
import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.special import ndtr

from jcausal.data import FrameKind, Shown, like, normal_quantile, number_in_words
from jcausal.diagnostics._matched_sets import (
    MatchedSets,
    SetScores,
    largest_moments,
    matched_sets,
    scores_of_sets,
)
from jcausal.diagnostics._sensitivity import SensitivityAsk, SensitivityMethod
from jcausal.effects import Average

Alternative = Literal["two-sided", "greater", "less"]
FEW = 50  # pairs that differ, up to which the law of the signed ranks is worked out exactly
MOST = 1000.0  # Gamma beyond which none is looked for
STEPS = 40  # halvings of an interval that holds a root


class RosenbaumBounds(SensitivityMethod):
    """P-values and estimates under hidden bias Gamma, for matched pairs and sets.

    Two units alike in the covariates may differ in their odds of treatment by a factor of Gamma at
    most. The largest p-value under any such bias is that of the largest mean of the statistic: of
    pairs Wilcoxon's signed ranks, each of probability Gamma / (1 + Gamma) (exact up to 50 pairs
    that differ, else normal); of one unit against several of the other arm (as in full matching),
    ranks of outcomes less their set's mean; of outcomes 0 and 1 McNemar's and Mantel and Haenszel's
    counts. Estimates are Hodges and
    Lehmann's shifts, with bounds. Effects that are adjusted give residuals in place of outcomes.

    **Arguments:**

    - `gamma`: the biases of the table, from 1.
    - `alternative`: "two-sided" doubles the p-value of the side that the outcomes favour; "greater"
      and "less" are of effects above and below 0.
    - `exact`: False takes the normal law for few pairs too.
    - `level`: 1 - level is the significance; of the bounds of the estimate too.

    **Raises:** ValueError for groups that share units, sets of several of both arms, sampling
    weights and clusters.

    **Source:** Rosenbaum (2002), Observational Studies, chapter 4; sets: Gastwirth, Krieger and
    Rosenbaum (2000), JRSS B 62(3); residuals: Rosenbaum (2002), Statistical Science 17(3).
    """

    gamma: tuple[float, ...] = eqx.field(static=True, default=(1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0))
    alternative: Alternative = eqx.field(static=True, default="two-sided")
    exact: bool = eqx.field(static=True, default=True)
    level: float = eqx.field(static=True, default=0.95)

    def __check_init__(self) -> None:
        given = self.gamma
        if not isinstance(given, tuple) or not given or not all(1 <= g <= MOST for g in given):
            raise ValueError(f"gamma is {given!r}: give numbers from 1, such as (1.0, 1.5, 2.0).")

    def of(self, ask: SensitivityAsk) -> "GammaBounds":
        """The bounds of these effects."""
        found = ask.found
        if isinstance(found, Average):
            raise ValueError(
                f"Rosenbaum bounds are of matched pairs and sets, and {found.method} makes none: "
                "use jc.OmittedVariable() or jc.EValue()."
            )
        sets = matched_sets(found)
        binary = bool(found.binary) and not found.adjusted
        return gamma_bounds(sets, self, binary, found.estimand.upper(), found.sample.home)


class GammaBounds(Shown, eqx.Module):
    """What hidden bias can make of a matched comparison. Made by `jc.sensitivity`.

    `gamma` (g,); `p_upper` (g,) and `p_lower` (g,), the largest and the smallest p-value;
    `estimate` (g, 2) the smallest and largest shift, `bounds` (g, 2) of their intervals, infinite
    where the sets are too few for one, NaN for binary outcomes; `gamma_lost`, the bias at which
    significance is lost (1: there is none, infinite: beyond 1,000); `statistic`, its name; `sets`,
    their number.
    """

    gamma: Float[np.ndarray, " g"]
    p_upper: Float[np.ndarray, " g"]
    p_lower: Float[np.ndarray, " g"]
    estimate: Float[np.ndarray, "g 2"]
    bounds: Float[np.ndarray, "g 2"]
    gamma_lost: float = eqx.field(static=True)
    statistic: str = eqx.field(static=True)
    sets: int = eqx.field(static=True)
    level: float = eqx.field(static=True)
    title: str = eqx.field(static=True)
    home: FrameKind = eqx.field(static=True, default="pandas")

    def _shown(self) -> pd.DataFrame:
        table = dict(gamma=self.gamma, p_lower=self.p_lower, p_upper=self.p_upper)
        for name, values in (("estimate", self.estimate), ("bound", self.bounds)):
            table |= {f"{name}_low": values[:, 0], f"{name}_high": values[:, 1]}
        return pd.DataFrame(table)

    def to_frame(self) -> Any:
        """One row a Gamma: `gamma`, `p_lower`, `p_upper`, the shifts and the bounds around them.

        **Returns:** a frame of the kind that the sample was read from, with `estimate_low`,
        `estimate_high`, `bound_low`, `bound_high`; NaN for binary outcomes, which no shift fits.
        """
        return like(self.home, self._shown())

    def summary(self) -> str:
        """The p-value without bias, and how much bias would undo it, in words."""
        alpha = f"{100 * (1 - self.level):g}%"
        first = f"{self.title}, {self.sets:,} matched sets ({self.statistic})"
        if self.gamma_lost == 1:
            return f"{first}: not significant at {alpha} even without hidden bias"
        if np.isinf(self.gamma_lost):
            return f"{first}: significant at {alpha} under any bias up to Gamma {MOST:,.0f}"
        lost = number_in_words(round(self.gamma_lost, 2))
        size = number_in_words(
            round(float(self.gamma_lost + np.sqrt(max(self.gamma_lost**2 - 1, 0))), 2)
        )
        return (
            f"{first}: significant at {alpha} up to Gamma {lost}\n"
            f"hidden bias that makes the odds of treatment of two alike units {lost} times as "
            "different could explain the effect away\n"
            f"such as a confounder that multiplies the odds of treatment, and those of the higher "
            f"outcome, by {size}"
        )

    def _said(self) -> str:
        table = self._shown().dropna(axis=1, how="all").map(lambda v: f"{v:.4g}")
        return f"{self.summary()}\n{table.to_string(index=False)}"


def gamma_bounds(
    sets: MatchedSets, rule: RosenbaumBounds, binary: bool, title: str, home: FrameKind
) -> GammaBounds:
    """P-values, shifts and the Gamma that undoes significance, of matched sets."""
    gamma = np.array(rule.gamma, float)
    upper = p_values(sets, rule, binary, gamma)
    shifts, bounds = np.full((2, gamma.size, 2), np.nan)
    if not binary:
        shifts, bounds = _shifts(sets, gamma, rule.level)
    names = {True: "McNemar", False: "Wilcoxon signed rank"}
    if not sets.pairs:
        names = {True: "Mantel-Haenszel", False: "aligned ranks"}
    return GammaBounds(
        gamma=gamma,
        p_upper=upper,
        p_lower=p_values(sets, rule, binary, 1 / gamma),
        estimate=shifts,
        bounds=bounds,
        gamma_lost=_gamma_lost(sets, rule, binary),
        statistic=names[binary],
        sets=sets.start.size,
        level=rule.level,
        title=title,
        home=home,
    )


def p_values(
    sets: MatchedSets, rule: RosenbaumBounds, binary: bool, gamma: Float[np.ndarray, " g"]
) -> Float[np.ndarray, " g"]:
    """The largest p-value under each bias from 1, the smallest under each below 1."""
    scores = {side: scores_of_sets(sets._replace(y=side * sets.y), binary) for side in (1, -1)}
    side = -1 if rule.alternative == "less" else 1
    if rule.alternative == "two-sided":
        one = np.ones(1)
        side = 1 if _tail(scores[1], one, rule.exact) <= _tail(scores[-1], one, rule.exact) else -1
    found = _tail(scores[side], gamma, rule.exact)
    return np.minimum(found * (2 if rule.alternative == "two-sided" else 1), 1)


def _tail(
    sets: list[SetScores], gamma: Float[np.ndarray, " g"], exact: bool
) -> Float[np.ndarray, " g"]:
    """P(statistic >= the observed) under the largest bias towards it; below 1 away from it."""
    observed = sum(float(one.of_alone.sum()) for one in sets)
    if exact and len(sets) == 1 and sets[0].scores.shape[1] == 2:
        gap = sets[0].scores[:, 1] - sets[0].scores[:, 0]
        if (gap > 0).sum() <= FEW:
            base = float(sets[0].scores[:, 0].sum())
            return np.array([_exact_tail(gap, observed - base, g / (1 + g)) for g in gamma])
    turned = [SetScores(-one.scores[:, ::-1], -one.of_alone) for one in sets]
    towards, against = largest_moments(sets, gamma), largest_moments(turned, 1 / gamma)
    mean = np.where(gamma >= 1, towards[0], -against[0])
    spread = np.sqrt(np.where(gamma >= 1, towards[1], against[1]))
    away = np.where(spread > 0, (observed - mean) / np.where(spread > 0, spread, 1), 0)
    return np.where(spread > 0, ndtr(-away), 1.0)


def _exact_tail(gap: Float[np.ndarray, " s"], observed: float, chance: float) -> float:
    """P(sum of gaps that are drawn with that chance >= the observed), one gap after another."""
    steps = np.rint(2 * gap[gap > 0]).astype(int)
    law = np.zeros(steps.sum() + 1)
    law[0] = 1
    for step in steps:
        moved = law * (1 - chance)
        moved[step:] += chance * law[: law.size - step]
        law = moved
    return float(min(law[int(np.rint(2 * observed)) :].sum(), 1.0))


def _gamma_lost(sets: MatchedSets, rule: RosenbaumBounds, binary: bool) -> float:
    """The Gamma at which the largest p-value reaches 1 - level."""
    alpha = 1 - rule.level

    def p(gamma: float) -> float:
        return float(p_values(sets, rule, binary, np.array([gamma]))[0])

    if p(1.0) > alpha:
        return 1.0
    if p(MOST) <= alpha:
        return float("inf")
    low, high = 0.0, float(np.log(MOST))
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if p(float(np.exp(middle))) <= alpha else (low, middle)
    return float(np.exp((low + high) / 2))


def _shifts(
    sets: MatchedSets, gamma: Float[np.ndarray, " g"], level: float
) -> tuple[Float[np.ndarray, "g 2"], Float[np.ndarray, "g 2"]]:
    """Smallest and largest Hodges-Lehmann shift, and bounds around them."""
    turned = sets._replace(y=-sets.y)
    estimate, bounds = np.empty((2, gamma.size, 2))
    z = normal_quantile(level)
    for g, factor in enumerate(gamma):
        for side, one, sign in ((0, sets, 1), (1, turned, -1)):
            ends = [_crossing(one, float(factor), 0.0, strict) for strict in (False, True)]
            estimate[g, side] = sign * sum(ends) / 2
            bounds[g, side] = sign * _crossing(one, float(factor), z, False)
    return estimate, bounds


def _crossing(sets: MatchedSets, gamma: float, away: float, strict: bool) -> float:
    """The shift at which the statistic, less its largest mean, falls to `away` errors.

    The statistic is a step function: of shifts at which it is equal the last, or with `strict` the
    first. Minus infinity where sets are so few that no shift lifts it that far.
    """
    reach = np.ptp(sets.y) * (1 + 1e-6)

    def above(shift: float) -> bool:
        scores = scores_of_sets(sets.shifted(shift), False)
        mean, variance = largest_moments(scores, np.array([gamma]))
        gap = sum(float(one.of_alone.sum()) for one in scores) - float(mean[0])
        gap -= away * float(np.sqrt(variance[0]))
        slack = 1e-9 * max(float(mean[0]), 1.0)
        return gap > slack if strict else gap >= -slack

    low, high = -reach, reach
    if away and not above(low):
        return -np.inf
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if above(middle) else (low, middle)
    return (low + high) / 2
