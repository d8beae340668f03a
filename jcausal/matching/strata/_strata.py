"""Strata: every query is compared with the units of its stratum."""

from functools import partial
from typing import Any, Protocol, runtime_checkable

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jcausal.data import Sample, add_at, check_place, is_traced, like, on_host, to_device
from jcausal.matching._frames import counts_in_words
from jcausal.matching._matched_sets import sets_with_queries
from jcausal.matching._matching import Estimand, Matching
from jcausal.matching._prognosis import Prognosis
from jcausal.matching._results import RESULTS, code, sentence
from jcausal_kernels.segments import segment_sums, sums_in_one_pass


@runtime_checkable
class StratumGuide(Protocol):
    """What says in words which units a stratum holds."""

    def rule(self, stratum: int) -> str:
        """What it asks of a unit: "age 20 to 25, race black"."""
        ...


class Strata(Matching):
    """Groups that queries share: all units of a query's stratum, with their sampling weights.

    Strata may overlap (a unit of several entries is in several), as in matching with repeats; most
    do not. Entry e says that the unit `rows[e]` is in the stratum `stratum[e]`; the group of query
    i are the entries of the stratum `place[i]`. Weighted means over treated queries give the
    weights of coarsened exact matching: a control of stratum s counts m_T^s / m_C^s.

    **Arguments:**

    - `sample`, `fold` (n,), `query` (q,), `query_fold` (q,), `status` (q,), `estimand`: as in
      `Matching`.
    - `rows` (m,), `stratum` (m,): the entries, in rising order of their strata; entries that count
      nothing have the stratum `count` and stand last.
    - `place` (q,): the stratum of each query, -1 for none.
    - `count`: number of strata.
    - `guide`: what says in words which units a stratum holds, or None.
    - `caution`: a sentence for the summary.

    **Raises:** ValueError for entries that are not in order, rows or places that there are not,
    and members of another fold than their query (concrete arrays only).

    **Example:**

        >>> import jcausal as jc, jax.numpy as jnp
        >>> sample = jc.Sample([[1.0], [1.0], [2.0], [2.0]], [1, 0, 1, 0], [5.0, 3.0, 2.0, 2.0])
        >>> strata = jc.matching.Strata(
        ...     sample=sample, fold=jnp.zeros(4, int), query=jnp.array([0, 2]),
        ...     query_fold=jnp.zeros(2, int), status=jnp.zeros(2, int), estimand="att",
        ...     rows=jnp.arange(4), stratum=jnp.array([0, 0, 1, 1]), place=jnp.array([0, 1]),
        ...     count=2,
        ... )
        >>> float(jc.estimate(sample, strata).att)
        1.0
        >>> strata.describe(0)
        'stratum 0: 1 control, 1 treated'
    """

    sample: Sample
    fold: Int[Array, " n"]
    query: Int[Array, " q"]
    query_fold: Int[Array, " q"]
    status: Int[Array, " q"]
    rows: Int[Array, " m"]
    stratum: Int[Array, " m"]
    place: Int[Array, " q"]
    count: int = eqx.field(static=True)
    estimand: Estimand = eqx.field(static=True)
    guide: StratumGuide | None = None
    caution: str = eqx.field(static=True, default="")
    prognosis: Prognosis | None = None

    def __check_init__(self) -> None:
        if not is_traced(self):
            _check(self)

    def sums(self, values: Float[Array, "n d"], power: int = 1) -> Float[Array, "q 2 d"]:
        """Weighted sums over the stratum of each query by arm."""
        found = _by_stratum(self._entries, self.sample.t, values, self.count, power)
        return _at_place(found, self._held)

    def scatter(self, shares: Float[Array, "q 2"], power: int = 1) -> Float[Array, " n"]:
        """Each unit's weight times the shares of the queries whose stratum it is in."""
        return _scattered(self._entries, self.sample.t, self._held, shares, self.count, power)

    @property
    def _held(self) -> Int[Array, " q"]:
        """The stratum of matched queries; -1 for others, which have no group."""
        return _where(self.matched, self.place)

    @property
    def _entries(self) -> tuple[Int[Array, " m"], Int[Array, " m"], Float[Array, " m"]]:
        """Rows, strata and weights."""
        return self.rows, self.stratum, _of(self.sample.weight, self.rows)

    @property
    def _counts(self) -> Int[Array, "s 2"]:
        """Controls and treated of every stratum, of weight above 0."""
        return _counted(self._entries, self.sample.t, self.count)

    @property
    def sizes(self) -> Int[Array, "q 2"]:
        """Controls and treated in the stratum of each query."""
        return _at_place(self._counts, self._held)

    @property
    def strata(self) -> Int[Array, " n"]:
        """The stratum of every unit, -1 for none: `by=` of `jc.interval` and `Effects.cate`.

        ValueError when strata overlap.
        """
        if not is_traced(self) and self._overlap:
            raise ValueError("a unit is in several of these strata: they are no labels of units.")
        return _labels(self.rows, self.stratum, self.sample.n, self.count)

    @property
    def _overlap(self) -> bool:
        rows = np.asarray(self.rows)[np.asarray(self.stratum) < self.count]
        return bool(np.unique(rows).size < rows.size)

    def group(self, i: int) -> tuple[Int[np.ndarray, " m"], Float[np.ndarray, " m"]]:
        """Rows of the i-th query's stratum, and their weights (they add up to 1 in each arm)."""
        i = check_place(i, len(self.query), "query")
        rows, stratum, weight = (np.asarray(a) for a in self._entries)
        first, last = np.searchsorted(stratum, np.asarray(self._held)[i] + np.array([0, 1]))
        here = slice(0, 0) if np.asarray(self._held)[i] < 0 else slice(first, last)
        rows, weight = rows[here], weight[here].astype(float)
        rows, weight = rows[weight > 0], weight[weight > 0]
        treated = np.asarray(self.sample.t)[rows]
        for arm in (False, True):
            weight[treated == arm] /= weight[treated == arm].sum() or 1
        return rows, weight

    def describe(self, i: int) -> str:
        """The i-th query's stratum in words, and how many units it holds."""
        i = check_place(i, len(self.query), "query")
        if not np.asarray(self.matched)[i]:
            return sentence(int(np.asarray(self.status)[i]))
        return f"{self._rule(int(np.asarray(self.place)[i]))}: {self._size_in_words(i)}"

    def _size_in_words(self, i: int) -> str:
        return counts_in_words(*np.asarray(self.sizes)[i].tolist())

    def _rule(self, stratum: int) -> str:
        return f"stratum {stratum}" if self.guide is None else self.guide.rule(stratum)

    def strata_frame(self, limit: int = 10_000) -> Any:
        """One row a stratum: its rule, its controls and treated, the queries that it serves.

        The `limit` largest; of the kind that the sample was read from.
        """
        counts = np.asarray(self._counts)
        shown = np.sort(np.argsort(-counts.sum(1), kind="stable")[:limit])
        served = np.bincount(np.asarray(self._held)[np.asarray(self.matched)], minlength=self.count)
        columns = dict(
            stratum=shown,
            rule=[self._rule(int(s)) for s in shown],
            controls=counts[shown, 0],
            treated=counts[shown, 1],
            queries=served[shown],
        )
        return like(self.sample.home, pd.DataFrame(columns))

    def notes(self) -> list[str]:
        """What a reader must know of how the strata were made."""
        return [self.caution] if self.caution else []

    def columns(self) -> dict[str, np.ndarray]:
        """The stratum of each query, -1 for none."""
        return dict(stratum=np.asarray(self._held))

    def matched_sets(self) -> Int[np.ndarray, " n"] | None:
        """Strata that queries are compared in; None where these overlap without being the same."""
        matched = np.asarray(self.matched)
        query, place = np.asarray(self.query)[matched], np.asarray(self.place)[matched]
        if self._overlap or (query < 0).any() or (np.asarray(self.strata)[query] != place).any():
            return self._sets_by_group()
        counted = np.asarray(self.sample.weight) > 0
        label = np.where(counted & np.isin(self.strata, place), np.asarray(self.strata), -1)
        return sets_with_queries(label, query, place)

    def unit_columns(self) -> dict[str, np.ndarray]:
        """The stratum of each unit, where each has one."""
        return {} if self._overlap else dict(stratum=np.asarray(self.strata))


