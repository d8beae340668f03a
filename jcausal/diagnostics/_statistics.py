"""Statistics of balance: each a function of one covariate in two weighted arms."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float

from jcausal.diagnostics._overlap import sorted_area


@dataclass(frozen=True)
class WeightedColumn:
    """One row of a balance table under one weighting: what a statistic is made of.

    `values` (m,) in rising order, `treated` (m,) and `weight` (m,) of the units whose value is
    known, those of weight 0 included (a regression's weights may be negative); `scale`, what
    differences of means are divided by, of the unadjusted sample; `share`, whether values are 0
    and 1.
    """

    values: Float[np.ndarray, " m"]
    treated: Bool[np.ndarray, " m"]
    weight: Float[np.ndarray, " m"]
    scale: float
    share: bool

    @cached_property
    def arms(self) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
        """Values and weights of the controls and of the treated, those of weight 0 left out."""
        sides = (self.treated == arm for arm in (False, True))
        rows = [side & (self.weight != 0) for side in sides]
        return tuple((self.values[row], self.weight[row]) for row in rows)

    @cached_property
    def means(self) -> tuple[float, float]:
        """Weighted means of controls and treated; NaN of an arm without weight."""
        found = (float(w @ v) / w.sum() if w.sum() > 0 else np.nan for v, w in self.arms)
        zero, one = found
        return zero, one

    @cached_property
    def variances(self) -> tuple[float, float]:
        """Sum w (x - m)^2 / (sum w - sum w^2 / sum w) of controls and treated; NaN if undefined.

        That of equal values is 0, not what rounding leaves of it.
        """
        zero, one = (_variance(v, w, m) for (v, w), m in zip(self.arms, self.means))
        return zero, one

    @cached_property
    def gaps(self) -> Float[np.ndarray, " k"]:
        """At each distinct value: treated less controls, in the share of weight up to it.

        NaN where an arm has no weight. Of weights below 0 none counts.
        """
        reach = []
        for arm in (False, True):
            mass = np.cumsum(np.where(self.treated == arm, np.maximum(self.weight, 0), 0))
            if not mass.size or mass[-1] <= 0:
                return np.full(1, np.nan)
            reach.append(mass / mass[-1])
        last = np.append(np.diff(self.values) > 0, True)
        return (reach[1] - reach[0])[last]


def _variance(values: np.ndarray, weight: np.ndarray, mean: float) -> float:
    if not values.size:
        return np.nan
    total = weight.sum()
    freedom = total - (weight @ weight) / total if total > 0 else 0.0
    if not freedom > 1e-12 * total:
        return np.nan
    return float(weight @ (values - mean) ** 2) / freedom if values[0] < values[-1] else 0.0


Statistic = Callable[[WeightedColumn], float]


def smd(column: WeightedColumn) -> float:
    """Standardised mean difference: (mean treated - mean control) / scale."""
    zero, one = column.means
    return (one - zero) / column.scale


def vr(column: WeightedColumn) -> float:
    """Variance ratio: treated over control; NaN for shares and where controls do not vary."""
    zero, one = column.variances
    return one / zero if not column.share and zero > 0 else np.nan


def ks(column: WeightedColumn) -> float:
    """Kolmogorov-Smirnov: max_x |F1(x) - F0(x)|, which MatchIt calls eCDF max."""
    return float(np.abs(column.gaps).max())


def ecdf_mean(column: WeightedColumn) -> float:
    """Mean of |F1(x) - F0(x)| over the distinct values of the sample; of a share |p1 - p0|."""
    gaps = np.abs(column.gaps)
    return float(gaps.max() if column.share else gaps.mean())


def overlap(column: WeightedColumn) -> float:
    """The area that the arms' weighted densities share: 1 = equal, 0 = apart."""
    use = column.weight > 0
    return sorted_area(column.values[use], column.treated[use], column.weight[use])


STATISTICS: dict[str, Statistic] = {f.__name__: f for f in (smd, ks, ecdf_mean, overlap, vr)}
USUAL = ("smd", "ks", "overlap", "vr")


def chosen(statistics: Sequence[str | Statistic]) -> dict[str, Statistic]:
    """Statistics by the names that their columns begin with.

    **Raises:** ValueError for an unknown word, for a function without a name of its own, for a
    name that is given twice, and for none at all.
    """
    if isinstance(statistics, str) or not isinstance(statistics, Sequence):
        raise ValueError(f"statistics is {statistics!r}: write a list, such as ['smd', 'ks'].")
    found: dict[str, Statistic] = {}
    for one in statistics:
        if isinstance(one, str) and one not in STATISTICS:
            raise ValueError(
                f"there is no statistic {one!r}: they are {', '.join(STATISTICS)}, or a function "
                "of a jc.diagnostics.WeightedColumn."
            )
        name = one if isinstance(one, str) else str(getattr(one, "__name__", ""))
        if not callable(STATISTICS.get(name, one)) or not name.isidentifier():
            raise ValueError(
                f"statistics holds {one!r}: give words or functions with a name, since the name "
                "is what their columns are called."
            )
        if name in found:
            raise ValueError(f"statistics holds {name!r} twice: leave one out.")
        found[name] = STATISTICS[name] if isinstance(one, str) else one
    if not found:
        raise ValueError(f"statistics is empty: name some of {', '.join(STATISTICS)}.")
    return found
