"""Intervals for single queries: the bootstrap of a group's means, the group held fixed."""

from functools import partial
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jcausal.data import as_key, bucket, first_rows, is_traced, on_host, pad_rows, to_device
from jcausal.effects import Effects
from jcausal.inference._bootstrap import Weights, check_draws
from jcausal.inference._conservative import check_groups, own_or_pooled
from jcausal.inference._interval import About, Interval, IntervalMethod, normal_interval
from jcausal.matching import EffectKind
from jcausal_kernels import resampling_weights

LEAST = 5
USED = "whose mean is used"
BLOCK = 32  # draws that resampling_weights makes at once


class GroupBootstrap(IntervalMethod):
    """Normal intervals for tau(x) of every query: its group's units resampled within each arm.

    The group is held fixed. A draw is the self-normalised mean sum w y / sum w of an arm, of
    residuals from the model where effects are adjusted; the draws' variance is that of the mean.

    With n units of equal weight in the arm, and s^2 their variance (with n, not n - 1), it is

        s^2 / n                     for "multinomial",
        s^2 / (n + 1)               for "bayesian",
        s^2 E[1/N | N > 0]          for "poisson", N a Poisson count of mean n; draws with N = 0 are
                                    left out (the factor is .258 at n = 5, .113 at n = 10).

    E s^2 = sigma^2 (n - 1) / n, so that poisson comes nearest to sigma^2 / n: 1.03 times it at
    n = 5, where multinomial has .80 and bayesian .67. The arms' variances add up.

    Only means are resampled. Under effect "own" the query's outcome is no mean: the other arm alone
    is resampled, and sigma^2(x) of the own arm is added, from the group or, where the query is
    alone in it, pooled over all groups (marked `pooled`). Under "group", and for points, both means
    are.

    A mean of few units hardly moves, so every arm whose mean is used needs 5 units (with sampling
    weights 5 effective ones, (sum w)^2 / sum w^2). Other queries get no bounds (NaN), counted with
    the reason when the interval is printed and in the column `reason` of its frame.

    **Arguments:** `draws`; `weights`: "poisson" and "bayesian" run under jit and vmap,
    "multinomial" on concrete arrays only, a group at a time; `level`.

    **Source:** Morucci et al. (2020), section 6.8, construction 4; Rubin (1981), Annals of
    Statistics 9(1), for the Bayesian weights.

    **Example:**

        >>> import jcausal as jc
        >>> sample = jc.datasets.lalonde("experiment")
        >>> effects = jc.estimate(sample, jc.AHB(outcome=jc.Ridge(), min_controls=5), key=0)
        >>> found = jc.interval(effects, jc.GroupBootstrap(draws=200), key=1)
        >>> print(str(found).split(";")[0])
        185 95% intervals of tau(x) (group bootstrap, 200 poisson draws)
    """

    draws: int = eqx.field(static=True, default=1000)
    weights: Weights = eqx.field(static=True, default="poisson")
    level: float = eqx.field(static=True, default=0.95)

    def __check_init__(self) -> None:
        check_draws(self.draws, self.weights)

    def of(self, effects: Effects, key: PRNGKeyArray | None) -> Interval:
        """One interval a query; NaN where the query has no match or an arm is too small."""
        check_groups(effects, "jc.GroupBootstrap")
        key = as_key(key, "jc.GroupBootstrap")
        means = _usable(effects)
        if self.weights == "multinomial":
            variance = _picked(effects, means.wanted(), key, self.draws)
        else:
            variance = _weighted(effects, key, self.draws, self.weights)
        query, treated = effects.matching.query, effects.matching.query_treated
        own = own_or_pooled(effects)[0] if effects.effect == "own" else None
        total, pooled = _total(variance, means, own, effects.alone, query, treated)
        return normal_interval(
            effects.ite,
            total,
            pooled,
            About(
                self.level,
                "tau(x)",
                f"group bootstrap, {self.draws:,} {self.weights} draws",
                f"fewer than {LEAST} {_units(effects)} in an arm of the group {USED}",
            ),
        )


class _Means(NamedTuple):
    """The arms' means of each of q queries.

    - `used` (q, 2): the mean of controls, and of treated, is a part of the effect.
    - `enough` (q,): the query is matched, and every mean that is used has the units it needs.
    """

    used: Bool[Array, "q 2"]
    enough: Bool[Array, " q"]

    def wanted(self) -> Bool[Array, "q 2"]:
        """The means whose variance is asked for."""
        return _both(self.used, self.enough)


