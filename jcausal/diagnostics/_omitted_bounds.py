"""What a confounder of a given strength would do to an estimate."""

from typing import Any, NamedTuple

import equinox as eqx
import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.special import stdtrit

from jcausal.data import FrameKind, Shown, like, normal_quantile, number_in_words

NAMED = 3  # benchmarks that a summary tells of


class Benchmarks(NamedTuple):
    """Confounders as strong as covariates are: one entry a covariate and multiple.

    `name` (m,) and `times` (m,); `treatment` (m,) and `outcome` (m,), the shares of what is left
    that it explains, NaN where no confounder could be so strong.
    """

    name: tuple[str, ...]
    times: Float[np.ndarray, " m"]
    treatment: Float[np.ndarray, " m"]
    outcome: Float[np.ndarray, " m"]


def benchmarks_of(
    names: tuple[str, ...],
    treatment: Float[np.ndarray, " k"],
    outcome: Float[np.ndarray, " k"],
    times: tuple[float, ...],
) -> Benchmarks:
    """Shares that a confounder k times as strong as each covariate explains at most.

    With R_d and R_y the covariate's own partial R2: k R_d / (1 - R_d) of the treatment, and
    ((sqrt(k) + a) / sqrt(1 - a^2))^2 R_y / (1 - R_y) of the outcome, at most all of it, with
    a^2 = k R_d^2 / ((1 - k R_d) (1 - R_d)).

    **Source:** Cinelli and Hazlett (2020), section 4.4.
    """
    k = np.tile(np.asarray(times, float), len(names))
    d, y = (np.repeat(np.asarray(a, float), len(times)) for a in (treatment, outcome))
    with np.errstate(all="ignore"):
        of_treatment = k * d / (1 - d)
        a = k * d**2 / ((1 - k * d) * (1 - d))
        able = (of_treatment < 1) & (k * d < 1) & (a < 1)
        of_outcome = (np.sqrt(k) + np.sqrt(a)) ** 2 / (1 - a) * y / (1 - y)
    told = tuple(name for name in names for _ in times)
    of_outcome = np.minimum(of_outcome, 1)
    return Benchmarks(told, k, *(np.where(able, v, np.nan) for v in (of_treatment, of_outcome)))


