"""Intervals for averages: Abadie and Imbens' variance for matching with replacement."""

from typing import Any, Literal

import equinox as eqx
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jcausal.data import (
    added,
    on_host,
    to_device,
)
from jcausal.effects import Effects
from jcausal.inference._average import AverageMethod, Form, FormVariance, Variance
from jcausal.inference._neighbor_noise import NeighborMetric, Neighbors, Spread, noise_variance
from jcausal.matching import EffectKind


class AbadieImbens(AverageMethod):
    """Normal interval for the average effect, with the variance that shared partners cause.

    With the average sum_k c_k y_k and the queries' shares v (1/n1 each without weights),
    population: V = sum_q v_q^2 (tau_q - average)^2 + sum_k (c_k^2 - sum_q c_kq^2) sigma_k^2,
    sample:     V = sum_k c_k^2 sigma_k^2, where c_kq is unit k's coefficient in query q's effect.
    sigma_k^2 = J/(J+1) (y_k - mean of its J nearest units of the same arm)^2, of residuals where
    effects are adjusted (the average is then linear in them, given the model); all units tied at
    the J-th distance are taken, so that row order changes nothing. For `jc.M5Model` sigma_k^2 of a
    control is the residual variance of its leaf, so that V holds x' (X'X)^-1 x sigma^2, the error
    of the leaf's coefficients. ValueError for a sample with clusters, which V ignores.

    With J = 0 noise is taken to be the same everywhere: sigma^2 is half the mean, over queries by
    their shares and partners by their weights, of (difference of the pair - average)^2. That is the
    default of R's Matching.

    **Arguments:**

    - `variance_neighbors` J, or 0 for one sigma^2.
    - `metric`: of distances to neighbours: "scaled_euclidean", covariates over their standard
      deviation, a category counting 1 when levels differ; "mahalanobis", by the inverse of the
      covariance of the whole sample, weighted, a category as its 0/1 levels.
    - `spread`: "unit", the square above; "set", the variance of the unit and its neighbours, over
      one less than their number: as large on average and steadier (R's Matching with Var.calc=J).
    - `target` "population" or "sample"; `level`.

    **Source:** Abadie and Imbens (2006), Econometrica 74(1), theorems 6 and 7; J = 0: Abadie,
    Drukker, Herr and Imbens (2004), Stata Journal 4(3).
    """

    variance_neighbors: int = eqx.field(static=True, default=1)
    metric: NeighborMetric = eqx.field(static=True, default="scaled_euclidean")
    spread: Spread = eqx.field(static=True, default="unit")
    target: Literal["population", "sample"] = eqx.field(static=True, default="population")
    level: float = eqx.field(static=True, default=0.95)

    def __check_init__(self) -> None:
        if self.variance_neighbors < 0:
            raise ValueError(
                f"variance_neighbors is {self.variance_neighbors}: it must be at least 1, or 0 for "
                "one variance everywhere."
            )

    @property
    def words(self) -> str:
        """As readers know it."""
        return "Abadie-Imbens, one variance" if self.variance_neighbors == 0 else "Abadie-Imbens"

    def variance(
        self, effects: Effects, share: Float[Array, " q"], key: PRNGKeyArray | None
    ) -> Variance:
        """sigma^2 of every unit that carries weight, once; then V of a form."""
        if effects.sample.cluster is not None:
            raise ValueError(
                "jc.AbadieImbens would ignore the sample's clusters: use jc.Bootstrap(), which "
                "draws them whole, or a sample without cluster=."
            )
        sigma, none = self._noise(effects, share), to_device(np.zeros((), bool))

        def of_form(form: Form) -> FormVariance:
            c, t = effects.coefficients(form.share), effects.sample.t
            if self.target == "sample":
                return FormVariance(_sample_variance(c, t, form.scale, sigma), none)
            single, gap = effects.coefficients(form.share, power=2), form.gap(effects)
            found = _population_variance(c, single, gap, t, form.scale, sigma)
            return FormVariance(found, none)

        return of_form

    def _noise(self, effects: Effects, share: Float[Array, " q"]) -> Float[Array, " n"]:
        """sigma^2 of every unit that carries weight."""
        smoother = effects.matching.smoother()
        if self.variance_neighbors == 0:
            if smoother is not None:
                raise ValueError(
                    f"one variance of all pairs is for means of groups, and these effects come "
                    f"from {smoother}: use variance_neighbors=1."
                )
            return _of_pairs(
                share, effects.ite, effects.totals, _used(effects), effects.sample.weight
            )
        c = effects.coefficients(share)
        wanted = _wanted(c, None if smoother is None else effects.sample.t, self.target)
        how = Neighbors(self.variance_neighbors, self.metric, self.spread)
        sigma = noise_variance(effects.sample, effects.residual, how, wanted)
        return sigma if smoother is None else added(sigma, _regression_noise(effects))


