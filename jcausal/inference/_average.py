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

Measure = Literal["difference", "ratio"]
LITTLE = 2**31  # pairs of units and queries, in all groups
FEW = "fewer than two matched queries do not tell how a population varies"


class Form(NamedTuple):
    """sum_q share_q (scale_1 y1_q - scale_0 y0_q): the difference has scale 1, 1.

    The log of a risk ratio varies as the form with scale 1 / risk0, 1 / risk1.
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


Variance = Callable[[Form], tuple[Float[Array, ""], Bool[Array, ""]]]


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
        return average_interval(effects, self, None, "difference", key)


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
    effects: Effects,
    method: AverageMethod,
    by: By | None,
    measure: Measure,
    key: PRNGKeyArray | None,
) -> Interval:
    """Intervals of the average, or of each group's average, all in the same passes.

    Of several partitions the one that is shown, with a variance that takes in how far they differ:
    the median over partitions r of error_r^2 + (average_r - the one shown)^2.

    **Raises:** ValueError for a ratio of outcomes that are no risks, or of a risk of 0.

    **Source:** the median over partitions after Chernozhukov et al. (2018), Econometrics Journal
    21(1), definition 3.3.
    """
    shown = _one_partition(effects, method, by, measure, key)
    if effects.partitions is None:
        return shown
    runs = cast(tuple[Effects, ...], effects.partitions.runs)
    each = [_one_partition(run, method, by, measure, key) for run in runs]
    errors, estimates = [one.std_error for one in each], [one.estimate for one in each]
    variance = _over_partitions(errors, estimates, shown.estimate, measure)
    return _with_variance(shown, variance, measure)


@on_host
def _over_partitions(
    lib: Any, errors: list[Array], estimates: list[Array], shown: Array, measure: Measure
) -> Float[Array, "*q"]:
    """Median of error^2 + (estimate - shown)^2, of a group over the partitions that match it."""
    values, middle = lib.stack(estimates), shown
    if measure == "ratio":
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
    middle = _logarithm(shown.estimate) if measure == "ratio" else shown.estimate
    made = normal_interval(
        middle,
        variance,
        shown.pooled,
        About(
            shown.level,
            shown.target,
            f"{shown.method}, spread of partitions included",
            shown.absent,
        ),
        shown.groups,
    )
    return made if measure == "difference" else _exponentiated(made)


def _one_partition(
    effects: Effects,
    method: AverageMethod,
    by: By | None,
    measure: Measure,
    key: PRNGKeyArray | None,
) -> Interval:
    """The same of one partition."""
    queries = _queries(effects, by)
    count = 1 if queries.groups is None else len(queries.groups.label)
    if measure == "ratio":
        effects.check_binary()
    one = method.variance(effects, _positive(queries.weight), key)

    def risks(group: Array | int) -> Array:
        share = queries.share(group)
        return _stacked(*(_mean(effects, share, value) for value in (effects.y0, effects.y1)))

    def found(group: Array | int) -> tuple[Array, Array, Array]:
        share, scale = queries.share(group), to_device(np.ones(2, queries.weight.dtype))
        estimate = _mean(effects, share, effects.ite)
        if measure == "ratio":
            estimate, scale = _log_ratio(risks(group))
        variance, pooled = one(Form(share, scale))
        return (
            estimate,
            _unless_few(share, variance, 2 if method.target == "population" else 1),
            pooled,
        )

    if measure == "ratio":
        _check_risks(_by_blocks(risks, effects, count), queries.groups)
    estimate, variance, pooled = _by_blocks(found, effects, count)
    if queries.groups is None:
        estimate, variance, pooled = (_only(a) for a in (estimate, variance, pooled))
    kind = "average" if measure == "difference" else "risk ratio"
    target = cast(Target, f"{method.target} {kind}")
    about = About(method.level, target, method.words, FEW)
    made = normal_interval(estimate, variance, pooled, about, queries.groups)
    return made if measure == "difference" else _exponentiated(made)


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
def _log_ratio(lib: Any, risk: Float[Array, " 2"]) -> tuple[Float[Array, ""], Float[Array, " 2"]]:
    """The logarithm of risk1 / risk0, and how it moves with each."""
    return lib.log(risk[1]) - lib.log(risk[0]), 1 / risk


@on_host
def _only(lib: Any, values: Array) -> Array:
    return values[0]


@on_host
def _stacked(lib: Any, *values: Array) -> Array:
    return lib.stack(values)


def _check_risks(risk: Array, groups: Groups | None) -> None:
    """Refuse ratios with a risk of 0; under tracing they are NaN."""
    if is_traced(risk):
        return
    for arm in (0, 1):
        zero = np.flatnonzero(np.asarray(risk)[:, arm] == 0)
        if zero.size:
            where = "" if groups is None else f" in group {groups.label[zero[0]]!r}"
            more = f" and {zero.size - 1} more" if zero.size > 1 else ""
            raise ValueError(
                f"risk{arm} is 0{where}{more}, so its logarithm has no value: use "
                "measure='difference'."
            )


def _exponentiated(log: Interval) -> Interval:
    """From the log of a ratio to the ratio; `error` stays that of the log."""
    values = _exponentials(log.estimate, log.lower, log.upper)
    return eqx.tree_at(lambda i: (i.estimate, i.lower, i.upper), log, values)


@on_host
def _exponentials(lib: Any, estimate: Array, lower: Array, upper: Array) -> tuple[Array, ...]:
    known = lib.isfinite(estimate)
    return tuple(lib.where(known, lib.exp(v), lib.nan) for v in (estimate, lower, upper))
