"""What `bench real` compares: an ATT with its interval from a sample, by each method."""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

import jcausal as jc
from bench import _m5_methods as m5
from bench._real_data import Question, questions

NORMAL = m5.NORMAL
SCORE = "prognostic score"  # the row of `jc.balance` that a surface gives


class Answer(NamedTuple):
    """An average effect with a 95% interval, and what is told beside it; NaN where nothing is."""

    att: float
    lower: float
    upper: float
    error: float
    plain: float = np.nan
    second: float = np.nan
    drift: float = np.nan
    score_before: float = np.nan
    score_after: float = np.nan
    smd_before: float = np.nan
    smd_after: float = np.nan
    matched: float = np.nan
    seconds: float = np.nan


def normal(att: float, error: float) -> Answer:
    """The interval of an estimate with a standard error."""
    return Answer(att, att - NORMAL * error, att + NORMAL * error, error)


def featured(sample: jc.Sample) -> jc.Sample:
    """The covariates as numbers for regressions: a category as its levels but the first.

    A missing number is at the mean of the others, and its category tells; what does not vary, or
    repeats another column, is left out.
    """
    x, schema = np.asarray(sample.x, np.float64), sample.schema
    columns = [x[:, j] for j in schema.ordered]
    for j in schema.categories:
        columns += [x[:, j] == level for level in range(1, len(schema.levels[j]))]
    features = np.unique(np.stack(columns, axis=1).astype(np.float64), axis=1)
    return jc.Sample(features[:, np.ptp(features, axis=0) > 0], sample.t, sample.y)


def difference(sample: jc.Sample, seed: int) -> Answer:
    """Mean of the treated minus mean of the controls."""
    t, y = np.asarray(sample.t), np.asarray(sample.y, np.float64)
    parts = [y[t == arm] for arm in (True, False)]
    error = np.sqrt(sum(part.var(ddof=1) / part.size for part in parts))
    return normal(float(parts[0].mean() - parts[1].mean()), float(error))


def regression(sample: jc.Sample, seed: int) -> Answer:
    """The treatment's coefficient by least squares on the features, with the robust error HC1."""
    x, y = featured(sample).points, np.asarray(sample.y, np.float64)
    x = (x - x.mean(0)) / x.std(0)
    basis, size, _ = np.linalg.svd(np.column_stack([np.ones(len(y)), x]), full_matrices=False)
    basis = basis[:, size > 1e-9 * size[0]]
    t = np.asarray(sample.t, np.float64)
    own = t - basis @ (basis.T @ t)  # what the features do not tell of the treatment
    att = own @ y / (own @ own)
    rest = y - basis @ (basis.T @ y) - att * own
    freedom = len(y) - basis.shape[1] - 1
    variance = len(y) / freedom * (own**2 @ rest**2) / (own @ own) ** 2
    return normal(float(att), float(np.sqrt(variance)))


def _of_found(found: m5.Found) -> Answer:
    return Answer(*found, error=(found.upper - found.lower) / (2 * NORMAL))


def weighting(sample: jc.Sample, seed: int) -> Answer:
    """IPTW on the features: controls weighted by the odds of treatment."""
    return _of_found(m5.weighting(featured(sample), seed))


def nearest_propensity(sample: jc.Sample, seed: int) -> Answer:
    """1-NN on the features' propensity, with replacement."""
    return _of_found(m5.nearest_propensity(featured(sample), seed))


def doubly_robust(sample: jc.Sample, seed: int) -> Answer:
    """The library's estimator without a matching."""
    average = jc.estimate(sample, jc.AIPW(), key=seed)
    return normal(float(average.average), float(average.std_error))


def by_matching(
    method: jc.matching.Matcher, honest: bool = False
) -> Callable[[jc.Sample, int], Answer]:
    """Effects of a method with Abadie and Imbens' interval, and their balance.

    Of an honest surface also plain means, the second opinion and the groups' drift.
    """

    def ask(sample: jc.Sample, seed: int) -> Answer:
        began = time.perf_counter()
        effects = jc.estimate(sample, method, key=seed, throw=False)
        shared = sample.n >= LARGE  # as the command: neighbours of so many take too long
        bounds = jc.interval(effects, jc.Bootstrap() if shared else jc.AbadieImbens(), key=seed)
        numbers = [
            float(getattr(bounds, name)) for name in ("estimate", "lower", "upper", "std_error")
        ]
        seconds = time.perf_counter() - began
        told = balance(jc.balance(sample, effects)) | (beside(effects) if honest else {})
        return Answer(*numbers, **told, matched=effects.share_matched, seconds=seconds)

    return ask


def beside(effects: jc.effects.Effects) -> dict[str, float]:
    """What an honest surface lets one tell beside the estimate."""
    second = effects.second_opinion()
    return dict(
        plain=float(effects.unadjusted.att),
        second=np.nan if second is None else float(second.average),
        drift=float(np.nanmean(np.abs(np.asarray(effects.drift)))),
    )


def balance(table: pd.DataFrame) -> dict[str, float]:
    """Of a table of `jc.balance`: the score's SMD, and the covariates' mean |SMD|."""
    score = np.asarray(table.index == SCORE)
    found = {}
    for when in ("before", "after"):
        smd = np.asarray(table[f"smd_{when}"], np.float64)
        found[f"score_{when}"] = float(smd[score][0]) if score.any() else np.nan
        found[f"smd_{when}"] = float(np.nanmean(np.abs(smd[~score])))
    return found


