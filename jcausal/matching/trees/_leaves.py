"""Leaves: for every query the controls of its leaf, with the weights of a linear regression."""

from typing import Any

import equinox as eqx
import numpy as np
import pandas as pd
from jaxtyping import Array, Bool, Float, Int

from jcausal.data import Sample, check_place, is_traced, like, on_host
from jcausal.matching._frames import counts_in_words
from jcausal.matching._matching import Estimand, Matching, UnitResiduals
from jcausal.matching._prognosis import Prognosis
from jcausal.matching.trees._projections import (
    LeafArrays,
    beyond_controls,
    carried_and_own,
    group_sizes,
    leaf_residuals,
    projected_scatter,
    projected_sums,
    projected_totals,
    squared_weights,
)
from jcausal.matching.trees._rules import feature_names
from jcausal.matching.trees._tree import Tree


class LeafRegressions(eqx.Module):
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
    `sums` of the outcome are predictions, and `scatter` their adjoint. The treated arm of a group
    is the query itself. `leaf` (n,) serves as `by=` of `jc.interval` and `Effects.cate`. With
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
    regressions: LeafRegressions
    trees: tuple[Tree, ...]
    estimand: Estimand = eqx.field(static=True)
    honest: bool = eqx.field(static=True)
    prognosis: Prognosis | None = None

    @property
    def leaf(self) -> Int[Array, " n"]:
        """The leaf of every unit, over the trees of all folds one after another; -1 for padding."""
        return self.regressions.leaf

    @property
    def _arrays(self) -> LeafArrays:
        sample, found = self.sample, self.regressions
        return LeafArrays(
            found.row,
            found.leaf,
            found.rank,
            found.controls,
            sample.t,
            sample.valid,
            self.fold,
            sample.weight,
            self.query,
            self.query_fold,
        )

    def sums(self, values: Float[Array, "n d"], power: int = 1) -> Float[Array, "q 2 d"]:
        """Predictions of each column at each query; with power 2 sums by squared weights."""
        return projected_sums(self._arrays, values, power)

    def scatter(self, shares: Float[Array, "q 2"], power: int = 1) -> Float[Array, " n"]:
        """The adjoint of `sums`."""
        return projected_scatter(self._arrays, shares, power)

    def totals(
        self, y: Float[Array, " n"], also: Float[Array, "n d"] | None = None
    ) -> Float[Array, "q 2 e"]:
        """Sums of predictions; a group's variance is that of its leaf's residuals."""
        return projected_totals(self._arrays, y, also)

    @property
    def squares(self) -> Float[Array, "q 2"]:
        """Sum of the squared weights of each group by arm: with equal weights w |row|^2."""
        return squared_weights(self._arrays)

    @property
    def sizes(self) -> Int[Array, "q 2"]:
        """Controls of each query's leaf, and the query itself."""
        return group_sizes(self._arrays)

    def group(self, i: int) -> tuple[Int[np.ndarray, " m"], Float[np.ndarray, " m"]]:
        """Rows of the i-th query's leaf and itself, and their weights (adding up to 1 by arm)."""
        i = check_place(i, len(self.query), "query")
        query, row = int(np.asarray(self.query)[i]), np.asarray(self.regressions.row, float)
        leaf, (weight, own) = np.asarray(self.leaf), carried_and_own(self._arrays)
        weight = np.asarray(weight, float)
        rows = np.flatnonzero((leaf == leaf[query]) & (weight > 0) & (leaf >= 0))
        share = weight[rows] * (row[rows] @ row[query])
        share /= share.sum() if rows.size else 1
        alone = np.array([query] if np.asarray(own)[i] > 0 else [], rows.dtype)
        return np.concatenate([rows, alone]), np.concatenate([share, np.ones(alone.size)])

    @property
    def extrapolated(self) -> Bool[Array, " q"]:
        """Matched queries that lie outside their leaf's controls in a feature (see `outside`)."""
        return _any_of(self.matched, self.outside)

    @property
    def outside(self) -> Bool[Array, "q f"]:
        """Where a query's feature is beyond what its leaf's controls can tell of.

        Beyond their range; or where features depend linearly on each other among the controls and
        not in the query, so that no weights of the controls reproduce it: the group's weighted mean
        is off the query's value by more than a hundredth of the range over all leaves.
        """
        features = self.trees[0].features(self.sample.x)
        return beyond_controls(
            self._arrays, features, self.regressions.lower, self.regressions.upper
        )

    def residuals(
        self, y: Float[Array, " n"]
    ) -> tuple[Float[Array, " n"], Float[Array, " n"], Float[Array, " l"]]:
        """Residuals of the controls, their leverages, and each leaf's residual variance.

        The variance is sum w e^2 / sum w times n / (n - rank - 1); the mean of the others' stands
        in a leaf without degrees of freedom.
        """
        return leaf_residuals(self._arrays, y)

    def rules(self) -> list[str]:
        """What each leaf asks of a unit, in words, over the trees of all folds."""
        return [rule for tree in self.trees for rule in tree.rules()]

    def describe(self, i: int) -> str:
        """The i-th query's leaf in words, and how many units it holds."""
        i = check_place(i, len(self.query), "query")
        at = int(np.asarray(self.leaf)[np.asarray(self.query)[i]])
        arms = self.regressions.controls, self.regressions.treated
        controls, treated = (int(np.asarray(each)[at]) for each in arms)
        return f"{self.rules()[at]}: {counts_in_words(controls, treated)}"

    def describe_frame(self) -> Any:
        """One row a query: id, leaf, its rule, its controls and treated, and the features in which
        the query lies outside its leaf's controls; of the kind that the sample was read from.
        """
        return like(self.sample.home, _queries_frame(self))

    def leaves_frame(self) -> Any:
        """One row a leaf: fold, rule, controls, treated, rank of the regression."""
        return like(self.sample.home, _leaves_frame(self))

    def notes(self) -> list[str]:
        """Queries beyond their leaf's controls, and trees that saw the outcomes they average."""
        lines, matched = [], int(np.asarray(self.matched).sum())
        beyond = int(np.asarray(self.extrapolated).sum())
        if beyond:
            lines.append(
                f"extrapolated {beyond} of {matched}: outside their leaf's controls in a feature"
            )
        if not self.honest:
            lines.append("not honest: tree and effects use the same control outcomes")
        return lines

    def columns(self) -> dict[str, np.ndarray]:
        """The leaf of each query, and whether its prediction is extrapolated."""
        query = np.asarray(self.query)
        return dict(leaf=np.asarray(self.leaf)[query], extrapolated=np.asarray(self.extrapolated))

    def unit_columns(self) -> dict[str, np.ndarray]:
        """The leaf of each unit."""
        return dict(leaf=np.asarray(self.leaf))

    @property
    def grew_on_outcomes(self) -> bool:
        """Whether the tree was grown on the outcomes that are averaged."""
        return not self.honest

    def smoother(self) -> str:
        """What groups average by."""
        return "regressions in leaves"

    def unit_residuals(self, y: Float[Array, " n"]) -> UnitResiduals:
        """Residuals of the controls, their leverages and their leaf's residual variance.

        **Raises:** ValueError on concrete input where every leaf is as small as its regression.
        """
        residual, leverage, variance = self.residuals(y)
        if not is_traced(variance) and np.isnan(np.asarray(variance)).all():
            raise ValueError(
                "no leaf has more controls than its regression has coefficients, so that nothing "
                "is left to tell their noise by: give jc.M5Tree a larger min_controls."
            )
        return UnitResiduals(residual, leverage, _of_leaf(variance, self.leaf, self.sample.t))