def strata_of(
    stratum: Int[np.ndarray, " n"], rows: Int[np.ndarray, " n"], count: int
) -> dict[str, Any]:
    """The fields `rows`, `stratum` and `count` of `Strata` from labels in any order; -1 is none."""
    held = stratum >= 0
    rows, stratum = rows[held], stratum[held]
    order = np.argsort(stratum, kind="stable")
    entries = dict(rows=rows[order], stratum=stratum[order])
    return {name: to_device(a.astype(np.int32)) for name, a in entries.items()} | dict(count=count)


def stratum_status(lib: Any, there: Any, asked: Any) -> Any:
    """How queries end by whether their stratum holds a partner; `lib` is `numpy` or `jax.numpy`."""
    status = lib.where(there, code(RESULTS.matched), code(RESULTS.no_stratum_partner))
    return lib.where(asked, status, code(RESULTS.not_asked))


def hold_both_arms(
    sample: Sample, rows: Int[np.ndarray, " m"], group: Int[np.ndarray, " m"], count: int
) -> Bool[np.ndarray, " g"]:
    """Which groups hold units of weight above 0 in both arms."""
    treated, partner = np.asarray(sample.t)[rows], np.asarray(sample.weight)[rows] > 0
    arms = [np.bincount(group[partner & (treated == arm)], minlength=count) for arm in (0, 1)]
    return (arms[0] > 0) & (arms[1] > 0)


