"""Effects from a matching: of every query, on average, by group."""

from typing import Any

import equinox as eqx
import numpy as np
import pandas as pd
from jaxtyping import Array, Bool, Float, Int

from jcausal.data import (
    By,
    Sample,
    Shown,
    added,
    column,
    difference,
    is_traced,
    like,
    to_device,
)
from jcausal.effects import _words
from jcausal.effects._average import Average
from jcausal.effects._formulas import (
    all_binary,
    carried_by_partners,
    first_columns,
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
from jcausal.effects._residuals import drift_of, explained, own_predictions, residuals
from jcausal.effects._sums import summed
from jcausal.effects.estimators._aipw import aipw_of
from jcausal.matching import (
    Estimand,
    Leaves,
    Matching,
    Prognosis,
    foretell,
    queries_of,
)
from jcausal.matching._matcher import EffectKind
from jcausal.matching._matching import arm_shares
from jcausal.surfaces import ResponseSurface


class Partitions(eqx.Module):
    """The average effect under each of several random partitions into folds.

    `runs` are the effects of all partitions, of which `shown` is the one with the median average.
    """

    average: Float[np.ndarray, " r"]
    runs: "tuple[Effects, ...]"
    shown: int = eqx.field(static=True)

    @property
    def spread(self) -> tuple[float, float]:
        """Smallest and largest average."""
        return float(self.average.min()), float(self.average.max())


class Effects(Shown, eqx.Module):
    """What the treatment did, for every query and on average. Made by `jc.estimate`.

    `effect` tells how a query's effect is formed: "own" = its own outcome against the mean of the
    other arm in its group (the paper's tau_b); "group" = mean of the treated minus mean of the
    controls in the group (tau_a; for points outside the sample the only one). `totals` (q, 2, 3)
    are the group sums, by arm, of weight, weight (y - centre) and weight (y - the group's mean)^2;
    `sizes` (q, 2) the units that carry weight. With S_p the sum of weight^p in an arm of a group,
    `effective` (q, 2) are its effective units S_1^2 / S_2 (with equal weights the units), `heavy`
    (q, 2) is S_3 / (S_1 S_2), a unit's share of the weight on average by squared weight.
    `r2` (folds, 2) is the share of the outcome's variance that each fold's surface explains, by
    arm, on the rows of that fold, which it has not seen (see `ResponseSurface.r2`); (0, 2) when
    the effects were made from a matching.
    A query without a match is NaN with `matched` False.

    With `adjusted` groups average residuals y_k - f(x_k) in place of outcomes, f of the unit's own
    arm by `prognosis`, and a query gets its own prediction back: for a treated query
    y0 = f0(x_i) + mean over the group's controls of (y_k - f0(x_k)). What the model sees of how the
    members differ from the query is gone, the rest is what matching is for. `totals` are then sums
    of residuals. `foretold` (q, 2) is the mean prediction in each group by arm; None without a
    model. Where one arm's surface was not fitted the other's stands in.

    **Source:** Abadie and Imbens (2011), JBES 29(1), with a model of other rows in place of a
    regression on the matched ones; Lin, Ding and Han (2023), Econometrica 91(6).
    """

    sample: Sample
    matching: Matching
    surfaces: tuple[ResponseSurface, ...]
    totals: Float[Array, "q 2 3"]
    sizes: Int[Array, "q 2"]
    effective: Float[Array, "q 2"]
    heavy: Float[Array, "q 2"]
    centre: Float[Array, ""]
    prognosis: Prognosis | None
    foretold: Float[Array, "q 2"] | None
    partitions: "Partitions | None"
    r2: Float[Array, "k 2"]
    effect: EffectKind = eqx.field(static=True)
    adjusted: bool = eqx.field(static=True)

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
    def unadjusted(self) -> "Effects":
        """The same groups with plain means of outcomes (the papers' estimators)."""
        if not self.adjusted:
            return self
        return effects_of(
            self.sample, self.matching, self.surfaces, self.effect, self.prognosis, adjusted=False
        )

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
        _words.check_binary(self)

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

    def cate(self, by: By) -> Any:
        """Mean effect by group of the queried units.

        **Arguments:** `by` a covariate's name or an array (n,) of labels; a pandas Series is taken
        by its own labels where the sample's rows have some. A number with more than ten distinct
        values is cut at its quartiles; missing values are a group.

        **Returns:** a frame, of the kind that the sample was read from, with group, queries,
        matched, effect (NaN without a match).

        **Raises:** ValueError for an unknown name or a wrong length; `DataError` for a Series
        without a label of the sample's.
        """
        return like(self.sample.home, _words.cate_frame(self, by))

    def summary(self, interval: object = None) -> str:
        """The average, the share matched and why not all, group sizes, the surfaces' R2, in words.

        For outcomes that are 0 or 1 also both risks, their difference and ratio.

        **Arguments:** `interval` an `Interval` of the average or of the risk ratio, to be printed
        in its place.
        """
        return _words.summary(self, interval)

    def unmatched(self) -> Any:
        """Who was dropped beside who was kept: covariate means of the two, and their counts."""
        return like(self.sample.home, _words.kept_and_dropped(self))

    def to_frame(self) -> Any:
        """One row a query: id, arm, fold, outcome, y0, y1, effect, group sizes, matched, reason.

        The frame is of the kind that the sample was read from (pandas, polars, pyarrow, DuckDB).
        """
        return like(self.sample.home, _words.effects_frame(self))

    @property
    def _single(self) -> bool:
        return self.sample.x.ndim == 2

    def _said(self) -> str:
        return self.summary()

    def _shown(self) -> pd.DataFrame:
        return _words.effects_frame(self)


def _asks_all(sample: Sample, matching: Matching) -> bool:
    """Whether every unit of the estimand is queried."""
    query, asked = np.asarray(matching.query), np.asarray(matching.asked)
    wanted = np.asarray(queries_of(sample, matching.estimand))
    return bool(np.isin(np.flatnonzero(wanted), query[asked]).all())


def effects_of(
    sample: Sample,
    matching: Matching,
    surfaces: tuple[ResponseSurface, ...],
    effect: EffectKind,
    prognosis: Prognosis | None,
    *,
    adjusted: bool,
) -> Effects:
    """Sum outcomes or residuals over every group and measure the surfaces, once."""
    assert sample.y is not None
    if effect == "group" and isinstance(matching, Leaves):
        raise ValueError("a leaf's regression has no mean of the treated: use effect='own'.")
    matching, totals, foretold, centre = summed(sample, matching, prognosis, adjusted)
    r2 = to_device(np.zeros((0, 2), sample.x.dtype))
    if surfaces:
        fold, own = matching.fold, matching.prognosis
        own = own or foretell(sample.plain(), fold, matching.query, surfaces)
        r2 = explained(sample, fold, own, len(surfaces))
    return Effects(
        sample=sample,
        matching=matching,
        surfaces=surfaces,
        totals=first_columns(totals, 3),
        sizes=matching.sizes,
        effective=column(totals, 3),
        heavy=column(totals, 4),
        centre=centre,
        prognosis=prognosis,
        foretold=foretold,
        partitions=None,
        r2=r2,
        effect=effect,
        adjusted=adjusted,
    )