class Method(NamedTuple):
    """How a method answers; whether it draws; whether it runs apart, since it may not come back."""

    ask: Callable[[jc.Sample, int], Answer]
    draws: bool = False
    apart: bool = False


def methods() -> dict[str, Method]:
    """Each at its defaults."""
    return {
        "AHB": Method(by_matching(jc.AHB(), honest=True), draws=True),
        "AIPW": Method(doubly_robust, draws=True),
        "M5Match": Method(by_matching(jc.M5Match())),
        "M5Model": Method(by_matching(jc.M5Model())),
        "Fast AHB": Method(by_matching(jc.FastAHB(), honest=True), draws=True, apart=True),
        "difference of means": Method(difference),
        "regression, HC1": Method(regression),
        "IPTW (the bench's own)": Method(weighting),
        "1-NN propensity (the bench's own)": Method(nearest_propensity),
    }


LARGE = 50_000  # rows
REFUSED = (ValueError, jc.DataError, jc.HonestyError, jc.MatchError)


def here(question: Question, method: Method, seed: int) -> Answer | str:
    """An answer, or the words of the method's refusal."""
    try:
        return timed(method, question.sample, seed)
    except REFUSED as error:
        return f"{type(error).__name__}: {error}"


def timed(method: Method, sample: jc.Sample, seed: int) -> Answer:
    """An answer with its seconds: to the interval, without balance and second opinion."""
    began = time.perf_counter()
    answer = method.ask(sample, seed)
    own = not np.isnan(answer.seconds)
    return answer if own else answer._replace(seconds=time.perf_counter() - began)


def apart(question: Question, method: str, seed: int, limit: float) -> Answer | str:
    """The same in a process of its own, or why there is none after `limit` seconds."""
    what = (question.source, question.name, method, str(seed))
    command = [sys.executable, "-m", "bench._real_peers", *what]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return f"no answer in {limit:,.0f} s"
    if done.returncode:
        return done.stderr.strip().splitlines()[-1]
    return Answer(**json.loads(done.stdout.splitlines()[-1]))


def answers(
    question: Question, name: str, partitions: int, limit: float
) -> tuple[list[Answer], str]:
    """A method's answers under every partition, and a note on those that it does not give.

    One that may not come back is asked under three partitions at most, and no more after a failure.
    """
    method = methods()[name]
    many = min(partitions, question.partitions or partitions) if method.draws else 1
    found: list[Answer] = []
    for seed in range(min(many, 3) if method.apart else many):
        one = apart(question, name, seed, limit) if method.apart else here(question, method, seed)
        if isinstance(one, str):
            return found, f"partition {seed + 1}: {one}"
        found.append(one)
    return found, ""


def holds(answer: Answer, published: tuple[float, float]) -> bool:
    """Whether the interval meets the published answers."""
    return answer.lower <= published[1] and answer.upper >= published[0]


def line(
    question: Question, method: str, found: list[Answer], note: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A row for people, and one to keep: medians over the partitions, errors and SMDs as means."""
    kept: dict[str, Any] = dict(question=question.name, truth=question.truth, method=method)
    kept |= dict(note=note, answers=[one._asdict() for one in found])
    if not found:
        return dict(method=method, note=note), kept
    of = pd.DataFrame(found)
    middle = found[int(np.argsort(of["att"].to_numpy(), kind="stable")[(len(found) - 1) // 2])]
    low, high = np.percentile(of["att"], [5, 95])
    several, share = len(found) > 1, "{} of {}".format
    row: dict[str, Any] = dict(method=method, partitions=len(found), estimate=middle.att)
    row |= {"5%": low if several else np.nan, "95%": high if several else np.nan}
    row["interval"] = f"{_word(middle.lower)} to {_word(middle.upper)}"
    row["mean error"] = of["error"].mean()
    if question.published is not None:
        held = sum(holds(one, question.published) for one in found)
        row["intervals that hold it"] = share(held, len(found))
    if question.accept is not None:
        agree = of["att"].between(*question.accept).sum()
        row["estimates that agree"] = share(agree, len(found))
    row |= {"plain means": of["plain"].median(), "second opinion": of["second"].median()}
    row["drift"] = of["drift"].mean()
    for words, one in (("score's SMD", "score"), ("covariates' mean abs SMD", "smd")):
        pair = [of[f"{one}_{when}"].mean() for when in ("before", "after")]
        row[words] = "" if np.isnan(pair).any() else f"{pair[0]:.2f}, {pair[1]:.2f}"
    row |= dict(matched=of["matched"].mean(), s=of["seconds"].median())
    row |= {"first, s": of["seconds"].iloc[0] if several else np.nan, "note": note}
    return row, kept


def _word(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for word in ("source", "question", "method"):
        parser.add_argument(word)
    parser.add_argument("seed", type=int)
    asked = parser.parse_args()
    [wanted] = [one for one in questions([asked.source]) if one.name == asked.question]
    print(json.dumps(timed(methods()[asked.method], wanted.sample, asked.seed)._asdict()))
