"""Effects from a matching, with their words and frames."""

import dataclasses
from typing import Any

import equinox as eqx
import numpy as np
import pandas as pd
from jaxtyping import Array, Float, Int

from jcausal.data import By, column, like, to_device
from jcausal.effects import _frames, _words
from jcausal.effects._at_points import as_effects, effects_at
from jcausal.effects._formulas import first_columns
from jcausal.effects._group_effects import EffectsOfGroups, Partitions
from jcausal.effects._made_by import MadeBy
from jcausal.effects._residuals import explained
from jcausal.effects._sums import summed
from jcausal.matching import EffectKind, Matching, Prognosis, foretell
from jcausal.surfaces import ResponseSurface


class Effects(EffectsOfGroups):
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
    A query without a match is NaN with `matched` False. `made_by`: the method that made the groups,
    which `predict` asks; None where a matching was given, and under tracing.

    With `adjusted` groups average residuals y_k - f(x_k) in place of outcomes, f of the unit's own
    arm by `prognosis`, and a query gets its own prediction back: for a treated query
    y0 = f0(x_i) + mean over the group's controls of (y_k - f0(x_k)). What the model sees of how the
    members differ from the query is gone, the rest is what matching is for. `totals` are then sums
    of residuals. `foretold` (q, 2) is the mean prediction in each group by arm; None without a
    model. Where one arm's surface was not fitted the other's stands in.

    **Source:** Abadie and Imbens (2011), JBES 29(1), with a model of other rows in place of a
    regression on the matched ones; Lin, Ding and Han (2023), Econometrica 91(6).
    """

    matching: Matching
    surfaces: tuple[ResponseSurface, ...]
    totals: Float[Array, "q 2 3"]
    sizes: Int[Array, "q 2"]
    effective: Float[Array, "q 2"]
    heavy: Float[Array, "q 2"]
    centre: Float[Array, ""]
    prognosis: Prognosis | None
    foretold: Float[Array, "q 2"] | None
    partitions: Partitions | None
    r2: Float[Array, "k 2"]
    effect: EffectKind = eqx.field(static=True)
    adjusted: bool = eqx.field(static=True)
    made_by: MadeBy | None = None

    def predict(self, x: Float[Array, "m p"] | Any) -> Float[Array, " m"]:
        """The effect at new points, by the groups that the method makes around them.

        A group is made in each fold, by the surface and among the units of that fold, as
        `jc.match(at=x)` does; the effect is the mean of its treated less the mean of its controls
        (tau_a), adjusted as these effects are, and the mean over the folds. Where one arm's surface
        was not fitted the other's stands in.

        **Arguments:** `x`: points (m, p) as `sample.x`, or a frame with the sample's covariates,
        levels by their labels.

        **Returns:** (m,); NaN where a point has no group: `predict_frame` tells why.

        **Raises:** ValueError for methods that match rows of the sample only, effects made of a
        matching that was given, and effects adjusted by a model of their own; `DataError` for
        points of other columns or levels.

        **Example:**

            >>> import jcausal as jc
            >>> sample = jc.datasets.lalonde("experiment")
            >>> effects = jc.estimate(sample, jc.AHB(outcome=jc.Ridge()), key=0)
            >>> effects.predict(sample.x[:3]).shape
            (3,)
        """
        return as_effects(effects_at(self, self.made_by, x), np.dtype(self.sample.x.dtype))

    def predict_frame(self, x: Float[Array, "m p"] | Any) -> Any:
        """What `predict` says of new points: one row a point.

        Columns effect, y0, y1, n_control and n_treated (units of its groups, of all folds together)
        and reason, how the point ended.

        **Returns:** a frame of the sample's kind.

        **Raises:** as `predict`.
        """
        return like(self.sample.home, effects_at(self, self.made_by, x).frame())

    @property
    def unadjusted(self) -> "Effects":
        """The same groups with plain means of outcomes (the papers' estimators)."""
        if not self.adjusted:
            return self
        plain = effects_of(
            self.matching, self.surfaces, self.effect, self.prognosis, adjusted=False
        )
        return dataclasses.replace(plain, made_by=self.made_by)

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
        return like(self.sample.home, _frames.cate_frame(self, by))

    def summary(self, interval: object = None) -> str:
        """The average, the share matched and why not all, group sizes, the surfaces' R2, in words.

        For outcomes that are 0 or 1 also both risks, their difference and ratio.

        **Arguments:** `interval` an `Interval` of the average or of the risk ratio, to be printed
        in its place.
        """
        return _words.summary(self, interval)

    def unmatched(self) -> Any:
        """Who was dropped beside who was kept: covariate means of the two, and their counts."""
        return like(self.sample.home, _frames.kept_and_dropped(self))

    def to_frame(self) -> Any:
        """One row a query: id, arm, fold, outcome, y0, y1, effect, group sizes, matched, reason.

        The frame is of the kind that the sample was read from (pandas, polars, pyarrow, DuckDB).
        """
        return like(self.sample.home, _frames.effects_frame(self))

    @property
    def _single(self) -> bool:
        return self.sample.x.ndim == 2

    def _said(self) -> str:
        return self.summary()

    def _shown(self) -> pd.DataFrame:
        return _frames.effects_frame(self)


def effects_of(
    matching: Matching,
    surfaces: tuple[ResponseSurface, ...],
    effect: EffectKind,
    prognosis: Prognosis | None,
    *,
    adjusted: bool,
) -> Effects:
    """Sum outcomes or residuals over every group and measure the surfaces, once."""
    sample, smoother = matching.sample, matching.smoother()
    if effect == "group" and smoother is not None:
        raise ValueError(f"{smoother} have no mean of the treated: use effect='own'.")
    matching, totals, foretold, centre = summed(matching, prognosis, adjusted)
    r2 = to_device(np.zeros((0, 2), sample.x.dtype))
    if surfaces:
        fold, own = matching.fold, matching.prognosis
        own = own or foretell(sample.plain(), fold, matching.query, surfaces)
        r2 = explained(sample, fold, own, len(surfaces))
    return Effects(
        matching=matching,
        surfaces=surfaces,
        totals=first_columns(totals, 3),
        sizes=to_device(matching.sizes),
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
