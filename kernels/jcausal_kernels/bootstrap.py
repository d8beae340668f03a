"""Sums under resampling weights: one weight per unit and draw, made where it is used.

(1) Formula, shapes, cost
    out[b, :] = sum_k (w[b, k] - 1) values[k, :]      over the m valid units; its mean is 0
    poisson:     w[b, k] ~ Poisson(1), independent     variance sum_k v_k^2
    multinomial: w = counts of m picks of m units      variance sum_k (v_k - mean v)^2
    bayesian:    w = m e / sum e, e ~ Exponential(1)   variance sum_k (v_k - mean v)^2 m / (m + 1)
n units, d value columns, b draws. A unit's weights come from the key and the two words that name
it, the multinomial's picks from the units in the order of those words: the order of the rows
changes nothing but the order of a sum. Poisson weights are exact to 2^-32.
Operations: n b random words and 2 n b (d + 1) flops; the multinomial draws two words a pick and
gathers n b rows. Bytes: one block of at most `max_bytes`; the (n, b) weights are never whole.
"""

from functools import partial
from math import exp, factorial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, PRNGKeyArray, UInt32

from jcausal_kernels.blocks import cut

Implementation = Literal["auto", "reference", "xla"]
Weights = Literal["poisson", "multinomial", "bayesian"]
DRAWS = 32  # a unit's weights are made for this many draws at once
PICKS = 256  # and a draw's picks in runs of this many

_CUMULATED = [sum(exp(-1) / factorial(i) for i in range(j + 1)) for j in range(13)]
_STEPS = [min(round(share * 2**32), 2**32 - 1) for share in _CUMULATED]


class _Named(NamedTuple):
    """What is summed: see the arguments of `bootstrap_sums`."""

    values: Float[Array, "n d"]
    identity: UInt32[Array, "n 2"]
    valid: Bool[Array, " n"]


def _unit_words(key: PRNGKeyArray, identity: Array) -> Array:
    """The raw key of each unit (n, w)."""

    def one(words: Array) -> Array:
        return jax.random.key_data(jax.random.fold_in(jax.random.fold_in(key, words[0]), words[1]))

    return jax.vmap(one)(identity)


def _independent(
    words: Array, block: Array | int, weights: Weights, kind: str, dtype: jnp.dtype
) -> Array:
    """Weights (n, DRAWS) of one block of draws: counts, or exponentials."""

    def one(raw: Array) -> Array:
        key = jax.random.fold_in(jax.random.wrap_key_data(raw, impl=kind), block)
        return jax.random.bits(key, (DRAWS,), jnp.uint32)

    bits = jax.vmap(one)(words)
    if weights == "poisson":
        return sum(
            ((bits >= jnp.uint32(step)).astype(dtype) for step in _STEPS), jnp.zeros((), dtype)
        )
    return -jnp.log((bits.astype(dtype) + 0.5) / 2.0**32)


def _pick(key: PRNGKeyArray, draw: Array, run: Array, count: Array) -> tuple[Array, Array]:
    """One run of a draw's picks among `count` units, and which of them are asked for."""
    one = jax.random.fold_in(jax.random.fold_in(key, draw), run)
    picks = jax.random.randint(one, (PICKS,), 0, jnp.maximum(count, 1))
    return picks, run * PICKS + jnp.arange(PICKS) < count


def _order(identity: Array, valid: Array) -> Array:
    return jnp.lexsort((identity[:, 1], identity[:, 0], ~valid))


# (2) The reference: the whole (n, b) matrix of weights.


