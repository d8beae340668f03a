"""Processes for trees of linear regressions: few treated among many controls, 20 covariates.

Substitutes of our own: the paper's formulas are not public. As in its section 7 there are 5
continuous and 15 binary covariates and 200 treated among 20,000. Exactly `treated` units are drawn,
one after the other without replacement, with probabilities proportional to exp(score).
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jcausal.data import Sample, as_key, check_count, step_key
from jcausal.simulate._simulated import Simulated

NUMBERS, COINS = 5, 15
Key = PRNGKeyArray | Array | int
Columns = tuple[Array, ...]  # x1 to x20, each (n,)


class M5Process(NamedTuple):
    """Outcome without treatment, effect and score of treatment, from the columns x1, x2, ..."""

    control: Callable[[Columns], Array]
    effect: Callable[[Columns], Array]
    score: Callable[[Columns], Array]


def _bent(x: Columns) -> Array:
    above = jnp.where(x[2] > 0, 4 * x[2], 0)
    return 5 * x[0] + 3 * x[1] ** 2 + above + 2 * x[5] * x[0] + 3 * x[6] - 2 * x[7] + x[8]


def _ten(x: Columns) -> Array:
    return jnp.full_like(x[0], 10)


def _place(x: Columns) -> Array:
    """Which of four leaves: 2 for x1 > 0, and 1 for x6 = 1."""
    return 2 * (x[0] > 0).astype(int) + x[5].astype(int)


def _pieces(x: Columns) -> Array:
    place = _place(x)
    level, slope = jnp.array([0.0, 4.0, 8.0, 12.0])[place], jnp.array([3.0, -3.0, 1.0, -1.0])[place]
    return level + slope * x[1] + 2 * x[2] + 1.5 * x[6]


def _line(x: Columns) -> Array:
    return 3 * x[0] - 2 * x[1] + 1.5 * x[2] + 2 * x[5] - 1.5 * x[6] + x[7] + 0.5 * x[8]


M5 = {
    "s1/conf": M5Process(_bent, _ten, lambda x: 0.6 * x[0] + 0.5 * x[1] + 0.5 * x[5] + 0.3 * x[2]),
    "s1/rand": M5Process(_bent, _ten, lambda x: 0 * x[0]),
    "s2": M5Process(
        _pieces,
        lambda x: jnp.array([1.0, 2.0, 4.0, 8.0])[_place(x)],
        lambda x: 0.5 * x[0] + 0.5 * x[1] + 0.5 * x[5],
    ),
    "s3": M5Process(_line, _ten, lambda x: 1.5 * x[0] + x[1] + x[5]),
}


def m5(row: str, *, key: Key, n: int = 20_000, treated: int = 200) -> Simulated:
    """Few treated among many controls, whose outcomes are linear piece by piece, bent, or linear.

    x1 to x5 are N(0, 1), x6 to x20 coins; y = y0 + tau t, and y0 has noise N(0, 1) around

    - "s1/conf", "s1/rand": 5 x1 + 3 x2^2 + 4 x3 1{x3 > 0} + 2 x6 x1 + 3 x7 - 2 x8 + x9, tau = 10;
      treated with probability proportional to exp(.6 x1 + .5 x2 + .5 x6 + .3 x3), or uniformly.
    - "s2": a + b x2 + 2 x3 + 1.5 x7, where (a, b, tau) are (0, 3, 1) for x1 <= 0 and x6 = 0,
      (4, -3, 2) for x1 <= 0 and x6 = 1, (8, 1, 4) and (12, -1, 8) likewise for x1 > 0; treated by
      exp(.5 x1 + .5 x2 + .5 x6).
    - "s3": 3 x1 - 2 x2 + 1.5 x3 + 2 x6 - 1.5 x7 + x8 + .5 x9, tau = 10; treated by
      exp(1.5 x1 + x2 + x6): a strong shift.

    **Arguments:** `row` one of these; `key` a JAX key or an int, which may be vmapped over; `n`
    units, of which exactly `treated` are treated.

    **Returns:** `Simulated`. **Raises:** ValueError for an unknown row, or without units in an arm.

    **Source:** in place of the data of Yang and Noor-E-Alam (arXiv 2604.27307), section 7, whose
    formulas are not public.

    **Example:**

        >>> import jcausal as jc
        >>> data = jc.simulate.m5("s2", key=0, n=1000, treated=50)
        >>> data.sample.x.shape, int(data.sample.t.sum())
        ((1000, 20), 50)
    """
    if row not in M5:
        raise ValueError(f"there is no row {row!r}: they are {', '.join(M5)}.")
    n, treated = check_count("n", n), check_count("treated", treated, least=0)
    if not 0 < treated < n:
        raise ValueError(f"treated is {treated} of {n} units: both arms need one at least.")
    keys = jax.random.split(step_key(as_key(key, "a simulation"), "simu"), 4)
    numbers = jax.random.normal(keys[0], (n, NUMBERS))
    coins = jax.random.bernoulli(keys[1], 0.5, (n, COINS)).astype(numbers.dtype)
    x = jnp.concatenate([numbers, coins], axis=1)
    process, columns = M5[row], tuple(x.T)
    t = _chosen(process.score(columns), treated, keys[2])
    y0 = process.control(columns) + jax.random.normal(keys[3], (n,), x.dtype)
    ite = process.effect(columns).astype(x.dtype)
    y1 = y0 + ite
    kinds = ["number"] * NUMBERS + ["binary"] * COINS
    names = [f"x{j + 1}" for j in range(x.shape[1])]
    return Simulated(Sample(x, t, jnp.where(t, y1, y0), kinds=kinds, names=names), ite, y0, y1)


def _chosen(score: Float[Array, " n"], count: int, key: PRNGKeyArray) -> Bool[Array, " n"]:
    """`count` units without replacement, each next one in proportion to exp(score).

    The largest sums of score and Gumbel noise are such a draw.
    """
    noisy = score + jax.random.gumbel(key, score.shape, score.dtype)
    return jnp.zeros(score.shape, bool).at[lax.top_k(noisy, count)[1]].set(True)
