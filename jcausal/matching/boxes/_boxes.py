"""Boxes: for every query the region of the covariates whose units are its group."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from jcausal.data import (
    Sample,
    bucket,
    check_place,
    first_rows,
    is_traced,
    like,
    number_in_words,
    on_host,
    pad_rows,
    to_device,
)
from jcausal.matching._frames import counts_in_words
from jcausal.matching._matching import Edges, Estimand, Matching, around_means
from jcausal.matching._prognosis import Prognosis
from jcausal.matching.boxes import _words
from jcausal_kernels import CodedBoxes, Units, box_counts, box_sums, box_weights, membership


class Proof(NamedTuple):
    """How the search for each best box ended (one row a query, float64 on the host).

    `objective` (q,) of the box; `bound` (q,): no box has less; `ended` (q,): place in
    `_words.ENDED`; `nodes` (q,) looked at; `left_out` (q,): units that the search did not look
    at (the box is the best for the others; its group is all units in it). NaN where there is none.
    """

    objective: Float[np.ndarray, " q"]
    bound: Float[np.ndarray, " q"]
    ended: Int[np.ndarray, " q"]
    nodes: Int[np.ndarray, " q"]
    left_out: Int[np.ndarray, " q"]


class Boxes(Matching):
    """One box per query: codes of the ordered covariates, open levels of the categories.

    `lower_code`, `upper_code` (q, o) are inclusive places on the sample's ladders; `open`
    (q, c, l) tells which levels of each category belong to the box; `point` (q, p) is where the
    box grew from. `lower` and `upper` (q, p) are the edges in the covariates' own units. Boxes that
    were searched for have a `proof`, and `objective`, `gap` and `proven` (q,).

    **Example:**

        >>> import jcausal as jc
        >>> train, test = jc.split(jc.datasets.lalonde("experiment"), key=0)
        >>> boxes = jc.match(test, jc.AHB(), surface=jc.fit(train, jc.Ridge()))
        >>> boxes.lower.shape
        (93, 8)
    """

    sample: Sample
    fold: Int[Array, " n"]
    query: Int[Array, " q"]
    query_fold: Int[Array, " q"]
    point: Float[np.ndarray, "q p"] | Float[Array, "q p"]
    lower_code: Int[Array, "q o"]
    upper_code: Int[Array, "q o"]
    open: Bool[Array, "q c l"]
    status: Int[Array, " q"]
    estimand: Estimand = eqx.field(static=True)
    proof: Proof | None = None
    prognosis: Prognosis | None = None

    @property
    def objective(self) -> Float[np.ndarray, " q"]:
        """What each box costs, of those that were searched for; NaN where there is none."""
        return self._proof.objective

    @property
    def gap(self) -> Float[np.ndarray, " q"]:
        """How far each objective is from the best at most; holds the rounding of the search."""
        return self._proof.objective - self._proof.bound

    @property
    def proven(self) -> Bool[np.ndarray, " q"]:
        """Whose box is shown to be the best."""
        return self._proof.ended == _words.ENDED.index("optimal")

    @property
    def _proof(self) -> Proof:
        if self.proof is None:
            raise ValueError("these boxes were grown, not searched for: only jc.ExactAHB proves.")
        return self.proof

    @property
    def lower(self) -> Float[np.ndarray, "q p"] | Float[Array, "q p"]:
        """Lower edges in the covariates' units (inclusive).

        NaN in category columns, and where a box holds only units whose value is missing.
        """
        return self._edges(self.lower_code, -1)

    @property
    def upper(self) -> Float[np.ndarray, "q p"] | Float[Array, "q p"]:
        """Upper edges in the covariates' units (inclusive); NaN as for `lower`."""
        return self._edges(self.upper_code, 1)

    def _edges(self, code: Any, side: int) -> np.ndarray | Array:
        """The value at each code, or the query itself where it lies further out."""
        ordered = self.sample.schema.ordered
        ladder = self.sample.ladder[ordered]
        host = isinstance(self.point, np.ndarray) and not is_traced(code, ladder)
        lib = np if host else jnp
        code = lib.clip(lib.asarray(code), 0, ladder.shape[1] - 1)
        value = lib.asarray(ladder)[np.arange(len(ordered)), code]
        outer = lib.fmax if side > 0 else lib.fmin
        edges = outer(value, self.point[:, ordered])
        every = lib.concatenate([edges, lib.full_like(self.point[:, :1], lib.nan)], axis=1)
        place = np.full(self.sample.p, len(ordered))
        place[ordered] = np.arange(len(ordered))
        known = np.asarray(self._known) if host else self._known
        return lib.where(known, every[:, place], lib.nan)

    @property
    def _known(self) -> Bool[Array, "q p"]:
        """Whether each box holds observed values of a covariate, or only missing ones."""
        schema = self.sample.schema
        slots = {j: schema.categories.tolist().index(flag) for j, flag in schema.flag_of.items()}
        return _observed(self.open, self.sample.p, slots)

    @property
    def units(self) -> Units:
        """The sample for the kernels; its last column is the fold, which a box must agree with.

        A unit of weight 0 carries no mean: it is in no box. Rows beyond the sample's fill a bucket,
        so that near sizes share a trace: they are in no box either.
        """
        sample, schema = self.sample, self.sample.schema
        parts = (sample.codes, sample.t, sample.weight, self.fold)
        if not is_traced(parts):
            parts = tuple(pad_rows(np.asarray(part), bucket(sample.n)) for part in parts)
        return _units(*parts, schema.ordered, schema.categories)

    @property
    def coded(self) -> CodedBoxes:
        """The boxes for the kernels."""
        return _coded(self.lower_code, self.upper_code, self.open, self.query_fold)

    @property
    def _wide(self) -> CodedBoxes:
        """The boxes, and rows of zeros up to a bucketed number: near numbers share a trace."""
        parts = (self.lower_code, self.upper_code, self.open, self.query_fold)
        if not is_traced(parts):
            wide = bucket(self.query.shape[0])
            parts = tuple(pad_rows(np.asarray(part), wide) for part in parts)
        return _coded(*parts)

    @property
    def _bound(self) -> int:
        """More than any code of `units`: than values on a ladder, and than folds."""
        heights = self.sample.ladder.shape[1]
        if is_traced(self.fold):
            return max(heights, self.fold.shape[0])  # there are no more folds than units
        return max(heights, int(np.max(np.asarray(self.fold), initial=0)) + 1)

    def sums(self, values: Float[Array, "n d"], power: int = 1) -> Float[Array, "q 2 d"]:
        """Weighted sums over each box by arm, streamed in blocks."""
        weighted = _weighted(values, self.sample.weight, self.fold, power)
        units = self.units
        weighted = _in_rows(weighted, units.arm.shape[0] - weighted.shape[0])
        sums = box_sums(units, self._wide, weighted, ladder=self._bound)
        return first_rows(sums, self.query.shape[0])

    def scatter(self, shares: Float[Array, "q 2"], power: int = 1) -> Float[Array, " n"]:
        """Each unit's weight times the shares of the boxes that hold it, streamed in blocks."""
        coded = self._wide
        more = [(0, coded.lower.shape[0] - shares.shape[0]), (0, 0), (0, 0)]
        wide = _with_axis(shares, more)
        total = box_weights(self.units, coded, wide, ladder=self._bound)
        return _carried(first_rows(total, self.sample.n), self.sample.weight, power)

    def totals(
        self, y: Float[Array, " n"], also: Float[Array, "n d"] | None = None
    ) -> Float[Array, "q 2 e"]:
        """Sums of weight, weight y, weight (y - mean)^2, effective units, heavy, in one stream."""
        columns, largest = _columns(y, self.sample.valid, self.sample.weight, also)
        return around_means(self.sums(columns), largest)

    @property
    def sizes(self) -> Int[Array, "q 2"]:
        """Controls and treated in each box, counted without weights."""
        counts = box_counts(self.units, self._wide, ladder=self._bound)
        return first_rows(counts, self.query.shape[0])

    def group(self, i: int) -> tuple[Int[np.ndarray, " m"], Float[np.ndarray, " m"]]:
        """Rows in the i-th box, and their weights (they add up to 1 in each arm)."""
        i = check_place(i, len(self.query), "query")
        one = CodedBoxes(*(to_device(np.asarray(a)[i : i + 1]) for a in self.coded))
        rows = np.flatnonzero(np.asarray(_members(self.units, one))[0])
        weight, arm = np.asarray(self.sample.weight)[rows], np.asarray(self.sample.t)[rows]
        total = np.where(arm, weight[arm].sum(), weight[~arm].sum())
        return rows, weight / np.where(total > 0, total, 1)

    def describe(self, i: int) -> str:
        """The i-th box in words: what it asks of each covariate, and how many units it holds.

        A covariate that the box leaves free is not named. Edges are rounded to four digits.
        """
        i = check_place(i, len(self.query), "query")
        treated = np.asarray(self.sample.t)[self.group(i)[0]]
        counts = np.array([(~treated).sum(), treated.sum()])
        return f"{_words.box(self, i)}: {counts_in_words(*counts.tolist())}"

    def describe_frame(self) -> Any:
        """One row a box: the query, counts, status, and the box's edges or open levels.

        Also how its search ended, where it was searched for; for a number with gaps whether the box
        takes in missing values. The frame is of the kind that the sample was read from.
        """
        return like(self.sample.home, _words.boxes_frame(self))

    def edges(self) -> Edges:
        """`lower`, `upper` and `point`."""
        return Edges(np.asarray(self.lower), np.asarray(self.upper), np.asarray(self.point))

    def notes(self) -> list[str]:
        """How many boxes are shown to be the best, of those that were searched for."""
        if self.proof is None:
            return []
        matched = np.asarray(self.matched)
        proven, gap = self.proven[matched], self.gap[matched]
        words = f"boxes shown to be the best: {proven.sum():,} of {proven.size:,}"
        if not proven.all():
            words += f" (the others are within {number_in_words(float(gap.max()))} of it)"
        left_out = self.proof.left_out[matched]
        if left_out.any():
            words += f"; {left_out.min():,} to {left_out.max():,} units were not looked at for each"
        return [words]


