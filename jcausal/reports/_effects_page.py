"""The page of effects from a matching."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Array, PRNGKeyArray

from jcausal.data import as_pandas, label_word, number_in_words
from jcausal.effects import Average, Effects, group_codes
from jcausal.inference import Interval, heterogeneity, interval
from jcausal.matching import sentence
from jcausal.reports._cautions import cautions
from jcausal.reports._charts import Chart, forest, histogram, love_of
from jcausal.reports._methods_text import WHOSE, methods_of_groups
from jcausal.reports._render import (
    TextTable,
    as_json,
    balance_shown,
    rendered,
    text_table,
    versions,
)
from jcausal.reports._results import Results
from jcausal.reports._sample_words import covariate_table, question, sample_facts
from jcausal.reports._sensitivity_words import sensitivity_answers
from jcausal.reports._unit_rows import GROUPS, MEMBERS, ROWS, spread, unit_data
from jcausal.reports._wording import Request, Wording

LOOKED = 3  # covariates that effects are shown by where none is named


class Divided(NamedTuple):
    """Effects by the groups of a covariate: its table, its picture, and in words why one has no
    interval, and the test.
    """

    name: str
    table: TextTable
    chart: Chart
    test: str


def effects_page(
    results: Results, request: Request, groups: dict[str, Interval], searched: int
) -> str:
    """The page as HTML.

    **Arguments:** `groups`: averages by the groups of each covariate; `searched`: the covariates
    among which these were looked for, 0 where they were named.
    """
    wording, second = request.wording, results.second
    effects, sample = results.effects, results.effects.sample
    estimates = _estimates(results, request, second)
    balance = results.balance
    ite = np.asarray(effects.ite, float)[np.asarray(effects.matched)]
    axis = f"effect of a unit{f' ({wording.unit})' if wording.unit else ''}"
    average = float(effects.average)
    return rendered(
        "effects.html",
        title=wording.title or question(wording),
        wording=wording,
        whose=WHOSE[effects.estimand],
        answer=_answer(results.average, wording),
        matched=_matched(effects),
        cautions=[wording.reword(one) for one in cautions(results, second)],
        facts=sample_facts(sample),
        covariates=covariate_table(sample),
        estimates=text_table(estimates),
        estimates_chart=_chart_of(estimates, wording),
        balance=text_table(balance_shown(balance)),
        love=love_of(balance),
        reasons=_reasons(effects),
        dropped=_dropped(effects),
        spread=histogram(ite, axis, average),
        divided=[_divided(effects, *one, searched, wording) for one in groups.items()],
        searched=searched,
        sensitivity=sensitivity_answers(
            effects, results.average.level, results.average, request.key
        ),
        units=as_json(_units(results)),
        limits=_limits(effects),
        text=methods_of_groups(results, request, second),
        versions=versions(wording.seed, sample.x.dtype, sample.origin),
        summary=wording.reword(effects.summary(results.average)),
    )


def _answer(average: Interval, wording: Wording) -> str:
    """The average with its bounds."""
    unit = f" {wording.unit}" if wording.unit else ""
    middle = number_in_words(float(average.estimate))
    if bool(average.unbounded):
        return f"{middle}{unit} (no interval: {average.absent})"
    low, high = (number_in_words(float(v)) for v in (average.lower, average.upper))
    return f"{middle}{unit} ({100 * average.level:g}% interval {low} to {high})"


def _matched(effects: Effects) -> str:
    matched, asked = (int(np.asarray(a).sum()) for a in (effects.matched, effects.matching.asked))
    return f"{matched:,} of {asked:,} matched"


def _estimates(results: Results, request: Request, second: Average | None) -> pd.DataFrame:
    """The average as reported, by plain means, and by the second opinion."""
    effects, average = results.effects, results.average
    first = "adjusted" if effects.adjusted else "plain means"
    rows = [_row(first, average)]
    if effects.adjusted:
        plain = interval(effects.unadjusted, request.rule, key=request.key)
        rows.append(_row("plain means", plain))
    if second is not None:
        low, high = (float(v) for v in second.bounds(average.level))
        named = dict(estimate=f"second opinion ({second.method})", average=float(second.average))
        named |= dict(std_error=float(second.std_error), lower=low, upper=high)
        rows.append(named | dict(interval=f"{100 * average.level:g}%, normal"))
    return pd.DataFrame(rows).rename(columns=dict(std_error="standard error"))


def _row(name: str, average: Interval) -> dict[str, Any]:
    numbers = dict(average="estimate", std_error="std_error", lower="lower", upper="upper")
    row: dict[str, Any] = dict(estimate=name)
    row |= {head: float(getattr(average, field)) for head, field in numbers.items()}
    return row | dict(interval=f"{100 * average.level:g}%, {average.method}, {average.target}")


def _chart_of(estimates: pd.DataFrame, wording: Wording) -> Chart:
    bounds = estimates[["average", "lower", "upper"]].to_numpy(float)
    axis = f"average effect{f' ({wording.unit})' if wording.unit else ''}"
    return forest(estimates["estimate"].tolist(), bounds, axis)


def _reasons(effects: Effects) -> TextTable | None:
    """Why queries have no group, and how many; None where all have one."""
    matching = effects.matching
    status = np.asarray(matching.status)[np.asarray(matching.asked) & ~np.asarray(matching.matched)]
    if not status.size:
        return None
    codes, count = np.unique(status, return_counts=True)
    table = pd.DataFrame(dict(reason=[sentence(k) for k in codes], queries=count))
    return text_table(table.sort_values("queries", ascending=False, kind="stable"))


def _dropped(effects: Effects) -> TextTable | None:
    """Who was dropped beside who was kept."""
    if bool(np.asarray(effects.matched)[np.asarray(effects.matching.asked)].all()):
        return None
    table = as_pandas(effects.unmatched())
    table = table if "covariate" in table.columns else table.reset_index()
    return text_table(table)


def most_varied(effects: Effects) -> list[str]:
    """The covariates along whose groups the single effects differ most, the first one first.

    By the share of their variance that lies between groups, corrected for the number of groups.
    """
    matched = np.asarray(effects.matched)
    ite, flags = np.asarray(effects.ite, float), effects.sample.schema.flag_of.values()
    found: dict[str, float] = {}
    for j, name in enumerate(effects.sample.schema.names):
        if j in flags:
            continue
        codes = np.asarray(group_codes(effects, name)[0])
        use = matched & (codes >= 0)
        share = _share_between(ite[use], codes[use])
        if share > 0:
            found[name] = share
    return sorted(found, key=found.__getitem__, reverse=True)[:LOOKED]


def _share_between(values: np.ndarray, codes: np.ndarray) -> float:
    """1 - within / total variance, both by their degrees of freedom; 0 where there are too few."""
    count = np.bincount(codes)
    groups, size = int((count > 0).sum()), values.size
    if groups < 2 or size <= groups:
        return 0.0
    mean = np.bincount(codes, values) / np.maximum(count, 1)
    within = ((values - mean[codes]) ** 2).sum() / (size - groups)
    total = values.var(ddof=1)
    return float(1 - within / total) if total > 0 else 0.0


def by_groups(
    results: Results, names: Sequence[str], key: PRNGKeyArray | Array | int | None
) -> dict[str, Interval]:
    """Averages of the groups of each covariate, with their intervals."""
    effects, rule = results.effects, results.rule
    return {name: interval(effects, rule, by=name, key=key) for name in names}


def _divided(
    effects: Effects, name: str, found: Interval, searched: int, wording: Wording
) -> Divided:
    """Effects by the groups of one covariate."""
    table = as_pandas(found.to_frame())
    names = ("queries", "matched", "estimate", "std_error", "lower", "upper")
    columns = {name.replace("_", " "): table[name].to_numpy() for name in names}
    frame = pd.DataFrame(dict(group=[label_word(v) for v in table["group"]]) | columns)
    bounds = frame[["estimate", "lower", "upper"]].to_numpy(float)
    axis = f"average effect{f' ({wording.unit})' if wording.unit else ''}"
    chart = forest(frame["group"].tolist(), bounds, axis, float(effects.average))
    absent = f"No interval: {found.absent}. " * bool(np.asarray(found.unbounded).any())
    return Divided(name, text_table(frame), chart, absent + _test(found, searched))


def _test(found: Interval, searched: int) -> str:
    """Whether the groups differ by more than chance."""
    try:
        test = heterogeneity(found)
    except ValueError:
        return "No test of a difference: fewer than two groups have ten matched units and an error."
    words = f"Test that all groups have the same effect: {test}."
    if searched > 1:
        held = min(1.0, searched * test.p_value)
        words += f" With the search among {searched} covariates taken into account: p {held:.3g}."
    return words


def _units(results: Results) -> dict[str, Any]:
    """The table of queries, and their groups."""
    effects, matching = results.effects, results.effects.matching
    frame = as_pandas(effects.to_frame())
    asked = np.flatnonzero(np.asarray(matching.asked))
    if results.units is not None:
        for name in ("lower", "upper"):
            frame[name] = np.asarray(getattr(results.units, name))[asked]
    kept = spread(len(frame), ROWS)
    frame, queries = frame.iloc[kept], asked[kept]
    frame = frame.assign(
        arm=np.where(frame["treated"].astype(bool), "treated", "control"),
        result=np.where(frame["matched"], "matched", frame["reason"]),
    )
    heads = dict(id="id", arm="arm", y="outcome", y0="y0", y1="y1", effect="effect")
    heads |= dict(lower="lower", upper="upper", n_control="controls", n_treated="treated")
    heads |= dict(drift="drift", result="result")
    columns = {
        head: frame[name].to_numpy() for name, head in heads.items() if name in frame.columns
    }
    columns["id"] = np.array([str(one) for one in frame["id"]], object)
    rows = np.asarray(matching.query)[queries]
    return unit_data(effects.sample, rows, columns, matching, queries)


def _limits(effects: Effects) -> list[str]:
    """What the table of units leaves out."""
    asked, matched = (int(np.asarray(a).sum()) for a in (effects.matching.asked, effects.matched))
    said = []
    if asked > ROWS:
        said.append(f"{ROWS:,} of {asked:,} queries are listed, evenly over all.")
    if min(matched, ROWS) > GROUPS:
        said.append(f"The groups of {GROUPS:,} units are in this file, evenly over all.")
    sizes = np.asarray(effects.sizes)[np.asarray(effects.matched)].sum(1)
    if sizes.size and sizes.max() > MEMBERS + 1:
        said.append(
            f"Of a group of more than {MEMBERS} those are listed that weigh most and are most like "
            "the unit."
        )
    return said
