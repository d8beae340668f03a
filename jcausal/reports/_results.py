"""Everything that follows from effects: intervals, balance, effects by group."""

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd
from jaxtyping import Array, PRNGKeyArray

from jcausal.data import DataError, as_pandas
from jcausal.diagnostics import balance
from jcausal.effects import Average, Effects
from jcausal.inference import (
    AbadieImbens,
    AverageMethod,
    ConservativeNormal,
    Interval,
    interval,
)
from jcausal.matching import Progress
from jcausal.reports._measured_once import measured_once
from jcausal.reports._sensitivity_words import sensitivity_words


class Results(NamedTuple):
    """Effects and what follows from them.

    `average`: the interval of the average; `units`: of every query, or None; `balance`: the table
    of `jc.balance` in pandas; `groups`: a table of averages for each covariate that was asked for;
    `notes`: what could not be had, in words; `rule`: how averages get their intervals.
    """

    effects: Effects
    average: Interval
    units: Interval | None
    balance: pd.DataFrame
    groups: dict[str, pd.DataFrame]
    notes: list[str]
    rule: AverageMethod = AbadieImbens()

    @property
    def second(self) -> Average | None:
        """The second opinion; None where there is none, of which the summary tells why."""
        try:
            return self.effects.second_opinion()
        except DataError:
            return None


def measure(
    effects: Effects,
    rule: AverageMethod,
    *,
    by: Sequence[str] = (),
    key: PRNGKeyArray | Array | int | None = None,
    progress: Progress | None = None,
) -> Results:
    """Intervals, balance, and effects by group; what cannot be had is a note.

    **Arguments:** `rule` of the averages' intervals; `by` covariates; `key` for a rule that draws;
    `progress` called with (stage, done, total).

    **Returns:** `Results`.
    """
    notes = []
    _tell(progress, "intervals", 0)
    try:
        units = interval(effects, ConservativeNormal(level=rule.level))
    except ValueError as error:
        units = None
        notes.append(f"no intervals for single units: {error}")
    once = measured_once(effects, rule, key)
    average = interval(effects, once, key=key)
    groups = {name: as_pandas(interval(effects, once, by=name, key=key).to_frame()) for name in by}
    notes += sensitivity_words(effects, rule.level, average)
    _tell(progress, "balance", 1)
    table = as_pandas(balance(effects.sample, effects))
    table = table.set_index("covariate") if "covariate" in table.columns else table
    return Results(effects, average, units, table, groups, notes, once)


def _tell(progress: Progress | None, stage: str, done: int) -> None:
    if progress is not None:
        progress(stage, done, 4)