Entries = tuple[Int[Array, " m"], Int[Array, " m"], Float[Array, " m"]]


def _check(strata: Strata) -> None:
    """Refuse entries that no estimate could use."""
    rows, stratum = np.asarray(strata.rows), np.asarray(strata.stratum)
    if (np.diff(stratum) < 0).any():
        raise ValueError("entries must stand in rising order of their strata.")
    used = stratum < strata.count
    if ((rows < 0) | (rows >= strata.sample.n))[used].any() or (stratum < 0).any():
        raise ValueError(
            f"entries must be rows 0 to {strata.sample.n - 1} in strata 0 to {strata.count - 1}."
        )
    place = np.asarray(strata.place)
    if ((place < -1) | (place >= strata.count)).any():
        raise ValueError(f"a query is in a stratum beyond the last, {strata.count - 1}.")
    fold = np.asarray(strata.fold)[rows[used]]
    low, high = np.full(strata.count, np.iinfo(fold.dtype).max), np.full(strata.count, -2)
    np.minimum.at(low, stratum[used], fold)
    np.maximum.at(high, stratum[used], fold)
    held = np.asarray(strata.matched) & (place >= 0)
    own, place = np.asarray(strata.query_fold)[held], place[held]
    if ((low[place] != own) | (high[place] != own)).any():
        raise ValueError("a member of a stratum is of another fold than its query.")


@on_host
def _where(lib: Any, matched: Bool[Array, " q"], place: Int[Array, " q"]) -> Int[Array, " q"]:
    return lib.where(matched, place, -1)


@on_host
def _of(lib: Any, weight: Float[Array, " n"], rows: Int[Array, " m"]) -> Float[Array, " m"]:
    return weight[rows]


@on_host
def _at_place(lib: Any, found: Array, place: Int[Array, " q"]) -> Array:
    """What was found of each query's stratum; 0 for those of none."""
    there = (place >= 0).reshape(-1, *[1] * (found.ndim - 1))
    if not found.shape[0]:
        return lib.zeros((place.shape[0], *found.shape[1:]), found.dtype)
    return lib.where(there, found[lib.maximum(place, 0)], lib.zeros((), found.dtype))


