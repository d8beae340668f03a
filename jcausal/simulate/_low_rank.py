"""Panels whose outcomes have low rank and whose units are treated at random times."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jcausal.data import Shown, as_key, check_count, number_in_words, step_key
from jcausal.panels import Panel

Key = PRNGKeyArray | Array | int


class SimulatedPanel(Shown, eqx.Module):
    """A simulated panel with the truth beside it.

    `signal0`, `signal1` (n, m) are the outcomes without and with treatment, noise left out;
    `probability` (n, m) of treatment.
    """

    panel: Panel
    signal0: Float[Array, "n m"]
    signal1: Float[Array, "n m"]
    probability: Float[Array, "n m"]

    @property
    def effect(self) -> Float[Array, "n m"]:
        """signal1 - signal0."""
        return self.signal1 - self.signal0

    @property
    def unit_effect(self) -> Float[Array, " n"]:
        """Mean effect of each unit over all times."""
        return self.effect.mean(1)

    @property
    def _single(self) -> bool:
        return self.signal0.ndim == 2

    def _said(self) -> str:
        return f"true mean effect {number_in_words(float(self.effect.mean()))}\n{self.panel}"


def low_rank_panel(
    *,
    key: Key,
    n: int = 100,
    m: int = 100,
    rank: int = 3,
    noise: float = 0.5,
    effect: float = 1.0,
    nu: float = 0.0,
) -> SimulatedPanel:
    """A panel of two low-rank matrices, units treated with probabilities of their own.

    Outcomes of arm a are a constant (0, and `effect` with treatment, both plus 1), plus
    U_a V_a^T / sqrt(rank) with factors N(0, 1) drawn for each arm alone, plus noise: uniform, so
    bounded, with standard deviation `noise`. Unit i has p_i ~ U(.3, .7), and each of its cells is
    treated with probability p_i + nu U(-1, 1), kept within .05 and .95, alone.

    **Arguments:** `key` a JAX key or an int, which may be vmapped over; `n` units, `m` times;
    `rank` factors beside the constant; `nu` how far probabilities stray within a unit.

    **Returns:** `SimulatedPanel`. **Raises:** ValueError for sizes below 2, a rank below 1.

    **Source:** ours, for the assumptions of Mehrotra, Tran, Vu and Zampetakis (arXiv 2605.30319),
    which has no simulations that we know of.

    **Example:**

        >>> import jcausal as jc
        >>> data = jc.simulate.low_rank_panel(key=0, n=50, m=80)
        >>> data.panel.y.shape, data.unit_effect.shape
        ((50, 80), (50,))
    """
    n, m, rank = (check_count(*one, least=0) for one in (("n", n), ("m", m), ("rank", rank)))
    if min(n, m) < 2 or rank < 1:
        raise ValueError(f"{n} units, {m} times, rank {rank}: at least 2, 2 and 1 are needed.")
    keys = jax.random.split(step_key(as_key(key, "a simulation"), "simu"), 7)
    signals = []
    for arm in (0, 1):
        left = jax.random.normal(keys[2 * arm], (n, rank))
        right = jax.random.normal(keys[2 * arm + 1], (m, rank))
        both = jnp.matmul(left, right.T, precision=jax.lax.Precision.HIGHEST)
        signals.append(both / rank**0.5 + 1 + arm * effect)
    p = jax.random.uniform(keys[4], (n, 1), minval=0.3, maxval=0.7)
    stray = nu * jax.random.uniform(keys[5], (n, m), minval=-1, maxval=1)
    p = jnp.clip(p + stray, 0.05, 0.95)
    coin, error = jax.random.split(keys[6])
    d = jax.random.uniform(coin, (n, m)) < p
    wide = noise * 3**0.5
    y = jnp.where(d, signals[1], signals[0])
    y = y + jax.random.uniform(error, (n, m), minval=-wide, maxval=wide)
    return SimulatedPanel(Panel(y, d), signals[0], signals[1], p)
