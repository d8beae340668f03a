"""Intervals for panels: a method's own errors, jackknife and bootstrap over units or times."""

import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jcausal.data import Options, as_key
from jcausal.inference._interval import About, Interval, Target, normal_interval
from jcausal.panels import Assignment, Completion, CompletionWarning, Panel, complete

PanelBy = Literal["unit", "time"]
Over = Literal["units", "times"]
FEW = 5  # units of either kind below which units are not drawn or left out
ABSENT = "a run without some of the units or times has no estimate there"


class PanelMethod(Options, eqx.Module):
    """A way to put an interval around a completion; holds hyperparameters only."""

    level: eqx.AbstractVar[float]

    @abstractmethod
    def of(self, found: Completion, by: PanelBy | None, key: PRNGKeyArray | None) -> Interval:
        """The interval of the average, of every unit's effect, or of every time's."""


def panel_interval(
    found: Completion, method: object, by: object, measure: str, key: PRNGKeyArray | None
) -> Interval:
    """The verb `interval` for a completion.

    **Raises:** ValueError for a method or an option that is not of panels.
    """
    if not isinstance(method, PanelMethod):
        raise ValueError(
            f"{type(method).__name__} is no interval method of panels such as jc.PanelJackknife()."
        )
    if not (by is None or (isinstance(by, str) and by in ("unit", "time"))):
        given = repr(by) if isinstance(by, str) else f"a {type(by).__name__}"
        raise ValueError(f"by is {given}: a panel has by='unit', by='time' or None.")
    if measure != "difference":
        raise ValueError("measure= is for effects of a sample: panels have differences only.")
    return method.of(found, by, key)  # type: ignore[arg-type]


class OwnErrors(PanelMethod):
    """Normal intervals with the completion method's own standard errors (`Completion.std_errors`).

    Of the average over all identified cells, or with by="unit" or "time" of the units' or the
    times' effects; NaN where the method has no error.

    **Example:**

        >>> import jcausal as jc
        >>> panel = jc.simulate.low_rank_panel(key=0, n=20, m=50).panel
        >>> found = jc.complete(panel, jc.UnitMeans())
        >>> jc.interval(found, jc.OwnErrors(), by="unit").lower.shape
        (20,)
    """

    level: float = eqx.field(static=True, default=0.95)

    def of(self, found: Completion, by: PanelBy | None, key: PRNGKeyArray | None) -> Interval:
        """Estimates and the method's errors."""
        if found.std_errors is None:
            raise ValueError(
                f"{found.completer.words} has no standard errors of its own: use "
                "jc.PanelJackknife(), jc.PanelBootstrap() or jc.placebo(found)."
            )
        own = found.std_errors
        std_error = own.average if by is None else own.unit if by == "unit" else own.time
        words = f"{found.completer.words}, its own errors"
        return _normal(found, by, std_error**2, self.level, words, "the method has no error there")


class PanelJackknife(PanelMethod):
    """Delete-a-block jackknife: the method is run again without each block of units or times.

    With estimates e_g of G blocks the variance is (G - 1) / G sum (e_g - mean)^2. Units are dealt
    to blocks in turn, in the order of their first treatment, so that every block holds its share of
    each cohort; blocks of times are contiguous, which keeps dependence over time inside.

    What is covered: over units, the average (or with by="time" each time's effect) in the
    population that the units are drawn from; over times, the average (or with by="unit" each
    unit's effect) over the times that these times are drawn from.

    **Arguments:** `over` "units" or "times"; `blocks`, or None for one a unit (at most 20 of
    times); `level`.

    Refused with the reason: units when fewer than 5 units are treated at some time or fewer than 5
    are untreated at some time (use `jc.placebo`); times when treatment is absorbing.

    **Source:** Quenouille (1956), Biometrika 43; for panels Arkhangelsky, Athey, Hirshberg, Imbens
    and Wager (2021), American Economic Review 111(12), algorithm 3, which keeps the weights as they
    are where here the method is run again.

    **Example:**

        >>> import jcausal as jc
        >>> found = jc.complete(jc.simulate.low_rank_panel(key=0, n=20, m=30).panel, jc.UnitMeans())
        >>> bounds = jc.interval(found, jc.PanelJackknife(blocks=10))
        >>> bool(bounds.lower < found.average) and bool(found.average < bounds.upper)
        True
    """

    over: Over = eqx.field(static=True, default="units")
    blocks: int | None = eqx.field(static=True, default=None)
    level: float = eqx.field(static=True, default=0.95)

    def __check_init__(self) -> None:
        if self.blocks is not None and self.blocks < 2:
            raise ValueError(f"blocks is {self.blocks}: a jackknife needs at least 2.")

    def of(self, found: Completion, by: PanelBy | None, key: PRNGKeyArray | None) -> Interval:
        """One run a block."""
        panel, facts = found.panel, found.panel.assignment
        if self.over == "units":
            _check_units(facts, by)
            size, take = panel.n, panel.take
            block = np.empty(size, int)
            count = min(size, self.blocks or size)
            block[np.argsort(facts.start, kind="stable")] = np.arange(size) % count
        else:
            _check_times(facts, by)
            size, take = panel.m, panel.take_times
            count = min(size, self.blocks or 20)
            block = np.arange(size) * count // size
        kept = [np.flatnonzero(block != k) for k in range(count)]
        again = _estimates(found, (take(rows) for rows in kept), by, key)
        variance = (count - 1) / count * ((again - again.mean(0)) ** 2).sum(0)
        words = f"jackknife over {count} blocks of {self.over}"
        return _normal(found, by, variance, self.level, words, ABSENT)


