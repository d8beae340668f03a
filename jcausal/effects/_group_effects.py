"""Effects from the sums over groups: of every query, and on average."""

import equinox as eqx
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jcausal.data import (
    Sample,
    Shown,
    added,
    column,
    difference,
    is_traced,
    rows_in_words,
)
from jcausal.effects._average import Average
from jcausal.effects._formulas import (
    all_binary,
    carried_by_partners,
    group_means,
    group_variances,
    ratio,
    shared_mean,
    shares_of,
    signed,
    stands_alone,
    treated_or_point,
    where_true,
    with_own,
)
from jcausal.effects._residuals import drift_of, own_predictions, residuals
from jcausal.effects.estimators import aipw_of
from jcausal.matching import EffectKind, Estimand, Matching, Prognosis, arm_shares, queries_of
from jcausal.surfaces import ResponseSurface


class Partitions(eqx.Module):
    """The average effect under each of several random partitions into folds.

    `runs` are the effects of all partitions, of which `shown` is the one with the median average.
    """

    average: Float[np.ndarray, " r"]
    runs: "tuple[EffectsOfGroups, ...]"
    shown: int = eqx.field(static=True)

    @property
    def spread(self) -> tuple[float, float]:
        """Smallest and largest average."""
        return float(self.average.min()), float(self.average.max())


