"""Simulated annealing of subsets: many chains at once, each swap of one unit for another."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray

COLD = 0.1  # share of the steps, the last ones, in which only swaps that cost nothing are taken
FALL = 1e3  # how many times colder the last warm step is than the first


class SwapChains(NamedTuple):
    """Of h chains over c units.

    - `order` (h, c): the units, those of the subset first.
    - `excess` (h, b): units of the subset in each bin, less the wanted.
    """

    order: Int[Array, "h c"]
    excess: Float[Array, "h b"]


class SwapProblem(NamedTuple):
    """What is to be balanced.

    - `cell` (c, k): the bins of each unit; `price` (b,): 1 / expected count of each bin.
    - `size`: units of a subset; `units`: in all, behind which is padding.
    - `warmth`: the first temperature; `steps`: in all.
    """

    cell: Int[Array, "c k"]
    price: Float[Array, " b"]
    size: Int[Array, ""]
    units: Int[Array, ""]
    warmth: Float[Array, ""]
    steps: Int[Array, ""]


@eqx.filter_jit
def start_chains(
    problem: SwapProblem, wanted: Float[Array, " b"], chains: int, key: PRNGKeyArray
) -> SwapChains:
    """Subsets at random."""
    c = len(problem.cell)

    def mixed(key: Array) -> Int[Array, " c"]:
        draw = jax.random.uniform(key, (c,))
        draw = jnp.where(jnp.arange(c) < problem.units, draw, 2)
        return jnp.argsort(draw, stable=True).astype(jnp.int32)

    order = lax.map(mixed, jax.random.split(key, chains))

    def counted(order: Int[Array, " c"]) -> Float[Array, " b"]:
        inside = (jnp.arange(c) < problem.size).astype(wanted.dtype)
        cells = problem.cell[order]
        each = jnp.broadcast_to(inside[:, None], cells.shape)
        return jnp.zeros_like(wanted).at[cells].add(each) - wanted

    return SwapChains(order, lax.map(counted, order))


@eqx.filter_jit
def anneal(
    chains: SwapChains, problem: SwapProblem, first: Int[Array, ""], many: int, key: PRNGKeyArray
) -> SwapChains:
    """`many` steps more, of which the first is the step `first` of all."""
    rows, others = jnp.arange(len(chains.order)), problem.units - problem.size

    def step(n: Array, chains: SwapChains) -> SwapChains:
        order, excess = chains
        at = first + n
        draw = jax.random.uniform(jax.random.fold_in(key, at), (3, len(rows)), excess.dtype)
        leaves = jnp.minimum((draw[0] * problem.size).astype(jnp.int32), problem.size - 1)
        enters = jnp.minimum((draw[1] * others).astype(jnp.int32), others - 1) + problem.size
        one, other = order[rows, leaves], order[rows, enters]
        old, new = problem.cell[one], problem.cell[other]
        less = (1 - 2 * excess[rows[:, None], old]) * problem.price[old]
        more = (1 + 2 * excess[rows[:, None], new]) * problem.price[new]
        moves = old != new
        cost = jnp.where(moves, less + more, 0).sum(1)
        taken = cost <= -_temperature(at, problem, excess.dtype) * jnp.log(draw[2])
        by = (moves & taken[:, None]).astype(excess.dtype)
        excess = excess.at[rows[:, None], old].add(-by).at[rows[:, None], new].add(by)
        order = order.at[rows, leaves].set(jnp.where(taken, other, one))
        order = order.at[rows, enters].set(jnp.where(taken, one, other))
        return SwapChains(order, excess)

    return lax.fori_loop(0, many, step, chains)


def _temperature(at: Array, problem: SwapProblem, dtype: jnp.dtype) -> Float[Array, ""]:
    """It falls by the same share each step, and is 0 in the last."""
    share = at.astype(dtype) / (problem.steps.astype(dtype) * (1 - COLD))
    return jnp.where(share < 1, problem.warmth * FALL**-share, 0)


def cost_of(counts: Int[np.ndarray, " b"], wanted: Int[np.ndarray, " b"]) -> float:
    """Sum over the bins of (count - wanted)^2 / max(wanted, 1)."""
    return float((np.square(counts - wanted, dtype=np.float64) / np.maximum(wanted, 1)).sum())
