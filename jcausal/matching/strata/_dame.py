"""DAME: sets of covariates are given up in the order of their predictive error."""

import heapq
from collections.abc import Callable, Iterator

import equinox as eqx
import numpy as np
from jaxtyping import Bool

from jcausal.data import whole
from jcausal.matching._matcher import Progress
from jcausal.matching.strata._almost_exact import AlmostExactMatcher, AlmostExactSearch
from jcausal.matching.strata._coarsening import Bins
from jcausal.matching.strata._flame import drop_one_by_one
from jcausal.surfaces import OutcomeModel, ResponseSurface, Ridge


class DAME(AlmostExactMatcher):
    """Dynamic Almost Matching Exactly: every query agrees in the best covariates that it can.

    Sets of covariates are given up in the order of PE (see `jc.FLAME`), each time from all the
    covariates: first none, then the set whose loss foretells least worse. A set is looked at once
    all its subsets were. A query's group are the units that agree with it in all covariates but
    those of the first set that gives it a partner. The set of all covariates is never given up. A
    unit that lacks a value is not matched while that covariate counts.

    There are up to 2^c sets of c covariates: beyond `most` the least useful covariates are given
    up first, one by one and for good, with matches after each.

    **Arguments:**

    - `most`: covariates with which the search through sets begins.
    - `bins`, `repeats`, `penalty`, `stop_controls`, `stop_treated`, `stop_error`, `stop_drops`
      (here sets), `outcome`: as in `jc.FLAME`.

    **Source:** Dieng, Liu, Roy, Rudin and Volfovsky, "Interpretable Almost-Exact Matching for
    Causal Inference" (AISTATS 2019); PE as in `jc.FLAME`, and one by one first, are ours.

    **Example:**

        >>> import jcausal as jc
        >>> sample = jc.datasets.lalonde("experiment")
        >>> effects = jc.estimate(sample, jc.DAME(), key=0)
        >>> effects.share_matched > .9
        True
    """

    bins: Bins = "quantile"
    most: int = eqx.field(converter=whole, static=True, default=12)
    repeats: bool = eqx.field(static=True, default=True)
    penalty: float | int = 0.1
    stop_controls: float | int = 0.0
    stop_treated: float | int = 0.0
    stop_error: float | int | None = None
    stop_drops: int | None = eqx.field(converter=whole, static=True, default=None)
    outcome: OutcomeModel | ResponseSurface | Callable = Ridge()

    def __check_init__(self) -> None:
        if self.most < 1:
            raise ValueError(f"most is {self.most}: it must be at least 1.")

    def search(self, state: AlmostExactSearch, progress: Progress | None) -> None:
        """Give up set after set of the covariates that are left."""
        kept = np.ones(state.cells.codes.shape[1], bool)
        kept = drop_one_by_one(state, kept, 0, self.most, progress)
        sets = _Sets(state, kept)
        while sets.active and not state.ends:
            if progress is not None:
                progress("giving up sets of covariates", len(sets.done), 2 ** int(kept.sum()))
            error, dropped = sets.best()
            if state.too_far(error):
                break
            state.drops += 1
            state.match(sets.without(dropped))


Dropped = tuple[int, ...]  # covariates in rising order


class _Sets:
    """Sets that may be given up next, by their error: those all of whose subsets were."""

    def __init__(self, state: AlmostExactSearch, kept: Bool[np.ndarray, " c"]) -> None:
        self.state, self.kept = state, kept
        self.covariates = np.flatnonzero(kept).tolist()
        self.active: list[tuple[float, int, Dropped]] = []
        self.done: set[Dropped] = set()
        self._add(())

    def best(self) -> tuple[float, Dropped]:
        """Take out the set of the least error (then of the fewest, first covariates)."""
        error, _, dropped = heapq.heappop(self.active)
        self.done.add(dropped)
        self._add(dropped)
        return error, dropped

    def without(self, dropped: Dropped) -> Bool[np.ndarray, " c"]:
        """The covariates that are left."""
        kept = self.kept.copy()
        kept[list(dropped)] = False
        return kept

    def _add(self, dropped: Dropped) -> None:
        """Put sets of one covariate more in line, all of whose subsets of one fewer are done.

        That of all covariates is left out.
        """
        if len(dropped) + 1 >= len(self.covariates):
            return
        error = None
        for c in self.covariates:
            larger = tuple(sorted((*dropped, c)))
            if c in dropped or not all(less in self.done for less in _one_fewer(larger)):
                continue
            error = self.state.errors.without_one(self.without(dropped)) if error is None else error
            heapq.heappush(self.active, (float(error[c]), len(larger), larger))


def _one_fewer(dropped: Dropped) -> Iterator[Dropped]:
    """The sets that lack one of several covariates; none of a single one."""
    if len(dropped) > 1:
        yield from (dropped[:k] + dropped[k + 1 :] for k in range(len(dropped)))
