"""Intervals for single queries: the bootstrap of a group's means, the group held fixed."""

from collections.abc import Iterator
from functools import partial
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jcausal.data import as_key, bucket, first_rows, is_traced, on_host, pad_rows, to_device
from jcausal.effects import Effects
from jcausal.inference._bootstrap import Weights, check_draws
from jcausal.inference._interval import (
    About,
    Interval,
    IntervalMethod,
    interval_of_draws,
    normal_interval,
)
from jcausal.inference._single_queries import (
    Means,
    check_groups,
    own_draws,
    own_outcomes,
    query_words,
    too_few,
    usable_means,
)
from jcausal_kernels import resampling_weights

LEAST = 5
MOST_BYTES = 2**30  # of draws that are held
BLOCK = 32  # draws that resampling_weights makes at once


class GroupBootstrap(IntervalMethod):
    """Intervals for tau(x) of every query: its group's units resampled within each arm.

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

    Of 400 groups without drift, of 8 and of 20 a side, 95% intervals held the effect in 91% and
    93%, with normal bounds as with quantiles.

    A mean of few units hardly moves, so every arm whose mean is used needs 5 units (with sampling
    weights 5 effective ones, (sum w)^2 / sum w^2). Other queries get no bounds (NaN), counted with
    the reason when the interval is printed and in the column `reason` of its frame.

    **Arguments:** `draws`; `weights`: "poisson" and "bayesian" run under jit and vmap,
    "multinomial" on concrete arrays only, a group at a time; `bounds` "normal", estimate -+ normal
    quantile * the draws' standard deviation, or "quantiles" of the draws (under effect "own" with
    normal draws of the own outcome's noise); `level`.

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
    bounds: Literal["normal", "quantiles"] = eqx.field(static=True, default="normal")
    level: float = eqx.field(static=True, default=0.95)

    def __check_init__(self) -> None:
        check_draws(self.draws, self.weights)

    def of(self, effects: Effects, key: PRNGKeyArray | None) -> Interval:
        """One interval a query; NaN where the query has no match or an arm is too small."""
        check_groups(effects, "jc.GroupBootstrap")
        key = as_key(key, "jc.GroupBootstrap")
        means = usable_means(effects, LEAST, "jc.GroupBootstrap")
        own = own_outcomes(effects, means.enough)
        words = f"group bootstrap, {self.draws:,} {self.weights} draws"
        about = About(self.level, "tau(x)", words, too_few(effects, LEAST))
        if self.bounds == "quantiles":
            check_room(means.enough.shape[0], self.draws)
            gaps = list(self._gaps(effects, means, key))
            noise = own_draws(effects, own, jax.random.fold_in(key, 1), self.draws)
            drawn = _drawn(gaps, means, noise, effects.ite)
            about = about._replace(method=f"{words}, quantiles")
            return interval_of_draws(effects.ite, drawn, own.pooled, about)
        parts = [_moments(gap) for gap in self._gaps(effects, means, key)]
        total = _total(_variance_of_draws(parts), means, own.variance)
        return normal_interval(effects.ite, total, own.pooled, about)

    def _gaps(
        self, effects: Effects, means: Means, key: PRNGKeyArray
    ) -> Iterator[Float[Array, "q 2 b"]]:
        """How far the draws of means are from the means, in blocks of draws."""
        if self.weights == "multinomial":
            yield _picked(effects, means.wanted(), key, self.draws)
        else:
            yield from _weighted(effects, key, self.draws, self.weights)


def check_room(queries: int, draws: int) -> None:
    """Refuse quantiles of more draws than memory should hold.

    **Raises:** ValueError.
    """
    if 4 * queries * draws > MOST_BYTES:
        raise ValueError(
            f"quantiles hold all {draws:,} draws of {queries:,} queries at once, "
            f"{4 * queries * draws / 2**30:.1f} GiB: use fewer draws, bounds='normal', or fewer "
            "queries with query=."
        )


@on_host
def _drawn(
    lib: Any,
    gaps: list[Array],
    means: Means,
    noise: Float[Array, "q b"],
    ite: Float[Array, " q"],
) -> Float[Array, "q b"]:
    """Draws of the effects: the means that are used move, and the query's own noise."""
    gap = lib.concatenate(gaps, axis=2)
    use = means.used[..., None]
    moved = lib.where(use[:, 1], gap[:, 1], 0) - lib.where(use[:, 0], gap[:, 0], 0)
    return lib.where(means.enough[:, None], ite[:, None] + moved + noise, lib.nan)


@on_host
def _total(
    lib: Any, variance: Float[Array, "q 2"], means: Means, own: Float[Array, " q"]
) -> Float[Array, " q"]:
    """Variances of the means that are used, with the own outcome's for rows."""
    used, enough = means
    total = lib.where(used, variance, 0).sum(1) + own
    return lib.where(enough, total, lib.nan)


