"""Boxes: for every query the region of the covariates whose units are its group."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Bool, Float, Int

from jcausal.data import (
    Sample,
    check_place,
    first_rows,
    ids_of,
    is_traced,
    like,
    number_in_words,
    to_device,
)
from jcausal.matching._frames import counts_in_words
from jcausal.matching._matching import BoxEdges, Estimand, Matching, around_means
from jcausal.matching._prognosis import Prognosis
from jcausal.matching.boxes._edges import Edges
from jcausal.matching.boxes._kernel_arrays import (
    above_all_codes,
    as_column,
    kernel_boxes,
    kernel_units,
    moment_columns,
    observed,
    times_weight,
    weighted_rows,
)
from jcausal.matching.boxes._proof import Proof
from jcausal.matching.boxes._words import box_in_words, edge_columns
from jcausal_kernels import CodedBoxes, Units, box_counts, box_sums, box_weights, membership


class Boxes(Matching):
    """One box per query: codes of the ordered covariates, open levels of the categories.

    `lower_code`, `upper_code` (q, o) are inclusive places on the sample's ladders; `open`
    (q, c, l) tells which levels of each category belong to the box; `point` (q, p) is where the
    box grew from. `lower` and `upper` (q, p) are the edges in the covariates' own units. Boxes that
    were searched for have a `proof`, and `objective`, `gap` and `proven` (q,).

    For the kernels, laid out once when the boxes are made: `units`, whose codes end with the fold
    that a box must agree with, `coded` boxes, both with rows that fill a bucketed number, and
    `above`, which is more than any code.

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
    proof: Proof | None
    prognosis: Prognosis | None
    units: Units
    coded: CodedBoxes
    above: int = eqx.field(static=True)

    def __init__(
        self,
        sample: Sample,
        fold: Int[Array, " n"],
        query: Int[Array, " q"],
        query_fold: Int[Array, " q"],
        point: Float[np.ndarray, "q p"] | Float[Array, "q p"],
        edges: Edges,
        status: Int[Array, " q"],
        estimand: Estimand,
        proof: Proof | None = None,
        prognosis: Prognosis | None = None,
    ) -> None:
        self.sample, self.fold = sample, fold
        self.query, self.query_fold, self.point = query, query_fold, point
        self.lower_code, self.upper_code, self.open = edges
        self.status, self.estimand = status, estimand
        self.proof, self.prognosis = proof, prognosis
        self.units, self.above = kernel_units(sample, fold), above_all_codes(sample, fold)
        self.coded = kernel_boxes(edges, query_fold)

    @property
    def _codes(self) -> Edges:
        return Edges(self.lower_code, self.upper_code, self.open)

    @property
    def objective(self) -> Float[np.ndarray, " q"]:
        """What each box costs, of those that were searched for; NaN where there is none."""
        return self._proof.objective

    @property
    def gap(self) -> Float[np.ndarray, " q"]:
        """How far each objective is from the best at most; holds the rounding of the search."""
        return self._proof.gap

    @property
    def proven(self) -> Bool[np.ndarray, " q"]:
        """Whose box is shown to be the best."""
        return self._proof.proven

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
        return observed(self.open, self.sample.p, slots)

    def sums(self, values: Float[Array, "n d"], power: int = 1) -> Float[Array, "q 2 d"]:
        """Weighted sums over each box by arm, streamed in blocks."""
        rows = self.units.arm.shape[0]
        weighted = weighted_rows(values, self.sample.weight, self.fold, power, rows)
        sums = box_sums(self.units, self.coded, weighted, ladder=self.above)
        return first_rows(sums, self.query.shape[0])

    def scatter(self, shares: Float[Array, "q 2"], power: int = 1) -> Float[Array, " n"]:
        """Each unit's weight times the shares of the boxes that hold it, streamed in blocks."""
        column = as_column(shares, self.coded.lower.shape[0])
        total = box_weights(self.units, self.coded, column, ladder=self.above)
        return times_weight(first_rows(total, self.sample.n), self.sample.weight, power)

    def totals(
        self, y: Float[Array, " n"], also: Float[Array, "n d"] | None = None
    ) -> Float[Array, "q 2 e"]:
        """Sums of weight, weight y, weight (y - mean)^2, effective units, heavy, in one stream."""
        columns, largest = moment_columns(y, self.sample.valid, self.sample.weight, also)
        return around_means(self.sums(columns), largest)

    @property
    def sizes(self) -> Int[Array, "q 2"]:
        """Controls and treated in each box, counted without weights."""
        counts = box_counts(self.units, self.coded, ladder=self.above)
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
        box = Edges(*(np.asarray(codes)[i] for codes in self._codes))
        words = box_in_words(self.sample, box, np.asarray(self.point[i]))
        return f"{words}: {counts_in_words(*counts.tolist())}"

    def describe_frame(self) -> Any:
        """One row a box: the query, counts, status, and the box's edges or open levels.

        Also how its search ended, where it was searched for; for a number with gaps whether the box
        takes in missing values. The frame is of the kind that the sample was read from.
        """
        return like(self.sample.home, self._box_rows())

    def _box_rows(self) -> pd.DataFrame:
        """One row a box."""
        sizes = np.asarray(self.sizes)
        columns: dict[str, object] = dict(
            id=ids_of(self.sample, np.asarray(self.query)),
            treated=np.asarray(self.query_treated),
            matched=np.asarray(self.matched),
            status=np.asarray(self.status),
            controls_in_box=sizes[:, 0],
            treated_in_box=sizes[:, 1],
        )
        if self.proof is not None:
            columns |= self.proof.columns()
        edges = (np.asarray(a) for a in (self.lower, self.upper, self.open))
        return pd.DataFrame(columns | edge_columns(self.sample.schema, *edges))

    def edges(self) -> BoxEdges:
        """`lower`, `upper` and `point`."""
        return BoxEdges(np.asarray(self.lower), np.asarray(self.upper), np.asarray(self.point))

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
