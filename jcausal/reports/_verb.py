"""The verb `report`."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Array, PRNGKeyArray

from jcausal.allocation import Allocation
from jcausal.data import check_key, check_names, check_object, check_share, is_traced, named
from jcausal.effects import Average, Effects, Estimator
from jcausal.inference import AverageMethod, OwnErrors, PanelMethod, usual_interval
from jcausal.matching import Matcher
from jcausal.panels import Completion
from jcausal.reports._allocation_page import allocation_page
from jcausal.reports._average_page import average_page
from jcausal.reports._effects_page import by_groups, effects_page, most_varied
from jcausal.reports._panel_page import panel_page
from jcausal.reports._render import check_templates, write_page
from jcausal.reports._results import Results, measure
from jcausal.reports._wording import Request, Wording

DEFAULT = 0.95  # level of intervals
Reported = Effects | Average | Completion | Allocation


def report(
    found: Reported,
    path: str | os.PathLike[str],
    *,
    title: str = "",
    treatment: str = "the treatment",
    outcome: str = "the outcome",
    unit: str = "",
    method: Matcher | Estimator | None = None,
    interval: AverageMethod | PanelMethod | None = None,
    level: float = DEFAULT,
    by: Sequence[str] | None = None,
    key: PRNGKeyArray | Array | int | None = None,
) -> Path:
    """A result as one HTML file that needs nothing else: to read, to send, to print.

    Of effects: the answer and what to beware of, the data, the average by every way with its
    interval, balance, who is unmatched and why, how effects differ, every unit with its group (a
    table to search and sort), the text and references of a methods section, and what another run
    needs to give the same numbers. Of other results what they have of these.

    **Arguments:**

    - `found`: what `jc.estimate`, `jc.complete` or `jc.allocate` returns.
    - `path` of the file, which is written anew.
    - `title`; `treatment` and `outcome` as words of a sentence ("job training", "income in 1978");
      `unit` of the outcome, such as "$".
    - `method`: the method that effects or an average are of, for its words, options and sources.
    - `interval`: how bounds are made; default `jc.AbadieImbens()` (with clusters, and from 50,000
      rows, `jc.Bootstrap()`), of panels the method's own errors; an average brings its own, at
      `level`, which is otherwise the rule's.
    - `by`: covariates that effects are shown by; None: the three along which they differ most,
      whose tests then take the search into account.
    - `key`: the one that the run was given, for intervals that draw; an int is told as its seed.

    **Returns:** the path.

    **Raises:** ValueError for other objects, for effects at points, under tracing, and for an
    option that such a result does not have; ImportError without jinja2 (`jcausal[report]`).

    **Example:**

        >>> import tempfile, pathlib, jcausal as jc
        >>> effects = jc.estimate(jc.datasets.lalonde("experiment"), jc.CEM(bins=4))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     page = jc.report(effects, pathlib.Path(folder) / "report.html", unit="$", by=[])
        ...     "Who has no group" in page.read_text(encoding="utf-8")
        True
    """
    if not isinstance(found, Reported):
        raise ValueError(
            f"report takes what jc.estimate, jc.complete or jc.allocate returns, not "
            f"{named(found)}."
        )
    check_templates()
    if is_traced(found):
        raise ValueError("report needs concrete arrays: use it outside jit and vmap.")
    if key is not None:
        check_key(key)
    wording = Wording(title, treatment, outcome, unit, key if isinstance(key, int) else None)
    level = _level(level, interval)
    if isinstance(found, Effects):
        _check_units(found)
        request = Request(wording, method, _rule(found, interval, level), key)
        return report_of_results(measure(found, request.rule, key=key), path, request, by)
    _refuse(found, method, interval, by)
    if isinstance(found, Average):
        html = average_page(found, wording, method, level)
    elif isinstance(found, Completion):
        html = panel_page(found, wording, _panel_rule(interval, level), key)
    else:
        html = allocation_page(found, wording)
    return write_page(html, path)


def report_of_results(
    results: Results,
    path: str | os.PathLike[str],
    request: Request,
    by: Sequence[str] | None = None,
) -> Path:
    """The report of effects whose intervals and balance are at hand; else as `report`."""
    effects = results.effects
    names = most_varied(effects) if by is None else check_names("by", by)
    flags = effects.sample.schema.flag_of.values()
    searched = effects.sample.p - len(flags) if by is None else 0
    groups = by_groups(results, names, request.key)
    return write_page(effects_page(results, request, groups, searched), path)


def _check_units(effects: Effects) -> None:
    """Refuse effects at points, which have no average."""
    if (np.asarray(effects.matching.query) < 0).any():
        raise ValueError(
            "report is of units of a sample, and these effects are at points: effects.to_frame() "
            "has them."
        )


def _level(level: float, interval: object) -> float:
    """The level of intervals: a rule has its own."""
    level = check_share("level", level)
    own = getattr(interval, "level", level)
    if level not in (own, DEFAULT):
        raise ValueError(f"level is {level}, and interval= has its own, {own}: set it there.")
    return own


def _rule(
    effects: Effects, interval: AverageMethod | PanelMethod | None, level: float
) -> AverageMethod:
    """How averages get their intervals."""
    if interval is None:
        return usual_interval(effects.sample, level)
    check_object(interval)
    if not isinstance(interval, AverageMethod):
        raise ValueError(
            f"interval is {named(interval)}: averages take jc.AbadieImbens() or jc.Bootstrap()."
        )
    return interval


def _refuse(found: Reported, method: object, interval: object, by: object) -> None:
    """Refuse options that a result has no use for."""
    kind = type(found).__name__
    unused = dict(by=by)
    if not isinstance(found, Completion):
        unused["interval"] = interval
    if not isinstance(found, Average):
        unused["method"] = method
    for name, given in unused.items():
        if given is not None:
            raise ValueError(f"{name}= is nothing to the report of {_an(kind)}: leave it out.")


def _panel_rule(interval: AverageMethod | PanelMethod | None, level: float) -> PanelMethod:
    """How a panel's average gets its interval."""
    if interval is None:
        return OwnErrors(level=level)
    check_object(interval)
    if not isinstance(interval, PanelMethod):
        raise ValueError(
            f"interval is {named(interval)}: panels take jc.PanelJackknife(), jc.PanelBootstrap() "
            "or jc.OwnErrors()."
        )
    return interval


def _an(kind: str) -> str:
    return f"{'an' if kind[0] in 'AEIO' else 'a'} {kind}"
