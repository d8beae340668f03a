"""LEA: one round of coarse estimates, of which the largest are taken."""

from math import sqrt
from typing import Literal

import equinox as eqx

from jcausal.allocation._sample_plan import SamplePlan
from jcausal.allocation._theorem_gamma import TheoremGamma
from jcausal.data import Options, check_share

RULE = 0.5  # the gamma of the paper's experiments
DeltaSplit = Literal["bonferroni", "none"]


class LEA(Options, eqx.Module):
    """Low-estimation allocation: estimate every group to rho = gamma sqrt(eps), take the K largest.

    With rho-regular effects the value is at least (1 - eps) of the best possible with probability
    1 - delta, from O(M log(M / delta) / eps) samples, where estimating every effect to eps takes
    1 / eps times as many, up to constants. Allocate with
    `jc.allocate(estimates, jc.TopK(budget=K), rho=lea.rho, delta=lea.delta)`.

    **Arguments:**

    - `eps`: the share of the best value that may be lost, in (0, 1).
    - `delta`: the probability with which more may be lost, in (0, 1).
    - `gamma`: a positive number; "rule" is 1/2, as in the paper's experiments, which is more than
      the theorem allows; a `TheoremGamma` takes what is proven (.07 to .2 for common shapes).
    - `delta_split`: "bonferroni" has all M estimates within rho at once with probability 1 - delta
      (delta / M each: Algorithm 1); "none" has each of them so (the scripts of the experiments),
      and no guarantee for the allocation follows.

    **Source:** Casacuberta and Hardt, arXiv 2601.05597, algorithm 1 and theorems 7 and 8.

    **Example:**

        >>> import jcausal as jc
        >>> lea = jc.LEA(eps=0.1, delta=0.05)
        >>> round(lea.rho, 3), lea.plan(78).coarse.oracle
        (0.158, 161)
    """

    eps: float = eqx.field(static=True)
    delta: float = eqx.field(static=True, default=0.05)
    gamma: float | Literal["rule"] | TheoremGamma = eqx.field(static=True, default="rule")
    delta_split: DeltaSplit = eqx.field(static=True, default="bonferroni")

    def __check_init__(self) -> None:
        check_share("eps", self.eps)
        check_share("delta", self.delta)
        if isinstance(self.gamma, str):
            if self.gamma != "rule":
                raise ValueError(
                    f"gamma is {self.gamma!r}: use a number, 'rule' or a TheoremGamma."
                )
        elif not isinstance(self.gamma, TheoremGamma) and not 0 < self.gamma < float("inf"):
            raise ValueError(f"gamma is {self.gamma}: it must be a positive number.")

    @property
    def factor(self) -> float:
        """The number that gamma stands for."""
        if isinstance(self.gamma, TheoremGamma):
            return self.gamma.gamma
        return RULE if isinstance(self.gamma, str) else float(self.gamma)

    @property
    def source(self) -> str:
        """Where gamma comes from, in words."""
        if isinstance(self.gamma, TheoremGamma):
            return f"by the theorem, V*/M = {self.gamma.mean_value:.4g} and c = {self.gamma.c:.4g}"
        return "by rule" if isinstance(self.gamma, str) else "as given"

    @property
    def rho(self) -> float:
        """Accuracy of each estimate, gamma sqrt(eps), where effects lie in [0, 1]."""
        return self.factor * sqrt(self.eps)

    def plan(
        self,
        groups: int,
        *,
        outcome_bounds: tuple[float, float] = (0.0, 1.0),
        effect_range: float | None = None,
        treated_share: float = 0.5,
    ) -> SamplePlan:
        """How many samples the estimates of `groups` groups take.

        **Arguments:**

        - `outcome_bounds`: smallest and largest possible outcome, for the two-arm trial.
        - `effect_range`: what an effect of 1 on the scale of rho is in outcome units (see
          `jc.allocation.unit_scale`); None for the whole range of outcomes.
        - `treated_share`: of each group, in (0, 1).

        **Returns:** `SamplePlan`. **Raises:** ValueError for no groups, and for bounds that are
        not finite: without bounds no number of samples is enough for Hoeffding's inequality.
        """
        low, high = outcome_bounds
        return SamplePlan(
            groups=groups,
            eps=self.eps,
            delta=self.delta,
            gamma=self.factor,
            source=self.source,
            delta_split=self.delta_split,
            outcome_bounds=(float(low), float(high)),
            effect_range=effect_range,
            treated_share=treated_share,
        )
