"""What a matching is: who is compared with whom, for every query."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple, TypeVar

import equinox as eqx
import numpy as np
import pandas as pd
from jaxtyping import Array, Bool, Float, Int

from jcausal.data import (
    ROWS,
    Sample,
    Shown,
    add_at,
    check_place,
    column,
    ids_of,
    is_traced,
    like,
    on_host,
    to_device,
)
from jcausal.matching._frames import counts_in_words, matched_frame
from jcausal.matching._matched_sets import (
    in_digits,
    of_digits,
    sets_one_by_one,
    sets_with_queries,
)
from jcausal.matching._prognosis import Prognosis
from jcausal.matching._results import RESULTS, code, sentence

Estimand = Literal["att", "atc", "ate"]
M = TypeVar("M")


class MatchError(RuntimeError):
    """A matching that cannot be used: the message names the queries and what to do."""


def default(method: M) -> M:
    """Mark what a matching may say otherwise; nothing else that is concrete is overridden."""
    method.is_default = True  # type: ignore[attr-defined]
    return method


class UnitResiduals(NamedTuple):
    """What regressions leave of the outcomes: residual, leverage and variance of each unit (n,).

    `variance` is the residual variance of the unit's regression; `leverage` the unit's own part in
    its prediction. Units of no regression have 0 throughout.
    """

    residual: Float[Array, " n"]
    leverage: Float[Array, " n"]
    variance: Float[Array, " n"]


class BoxEdges(NamedTuple):
    """Groups that are boxes: edges and the place of each query (q, p), in the covariates' units.

    NaN where a box has no edge: in a category, and where it holds only missing values.
    """

    lower: Float[np.ndarray, "q p"]
    upper: Float[np.ndarray, "q p"]
    point: Float[np.ndarray, "q p"]


class Matching(Shown, eqx.Module):
    """Groups of units, one for each of q queries, over the n rows of a whole sample.

    A unit is a member of a query's group only if `fold` (n,) and `query_fold` (q,) agree; rows of
    fold -1 belong to nobody. `query` (q,) holds the row of each query, or -1 for a point outside
    the sample; `status` (q,) a code of `jc.RESULTS`. `prognosis` is what the model that guided the
    matching foretells of units and queries, or None.

    A matching of your own is an `equinox.Module` with these seven fields and the four abstract
    methods, of which `sums` and `scatter` are each other's adjoint; powers go up to 3. What it has
    to say beyond that it says by the methods marked as defaults: effects, intervals, balance,
    pictures and the command ask these, and never which matching it is.
    """

    sample: eqx.AbstractVar[Sample]
    fold: eqx.AbstractVar[Int[Array, " n"]]
    query: eqx.AbstractVar[Int[Array, " q"]]
    query_fold: eqx.AbstractVar[Int[Array, " q"]]
    status: eqx.AbstractVar[Int[Array, " q"]]
    estimand: eqx.AbstractVar[Estimand]
    prognosis: eqx.AbstractVar[Prognosis | None]

    @abstractmethod
    def sums(self, values: Float[Array, "n d"], power: int = 1) -> Float[Array, "q 2 d"]:
        """Weighted sums over each group by arm (0 controls, 1 treated); power 2 squares weights."""

    @abstractmethod
    def scatter(self, shares: Float[Array, "q 2"], power: int = 1) -> Float[Array, " n"]:
        """The adjoint of `sums`: each unit's weight times the shares of the groups it is in."""

    @property
    @abstractmethod
    def sizes(self) -> Int[Array, "q 2"]:
        """Units in each group by arm, counted without weights."""

    @abstractmethod
    def group(self, i: int) -> tuple[Int[np.ndarray, " m"], Float[np.ndarray, " m"]]:
        """Rows of the i-th query's group, and their weights (they add up to 1 in each arm)."""

    @default
    def totals(
        self, y: Float[Array, " n"], also: Float[Array, "n d"] | None = None
    ) -> Float[Array, "q 2 e"]:
        """What effects are made of, by arm of each group, in the dtype of y.

        Sums of weight, weight y and weight (y - mean)^2; with S_p the sum of weight^p, effective
        units S_1^2 / S_2, and S_3 / (S_1 S_2); then the sums of `also`. Weights are taken to be
        about 1: here they are cubed as they are.
        """
        columns = _powers(y)
        ones = columns[:, :1] if is_traced(columns) else to_device(np.ones((y.size, 1), y.dtype))
        parts = [self.sums(columns), self.sums(ones, power=2), self.sums(ones, power=3)]
        parts += [] if also is None else [self.sums(also)]
        return around_means(_joined(parts), to_device(np.ones((), y.dtype)))

    @default
    def notes(self) -> list[str]:
        """Sentences for the summary: what a reader must know of how these groups were made."""
        return []

    @default
    def columns(self) -> dict[str, np.ndarray]:
        """What it adds to a frame of queries: names to arrays (q,)."""
        return {}

    @default
    def unit_columns(self) -> dict[str, np.ndarray]:
        """What it adds to the matched data: names to arrays (n,)."""
        return {}

    @default
    def describe(self, i: int) -> str:
        """The i-th query's group in words; here how many units it holds."""
        i = check_place(i, len(self.query), "query")
        return counts_in_words(*np.asarray(self.sizes)[i].tolist())

    @default
    def describe_frame(self) -> Any:
        """One row a query with its group in words, of the kind that the sample was read from."""
        rows = np.flatnonzero(np.asarray(self.asked))
        table, sizes, words = (
            self._queries(rows),
            np.asarray(self.sizes)[rows],
            self._in_words(rows),
        )
        table = table.assign(controls=sizes[:, 0], treated_in_group=sizes[:, 1], group=words)
        return like(self.sample.home, table)

    @default
    def edges(self) -> BoxEdges | None:
        """The edges of groups that are boxes, which `jc.plot.boxes` draws; None for others."""
        return None

    @default
    def smoother(self) -> str | None:
        """In words what a group averages by where that is a regression; None for a mean."""
        return None

    @default
    def unit_residuals(self, y: Float[Array, " n"]) -> UnitResiduals | None:
        """Of a smoother: what its regressions leave of outcomes; None where groups are means."""
        return None

    @property
    @default
    def grew_on_outcomes(self) -> bool:
        """Whether outcomes that are averaged shaped the groups; not where folds part the two."""
        return False

    @property
    @default
    def pairs_are_disjoint(self) -> bool:
        """Whether no unit is in two groups (concrete matchings only)."""
        matched = np.asarray(self.matched)
        share = np.repeat(matched[:, None], 2, axis=1).astype(self.sample.x.dtype)
        used = np.count_nonzero(np.asarray(self.scatter(to_device(share))))
        return bool(np.asarray(self.sizes)[matched].sum() == used)

    @default
    def matched_sets(self) -> Int[np.ndarray, " n"] | None:
        """The set of each unit, from 0, and -1 for none; None where groups mix.

        Groups make sets where any two are the same or share no unit. A query is a part of its own
        group (concrete matchings only).
        """
        found = self._sets_apart() if self.pairs_are_disjoint else None
        return self._sets_by_group() if found is None else found

    def _sets_apart(self) -> Int[np.ndarray, " n"] | None:
        """The sets of groups that share no unit: the adjoint brings each group's number to it."""
        query, matched = np.asarray(self.query), np.flatnonzero(np.asarray(self.matched))
        number = np.arange(matched.size)
        told = np.zeros((query.size, 3), self.sample.x.dtype)
        told[matched] = in_digits(number)
        brought = [np.asarray(self.scatter(to_device(np.stack([v, v], axis=1)))) for v in told.T]
        label = of_digits(np.stack(brought, axis=1).astype(np.float64))
        return sets_with_queries(label, query[matched], number)

    def _sets_by_group(self) -> Int[np.ndarray, " n"] | None:
        """The sets by the members of one group after another."""
        query, matched = np.asarray(self.query), np.flatnonzero(np.asarray(self.matched))

        def members(i: int) -> Int[np.ndarray, " m"]:
            rows, weight = self.group(i)
            rows = rows[np.asarray(weight) != 0]
            return np.union1d(rows, query[i]) if query[i] >= 0 else rows

        return sets_one_by_one(self.sample.n, (members(int(i)) for i in matched))

    @property
    @default
    def has_weights(self) -> bool:
        """Whether units of a group weigh differently (concrete matchings only)."""
        ones = to_device(np.ones(self.sample.n, self.sample.x.dtype))
        effective = np.asarray(self.totals(ones), np.float64)[..., 3]
        return not np.allclose(effective, np.asarray(self.sizes), rtol=1e-4)

    def to_frame(self) -> Any:
        """The matched data: the rows that carry weight, of the kind that the sample was read from.

        Id, treatment, outcome, fold, weight and covariates; a matched query counts with its
        sampling weight, its partners share it (a regression's weights may be negative). A missing
        value is missing again.
        """
        weight, about = np.asarray(self.matched_weights()), self.unit_columns()
        frame = matched_frame(self.sample, np.asarray(self.fold), weight, about)
        return like(self.sample.home, frame)

    def reason(self, i: int) -> str:
        """Why the i-th query ended as it did."""
        return sentence(int(np.asarray(self.status)[check_place(i, len(self.query), "query")]))

    @property
    def asked(self) -> Bool[Array, " q"]:
        """Which queries the estimand asks for (all, unless the matching was made under tracing)."""
        return _differs(self.status, code(RESULTS.not_asked))

    @property
    def matched(self) -> Bool[Array, " q"]:
        """Which queries have a group."""
        return _equals(self.status, code(RESULTS.matched))

    @property
    def query_weight(self) -> Float[Array, " q"]:
        """The sampling weight of each query; 1 for points outside the sample."""
        return _of_rows(self.query, self.sample.weight, 1)

    @property
    def query_treated(self) -> Bool[Array, " q"]:
        """Which queries are treated units."""
        return _of_rows(self.query, self.sample.t, False)

    def unit_weights(self, v: Float[Array, " q"], power: int = 1) -> Float[Array, " n"]:
        """The weight that each unit carries in sum_q v_q (mean of the group), in its own arm.

        With `power=2` each term of that sum is squared before it is added up.
        """
        return self.scatter(arm_shares(_twice(v), self._mass(), power), power)

    def _mass(self) -> Float[Array, "q 2"]:
        """The weight of each group by arm."""
        ones = to_device(np.ones((self.sample.n, 1), self.sample.x.dtype))
        return column(self.sums(ones), 0)

    def groups(self, limit: int = 100) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """The first `limit` groups as (i, rows, weights), made one at a time."""
        for i in range(min(limit, self.query.shape[0])):
            yield i, *self.group(i)

    def matched_weights(self, mass: Float[Array, "q 2"] | None = None) -> Float[Array, " n"]:
        """Matched-data weights: a matched query counts as itself, its partners share its weight.

        `mass` (q, 2) is the weight of each group by arm, where it is at hand.
        """
        mass = self._mass() if mass is None else mass
        v, each = _carried(self.matched, self.query, self.query_weight, self.query_treated)
        partners = self.scatter(arm_shares(each, mass, 1))
        return _with_queries(partners, self.query, v)

    def unmatched(self) -> Any:
        """Queries without a group: row, id, arm, status code and its sentence."""
        rows = np.flatnonzero(np.asarray(self.asked) & ~np.asarray(self.matched))
        return like(self.sample.home, self._queries(rows))

    def _queries(self, rows: Int[np.ndarray, " m"]) -> pd.DataFrame:
        """Some queries, one a row."""
        query, status = np.asarray(self.query)[rows], np.asarray(self.status)[rows]
        columns = dict(
            query=rows,
            id=ids_of(self.sample, query),
            treated=np.asarray(self.query_treated)[rows],
            status=status,
            reason=[sentence(s) for s in status],
        )
        return pd.DataFrame(columns)

    @property
    def _single(self) -> bool:
        return self.query.ndim == 1

    def _said(self) -> str:
        return matching_words(self)

    def _shown(self) -> pd.DataFrame:
        rows = np.flatnonzero(np.asarray(self.asked))
        rows = rows[:ROWS]
        table = self._queries(rows).drop(columns="status")
        return table.assign(group=self._in_words(rows))

    def _in_words(self, rows: Iterable[int]) -> list[str]:
        """The groups of some queries in words; nothing where there is none."""
        matched = np.asarray(self.matched)
        return [self.describe(int(i)) if matched[i] else "" for i in rows]


