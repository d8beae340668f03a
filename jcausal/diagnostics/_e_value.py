"""E-values: how strong an unmeasured confounder must be on the scale of risk ratios."""

from typing import Any, Literal

import equinox as eqx
import numpy as np
import pandas as pd
from jaxtyping import Float

from jcausal.data import FrameKind, Shown, like, normal_quantile, number_in_words
from jcausal.diagnostics._linear_parts import linear_parts
from jcausal.diagnostics._sensitivity import SensitivityAsk, SensitivityMethod
from jcausal.diagnostics._statistics import WeightedColumn
from jcausal.effects import Average, Effects
from jcausal.inference import interval, usual_interval

SLOPE = 0.91  # of the log risk ratio in the standardised difference
Scale = Literal["risk ratio", "standardised difference"]


def e_value(ratio: Float[np.ndarray, "..."] | float) -> Float[np.ndarray, "..."]:
    """R + sqrt(R (R - 1)) of risk ratios R; of those below 1 their inverse is taken.

    **Returns:** the least risk ratio that a confounder must have with treatment and with outcome,
    given the covariates, to explain the ratio away; NaN for ratios that are not above 0.

    **Example:**

        >>> import jcausal as jc
        >>> round(float(jc.diagnostics.e_value(3.9)), 2)
        7.26

    **Source:** VanderWeele and Ding (2017), Annals of Internal Medicine 167(4).
    """
    given = np.asarray(ratio, float)
    with np.errstate(all="ignore"):
        up = np.where(given < 1, 1 / given, given)
        return np.where(given > 0, up + np.sqrt(up * (up - 1)), np.nan)


class EValue(SensitivityMethod):
    """The E-value of the average effect, and of the bound of its interval that is nearer to none.

    Of outcomes that are 0 or 1: of the risk ratio risk1 / risk0, with R + sqrt(R (R - 1)). Its
    bounds are those of `jc.interval(..., measure="ratio")`; of estimators without groups the bounds
    of the difference are laid on the untreated's risk, whose own error is left out. Of other
    outcomes the ratio is approximated by exp(.91 d), d the average over the outcome's standard
    deviation (the treated's for ATT, the controls' for ATC, both pooled otherwise), and its bounds
    by exp(.91 (d -+ z s)), s the standard error over the same deviation.

    **Arguments:** `level` of the interval.

    **Source:** VanderWeele and Ding (2017), Annals of Internal Medicine 167(4); the approximation
    after Chinn (2000), Statistics in Medicine 19(22).
    """

    level: float = eqx.field(static=True, default=0.95)

    def of(self, ask: SensitivityAsk) -> "EValues":
        """The E-values of these effects."""
        sample = ask.found.sample
        y, counts = np.asarray(sample.y), np.asarray(sample.valid)
        risks = bool(np.isin(y[counts], (0, 1)).all())
        ratio, lower, upper = (self._of_risks if risks else self._of_differences)(ask)
        return EValues(
            ratio=ratio,
            lower=lower,
            upper=upper,
            scale="risk ratio" if risks else "standardised difference",
            level=self.level,
            title=ask.found.estimand.upper(),
            home=sample.home,
        )

    def _of_risks(self, ask: SensitivityAsk) -> tuple[float, float, float]:
        found = ask.found
        if isinstance(found, Effects):
            method = usual_interval(found.sample, self.level)
            told = interval(found, method, measure="ratio", key=ask.key)
            return float(told.estimate), float(told.lower), float(told.upper)
        value, risk = float(found.average), untreated_risk(found)
        if not risk > 0:
            raise ValueError("the risk without treatment is 0, so the risk ratio has no value.")
        reach = normal_quantile(self.level) * ask.std_error(self.level)
        ends = (value, value - reach, value + reach)
        ratio, low, high = (max(risk + end, 0.0) / risk for end in ends)
        return ratio, low, high

    def _of_differences(self, ask: SensitivityAsk) -> tuple[float, float, float]:
        value, error = float(ask.found.average), ask.std_error(self.level)
        sd = outcome_sd(ask.found)
        reach = normal_quantile(self.level) * error
        ratio, low, high = (
            float(np.exp(SLOPE * v / sd)) for v in (value, value - reach, value + reach)
        )
        return ratio, low, high


