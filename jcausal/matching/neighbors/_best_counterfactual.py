"""The best counterfactual: for simulations, partners chosen by the truth that nobody sees."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from jcausal.data import DataError, whole
from jcausal.matching._matcher import DesignMatcher, Progress, Task
from jcausal.matching.neighbors._limits import check_rule, limits_of, search_space
from jcausal.matching.neighbors._neighbor_pairs import neighbor_pairs
from jcausal.matching.neighbors._pairs import Pairs
from jcausal.matching.neighbors._with_replacement import NearestRule

ORACLE = "no method for data: partners were chosen by the true outcomes"
MEMORY = 2**30  # bytes


class BestCounterfactual(DesignMatcher):
    """Match each query to the units of the other arm whose outcome is nearest to its own truth.

    A treated query i takes the `ratio` controls k of the least |y_k - y0_i|, a control the treated
    units of the least |y_k - y1_i|: how well any matching could do that averages so many outcomes.
    Of equally near ones the first by their covariates' values, then by id.

    **Arguments:**

    - `truth`: (n, 2) the outcomes y0 and y1 of every row of the sample, as simulated.
    - `ratio`: partners a query.

    **Returns** (by `jc.match` and in `effects.matching`): `Pairs`.

    **Raises:** `DataError` for a sample without outcomes; ValueError for a truth of another length,
    or not finite.

    **Source:** Morucci et al. (UAI 2020), section 4, "Best CF".

    **Example:**

        >>> import jcausal as jc, numpy as np
        >>> data = jc.simulate.ahb_table2("quad/const", key=0)
        >>> truth = np.stack([data.y0, data.y1], axis=1)
        >>> effects = jc.estimate(data.sample, jc.simulate.BestCounterfactual(truth))
        >>> effects.share_matched
        1.0
    """

    truth: Float[np.ndarray, "n 2"] | Float[Array, "n 2"]
    ratio: int = eqx.field(converter=whole, static=True, default=1)

    def __check_init__(self) -> None:
        check_rule(self.ratio, (), MEMORY)
        if np.ndim(self.truth) != 2 or np.shape(self.truth)[1] != 2:
            raise ValueError(
                f"truth has shape {np.shape(self.truth)}: it must be (n, 2), the columns y0 and y1."
            )

    @property
    def traceable(self) -> bool:
        """Never: outcomes are sorted on the host."""
        return False

    def run(
        self, task: Task, surfaces: Sequence[Any] = (), progress: Progress | None = None
    ) -> Pairs:
        """Find the partners of every query."""
        self.check_rows(task)
        sample, truth = task.sample, np.asarray(self.truth, np.float64)
        if sample.y is None:
            raise DataError("the sample has no outcome: attach it with sample.with_outcome(y).")
        if truth.shape[0] != sample.n or not np.isfinite(truth).all():
            raise ValueError(
                f"truth has {truth.shape[0]} rows and the sample {sample.n}: it must hold a finite "
                "y0 and y1 for each row of the sample that is matched."
            )
        y, t = np.asarray(sample.y, np.float64), np.asarray(sample.t)
        limits = limits_of(sample, None, "raw", None)
        spaces = tuple(
            search_space(task, np.where(t == arm, truth[:, 1 - arm], y)[:, None], limits, (), None)
            for arm in (0, 1)
        )
        rule = NearestRule(self.ratio, True, "first", "data", MEMORY)
        return neighbor_pairs(spaces, task, rule, caution=ORACLE)  # type: ignore[arg-type]
