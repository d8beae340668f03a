"""BOSS: the subset of controls whose marginals are nearest to those of the treated."""

from collections.abc import Sequence

import equinox as eqx
import numpy as np
from jaxtyping import Int

from jcausal.data import (
    DataError,
    bucket,
    number_in_words,
    pad_rows,
    row_draws,
    step_key,
    to_device,
    whole,
)
from jcausal.matching._matcher import DesignMatcher, Progress, Task
from jcausal.matching._results import RESULTS, code
from jcausal.matching.learned._annealing import (
    SwapChains,
    SwapProblem,
    anneal,
    cost_of,
    start_chains,
)
from jcausal.matching.learned._marginal_bins import MarginalBins, marginal_bins
from jcausal.matching.strata import Strata
from jcausal.matching.strata._strata import strata_of
from jcausal.surfaces import ResponseSurface

ROUNDS = 20  # between two reports; a round is a compiled program


class BalancedSubset(eqx.Module):
    """Says what the one stratum holds."""

    words: str = eqx.field(static=True)

    def rule(self, stratum: int) -> str:
        """The same for each."""
        return self.words


class BOSS(DesignMatcher):
    """Compare all treated with the one subset of controls that balances the covariates best.

    Of all subsets with as many controls as there are treated that are asked for, one is looked for
    with the least

        sum_b (controls in bin b - treated in bin b)^2 / max(treated in bin b, 1)

    over the bins of every covariate, and with `pairs` of every two covariates. A number of more
    than `bins` values is cut at the treated's quantiles; one of fewer, and a category, has a bin
    for each value; missing is a bin of its own. Subsets are found by simulated annealing: `chains`
    of them begin at random and swap one control for another, `steps` times, at a temperature that
    falls; the best at the end wins. Draws follow the units' ids, not the order of the rows.

    Counts are of units; means of outcomes are weighted by sampling weights. Units of weight 0
    are left out. The groups' common mean is an average effect: there are no effects of single
    units beyond it.

    Cost: `chains` x `steps` swaps of as many operations as there are marginals, whatever the number
    of units (with 100,000 controls and more, more steps find better subsets); memory 4 bytes for
    each chain and control.

    **Arguments:** `bins`, `pairs`, `chains`, `steps` as above; `max_bytes`: what the chains may
    take.

    **Returns** (by `jc.match` and in `effects.matching`): `Strata` with one stratum; their summary
    tells what imbalance is left.

    **Raises:** ValueError for bad options, another estimand, no key, points, and what would not
    fit; `DataError` for fewer controls than treated.

    **Source:** Nikolaev, Jacobson, Cho, Sauppe and Sewell (2013), Operations Research 61(2).

    **Example:**

        >>> import jcausal as jc
        >>> sample = jc.datasets.lalonde("experiment")
        >>> matching = jc.match(sample, jc.BOSS(steps=2000), key=0)
        >>> matching.sizes[0].tolist()
        [185, 185]
    """

    bins: int = eqx.field(converter=whole, static=True, default=10)
    pairs: bool = eqx.field(static=True, default=False)
    chains: int = eqx.field(converter=whole, static=True, default=32)
    steps: int = eqx.field(converter=whole, static=True, default=100_000)
    max_bytes: int = eqx.field(converter=whole, static=True, default=2**28)

    def __check_init__(self) -> None:
        for name, least in dict(bins=2, chains=1, steps=1, max_bytes=1).items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be at least {least}.")

    @property
    def traceable(self) -> bool:
        """Never: rounds are driven by the host."""
        return False

    def run(
        self, task: Task, surfaces: Sequence[ResponseSurface], progress: Progress | None
    ) -> Strata:
        """Find the subset."""
        self.check_rows(task)
        if task.key is None:
            raise ValueError("BOSS draws at random: give key= a JAX key or an int.")
        treated, controls = self._units(task)
        bins = marginal_bins(task.sample, treated, self.bins, self.pairs)
        wanted = _counts(bins, treated)
        self._check_memory(controls.size, bins)
        found = _BestSubset(wanted, controls[: treated.size], bins)
        if controls.size > treated.size and bins.cells:
            self._anneal(task, controls, found, progress)
        return _strata(task, treated, found)

    def _units(self, task: Task) -> tuple[Int[np.ndarray, " a"], Int[np.ndarray, " c"]]:
        """Rows of the treated that are asked for, and of controls in the order of their draws.

        Units of weight 0 are neither.
        """
        sample, t = task.sample, np.asarray(task.sample.t)
        asked = np.asarray(task.query)[np.asarray(task.asked)]
        if not t[asked].all():
            raise ValueError(
                f"{(~t[asked]).sum()} of {asked.size} queries are controls, and BOSS chooses "
                "controls for the treated: use estimand='att' and treated rows."
            )
        counts = np.asarray(sample.valid) & (np.asarray(sample.weight) > 0)
        treated, controls = np.unique(asked[counts[asked]]), np.flatnonzero(counts & ~t)
        if not treated.size:
            raise DataError("no treated unit that is asked for has a weight above 0: query others.")
        if controls.size < treated.size:
            raise DataError(
                "BOSS takes as many controls as there are treated, and too few have a positive "
                f"weight ({controls.size:,} for {treated.size:,} treated): "
                "query fewer with query=, or use jc.NearestNeighbors()."
            )
        assert task.key is not None
        draw = np.asarray(row_draws(sample, step_key(task.key, "units")))[controls]
        names = np.asarray(sample.row)[controls]
        return treated, controls[np.lexsort((names[:, 1], names[:, 0], draw))]

    def _check_memory(self, controls: int, bins: MarginalBins) -> None:
        """Refuse chains that would not fit.

        **Raises:** ValueError.
        """
        needed = 4 * self.chains * (controls + bins.cells) + 4 * controls * bins.cell.shape[1]
        if needed > self.max_bytes:
            raise ValueError(
                f"{self.chains} chains over {controls:,} controls and {bins.cells:,} bins take "
                f"{needed:,} bytes, more than max_bytes = {self.max_bytes:,}: ask for fewer chains "
                "or bins, or allow more."
            )

    def _anneal(
        self,
        task: Task,
        controls: Int[np.ndarray, " c"],
        found: "_BestSubset",
        progress: Progress | None,
    ) -> None:
        """Rounds of steps; the best subset of all chains is kept."""
        assert task.key is not None
        dtype, size = np.dtype(task.sample.x.dtype), found.size
        price = 1 / np.maximum(found.wanted, 1)
        cell = found.bins.cell[controls]
        problem = SwapProblem(
            cell=to_device(pad_rows(cell, bucket(len(cell)))),
            price=to_device(pad_rows(price.astype(dtype), bucket(price.size))),
            size=to_device(np.asarray(size, np.int32)),
            units=to_device(np.asarray(len(cell), np.int32)),
            warmth=to_device(np.asarray(2 * price[cell].sum(1).mean(), dtype)),
            steps=to_device(np.asarray(self.steps, np.int32)),
        )
        wanted = to_device(pad_rows(found.wanted.astype(dtype), bucket(price.size)))
        chains = start_chains(problem, wanted, self.chains, step_key(task.key, "start"))
        many = -(-self.steps // ROUNDS)
        for n in range(0, self.steps, many):
            first = to_device(np.asarray(n, np.int32))
            chains = anneal(chains, problem, first, many, step_key(task.key, "swaps"))
            found.look(chains, controls)
            if progress is not None:
                told = f"swaps, imbalance {found.cost:.3g}"
                progress(told, min(n + many, self.steps), self.steps)
            if found.cost == 0:
                return


class _BestSubset:
    """The best subset so far: rows (s,), its cost and that of the first, a random one."""

    def __init__(
        self, wanted: Int[np.ndarray, " b"], rows: Int[np.ndarray, " s"], bins: MarginalBins
    ) -> None:
        self.wanted, self.rows, self.bins, self.size = wanted, rows, bins, rows.size
        self.cost = self.first = cost_of(_counts(bins, rows), wanted)

    def look(self, chains: SwapChains, controls: Int[np.ndarray, " c"]) -> None:
        """Keep the best of the chains if it is better."""
        excess = np.asarray(chains.excess, np.float64)[:, : self.wanted.size]
        costs = (excess**2 / np.maximum(self.wanted, 1)).sum(1)
        best = int(costs.argmin())
        if costs[best] < self.cost:
            self.cost = float(costs[best])
            self.rows = controls[np.asarray(chains.order[best])[: self.size]]


def _counts(bins: MarginalBins, rows: Int[np.ndarray, " m"]) -> Int[np.ndarray, " b"]:
    """How many of some rows are in each bin."""
    return np.bincount(bins.cell[rows].ravel(), minlength=bins.cells)


def _strata(task: Task, treated: Int[np.ndarray, " a"], found: _BestSubset) -> Strata:
    """One stratum of the treated and the subset."""
    sample = task.sample
    stratum = np.full(sample.n, -1)
    stratum[treated] = stratum[found.rows] = 0
    asked = np.asarray(task.asked)
    status = np.where(asked, code(RESULTS.matched), code(RESULTS.not_asked)).astype(np.int32)
    told = (
        f"a subset of {found.size:,} controls: imbalance {number_in_words(found.cost)} over "
        f"{found.bins.cells:,} bins, {number_in_words(found.first)} of a random one"
    )
    return Strata(
        sample=sample,
        fold=task.fold,
        query=task.query,
        query_fold=task.query_fold,
        status=to_device(status),
        place=to_device(np.where(asked, 0, -1).astype(np.int32)),
        estimand=task.estimand,
        guide=BalancedSubset("all treated and the balanced subset"),
        caution=told,
        **strata_of(stratum, np.arange(sample.n), 1),
    )