@on_host
def _both(lib: Any, used: Bool[Array, "q 2"], enough: Bool[Array, " q"]) -> Bool[Array, "q 2"]:
    return used & enough[:, None]


@on_host
def _total(
    lib: Any,
    variance: Float[Array, "q 2"],
    means: _Means,
    own: Float[Array, "q 2"] | None,
    alone: Bool[Array, "q 2"],
    query: Int[Array, " q"],
    treated: Bool[Array, " q"],
) -> tuple[Float[Array, " q"], Bool[Array, " q"]]:
    """Variances of the means that are used, with the own outcome's for rows; which are pooled."""
    used, enough = means
    total, pooled = lib.where(used, variance, 0).sum(1), lib.zeros_like(enough)
    if own is not None:
        row = (query >= 0) & enough
        place = np.arange(query.shape[0]), treated.astype(lib.int32)
        total = total + lib.where(row, own[place], 0)
        pooled = row & alone[place]
    return lib.where(enough, total, lib.nan), pooled


def _usable(effects: Effects) -> _Means:
    """Which arms' means are used, and which queries have units enough in each of them.

    **Raises:** ValueError with the counts when no query has, or the units are in clusters.
    """
    if effects.sample.cluster is not None:
        raise ValueError(
            "jc.GroupBootstrap resamples units, and this sample's are in clusters, which groups "
            "cut apart: use jc.Bootstrap() for the average, or a sample without cluster=."
        )
    matching, sizes = effects.matching, effects.effective
    treated, rows = matching.query_treated, matching.query
    used, enough = _means_in_use(rows, treated, sizes, effects.matched, effects.effect)
    if not is_traced(enough) and not np.asarray(enough).any():
        smallest = np.where(np.asarray(used), np.asarray(sizes), np.inf).min(1)
        largest = float(np.where(np.asarray(effects.matched), smallest, 0).max())
        raise ValueError(
            f"none of the {np.asarray(effects.matched).sum()} matched queries has {LEAST} "
            f"{_units(effects)} in every arm {USED} (the most is {largest:.3g}): ask for larger "
            f"groups with min_controls={LEAST}, or use jc.ConservativeNormal()."
        )
    return _Means(used, enough)


@on_host
def _means_in_use(
    lib: Any,
    query: Int[Array, " q"],
    treated: Bool[Array, " q"],
    sizes: Float[Array, "q 2"],
    matched: Bool[Array, " q"],
    effect: EffectKind,
) -> tuple[Bool[Array, "q 2"], Bool[Array, " q"]]:
    """Which arms' means are used, and which matched queries have units enough in each of them."""
    own = (query >= 0) & (effect == "own")
    used = lib.stack([~own | treated, ~own | ~treated], axis=1)
    return used, matched & ((sizes >= LEAST * (1 - 1e-4)) | ~used).all(1)


def _units(effects: Effects) -> str:
    """What is counted, for readers: units, or effective units where weights may differ."""
    sample = effects.sample
    if is_traced(sample.weight, sample.valid):
        return "effective units"
    weight = np.asarray(sample.weight)[np.asarray(sample.valid)]
    return "units" if (weight == weight[0]).all() else "effective units"


