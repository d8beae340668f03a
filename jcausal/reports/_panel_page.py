"""The page of a completed panel."""

from typing import Any

import numpy as np
from jaxtyping import Array, PRNGKeyArray

from jcausal.data import as_pandas, label_in_words, number_in_words
from jcausal.inference import Interval, PanelMethod, interval
from jcausal.panels import Completion
from jcausal.reports._charts import Course, course, histogram
from jcausal.reports._documentation import described
from jcausal.reports._methods_text import MethodsText, references, software
from jcausal.reports._render import TextTable, as_json, compact, rendered, text_table, versions
from jcausal.reports._unit_rows import ROWS, row_table, spread
from jcausal.reports._wording import Wording

NAMED = 6  # times named along an axis
SERIES = 500  # units whose course is in the page


def panel_page(
    found: Completion, wording: Wording, rule: PanelMethod, key: PRNGKeyArray | Array | int | None
) -> str:
    """The page as HTML."""
    panel, unit = found.panel, f" ({wording.unit})" if wording.unit else ""
    bounds, why = _bounds(found, rule, key)
    outcome = panel.outcome if wording.outcome == Wording().outcome else wording.outcome
    wording = wording._replace(outcome=outcome)
    effects = np.asarray(found.unit_effect, float)
    return rendered(
        "panel.html",
        title=wording.title or f"What did {wording.treatment} do to {outcome}?",
        wording=wording,
        whose="all identified cells" if found.completer.cells == "all" else "the treated cells",
        answer=_answer(found, bounds, wording),
        matched=f"{panel.n:,} units x {panel.m:,} times",
        cautions=why,
        pattern=panel.summary().splitlines(),
        gap=_gap(found, unit),
        events=_events(found),
        spread=histogram(effects, f"effect of a unit{unit}", float(found.average)),
        units=as_json(_units(found)),
        limits=[f"{ROWS:,} of {panel.n:,} units are listed, evenly over all."] * (panel.n > ROWS),
        text=_text(found, wording, rule, bounds),
        versions=versions(wording.seed, panel.y.dtype, None),
        summary=found.summary(),
    )


def _bounds(
    found: Completion, rule: PanelMethod, key: PRNGKeyArray | Array | int | None
) -> tuple[Interval | None, list[str]]:
    """The interval of the average; where there is none, why."""
    try:
        bounds = interval(found, rule, key=key)
    except ValueError as error:
        return None, [f"no interval: {error}"]
    return bounds, [f"no interval: {bounds.absent}"] if bool(bounds.unbounded) else []


def _answer(found: Completion, bounds: Interval | None, wording: Wording) -> str:
    middle = f"{number_in_words(float(found.average))} {wording.unit}".strip()
    if bounds is None or bool(bounds.unbounded):
        return middle
    low, high = (number_in_words(float(v)) for v in (bounds.lower, bounds.upper))
    return f"{middle} ({100 * bounds.level:g}% interval {low} to {high})"


def _gap(found: Completion, unit: str) -> Course:
    """Mean gap of the treated units over time, and where treatment first begins."""
    panel = found.panel
    words, x = [label_in_words(v) for v in panel.time], np.arange(panel.m, dtype=float)
    step = max(1, -(-panel.m // NAMED))
    ticks = [(float(k), words[k]) for k in range(0, panel.m, step)]
    first = float(np.asarray(panel.treated).any(0).argmax()) - 0.5
    gap = np.asarray(found.treated_gap, float)
    axis = f"time; mean of observed less without treatment{unit}, over the treated units"
    return course(x, [("gap", "mean gap of the treated", gap)], axis, ticks, max(first, 0.0))


def _events(found: Completion) -> TextTable | None:
    """Gaps by time since treatment; None where treatment comes and goes."""
    try:
        return text_table(as_pandas(found.event_study()))
    except ValueError:
        return None


def _units(found: Completion) -> dict[str, Any]:
    """The table of units, and the course of each: observed, and without treatment."""
    panel = found.panel
    frame = as_pandas(found.unit_frame())
    kept = spread(panel.n, ROWS)
    frame = frame.iloc[kept]
    columns = dict(unit=np.array([label_in_words(v) for v in frame["unit"]], object))
    columns |= {
        "treated times": frame["treated"].to_numpy(),
        "untreated times": frame["control"].to_numpy(),
        "effect": frame["effect"].to_numpy(float),
        "identified": np.where(frame["identified"], "yes", "no"),
    }
    made: dict[str, Any] = dict(columns=row_table(columns))
    if len(kept) <= SERIES:
        made["series"] = _series(found, kept)
    return made


def _series(found: Completion, rows: np.ndarray) -> dict[str, Any]:
    """Outcomes by time of some units: observed, without and with treatment, and when treated."""
    panel = found.panel
    seen = np.where(np.asarray(panel.mask), np.asarray(panel.y), np.nan)
    arrays = dict(observed=seen, y0=np.asarray(found.y0), effect=np.asarray(found.effect))
    made: dict[str, Any] = {name: [compact(a[k]) for k in rows] for name, a in arrays.items()}
    made["treated"] = [np.asarray(panel.treated)[k].astype(int).tolist() for k in rows]
    made["time"] = [label_in_words(v) for v in panel.time]
    return made


def _text(
    found: Completion, wording: Wording, rule: PanelMethod, bounds: Interval | None
) -> MethodsText:
    panel, used = found.panel, described(found.completer)
    treated = int(np.asarray(panel.treated).sum())
    sentences = [
        f"We estimated the effect of {wording.treatment} on {wording.outcome} in a panel of "
        f"{panel.n:,} units over {panel.m:,} times, {treated:,} of whose observed cells are "
        "treated.",
        f"Outcomes were completed by {used.name}"
        + (f" ({used.options})" if used.options else "")
        + f": {used.line}",
    ]
    cited = [used]
    if bounds is not None:
        cited.append(described(rule))
        sentences.append(f"The {100 * bounds.level:g}% interval is by {bounds.method}.")
    return MethodsText([*sentences, software()], references(cited))
