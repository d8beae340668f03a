"""Intervals for averages: the sandwich variance of weighted means, robust to clusters."""

from typing import Literal

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jcausal.data import is_traced, to_device
from jcausal.effects import Effects
from jcausal.inference._average import AverageMethod, Form, FormVariance, Variance
from jcausal.inference._cluster_robust import Correction, lifted, orthonormal, satterthwaite
from jcausal.inference._clusters_of_units import Clusters, clusters_of_units
from jcausal.inference._unit_scores import outcome_scores, query_scores


class Sandwich(AverageMethod):
    """Interval for the average effect: the sandwich variance of a regression on the treatment.

    The average sum_k c_k y_k is the slope of the weighted regression of y on the treatment, each
    unit weighing |c_k|. With e_k what it leaves of the outcomes (of their residuals from the model
    where effects are adjusted) and v_k (h_k - mean) what a query's foretold effect adds,

        V = sum over clusters g of (sum over k in g of c_k e_k + v_k (h_k - mean))^2.

    It takes c as given: the groups are held fixed. What is compared within matched sets is compared
    there with `cluster="sets"`; partners that are shared count once, by all that they carry.

    **Arguments:**

    - `cluster`: "sample", the clusters that the sample names; "sets", matched sets; "units"; "auto"
      (default): the sample's, else matched sets where groups do not overlap and hold one unit of
      an arm each (pairs, full matching; not strata), else units.
    - `correction`: "CR2" (default) lifts e within each cluster so that V is unbiased under equal
      noise, with Student's quantile on Satterthwaite's degrees of freedom, also for few clusters;
      "CR1" scales V by G / (G - 1) (m - 1) / (m - 2) and "CR0" does not, with normal quantiles. Of
      400 samples with six clusters 96% of 95% intervals by CR2 held the effect, 86% by CR1; of 300
      with 60 pairs 96% by CR2.
    - `level`. Concrete arrays only.

    **Raises:** ValueError for one cluster, regressions, and under tracing.

    **Source:** Bell and McCaffrey (2002), Survey Methodology 28(2); Pustejovsky and Tipton (2018),
    JBES 36(4); matched sets as clusters: Abadie and Spiess (2022), JASA 117(538).

    **Example:**

        >>> import jcausal as jc
        >>> sample = jc.datasets.lalonde("experiment")
        >>> effects = jc.estimate(sample, jc.Subclassification())
        >>> bounds = jc.interval(effects, jc.Sandwich())
        >>> bool(bounds.lower < effects.att) and bool(effects.att < bounds.upper)
        True
    """

    cluster: Clusters = eqx.field(static=True, default="auto")
    correction: Correction = eqx.field(static=True, default="CR2")
    level: float = eqx.field(static=True, default=0.95)
    target: Literal["population", "sample"] = eqx.field(
        static=True, init=False, default="population"
    )

    @property
    def words(self) -> str:
        """As readers know it."""
        return f"sandwich, {self.correction}"

    def variance(
        self, effects: Effects, share: Float[Array, " q"], key: PRNGKeyArray | None
    ) -> Variance:
        """Who is in a cluster, once; then the variance of a form with its degrees of freedom."""
        if is_traced(effects):
            raise ValueError("jc.Sandwich needs concrete arrays: use jc.AbadieImbens() under jit.")
        smoother = effects.matching.smoother()
        if smoother is not None:
            raise ValueError(
                f"jc.Sandwich is for means of groups, and these effects come from {smoother}: use "
                "jc.AbadieImbens() or jc.Bootstrap()."
            )
        label, words = clusters_of_units(effects.sample, effects.matching, self.cluster)
        label = jax.tree.map(np.asarray, label)

        def of_form(form: Form) -> FormVariance:
            return self._of(effects, form, label, words)

        return of_form

    def _of(
        self, effects: Effects, form: Form, label: Int[np.ndarray, " n"], words: str
    ) -> FormVariance:
        """V of one form over the units that have a part in it."""
        c, more, y = (
            np.asarray(a, np.float64)
            for a in (outcome_scores(effects, form), query_scores(effects, form), effects.residual)
        )
        t, none = np.asarray(effects.sample.t), to_device(np.zeros((), bool))
        rows = np.flatnonzero(c)
        if not (t[rows].any() and (~t[rows]).any()):
            return FormVariance(_number(np.nan, effects), none, _number(np.nan, effects))
        design = orthonormal(_arms(t[rows]), np.abs(c[rows]), label[rows])
        if design.clusters < 2:
            raise ValueError(
                f"all {rows.size} units that are averaged are of one cluster ({words}): an error "
                "needs two and more; use finer clusters."
            )
        left = y[rows] - design.x @ design.coefficients(y[rows])
        score = c[rows] * lifted(design, left, self.correction) + more[rows]
        variance = (design.by_cluster(score) ** 2).sum()
        df = np.inf
        if self.correction == "CR2":
            scale = np.asarray(form.scale, np.float64)
            df = satterthwaite(design, np.array([-scale[0], scale[1]]) @ design.turn)
        return FormVariance(_number(variance, effects), none, _number(df, effects))


def _arms(treated: Bool[np.ndarray, " m"]) -> Float[np.ndarray, "m 2"]:
    return np.stack([~treated, treated], axis=1).astype(np.float64)


def _number(value: float, effects: Effects) -> Float[Array, ""]:
    return to_device(np.asarray(value, effects.sample.x.dtype))
