"""Intervals for averages: of the estimand, by group, and of the risk ratio, as linear forms."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jcausal.data import By, add_at, is_traced, on_host, to_device
from jcausal.effects import Effects, group_codes
from jcausal.inference._interval import (
    About,
    Groups,
    Interval,
    IntervalMethod,
    Target,
    normal_interval,
)
from jcausal.matching import RESULTS, code

Measure = Literal["difference", "ratio", "odds_ratio"]
LITTLE = 2**31  # pairs of units and queries, in all groups
FEW = "fewer than two matched queries do not tell how a population varies"


class Form(NamedTuple):
    """sum_q share_q (scale_1 y1_q - scale_0 y0_q): the difference has scale 1, 1.

    The log of a risk ratio varies as the form with scale 1 / risk0, 1 / risk1, that of an odds
    ratio with 1 / (risk (1 - risk)).
    """

    share: Float[Array, " q"]
    scale: Float[Array, " 2"]

    def gap(self, effects: Effects) -> Float[Array, " q"]:
        """share_q times how far query q's term is from the mean of all."""
        return _gap(self, effects.y0, effects.y1)


@on_host
def _gap(
    lib: Any, form: Form, y0: Float[Array, " q"], y1: Float[Array, " q"]
) -> Float[Array, " q"]:
    term = lib.where(form.share > 0, form.scale[1] * y1 - form.scale[0] * y0, 0)
    return form.share * (term - (form.share * term).sum())


class FormVariance(NamedTuple):
    """The variance of a form, and whether a pooled residual had a part in it.

    `df` degrees of freedom, None for normal quantiles; `draws` (b, 1) of the form less its value,
    where the method draws.
    """

    variance: Float[Array, ""]
    pooled: Bool[Array, ""]
    df: Float[Array, ""] | None = None
    draws: Float[Array, "b 1"] | None = None


Variance = Callable[[Form], FormVariance]


class Asked(NamedTuple):
    """What is asked of an average: groups of queries, the measure, bounds that hold for all."""

    by: By | None = None
    measure: Measure = "difference"
    simultaneous: bool = False


class AverageMethod(IntervalMethod):
    """An interval method for averages, which are linear in the outcomes."""

    target: eqx.AbstractVar[Literal["population", "sample"]]

    @property
    @abstractmethod
    def words(self) -> str:
        """The method's name for readers."""

    @abstractmethod
    def variance(
        self, effects: Effects, share: Float[Array, " q"], key: PRNGKeyArray | None
    ) -> Variance:
        """What is common to all forms over the queries in `share`, then the variance of one."""

    def of(self, effects: Effects, key: PRNGKeyArray | None) -> Interval:
        """The interval of the estimand's average."""
        return average_interval(effects, self, Asked(), key)


class _Queries(NamedTuple):
    """Weights of the queries in averages, and the group that each is in."""

    weight: Float[Array, " q"]
    code: Int[Array, " q"]
    groups: Groups | None

    def share(self, group: Array | int) -> Float[Array, " q"]:
        """The queries' shares in one group; all 0 where none is matched."""
        if self.groups is None:
            return _positive(self.weight)
        return _share_of(self.weight, self.code, group)


@on_host
def _positive(lib: Any, weight: Float[Array, " q"]) -> Float[Array, " q"]:
    """NaN, where nothing is matched, as 0."""
    return lib.where(weight > 0, weight, 0)


@on_host
def _share_of(
    lib: Any, weight: Float[Array, " q"], code: Int[Array, " q"], group: Array | int
) -> Float[Array, " q"]:
    weight = lib.where(code == group, weight, 0)
    total = weight.sum()
    return weight / lib.where(total > 0, total, 1)


def average_interval(
    effects: Effects, method: AverageMethod, asked: Asked, key: PRNGKeyArray | None
) -> Interval:
    """Intervals of the average, or of each group's average, all in the same passes.

    Of several partitions the one that is shown, with a variance that takes in how far they differ:
    the median over partitions r of error_r^2 + (average_r - the one shown)^2.

    **Raises:** ValueError for a ratio of outcomes that are no risks, or of a risk of 0; for
    simultaneous bounds without groups, by a method that does not draw, or of several partitions.

    **Source:** the median over partitions after Chernozhukov et al. (2018), Econometrics Journal
    21(1), definition 3.3.
    """
    if asked.simultaneous and (asked.by is None or effects.partitions is not None):
        lacking = "one partition (repeats=1)" if asked.by is not None else "groups, by=..."
        raise ValueError(f"simultaneous bounds are for several estimates: they need {lacking}.")
    shown = _one_partition(effects, method, asked, key)
    if effects.partitions is None:
        return shown
    runs = cast(tuple[Effects, ...], effects.partitions.runs)
    each = [_one_partition(run, method, asked, key) for run in runs]
    errors, estimates = [one.std_error for one in each], [one.estimate for one in each]
    variance = _over_partitions(errors, estimates, shown.estimate, asked.measure)
    return _with_variance(shown, variance, asked.measure)


