"""Do foretold effects of units hold: calibration, best linear predictor, sorted groups."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy import stats

from jcausal.data import (
    FrameKind,
    Sample,
    Shown,
    check_count,
    check_names,
    check_share,
    like,
    to_device,
)
from jcausal.effects import Average, Effects
from jcausal.inference._cluster_robust import lifted, orthonormal, satterthwaite
from jcausal.inference._interval import About, Groups, Interval, normal_interval
from jcausal.surfaces import Encoding

CLIP = 0.01
FEWEST = 10  # units of a sorted group


class Coefficients(Shown):
    """Coefficients of a regression: estimate, error, bounds, p of a hypothesis; one row a name.

    `table` holds them, `hypothesis` says what the p-values test.
    """

    table: pd.DataFrame
    hypothesis: str
    home: FrameKind

    def __init__(self, table: pd.DataFrame, hypothesis: str, home: FrameKind) -> None:
        self.table, self.hypothesis, self.home = table, hypothesis, home

    def to_frame(self) -> Any:
        """One row a coefficient, in a frame of the sample's kind."""
        return like(self.home, self.table)

    @property
    def _single(self) -> bool:
        return True

    def _said(self) -> str:
        shown = self.table.to_string(index=False, float_format=lambda v: f"{v:.4g}")
        return f"{shown}\np: {self.hypothesis}"

    def _shown(self) -> pd.DataFrame:
        return self.table


class _Foretold(NamedTuple):
    """Units that count: scores, foretold effects, what models leave of outcome and treatment.

    `score` (m,), `ite` (m,), `outcome` (m,) y - m(x), `treatment` (m,) t - e(x), `weight` (m,),
    `cluster` (m,), `fold` (m,); `rows` (m,) of the sample.
    """

    score: Float[np.ndarray, " m"]
    ite: Float[np.ndarray, " m"]
    outcome: Float[np.ndarray, " m"]
    treatment: Float[np.ndarray, " m"]
    weight: Float[np.ndarray, " m"]
    cluster: Int[np.ndarray, " m"]
    fold: Int[np.ndarray, " m"]
    rows: Int[np.ndarray, " m"]
    sample: Sample


def calibration(found: Average | Effects) -> Coefficients:
    """Test whether the foretold effects of units are right on average, and in how they differ.

    With m, e, tau the outcome, chance of treatment and effect foretold from other folds, regress

        y - m = a mean(tau) (t - e) + b (tau - mean(tau)) (t - e)

    without intercept. a = 1: the mean is right; b = 1: so is how they differ. p tests a <= 0 and
    b <= 0; a small p of "differences" says that effects differ, as foretold.

    **Arguments:** `found`: what `jc.estimate` gives of a learner, or of AIPW or a matching with
    estimand "ate", whose surfaces foretell f1 - f0. All units count, by sampling weight.

    **Returns:** `Coefficients` "mean" and "differences", with the CR2 correction, by the sample's
    clusters where it has them.

    **Raises:** ValueError where no effect of units is foretold, or all are the same.

    **Source:** Chernozhukov, Demirer, Duflo and Fernandez-Val (2018), NBER working paper 24678;
    this form: Athey and Wager (2019), Observational Studies 5(2).

    **Example:**

        >>> import jcausal as jc
        >>> sample = jc.datasets.lalonde("experiment")
        >>> found = jc.estimate(sample, jc.TLearner(outcome=jc.Ridge()), estimand="ate", key=0)
        >>> jc.calibration(found).to_frame()["name"].tolist()
        ['mean', 'differences']
    """
    units = _units_of(found, "calibration")
    mean = np.average(units.ite, weights=units.weight)
    columns = np.stack([mean + 0 * units.ite, units.ite - mean], axis=1)
    table = _regressed(units, columns * units.treatment[:, None], units.outcome, 0.95)
    table["p_value"] = stats.t.sf(table["estimate"] / table["std_error"], table["df"])
    table.insert(0, "name", ["mean", "differences"])
    return Coefficients(table, "the coefficient is 0 or less", units.sample.home)


