"""Full matching: strata of one treated and several controls, or one control and several treated."""

from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import Bool, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from jcausal.data import to_device, whole
from jcausal.matching._matcher import DesignMatcher, Progress, Task
from jcausal.matching._results import RESULTS, code
from jcausal.matching.neighbors._limits import Caliper, CaliperUnit, Exact
from jcausal.matching.neighbors._nearest_neighbors import NeighborMetric
from jcausal.matching.networks._capped_cover import capped_cover
from jcausal.matching.networks._edge_cover import (
    NO_EDGES,
    StarEdges,
    TwoSides,
    least_cover,
    nearest_in_turn,
)
from jcausal.matching.networks._limits_of_strata import Degrees, degrees_of
from jcausal.matching.networks._near_pairs import PairsAsked, sides_of_blocks
from jcausal.matching.networks._pair_rules import (
    OrderedUnits,
    PairRules,
    as_names,
    check_rules,
    filled_words,
    metric_words,
    units_of,
)
from jcausal.matching.strata import Strata
from jcausal.matching.strata._strata import strata_of
from jcausal.surfaces import LIKELIEST, Propensity, ResponseSurface


class FullMatching(DesignMatcher):
    """Put all units into strata of one treated and its controls, or one control and its treated.

    Of all ways to do so the one is taken with the least total distance between the one and the
    others of each stratum,

        sum over strata of sum over its edges (i, j) of d(i, j)

    No unit with a partner within the caliper is left out, unless `min_controls` and `max_controls`
    ask for it; then as many units of the queried arm as can be are in a stratum, then as many of
    the other, and among those the total distance is least. Full matching is the best
    stratification: splitting any other that has both arms in each stratum into such parts makes no
    two units that are compared less alike.

    Sampling weights: strata count units and effects use weights. Units of weight 0 are no partners;
    as queries they are compared with the stratum of their nearest partner. Row order changes no
    stratum: units are told apart by their covariates, column by column, then by id; twins take
    their partner's twins in turn.

    **Arguments:**

    - `min_controls`: controls for each treated unit of a stratum, at least: 0 (no limit), a whole
      number, or 1 / k: up to k treated for a control. `max_controls`: at most; None (no limit), a
      whole number, or 1 / k. Where a stratum needs two or more of an arm and not all can have
      them, who is left out is found by the table of the propensity as well; for other metrics those
      are left out, one round after the other, that have fewest when all are served alike.
    - `metric`, `caliper`, `caliper_unit`, `exact`, `propensity`: as in `jc.OptimalMatching`.
    - `max_bytes`: what the edges that are looked at together may take.

    **Returns** (by `jc.match` and in `effects.matching`): `Strata`.

    **Raises:** `MatchError` when edges take more than `max_bytes`; ValueError for bad options and
    points.

    **Source:** Rosenbaum (1991), JRSS B 53(3); Hansen and Klopfer (2006), Journal of Computational
    and Graphical Statistics 15(3), for the limits.

    **Example:**

        >>> import jcausal as jc
        >>> sample = jc.datasets.lalonde("experiment")
        >>> matching = jc.match(sample, jc.FullMatching(caliper=0.2))
        >>> int(matching.matched.sum())
        184
    """

    min_controls: float | int = 0
    max_controls: float | int | None = None
    metric: NeighborMetric = "propensity"
    caliper: Caliper = None
    caliper_unit: CaliperUnit = eqx.field(static=True, default="sd")
    exact: Exact = eqx.field(static=True, default=None)
    propensity: Propensity = LIKELIEST
    max_bytes: int = eqx.field(converter=whole, static=True, default=2**30)

    def __check_init__(self) -> None:
        check_rules(self._rules, self.max_bytes)
        degrees_of(self.min_controls, self.max_controls)

    @property
    def _rules(self) -> PairRules:
        return PairRules(
            self.metric, self.propensity, self.caliper, self.caliper_unit, as_names(self.exact)
        )

    @property
    def traceable(self) -> bool:
        """Never: strata are found on the host."""
        return False

    def run(
        self, task: Task, surfaces: Sequence[ResponseSurface], progress: Progress | None
    ) -> Strata:
        """Stratify all units, and compare each query with its stratum."""
        self.check_rows(task)
        queried = task.estimand != "atc"
        units = units_of(task.sample, self._rules, task.key, queried)
        degrees = degrees_of(self.min_controls, self.max_controls)
        if not queried:  # controls stand where treated units do elsewhere
            degrees = degrees.turned()
            units = units._replace(treated=~units.treated)
        found = _cover(units, degrees, self.max_bytes)
        return _as_strata(task, units, found, self._rules)


