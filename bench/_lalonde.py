"""LaLonde over many partitions: the distribution of the ATT, and two placebos beside it."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

import jcausal as jc
from bench._published import EXPERIMENT

MODEL = jc.BART(chains=1, burn=200, draws=100, thin=1)


class Question(NamedTuple):
    """A sample and what the answer should be."""

    controls: str
    name: str
    sample: jc.Sample
    truth: str


def questions(controls: str) -> Iterator[Question]:
    """The effect itself, and two that are 0."""
    sample = jc.datasets.lalonde(controls)  # type: ignore[arg-type]
    experiment = jc.datasets.lalonde("experiment")
    truth = f"{EXPERIMENT[0]:,.0f} (se {EXPERIMENT[1]:,.0f})"
    yield Question(controls, "effect on income 1978", sample, truth)
    yield Question(
        controls, "placebo: the experiment's controls", _untreated(sample, experiment), "0"
    )
    yield Question(controls, "placebo: income 1975", _earlier(sample), "0")


def _untreated(sample: jc.Sample, experiment: jc.Sample) -> jc.Sample:
    """The experiment's controls as if treated, against the survey's men."""
    parts = [(experiment, ~np.asarray(experiment.t)), (sample, ~np.asarray(sample.t))]
    x = np.concatenate([part.points[rows] for part, rows in parts])
    y = np.concatenate([np.asarray(part.y)[rows] for part, rows in parts])
    t = np.concatenate([np.full(int(rows.sum()), part is experiment) for part, rows in parts])
    return jc.Sample(x, t, y, **_words(sample, range(sample.p)))


def _earlier(sample: jc.Sample) -> jc.Sample:
    """Income 1975 as the outcome, and not among the covariates."""
    j = sample.schema.names.index("income 1975")
    others = [k for k in range(sample.p) if k != j]
    points = sample.points
    return jc.Sample(points[:, others], sample.t, points[:, j], **_words(sample, others))


def _words(sample: jc.Sample, columns: Any) -> dict[str, Any]:
    schema = sample.schema
    return {
        word: [getattr(schema, word)[k] for k in columns] for word in ("names", "kinds", "units")
    }


def ask(question: Question, method: jc.matching.Matcher, partitions: int) -> dict[str, Any]:
    """The ATT under every partition."""
    atts, shares, errors, proven, sizes = [], [], [], [], []
    for seed in range(partitions):
        effects = jc.estimate(question.sample, method, key=seed, adjust=None, throw=False)
        bounds = jc.interval(effects, jc.AbadieImbens())
        atts.append(float(effects.att))
        errors.append(float(bounds.std_error))
        shares.append(effects.share_matched)
        boxes = effects.matching
        if isinstance(boxes, jc.matching.Boxes) and boxes.proof is not None:
            proven.append(float(boxes.proven.mean()))
            sizes.append(float(np.median(np.asarray(effects.n_control))))
    print(f"  {question.controls} {question.name}: {partitions} partitions", flush=True)
    low, middle, high = np.percentile(atts, [5, 50, 95])
    return {
        "controls": question.controls.upper(),
        "question": question.name,
        "truth": question.truth,
        "partitions": partitions,
        "median": middle,
        "5%": low,
        "95%": high,
        "mean": float(np.mean(atts)),
        "sd": float(np.std(atts, ddof=1)) if partitions > 1 else np.nan,
        "mean standard error": float(np.mean(errors)),
        "share matched": float(np.mean(shares)),
        **({"share proven": np.mean(proven), "median controls": np.mean(sizes)} if proven else {}),
        "every": atts,
    }


def collect(
    controls: tuple[str, ...], method: jc.matching.Matcher, partitions: int
) -> Iterator[pd.DataFrame]:
    """The answers so far, after each question."""
    asked = []
    for question in (q for name in controls for q in questions(name)):
        asked.append(ask(question, method, partitions))
        yield pd.DataFrame(asked)
