"""The page of an average without groups."""

from typing import Any

import numpy as np
import pandas as pd

from jcausal.data import as_pandas, number_in_words
from jcausal.diagnostics import balance
from jcausal.effects import Average
from jcausal.reports._cautions import unbalanced_words
from jcausal.reports._charts import Bars, forest, histogram, love_of
from jcausal.reports._methods_text import WHOSE, methods_of_average
from jcausal.reports._render import (
    TextTable,
    as_json,
    balance_shown,
    rendered,
    text_table,
    versions,
)
from jcausal.reports._sample_words import covariate_table, question, sample_facts
from jcausal.reports._sensitivity_words import sensitivity_answers
from jcausal.reports._unit_rows import ROWS, spread, unit_data
from jcausal.reports._wording import Wording


def average_page(found: Average, wording: Wording, method: object, level: float) -> str:
    """The page as HTML."""
    unit = f" ({wording.unit})" if wording.unit else ""
    low, high = (float(v) for v in found.bounds(level))
    row = dict(estimate=found.method, average=float(found.average))
    row |= dict(std_error=float(found.std_error), lower=low, upper=high)
    kind = "normal" if found.posterior is None else "quantiles of the posterior"
    estimates = pd.DataFrame([row | dict(interval=f"{100 * level:g}%, {kind}")])
    estimates = estimates.rename(columns=dict(std_error="standard error"))
    counts = (np.asarray(found.fold) >= 0) & (np.asarray(found.sample.weight) > 0)
    ends = f"{number_in_words(low)} to {number_in_words(high)}"
    middle = number_in_words(float(found.average))
    frame = _balance(found)
    return rendered(
        "average.html",
        title=wording.title or question(wording),
        wording=wording,
        whose=WHOSE[found.estimand],
        answer=f"{middle} {wording.unit}".strip() + f" ({100 * level:g}% interval {ends})",
        matched=f"{int(counts.sum()):,} units count",
        cautions=[wording.reword(one) for one in [*found.notes(), *unbalanced_words(frame)]],
        facts=sample_facts(found.sample),
        covariates=covariate_table(found.sample),
        estimates=text_table(estimates),
        estimates_chart=forest(
            [found.method], np.array([[row["average"], low, high]]), f"average effect{unit}"
        ),
        balance=None if frame is None else text_table(balance_shown(frame)),
        love=None if frame is None else love_of(frame),
        arms=_arms(found),
        chances=_chances(found, counts),
        spread=_effects(found, counts, unit),
        sensitivity=sensitivity_answers(found, level),
        units=as_json(_units(found, level)),
        limits=[f"{ROWS:,} of {counts.sum():,} units are listed, evenly over all."]
        * bool(counts.sum() > ROWS),
        text=methods_of_average(found, wording, method, level),
        versions=versions(wording.seed, found.sample.x.dtype, found.sample.origin),
        summary=wording.reword(found.summary(level)),
    )


def _balance(found: Average) -> pd.DataFrame | None:
    """Of weightings the table of balance."""
    if found.unit_weight is None:
        return None
    table = as_pandas(balance(found.sample, found))
    return table.set_index("covariate") if "covariate" in table.columns else table


def _arms(found: Average) -> TextTable:
    """Units by arm, what they are worth by their weights, and who has no like."""
    columns: dict[str, Any] = dict(arm=["controls", "treated"])
    columns["units"] = np.asarray(found.counts).tolist()
    if found.effective is not None:
        columns["effective"] = [round(float(one), 1) for one in np.asarray(found.effective)]
    columns["beyond"] = [f"{100 * float(share):.1f}%" for share in np.asarray(found.beyond)]
    return text_table(pd.DataFrame(columns))


def _chances(found: Average, counts: np.ndarray) -> list[Bars | None]:
    """The chance of treatment in each arm."""
    t, chance = np.asarray(found.sample.t), np.asarray(found.propensity, float)
    arms = (("treated", t), ("controls", ~t))
    return [
        histogram(chance[counts & arm], f"chance of treatment, {word}", ends=(0.0, 1.0))
        for word, arm in arms
    ]


def _effects(found: Average, counts: np.ndarray, unit: str) -> Bars | None:
    if found.ite is None:
        return None
    ite = np.asarray(found.ite, float)[counts]
    return histogram(ite, f"effect of a unit{unit}", float(found.average))


def _units(found: Average, level: float) -> dict[str, Any]:
    frame = as_pandas(found.units_frame(level))
    rows = np.flatnonzero(np.asarray(found.fold) >= 0)
    kept = spread(len(frame), ROWS)
    frame, rows = frame.iloc[kept], rows[kept]
    y = np.asarray(found.sample.y)[rows]
    arm = np.where(frame["treated"].astype(bool), "treated", "control")
    columns = dict(id=np.array([str(one) for one in frame["id"]], object), arm=arm, outcome=y)
    known = ("propensity", "y0", "y1", "ite", "lower", "upper", "weight", "influence")
    shown = [name for name in known if name in frame]
    columns |= {name: frame[name].to_numpy() for name in shown}
    return unit_data(found.sample, rows, columns)