def _weighted(
    effects: Effects,
    key: PRNGKeyArray,
    draws: int,
    weights: Literal["poisson", "bayesian"],
    max_bytes: int = 2**27,
) -> Iterator[Float[Array, "q 2 b"]]:
    """Self-normalised means under weights that all groups share, less the plain ones; in blocks."""
    sample, dtype = effects.sample, effects.sample.x.dtype
    given = effects.residual, sample.valid, effects.residual_means, effects.centre
    y, mean = _centred(*given)
    rows = sample.n + 4 * effects.matching.query.shape[0]
    needed = -(-draws // BLOCK)
    blocks = min(needed, max(1, max_bytes // (16 * BLOCK * rows)))
    identity = sample.row
    if not is_traced(identity):
        identity = to_device(pad_rows(np.asarray(identity), bucket(sample.n)))
    for start in range(0, needed, blocks):
        w = resampling_weights(
            identity, key, start=start, blocks=blocks, weights=weights, dtype=dtype.name
        )
        sums = effects.matching.sums(_with_products(first_rows(w, sample.n), y))
        yield _gap_of(sums, mean, draws - start * BLOCK)


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
def _gap_of(
    lib: Any, sums: Float[Array, "q 2 b2"], mean: Float[Array, "q 2 1"], draws: int
) -> Float[Array, "q 2 b"]:
    """How far an arm's drawn means are from its mean; NaN for draws without weight in it."""
    carried, total = lib.split(sums, 2, axis=2)
    carried, total = carried[:, :, :draws], total[:, :, :draws]
    return lib.where(carried > 0, total / lib.where(carried > 0, carried, 1) - mean, lib.nan)


@on_host
def _moments(lib: Any, gap: Float[Array, "q 2 b"]) -> Float[Array, "3 q 2"]:
    """Draws that there are, how far their means are from the arm's mean: sum and squares."""
    use = ~lib.isnan(gap)
    gap = lib.where(use, gap, 0)
    return lib.stack([use.sum(2).astype(gap.dtype), gap.sum(2), (gap**2).sum(2)])


@on_host
def _variance_of_draws(lib: Any, parts: list[Array]) -> Float[Array, "q 2"]:
    """The variance from the moments of all blocks."""
    count, first, second = lib.stack(parts).sum(0)
    count = lib.maximum(count, 1)
    return lib.maximum(second / count - (first / count) ** 2, 0)


def _picked(
    effects: Effects, wanted: Bool[Array, "q 2"], key: PRNGKeyArray, draws: int
) -> Float[Array, "q 2 b"]:
    """Means of n picks from each wanted arm of n units less the arm's mean, a group at a time.

    **Raises:** ValueError under tracing.
    """
    sample, matching = effects.sample, effects.matching
    if is_traced(sample, matching):
        raise ValueError(
            "multinomial weights list each group's units, which needs concrete arrays: use "
            "weights='poisson' or 'bayesian' under jit and vmap."
        )
    check_room(2 * wanted.shape[0], draws)
    words, names = np.asarray(sample.row), np.asarray(query_words(effects))
    arm = np.asarray(sample.t).astype(int)
    y = np.asarray(effects.residual) - np.asarray(effects.centre)
    out = np.full((*wanted.shape, draws), np.nan, sample.x.dtype)
    for i in np.flatnonzero(np.asarray(wanted).any(1)):
        rows, weight = in_order_of_identity(words, *matching.group(int(i)))
        for a in np.flatnonzero(np.asarray(wanted)[i]):
            mine = arm[rows] == a
            size = 4 ** max(2, int(np.ceil(np.log2(mine.sum()) / 2)))  # few sizes, few traces
            columns = pad_rows(np.stack([y[rows[mine]], weight[mine]], axis=1), size)
            own = np.array([*names[i].tolist(), a], np.uint32)
            mean = np.average(y[rows[mine]], weights=weight[mine])
            out[i, a] = np.asarray(_pick(columns, int(mine.sum()), key, own, draws)) - mean
    return to_device(out)


def in_order_of_identity(
    words: np.ndarray, rows: Int[np.ndarray, " m"], weight: Float[np.ndarray, " m"]
) -> tuple[Int[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    """A group's units by what names them, so that draws do not follow the order of rows."""
    order = np.lexsort((words[rows, 1], words[rows, 0]))
    return rows[order], weight[order]


@partial(jax.jit, static_argnames=("draws", "max_bytes"))
def _pick(
    columns: Float[Array, "m 2"],
    count: Array | int,
    key: PRNGKeyArray,
    name: Array,
    draws: int,
    max_bytes: int = 2**26,
) -> Float[Array, " b"]:
    """Draws of the weighted mean of `count` picks among the first rows."""
    for word in name:
        key = jax.random.fold_in(key, word)
    values, weight = columns.T
    use = jnp.arange(values.shape[0]) < count

    def one(draw: Array) -> Array:
        picks = jax.random.randint(jax.random.fold_in(key, draw), values.shape, 0, count)
        w = jnp.where(use, weight[picks], 0)
        return (w * values[picks]).sum() / w.sum()

    block = min(draws, max(1, max_bytes // (16 * values.shape[0])))
    return lax.map(one, jnp.arange(draws), batch_size=block)