def best_linear_predictor(
    found: Average | Effects, *, on: Sequence[str] | None = None, level: float = 0.95
) -> Coefficients:
    """The best linear predictor of units' effects, by their foretold effect or by covariates.

    The doubly robust scores f1 - f0 + (t - e) / (e (1 - e)) (y - f_t), whose mean is the average
    effect, are regressed on an intercept and centred columns: the foretold effect, whose slope is 0
    where nothing of how effects differ was found and 1 where it is right; or covariates.

    **Arguments:** `found` as in `jc.calibration`; `on`: names of covariates, None for the foretold
    effect; `level` of the bounds.

    **Returns:** `Coefficients`; the intercept is the average effect. p tests a coefficient of 0.

    **Raises:** as `jc.calibration`; ValueError for unknown names.

    **Source:** Chernozhukov, Demirer, Duflo and Fernandez-Val (2018), NBER working paper 24678;
    Semenova and Chernozhukov (2021), Econometrics Journal 24(2).

    **Example:**

        >>> import jcausal as jc
        >>> sample = jc.datasets.lalonde("experiment")
        >>> found = jc.estimate(sample, jc.TLearner(outcome=jc.Ridge()), estimand="ate", key=0)
        >>> jc.best_linear_predictor(found, on=["age"]).to_frame()["name"].tolist()
        ['average', 'age']
    """
    units, level = _units_of(found, "best_linear_predictor"), check_share("level", level)
    names, columns = ["foretold effect"], units.ite[:, None]
    if on is not None:
        names, columns = _covariates(units, on)
    centred = columns - np.average(columns, axis=0, weights=units.weight)
    design = np.concatenate([np.ones((len(centred), 1)), centred], axis=1)
    table = _regressed(units, design, units.score, level)
    table["p_value"] = 2 * stats.t.sf(np.abs(table["estimate"] / table["std_error"]), table["df"])
    table.insert(0, "name", ["average", *names])
    return Coefficients(table, "the coefficient is 0", units.sample.home)


def sorted_groups(found: Average | Effects, *, groups: int = 5, level: float = 0.95) -> Interval:
    """Average effects of units sorted by their foretold effect, from the lowest to the highest.

    Units are ranked within their fold, whose models have not seen their outcomes, and cut into
    groups of equal weight; a group's effect is the mean of its doubly robust scores. Groups share
    no outcomes, so that `jc.heterogeneity` of the table tests whether all effects are the same.

    **Arguments:** `found` as in `jc.calibration`; `groups` how many; `level`.

    **Returns:** an `Interval` of `groups` averages.

    **Raises:** as `jc.calibration`; ValueError for groups of fewer than ten units.

    **Source:** Chernozhukov, Demirer, Duflo and Fernandez-Val (2018), NBER working paper 24678.

    **Example:**

        >>> import jcausal as jc
        >>> sample = jc.datasets.lalonde("experiment")
        >>> found = jc.estimate(sample, jc.TLearner(outcome=jc.Ridge()), estimand="ate", key=0)
        >>> jc.heterogeneity(jc.sorted_groups(found)).df
        4
    """
    units, level = _units_of(found, "sorted_groups"), check_share("level", level)
    groups = check_count("groups", groups, least=2)
    if units.rows.size < FEWEST * groups:
        raise ValueError(
            f"{groups} groups of {units.rows.size} units hold fewer than {FEWEST} each: use fewer."
        )
    place = _ranked(units, groups)
    counts = np.bincount(place, minlength=groups)
    design = (place[:, None] == np.arange(groups)).astype(float)
    table = _regressed(units, design, units.score, level)
    dtype = units.sample.x.dtype
    estimate, variance, df = (
        to_device(np.asarray(v, dtype))
        for v in (table["estimate"], table["std_error"] ** 2, table["df"])
    )
    ends = {0: " (lowest)", groups - 1: " (highest)"}
    labels = tuple(f"{g + 1}{ends.get(g, '')}" for g in range(groups))
    count = to_device(counts.astype(np.int32))
    none = to_device(np.zeros(groups, bool))
    words = "doubly robust scores, sorted by foretold effect"
    about = About(level, "population average", words, "", df)
    return normal_interval(estimate, variance, none, about, Groups(count, count, labels))


