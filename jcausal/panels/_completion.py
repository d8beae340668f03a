"""What a completion tells: both outcomes, effects by cell, by unit, by time, on average."""

from typing import Any

import equinox as eqx
import numpy as np
import pandas as pd
from jaxtyping import Array, Bool, Float, Int

from jcausal.data import Shown, difference, like, number_in_words, on_host
from jcausal.panels._completer import Completed, Completer, StdErrors
from jcausal.panels._completion_frames import cell_frame, cohort_frame, event_frame, unit_frame
from jcausal.panels._completion_words import (
    detail_words,
    flat_words,
    lost_words,
    rank_words,
    short_words,
    unidentified_words,
)
from jcausal.panels._masked import mean_of, or_nan
from jcausal.panels._panel import Panel


class Completion(Shown, eqx.Module):
    """Both potential outcomes of a panel. Made by `jc.complete`.

    A cell whose effect is not identified is NaN; a unit without any such cell has `identified`
    False and is counted in the summary. `completer.cells` tells whether effects are of all cells
    or of treated ones only.
    """

    panel: Panel
    completer: Completer
    completed: Completed

    @property
    def y0(self) -> Float[Array, "n m"]:
        """Outcomes without treatment, as the method fits them, NaN where not identified."""
        return self.completed.y0

    @property
    def y1(self) -> Float[Array, "n m"]:
        """Outcomes with treatment; for methods on treated cells the observed ones."""
        return self.completed.y1

    @property
    def effect(self) -> Float[Array, "n m"]:
        """y1 - y0 in outcome units."""
        return difference(self.y1, self.y0)

    @property
    def gap(self) -> Float[Array, "n m"]:
        """The observed outcome minus y0: in treated cells an effect, elsewhere the fit's error."""
        return or_nan(self.panel.mask, difference(self.panel.y, self.y0))

    @property
    def treated_gap(self) -> Float[np.ndarray, " m"]:
        """Mean gap by time of the units that are treated at some time; NaN where none has one."""
        gap = np.asarray(self.gap, float)
        ever = np.any(np.asarray(self.panel.treated), axis=1, keepdims=True) & np.isfinite(gap)
        count = ever.sum(0)
        total = np.where(ever, gap, 0).sum(0)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    @property
    def identified(self) -> Bool[Array, " n"]:
        """Which units have a cell with an effect."""
        return _any_finite(self.effect)

    @property
    def unit_effect(self) -> Float[Array, " n"]:
        """Mean effect of each unit over its cells that have one; NaN without any."""
        return mean_of(self.effect, _with_effect(self.effect), 1)

    @property
    def time_effect(self) -> Float[Array, " m"]:
        """Mean effect at each time over the cells that have one; NaN without any."""
        return mean_of(self.effect, _with_effect(self.effect), 0)

    @property
    def att(self) -> Float[Array, ""]:
        """Mean effect over the observed treated cells that have one."""
        return mean_of(self.effect, _with_effect(self.effect, self.panel.treated), None)

    @property
    def ate(self) -> Float[Array, ""]:
        """Mean effect over all cells that have one."""
        return mean_of(self.effect, _with_effect(self.effect), None)

    @property
    def average(self) -> Float[Array, ""]:
        """`ate` for a method whose effects are of all cells, `att` for one on treated cells."""
        return self.ate if self.completer.cells == "all" else self.att

    @property
    def rank(self) -> Int[Array, " 2"]:
        """Rank of each arm (control, treated); -1 where an arm has no factors."""
        return self.completed.rank

    @property
    def singular_values(self) -> Float[Array, "2 k"]:
        """Singular values by arm, largest first, of the matrix that the rank was read from."""
        return self.completed.singular_values

    @property
    def std_errors(self) -> StdErrors | None:
        """The method's own standard errors, where it has them."""
        return self.completed.std_errors

    @property
    def unidentified_words(self) -> str:
        """How many units have an effect, and why the others have none."""
        return unidentified_words(self.panel, self.identified)

    def event_study(self) -> Any:
        """Mean gap by times since the treatment began: columns event, effect, cells.

        Over units that are treated at some time. Below 0 it is the fit's error before treatment,
        from 0 on the effect. A frame of the kind that the panel came in.

        **Raises:** ValueError for a treatment that comes and goes.
        """
        return event_frame(self.panel, self.gap)

    def cohort_average(self) -> Any:
        """Mean gap on treated cells by when their unit's treatment began.

        Columns cohort (the time of its first treated cell), effect, units, cells.

        **Raises:** ValueError for a treatment that comes and goes.
        """
        return cohort_frame(self.panel, self.gap)

    def to_frame(self) -> Any:
        """One row a cell: unit, time, observed, treated, outcome, y0, y1, effect."""
        return cell_frame(self.panel, self.completed, self.effect)

    def unit_frame(self) -> Any:
        """One row a unit: unit, treated and untreated cells, effect, identified."""
        return like(self.panel.home, self._shown())

    def summary(self) -> str:
        """The effects, the ranks, and how many units are identified, in words."""
        panel, done = self.panel, self.completed
        lines = [
            f"{self.completer.words} on {panel.n:,} units x {panel.m:,} times",
            f"mean effect on the treated cells {number_in_words(float(self.att))}",
        ]
        if self.completer.cells == "all":
            ate = number_in_words(float(self.ate))
            lines.append(f"mean effect over all identified cells {ate}")
        lines += rank_words(done)
        lines.append(self.unidentified_words)
        lines += lost_words(panel, self.effect)
        lines += short_words(panel, self.completer, done)
        lines += detail_words(panel, done)
        lines += [f"beware: {words}" for words in flat_words(panel)]
        if not bool(done.converged):
            lines.append("the iterations did not converge")
        return "\n".join(lines)

    @property
    def _single(self) -> bool:
        return self.panel.y.ndim == 2

    def _said(self) -> str:
        return self.summary()

    def _shown(self) -> pd.DataFrame:
        return unit_frame(self.panel, self.unit_effect, self.identified)


@on_host
def _with_effect(
    lib: Any, effect: Float[Array, "n m"], use: Bool[Array, "n m"] | bool = True
) -> Bool[Array, "n m"]:
    """The cells, among those in use, that have an effect."""
    return lib.isfinite(effect) & use


@on_host
def _any_finite(lib: Any, values: Float[Array, "n m"]) -> Bool[Array, " n"]:
    return lib.isfinite(values).any(1)