class OmittedBounds(Shown, eqx.Module):
    """How an estimate bears a variable that was left out. Made by `jc.sensitivity`.

    `estimate` and `std_error`; `scale` S and `df`, infinite but for regressions, as in
    `jc.OmittedVariable`; `benchmarks`; `share` of the estimate that is to be explained away;
    `level` of the interval.
    """

    estimate: float = eqx.field(static=True)
    std_error: float = eqx.field(static=True)
    scale: float = eqx.field(static=True)
    df: float = eqx.field(static=True)
    benchmarks: Benchmarks
    share: float = eqx.field(static=True)
    level: float = eqx.field(static=True)
    title: str = eqx.field(static=True)
    home: FrameKind = eqx.field(static=True, default="pandas")

    def bias(
        self, treatment: Float[np.ndarray, "..."] | float, outcome: Float[np.ndarray, "..."] | float
    ) -> Float[np.ndarray, "..."]:
        """The largest bias of one that explains such shares: sqrt(R_y R_d / (1 - R_d)) S."""
        d, y = np.asarray(treatment, float), np.asarray(outcome, float)
        return np.asarray(np.sqrt(y * d / (1 - d)) * self.scale)

    def adjusted(
        self, treatment: Float[np.ndarray, "..."] | float, outcome: Float[np.ndarray, "..."] | float
    ) -> Float[np.ndarray, "..."]:
        """The estimate when that bias had made it look larger, beyond 0 where it was all bias."""
        side = 1.0 if self.estimate >= 0 else -1.0
        return np.asarray(self.estimate - side * self.bias(treatment, outcome))

    def adjusted_error(
        self, treatment: Float[np.ndarray, "..."] | float, outcome: Float[np.ndarray, "..."] | float
    ) -> Float[np.ndarray, "..."]:
        """The standard error then: of a regression it changes, of others it is held."""
        d, y = np.asarray(treatment, float), np.asarray(outcome, float)
        if np.isinf(self.df):
            return np.full(np.broadcast(d, y).shape, self.std_error)
        return np.asarray(self.std_error * np.sqrt((1 - y) / (1 - d) * self.df / (self.df - 1)))

    @property
    def critical(self) -> float:
        """By how many standard errors an estimate must be away from 0."""
        if np.isinf(self.df):
            return normal_quantile(self.level)
        return float(stdtrit(self.df - 1, 0.5 + self.level / 2))

    @property
    def robustness_value(self) -> float:
        """Explaining so much of what is left of both takes the share of the estimate away."""
        return self._value(self.share * abs(self.estimate))

    @property
    def robustness_value_significant(self) -> float:
        """Explaining so much of what is left of both makes the interval include 0; 0 if it does."""
        grown = 1.0 if np.isinf(self.df) else float(np.sqrt(self.df / (self.df - 1)))
        reach = self.share * abs(self.estimate) - self.critical * self.std_error * grown
        return self._value(max(reach, 0.0)) if np.isfinite(reach) else float("nan")

    def _value(self, size: float) -> float:
        """R with R^2 / (1 - R) S^2 = size^2."""
        if self.scale == 0:
            return 1.0 if size > 0 else 0.0
        square = (size / self.scale) ** 2
        return float((np.sqrt(square**2 + 4 * square) - square) / 2)

    @property
    def partial_r2(self) -> float:
        """Share of the treatment by which one that explains all of the outcome takes all away."""
        if self.scale == 0:
            return 1.0
        square = (self.estimate / self.scale) ** 2
        return square / (1 + square)

    def contours(
        self, most: float | None = None, points: int = 60
    ) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, "k k"]]:
        """Shares from 0 to `most`, and the adjusted estimate by outcome (rows) and treatment."""
        if most is None:
            told = np.r_[self.benchmarks.treatment, self.benchmarks.outcome]
            reach = max(1.6 * self.robustness_value, 1.15 * np.nanmax(np.r_[told, 0.0]), 0.05)
            most = min(float(reach), 0.9)
        shares = np.linspace(0, most, points)
        return shares, self.adjusted(shares[None], shares[:, None])

    def _table(self) -> pd.DataFrame:
        name, times, treatment, outcome = self.benchmarks
        value = self.adjusted(treatment, outcome)
        error = self.adjusted_error(treatment, outcome)
        return pd.DataFrame(
            dict(
                benchmark=list(name),
                times=times,
                r2_treatment=treatment,
                r2_outcome=outcome,
                adjusted=value,
                std_error=error,
                lower=value - self.critical * error,
                upper=value + self.critical * error,
            )
        )

    def to_frame(self) -> Any:
        """One row a benchmark and multiple: what such a confounder explains, and what it leaves.

        **Returns:** a frame of the kind that the sample was read from: `benchmark`, `times`,
        `r2_treatment`, `r2_outcome`, `adjusted`, `std_error`, `lower`, `upper`; NaN where no
        confounder could be so strong.
        """
        return like(self.home, self._table())

    def _shown(self) -> pd.DataFrame:
        return self._table()

    @property
    def line(self) -> str:
        """The robustness value in one sentence, and what the strongest benchmark would leave."""
        goal = "to 0" if self.share == 1 else f"down by {_percent(self.share)}"
        return (
            f"robustness value {_percent(self.robustness_value)}: a confounder must explain that "
            "much of what the covariates leave of both treatment and outcome to bring the estimate "
            f"{goal}; {self._significance_words()}"
        )

    def _significance_words(self) -> str:
        value = self.robustness_value_significant
        if np.isnan(value):
            return "there is no interval"
        if value == 0:
            return "the interval includes 0 as it is"
        return f"{_percent(value)} for the interval to include 0"

    @property
    def strongest(self) -> str:
        """What a confounder as strong as the strongest benchmark would leave, in words; or none."""
        table = self._ranked()
        if not len(table) or np.isnan(table["adjusted"].iloc[0]):
            return ""
        value = number_in_words(float(table["adjusted"].iloc[0]))
        times = float(table["times"].iloc[0])
        often = "" if times == 1 else f"{times:g} times "
        return f"one {often}as strong as {table['benchmark'].iloc[0]!r} would leave {value}"

    @property
    def strongest_names(self) -> tuple[str, ...]:
        """The benchmarks, the one that leaves least of the estimate first."""
        return tuple(self._ranked()["benchmark"])

    def _ranked(self) -> pd.DataFrame:
        """The benchmarks at the least multiple, the one that leaves least first."""
        table = self._table()
        first: Any = table[table["times"] == table["times"].min()]
        side = 1.0 if self.estimate >= 0 else -1.0
        order = (side * first["adjusted"]).sort_values(na_position="last", kind="stable").index
        return first.loc[order]

    def summary(self) -> str:
        """The robustness values, and the benchmarks that would do most, in words."""
        value, error = number_in_words(self.estimate), number_in_words(self.std_error)
        lines = [
            f"{self.title}: {value} (standard error {error}), if a variable was left out",
            self.line,
            f"one that explains all that is left of the outcome needs {_percent(self.partial_r2)} "
            "of the treatment",
        ]
        return "\n".join([*lines, *self._benchmark_words()])

    def _benchmark_words(self) -> list[str]:
        table = self._table()
        lines = []
        for name in self._ranked()["benchmark"].head(NAMED):
            rows = table[table["benchmark"] == name].dropna()
            told = [
                f"{k:g} times {number_in_words(float(v))}"
                for k, v in zip(rows["times"], rows["adjusted"])
            ]
            if not told:
                lines.append(f"as strong as {name!r}: no confounder could be")
                continue
            row = rows.iloc[0]
            lines.append(
                f"as strong as {name!r} ({_percent(float(row['r2_treatment']))} of treatment, "
                f"{_percent(float(row['r2_outcome']))} of outcome): the estimate would be at worst "
                f"{', '.join(told)}".replace("worst 1 times ", "worst ")
            )
        return lines

    def _said(self) -> str:
        return self.summary()


def _percent(share: float) -> str:
    """A share in percent, with digits enough to tell it from 0 and 100."""
    if np.isnan(share):
        return "unknown"
    text = f"{100 * share:.1f}"
    return f"{text if text != '0.0' or share == 0 else f'{100 * share:.1g}'}%"