@on_host
def _of_leaf(
    lib: Any, variance: Float[Array, " l"], leaf: Int[Array, " n"], t: Bool[Array, " n"]
) -> Float[Array, " n"]:
    return lib.where(~t & (leaf >= 0), variance[leaf], 0)


@on_host
def _any_of(lib: Any, matched: Bool[Array, " q"], outside: Bool[Array, "q f"]) -> Bool[Array, " q"]:
    return matched & outside.any(1)


def _queries_frame(leaves: Leaves) -> pd.DataFrame:
    """One row a query."""
    query, rules = np.asarray(leaves.query), np.array(leaves.rules(), object)
    leaf, matched = np.asarray(leaves.leaf)[query], np.asarray(leaves.matched)
    counts = (np.asarray(a) for a in (leaves.regressions.controls, leaves.regressions.treated))
    controls, treated = (np.where(leaf >= 0, a[leaf], 0) for a in counts)
    outside = np.asarray(leaves.outside) & matched[:, None]
    names = np.array(feature_names(leaves.trees[0].schema, leaves.trees[0].encoding), object)
    return pd.DataFrame(
        dict(
            id=leaves.sample.id[query],
            matched=matched,
            status=np.asarray(leaves.status),
            leaf=leaf,
            rule=np.where(leaf >= 0, rules[leaf], ""),
            controls_in_leaf=controls,
            treated_in_leaf=treated,
            outside=[" | ".join(names[row]) for row in outside],
        )
    )


def _leaves_frame(leaves: Leaves) -> pd.DataFrame:
    """One row a leaf of the trees of all folds."""
    fold = np.concatenate([np.full(tree.leaves, k) for k, tree in enumerate(leaves.trees)])
    found = leaves.regressions
    return pd.DataFrame(
        dict(
            leaf=np.arange(fold.size),
            fold=fold,
            rule=leaves.rules(),
            controls=np.asarray(found.controls),
            treated=np.asarray(found.treated),
            rank=np.asarray(found.rank),
        )
    )
