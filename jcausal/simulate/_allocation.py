"""Trials of coarse estimates: who is chosen with how many samples, and what it is worth."""

from collections.abc import Sequence
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jcausal.allocation import LEA, DeltaSplit, GroupValues, as_effects
from jcausal.data import DataError, Options, as_key, check_count, is_traced, step_key
from jcausal.simulate._allocation_trials import AllocationTrials

Key = PRNGKeyArray | Array | int


def _as_tuple(numbers: Sequence) -> tuple:
    return tuple(numbers)


class EqualSamples(Options, eqx.Module):
    """As many samples of every group as `jc.LEA` asks, for several eps: the paper's Figure 3.

    Algorithm 1 takes gamma = 1/2. The M ln(2 M / delta) / eps samples in total that the paper's
    text names are half of that: gamma = 1 / sqrt(2). Its scripts take `delta_split="none"`.

    **Arguments:** `eps` one or more; `gamma`, `delta`, `delta_split` as `jc.LEA` has them.

    **Example:**

        >>> import jcausal as jc
        >>> jc.simulate.EqualSamples(eps=(0.1,)).samples(78)
        (161,)
    """

    eps: Sequence[float] = eqx.field(
        static=True, default=(0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2), converter=_as_tuple
    )
    gamma: float = eqx.field(static=True, default=0.5)
    delta: float = eqx.field(static=True, default=0.05)
    delta_split: DeltaSplit = eqx.field(static=True, default="bonferroni")

    def __check_init__(self) -> None:
        if not self.eps:
            raise ValueError("eps is empty: give one value at least.")
        self.samples(1)

    def samples(self, groups: int) -> tuple[int, ...]:
        """Samples of each of `groups` groups, for each eps."""
        plans = [LEA(e, self.delta, self.gamma, self.delta_split).plan(groups) for e in self.eps]
        return tuple(plan.coarse.oracle for plan in plans)


class RandomSamples(Options, eqx.Module):
    """Samples that fall on groups at random, for several totals: the paper's Figure 2.

    One trial grows from each total to the next. A group that no sample falls on is estimated 0.

    **Arguments:** `totals` increasing numbers of samples.

    **Example:**

        >>> import jcausal as jc
        >>> jc.simulate.RandomSamples(totals=(100, 250)).samples(78)
        (100, 250)
    """

    totals: Sequence[int] = eqx.field(
        static=True,
        default=(100, 250, 500, 750, 1000, 1200, 1500, 2000, 5000, 10000, 20000),
        converter=_as_tuple,
    )

    def __check_init__(self) -> None:
        steps = np.diff((0, *self.totals))
        if not self.totals or (steps <= 0).any():
            raise ValueError(f"totals are {self.totals}: give numbers that increase from 1.")

    def samples(self, groups: int) -> tuple[int, ...]:
        """The totals, whatever the number of groups."""
        return tuple(self.totals)


def allocation_trials(
    tau: GroupValues, sampling: EqualSamples | RandomSamples, *, repeats: int = 50, key: Key
) -> AllocationTrials:
    """Draw samples of groups, choose the K with the largest means for every K, and value them.

    A sample of a group with effect tau is 1 with probability tau, else 0. All numbers of samples,
    repeats and budgets are one call; groups of equal means stand in random order.
    Cost: s r M log M operations and 4 s r M bytes for s numbers of samples and r repeats.

    **Arguments:**

    - `tau`: effects (M,) of the groups, in [0, 1] (see `jc.allocation.unit_scale`); vmap works.
    - `sampling`: `jc.simulate.EqualSamples` or `RandomSamples`.
    - `repeats`: trials of each number of samples.
    - `key`: a JAX key or an int.

    **Returns:** `AllocationTrials`. **Raises:** `DataError` for effects outside [0, 1], or without
    one above 0; ValueError for no repeats.

    **Source:** Casacuberta and Hardt, arXiv 2601.05597, section 6, Figures 2 and 3.

    **Example:**

        >>> import jcausal as jc
        >>> tau = [i / 30 for i in range(1, 31)]
        >>> found = jc.simulate.allocation_trials(tau, jc.simulate.EqualSamples(), key=0)
        >>> found.value.shape, float(found.failure_rate[-1].mean())
        ((8, 50, 30), 0.0)
    """
    values = as_effects("tau", tau)
    if not is_traced(values) and not (values > 0).any():
        raise DataError(f"all {values.size} effects are 0: no choice is better than another.")
    repeats = check_count("repeats", repeats)
    tau = jnp.clip(jnp.asarray(values, jnp.result_type(float)), 0, 1)
    counts = sampling.samples(tau.shape[0])
    largest = min(2 / jnp.finfo(tau.dtype).eps, 2**31 - 1)  # whole numbers up to here are exact
    if max(counts) > largest:
        raise ValueError(f"{max(counts):,} samples are more than are counted ({largest:,.0f}).")
    steps = jnp.asarray(counts, jnp.int32)
    key = step_key(as_key(key, "a simulation"), "allo")
    if isinstance(sampling, EqualSamples):
        value = _equal(tau, steps, key, repeats)
        return AllocationTrials(tau, steps * len(tau), jnp.asarray(sampling.eps, tau.dtype), value)
    return AllocationTrials(tau, steps, None, _random(tau, counts, key, repeats))


def _chosen_value(
    tau: Float[Array, " m"], mean: Float[Array, "*r m"], key: PRNGKeyArray
) -> Float[Array, "*r m"]:
    """The value of the K groups with the largest means, K = 1 to m; ties at random."""
    order = jnp.lexsort((jax.random.uniform(key, mean.shape), -mean))
    return jnp.cumsum(tau[order], -1)


@partial(jax.jit, static_argnames="repeats")
def _equal(
    tau: Float[Array, " m"], samples: Int[Array, " s"], key: PRNGKeyArray, repeats: int
) -> Float[Array, "s r m"]:
    """Every group sampled alike; where the effect is 0 or 1, so is the mean."""
    draw, ties = jax.random.split(key)
    shape, n = (len(samples), repeats, len(tau)), samples[:, None, None].astype(tau.dtype)
    sure = (tau == 0) | (tau == 1)
    ones = jax.random.binomial(draw, n, jnp.where(sure, 0.5, tau), shape, tau.dtype)
    return _chosen_value(tau, jnp.where(sure, tau, ones / n), ties)


@partial(jax.jit, static_argnames=("totals", "repeats"))
def _random(
    tau: Float[Array, " m"], totals: tuple[int, ...], key: PRNGKeyArray, repeats: int
) -> Float[Array, "s r m"]:
    """Every sample on a random group, in trials that grow: samples counted by stage and group."""
    stages, m = len(totals), len(tau)
    stage = jnp.asarray(np.repeat(np.arange(stages), np.diff((0, *totals))))
    draw, ties = jax.random.split(key)

    def trial(key: PRNGKeyArray) -> tuple[Array, Array]:
        where, chance = jax.random.split(key)
        group = jax.random.randint(where, stage.shape, 0, m)
        one = jax.random.uniform(chance, stage.shape, tau.dtype) < tau[group]
        cells = jnp.sort(2 * (stage * m + group) + one)
        ends = jnp.searchsorted(cells, jnp.arange(2 * stages * m + 1))
        count = jnp.cumsum(jnp.diff(ends).reshape(stages, m, 2), 0)
        return count.sum(2), count[..., 1]

    n, ones = (jnp.moveaxis(a, 0, 1) for a in lax.map(trial, jax.random.split(draw, repeats)))
    return _chosen_value(tau, jnp.where(n > 0, ones / jnp.maximum(n, 1), 0), ties)