def _used(effects: Effects) -> Bool[Array, "q 2"]:
    """Arms whose mean is a part of the effect."""
    matching = effects.matching
    return means_in_use(matching.query, matching.query_treated, effects.effect)


@on_host
def means_in_use(
    lib: Any, query: Int[Array, " q"], treated: Bool[Array, " q"], effect: EffectKind
) -> Bool[Array, "q 2"]:
    """Which arms' means are a part of the effect: both, or the other arm's under "own"."""
    own = (query >= 0) & (effect == "own")
    return lib.stack([~own | treated, ~own | ~treated], axis=1)


@on_host
def _of_pairs(
    lib: Any,
    share: Float[Array, " q"],
    ite: Float[Array, " q"],
    totals: Float[Array, "q 2 3"],
    used: Bool[Array, "q 2"],
    like: Float[Array, " n"],
) -> Float[Array, " n"]:
    """Half the mean square of the pairs' differences around the average, for every unit.

    `share` of the queries, which need not add up to 1.
    """
    use = share > 0
    share = share / lib.where(use.any(), share.sum(), 1)
    effect = lib.where(use, ite, 0)
    weight = totals[..., 0]
    inside = lib.where(used & (weight > 0), totals[..., 2] / lib.where(weight > 0, weight, 1), 0)
    square = (effect - (share * effect).sum()) ** 2 + inside.sum(1)
    return lib.full_like(like, 1) * (share * lib.where(use, square, 0)).sum() / 2


@on_host
def _wanted(
    lib: Any, c: Float[Array, " n"], t: Bool[Array, " n"] | None, target: str
) -> Bool[Array, " n"]:
    """Units whose sigma^2 is needed; of regressions only of the sample's treated."""
    return c != 0 if t is None else (c != 0) & t & (target == "sample")


@on_host
def _sample_variance(
    lib: Any,
    c: Float[Array, " n"],
    t: Bool[Array, " n"],
    scale: Float[Array, " 2"],
    sigma: Float[Array, " n"],
) -> Float[Array, ""]:
    return ((c * scale[t.astype(np.int32)]) ** 2 * sigma).sum()


@on_host
def _population_variance(
    lib: Any,
    c: Float[Array, " n"],
    single: Float[Array, " n"],
    gap: Float[Array, " q"],
    t: Bool[Array, " n"],
    scale: Float[Array, " 2"],
    sigma: Float[Array, " n"],
) -> Float[Array, ""]:
    shared = (c**2 - single) * scale[t.astype(np.int32)] ** 2
    return lib.maximum((gap**2).sum() + (shared * sigma).sum(), 0)


def _regression_noise(effects: Effects) -> Float[Array, " n"]:
    """The residual variance of each control's regression; 0 for others."""
    sample = effects.sample
    assert sample.y is not None
    found = effects.matching.unit_residuals(_centred(sample.y, effects.centre, sample.valid))
    assert found is not None
    return found.variance


@on_host
def _centred(
    lib: Any, y: Float[Array, " n"], centre: Float[Array, ""], valid: Bool[Array, " n"]
) -> Float[Array, " n"]:
    return lib.where(valid, y - centre, 0)
