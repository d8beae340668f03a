"""Leaves: for every query the controls of its leaf, with the weights of a linear regression."""

from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from jcausal.data import Sample, check_place, is_traced, like
from jcausal.match._matching import Estimand, Matching
from jcausal.match._prognosis import Prognosis
from jcausal.match._results import sentence
from jcausal.match.tree import _words
from jcausal.match.tree._sums import quadratic_forms, rows_of_block, square_sums, sums_by_group
from jcausal.match.tree._tree import Tree

Power = Literal[1, 2]


class Design(eqx.Module):
    """The regressions' rows: `row` (n, h) so that the sum over a leaf of w row row' projects.

    `leaf` (n,) of every unit, counted over the trees of all folds, -1 for none; `lower`, `upper`
    (l, f) range of the leaf's controls; `rank` (l,) of its regression, without the intercept;
    `controls`, `treated` (l,) units.
    """

    row: Float[Array, "n h"]
    leaf: Int[Array, " n"]
    lower: Float[Array, "l f"]
    upper: Float[Array, "l f"]
    rank: Int[Array, " l"]
    controls: Int[Array, " l"]
    treated: Int[Array, " l"]


class Leaves(Matching):
    """One regression per leaf: a treated query is compared with the controls of its leaf.

    The controls' weights in a group are those of the leaf's least squares prediction at the query:
    a_qk = w_k x_q' (X'WX)^- x_k with x = (1, features), which add up to 1 and may be negative. So
    `sums` of the outcome are predictions, and `spread` their adjoint. The treated arm of a group is
    the query itself. `leaf` (n,) serves as `by=` of `jc.interval` and `Effects.cate`. With
    `honest` False the tree was grown on the outcomes that are averaged.

    **Example:**

        >>> import jcausal as jc
        >>> effects = jc.estimate(jc.datasets.lalonde("psid"), jc.M5Model())
        >>> effects.matching.leaf.shape, int(effects.matched.sum())
        ((2675,), 185)
    """

    sample: Sample
    fold: Int[Array, " n"]
    query: Int[Array, " q"]
    query_fold: Int[Array, " q"]
    status: Int[Array, " q"]
    design: Design
    trees: tuple[Tree, ...]
    estimand: Estimand = eqx.field(static=True)
    honest: bool = eqx.field(static=True)
    prognosis: Prognosis | None = None

    @property
    def leaf(self) -> Int[Array, " n"]:
        """The leaf of every unit, over the trees of all folds one after another; -1 for padding."""
        return self.design.leaf

    @property
    def _carries(self) -> Float[Array, " n"]:
        """Weights of the controls that regressions may use."""
        use = ~self.sample.t & (self.fold >= 0) & self.sample.valid
        return jnp.where(use, self.sample.weight, 0)

    @property
    def _own(self) -> Float[Array, " q"]:
        """Weights of the treated queries, which are the treated arm of their group."""
        use = self.query_treated & (self.query_fold == self.fold[self.query])
        return jnp.where(use, self.query_weight, 0)

    def sums(self, values: Float[Array, "n d"], power: int = 1) -> Float[Array, "q 2 d"]:
        """Predictions of each column at each query; with power 2 sums by squared weights."""
        design, groups = self.design, self.design.rank.shape[0]
        weight, at = self._carries.astype(values.dtype), design.leaf[self.query]
        row, clean = design.row.astype(values.dtype), jnp.where(weight[:, None] > 0, values, 0)
        here = row[self.query]
        if power == 1:
            totals = sums_by_group(row * weight[:, None], clean, design.leaf, groups)
            each = [(totals[..., i][at] * here).sum(1) for i in range(totals.shape[2])]
            control = jnp.stack(each, axis=1) if each else jnp.zeros((len(here), 0), row.dtype)
        else:
            columns = clean * jnp.square(weight)[:, None]
            control = square_sums(row, columns, design.leaf, here, at, groups)
        treated = values[self.query] * (self._own.astype(values.dtype) ** power)[:, None]
        treated = jnp.where(self._own[:, None] > 0, treated, 0)
        control = jnp.where((at >= 0)[:, None], control, 0)
        return jnp.stack([control, treated], axis=1)

    def spread(self, shares: Float[Array, "q 2"], power: int = 1) -> Float[Array, " n"]:
        """The adjoint of `sums`."""
        design, groups = self.design, self.design.rank.shape[0]
        at, row = design.leaf[self.query], design.row.astype(shares.dtype)
        here = row[self.query]
        if power == 1:
            total = sums_by_group(here, shares[:, :1], at, groups)[..., 0]
            found = (total[design.leaf] * row).sum(1)
        else:
            found = quadratic_forms(here, shares[:, 0], at, row, design.leaf, groups)
        found = jnp.where(design.leaf >= 0, found, 0) * self._carries.astype(shares.dtype) ** power
        return found.at[self.query].add(shares[:, 1] * self._own.astype(shares.dtype) ** power)

    def totals(
        self, y: Float[Array, " n"], also: Float[Array, "n d"] | None = None
    ) -> Float[Array, "q 2 e"]:
        """Sums of predictions; a group's variance is that of its leaf's residuals."""
        sums = self.sums(jnp.stack([jnp.ones_like(y), y], axis=1))
        total, square = sums[..., 0], self.squares.astype(y.dtype)
        effective = total**2 / jnp.where(square > 0, square, 1)
        at = self.leaf[self.query]
        spread = jnp.where(at >= 0, self.residuals(y)[2][at], 0)
        spread = jnp.stack([spread, jnp.zeros_like(spread)], axis=1)
        spread *= total * (1 - 1 / jnp.where(effective > 1, effective, 1))
        heavy = 1 / jnp.where(effective > 0, effective, 1)
        found = jnp.stack([total, sums[..., 1], spread, effective, heavy], axis=2)
        return found if also is None else jnp.concatenate([found, self.sums(also)], axis=2)

    @property
    def squares(self) -> Float[Array, "q 2"]:
        """Sum of the squared weights of each group by arm: with equal weights w |row|^2."""
        here = self.design.row[self.query]
        weight = self.sample.weight
        known = None if is_traced(weight) else np.asarray(weight)[np.asarray(self.sample.valid)]
        if known is None or (known != known[0]).any():
            return self.sums(jnp.ones((self.sample.n, 1), here.dtype), power=2)[..., 0]
        matched = self.design.leaf[self.query] >= 0
        control = jnp.where(matched, known[0] * jnp.square(here).sum(1), 0)
        return jnp.stack([control, self._own**2], axis=1)

    @property
    def sizes(self) -> Int[Array, "q 2"]:
        """Controls of each query's leaf, and the query itself."""
        at = self.design.leaf[self.query]
        controls = jnp.where(at >= 0, self.design.controls[at], 0)
        return jnp.stack([controls, (self._own > 0).astype(controls.dtype)], axis=1)

    def group(self, i: int) -> tuple[Int[np.ndarray, " m"], Float[np.ndarray, " m"]]:
        """Rows of the i-th query's leaf and itself, and their weights (adding up to 1 by arm)."""
        query, row = int(self.query[i]), np.asarray(self.design.row, float)
        leaf, weight = np.asarray(self.leaf), np.asarray(self._carries, float)
        rows = np.flatnonzero((leaf == leaf[query]) & (weight > 0) & (leaf >= 0))
        share = weight[rows] * (row[rows] @ row[query])
        share /= share.sum() if rows.size else 1
        own = np.array([query] if float(self._own[i]) > 0 else [], rows.dtype)
        return np.concatenate([rows, own]), np.concatenate([share, np.ones(own.size)])

    @property
    def extrapolated(self) -> Bool[Array, " q"]:
        """Matched queries that lie outside their leaf's controls in a feature (see `outside`)."""
        return self.matched & self.outside.any(1)

    @property
    def outside(self) -> Bool[Array, "q f"]:
        """Where a query's feature is beyond what its leaf's controls can tell of.

        Beyond their range; or where features depend linearly on each other among the controls and
        not in the query, so that no weights of the controls reproduce it: the group's weighted mean
        is off the query's value by more than a hundredth of the range over all leaves.
        """
        features = self.trees[0].features(self.sample.x)
        at, design = self.design.leaf[self.query], self.design
        here, holds = features[self.query], (design.controls > 0)[:, None]
        beyond = (here < design.lower[at]) | (here > design.upper[at])
        rank = design.rank[at]
        if not is_traced(rank) and (np.asarray(rank) == features.shape[1]).all():
            return beyond
        low = jnp.where(holds, design.lower, jnp.inf).min(0)
        high = jnp.where(holds, design.upper, -jnp.inf).max(0)
        middle = jnp.where(high >= low, (low + high) / 2, 0)
        reached = self.sums(features - middle)[:, 0] + middle
        return beyond | (jnp.abs(reached - here) > (high - low) / 100)

    def residuals(
        self, y: Float[Array, " n"]
    ) -> tuple[Float[Array, " n"], Float[Array, " n"], Float[Array, " l"]]:
        """Residuals of the controls, their leverages, and each leaf's residual variance.

        The variance is sum w e^2 / sum w times n / (n - rank - 1); the mean of the others' stands
        in a leaf without degrees of freedom.
        """
        design, groups = self.design, self.design.rank.shape[0]
        weight, row = self._carries.astype(y.dtype), design.row.astype(y.dtype)
        use = weight > 0
        total = sums_by_group(
            row * weight[:, None], jnp.where(use, y, 0)[:, None], design.leaf, groups
        )[..., 0]
        residual = jnp.where(use, y - (total[design.leaf] * row).sum(1), 0)
        leverage = jnp.where(use, weight * jnp.square(row).sum(1), 0)
        columns = jnp.stack([weight, weight * residual**2], axis=1)
        mass, square = sums_by_group(jnp.ones_like(columns[:, :1]), columns, design.leaf, groups)[
            :, 0
        ].T
        n = design.controls.astype(y.dtype)
        freedom = n - design.rank - 1
        known = (freedom > 0) & (mass > 0)
        own = square / jnp.where(known, mass, 1) * n / jnp.where(known, freedom, 1)
        pooled = jnp.where(known, mass * own, 0).sum() / jnp.where(known, mass, 0).sum()
        return residual, leverage, jnp.where(known, own, pooled)

    def checked_residuals(
        self, y: Float[Array, " n"]
    ) -> tuple[Float[Array, " n"], Float[Array, " n"], Float[Array, " l"]]:
        """`residuals`, for errors.

        **Raises:** ValueError on concrete input where every leaf is as small as its regression.
        """
        found = self.residuals(y)
        if not is_traced(found) and np.isnan(np.asarray(found[2])).all():
            raise ValueError(
                "no leaf has more controls than its regression has coefficients, so that nothing "
                "is left to tell their noise by: give jc.M5Tree a larger min_controls."
            )
        return found

    def rules(self) -> list[str]:
        """What each leaf asks of a unit, in words, over the trees of all folds."""
        return [rule for tree in self.trees for rule in tree.rules()]

    def describe(self, i: int) -> str:
        """The i-th query's leaf in words, and how many units it holds."""
        check_place(i, len(self.query), "query")
        at = int(self.leaf[self.query[i]])
        return f"{self.rules()[at]}: {_words.counts(self, at)}"

    def to_frame(self, what: Literal["units", "queries", "leaves"] = "units") -> Any:
        """The matched data with weights (`units`), one row a query, or one row a leaf.

        The frame is of the kind that the sample was read from. Units: the rows that carry weight (a
        control's may be negative), as `Boxes.to_frame`. Queries: id, leaf, its rule, its controls
        and treated, and the features in which the query lies outside its leaf's controls. Leaves:
        fold, rule, controls, treated, rank of the regression.
        """
        if what not in ("units", "queries", "leaves"):
            raise ValueError(f"what is {what!r}: use 'units', 'queries' or 'leaves'.")
        make = dict(
            units=_words.units_frame, queries=_words.queries_frame, leaves=_words.design_frame
        )
        return like(self.sample.home, make[what](self))

    def reason(self, i: int) -> str:
        """Why the i-th query ended as it did."""
        return sentence(int(self.status[i]))


def rows_of(
    features: Float[Array, "n f"],
    leaf: Int[Array, " n"],
    weight: Float[Array, " l"],
    centre: Float[Array, "l f"],
    root: Float[Array, "l f f"],
) -> Float[Array, "n h"]:
    """(1 / sqrt(leaf's weight), R'(x - centre)) of every unit; 0 in a leaf without weight."""
    n, f = features.shape
    block = rows_of_block(min(4096, n), f, features.dtype)
    first = jnp.where(weight > 0, lax.rsqrt(jnp.where(weight > 0, weight, 1)), 0)

    def one(at: tuple[Array, Array]) -> Array:
        x, k = at
        rest = jnp.einsum("f,fg->g", x - centre[k], root[k], precision=lax.Precision.HIGHEST)
        return jnp.where((k >= 0) & (weight[k] > 0), jnp.append(first[k], rest), 0)

    return lax.map(one, (features, leaf), batch_size=block)


rows_of_units = jax.jit(rows_of)
