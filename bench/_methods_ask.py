"""One data set, every method: its average with an interval, and its effects of single units."""

import dataclasses
import time
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

import jcausal as jc
from bench._methods_roster import Method, method_of
from bench._real_data import Absent
from jcausal.simulate import Simulated

MOST = 0.5  # of the treated: a method that matches fewer does not say who is compared
REFUSED = (ValueError, jc.DataError, jc.HonestyError, jc.MatchError, jc.SolverError)


class Case(NamedTuple):
    """A data set. `truth`: with the effect of every unit, where that is known."""

    suite: str
    row: str
    seed: int
    sample: jc.Sample
    truth: Simulated | None


class Found(NamedTuple):
    """What a method says of the treated. `units` (n,): single effects, NaN where there are none;
    `matched` (n,): whom the average is of.
    """

    row: dict[str, Any]
    units: Float[np.ndarray, " n"]
    matched: np.ndarray


def ask(
    case: Case, names: tuple[str, ...], tell: Callable[[str], None] | None = None
) -> list[dict[str, Any]]:
    """A record a method; those that know single effects are also compared on common units."""
    records, found = [], {}
    for name in names:
        if tell is not None:
            tell(name)
        about = dict(suite=case.suite, row=case.row, seed=case.seed, method=name)
        try:
            method = method_of(name, case.truth, case.sample.n, case.sample.p)
            found[name] = asked(case, method)
            records.append(about | found[name].row)
        except Absent as reason:
            records.append(about | dict(note=f"not asked: {reason}", absent=True))
        except REFUSED as error:
            records.append(about | dict(note=str(error).splitlines()[0], matched=0.0))
    if case.truth is None:
        return records
    common = _common(case.sample, found)
    for record in records:
        one = found.get(record["method"])
        if one is not None and np.isfinite(one.units).any() and common.any():
            gap = np.abs(one.units - np.asarray(case.truth.ite, np.float64))[common]
            record["unit_error_common"] = float(gap.mean())
            record["common"] = float(common.sum() / np.asarray(case.sample.t).sum())
    return records


def _common(sample: jc.Sample, found: dict[str, Found]) -> np.ndarray:
    """The treated to whom every method gives an effect that gives one to most of them."""
    common = np.asarray(sample.t).copy()
    treated = common.sum()
    for one in found.values():
        known = np.isfinite(one.units) & np.asarray(sample.t)
        if known.sum() >= MOST * treated:
            common &= known
    return common


def asked(case: Case, method: Method) -> Found:
    """The answer and how far it is from the truth."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # none/const has a surface without any use
        began = time.perf_counter()
        if isinstance(method, jc.effects.Estimator):
            found = _of_estimator(case, method)
        else:
            found = _of_matcher(case, method)
        seconds = time.perf_counter() - began
    row = found.row | dict(seconds=seconds, note="", length=found.row["upper"] - found.row["lower"])
    return found._replace(row=row | _errors(case, found))


def _of_estimator(case: Case, method: jc.effects.Estimator) -> Found:
    sample, t = case.sample, np.asarray(case.sample.t)
    estimand = "att" if "att" in method.estimands else "ato"
    one = jc.estimate(sample, method, estimand=estimand, key=case.seed)
    lower, upper = (float(bound) for bound in one.bounds())
    units = np.full(sample.n, np.nan)
    if one.ite is not None:
        units = np.asarray(one.ite, np.float64)
    row = dict(estimate=float(one.average), lower=lower, upper=upper, estimand=estimand)
    return Found(row | dict(matched=1.0), np.where(t, units, np.nan), t.copy())


def _of_matcher(case: Case, method: jc.matching.Matcher) -> Found:
    sample, t = case.sample, np.asarray(case.sample.t)
    effects = jc.estimate(sample, method, key=case.seed, throw=False)
    who = np.asarray(effects.matched)
    if not who.any():
        raise jc.MatchError("no treated unit has a match.")
    bounds = jc.interval(effects, jc.inference.usual_interval(sample), key=case.seed)
    rows = np.asarray(effects.matching.query)[who]
    if isinstance(
        effects.matching, jc.matching.Boxes
    ):  # several treated: their mean has less noise
        effects = dataclasses.replace(effects, effect="group")
    units = np.full(sample.n, np.nan)
    units[rows] = np.asarray(effects.ite, np.float64)[who]
    matched = np.zeros(sample.n, bool)
    matched[rows] = True
    row = {name: float(getattr(bounds, name)) for name in ("estimate", "lower", "upper")}
    return Found(row | dict(estimand="att", matched=float(who.mean())), units, matched & t)


def _errors(case: Case, found: Found) -> dict[str, Any]:
    """Of the average against the matched and all treated, of single effects likewise.

    A treated unit without an effect is given the mean of the others.
    """
    if case.truth is None or found.row["estimand"] != "att":
        return {}
    t, ite = np.asarray(case.sample.t), np.asarray(case.truth.ite, np.float64)
    own, everyone = ite[found.matched].mean(), ite[t].mean()
    row = dict(truth=everyone, truth_matched=own, size=abs(everyone))
    row |= dict(bias=found.row["estimate"] - everyone, bias_matched=found.row["estimate"] - own)
    row["covers"] = float(found.row["lower"] <= own <= found.row["upper"])
    row["covers_all"] = float(found.row["lower"] <= everyone <= found.row["upper"])
    units = found.units[t]
    known = np.isfinite(units)
    if known.any():
        full = np.where(known, units, units[known].mean())
        row["unit_error"] = float(np.abs(units - ite[t])[known].mean())
        row["unit_error_all"] = float(np.abs(full - ite[t]).mean())
    return row
