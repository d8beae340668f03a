"""MALTS: the nearest units by a metric that was learnt from other units' outcomes."""

from collections.abc import Sequence

import equinox as eqx
import numpy as np
from jaxtyping import Float

from jcausal.data import DataError, Sample, check_kind, is_traced, number_in_words, whole
from jcausal.matching._matcher import EffectKind, Matcher, Progress, Task
from jcausal.matching._matching import Estimand
from jcausal.matching._prognosis import foretell
from jcausal.matching.learned._stretch import Stretch, StretchSurface
from jcausal.matching.neighbors import Pairs
from jcausal.matching.neighbors._limits import Limits, search_space
from jcausal.matching.neighbors._neighbor_pairs import neighbor_pairs
from jcausal.matching.neighbors._pairs_at_points import pairs_at_points
from jcausal.matching.neighbors._with_replacement import NearestRule
from jcausal.surfaces import Arms, ResponseSurface
from jcausal_kernels import MISSING

NAMED = 5  # covariates that are told
CAUTION = "not honest: the metric was learnt from the outcomes that are averaged"


class MALTS(Matcher):
    """Match each query to the k units of the other arm that are nearest by a learnt metric.

    The metric of a fold is learnt on the other folds (`jc.Stretch`): covariates count as much as
    they help to foretell outcomes. Of units as near those with the lower covariates come first,
    column by column, then those of the lower id. Effects are adjusted by the fold's surface, kernel
    averages in the same metric, unless `adjust` says otherwise: with `jc.estimate(adjust=None)`
    they are the plain means of the groups. `jc.estimate(adjust=jc.Ridge())` takes out what a linear
    model foretells, which is what local regressions are for.

    Cost: of the search as in `jc.NearestNeighbors`.

    **Arguments:**

    - `stretch`: the `jc.Stretch` that is learnt.
    - `k`: partners of a query.
    - `max_bytes`: memory for lists of candidates.

    **Returns** (by `jc.match` and in `effects.matching`): `Pairs`; their summary tells the largest
    stretches.

    **Raises:** ValueError for bad options, points outside the sample, and a surface that is no
    stretch.

    **Source:** Parikh, Rudin and Volfovsky (2022), Journal of Machine Learning Research 23(240).

    **Example:**

        >>> import jcausal as jc
        >>> sample = jc.datasets.lalonde("experiment")
        >>> effects = jc.estimate(sample, jc.MALTS(stretch=jc.Stretch(steps=20), k=5), key=0)
        >>> effects.matching.rows.shape
        (185, 5)
    """

    stretch: Stretch = Stretch()
    k: int = eqx.field(converter=whole, static=True, default=10)
    max_bytes: int = eqx.field(converter=whole, static=True, default=2**30)

    def __check_init__(self) -> None:
        check_kind(self.stretch, Stretch, "MALTS(stretch=)", "such as jc.Stretch(steps=300)")
        if self.k < 1:
            raise ValueError(f"k is {self.k}: it must be at least 1.")
        if self.max_bytes < 1:
            raise ValueError(f"max_bytes is {self.max_bytes}: it must be at least 1.")

    @property
    def outcome(self) -> Stretch:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The stretch, as a model of the outcome."""
        return self.stretch

    def arms(self, estimand: Estimand = "att", effect: EffectKind = "own") -> Arms:
        """The metric is learnt from both."""
        return "both"

    @property
    def traceable(self) -> bool:
        """Never: the search is on the host."""
        return False

    @property
    def cross_fits(self) -> bool:
        """Always: outcomes that are averaged shape no metric."""
        return True

    def run(
        self, task: Task, surfaces: Sequence[ResponseSurface], progress: Progress | None
    ) -> Pairs:
        """The nearest units of every query in its fold, by the fold's metric."""
        _check_task(task)
        if task.at is not None:
            return pairs_at_points(task, lambda rows: self.run(rows, surfaces, progress))
        learnt = _stretches(surfaces, task.sample)
        if progress is not None:
            progress("nearest units", 0, 1)
        sample = task.sample
        limits = Limits(np.inf, np.zeros((sample.n, 0)), np.zeros(0))
        space = search_space(task, _points(task, learnt), limits, None, None)
        rule = NearestRule(self.k, True, "first", "data", self.max_bytes)
        prognosis = foretell(sample.plain(), task.fold, task.query, learnt, adjusts=task.honest)
        told = _told(learnt, sample) if task.honest else f"{CAUTION}; {_told(learnt, sample)}"
        return neighbor_pairs((space, space), task, rule, caution=told, prognosis=prognosis)


def _check_task(task: Task) -> None:
    """Refuse tracing."""
    if is_traced(task):
        raise ValueError(
            "MALTS runs on the host and cannot be used under jit, vmap or grad: match outside, or "
            "use jc.AHB."
        )


def _stretches(surfaces: Sequence[ResponseSurface], sample: Sample) -> list[StretchSurface]:
    """The surfaces, which must be stretches.

    **Raises:** ValueError.
    """
    learnt = []
    for surface in surfaces:
        if not isinstance(surface, StretchSurface):
            raise ValueError(
                f"MALTS needs a stretch, not {type(surface).__name__}: use "
                "surface=jc.fit(train, jc.Stretch(), key=0)."
            )
        if surface.encoding.feature.shape[0] != sample.p:
            raise DataError("the stretch was learnt on other covariates than the sample has.")
        learnt.append(surface)
    return learnt


def _points(task: Task, learnt: Sequence[StretchSurface]) -> Float[np.ndarray, "n f"]:
    """Each row as a point of its fold's metric."""
    fold = np.asarray(task.fold)
    points = np.zeros((task.sample.n, max(len(one.scale) for one in learnt)))
    for k, one in enumerate(learnt):
        here = fold == k
        points[here, : len(one.scale)] = one.embedded(task.sample.x)[here]
    return points


def _told(learnt: Sequence[StretchSurface], sample: Sample) -> str:
    """The largest stretches, averaged over the folds, and what stands at a mean."""
    mean = np.mean([one.by_covariate(sample.p) for one in learnt], axis=0)
    largest = np.argsort(-mean, kind="stable")[:NAMED]
    named = [f"{sample.schema.names[j]} {number_in_words(float(mean[j]))}" for j in largest]
    few = "the largest of " if sample.p > NAMED else ""
    told = f"stretch a standard deviation or between levels, {few}{sample.p}: {', '.join(named)}"
    filled = int(((np.asarray(sample.codes) == MISSING) & np.asarray(sample.valid)[:, None]).sum())
    return f"{told}; {filled:,} missing values stand at the mean, flagged" if filled else told