@on_host
def _over_partitions(
    lib: Any, errors: list[Array], estimates: list[Array], shown: Array, measure: Measure
) -> Float[Array, "*q"]:
    """Median of error^2 + (estimate - shown)^2, of a group over the partitions that match it."""
    values, middle = lib.stack(estimates), shown
    if measure != "difference":
        values, middle = lib.log(values), lib.log(middle)
    terms = lib.sort(lib.stack(errors) ** 2 + (values - middle) ** 2, axis=0)  # NaN last
    known = (~lib.isnan(terms)).sum(0)
    low, high = (lib.maximum(place, 0)[None] for place in ((known - 1) // 2, known // 2))
    low, high = (lib.take_along_axis(terms, at, axis=0)[0] for at in (low, high))
    return lib.where(known > 0, (low + high) / 2, lib.nan)


@on_host
def _logarithm(lib: Any, value: Array) -> Array:
    return lib.log(value)


def _with_variance(shown: Interval, variance: Float[Array, "*q"], measure: Measure) -> Interval:
    """The same interval as wide as another variance makes it."""
    middle = shown.estimate if measure == "difference" else _logarithm(shown.estimate)
    made = normal_interval(
        middle,
        variance,
        shown.pooled,
        About(
            shown.level,
            shown.target,
            f"{shown.method}, spread of partitions included",
            shown.absent,
            shown.df,
        ),
        shown.groups,
    )
    return made if measure == "difference" else _exponentiated(made)


def _one_partition(
    effects: Effects, method: AverageMethod, asked: Asked, key: PRNGKeyArray | None
) -> Interval:
    """The same of one partition."""
    queries, measure = _queries(effects, asked.by), asked.measure
    count = 1 if queries.groups is None else len(queries.groups.label)
    if measure != "difference":
        effects.check_binary()
    one = method.variance(effects, _positive(queries.weight), key)

    def risks(group: Array | int) -> Array:
        share = queries.share(group)
        return _stacked(*(_mean(effects, share, value) for value in (effects.y0, effects.y1)))

    def found(group: Array | int) -> tuple[Array, FormVariance]:
        share, scale = queries.share(group), to_device(np.ones(2, queries.weight.dtype))
        estimate = _mean(effects, share, effects.ite)
        if measure != "difference":
            estimate, scale = _log_ratio(risks(group), measure)
        made = one(Form(share, scale))
        least = 2 if method.target == "population" else 1
        made = made._replace(variance=_unless_few(share, made.variance, least))
        return estimate, made if asked.simultaneous else made._replace(draws=None)

    if measure != "difference":
        _check_risks(_by_blocks(risks, effects, count), queries.groups, measure)
    estimate, made = _by_blocks(found, effects, count)
    if queries.groups is None:
        estimate, made = jax.tree.map(_only, (estimate, made))
    kind = dict(difference="average", ratio="risk ratio", odds_ratio="odds ratio")[measure]
    target = cast(Target, f"{method.target} {kind}")
    about = About(method.level, target, method.words, FEW, made.df)
    if asked.simultaneous:
        about = about._replace(
            quantile=_largest_of_all(made, method), method=f"{method.words}, for all groups at once"
        )
    interval = normal_interval(estimate, made.variance, made.pooled, about, queries.groups)
    return interval if measure == "difference" else _exponentiated(interval)


def _largest_of_all(made: FormVariance, method: AverageMethod) -> Array:
    """The quantile of the largest |draw| / error of the groups.

    **Raises:** ValueError for a method that does not draw.
    """
    if made.draws is None:
        raise ValueError(
            f"simultaneous bounds need draws, and jc.{type(method).__name__} makes none: use "
            "jc.Bootstrap() or jc.WeightedBootstrap()."
        )
    return _quantile_of_largest(made.draws, made.variance, method.level)


@on_host
def _quantile_of_largest(
    lib: Any, draws: Float[Array, "g b 1"], variance: Float[Array, " g"], level: float
) -> Float[Array, ""]:
    error = lib.sqrt(variance)[:, None]
    size = lib.where(error > 0, lib.abs(draws[..., 0]) / lib.where(error > 0, error, 1), 0)
    return lib.quantile(size.max(0), level).astype(draws.dtype)


def _queries(effects: Effects, by: By | None) -> _Queries:
    """The estimand's queries as one group, or all queried units by their label."""
    matching = effects.matching
    if by is None:
        share = effects.share()
        return _Queries(share, to_device(np.zeros(share.shape[0], np.int32)), None)
    codes, labels = group_codes(effects, by)
    weight, asked, matched = _counted(codes, effects.matched, matching.query_weight, len(labels))
    return _Queries(weight, codes, Groups(asked, matched, labels))


@on_host
def _counted(
    lib: Any,
    code: Int[Array, " q"],
    matched: Bool[Array, " q"],
    weight: Float[Array, " q"],
    groups: int,
) -> tuple[Float[Array, " q"], Int[Array, " g"], Int[Array, " g"]]:
    """Weights of matched queries in a group; how many each group asked for and has matched."""
    use, place = matched & (code >= 0), lib.maximum(code, 0)
    asked, found = (
        add_at(lib, groups, place, which.astype(np.int32)) for which in (code >= 0, use)
    )
    return lib.where(use, weight, 0), asked, found


def _mean(effects: Effects, share: Array, value: Array) -> Array:
    """sum_q share_q value_q; NaN without a matched query, or after bad input."""
    return _weighted_mean(share, value, effects.matching.status)


@on_host
def _weighted_mean(
    lib: Any, share: Float[Array, " q"], value: Float[Array, " q"], status: Int[Array, " q"]
) -> Float[Array, ""]:
    bad = (status == code(RESULTS.bad_input)).any() | ~(share > 0).any()
    return lib.where(bad, lib.nan, (share * lib.where(share > 0, value, 0)).sum())


@on_host
def _unless_few(
    lib: Any, share: Float[Array, " q"], variance: Float[Array, ""], least: int
) -> Float[Array, ""]:
    return lib.where((share > 0).sum() < least, lib.nan, variance)


def _by_blocks(one: Callable, effects: Effects, count: int, max_bytes: int = 2**28) -> Any:
    """`one` of each group, stacked, as many groups at once as the byte budget holds.

    One by one where that is little work: it needs no programs of its own.
    """
    n, q = effects.sample.n, effects.matching.query.shape[0]
    block = min(count, max(1, max_bytes // (64 * (n + q))))
    if not is_traced(effects) and n * q * count <= LITTLE:
        block = 1
    if block == 1:
        parts = [one(g) for g in range(count)]
        return jax.tree.map(_stacked, *parts)
    starts = range(0, count, block)  # equal blocks; groups beyond the last hold no query
    parts = [jax.vmap(one)(start + jnp.arange(block)) for start in starts]
    return jax.tree.map(lambda *a: jnp.concatenate(a)[:count], *parts)


@on_host
def _log_ratio(
    lib: Any, risk: Float[Array, " 2"], measure: Measure
) -> tuple[Float[Array, ""], Float[Array, " 2"]]:
    """The logarithm of the ratio of risks or of their odds, and how it moves with each."""
    log, moves = lib.log(risk), 1 / risk
    if measure == "odds_ratio":
        log, moves = log - lib.log1p(-risk), moves / (1 - risk)
    return log[1] - log[0], moves


@on_host
def _only(lib: Any, values: Array) -> Array:
    return values[0]


@on_host
def _stacked(lib: Any, *values: Array) -> Array:
    return lib.stack(values)


def _check_risks(risk: Array, groups: Groups | None, measure: Measure) -> None:
    """Refuse ratios with a risk of 0, of odds also of 1; under tracing they are NaN."""
    if is_traced(risk):
        return
    values = np.asarray(risk)
    for arm in (0, 1):
        bad = values[:, arm] <= 0
        if measure == "odds_ratio":
            bad |= values[:, arm] >= 1
        zero = np.flatnonzero(bad)
        if zero.size:
            where = "" if groups is None else f" in group {groups.label[zero[0]]!r}"
            more = f" and {zero.size - 1} more" if zero.size > 1 else ""
            raise ValueError(
                f"risk{arm} is {values[zero[0], arm]:.3g}{where}{more}, so its logarithm has no "
                "value: use measure='difference'."
            )


def _exponentiated(log: Interval) -> Interval:
    """From the log of a ratio to the ratio; `error` stays that of the log."""
    values = _exponentials(log.estimate, log.lower, log.upper)
    return eqx.tree_at(lambda i: (i.estimate, i.lower, i.upper), log, values)


@on_host
def _exponentials(lib: Any, estimate: Array, lower: Array, upper: Array) -> tuple[Array, ...]:
    known = lib.isfinite(estimate)
    return tuple(lib.where(known, lib.exp(v), lib.nan) for v in (estimate, lower, upper))
