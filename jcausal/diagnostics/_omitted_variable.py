"""Bounds on the bias of an omitted variable, for estimates that are linear in the outcomes."""

from collections.abc import Mapping, Sequence

import equinox as eqx
import numpy as np

from jcausal.diagnostics._linear_parts import LinearParts, PartialR2, linear_parts, partial_r2
from jcausal.diagnostics._omitted_bounds import Benchmarks, OmittedBounds, benchmarks_of
from jcausal.diagnostics._sensitivity import SensitivityAsk, SensitivityMethod
from jcausal.effects import Average


class OmittedVariable(SensitivityMethod):
    """How much of treatment and outcome a confounder must explain to change the answer.

    With the average sum_k c_k y_k, sampling weights w_k that add up to 1 and residuals r_k of the
    outcome, leaving out a confounder biases it by at most

        sqrt(R_y R_d / (1 - R_d)) S,    S^2 = sum_k w_k r_k^2  sum_k c_k^2 / w_k.

    R_y is the share of the residual outcome that the confounder explains. R_d is the share by which
    it raises E[alpha^2], where alpha_k = c_k / w_k stands for the estimand's Riesz representer; in
    a linear regression it is the share of the residual treatment. r_k are the residuals of the
    surface that adjusts the effects, or of a linear regression where none does. Averages without
    weights of their own (`jc.AIPW()`, learners) take those of the inverse chance of treatment.
    Weights of single neighbours scatter around alpha, so that S is rather too large. The sampling
    error of S is left out.

    The robustness value is the R = R_y = R_d at which the bias is the whole estimate. Benchmarks
    are confounders k times as strong as a covariate is among the others, by linear regressions of
    treatment and outcome in the whole sample.

    **Arguments:**

    - `benchmark`: names of covariates; None is all of them.
    - `times`: how many times as strong as a benchmark.
    - `share`: of the estimate that is to be explained away.
    - `level`: of the interval.

    **Source:** Cinelli and Hazlett (2020), JRSS B 82(1); Chernozhukov, Cinelli, Newey, Sharma and
    Syrgkanis (2022), Long story short, NBER 30302.
    """

    benchmark: str | Sequence[str] | None = eqx.field(static=True, default=None)
    times: tuple[float, ...] = eqx.field(static=True, default=(1.0, 2.0, 3.0))
    share: float = eqx.field(static=True, default=1.0)
    level: float = eqx.field(static=True, default=0.95)

    def __check_init__(self) -> None:
        check_times(self.times)
        if not 0 < self.share <= 1:
            raise ValueError(f"share is {self.share}: it must lie above 0 and be at most 1.")

    def of(self, ask: SensitivityAsk) -> OmittedBounds:
        """The bounds of these effects."""
        found, sample = ask.found, ask.found.sample
        parts = linear_parts(found)
        r2 = partial_r2(sample, parts.mass)
        method = found.method if isinstance(found, Average) else "matching"
        return OmittedBounds(
            estimate=float(found.average),
            std_error=ask.std_error(self.level),
            scale=scale_of(parts, r2.left),
            df=np.inf,
            benchmarks=self._benchmarks(r2),
            share=self.share,
            level=self.level,
            title=f"{found.estimand.upper()} by {method}",
            home=sample.home,
        )

    def _benchmarks(self, r2: PartialR2) -> Benchmarks:
        wanted = r2.names if self.benchmark is None else self.benchmark
        names = (wanted,) if isinstance(wanted, str) else tuple(wanted)
        unknown = [name for name in names if name not in r2.names]
        if unknown:
            raise ValueError(
                f"benchmark {unknown[0]!r} is no covariate: they are {', '.join(r2.names)}."
            )
        places = [r2.names.index(name) for name in names]
        return benchmarks_of(names, r2.treatment[places], r2.outcome[places], self.times)


def scale_of(parts: LinearParts, left: float) -> float:
    """S: the root of E[residual^2] E[alpha^2]; `left` is the first where no model gives it."""
    mass = parts.mass
    if parts.residual is not None:
        left = float(mass @ parts.residual**2)
    held = mass > 0
    return float(np.sqrt(left * (parts.coefficient[held] ** 2 / mass[held]).sum()))


def omitted_variable_bounds(
    estimate: float,
    std_error: float,
    df: float,
    *,
    benchmarks: Mapping[str, tuple[float, float]] | None = None,
    times: tuple[float, ...] = (1.0, 2.0, 3.0),
    share: float = 1.0,
    level: float = 0.95,
) -> OmittedBounds:
    """The bounds of a coefficient of a linear regression, from what is printed of it.

    **Arguments:** `estimate`, its `std_error` and the residual degrees of freedom `df`;
    `benchmarks`: of covariates by name, the partial R2 with the treatment and with the outcome;
    `times`, `share`, `level` as in `jc.OmittedVariable`.

    **Returns:** `OmittedBounds`.

    **Raises:** ValueError for an error or degrees of freedom that are not above 0 and 1, and for
    shares out of range.

    **Example:**

        >>> import jcausal as jc
        >>> darfur = jc.diagnostics.omitted_variable_bounds(0.097, 0.0233, 783)
        >>> round(darfur.robustness_value, 3)
        0.138

    **Source:** Cinelli and Hazlett (2020), JRSS B 82(1), sections 4 and 5.
    """
    if not (np.isfinite(estimate) and 0 < std_error < np.inf and df > 1):
        raise ValueError(
            f"estimate {estimate}, std_error {std_error}, df {df}: give finite numbers, an error "
            "above 0 and more than one degree of freedom."
        )
    given = OmittedVariable(times=times, share=share, level=level)
    table = benchmarks or {}
    shares = np.array(list(table.values()), float).reshape(-1, 2)
    if not ((shares >= 0) & (shares < 1)).all():
        raise ValueError("benchmarks holds a share out of [0, 1): give partial R2.")
    return OmittedBounds(
        estimate=float(estimate),
        std_error=float(std_error),
        scale=float(std_error * np.sqrt(df)),
        df=float(df),
        benchmarks=benchmarks_of(tuple(table), shares[:, 0], shares[:, 1], given.times),
        share=given.share,
        level=given.level,
        title="coefficient",
        home="pandas",
    )


def check_times(times: tuple[float, ...]) -> None:
    if not isinstance(times, tuple) or not times or not all(k > 0 for k in times):
        raise ValueError(f"times is {times!r}: give numbers above 0, such as (1.0, 2.0).")