def matching_words(matching: Matching) -> str:
    """How many queries are matched, and why the others are not; the first group in words."""
    asked = np.flatnonzero(np.asarray(matching.asked))
    matched, status = np.asarray(matching.matched)[asked], np.asarray(matching.status)[asked]
    whose = matching.estimand.upper()
    if (np.asarray(matching.query)[asked] < 0).any():
        whose = "points"
    lines = [
        f"{type(matching).__name__} for {whose}: matched {matched.sum():,} of {asked.size:,} "
        f"queries among {int(np.asarray(matching.sample.valid).sum()):,} units"
    ]
    for value in np.unique(status[~matched]):
        lines.append(f"unmatched {int((status == value).sum()):,}: {sentence(value)}")
    if matched.any():
        first = int(asked[matched.argmax()])
        lines.append(f"query {first}: {matching.describe(first)}")
    return "\n".join(lines)


@on_host
def _powers(lib: Any, y: Float[Array, " n"]) -> Float[Array, "n 3"]:
    return lib.stack([lib.ones_like(y), y, y**2], axis=1)


@on_host
def _joined(lib: Any, parts: list[Array]) -> Float[Array, "q 2 e"]:
    return lib.concatenate(parts, axis=2)


@on_host
def _twice(lib: Any, v: Float[Array, " q"]) -> Float[Array, "q 2"]:
    return lib.stack([v, v], axis=1)


