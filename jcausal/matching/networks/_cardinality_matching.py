"""Cardinality matching: the largest subset of both arms that is balanced on average."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import Bool, Float, Int

from jcausal.data import Sample, covariate_of_columns, to_device, whole
from jcausal.matching._matcher import DesignMatcher, Progress, Task
from jcausal.matching._matching import Estimand
from jcausal.matching._order import value_order
from jcausal.matching._results import RESULTS, code
from jcausal.matching.neighbors._limits import Exact, exact_blocks
from jcausal.matching.neighbors._space import columns_of
from jcausal.matching.networks._largest_subset import Balanced, largest_subset
from jcausal.matching.networks._pair_rules import as_names, filled_words
from jcausal.matching.strata import Strata
from jcausal.matching.strata._strata import strata_of
from jcausal.surfaces import ResponseSurface


class CardinalityMatching(DesignMatcher):
    """Keep the largest subset of treated and controls whose means agree in every covariate.

    Of all subsets with `ratio` units of the other arm for each query (treated units, for ATC
    controls) and, for every column f (a number, or
    a level as 0/1),

        |mean of f over its controls - mean of f over its treated| <= tolerance_f sd_f

    the one with most units is taken. sd_f is that of `jc.balance`: of the treated for ATT, of the
    controls for ATC, of both for ATE, before matching. Balance is asked for directly, not by way of
    distances; units outside of the subset are left out, treated ones too, and the effect is that
    among the units that are kept.

    The result is one stratum for each block of `exact`: the subset as a whole is what is balanced,
    and the difference of its means does not depend on how it is paired, which is why the method's
    authors, and MatchIt, choose the subset first and pair inside of it only where pairs are needed.

    The program is solved by HiGHS on one thread. What is found is the largest or the summary tells
    how much larger one could be; a search that `time_limit` stops may end elsewhere on a faster
    machine. Row order changes nothing: of twins the first by id are kept.

    Sampling weights: the subset and its means count units, effects use weights; units of weight 0
    are in no subset.

    **Arguments:**

    - `balance`: the tolerance in sd, or {covariate: tolerance}; covariates that are not named are
      free.
    - `ratio`: units of the other arm for each query.
    - `exact`: names of covariates; each of their blocks is balanced by itself, at the same ratio.
    - `time_limit`: seconds, shared by the blocks.

    **Returns** (by `jc.match` and in `effects.matching`): `Strata`.

    **Raises:** ValueError for bad options, names that are no covariate's, and points; `MatchError`
    when no unit can be kept; `SolverError`.

    **Source:** Zubizarreta, Paredes and Rosenbaum (2014), Annals of Applied Statistics 8(1).

    **Example:**

        >>> import jcausal as jc
        >>> sample = jc.datasets.lalonde("experiment")
        >>> matching = jc.match(sample, jc.CardinalityMatching(balance=0.1, time_limit=5))
        >>> matching.sizes[0, 0] == matching.sizes[0, 1]
        Array(True, dtype=bool)
    """

    balance: float | int | Mapping = 0.05
    ratio: int = eqx.field(converter=whole, static=True, default=1)
    exact: Exact = eqx.field(static=True, default=None)
    time_limit: float | int = 30.0

    def __check_init__(self) -> None:
        if self.ratio < 1:
            raise ValueError(f"ratio is {self.ratio}: it must be at least 1.")
        if not self.time_limit > 0:
            raise ValueError(f"time_limit is {self.time_limit}: it must be positive.")
        named = self.balance if isinstance(self.balance, Mapping) else {"": self.balance}
        for name, width in named.items():
            where = f"balance[{name!r}]" if name else "balance"
            if not isinstance(width, int | float | np.number) or not 0 <= float(width) < np.inf:
                raise ValueError(f"{where} is {width!r}: it must be a finite number of at least 0.")
        names = as_names(self.exact)
        if not isinstance(names, tuple) or not all(isinstance(n, str) for n in names):
            raise ValueError(f"exact is {self.exact!r}: it must be names of covariates.")

    @property
    def traceable(self) -> bool:
        """Never: a program is solved on the host."""
        return False

    def run(
        self, task: Task, surfaces: Sequence[ResponseSurface], progress: Progress | None
    ) -> Strata:
        """Find the subset, block by block, and compare each query that it holds with its block."""
        self.check_rows(task)
        sample = task.sample
        rows = np.flatnonzero(np.asarray(sample.valid) & (np.asarray(sample.weight) > 0))
        queried = np.asarray(sample.t)[rows] == (task.estimand != "atc")
        rows = rows[value_order(sample, rows, queried.astype(np.int64))]
        columns = _columns(sample.take(rows), self.balance, task.estimand)
        block = exact_blocks(sample, np.asarray(task.fold), as_names(self.exact))[rows]
        blocks, seconds = np.unique(block), float(self.time_limit)
        stratum, found = np.full(sample.n, -1), []
        for name in blocks:
            mine = np.flatnonzero(block == name)
            kept = _kept(columns, mine, self.ratio, seconds / blocks.size)
            stratum[rows[mine[kept.chosen]]] = len(found)
            found.append(kept)
        return _as_strata(task, stratum, found, columns.filled)


class _BalancedColumns(NamedTuple):
    """What is balanced of m units.

    - `values` (m, f): in sd, centred; `tolerance` (f,): in sd; `queried` (m,): of that arm.
    - `filled`: how many missing values stand at a mean.
    """

    values: Float[np.ndarray, "m f"]
    tolerance: Float[np.ndarray, " f"]
    queried: Bool[np.ndarray, " m"]
    filled: int


class _Kept(NamedTuple):
    """The subset of a block: who is in it, its queries, and how many queries none exceeds."""

    chosen: Bool[np.ndarray, " b"]
    size: int
    bound: int


def _columns(sample: Sample, balance: float | Mapping, estimand: Estimand) -> _BalancedColumns:
    """The columns that are balanced, those that do not vary apart."""
    columns, treated = columns_of(sample), np.asarray(sample.t)
    values = columns.values - columns.values.mean(0)
    variance = [_variance(values[treated == arm]) for arm in (False, True)]
    own = dict(att=variance[1], atc=variance[0], ate=(variance[0] + variance[1]) / 2)[estimand]
    sd = np.sqrt(np.where(own > 0, own, _variance(values)))
    tolerance = _tolerances(sample, columns.labels, balance)
    kept = (sd > 0) & np.isfinite(tolerance)
    return _BalancedColumns(
        values[:, kept] / sd[kept], tolerance[kept], treated == (estimand != "atc"), columns.filled
    )


def _variance(values: Float[np.ndarray, "a f"]) -> Float[np.ndarray, " f"]:
    """Of each column; of equal values 0, not what rounding leaves of it."""
    varies = values.min(0) < values.max(0)
    return np.where(varies, values.var(0, ddof=min(1, len(values) - 1)), 0)


def _tolerances(
    sample: Sample, labels: list[str], balance: float | Mapping
) -> Float[np.ndarray, " f"]:
    """The tolerance of each column, inf for those that are free; of a covariate or of a column."""
    if not isinstance(balance, Mapping):
        return np.full(len(labels), float(balance))
    names = [sample.schema.names[j] for j in covariate_of_columns(sample.schema)]
    lacking = [str(name) for name in balance if name not in names and name not in labels]
    if lacking:
        raise ValueError(
            f"balance names {', '.join(lacking)}, which are no covariates: {', '.join(names)}."
        )
    return np.array(
        [float(balance.get(label, balance.get(name, np.inf))) for label, name in zip(labels, names)]
    )


def _kept(
    columns: _BalancedColumns, mine: Int[np.ndarray, " b"], ratio: int, seconds: float
) -> _Kept:
    """The largest subset of some units."""
    queried = columns.queried[mine]
    if not queried.any() or (~queried).sum() < ratio:
        return _Kept(np.zeros(mine.size, bool), 0, 0)
    task = Balanced(columns.values[mine], queried, columns.tolerance, ratio)
    chosen, bound = largest_subset(task, seconds)
    return _Kept(chosen, int((chosen & queried).sum()), bound)


def _as_strata(
    task: Task, stratum: Int[np.ndarray, " n"], found: list[_Kept], filled: int
) -> Strata:
    """The matching, with what is to be said of it."""
    sample, place = task.sample, stratum[np.asarray(task.query)]
    status = np.where(place >= 0, int(code(RESULTS.matched)), int(code(RESULTS.left_out)))
    return Strata(
        sample=sample,
        fold=task.fold,
        query=task.query,
        query_fold=task.query_fold,
        status=to_device(status.astype(np.int32)),
        place=to_device(place.astype(np.int32)),
        estimand=task.estimand,
        caution=_told(sample, stratum, found) + filled_words(filled),
        **strata_of(stratum, np.arange(sample.n), len(found)),
    )


def _told(sample: Sample, stratum: Int[np.ndarray, " n"], found: list[_Kept]) -> str:
    """How large the subset is, and whether it is known to be the largest."""
    treated, kept = np.asarray(sample.t), stratum >= 0
    words = (
        f"the balanced subset holds {int((kept & treated).sum()):,} treated and "
        f"{int((kept & ~treated).sum()):,} controls, among whom the effect is"
    )
    size, bound = sum(one.size for one in found), sum(one.bound for one in found)
    if bound <= size:
        return words + "; none is larger"
    share = 100 * (bound - size) / bound
    return words + (
        f"; the time limit stopped the search: none holds more than {bound:,} queries (a gap of "
        f"{share:.2g}%)"
    )
