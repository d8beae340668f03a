"""An average effect with its error, in words."""

from statistics import NormalDist
from typing import Any

import equinox as eqx
import numpy as np
import pandas as pd
from jaxtyping import Array, Float, Int

from jcausal.data import Sample, Shown, check_share, like, number_in_words, on_host
from jcausal.effects._support import flat_words
from jcausal.matching import Estimand
from jcausal.surfaces import tells_apart

APART = 0.5  # share of the averaged units beyond the other arm from which the arms do not overlap


@on_host
def _bounds(
    lib: Any, average: Float[Array, ""], error: Float[Array, ""], quantile: float
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    return average - quantile * error, average + quantile * error


class Average(Shown, eqx.Module):
    """An average effect without a matching. Made by `jc.estimate(sample, jc.AIPW(...))`.

    `average` and its `std_error`; `influence` (n,), how far each unit moves the average: with N
    units that count, std_error^2 = sum influence^2 / N^2, or of the sums of clusters. `propensity`
    (n,) the chance of treatment as fitted, `predicted` (n, 2) outcomes without and with the
    treatment, `fold` (n,), -1 for rows that count nothing. `slope` (k, f) are the standardised
    slopes of the regressions for the chance (of a classifier correlations with it). By arm,
    controls first: `counts` (2,) of units, `effective` (2,) units by the weights that the average
    gives them, (sum)^2 / sum of squares, and `beyond` (2,), the share of units that the other arm
    hardly reaches in the chance of treatment. `clipped` counts units whose chance was held at
    `clip`.
    """

    average: Float[Array, ""]
    std_error: Float[Array, ""]
    influence: Float[Array, " n"]
    propensity: Float[Array, " n"]
    predicted: Float[Array, "n 2"]
    fold: Int[Array, " n"]
    slope: Float[Array, "k f"]
    counts: Int[Array, " 2"]
    effective: Float[Array, " 2"]
    beyond: Float[Array, " 2"]
    clipped: Int[Array, ""]
    sample: Sample
    estimand: Estimand = eqx.field(static=True)
    method: str = eqx.field(static=True, default="AIPW")

    def bounds(self, level: float = 0.95) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """The normal interval: average -+ quantile * std_error. ValueError for a wrong level."""
        level = check_share("level", level)
        return _bounds(self.average, self.std_error, NormalDist().inv_cdf(0.5 + level / 2))

    def line(self, level: float = 0.95) -> str:
        """The average with its interval, in one line."""
        low, high = (number_in_words(float(v)) for v in self.bounds(level))
        value = number_in_words(float(self.average))
        return f"{value} ({100 * level:g}% interval {low} to {high}; {self.method})"

    def notes(self) -> list[str]:
        """What a reader must know: chances that were held, and arms that do not overlap."""
        lines = []
        if int(self.clipped):
            lines.append(
                f"{int(self.clipped):,} units stand for so many others that the chance of their "
                "arm was held at the bound (clip)"
            )
        return lines + apart_words(self.sample, self.estimand, self.beyond, self.slope)

    def summary(self, level: float = 0.95) -> str:
        """The average, its interval, the units behind it and what to beware of, in words."""
        units = [
            f"{int(c):,} {word}"
            for c, word in zip(np.asarray(self.counts), ("controls", "treated"))
        ]
        count = [number_in_words(round(float(e), 1)) for e in np.asarray(self.effective)]
        behind = f"{' and '.join(units)}, weighted: as good as {' and '.join(count)}"
        first = f"{self.estimand.upper()}: {self.line(level)}"
        return "\n".join([first, behind, *self.notes(), *flat_words(self.sample)])

    @property
    def _single(self) -> bool:
        return self.average.ndim == 0

    def _said(self) -> str:
        return self.summary()

    def to_frame(self, level: float = 0.95) -> Any:
        """One row: estimand, estimate, std_error, lower, upper, level; in the sample's kind."""
        return like(self.sample.home, self._row(level))

    def _shown(self) -> pd.DataFrame:
        return self._row(0.95)

    def _row(self, level: float) -> pd.DataFrame:
        low, high = (float(v) for v in self.bounds(level))
        row = dict(estimand=self.estimand, estimate=float(self.average))
        row |= dict(std_error=float(self.std_error), lower=low, upper=high, level=level)
        return pd.DataFrame([row])


def apart_words(
    sample: Sample, estimand: Estimand, beyond: Float[Array, " 2"], slope: Float[Array, "k f"]
) -> list[str]:
    """A sentence when most of the averaged units have no like in the other arm.

    `beyond` and `slope` as in `Average`.
    """
    sides = dict(att=(1,), atc=(0,), ate=(1, 0))[estimand]
    shares = np.asarray(beyond)
    arm = max(sides, key=lambda a: float(shares[a]))
    share = float(shares[arm])
    if not share >= APART:
        return []
    mine, other = ("treated", "controls") if arm else ("controls", "treated")
    name = tells_apart(sample.schema, np.asarray(slope))
    return [
        f"{100 * share:.0f}% of the {mine} have a {'higher' if arm else 'lower'} chance of "
        f"treatment than nearly all {other}, and {name!r} tells them apart the most: for them the "
        "effect rests on the outcome model alone; leave out covariates that only decide the "
        "treatment, or average over units that have their like in both arms."
    ]
