"""Several methods asked the same question, one row each."""

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
import pandas as pd
from jaxtyping import Array, Float, PRNGKeyArray

from jcausal.data import (
    FROM_FRAME,
    DataError,
    HonestyError,
    Sample,
    as_pandas,
    check_kind,
    check_share,
    like,
    readable_columns,
)
from jcausal.diagnostics._balance import balance
from jcausal.diagnostics._compared import effective_size
from jcausal.effects import (
    AIPW,
    DML,
    IPTW,
    Average,
    Effects,
    EntropyBalance,
    Estimator,
    OverlapWeights,
    Population,
    estimate,
)
from jcausal.inference import interval, usual_interval
from jcausal.matching import (
    AHB,
    CEM,
    FullMatching,
    M5Model,
    Matcher,
    MatchError,
    NearestNeighbors,
    Progress,
    prefixed,
)
from jcausal.solvers import SolverError

Method = Matcher | Estimator
UNBALANCED = 0.1  # |SMD|
REFUSED = (ValueError, DataError, HonestyError, MatchError, SolverError, ImportError)


@runtime_checkable
class WithTruth(Protocol):
    """A sample with the effect of every unit beside it, such as `jc.simulate` gives."""

    @property
    def sample(self) -> Sample:
        """The sample."""
        ...

    @property
    def ite(self) -> Float[Array, " n"]:
        """The effect of each unit."""
        ...


def usual_methods(estimand: Population = "att") -> dict[str, Method]:
    """What `compare` asks where nothing is said: jcausal's own and the field's usual ones.

    For "ato", which others refuse, the two that average over those alike in both arms.
    """
    if estimand == "ato":
        return {
            "overlap weights": OverlapWeights(),
            "partially linear DML": DML(kind="partial_linear"),
        }
    return {
        "AHB": AHB(),
        "M5Model": M5Model(),  # pyright: ignore[reportCallIssue]  # the tree is its outcome
        "AIPW": AIPW(),
        "1-NN Mahalanobis": NearestNeighbors(),
        "1-NN propensity": NearestNeighbors(metric="propensity"),
        "full matching": FullMatching(),
        "CEM": CEM(),
        "IPTW": IPTW(),
        "entropy balancing": EntropyBalance(),
    }


