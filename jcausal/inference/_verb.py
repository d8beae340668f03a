"""The verb `interval`."""

import dataclasses

from jaxtyping import Array, PRNGKeyArray

from jcausal.data import By, as_key, check_kind, check_object, step_key
from jcausal.effects import Average, Effects
from jcausal.inference._average import Asked, AverageMethod, Measure, average_interval
from jcausal.inference._gcomputation import GComputation
from jcausal.inference._interval import Interval, IntervalMethod
from jcausal.inference._panel import PanelMethod, panel_interval
from jcausal.inference._randomisation import Randomisation
from jcausal.panels import Completion


def interval(
    effects: Effects | Completion,
    method: IntervalMethod | PanelMethod,
    *,
    by: By | None = None,
    measure: Measure = "difference",
    simultaneous: bool = False,
    key: PRNGKeyArray | Array | int | None = None,
) -> Interval:
    """Bounds around effects.

    **Arguments:**

    - `method`: such as `jc.AbadieImbens()` or `jc.Bootstrap()` for averages,
      `jc.ConservativeNormal()` or `jc.GroupBootstrap()` for every query; for a completed panel
      `jc.OwnErrors()`, `jc.PanelJackknife()`, `jc.PanelBootstrap()`.
    - `by`: a covariate's name or labels (n,), as in `Effects.cate`: the average of each group of
      queried units. Methods for averages only; under jit and vmap labels that are concrete. Of a
      panel "unit" or "time": the effect of each.
    - `measure`: "difference", or of outcomes that are 0 or 1 "ratio", risk1 / risk0, with bounds
      exp(log ratio +- normal quantile * error), where log risk1 - log risk0 varies as the linear
      form sum_q share_q (y1_q / risk1 - y0_q / risk0); and "odds_ratio", likewise.
    - `simultaneous`: with `by`, bounds that hold for all groups at once with the chance `level`:
      the quantile is that of the largest |draw| / error of the groups. Methods that draw only.
    - `key`: for methods that draw.

    **Returns:** an `Interval`; with `by` its `to_frame()` is the table of the groups, of the kind
    of frame that the sample was read from.

    **Raises:** ValueError when the method does not fit the effects, with the reason.

    **Example:**

        >>> import jcausal as jc
        >>> sample = jc.datasets.lalonde("experiment")
        >>> effects = jc.estimate(sample, jc.AHB(outcome=jc.Ridge()), key=0)
        >>> bounds = jc.interval(effects, jc.AbadieImbens())
        >>> bool(bounds.lower < effects.att) and bool(effects.att < bounds.upper)
        True
        >>> table = jc.interval(effects, jc.AbadieImbens(), by="without degree").to_frame()
        >>> table["queries"].tolist()
        [54, 131]
    """
    if not isinstance(effects, Completion):
        _refuse_average(effects)
        check_kind(effects, Effects, "interval", "pass what jc.estimate returns, or jc.complete")
    check_object(method)
    if not isinstance(method, IntervalMethod | PanelMethod):
        raise ValueError(f"{type(method).__name__} is no interval method such as AbadieImbens().")
    if not 0 < method.level < 1:
        raise ValueError(f"level is {method.level}: it must lie between 0 and 1.")
    if measure not in ("difference", "ratio", "odds_ratio"):
        raise ValueError(f"measure is {measure!r}: use 'difference', 'ratio' or 'odds_ratio'.")
    asked = Asked(by, measure, simultaneous)
    step = None if key is None else step_key(as_key(key, "interval"), "inte")
    home = effects.panel.home if isinstance(effects, Completion) else effects.sample.home
    return dataclasses.replace(_made(effects, method, asked, step), home=home)


def _refuse_average(effects: object) -> None:
    """Averages without groups have an interval of their own."""
    if isinstance(effects, Average):
        raise ValueError(
            f"interval is of effects by groups, and the average by {effects.method} brings its own "
            "interval: effects.bounds(level), and of units effects.units_frame(level)."
        )


def _made(
    effects: Effects | Completion,
    method: IntervalMethod | PanelMethod,
    asked: Asked,
    step: PRNGKeyArray | None,
) -> Interval:
    """The interval by the method that fits the effects."""
    by, measure, simultaneous = asked
    if isinstance(effects, Completion):
        if simultaneous:
            raise ValueError("simultaneous bounds are for groups of effects, and not for panels.")
        return panel_interval(effects, method, by, measure, step)
    if isinstance(method, PanelMethod):
        raise ValueError(f"{type(method).__name__} is for panels, and these are effects.")
    if isinstance(method, GComputation) and by is None and not simultaneous:
        return method.measured(effects, measure)
    if isinstance(method, AverageMethod):
        return average_interval(effects, method, asked, step)
    if by is not None or measure != "difference" or simultaneous:
        option = "by=" if by is not None else "measure="
        option = "simultaneous=" if simultaneous and by is None else option
        whole = isinstance(method, GComputation | Randomisation)
        gives = (
            f"one interval of all matched units, and {option} asks for others"
            if whole
            else f"one interval a query, and {option} asks for averages"
        )
        raise ValueError(
            f"{type(method).__name__} gives {gives}: use jc.AbadieImbens() or jc.Bootstrap()."
        )
    return method.of(effects, step)
