"""Intervals for averages: the weighted bootstrap of bias-corrected contributions."""

from typing import Any, Literal

import equinox as eqx
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jcausal.data import add_at, as_key, on_host
from jcausal.effects import Effects
from jcausal.inference._average import AverageMethod, Form, FormVariance, Variance
from jcausal.inference._bootstrap import Weights, check_draws, variance_of_draws
from jcausal.inference._drawn import drawn_from
from jcausal.inference._unit_scores import outcome_scores, query_scores
from jcausal_kernels import bootstrap_sums


class WeightedBootstrap(AverageMethod):
    """Normal interval for the average effect of a population: contributions are drawn, no matches.

    With y_k - f(x_k) the residual from the model that adjusts the effects, f of another fold, c_k
    its coefficient in the average, and f1 - f0 at a query of share v_k, unit k contributes

        s_k = c_k (y_k - f(x_k)) + v_k (f1(x_k) - f0(x_k) - mean),

    where under estimand "att" with f0 alone, which stands for f1, a treated unit has
    v_k (y_k - f0(x_k) - average). A draw is sum_k (w_k - 1) s_k, one weight a unit or cluster. The
    error is the root mean square of the draws: sum_k s_k^2 under Poisson weights.

    Resampling units and matching anew is no valid bootstrap for a fixed number of neighbours
    (Abadie and Imbens 2008); this one moves with how often a unit is a partner, and is valid where
    the model is consistent. `Bootstrap` needs no model.

    **Arguments:** `draws`; `weights` "multinomial", "poisson" or "bayesian"; `level`. It runs under
    jit and vmap where no effects are of regressions.

    **Raises:** ValueError for effects that no model adjusts, and for regressions.

    **Source:** Otsu and Rai (2017), JASA 112(520).

    **Example:**

        >>> import jcausal as jc
        >>> sample = jc.datasets.lalonde("experiment")
        >>> effects = jc.estimate(sample, jc.AHB(outcome=jc.Ridge()), key=0)
        >>> bounds = jc.interval(effects, jc.WeightedBootstrap(draws=200), key=1)
        >>> bool(bounds.lower < effects.att) and bool(effects.att < bounds.upper)
        True
    """

    draws: int = eqx.field(static=True, default=1000)
    weights: Weights = eqx.field(static=True, default="multinomial")
    level: float = eqx.field(static=True, default=0.95)
    target: Literal["population", "sample"] = eqx.field(
        static=True, init=False, default="population"
    )

    def __check_init__(self) -> None:
        check_draws(self.draws, self.weights)

    @property
    def words(self) -> str:
        """As readers know it."""
        return f"weighted bootstrap, {self.draws:,} {self.weights} draws"

    def variance(
        self, effects: Effects, share: Float[Array, " q"], key: PRNGKeyArray | None
    ) -> Variance:
        """Who is drawn, once; then the variance of a form."""
        smoother = effects.matching.smoother()
        if smoother is not None:
            raise ValueError(
                f"jc.WeightedBootstrap is for means of groups, and these effects come from "
                f"{smoother}: use jc.Bootstrap()."
            )
        if effects.prognosis is None or not effects.adjusted:
            raise ValueError(
                "jc.WeightedBootstrap draws residuals from an outcome model, and no model adjusts "
                "these effects: pass adjust=jc.Ridge() to jc.estimate, or use jc.Bootstrap()."
            )
        key = as_key(key, "jc.WeightedBootstrap")
        drawn = drawn_from(effects.sample)

        def of_form(form: Form) -> FormVariance:
            scores = _contributions(
                outcome_scores(effects, form),
                effects.residual,
                query_scores(effects, form),
                _share_at_rows(effects, form),
            )
            sums = bootstrap_sums(*drawn.named(scores), key, draws=self.draws, weights=self.weights)
            return FormVariance(
                variance_of_draws(sums, drawn.valid, self.weights), _never(scores), draws=sums
            )

        return of_form


def _share_at_rows(effects: Effects, form: Form) -> Float[Array, " n"]:
    """The share of each row as a query."""
    return _at_rows(form.share, effects.matching.query, effects.sample.weight)


@on_host
def _at_rows(
    lib: Any, share: Float[Array, " q"], query: Int[Array, " q"], like: Float[Array, " n"]
) -> Float[Array, " n"]:
    return add_at(lib, like.shape[0], lib.maximum(query, 0), lib.where(query >= 0, share, 0))


@on_host
def _contributions(
    lib: Any,
    c: Float[Array, " n"],
    residual: Float[Array, " n"],
    more: Float[Array, " n"],
    share: Float[Array, " n"],
) -> Float[Array, " n"]:
    """s_k: what the residuals add to the average goes to the queries, so that all add up to 0."""
    own = c * lib.where(c == 0, 0, residual)
    return own + more - share * own.sum()


@on_host
def _never(lib: Any, scores: Float[Array, " n"]) -> Bool[Array, ""]:
    return lib.zeros((), bool)