class _Cover(NamedTuple):
    """The strata of m units, by place.

    - `edges`: between treated and controls, by place among the units.
    - `stratum` (m,): -1 for none; `strata`: how many there are.
    - `near` (m,): whether any partner is near enough.
    """

    edges: StarEdges
    stratum: Int[np.ndarray, " m"]
    strata: int
    near: Bool[np.ndarray, " m"]


def _cover(units: OrderedUnits, degrees: Degrees, max_bytes: int) -> _Cover:
    """Strata block by block; then those that a unit of weight 0 is compared with."""
    treated, counts = units.treated, units.counts
    ask = PairsAsked(np.flatnonzero(treated & counts), np.flatnonzero(~treated & counts))
    parts, near = [NO_EDGES], np.zeros(treated.size, bool)
    for queries, partners, sides in sides_of_blocks(units.space, ask):
        own, other = ask.queries[queries], ask.partners[partners]
        both = TwoSides(*sides, units.space.reach)
        if degrees.unlimited:
            edges = least_cover(both, max_bytes)
        else:
            edges = capped_cover(both, degrees, max_bytes)
        near[own[nearest_in_turn(both).partner >= 0]] = True
        near[other[nearest_in_turn(both.turned()).partner >= 0]] = True
        parts.append(StarEdges(own[edges.treated], other[edges.control], edges.distance))
    edges = StarEdges(*(np.concatenate(each) for each in zip(*parts)))
    stratum, count = _labels(edges, treated.size)
    _attach(units, stratum, near)
    return _Cover(edges, stratum, count, near)


def _labels(edges: StarEdges, units: int) -> tuple[Int[np.ndarray, " m"], int]:
    """The connected parts, numbered by their first unit; -1 for units without an edge."""
    ones = np.ones(edges.treated.size, bool)
    graph = coo_array((ones, (edges.treated, edges.control)), shape=(units, units))
    part = connected_components(graph, directed=False)[1]
    held = np.zeros(units, bool)
    held[edges.treated] = held[edges.control] = True
    label = np.full(units, -1)
    first, group = np.unique(part[held], return_index=True, return_inverse=True)[1:]
    rank = np.empty(first.size, np.int64)
    rank[np.argsort(first)] = np.arange(first.size)
    label[held] = rank[group]
    return label, first.size


def _attach(units: OrderedUnits, stratum: np.ndarray, near: np.ndarray) -> None:
    """Units of weight 0 get the stratum of the nearest partner that has one."""
    for arm in (True, False):
        mine = np.flatnonzero((units.treated == arm) & ~units.counts)
        others = np.flatnonzero((units.treated != arm) & (stratum >= 0))
        for queries, partners, sides in sides_of_blocks(units.space, PairsAsked(mine, others)):
            own, other = mine[queries], others[partners]
            partner = nearest_in_turn(TwoSides(*sides, units.space.reach)).partner
            found = partner >= 0
            stratum[own[found]] = stratum[other[partner[found]]]
            near[own[found]] = True


def _as_strata(task: Task, units: OrderedUnits, cover: _Cover, rules: PairRules) -> Strata:
    """The matching, with what is to be said of it."""
    query = units.places(np.asarray(task.query))
    place = cover.stratum[query]
    reason = np.where(
        cover.near[query], int(code(RESULTS.all_taken)), int(code(RESULTS.outside_caliper))
    )
    status = np.where(place >= 0, int(code(RESULTS.matched)), reason)
    return Strata(
        sample=task.sample,
        fold=task.fold,
        query=task.query,
        query_fold=task.query_fold,
        status=to_device(status.astype(np.int32)),
        place=to_device(place.astype(np.int32)),
        estimand=task.estimand,
        caution=(
            f"{cover.strata:,} strata, whose distances in {metric_words(rules)} add up to "
            f"{cover.edges.distance.sum():.4g}{filled_words(units.filled)}"
        ),
        **strata_of(cover.stratum, units.rows, cover.strata),
    )