@on_host
def _carried(
    lib: Any,
    matched: Bool[Array, " q"],
    query: Int[Array, " q"],
    weight: Float[Array, " q"],
    treated: Bool[Array, " q"],
) -> tuple[Float[Array, " q"], Float[Array, "q 2"]]:
    """What a matched row carries, and the same for the partners' arm: (controls, treated)."""
    v = lib.where(matched & (query >= 0), weight, 0)
    return v, lib.stack([lib.where(treated, v, 0), lib.where(treated, 0, v)], axis=1)


@on_host
def _with_queries(
    lib: Any, partners: Float[Array, " n"], query: Int[Array, " q"], v: Float[Array, " q"]
) -> Float[Array, " n"]:
    return partners + add_at(lib, partners.shape[0], query, v)


@on_host
def _equals(lib: Any, status: Int[Array, " q"], wanted: np.int32) -> Bool[Array, " q"]:
    return status == wanted


@on_host
def _differs(lib: Any, status: Int[Array, " q"], left_out: np.int32) -> Bool[Array, " q"]:
    return status != left_out


@on_host
def _of_rows(
    lib: Any, query: Int[Array, " q"], values: Array, outside: Array | float | bool
) -> Array:
    """The values of the queries' rows, and `outside` for points that are no row."""
    return lib.where(query >= 0, values[query], outside)