class PanelBootstrap(PanelMethod):
    """Bootstrap over units: the method is run again on units drawn with replacement.

    Units that are treated at some time and units that never are, are drawn apart, so that every
    draw has as many of both. The bounds are normal with the draws' standard deviation as the error.
    Of the average, or with by="time" of each time's effect; a unit's own effect has no such error.

    **Arguments:** `draws`; `level`. Refused with fewer than 5 treated or 5 untreated units, as
    `PanelJackknife`, and for methods that copies of a unit mislead: those that hold cells
    out, halve the units, or look for near ones. Needs a key.

    **Source:** Arkhangelsky, Athey, Hirshberg, Imbens and Wager (2021), American Economic Review
    111(12), algorithm 2, here within strata.
    """

    draws: int = eqx.field(static=True, default=200)
    level: float = eqx.field(static=True, default=0.95)

    def __check_init__(self) -> None:
        if self.draws < 2:
            raise ValueError(f"draws is {self.draws}: a variance needs at least 2.")

    def of(self, found: Completion, by: PanelBy | None, key: PRNGKeyArray | None) -> Interval:
        """One run a draw."""
        key = as_key(key, "jc.PanelBootstrap")
        reason = found.completer.refuse_copies()
        if reason is not None:
            name = type(found.completer).__name__
            raise ValueError(f"{name} cannot be bootstrapped: {reason}; use jc.PanelJackknife().")
        _check_units(found.panel.assignment, by)
        rows = _drawn(found.panel, self.draws, jax.random.fold_in(key, 0))
        again = _estimates(found, (found.panel.take(r) for r in rows), by, key)
        words = f"bootstrap over units, {self.draws:,} draws"
        return _normal(found, by, again.var(0, ddof=1), self.level, words, ABSENT)


def _drawn(panel: Panel, draws: int, key: PRNGKeyArray) -> Int[np.ndarray, "b n"]:
    """Units of each draw: treated and never treated ones apart."""
    ever = np.asarray(panel.treated.any(1))
    parts = []
    for k, group in enumerate((np.flatnonzero(ever), np.flatnonzero(~ever))):
        if group.size:
            shape = (draws, group.size)
            place = jax.random.randint(jax.random.fold_in(key, k), shape, 0, group.size)
            parts.append(group[np.asarray(place)])
    return np.concatenate(parts, axis=1)


class _Quantity(NamedTuple):
    """What is estimated."""

    of: Callable[[Completion], Array]
    target: Target


def _quantity(found: Completion, by: PanelBy | None) -> _Quantity:
    if by == "unit":
        return _Quantity(lambda c: c.unit_effect, "unit effects")
    if by == "time":
        return _Quantity(lambda c: c.time_effect, "time effects")
    everywhere = found.completer.cells == "all"
    return _Quantity(
        lambda c: c.average, "average over cells" if everywhere else "average over treated cells"
    )


def _estimates(
    found: Completion, panels: Iterator[Panel], by: PanelBy | None, key: PRNGKeyArray | None
) -> Float[Array, "g *q"]:
    """The same quantity by the same method on other panels."""
    of = _quantity(found, by).of
    return jnp.stack([of(again) for again in run_again(found, panels, key)])


def run_again(
    found: Completion, panels: Iterator[Panel], key: PRNGKeyArray | None
) -> Iterator[Completion]:
    """The same method on other panels; warns at the end of runs that did not converge."""
    done: list[bool] = []
    for panel in panels:
        again = complete(panel, found.completer, key=key, throw=False)
        done.append(bool(again.completed.converged))
        yield again
    if not all(done):
        warnings.warn(
            f"{found.completer.words} did not converge in {done.count(False)} of {len(done)} runs: "
            "give it more iterations, or a larger tolerance.",
            CompletionWarning,
            stacklevel=2,
        )


def _normal(
    found: Completion,
    by: PanelBy | None,
    variance: Float[Array, "*q"],
    level: float,
    words: str,
    absent: str,
) -> Interval:
    quantity = _quantity(found, by)
    estimate = quantity.of(found)
    none = jnp.zeros(estimate.shape, bool)
    return normal_interval(estimate, variance, none, About(level, quantity.target, words, absent))


def _check_units(facts: Assignment, by: PanelBy | None) -> None:
    """Enough units to draw, and a quantity that varies with the units drawn."""
    if by == "unit":
        raise ValueError(
            "a unit's own effect does not vary with the other units drawn: use "
            "jc.PanelJackknife(over='times')."
        )
    untreated = facts.n - facts.always
    if facts.ever < FEW or untreated < FEW:
        few, word = (facts.ever, "treated") if facts.ever < FEW else (untreated, "untreated")
        raise ValueError(
            f"{few} of {facts.n} units {'is' if few == 1 else 'are'} {word} at some time: too few "
            f"(below {FEW}) to tell how effects vary over units; use jc.placebo(found)."
        )


def _check_times(facts: Assignment, by: PanelBy | None) -> None:
    if by == "time":
        raise ValueError("a time's effect does not vary with the other times: use over='units'.")
    if facts.pattern != "switching":
        raise ValueError(
            f"times cannot be left out where treatment follows time ({facts.words}): use "
            "over='units', or jc.placebo(found)."
        )
