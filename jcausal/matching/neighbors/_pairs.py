"""Pairs: for every query the rows of its partners, with weights."""

from functools import partial
from typing import Any, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jcausal.data import (
    Sample,
    Values,
    add_at,
    check_place,
    ids_of,
    is_traced,
    like,
    on_host,
)
from jcausal.matching._frames import counts_in_words
from jcausal.matching._matching import Estimand, Matching
from jcausal.matching._prognosis import Prognosis
from jcausal.matching._results import sentence
from jcausal.matching.neighbors._partners import partners_in_words
from jcausal_kernels import segmented_scan


@runtime_checkable
class Guide(Protocol):
    """What told where to look for partners: places 0, 1, ..., each with a rule in words."""

    def rules(self) -> list[str]:
        """One line a place."""
        ...


class Pairs(Matching):
    """Up to k partners a query, by row, each with a weight.

    The group of query i holds the units `rows[i]` with the weights `weights[i]`, which add up to 1
    in each arm, and the query itself, alone in its own arm with weight 1 (so that its mean there is
    its own outcome, whichever `effect` is asked for). The partners of a row are of the other arm;
    a point outside the sample has partners of either.

    **Arguments:**

    - `sample`, `fold` (n,), `query` (q,), `query_fold` (q,), `status` (q,), `estimand`: as in
      `Matching`.
    - `rows` (q, k): rows of the partners, -1 where there is none; `weights` (q, k): 0 there.
    - `guides`: what told where to look for partners, one a fold (the trees of `jc.M5Match`), and
      `place` (q,) the place that each query is in, counted over the guides one after another, -1
      for none; both may be left out.
    - `caution`: a sentence for the summary, such as that the matching is not honest.
    - `prognosis`: what a model foretells of units and queries; effects are then adjusted by it.

    **Raises:** ValueError for rows that are none of the sample's or of another fold, weights below
    0 or that do not add up to 1, and partners of a query's own arm (concrete arrays only).

    **Example:**

        >>> import jcausal as jc, jax.numpy as jnp
        >>> sample = jc.Sample([[1.0], [1.1], [0.8]], [1, 0, 0], [5.0, 3.0, 2.0])
        >>> pairs = jc.matching.Pairs(
        ...     sample=sample, fold=jnp.zeros(3, int), query=jnp.array([0]),
        ...     query_fold=jnp.zeros(1, int), rows=jnp.array([[1, 2]]),
        ...     weights=jnp.array([[0.5, 0.5]]), status=jnp.zeros(1, int), estimand="att",
        ... )
        >>> float(jc.estimate(sample, pairs).att)
        2.5
        >>> pairs.describe(0)
        '2 controls, 1 treated: 1 and 2 (1/2 each); x0 0.95 against 1'
    """

    sample: Sample
    fold: Int[Array, " n"]
    query: Int[Array, " q"]
    query_fold: Int[Array, " q"]
    rows: Int[Array, "q k"]
    weights: Float[Array, "q k"]
    status: Int[Array, " q"]
    estimand: Estimand = eqx.field(static=True)
    guides: tuple[Guide, ...] = ()
    place: Int[Array, " q"] | None = None
    caution: str = eqx.field(static=True, default="")
    prognosis: Prognosis | None = None

    def __check_init__(self) -> None:
        if not is_traced(self):
            _check(self)

    @property
    def own(self) -> Float[Array, " q"]:
        """The weight of each query in its own arm: 1 where it is a matched row, else 0."""
        return _own(self.matched, self.query, self.weights)

    @property
    def places(self) -> Int[Array, " n"]:
        """The place of every queried row, -1 for others: `by=` of `jc.interval` and `cate`.

        ValueError when partners were looked for everywhere.
        """
        if self.place is None:
            raise ValueError("these pairs have no places: partners were looked for everywhere.")
        return _places(self.place, self.query, self.sample.n)

    @property
    def _members(self) -> tuple[Int[Array, "q k1"], Float[Array, "q k1"]]:
        """Partners and the query itself: rows and weights."""
        return _beside(self.rows, self.weights, self.query, self.own)

    def sums(self, values: Float[Array, "n d"], power: int = 1) -> Float[Array, "q 2 d"]:
        """Weighted sums over each group by arm, partner by partner."""
        rows, weights = self._members
        return _sums(rows, weights, self.sample.t, values, power)

    def scatter(self, shares: Float[Array, "q 2"], power: int = 1) -> Float[Array, " n"]:
        """Each unit's weight times the shares of the groups that it is in."""
        rows, weights = self._members
        return _scatter(rows, weights, self.sample.t, shares, power)

    @property
    def sizes(self) -> Int[Array, "q 2"]:
        """Controls and treated in each group, the query included, counted without weights."""
        rows, weights = self._members
        return _counts(rows, weights, self.sample.t)

    def group(self, i: int) -> tuple[Int[np.ndarray, " m"], Float[np.ndarray, " m"]]:
        """Rows of the i-th group, partners first and the query last, and their weights."""
        i = check_place(i, len(self.query), "query")
        rows, weights = (np.append(np.asarray(a)[i], np.asarray(b)[i]) for a, b in self._columns)
        return rows[weights > 0], weights[weights > 0]

    @property
    def _columns(self) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
        return (self.rows, self.query), (self.weights, self.own)

    def describe(self, i: int) -> str:
        """The i-th group in words: where its partners are from, who they are, how alike they are.

        Covariates in which the weighted mean of the partners equals the query are not named.
        """
        i = check_place(i, len(self.query), "query")
        if not np.asarray(self.matched)[i]:
            return sentence(int(np.asarray(self.status)[i]))
        rows, weights = self.group(i)
        treated = np.asarray(self.sample.t)[rows]
        parts = [counts_in_words(int((~treated).sum()), int(treated.sum()))]
        place = -1 if self.place is None else int(np.asarray(self.place)[i])
        if place >= 0:
            parts.insert(0, [rule for guide in self.guides for rule in guide.rules()][place])
        query = int(np.asarray(self.query)[i])
        if query >= 0:
            parts.append(partners_in_words(self.sample, query, rows[:-1], weights[:-1]))
        return ": ".join(parts)

    def describe_frame(self) -> Any:
        """One row a query and partner: id and treatment of the query, id and weight of the partner.

        A query without partners has one row without them, and the reason. The frame is of the kind
        that the sample was read from (pandas, polars, pyarrow, DuckDB).
        """
        return like(self.sample.home, _pairs_frame(self))

    def notes(self) -> list[str]:
        """What a reader must know of how the pairs were made."""
        return [self.caution] if self.caution else []