def _weighted(
    effects: Effects,
    key: PRNGKeyArray,
    draws: int,
    weights: Literal["poisson", "bayesian"],
    max_bytes: int = 2**27,
) -> Float[Array, "q 2"]:
    """Variance of self-normalised means under weights that all groups share, in blocks of draws."""
    sample, dtype = effects.sample, effects.sample.x.dtype
    given = effects.residual, sample.valid, effects.residual_means, effects.centre
    y, mean = _centred(*given)
    rows = sample.n + 4 * effects.matching.query.shape[0]
    needed = -(-draws // BLOCK)
    blocks = min(needed, max(1, max_bytes // (16 * BLOCK * rows)))
    parts = []
    identity = sample.row
    if not is_traced(identity):
        identity = to_device(pad_rows(np.asarray(identity), bucket(sample.n)))
    for start in range(0, needed, blocks):
        w = resampling_weights(
            identity, key, start=start, blocks=blocks, weights=weights, dtype=dtype.name
        )
        sums = effects.matching.sums(_with_products(first_rows(w, sample.n), y))
        parts.append(_moments(sums, mean, draws - start * BLOCK))
    return _variance_of_draws(parts)


@on_host
def _centred(
    lib: Any,
    y: Float[Array, " n"],
    valid: Bool[Array, " n"],
    means: Float[Array, "q 2"],
    centre: Float[Array, ""],
) -> tuple[Float[Array, "n 1"], Float[Array, "q 2 1"]]:
    """Outcomes and means of groups less the centre, with one axis more."""
    return lib.where(valid, y - centre, 0)[:, None], (means - centre)[..., None]


@on_host
def _with_products(
    lib: Any, w: Float[Array, "n b"], y: Float[Array, "n 1"]
) -> Float[Array, "n b2"]:
    return lib.concatenate([w, w * y], axis=1)


@on_host
def _moments(
    lib: Any, sums: Float[Array, "q 2 b2"], mean: Float[Array, "q 2 1"], draws: int
) -> Float[Array, "3 q 2"]:
    """Draws with weight in an arm, and how far their means are from its mean: sum and squares."""
    carried, total = lib.split(sums, 2, axis=2)
    use = (carried > 0) & (np.arange(carried.shape[2]) < draws)
    gap = lib.where(use, total / lib.where(use, carried, 1) - mean, 0)
    return lib.stack([use.sum(2).astype(sums.dtype), gap.sum(2), (gap**2).sum(2)])


@on_host
def _variance_of_draws(lib: Any, parts: list[Array]) -> Float[Array, "q 2"]:
    """The variance from the moments of all blocks."""
    count, first, second = lib.stack(parts).sum(0)
    count = lib.maximum(count, 1)
    return lib.maximum(second / count - (first / count) ** 2, 0)


def _picked(
    effects: Effects, wanted: Bool[Array, "q 2"], key: PRNGKeyArray, draws: int
) -> Float[Array, "q 2"]:
    """Variance of means of n picks from each wanted arm of n units, a group at a time.

    **Raises:** ValueError under tracing.
    """
    sample, matching = effects.sample, effects.matching
    if is_traced(sample, matching):
        raise ValueError(
            "multinomial weights list each group's units, which needs concrete arrays: use "
            "weights='poisson' or 'bayesian' under jit and vmap."
        )
    words, arm = np.asarray(sample.row), np.asarray(sample.t).astype(int)
    y = np.asarray(effects.residual) - np.asarray(effects.centre)
    query, out = np.asarray(matching.query), np.full(wanted.shape, np.nan)
    for i in np.flatnonzero(np.asarray(wanted).any(1)):
        rows, weight = matching.group(int(i))
        order = np.lexsort((words[rows, 1], words[rows, 0]))
        rows, weight = rows[order], weight[order]
        name = words[query[i]] if query[i] >= 0 else np.array([i, 2**32 - 1], np.uint32)
        for a in np.flatnonzero(np.asarray(wanted)[i]):
            mine = arm[rows] == a
            size = 4 ** max(2, int(np.ceil(np.log2(mine.sum()) / 2)))  # few sizes, few traces
            columns = pad_rows(np.stack([y[rows[mine]], weight[mine]], axis=1), size)
            own = np.array([*name.tolist(), a], np.uint32)
            out[i, a] = _pick_variance(columns, int(mine.sum()), key, own, draws)
    return to_device(out.astype(sample.x.dtype))


@partial(jax.jit, static_argnames=("draws", "max_bytes"))
def _pick_variance(
    columns: Float[Array, "m 2"],
    count: Array | int,
    key: PRNGKeyArray,
    name: Array,
    draws: int,
    max_bytes: int = 2**26,
) -> Float[Array, ""]:
    """Variance over the draws of the weighted mean of `count` picks among the first rows."""
    for word in name:
        key = jax.random.fold_in(key, word)
    values, weight = columns.T
    use = jnp.arange(values.shape[0]) < count

    def one(draw: Array) -> Array:
        picks = jax.random.randint(jax.random.fold_in(key, draw), values.shape, 0, count)
        w = jnp.where(use, weight[picks], 0)
        return (w * values[picks]).sum() / w.sum()

    block = min(draws, max(1, max_bytes // (16 * values.shape[0])))
    return lax.map(one, jnp.arange(draws), batch_size=block).var()
