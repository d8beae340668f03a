"""AHB by level boxes: the method's hyperparameters, and prepare / core / finish around them."""

from collections.abc import Callable, Sequence

import equinox as eqx
import numpy as np
from jaxtyping import Array

from jcausal.data import is_traced
from jcausal.matching._matcher import EffectKind, Matcher, Progress, Task
from jcausal.matching._matching import Estimand
from jcausal.matching.boxes._boxes import Boxes
from jcausal.matching.boxes._task import arms_of, boxes_of, check_minimum, prognosis_of
from jcausal.matching.boxes.levels._host_batches import grow_on_host
from jcausal.matching.boxes.levels._level_task import counts_of, level_task, uses_of
from jcausal.matching.boxes.levels._traced_chunks import grow_traced
from jcausal.surfaces import Arms, BoostedTrees, OutcomeModel, ResponseSurface, check_model

Number = float | int | Array


class AHB(Matcher):
    """Adaptive Hyper-Boxes by level boxes: one box per query, the best of a nested family.

    Through each query i a line runs along every covariate j. m_ij(v) is the largest change of the
    surface from x_i to any value between x_ij and v (of a category to the level v), all else as it
    is. The box of level u holds the values with m_ij <= u for every j: boxes of growing levels hold
    each other, and a covariate that the surface does not see is open from end to end at once. Of
    all levels that a unit stands at the one is taken whose box minimises, over the arms whose means
    are used,

        (mean of f over the arm's units in the box - f(x_i))^2 + noise / effective units,

    squared bias plus variance. Edges are values of the data; no outcome of the units matched is
    looked at, and no hyperparameter is needed. Ladders of more than `bins` values are taken in
    steps of about equally many units. Where numbers can be missing, missing is a level of its own,
    and a box around a missing value takes in all known values in one step.

    **Arguments:**

    - `gamma0`, `gamma1`: how much the error of f0 and of f1 counts. None: 1 for the surface of the
      arm that the query is compared with (f0 for a treated unit, f1 for a control, both for a point
      and under effect "group" of an average over both arms), 0 for the other.
    - `bins`: at most so many steps on a ladder.
    - `min_controls`, `min_treated`: units (not weights) that a box needs.
    - `outcome`: the model of the surfaces, for `jc.estimate`.

    Beyond some hundred millions of queries times units the level is chosen on a sample of the
    units, by their identity; groups always hold all units in the box.

    **Source:** the objective of Morucci, Orlandi, Roy, Rudin and Volfovsky, "Adaptive Hyper-box
    Matching for Interpretable Individualized Treatment Effect Estimation" (UAI 2020), eqs 2 to 4;
    the nested family and the choice in it are ours. `jc.FastAHB` is the paper's Algorithm 1,
    `jc.ExactAHB` its program with proof.

    **Example:**

        >>> import jcausal as jc
        >>> sample = jc.datasets.lalonde("experiment")
        >>> effects = jc.estimate(sample, jc.AHB(outcome=jc.Ridge()), key=0)
        >>> effects.share_matched, effects.adjusted
        (1.0, True)
    """

    gamma0: Number | None = None
    gamma1: Number | None = None
    bins: int = eqx.field(static=True, default=64)
    min_controls: int = 1
    min_treated: int = 1
    outcome: OutcomeModel | ResponseSurface | Callable = BoostedTrees()

    def __check_init__(self) -> None:
        check_model("outcome", self.outcome)
        if self.bins < 2:
            raise ValueError(f"bins is {self.bins}: a ladder needs at least 2 steps.")
        check_minimum(self.min_controls, self.min_treated)
        if is_traced(self.gamma0, self.gamma1):
            return
        given = [g for g in (self.gamma0, self.gamma1) if g is not None]
        if any(not 0 <= g < np.inf for g in given):
            raise ValueError("gamma0 and gamma1 must be finite and not negative, or None.")
        if len(given) == 2 and sum(given) == 0:
            raise ValueError("gamma0 and gamma1 are 0: one must be positive.")

    def arms(self, estimand: Estimand = "ate", effect: EffectKind = "group") -> Arms:
        """The surfaces that count for some query: of the partners, and those asked for."""
        control, treated = (
            wanted if gamma is None or is_traced(gamma) else bool(gamma > 0)
            for gamma, wanted in (
                (self.gamma0, estimand != "atc" or effect == "group"),
                (self.gamma1, estimand != "att" or effect == "group"),
            )
        )
        return arms_of(control, treated)

    @property
    def cross_fits(self) -> bool:
        """Always."""
        return True

    @property
    def traceable(self) -> bool:
        """As its outcome model."""
        return not isinstance(self.outcome, OutcomeModel) or self.outcome.traceable

    def run(
        self, task: Task, surfaces: Sequence[ResponseSurface], progress: Progress | None
    ) -> Boxes:
        """Choose the box of every query inside its own fold."""
        prognosis = prognosis_of(task, surfaces)
        uses = uses_of(task, (self.gamma0, self.gamma1))
        minimum = counts_of(self.min_controls, self.min_treated)
        work = level_task(task, prognosis, uses, minimum, self.bins)
        if is_traced(work, surfaces):
            found = grow_traced(work, surfaces)
        else:
            found = grow_on_host(work, surfaces, progress)
        return boxes_of(task, found.edges, found.status, prognosis)