class EffectsOfGroups(Shown, eqx.Module):
    """All that can be computed of effects; `Effects`, the only kind, adds the words and frames.

    Its docstring explains the fields.
    """

    matching: eqx.AbstractVar[Matching]
    surfaces: eqx.AbstractVar[tuple[ResponseSurface, ...]]
    totals: eqx.AbstractVar[Float[Array, "q 2 3"]]
    sizes: eqx.AbstractVar[Int[Array, "q 2"]]
    effective: eqx.AbstractVar[Float[Array, "q 2"]]
    heavy: eqx.AbstractVar[Float[Array, "q 2"]]
    centre: eqx.AbstractVar[Float[Array, ""]]
    prognosis: eqx.AbstractVar[Prognosis | None]
    foretold: eqx.AbstractVar[Float[Array, "q 2"] | None]
    partitions: eqx.AbstractVar[Partitions | None]
    r2: eqx.AbstractVar[Float[Array, "k 2"]]
    effect: eqx.AbstractVar[EffectKind]
    adjusted: eqx.AbstractVar[bool]

    @property
    def sample(self) -> Sample:
        """The sample with its outcomes."""
        return self.matching.sample

    @property
    def estimand(self) -> Estimand:
        """Which average the queries stand for."""
        return self.matching.estimand

    @property
    def matched(self) -> Bool[Array, " q"]:
        """Which queries have a group."""
        return self.matching.matched

    @property
    def residual(self) -> Float[Array, " n"]:
        """What groups average: y - f(x) of the unit's own arm, or the outcome if not adjusted."""
        assert self.sample.y is not None
        if self.prognosis is None or not self.adjusted:
            return self.sample.y
        return residuals(self.sample, self.matching.fold, self.prognosis)

    @property
    def residual_means(self) -> Float[Array, "q 2"]:
        """Weighted mean of `residual` in each group by arm; NaN without a match or weight."""
        return group_means(self.totals, self.centre, self.matched)

    @property
    def means(self) -> Float[Array, "q 2"]:
        """Mean outcome of each group by arm, as it would be at the query if adjusted.

        NaN without a match or without weight.
        """
        means = self.residual_means
        if self.prognosis is None or not self.adjusted:
            return means
        return added(means, own_predictions(self.sample, self.matching.fold, self.prognosis))

    @property
    def drift(self) -> Float[Array, " q"]:
        """How far each group's mean prediction is from the query's own, in sd of the outcome.

        Of the arm that the query is compared with (for points: the controls); NaN without a match.

        **Raises:** ValueError where no outcome model guided the matching or adjusted the effects.
        """
        if self.prognosis is None or self.foretold is None:
            raise ValueError(
                "these groups have no drift: no outcome model made them; pass adjust=jc.Ridge() "
                "to jc.estimate."
            )
        own = own_predictions(self.sample, self.matching.fold, self.prognosis)
        treated = treated_or_point(self.matching.query_treated, self.matching.query)
        return drift_of(self.sample, own, self.foretold, treated, self.matched)

    def second_opinion(self) -> Average | None:
        """The same average by `jc.AIPW`, with the same folds and surfaces; nothing is matched.

        **Returns:** an `Average` over all units of the estimand; None where the groups were not
        made by an outcome model that has not seen their outcomes, or where only some of the
        estimand's units, or points, are queried.
        """
        matching, prognosis = self.matching, self.matching.prognosis
        if prognosis is None or not prognosis.adjusts or not self.surfaces:
            return None
        if not is_traced(matching.query) and not _asks_all(self.sample, matching):
            return None
        return aipw_of(self.sample, matching.fold, prognosis.units, self.estimand)

    @property
    def plain_average(self) -> Float[Array, ""]:
        """The average of the estimand by plain means, without summing anew."""
        if self.prognosis is None or self.foretold is None or not self.adjusted:
            return self.average
        values = added(self.residual_means, self.foretold)
        return self._mean(difference(self._arm(1, values), self._arm(0, values)))

    @property
    def y0(self) -> Float[Array, " q"]:
        """Outcome without treatment: a control's own, or under "group" the controls' mean."""
        return self._arm(0)

    @property
    def y1(self) -> Float[Array, " q"]:
        """Outcome with treatment: a treated unit's own, or under "group" the treated's mean."""
        return self._arm(1)

    @property
    def ite(self) -> Float[Array, " q"]:
        """Effect of each query, in outcome units."""
        return difference(self.y1, self.y0)

    @property
    def n_control(self) -> Int[Array, " q"]:
        """Controls in each group."""
        return column(self.sizes, 0)

    @property
    def n_treated(self) -> Int[Array, " q"]:
        """Treated in each group, the query itself included."""
        return column(self.sizes, 1)

    def _arm(self, arm: int, means: Float[Array, "q 2"] | None = None) -> Float[Array, " q"]:
        means = self.means if means is None else means
        if self.effect == "group":
            return column(means, arm)
        assert self.sample.y is not None
        query = self.matching.query
        return with_own(means, query, self.matched, self.sample.t, self.sample.y, arm)

    @property
    def variances(self) -> Float[Array, "q 2"]:
        """Variance of `residual` in each group by arm, sum w (y - mean)^2 / (S_1 - S_2 / S_1).

        With equal weights that divides by n - 1. NaN where a unit is `alone`.
        """
        return group_variances(self.totals, self.effective)

    @property
    def alone(self) -> Bool[Array, "q 2"]:
        """Where an arm of a group has one unit, or one that outweighs the rest 200 times."""
        return stands_alone(self.effective)

    def share(self, estimand: Estimand | None = None) -> Float[Array, " q"]:
        """The weight (q,) of each query in an average: its sampling weight among the matched.

        **Raises:** ValueError when the arm of that estimand was not queried.
        """
        wanted = estimand or self.estimand
        self._check_queried(wanted)
        found = self.matching
        return shares_of(
            found.matched, found.query, found.query_treated, found.query_weight, wanted
        )

    def _check_queried(self, estimand: Estimand) -> None:
        """Refuse an average over an arm that was not queried, and averages over points."""
        query = self.matching.query
        arms = ("att", "atc") if estimand == "ate" else (estimand,)
        if is_traced(query, self.matching.status):
            queried = ("att", "atc") if self.estimand == "ate" else (self.estimand,)
        else:
            rows = np.asarray(query)[np.asarray(self.matching.asked)]
            treated = np.asarray(self.sample.t)[rows[rows >= 0]]
            queried = ("att",) * bool(treated.any()) + ("atc",) * bool((~treated).any())
        missing = [a for a in arms if a not in queried]
        if missing:
            word = "treated" if missing[0] == "att" else "control"
            raise ValueError(
                f"{estimand} averages over {word} queries, and none was asked for: match with "
                f"estimand={estimand!r}, and with {word} rows in query= where that is given."
            )

    def _average(self, estimand: Estimand) -> Float[Array, ""]:
        return self._mean(self.ite, estimand)

    def _mean(self, values: Float[Array, " q"], estimand: Estimand | None = None) -> Array:
        return shared_mean(self.share(estimand), values, self.matching.status)

    @property
    def att(self) -> Float[Array, ""]:
        """Mean effect over the matched treated queries, by sampling weight."""
        return self._average("att")

    @property
    def atc(self) -> Float[Array, ""]:
        """Mean effect over the matched control queries."""
        return self._average("atc")

    @property
    def ate(self) -> Float[Array, ""]:
        """Mean effect over all matched queries; both arms must have been queried."""
        return self._average("ate")

    @property
    def average(self) -> Float[Array, ""]:
        """The average of the estimand."""
        return self._average(self.estimand)

    @property
    def binary(self) -> Bool[Array, ""]:
        """Whether every outcome is 0 or 1."""
        y = self.sample.y
        assert y is not None
        return all_binary(self.sample.valid, y)

    def check_binary(self) -> None:
        """Refuse outcomes other than 0 and 1 (concrete ones; under tracing risks are then NaN).

        **Raises:** ValueError with their count and rows.
        """
        if is_traced(self.sample.y, self.sample.valid):
            return
        y, valid = np.asarray(self.sample.y), np.asarray(self.sample.valid)
        rows = np.flatnonzero(valid & (y != 0) & (y != 1))
        if rows.size:
            raise ValueError(
                f"risks are of outcomes that are 0 or 1, and {rows.size} of {int(valid.sum())} are "
                f"others ({rows_in_words(rows)}): recode the outcome, or use the average effect."
            )

    def _risk(self, values: Float[Array, " q"]) -> Float[Array, ""]:
        self.check_binary()
        return where_true(self.binary, self._mean(values))

    @property
    def risk0(self) -> Float[Array, ""]:
        """Share of outcomes 1 without treatment, over the estimand's matched queries.

        The mean of `y0` by sampling weight. ValueError when outcomes are other than 0 and 1.
        """
        return self._risk(self.y0)

    @property
    def risk1(self) -> Float[Array, ""]:
        """Share of outcomes 1 with treatment, over the estimand's matched queries: as `risk0`."""
        return self._risk(self.y1)

    @property
    def risk_difference(self) -> Float[Array, ""]:
        """risk1 - risk0: the average effect of outcomes that are 0 or 1."""
        return self._risk(self.ite)

    @property
    def risk_ratio(self) -> Float[Array, ""]:
        """risk1 / risk0. ValueError when risk0 is 0; under tracing the ratio is then NaN."""
        zero, one = self.risk0, self.risk1
        if not is_traced(zero) and bool(zero == 0):
            raise ValueError("risk0 is 0, so the risk ratio has no value: use risk_difference.")
        return ratio(one, zero)

    @property
    def share_matched(self) -> float:
        """Matched queries over queries asked for."""
        return float(np.asarray(self.matched).sum() / np.asarray(self.matching.asked).sum())

    @property
    def contributions(self) -> Float[Array, " n"]:
        """The coefficients c (n,) of the average in the outcomes: average = sum_k c_k y_k.

        Adjusted effects are linear in the outcomes too, given the model: the same c, and a constant
        of predictions: for the ATT sum_k c_k (y_k - f0(x_k)).
        """
        return self.coefficients(self.share())

    def coefficients(self, share: Float[Array, " q"], power: int = 1) -> Float[Array, " n"]:
        """Coefficients of sum_q share_q ite_q; with power 2 the sum of squares of its terms.

        Signs are kept with power 1: plus for treated, minus for controls.
        """
        matching, own = self.matching, self.effect == "own"
        each = carried_by_partners(share, matching.query_treated, own)
        partners = matching.scatter(arm_shares(each, column(self.totals, 0), power), power)
        matched = self.matched if own else None
        return signed(partners, self.sample.t, matching.query, matched, share, power)


def _asks_all(sample: Sample, matching: Matching) -> bool:
    """Whether every unit of the estimand is queried."""
    query, asked = np.asarray(matching.query), np.asarray(matching.asked)
    wanted = np.asarray(queries_of(sample, matching.estimand))
    return bool(np.isin(np.flatnonzero(wanted), query[asked]).all())
