"""Sample sizes for estimates of a given accuracy: Hoeffding's constants."""

from math import ceil, isfinite, log, sqrt
from typing import NamedTuple

import equinox as eqx
import pandas as pd

from jcausal.data import Shown, check_share


class Need(NamedTuple):
    """Samples for one accuracy: of an oracle, or treated and controls of a trial, in each group."""

    accuracy: float
    oracle: int
    treated: int
    controls: int
    groups: int

    @property
    def trial(self) -> int:
        """Units of a two-arm trial in each group."""
        return self.treated + self.controls

    @property
    def oracle_total(self) -> int:
        """Samples of the oracle in all groups."""
        return self.groups * self.oracle

    @property
    def trial_total(self) -> int:
        """Units of a two-arm trial in all groups."""
        return self.groups * self.trial


class SamplePlan(Shown, eqx.Module):
    """How many samples an allocation takes. Made by `jc.LEA(...).plan(groups)`.

    With l = ln(2 M / delta) ("none": ln(2 / delta)) and accuracy r, an oracle that draws numbers in
    [0, 1] with mean tau needs l / (2 r^2) samples a group, and a trial with a share p treated
    L^2 l / (2 r^2 R^2 p (1 - p)) units, where outcomes have range L and an effect of 1 is R in
    their units (half of the units in each arm: 2 l L^2 / (r R)^2). `coarse` is LEA's accuracy
    r = gamma sqrt(eps); `full` estimates every effect to r = eps. LEA saves only if
    gamma^2 > eps.
    """

    groups: int = eqx.field(static=True)
    eps: float = eqx.field(static=True)
    delta: float = eqx.field(static=True)
    gamma: float = eqx.field(static=True)
    source: str = eqx.field(static=True)
    delta_split: str = eqx.field(static=True)
    outcome_bounds: tuple[float, float] = eqx.field(static=True)
    effect_range: float | None = eqx.field(static=True)
    treated_share: float = eqx.field(static=True)

    def __check_init__(self) -> None:
        if self.groups < 1:
            raise ValueError(f"groups is {self.groups}: there must be at least 1.")
        low, high = self.outcome_bounds
        if not (isfinite(low) and isfinite(high) and low < high):
            raise ValueError(
                f"outcome_bounds are {low:g} and {high:g}: give the smallest and the largest "
                "outcome that can occur, for Hoeffding's inequality needs bounded outcomes."
            )
        if self.effect_range is not None and not (
            self.effect_range > 0 and isfinite(self.effect_range)
        ):
            raise ValueError(f"effect_range is {self.effect_range}: it must be a positive number.")
        check_share("treated_share", self.treated_share)

    @property
    def rho(self) -> float:
        """Accuracy of LEA's estimates."""
        return self.gamma * sqrt(self.eps)

    @property
    def log_term(self) -> float:
        """ln(2 M / delta), or ln(2 / delta) without a split."""
        return log(2 * (self.groups if self.delta_split == "bonferroni" else 1) / self.delta)

    def need(self, accuracy: float) -> Need:
        """Samples for estimates of this accuracy on the scale of rho.

        **Raises:** ValueError for an accuracy that is not positive.
        """
        if not accuracy > 0:
            raise ValueError(f"accuracy is {accuracy}: it must be a positive number.")
        once = self.log_term / (2 * accuracy**2)
        width = self.outcome_bounds[1] - self.outcome_bounds[0]
        share = self.treated_share
        units = once * (width / (self.effect_range or width)) ** 2 / (share * (1 - share))
        treated, controls = (ceil(_below(part * units)) for part in (share, 1 - share))
        return Need(accuracy, ceil(_below(once)), treated, controls, self.groups)

    @property
    def coarse(self) -> Need:
        """What LEA takes."""
        return self.need(self.rho)

    @property
    def full(self) -> Need:
        """What estimating every effect to eps takes (full CATE estimation)."""
        return self.need(self.eps)

    @property
    def saving(self) -> float:
        """How many times as many `full` takes, gamma^2 / eps: below 1 LEA takes more."""
        return self.gamma**2 / self.eps

    @property
    def in_figure3(self) -> float:
        """M ln(2 M / delta) / eps, the samples in total that the paper's Figure 3 names.

        Half of `coarse.oracle_total` at gamma = 1/2.
        """
        return self.groups * log(2 * self.groups / self.delta) / self.eps

    def _said(self) -> str:
        return self.summary()

    def _shown(self) -> pd.DataFrame:
        return self.to_frame()

    def to_frame(self) -> pd.DataFrame:
        """Two rows, LEA and full estimation: accuracy, samples a group and in total."""
        rows = {"LEA": self.coarse, "full CATE estimation": self.full}
        return pd.DataFrame(
            [
                dict(
                    estimates=name,
                    accuracy=need.accuracy,
                    oracle=need.oracle,
                    oracle_total=need.oracle_total,
                    treated=need.treated,
                    controls=need.controls,
                    trial_total=need.trial_total,
                )
                for name, need in rows.items()
            ]
        )

    def summary(self) -> str:
        """The plan in sentences."""
        sure = (
            "all estimates at once"
            if self.delta_split == "bonferroni"
            else "each estimate on its own, which guarantees nothing for all at once"
        )
        low, high = self.outcome_bounds
        lines = [
            f"{self.groups:,} groups, eps = {self.eps:g}, gamma = {self.gamma:.3g} "
            f"({self.source}): accuracy rho = {self.rho:.3g}, kept with probability "
            f"{1 - self.delta:g} by {sure}.",
        ]
        for name, need in (("LEA", self.coarse), ("every effect to eps", self.full)):
            lines.append(
                f"{name}: {need.oracle:,} samples of [0, 1] a group, {need.oracle_total:,} in "
                f"total; or a trial of {need.treated:,} treated and {need.controls:,} controls a "
                f"group, {need.trial_total:,} in total (outcomes from {low:g} to {high:g})."
            )
        lines.append(
            f"Full estimation takes {self.saving:.3g} times as many."
            if self.saving > 1
            else f"gamma^2 = {self.gamma**2:.3g} is not above eps: coarse estimates save nothing."
        )
        lines.append(
            f"The paper's Figure 3 names {self.in_figure3:,.0f} samples in total, "
            f"M ln(2M/delta)/eps, and its rule of thumb {self.groups / self.eps:,.0f}, M/eps."
        )
        return "\n".join(lines)


def _below(count: float) -> float:
    """A count less a little, so that rounding errors add no sample to whole numbers."""
    return count * (1 - 1e-12)