def _pairs_frame(pairs: Pairs) -> pd.DataFrame:
    """One row a query and partner; queries without partners have one row and the reason."""
    sample, query = pairs.sample, np.asarray(pairs.query)
    rows, weights = np.asarray(pairs.rows), np.asarray(pairs.weights)
    held = weights > 0
    alone = np.asarray(pairs.asked) & ~held.any(1)
    i, j = np.nonzero(np.column_stack([held, alone]))
    here = j < rows.shape[1]
    partner = np.where(here, rows[i, np.minimum(j, rows.shape[1] - 1)], -1)
    columns: dict[str, object] = dict(
        id=ids_of(sample, query[i]),
        treated=np.asarray(pairs.query_treated)[i],
        partner=ids_of(sample, partner),
        weight=np.where(here, weights[i, np.minimum(j, rows.shape[1] - 1)], np.nan),
        reason=[sentence(s) for s in np.asarray(pairs.status)[i]],
    )
    if pairs.place is not None:
        columns["place"] = np.asarray(pairs.place)[i]
    return pd.DataFrame(columns)


def _check(pairs: Pairs) -> None:
    """Refuse groups that no estimate could use."""
    rows, weights = np.asarray(pairs.rows), np.asarray(pairs.weights, np.float64)
    held, n = weights > 0, pairs.sample.n
    if not (np.isfinite(weights) & (weights >= 0)).all():
        raise ValueError("weights must be finite and not negative.")
    if (held & ((rows < 0) | (rows >= n))).any():
        raise ValueError(f"a weight above 0 stands at no row: rows must be 0 to {n - 1} there.")
    fold, query = np.asarray(pairs.fold), np.asarray(pairs.query)
    if (held & (fold[rows] != np.asarray(pairs.query_fold)[:, None])).any():
        raise ValueError("a partner is of another fold than its query.")
    treated = np.asarray(pairs.sample.t)[rows]
    own = np.asarray(pairs.query_treated)[:, None]
    if (held & (query >= 0)[:, None] & (treated == own)).any():
        raise ValueError("a partner is of its query's own arm.")
    for arm in (False, True):
        total = np.where(held & (treated == arm), weights, 0).sum(1)
        off = np.flatnonzero((total > 0) & (np.abs(total - 1) > 1e-4))
        if off.size:
            raise ValueError(
                f"the weights of query {off[0]} add up to {total[off[0]]:g} in an arm: they must "
                "add up to 1."
            )


