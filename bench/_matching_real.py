"""Every matching method at its defaults on real data: the effect, its interval, seconds."""

import time
from typing import Any

import numpy as np
import pandas as pd

import jcausal as jc
from bench._real_data import questions
from jcausal.cli import METHODS

SETS = ("psid", "nhefs", "rhc")
LONG = ("exact-ahb", "fast-ahb")  # in `bench real`, in processes of their own
MANY = 5_000  # rows, from which a search for balance takes minutes
REFUSED = (ValueError, jc.DataError, jc.HonestyError, jc.MatchError)


def run(quick: bool) -> pd.DataFrame:
    """One line a data set and method."""
    lines: list[dict[str, Any]] = []
    for question in questions(SETS[:1] if quick else SETS):
        if "placebo" in question.name:
            continue
        for word, kind in METHODS.items():
            if issubclass(kind, jc.matching.Matcher) and word not in LONG:
                many = word == "genetic-matching" and question.sample.n > MANY
                found = dict(note="minutes: not run") if many else _asked(question.sample, kind)
                line = dict(data=question.name, method=word, **found)
                print(f"  {line}", flush=True)
                lines.append(line)
    return pd.DataFrame(lines).fillna({"note": ""})


def _asked(sample: jc.Sample, kind: type) -> dict[str, Any]:
    """The average, its interval and the seconds of two calls; the words of a refusal."""
    try:
        method = kind()
        seconds = []
        for _ in range(2):
            began = time.perf_counter()
            effects = jc.estimate(sample, method, key=0)
            seconds.append(time.perf_counter() - began)
        bounds = jc.interval(effects, jc.AbadieImbens())
        found = dict(ATT=float(effects.att), lower=float(bounds.lower), upper=float(bounds.upper))
        found |= dict(adjusted=_adjusted(sample, method), matched=effects.share_matched)
        smd = jc.balance(sample, effects)["smd_after"]
        return found | {
            "largest |SMD|": float(np.nanmax(np.abs(smd))),
            "first, s": seconds[0],
            "next, s": seconds[1],
        }
    except (*REFUSED, TypeError) as error:
        return dict(note=str(error).splitlines()[0][:160])


def _adjusted(sample: jc.Sample, method: jc.matching.Matcher) -> float:
    """The average adjusted by Ridge, of a method that no surface guides; else NaN."""
    if not isinstance(method, jc.matching.DesignMatcher):
        return np.nan
    return float(jc.estimate(sample, method, key=0, adjust=jc.Ridge()).att)