def compare(
    given: Sample | WithTruth,
    methods: Mapping[str, Method] | None = None,
    *,
    estimand: Population = "att",
    level: float = 0.95,
    key: PRNGKeyArray | Array | int | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Any:
    """Ask several methods, each at its own settings, for the same average effect.

    Where methods agree that differ in what they assume, an answer does not rest on one of them;
    where they do not, the columns tell why: who was left out, on how few units it rests, what
    stayed unbalanced. The first is not the best: nothing here ranks them without a truth.

    **Arguments:**

    - `given`: a sample, or one with its truth (`jc.simulate`, `jc.datasets.ihdp`).
    - `methods`: {name: method}, matchers and estimators; None for a usual choice of nine (of two
      for "ato").
    - `estimand`, `key` as in `jc.estimate`; `level` of the intervals.
    - `progress`: called with (name, done, total) before each method, and while it runs with its
      own steps, as ("NAME: step", done, total).

    **Returns:** a frame, one row a method, of the kind that the sample was read from: `method`,
    `estimate`, `lower`, `upper`, `std_error` (of matchings by `jc.AbadieImbens()`, with clusters or
    50,000 rows and more by `jc.Bootstrap()`; of estimators their own, of Bayesian ones the
    posterior's), `plain` (of adjusted
    matchings the plain means), `matched` (share of the queries), `effective_controls` and
    `effective_treated` (units by the weights), `largest_smd` and `unbalanced` (covariates of |SMD|
    0.1 and more; NaN where there are no weights), `drift` (mean |drift| of the groups, in sd),
    `seconds` of the estimate, `note` (why a method gives no estimate, or no interval; the other
    methods stand). With a truth also `truth`, `error`, `covers` and `unit_error`, the mean absolute
    error of single effects of the queries that are matched; not for "ato", whose truth is that of
    its weights.

    **Raises:** ValueError for what is no method, and for samples without outcomes `DataError`.

    **Example:**

        >>> import jcausal as jc
        >>> sample = jc.datasets.lalonde("experiment")
        >>> methods = {"matching": jc.NearestNeighbors(), "weighting": jc.IPTW()}
        >>> table = jc.compare(sample, methods)
        >>> table["method"].tolist(), bool((table["lower"] < table["upper"]).all())
        (['matching', 'weighting'], True)
    """
    sample, truth = _with_truth(given)
    if sample.y is None:
        raise DataError("the sample has no outcome: attach it with sample.with_outcome(y).")
    level = check_share("level", level)
    asked = usual_methods(estimand) if methods is None else dict(methods)
    for name, method in asked.items():
        if not isinstance(method, Matcher | Estimator):
            raise ValueError(
                f"methods[{name!r}] is no method: give {{name: method}}, such as "
                "{'AHB': jc.AHB(), 'IPTW': jc.IPTW()}."
            )
    shown = len(readable_columns(sample)[0])
    question, rows = Question(sample, estimand, level, key, truth, shown), []
    for done, (name, method) in enumerate(asked.items()):
        if progress is not None:
            progress(name, done, len(asked))
        rows.append(dict(method=name) | _answer(question, method, prefixed(progress, f"{name}: ")))
    columns = [c for c in COLUMNS if truth is not None or c not in OF_TRUTH]
    return like(sample.home, pd.DataFrame(rows, columns=columns))


OF_TRUTH = ("truth", "error", "covers", "unit_error")
COLUMNS = (
    *("method", "estimate", "lower", "upper", "std_error", "plain", "matched"),
    *("effective_controls", "effective_treated", "largest_smd", "unbalanced", "drift"),
    *OF_TRUTH,
    *("seconds", "note"),
)


class Question(NamedTuple):
    """What every method is asked.

    `truth` (n,): the effects of units where they are known; `shown`: how many rows of a table of
    balance are covariates.
    """

    sample: Sample
    estimand: Population
    level: float
    key: PRNGKeyArray | Any
    truth: Float[np.ndarray, " n"] | None
    shown: int


def _with_truth(given: Sample | WithTruth) -> tuple[Sample, Float[np.ndarray, " n"] | None]:
    if isinstance(given, Sample):
        return given, None
    if isinstance(given, WithTruth) and isinstance(given.sample, Sample):
        return given.sample, np.asarray(given.ite, np.float64)
    check_kind(given, Sample, "compare", FROM_FRAME)
    raise AssertionError("check_kind refuses what is no sample")


def _answer(question: Question, method: Method, progress: Progress | None) -> dict[str, Any]:
    """A row of the table; a refusal is its note."""
    began = time.perf_counter()
    try:
        asked: Any = question.sample, method
        options = dict(estimand=question.estimand, key=question.key, progress=progress)
        found = estimate(*asked, **options)
        seconds = dict(seconds=time.perf_counter() - began, note="")
        groups = isinstance(found, Effects)
        row = _of_groups(question, found) if groups else _of_average(question, found)
    except REFUSED as error:
        return dict(note=_sentence(error))
    return seconds | row


def _sentence(error: Exception) -> str:
    """The first line of what an error says; of one without words its name."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def _of_average(question: Question, found: Average) -> dict[str, Any]:
    lower, upper = (float(bound) for bound in found.bounds(question.level))
    row: dict[str, Any] = dict(estimate=float(found.average), lower=lower, upper=upper)
    row |= dict(std_error=float(found.std_error), matched=1.0)
    if found.effective is not None:
        controls, treated = np.asarray(found.effective, np.float64)
        row |= dict(effective_controls=controls, effective_treated=treated)
    if found.unit_weight is not None:
        row |= _imbalance(question, found)
    units = None if found.ite is None else np.asarray(found.ite, np.float64)
    counts = np.asarray(found.fold) >= 0
    return row | _against_truth(question, row, counts, units)


def _of_groups(question: Question, found: Effects) -> dict[str, Any]:
    sample = question.sample
    row: dict[str, Any] = dict(estimate=float(found.average)) | _interval(question, found)
    row["matched"] = found.share_matched
    if found.adjusted:
        row["plain"] = float(found.unadjusted.average)
    weight, t = np.asarray(found.matching.matched_weights(), np.float64), np.asarray(sample.t)
    for word, arm in (("controls", False), ("treated", True)):
        row[f"effective_{word}"] = effective_size(weight[t == arm])
    row |= _imbalance(question, found)
    if found.prognosis is not None:
        row["drift"] = float(np.nanmean(np.abs(np.asarray(found.drift, np.float64))))
    units, counts = np.full(sample.n, np.nan), np.zeros(sample.n, bool)
    rows = np.asarray(found.matching.query)[np.asarray(found.matched)]
    units[rows] = np.asarray(found.ite, np.float64)[np.asarray(found.matched)]
    counts[np.asarray(found.matching.query)[np.asarray(found.matching.asked)]] = True
    return row | _against_truth(question, row, counts, units)


def _interval(question: Question, found: Effects) -> dict[str, Any]:
    """The usual interval; why there is none is a note."""
    method = usual_interval(question.sample, question.level)
    try:
        bounds = interval(found, method, key=question.key)
    except REFUSED as error:
        return dict(lower=np.nan, upper=np.nan, note=f"no interval: {_sentence(error)}")
    row: dict[str, Any] = {n: float(getattr(bounds, n)) for n in ("lower", "upper", "std_error")}
    return row | (dict(note=f"no interval: {bounds.absent}") if bool(bounds.unbounded) else {})


def _imbalance(question: Question, found: Effects | Average) -> dict[str, Any]:
    """The largest |SMD| of a covariate that is left, and how many there are of 0.1 and more."""
    table = as_pandas(balance(question.sample, found))
    smd = np.abs(table["smd_after"].to_numpy(np.float64)[-question.shown :])
    known = smd[np.isfinite(smd)]
    largest = known.max() if known.size else np.nan
    return dict(largest_smd=largest, unbalanced=int((known >= UNBALANCED).sum()))


def _against_truth(
    question: Question,
    row: Mapping[str, Any],
    counts: np.ndarray,
    units: Float[np.ndarray, " n"] | None,
) -> dict[str, Any]:
    """How far the average and the units' effects are from what they should be."""
    if question.truth is None or question.estimand == "ato":
        return {}
    sample, truth = question.sample, question.truth
    t, weight = np.asarray(sample.t), np.asarray(sample.weight, np.float64)
    whose = dict(att=t, atc=~t).get(question.estimand, np.ones_like(t))
    inside = counts & whose & (weight > 0)
    average = float(np.average(truth[inside], weights=weight[inside]))
    found: dict[str, Any] = dict(truth=average, error=row["estimate"] - average)
    if np.isfinite(row["lower"]):
        found["covers"] = bool(row["lower"] <= average <= row["upper"])
    known = inside & np.isfinite(units if units is not None else np.full(sample.n, np.nan))
    if units is not None and known.any():
        found["unit_error"] = float(np.abs(units - truth)[known].mean())
    return found
