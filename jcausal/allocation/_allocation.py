"""What is treated, what it is worth, and what it may have lost."""

from typing import Any

import equinox as eqx
import numpy as np
import pandas as pd
from jaxtyping import Array, Float

from jcausal.allocation._certificate import Chosen, Scalar, ratio
from jcausal.allocation._estimates import GroupEstimates, Vector
from jcausal.allocation._top_k import Budget
from jcausal.data import Shown, like, number_in_words

Bounds = tuple[float, float]
Numbers = Float[Array, "*b k"] | Float[np.ndarray, "*b k"]


class Value(eqx.Module):
    """The estimated value of the chosen groups, three times.

    `naive` is the sum of their estimates, which is too high: groups are chosen for being
    overestimated. `split` chooses by one half of the units and sums the other half's estimates (the
    mean over halves and splits): without that bias, for a choice from half of the data. `shrunk`
    sums the posterior means when true effects are normal around a common mean (empirical Bayes).
    The latter two are None when the estimates have no halves and no errors.
    """

    naive: Scalar
    split: Scalar | None
    shrunk: Scalar | None


class Allocation(Shown, eqx.Module):
    """Which groups are treated, and a certificate of the value that is lost. Made by `jc.allocate`.

    All of it holds when every effect lies within `rho` of its estimate (and within `bounds`):

    - `kept`: the chosen groups' effects sum to at least that.
    - `lost`: the best set that the budget pays for is worth at most so much more.
    - `guaranteed_ratio`: kept / (kept + lost): the share of the best value that is sure. It is
      exact: effects that reach it are `worst`. A ratio depends on where an effect of 0 is; `lost`
      does not. Minus infinity when the chosen may do harm on the whole.
    - `paper_ratio`: the paper's one-sided certificate, which is lower; NaN unless K groups are
      chosen whose effects are not negative.
    - `contested` (k,): the groups at the threshold, which the best set would swap in the worst
      case. More data for them raise the guarantee.
    - `gap`: how much more estimated value a set might have (0 when the choice is proven best).
    - `reliability`: the share of the estimates' variance that is not sampling error; None without
      errors.
    """

    estimates: GroupEstimates
    budget: Budget
    rho: Vector
    chosen: Chosen
    contested: Chosen
    value: Value
    kept: Scalar
    lost: Scalar
    paper_ratio: Scalar
    gap: Scalar
    reliability: Scalar | None
    given_rho: bool = eqx.field(static=True)
    delta: float = eqx.field(static=True)
    bounds: Bounds = eqx.field(static=True)

    @property
    def guaranteed_ratio(self) -> Scalar:
        """The share of the best value that the chosen groups are sure to have."""
        return ratio(self.kept, self.lost)

    @property
    def lower(self) -> Vector:
        """The least that each effect can be."""
        return clipped(self.estimates.value - self.rho, self.bounds)

    @property
    def upper(self) -> Vector:
        """The most that each effect can be."""
        return clipped(self.estimates.value + self.rho, self.bounds)

    @property
    def worst(self) -> Vector:
        """Effects (k,) within the errors for which no more than the guaranteed ratio is had."""
        lower = self.lower
        return lower.__array_namespace__().where(self.chosen, lower, self.upper)

    @property
    def spend(self) -> Array | np.ndarray | float:
        """What the chosen groups cost: their number under `jc.TopK`."""
        return self.budget.spend(self.chosen)

    def to_frame(self) -> Any:
        """One row a group: estimate, std_error, rho, lower and upper end, chosen, contested.

        The frame is of the kind that the estimates' sample was read from.
        """
        return like(self.estimates.home, self._shown())

    @property
    def _single(self) -> bool:
        return self.chosen.ndim == 1

    def _said(self) -> str:
        return self.summary()

    def _shown(self) -> pd.DataFrame:
        columns: dict[str, Any] = dict(
            group=list(self.estimates.labels), estimate=np.asarray(self.estimates.value)
        )
        if self.estimates.std_error is not None:
            columns["std_error"] = np.asarray(self.estimates.std_error)
        for name in ("rho", "lower", "upper", "chosen", "contested"):
            columns[name] = np.asarray(getattr(self, name))
        frame = pd.DataFrame(columns)
        frame.attrs.update(guaranteed_ratio=float(self.guaranteed_ratio), delta=self.delta)
        return frame

    def summary(self) -> str:
        """What is treated, its value three times, the guarantee and who decides it, in words."""
        return "\n".join([self._head(), *self._values(), *self._guarantee(), *self._doubts()])

    def _head(self) -> str:
        chosen, k = np.flatnonzero(np.asarray(self.chosen)), self.estimates.groups
        who = f": {self.estimates.names(chosen)}" if chosen.size else ""
        return f"treated {chosen.size:,} of {k:,} groups (budget: {self.budget.words}){who}"

    def _values(self) -> list[str]:
        if not np.asarray(self.chosen).any():
            return ["no group is sure to have an effect above 0: nothing is chosen"]
        parts = [f"{number_in_words(float(self.value.naive))} naive (too high: chosen for it)"]
        for name in ("split", "shrunk"):
            found = getattr(self.value, name)
            parts += [] if found is None else [f"{number_in_words(float(found))} {name}"]
        lines = [f"value {', '.join(parts)}"]
        if self.value.split is None:
            lines.append("no split value: give key= (it takes errors or a sample)")
        if float(self.gap) > 0:
            lines.append(
                f"another set may be worth {number_in_words(float(self.gap))} more by the estimates"
            )
        return lines

    def _guarantee(self) -> list[str]:
        sure = float(self.guaranteed_ratio)
        share = f"at least {sure:.1%}" if sure > 0 else "no share"
        share += " of the best value"
        percent = f"{100 * (1 - self.delta):g}%"
        source = "as given" if self.given_rho else "from the errors, for all groups at once"
        paper = float(self.paper_ratio)
        beside = "" if np.isnan(paper) else f" (by the paper's one-sided certificate {paper:.1%})"
        kept, lost = (number_in_words(float(v)) for v in (self.kept, self.lost))
        return [
            f"guaranteed with probability {percent}: {share}{beside}; value at least {kept}, at "
            f"most {lost} lost",
            f"rho {_span(np.asarray(self.rho))} {source}; shares count from an effect of 0",
        ]

    def _doubts(self) -> list[str]:
        lines, contested = [], np.flatnonzero(np.asarray(self.contested))
        if contested.size:
            lines.append(
                f"{contested.size:,} groups at the threshold decide it: "
                f"{self.estimates.names(contested)}"
            )
        if self.reliability is not None:
            lines.append(
                f"reliability {float(self.reliability):.2f}: the share of the estimates' variance "
                "that is not sampling error"
            )
        return lines


def clipped(values: Numbers, bounds: Bounds) -> Numbers:
    """Values within bounds."""
    return values.__array_namespace__().clip(values, bounds[0], bounds[1])


def _span(values: Float[np.ndarray, " k"]) -> str:
    low, high = float(values.min()), float(values.max())
    if low == high:
        return number_in_words(low)
    return f"{number_in_words(low)} to {number_in_words(high)}"
