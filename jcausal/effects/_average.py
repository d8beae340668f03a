"""An average effect with its error, in words."""

from typing import Any, Literal

import equinox as eqx
import numpy as np
import pandas as pd
from jaxtyping import Array, Float, Int

from jcausal.data import (
    Sample,
    Shown,
    check_share,
    is_traced,
    like,
    new_points,
    normal_quantile,
    number_in_words,
    on_host,
    to_device,
)
from jcausal.effects._learned import Learned, mean_of, mean_told, unit_bounds
from jcausal.effects._posterior import EffectPosterior, in_arviz
from jcausal.effects._support import flat_words
from jcausal.matching import Estimand
from jcausal.surfaces import tells_apart

Population = Estimand | Literal["ato"]  # "ato": the overlap population of `jc.OverlapWeights`
MODELLED = "the outcome model alone"
WEIGHTED = "few units of the other arm that stand for many"
EITHER = "a model of the outcome, or on few units of the other arm that stand for many"
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
    (n,) the chance of treatment as fitted, `fold` (n,), -1 for rows that count nothing. `slope`
    (k, f) are the standardised slopes of the regressions for the chance (of a classifier
    correlations with it). By arm, controls first:
    `counts` (2,) of units, `effective` (2,) units by the weights that the average gives them,
    (sum)^2 / sum of squares, and `beyond` (2,), the share of units that the other arm hardly
    reaches in the chance of treatment.

    None where a method has none: `predicted` (n, 2) outcomes without and with the treatment;
    `unit_weight` (n,) what each unit counts in the mean of its arm; `clipped`, how many units'
    chance was held at `clip`. `ite` (n,): the effect at each unit's covariates by models that have
    not seen the outcomes of its fold, 0 for rows that count nothing; `ite_error` (n,): its standard
    error; `learned`: these models, one a fold, which `predict` asks. `whose`: to whom trimming
    restricts the average, in words; `aside`: what else the summary says.
    """

    average: Float[Array, ""]
    std_error: Float[Array, ""]
    influence: Float[Array, " n"] | None
    propensity: Float[Array, " n"]
    fold: Int[Array, " n"]
    slope: Float[Array, "k f"]
    counts: Int[Array, " 2"]
    effective: Float[Array, " 2"] | None
    beyond: Float[Array, " 2"]
    sample: Sample
    estimand: Population = eqx.field(static=True)
    method: str = eqx.field(static=True)
    predicted: Float[Array, "n 2"] | None = None
    unit_weight: Float[Array, " n"] | None = None
    clipped: Int[Array, ""] | None = None
    ite: Float[Array, " n"] | None = None
    ite_error: Float[Array, " n"] | None = None
    learned: tuple[Learned, ...] | None = None
    posterior: EffectPosterior | None = None
    whose: str = eqx.field(static=True, default="")
    aside: tuple[str, ...] = eqx.field(static=True, default=())

    def bounds(self, level: float = 0.95) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """The normal interval, average -+ quantile * std_error; of a posterior, its quantiles.

        ValueError for a wrong level.
        """
        level = check_share("level", level)
        if self.posterior is not None:
            return self.posterior.bounds(level)
        return _bounds(self.average, self.std_error, normal_quantile(level))

    def line(self, level: float = 0.95) -> str:
        """The average with its interval, in one line."""
        low, high = (number_in_words(float(v)) for v in self.bounds(level))
        value = number_in_words(float(self.average))
        kind = "interval" if self.posterior is None else "posterior interval"
        return f"{value} ({100 * level:g}% {kind} {low} to {high}; {self.method})"

    def notes(self) -> list[str]:
        """What a reader must know: chances that were held, and arms that do not overlap."""
        lines = []
        if self.clipped is not None and int(self.clipped):
            lines.append(
                f"{int(self.clipped):,} units stand for so many others that the chance of their "
                "arm was held at the bound (clip)"
            )
        model_free = self.unit_weight is not None and self.ite is None
        rests = WEIGHTED if model_free else MODELLED
        apart = apart_words(self.sample, self.estimand, self.beyond, self.slope, rests)
        drawn = [] if self.posterior is None else self.posterior.words()
        return [*drawn, *lines, *self.aside, *apart]

    def predict(self, x: Float[Array, "m p"] | Any) -> Float[Array, " m"]:
        """The effect at new points: the mean of the folds' models, or of the posterior's draws.

        **Arguments:** `x`: points (m, p) as `sample.x`, or a frame with the sample's covariates,
        levels by their labels. Under jit and vmap an array.

        **Raises:** ValueError for a method that learns no effects of units; `DataError` for points
        of other columns or levels, and for missing numbers.
        """
        if self.posterior is not None:
            found = self.posterior.mean_at(self._points(x))
            return to_device(found.astype(self.sample.x.dtype))
        learned = self._learners()
        if not is_traced(x, learned):
            x = to_device(new_points(self.sample, x).astype(self.sample.x.dtype))
        return mean_of(*(one.at(x).effect for one in learned))

    def predict_frame(self, x: Float[Array, "m p"] | Any, level: float = 0.95) -> Any:
        """What `predict` says of new points, with all that is known of it: one row a point.

        Columns effect and its interval (lower, upper: of a causal forest, with the mean of the
        folds' standard errors; of a posterior, its quantiles); of learners also y0, y1, the means
        of the folds' models. Not under jit.

        **Returns:** a frame of the sample's kind.

        **Raises:** as `predict`, and ValueError for a wrong level.
        """
        points, level = self._points(x), check_share("level", level)
        if self.posterior is not None:
            low, high = self.posterior.bounds_at(points, level)
            columns = dict(effect=self.posterior.mean_at(points), lower=low, upper=high)
            return like(self.sample.home, pd.DataFrame(columns))
        found = mean_told(self._learners(), points)
        columns = dict(effect=np.asarray(found.effect))
        if found.error is not None:
            columns |= unit_bounds(columns["effect"], np.asarray(found.error), level)
        y0, y1 = np.asarray(found.outcomes).T
        return like(self.sample.home, pd.DataFrame(columns | dict(y0=y0, y1=y1)))

    def _learners(self) -> tuple[Learned, ...]:
        if self.learned is None:
            raise ValueError(
                f"{self.method} gives an average and no effect of a unit: use a learner, such as "
                "jc.DRLearner()."
            )
        return self.learned

    def _points(self, x: Any) -> Float[Array, "m p"]:
        if is_traced(x):
            raise ValueError(f"{self.method} runs on the host: predict outside of jit and vmap.")
        return to_device(new_points(self.sample, x).astype(self.sample.x.dtype))

    def to_arviz(self) -> Any:
        """The posterior draws for the tools of arviz: `average`, `sigma` and `effect` of units.

        `sigma` is the standard deviation of the outcome around its mean, of controls and of treated
        where they have models apart; `effect` has the ids of the units that count, and is left out
        where it was not kept (`max_bytes`).

        **Returns:** what `arviz.from_dict` gives: InferenceData, from arviz 1 on a DataTree.

        **Raises:** ValueError for a method without a posterior; ImportError without arviz.
        """
        if self.posterior is None:
            raise ValueError(
                f"{self.method} has no posterior and so no draws: use jc.BARTEffect() or jc.BCF()."
            )
        return in_arviz(self.posterior, self.sample.id, np.asarray(self.fold) >= 0)

    def units_frame(self, level: float = 0.95) -> Any:
        """One row a unit that counts: id, fold, treated, propensity.

        A frame of the sample's kind. Where the method has them also y0, y1 (outcomes foretold
        without and with the treatment), ite, its interval (lower, upper), weight (what the unit
        counts in the mean of its arm) and influence.

        **Arguments:** `level` of those intervals.

        **Returns:** a frame. ValueError for a wrong level.
        """
        return like(self.sample.home, self._units(check_share("level", level)))

    def _unit_bounds(self, level: float) -> dict[str, np.ndarray]:
        """Lower and upper end of each unit's effect, where its error or draws are known."""
        if self.posterior is not None:
            low, high = self.posterior.unit_bounds(self.sample, level)
            return dict(lower=low, upper=high)
        if self.ite is None or self.ite_error is None:
            return {}
        return unit_bounds(np.asarray(self.ite), np.asarray(self.ite_error), level)

    def _units(self, level: float) -> pd.DataFrame:
        columns = dict(
            id=self.sample.id,
            fold=self.fold,
            treated=np.asarray(self.sample.t).astype(int),
            propensity=self.propensity,
        )
        if self.predicted is not None:
            y0, y1 = np.asarray(self.predicted).T
            columns |= dict(y0=y0, y1=y1)
        more = dict(ite=self.ite, **self._unit_bounds(level))
        more |= dict(weight=self.unit_weight, influence=self.influence)
        columns |= {name: values for name, values in more.items() if values is not None}
        frame = pd.DataFrame({name: np.asarray(values) for name, values in columns.items()})
        return frame.loc[np.asarray(self.fold) >= 0].reset_index(drop=True)

    def _spread(self) -> list[str]:
        """How the effects of the units differ, in words."""
        if self.ite is None:
            return []
        counts = (np.asarray(self.fold) >= 0) & (np.asarray(self.sample.weight) > 0)
        low, middle, high = np.quantile(np.asarray(self.ite)[counts], (0.1, 0.5, 0.9)).tolist()
        words = [number_in_words(value) for value in (middle, low, high)]
        return ["effects at the units: median {}, eight of ten from {} to {}".format(*words)]

    def summary(self, level: float = 0.95) -> str:
        """The average, its interval, the units behind it and what to beware of, in words."""
        units = [
            f"{int(c):,} {word}"
            for c, word in zip(np.asarray(self.counts), ("controls", "treated"))
        ]
        behind = " and ".join(units)
        if self.effective is not None:
            count = [number_in_words(round(float(e), 1)) for e in np.asarray(self.effective)]
            behind += f", weighted: as good as {' and '.join(count)}"
        whose = f" of units {self.whose}" if self.whose else ""
        first = f"{self.estimand.upper()}{whose}: {self.line(level)}"
        said = [first, *self._spread(), behind, *self.notes(), *flat_words(self.sample)]
        return "\n".join(said)

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
    sample: Sample,
    estimand: Population,
    beyond: Float[Array, " 2"],
    slope: Float[Array, "k f"],
    rests: str,
) -> list[str]:
    """A sentence when most of the averaged units have no like in the other arm.

    `beyond` and `slope` as in `Average`; `rests`: on what the effect for them rests.
    """
    sides = dict(att=(1,), atc=(0,), ate=(1, 0), ato=())[estimand]
    if not sides:
        return []
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
        f"effect rests on {rests}; leave out covariates that only decide the "
        "treatment, or average over units that have their like in both arms."
    ]