_members = jax.jit(membership)


@on_host
def _observed(
    lib: Any, opened: Bool[Array, "q c l"], p: int, slots: dict[int, int]
) -> Bool[Array, "q p"]:
    every = lib.ones(opened.shape[0], bool)
    columns = [opened[:, slots[j], 0] if j in slots else every for j in range(p)]
    return lib.stack(columns, axis=1)


@on_host
def _units(
    lib: Any,
    codes: Int[Array, "n p"],
    t: Bool[Array, " n"],
    weight: Float[Array, " n"],
    fold: Int[Array, " n"],
    ordered: ArrayLike,
    categories: ArrayLike,
) -> Units:
    """Ordered columns with the fold behind them (-2 for a unit without weight), and categories."""
    gate = lib.where(weight > 0, fold, -2)[:, None].astype(codes.dtype)
    return Units(lib.concatenate([codes[:, ordered], gate], axis=1), codes[:, categories], t)


@on_host
def _coded(
    lib: Any,
    lower: Int[Array, "q o"],
    upper: Int[Array, "q o"],
    opened: Bool[Array, "q c l"],
    fold: Int[Array, " q"],
) -> CodedBoxes:
    """Boxes with the gate that lets members of one fold through."""
    gate = fold[:, None].astype(lower.dtype)
    return CodedBoxes(
        lib.concatenate([lower, gate], axis=1), lib.concatenate([upper, gate], axis=1), opened
    )