def untreated_risk(found: Average) -> float:
    """The weighted mean outcome of controls, with what a model foretells where there is one."""
    parts, t = linear_parts(found), np.asarray(found.sample.t)
    y = np.asarray(found.sample.y, np.float64)
    weight = np.where(t, 0, -parts.coefficient)
    if found.predicted is None:
        return float(weight @ np.where(weight != 0, y, 0))
    told = np.asarray(found.predicted, np.float64)[:, 0]
    if not np.isfinite(told[parts.mass > 0]).all():
        return _from_the_treated(found, parts.mass)
    whom = dict(att=t, atc=~t).get(found.estimand, np.ones_like(t))
    mean = np.average(np.where(whom, told, 0), weights=np.where(whom, parts.mass, 0))
    return float(mean + weight @ np.where(weight != 0, y - told, 0))


def _from_the_treated(found: Average, mass: Float[np.ndarray, " n"]) -> float:
    """The mean outcome of the controls themselves: ATC, for which f0 was not fitted."""
    controls = np.where(np.asarray(found.sample.t), 0, mass)
    return float(np.average(np.asarray(found.sample.y, np.float64), weights=controls))


def outcome_sd(found: Effects | Average) -> float:
    """The outcome's standard deviation in the arm, or both, that a balance table divides by."""
    sample = found.sample
    mass = linear_parts(found).mass
    rows = np.flatnonzero(mass > 0)
    y, t = np.asarray(sample.y, np.float64)[rows], np.asarray(sample.t)[rows]
    order = np.argsort(y, kind="stable")
    column = WeightedColumn(y[order], t[order], mass[rows][order], 1.0, False)
    zero, one = column.variances
    both = (zero + one) / 2
    square = dict(att=one, atc=zero).get(found.estimand, both)
    if not square > 0:
        arm = dict(att="treated", atc="controls").get(found.estimand, "arms")
        raise ValueError(
            f"the outcome never varies among the {arm}, so that no effect can be standardised: use "
            "jc.OmittedVariable()."
        )
    return float(np.sqrt(square))


class EValues(Shown, eqx.Module):
    """E-values of an average and of the bound nearer to no effect. Made by `jc.sensitivity`.

    `ratio` with `lower` and `upper`: the risk ratio, or what stands for it where `scale` is
    "standardised difference".
    """

    ratio: float = eqx.field(static=True)
    lower: float = eqx.field(static=True)
    upper: float = eqx.field(static=True)
    scale: Scale = eqx.field(static=True)
    level: float = eqx.field(static=True)
    title: str = eqx.field(static=True)
    home: FrameKind = eqx.field(static=True, default="pandas")

    @property
    def estimate(self) -> float:
        """The E-value of the average."""
        return float(e_value(self.ratio))

    @property
    def bound(self) -> float:
        """The E-value of the interval's bound nearer to a ratio of 1; 1 where it holds 1."""
        if not np.isfinite([self.lower, self.upper]).all():
            return float("nan")
        if self.lower <= 1 <= self.upper:
            return 1.0
        return float(e_value(self.lower if self.lower > 1 else self.upper))

    def _shown(self) -> pd.DataFrame:
        nearer = self.lower if self.ratio >= 1 else self.upper
        return pd.DataFrame(
            dict(
                of=["estimate", "bound nearer to 1"],
                ratio=[self.ratio, nearer],
                e_value=[self.estimate, self.bound],
                scale=self.scale,
                level=self.level,
            )
        )

    def to_frame(self) -> Any:
        """Two rows, of the estimate and of the bound nearer to 1.

        **Returns:** a frame of the kind that the sample was read from: `of`, `ratio`, `e_value`,
        `scale`, `level`.
        """
        return like(self.home, self._shown())

    def summary(self) -> str:
        """Both E-values in words."""
        ratio, low, high = (number_in_words(v) for v in (self.ratio, self.lower, self.upper))
        about = "" if self.scale == "risk ratio" else " (approximated from the standardised effect)"
        strong = number_in_words(round(self.estimate, 2))
        lines = [
            f"{self.title}: risk ratio {ratio}, {100 * self.level:g}% interval {low} to {high}"
            f"{about}",
            f"E-value {strong}: a confounder must be tied to treatment and to outcome by a risk "
            f"ratio of {strong} each, given the covariates, to explain the estimate away",
        ]
        if self.bound == 1:
            return "\n".join([*lines, "the interval holds no effect already: E-value 1"])
        least = number_in_words(round(self.bound, 2))
        return "\n".join([*lines, f"{least} each for the interval to include no effect"])

    def _said(self) -> str:
        return self.summary()