@on_host
def _own(
    lib: Any, matched: Bool[Array, " q"], query: Int[Array, " q"], weights: Float[Array, "q k"]
) -> Float[Array, " q"]:
    return (matched & (query >= 0)).astype(weights.dtype)


@on_host
def _places(lib: Any, place: Int[Array, " q"], query: Int[Array, " q"], n: int) -> Int[Array, " n"]:
    row = lib.where(query >= 0, query, n)
    if lib is jnp:
        return jnp.full(n + 1, -1, place.dtype).at[row].set(place)[:-1]
    out = np.full(n + 1, -1, place.dtype)
    out[row] = place
    return out[:-1]  # type: ignore[return-value]


@on_host
def _beside(
    lib: Any,
    rows: Int[Array, "q k"],
    weights: Float[Array, "q k"],
    query: Int[Array, " q"],
    own: Float[Array, " q"],
) -> tuple[Int[Array, "q k1"], Float[Array, "q k1"]]:
    """The query as the last of its partners."""
    rows = lib.concatenate([rows, query[:, None].astype(rows.dtype)], axis=1)
    return rows, lib.concatenate([weights, own[:, None]], axis=1)


@on_host
def _counts(
    lib: Any, rows: Int[Array, "q k"], weights: Float[Array, "q k"], t: Bool[Array, " n"]
) -> Int[Array, "q 2"]:
    treated, held = t[rows], weights > 0
    counts = [(held & arm).sum(1, dtype=lib.int32) for arm in (~treated, treated)]
    return lib.stack(counts, axis=1)


@on_host
def _sums(
    lib: Any,
    rows: Int[Array, "q k"],
    weights: Float[Array, "q k"],
    t: Bool[Array, " n"],
    values: Float[Array, "n d"],
    power: int,
) -> Float[Array, "q 2 d"]:
    """Gather column by column of the partners, so that nothing is q x k x d."""
    weights = weights.astype(values.dtype) ** power

    def add(total: Any, part: tuple[Values, Values]) -> tuple[Any, None]:
        row, weight = part
        term = lib.where(weight[:, None] > 0, weight[:, None] * values[row], 0)
        arm = t[row][:, None]
        both = lib.stack([lib.where(arm, 0, term), lib.where(arm, term, 0)], axis=1)
        return total + both, None

    total = lib.zeros((rows.shape[0], 2, values.shape[1]), values.dtype)
    if lib is jnp:
        return lax.scan(add, total, (rows.T, weights.T))[0]
    for part in zip(rows.T, weights.T):
        total = add(total, part)[0]
    return total


@on_host
def _scatter(
    lib: Any,
    rows: Int[Array, "q k"],
    weights: Float[Array, "q k"],
    t: Bool[Array, " n"],
    shares: Float[Array, "q 2"],
    power: int,
) -> Float[Array, " n"]:
    weights, n = weights.astype(shares.dtype) ** power, t.shape[0]
    own = lib.where(t[rows], shares[:, 1:], shares[:, :1])
    values = lib.where(weights > 0, weights * own, 0).ravel()
    place = lib.where(weights > 0, rows, n).ravel()
    if lib is np:
        return add_at(np, n + 1, place, values)[:n]
    return lax.platform_dependent(
        place, values, cpu=partial(_added, n=n), default=partial(_sorted_sums, n=n)
    )


def _added(place: Array, values: Array, n: int) -> Float[Array, " n"]:
    return jax.ops.segment_sum(values, place, n + 1)[:n]


def _sorted_sums(place: Array, values: Array, n: int) -> Float[Array, " n"]:
    """The same by a sort and sums that start anew at every place: no scatter-add."""
    if not values.size:
        return jnp.zeros(n, values.dtype)
    order = jnp.argsort(place, stable=True)
    place, values = place[order], values[order]
    starts = jnp.concatenate([jnp.ones(1, bool), place[1:] != place[:-1]])
    running = segmented_scan(jnp.add, starts, values, 0)
    last = jnp.searchsorted(place, jnp.arange(n), side="right") - 1
    there = (last >= 0) & (place[jnp.maximum(last, 0)] == jnp.arange(n))
    return jnp.where(there, running[jnp.maximum(last, 0)], 0)