@on_host
def arm_shares(
    lib: Any, v: Float[Array, "q 2"], total: Float[Array, "q 2"], power: int
) -> Float[Array, "q 2"]:
    """What each unit of weight carries of v, by arm; 0 in an arm without weight."""
    return lib.where(total > 0, v / lib.where(total > 0, total, 1), 0) ** power


@on_host
def around_means(
    lib: Any, sums: Float[Array, "q 2 e"], largest: Float[Array, ""]
) -> Float[Array, "q 2 e"]:
    """`Matching.totals` from sums of g (1, y, y^2, g / largest, (g / largest)^2, ...), g weights.

    Weights are taken relative to the largest, so that cubes stay finite.
    """
    weight = lib.where(sums[..., 0] > 0, sums[..., 0], 1)
    square = lib.maximum(sums[..., 2] - sums[..., 1] ** 2 / weight, 0)
    second = lib.where(sums[..., 3] > 0, sums[..., 3], 1)
    effective = sums[..., 0] / largest * (sums[..., 0] / second)
    heavy = sums[..., 4] / second * largest / weight
    first = lib.stack([sums[..., 0], sums[..., 1], square, effective, heavy], axis=2)
    return lib.concatenate([first, sums[..., 5:]], axis=2)


def check_same_rows(sample: Sample, matching: Matching) -> None:
    """Refuse a sample other than the one that was matched (outcomes apart).

    **Raises:** ValueError.
    """
    theirs = matching.sample
    same = theirs.n == sample.n and theirs.p == sample.p
    if same and not is_traced(theirs.x, sample.x, theirs.t, sample.t, theirs.weight, sample.weight):
        names = ("row", "codes", "t", "valid", "weight")
        same = all(np.array_equal(getattr(theirs, a), getattr(sample, a)) for a in names)
    if not same:
        raise ValueError(
            f"the matching was made on other rows ({theirs.n}) than this sample's ({sample.n}): "
            "pass the sample that was matched, with its outcomes attached."
        )


def with_outcomes(matching: Matching, sample: Sample) -> Matching:
    """The matching over the same rows with the outcomes of `sample`."""
    if matching.sample is sample:
        return matching
    return eqx.tree_at(lambda m: m.sample, matching, sample)


def queries_of(sample: Sample, estimand: Estimand) -> Bool[Array, " n"]:
    """Which rows an estimand asks for."""
    if estimand not in ("att", "atc", "ate"):
        raise ValueError(f"estimand is {estimand!r}: use 'att', 'atc' or 'ate'.")
    return _arm_of(sample.t, sample.valid, estimand)


def arms_asked(
    sample: Sample, estimand: Estimand, query: Int[Array, " q"], asked: Bool[Array, " q"]
) -> Estimand:
    """The estimand itself, or "ate" where chosen rows are of an arm that it does not query.

    Under tracing the arms are not known: the estimand.
    """
    if estimand == "ate" or is_traced(sample.t, sample.valid, query, asked):
        return estimand
    rows = np.asarray(query)[np.asarray(asked)]
    inside = np.asarray(queries_of(sample, estimand))[rows[rows >= 0]]
    return estimand if inside.all() else "ate"


@on_host
def _arm_of(
    lib: Any, t: Bool[Array, " n"], valid: Bool[Array, " n"], estimand: Estimand
) -> Bool[Array, " n"]:
    return valid & dict(att=t, atc=~t, ate=valid)[estimand]