def _all_weights(
    identity: Array, valid: Array, key: PRNGKeyArray, draws: int, weights: Weights, dtype: jnp.dtype
) -> Array:
    n, count = valid.shape[0], valid.sum()
    if weights == "multinomial":
        runs = jnp.arange(-(-n // PICKS))
        pick = jax.vmap(jax.vmap(_pick, (None, None, 0, None)), (None, 0, None, None))
        picks, use = pick(key, jnp.arange(draws), runs, count)
        rows = _order(identity, valid)[picks.reshape(draws, -1)].T
        zero = jnp.zeros((n, draws), dtype)
        return zero.at[rows, jnp.arange(draws)].add(use.reshape(draws, -1).T.astype(dtype))
    words, kind = _unit_words(key, identity), str(jax.random.key_impl(key))
    make = partial(_independent, words, weights=weights, kind=kind, dtype=dtype)
    made = jax.vmap(make, out_axes=1)(jnp.arange(-(-draws // DRAWS)))
    w = jnp.where(valid[:, None], made.reshape(n, -1)[:, :draws], 0)
    return w if weights == "poisson" else count * w / w.sum(0)


def _reference(
    units: _Named, key: PRNGKeyArray, draws: int, weights: Weights, max_bytes: int
) -> Array:
    values, identity, valid = units
    w = _all_weights(identity, valid, key, draws, weights, values.dtype)
    known = jnp.where(valid[:, None], values, 0)
    return jnp.matmul((w - 1).T, known, precision=lax.Precision.HIGHEST)


# (3) The tuned version: blocks of units by blocks of draws; the multinomial gathers its picks.


def _streamed(
    columns: Array, words: Array, kind: str, draws: int, weights: Weights, block: int
) -> Array:
    """sum_k w[b, k] columns[k], with w - 1 in the place of w for Poisson weights."""
    parts, less = (cut(words, block), cut(columns, block)), int(weights == "poisson")

    def some_draws(i: Array) -> Array:
        def add(total: Array, part: tuple[Array, Array]) -> tuple[Array, None]:
            w = _independent(part[0], i, weights, kind, columns.dtype) - less
            return total + jnp.matmul(w.T, part[1], precision=lax.Precision.HIGHEST), None

        start = jnp.zeros((DRAWS, columns.shape[1]), columns.dtype)
        return lax.scan(add, start, parts)[0]

    out = lax.map(some_draws, jnp.arange(-(-draws // DRAWS)))
    return out.reshape(-1, columns.shape[1])[:draws]


def _gathered(centred: Array, key: PRNGKeyArray, count: Array, draws: int, max_bytes: int) -> Array:
    """Sum over the picks of centred[pick], with the units in the order of their names."""
    n, d = centred.shape

    def one_draw(draw: Array) -> Array:
        def add(total: Array, run: Array) -> tuple[Array, None]:
            picks, use = _pick(key, draw, run, count)
            return total + jnp.where(use[:, None], centred[picks], 0).sum(0), None

        start = jnp.zeros(d, centred.dtype)
        return lax.scan(add, start, jnp.arange(-(-n // PICKS)))[0]

    many = max(1, max_bytes // (PICKS * (d + 4) * centred.dtype.itemsize))
    return lax.map(one_draw, jnp.arange(draws), batch_size=min(many, draws))


def _xla(units: _Named, key: PRNGKeyArray, draws: int, weights: Weights, max_bytes: int) -> Array:
    values, identity, valid = units
    count, valid_column = valid.sum(), valid[:, None]
    known = jnp.where(valid_column, values, 0)
    if weights != "poisson":  # the weights add up to m, so that a constant may be taken off
        known = jnp.where(valid_column, known - known.sum(0) / jnp.maximum(count, 1), 0)
    if weights == "multinomial":
        return _gathered(known[_order(identity, valid)], key, count, draws, max_bytes)
    columns = jnp.concatenate([known, valid_column.astype(values.dtype)], axis=1)
    fit = max_bytes // (values.dtype.itemsize * (4 * DRAWS + columns.shape[1]))
    block = min(max(fit, 1), max(values.shape[0], 1))
    words, kind = _unit_words(key, identity), str(jax.random.key_impl(key))
    out = _streamed(columns, words, kind, draws, weights, block)
    return out[:, :-1] if weights == "poisson" else count * out[:, :-1] / out[:, -1:]


# (4) The choice: "auto" is the blocked version on every platform.


@partial(jax.jit, static_argnums=(2, 3, 4, 5))
def _sums(
    units: _Named,
    key: PRNGKeyArray,
    draws: int,
    weights: Weights,
    max_bytes: int,
    implementation: Implementation,
) -> Array:
    chosen = _reference if implementation == "reference" else _xla
    return chosen(units, key, draws, weights, max_bytes)


@partial(jax.jit, static_argnums=(3, 4, 5))
def _block(
    identity: Array,
    key: PRNGKeyArray,
    start: Array | int,
    blocks: int,
    weights: Weights,
    dtype: str,
) -> Array:
    words, kind = _unit_words(key, identity), str(jax.random.key_impl(key))
    make = partial(_independent, words, weights=weights, kind=kind, dtype=jnp.dtype(dtype))
    made = jax.vmap(make, out_axes=1)(start + jnp.arange(blocks))
    return made.reshape(identity.shape[0], blocks * DRAWS)


# (5) The public functions.


def bootstrap_sums(
    values: Float[Array, "n d"],
    identity: UInt32[Array, "n 2"],
    valid: Bool[Array, " n"],
    key: PRNGKeyArray,
    *,
    draws: int,
    weights: Weights = "poisson",
    max_bytes: int = 2**25,
    implementation: Implementation = "auto",
) -> Float[Array, "b d"]:
    """Draws of sum_k (w_k - 1) values_k under resampling weights w.

    **Arguments:** `values` (n, d); `identity` (n, 2) two words that name each unit; `valid` (n,)
    who counts; `key`; `draws`; `weights` "poisson", "multinomial" or "bayesian"; `max_bytes` the
    budget of one block, on which the draws do not depend.

    **Returns:** (b, d), one row a draw, in the units of `values`.

    **Raises:** ValueError for an unknown `weights` or `implementation`, or no draw.
    """
    if weights not in ("poisson", "multinomial", "bayesian"):
        raise ValueError(f"weights is {weights!r}: use 'poisson', 'multinomial' or 'bayesian'.")
    if implementation not in ("auto", "reference", "xla"):
        raise ValueError(f"implementation is {implementation!r}; use 'auto', 'reference' or 'xla'.")
    if draws < 1:
        raise ValueError(f"draws is {draws}: it must be at least 1.")
    units = _Named(values, identity, valid)
    return _sums(units, key, draws, weights, max_bytes, implementation)


def resampling_weights(
    identity: UInt32[Array, "n 2"],
    key: PRNGKeyArray,
    *,
    start: int,
    blocks: int,
    weights: Literal["poisson", "bayesian"] = "poisson",
    dtype: str = "float32",
) -> Float[Array, "n b"]:
    """The weights of some blocks of 32 draws, for sums that are no linear form.

    **Arguments:** `identity` (n, 2) and `key` as in `bootstrap_sums`, whose draws they are; the
    blocks `start` to `start + blocks - 1`; "poisson" counts, or "bayesian" exponentials, not yet
    divided by their sum; `dtype` of the result.

    **Returns:** (n, 32 blocks).

    **Raises:** ValueError for other weights: those of a multinomial hang together.
    """
    if weights not in ("poisson", "bayesian"):
        raise ValueError(f"weights is {weights!r}: use 'poisson' or 'bayesian'.")
    return _block(identity, key, start, blocks, weights, dtype)