def _units_of(found: Average | Effects, name: str) -> _Foretold:
    """Scores and foretold effects of the units that count.

    **Raises:** ValueError.
    """
    average = found.second_opinion() if isinstance(found, Effects) else found
    if not isinstance(average, Average) or average.predicted is None:
        raise ValueError(
            f"{name} needs effects and outcomes of units that are foretold from other folds: pass "
            "what jc.estimate gives of a learner, such as jc.DRLearner(), or of jc.AIPW() or a "
            "method with an outcome model, with estimand='ate'."
        )
    sample = average.sample
    weight, fold = np.asarray(sample.weight, float), np.asarray(average.fold)
    rows = np.flatnonzero((fold >= 0) & (weight > 0))
    told = np.asarray(average.predicted, float)[rows]
    ite = told[:, 1] - told[:, 0] if average.ite is None else np.asarray(average.ite, float)[rows]
    if not (np.isfinite(told).all() and np.isfinite(ite).all()):
        raise ValueError(
            f"only one arm's outcomes are foretold, and {name} needs both: pass estimand='ate' to "
            "jc.estimate."
        )
    if np.ptp(ite) <= 1e-7 * max(np.abs(ite).max(), 1e-30):
        raise ValueError(
            f"the same effect is foretold of every unit, {ite[0]:.4g}: {name} asks how they "
            "differ; use a model of effects that can."
        )
    y, t = np.asarray(sample.y, float)[rows], np.asarray(sample.t)[rows]
    e = np.clip(np.asarray(average.propensity, float)[rows], CLIP, 1 - CLIP)
    gap = (y - np.where(t, told[:, 1], told[:, 0])) * np.where(t, 1 / e, -1 / (1 - e))
    cluster = rows if sample.cluster is None else np.asarray(sample.cluster)[rows]
    return _Foretold(
        score=told[:, 1] - told[:, 0] + gap,
        ite=ite,
        outcome=y - e * told[:, 1] - (1 - e) * told[:, 0],
        treatment=t - e,
        weight=weight[rows],
        cluster=cluster,
        fold=fold[rows],
        rows=rows,
        sample=sample,
    )


def _covariates(units: _Foretold, on: Sequence[str]) -> tuple[list[str], Float[np.ndarray, "m c"]]:
    """The columns of some covariates; of a category all levels but the first."""
    schema = units.sample.schema
    wanted = check_names("on", on)
    unknown = [str(name) for name in wanted if name not in schema.names]
    if unknown or not wanted:
        what = f"has no covariate {', '.join(unknown)}" if unknown else "was asked for none"
        raise ValueError(f"the sample {what}: use some of {', '.join(schema.names)}.")
    encoding = Encoding(schema)
    features = np.asarray(encoding(units.sample.x), float)[units.rows]
    kept, names = [], []
    for k, (j, level) in enumerate(zip(encoding.column, encoding.level)):
        if schema.names[j] in wanted and level != 0:
            kept.append(k)
            label = "" if level < 0 else f" = {schema.levels[j][level]}"
            names.append(f"{schema.names[j]}{label}")
    return names, features[:, kept]


def _ranked(units: _Foretold, groups: int) -> Int[np.ndarray, " m"]:
    """The group of each unit: by its share of the weight of its fold that is foretold less."""
    place = np.zeros(units.rows.size, int)
    words = np.asarray(units.sample.row)[units.rows]
    for k in np.unique(units.fold):
        mine = np.flatnonzero(units.fold == k)
        order = mine[np.lexsort((words[mine, 1], words[mine, 0], units.ite[mine]))]
        weight = units.weight[order]
        middle = (np.cumsum(weight) - weight / 2) / weight.sum()
        place[order] = np.minimum((middle * groups).astype(int), groups - 1)
    return place


def _regressed(
    units: _Foretold,
    columns: Float[np.ndarray, "m c"],
    y: Float[np.ndarray, " m"],
    level: float,
) -> pd.DataFrame:
    """Weighted least squares: estimates, CR2 errors, degrees of freedom and bounds.

    **Raises:** ValueError for columns that are made of each other, and for one cluster.
    """
    design = orthonormal(columns, units.weight, units.cluster)
    if design.clusters < 2:
        raise ValueError("all units are of one cluster: an error needs two and more.")
    if design.x.shape[1] < columns.shape[1]:
        raise ValueError(
            "some of the columns are made of the others, or do not vary: leave covariates out."
        )
    slope = design.coefficients(y)
    score = design.weight * lifted(design, y - design.x @ slope, "CR2")
    moves = design.by_cluster(design.x * score[:, None]) @ design.turn.T
    error = np.sqrt((moves**2).sum(0))
    df = np.array([satterthwaite(design, row) for row in design.turn])
    estimate, quantile = design.turn @ slope, stats.t.ppf(0.5 + level / 2, df)
    return pd.DataFrame(
        dict(
            estimate=estimate,
            std_error=error,
            df=df,
            lower=estimate - quantile * error,
            upper=estimate + quantile * error,
        )
    )