@on_host
def _by_stratum(
    lib: Any,
    entries: Entries,
    t: Bool[Array, " n"],
    values: Float[Array, "n d"],
    count: int,
    power: int,
) -> Float[Array, "s 2 d"]:
    """Weighted sums over each stratum by arm."""
    rows, stratum, weight = entries
    weight = weight.astype(values.dtype)[:, None] ** power
    terms = lib.where(weight > 0, weight * values[rows], 0)
    treated = t[rows][:, None]
    both = lib.concatenate([lib.where(treated, 0, terms), lib.where(treated, terms, 0)], axis=1)
    return _added(lib, both, stratum, count).reshape(count, 2, values.shape[1])


@on_host
def _counted(lib: Any, entries: Entries, t: Bool[Array, " n"], count: int) -> Int[Array, "s 2"]:
    rows, stratum, weight = entries
    arms = [(weight > 0) & arm for arm in (~t[rows], t[rows])]
    return _added(lib, lib.stack(arms, axis=1).astype(np.int32), stratum, count)


def _added(lib: Any, terms: Any, stratum: Any, count: int) -> Any:
    """Sums (s, d) of the entries' terms (m, d) by stratum; those of no stratum count nothing."""
    if lib is np:
        held = stratum < count
        columns = [
            np.bincount(stratum[held], weights=column[held], minlength=count) for column in terms.T
        ]
        return np.stack(columns, axis=1).astype(terms.dtype) if columns else np.zeros((count, 0))
    return lax.platform_dependent(
        terms,
        stratum,
        cpu=partial(_in_one_pass, count=count),
        default=partial(_in_order, count=count),
    )


def _in_one_pass(terms: Array, stratum: Array, count: int) -> Array:
    return sums_in_one_pass(terms, stratum, count + 1)[:count]


def _in_order(terms: Array, stratum: Array, count: int) -> Array:
    return segment_sums(terms, stratum, count)


@on_host
def _scattered(
    lib: Any,
    entries: Entries,
    t: Bool[Array, " n"],
    place: Int[Array, " q"],
    shares: Float[Array, "q 2"],
    count: int,
    power: int,
) -> Float[Array, " n"]:
    """Shares summed over each stratum's queries, handed to its units by their arm and weight."""
    rows, stratum, weight = entries
    weight = weight.astype(shares.dtype) ** power
    total = _summed_shares(lib, place, shares, count)
    mine = total[lib.minimum(stratum, count - 1)]
    own = lib.where(t[rows], mine[:, 1], mine[:, 0])
    values = lib.where((weight > 0) & (stratum < count), weight * own, 0)
    return _to_rows(lib, rows, values, t.shape[0])


def _summed_shares(lib: Any, place: Any, shares: Any, count: int) -> Any:
    """The shares (s, 2) of all queries of each stratum, in any order."""
    where = lib.where(place >= 0, place, count)
    columns = [_to_rows(lib, where, shares[:, a], count + 1)[:count] for a in (0, 1)]
    return lib.stack(columns, axis=1)


def _to_rows(lib: Any, rows: Any, values: Any, n: int) -> Any:
    """Each value added at its row, (n,)."""
    if lib is np:
        return add_at(np, n, rows, values)

    def ordered(rows: Array, values: Array) -> Array:
        order = jnp.argsort(rows, stable=True)
        return segment_sums(values[order], rows[order], n)

    return lax.platform_dependent(rows, values, cpu=partial(add_at, jnp, n), default=ordered)


@on_host
def _labels(
    lib: Any, rows: Int[Array, " m"], stratum: Int[Array, " m"], n: int, count: int
) -> Int[Array, " n"]:
    held = stratum < count
    if lib is jnp:
        return jnp.full(n + 1, -1, stratum.dtype).at[jnp.where(held, rows, n)].set(stratum)[:n]
    out = np.full(n, -1, stratum.dtype)
    out[rows[held]] = stratum[held]
    return out  # type: ignore[return-value]