@on_host
def _weighted(
    lib: Any,
    values: Float[Array, "n d"],
    weight: Float[Array, " n"],
    fold: Int[Array, " n"],
    power: int,
) -> Float[Array, "n d"]:
    """Values times the weight's power, 0 for a unit without a fold."""
    return lib.where(fold[:, None] < 0, 0, values * (weight**power)[:, None])


@on_host
def _in_rows(lib: Any, values: Float[Array, "n d"], more: int) -> Float[Array, "r d"]:
    """Values with rows of zeros for units that fill a bucket."""
    return lib.pad(values, [(0, more), (0, 0)])


@on_host
def _with_axis(
    lib: Any, shares: Float[Array, "q 2"], more: list[tuple[int, int]]
) -> Float[Array, "r 2 1"]:
    """Shares as one column, with rows of zeros for boxes that fill a bucket."""
    return lib.pad(shares[:, :, None], more)


@on_host
def _carried(
    lib: Any, total: Float[Array, "n 1"], weight: Float[Array, " n"], power: int
) -> Float[Array, " n"]:
    return total[:, 0] * weight**power


@on_host
def _columns(
    lib: Any,
    y: Float[Array, " n"],
    valid: Bool[Array, " n"],
    weight: Float[Array, " n"],
    also: Float[Array, "n d"] | None,
) -> tuple[Float[Array, "n e"], Float[Array, ""]]:
    """What `around_means` takes the sums of, and the largest weight."""
    w = lib.where(valid, weight, 0).astype(y.dtype)
    largest = w.max()
    w = w / lib.where(largest > 0, largest, 1)
    columns = lib.stack([lib.ones_like(y), y, y**2, w, w**2], axis=1)
    return columns if also is None else lib.concatenate([columns, also], axis=1), largest
