"""The trials of the paper on allocations, and the ways in which it divides their units."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

import jcausal as jc
from jcausal.allocation import GroupingMethod

DATA = Path(__file__).parents[2] / "shared" / "data"
TREES = 100
QUICK_TREES = 10


class Trial(NamedTuple):
    """How a trial is read, its file, and what the paper calls it (another where it stands in)."""

    read: Callable[..., jc.Sample]
    file: str
    paper: str


class Division(NamedTuple):
    """One way to divide a trial: the paper's M and the top of its axis of failure rates in %."""

    name: str
    make: Callable[[jc.Sample, int], GroupingMethod]
    groups: int | None = None
    axis: float | None = None


TRIALS = {
    "STAR": Trial(jc.datasets.star, "star_k3.csv.gz", "STAR"),
    "Pakistan graduation": Trial(jc.datasets.graduation, "graduation_pakistan.csv.gz", "TUP"),
    "TUP, its public part": Trial(jc.datasets.tup, "tup_india_figures.csv", "TUP"),
    "NSW": Trial(jc.datasets.nsw, "lalonde_nsw_full.csv", "NSW"),
    "acupuncture": Trial(jc.datasets.acupuncture, "acupuncture_headache.csv", "acupuncture"),
    "licorice gargle": Trial(jc.datasets.licorice, "licorice_gargle.csv", "postoperative"),
}


def _forest(groups: int) -> Callable[[jc.Sample, int], GroupingMethod]:
    """The paper's T-learner of forests, fitted to all rows, and k-means."""

    def make(sample: jc.Sample, trees: int) -> GroupingMethod:
        from sklearn.ensemble import RandomForestRegressor

        forest = RandomForestRegressor(n_estimators=trees, max_leaf_nodes=32, random_state=0)
        return jc.allocation.EffectKMeans(jc.Trees(forest), groups, folds=1)

    return make


def _fixed(method: GroupingMethod) -> Callable[[jc.Sample, int], GroupingMethod]:
    return lambda sample, trees: method


def _by_outcome(sample: jc.Sample, trees: int) -> GroupingMethod:
    """Strata of the outcome itself, as the paper's "performance" of STAR."""
    return jc.allocation.Quantiles(np.asarray(sample.y, np.float64), 50)


def _clusters(groups: int, *covariates: str) -> Callable[[jc.Sample, int], GroupingMethod]:
    return _fixed(jc.allocation.KMeans(groups, covariates=covariates or None))


DIVISIONS = {
    "STAR": (
        Division("school", _fixed(jc.allocation.ByColumn("school")), 78, 1.5),
        Division("performance", _by_outcome, 50, 2),
        Division("forest, 30", _forest(30), 30, 4),
        Division("forest, 50", _forest(50), 47, 4),
        Division("propensity", _fixed(jc.allocation.PropensityStrata(50)), 50, 2),
    ),
    "Pakistan graduation": (
        Division("poverty, 30", _clusters(30, "consumption"), 30, 4),
        Division("poverty, 50", _clusters(50, "consumption"), 50, 4),
        Division("assets, 30", _clusters(30, "assets"), 23, 4),
        Division("assets, 50", _clusters(50, "assets"), 32, 4),
        Division("forest, 30", _forest(30), 30, 4),
        Division("propensity", _fixed(jc.allocation.PropensityStrata(30)), 29, 4),
    ),
    "TUP, its public part": (
        Division(
            "consumption after 18 months, 30", _clusters(30, "consumption after 18 months"), 30, 4
        ),
        Division(
            "consumption after 18 months, 50", _clusters(50, "consumption after 18 months"), 50, 4
        ),
    ),
    "NSW": (
        Division("earnings", _fixed(jc.allocation.Quantiles("income 1975", 50)), 30, 2),
        Division("age", _fixed(jc.allocation.ByColumn("age")), 18, 10),
        Division("forest, 30", _forest(30), 22, 6),
        Division("propensity", _fixed(jc.allocation.PropensityStrata(50)), 43, 2),
    ),
    "acupuncture": (
        Division("age", _fixed(jc.allocation.ByColumn("age")), 24, 6),
        Division("age and chronicity", _clusters(30, "age", "chronicity"), 26, 4),
        Division("headache", _fixed(jc.allocation.Quantiles("headache", 30)), 25, 7.5),
        Division("chronicity", _fixed(jc.allocation.ByColumn("chronicity")), 19, 6),
        Division("covariates", _clusters(20), 15, 6),
        Division("composite", _clusters(30, "age", "chronicity", "headache"), 29),
    ),
    "licorice gargle": (
        Division("BMI", _fixed(jc.allocation.Quantiles("BMI", 30)), 19, 3),
        Division("age", _fixed(jc.allocation.Quantiles("age", 20)), 14, 3),
        Division(
            "demographics", _fixed(jc.allocation.ByColumn(["gender", "ASA", "smoking"])), 13, 6
        ),
        Division("covariates", _clusters(20), 17, 3),
    ),
}
# in the paper's main text
MAIN = {
    "STAR": "school",
    "Pakistan graduation": "poverty, 50",
    "NSW": "earnings",
    "acupuncture": "age",
    "licorice gargle": "BMI",
}


class Divided(NamedTuple):
    """The rescaled effects of the groups of one trial and division, and how noisy they are."""

    trial: str
    division: Division
    tau: np.ndarray
    dropped: int
    reliability: float


def divided(trial: str, division: Division, trees: int) -> Divided:
    """Divide, filter as the paper does, and rescale the differences of means.

    **Raises:** FileNotFoundError without the trial's file.
    """
    sample = read(trial)
    found = jc.allocation.group(sample, division.make(sample, trees), key=0).filtered()
    tau = np.asarray(jc.allocation.unit_scale(found.effects).tau)
    return Divided(trial, division, tau, len(found.left_out), _reliability(found))


def read(trial: str) -> jc.Sample:
    """A trial from the shared data sets."""
    file = DATA / TRIALS[trial].file
    if not file.exists():
        raise FileNotFoundError(f"{file.name} is not in ../shared/data, where the bench reads it.")
    return TRIALS[trial].read(file)


def _reliability(found: jc.allocation.Grouping) -> float:
    """The share of the variance of the groups' estimates that is no sampling error, at least 0."""
    code, t, y = found.code, np.asarray(found.sample.t), np.asarray(found.sample.y, np.float64)
    noise = np.zeros(found.groups)
    for arm in (False, True):
        for g in range(found.groups):
            rows = y[(code == g) & (t == arm)]
            noise[g] += rows.var(ddof=1) / rows.size
    spread = float(np.var(found.effects, ddof=1))
    return max(0.0, 1 - float(noise.mean()) / spread) if spread > 0 else 0.0


def chosen(quick: bool) -> Iterator[tuple[str, Division]]:
    """All trials and divisions, or the two quickest."""
    for trial, divisions in DIVISIONS.items():
        for division in divisions:
            if not quick or (trial, division.name) in (("STAR", "school"), ("NSW", "age")):
                yield trial, division
