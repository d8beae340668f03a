"""What a simulation gives: a sample, and what nobody sees in real data."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from jcausal.data import Sample, Shown, number_in_words


class Simulated(Shown, eqx.Module):
    """A simulated sample with the truth beside it.

    `y0`, `y1` (n,) are the outcomes without and with the treatment, noise included; `ite` (n,)
    is the effect at each unit's covariates, tau(x).
    """

    sample: Sample
    ite: Float[Array, " n"]
    y0: Float[Array, " n"]
    y1: Float[Array, " n"]

    @property
    def att(self) -> Float[Array, ""]:
        """Mean effect over the treated units."""
        t = self.sample.t
        return jnp.where(t, self.ite, 0).sum() / t.sum()

    @property
    def _single(self) -> bool:
        return self.ite.ndim == 1

    def _said(self) -> str:
        return f"true ATT {number_in_words(float(self.att))}\n{self.sample}"


def draw_arms(share: Float[Array, " n"], key: PRNGKeyArray) -> Bool[Array, " n"]:
    """Treated with the given probabilities, and one unit at least in each arm.

    When a draw treats nobody (or everybody), the likeliest (or unlikeliest) unit changes sides.
    """
    t = jax.random.uniform(key, share.shape, share.dtype) < share
    place = jnp.arange(share.shape[0])
    t = jnp.where(t.any(), t, place == jnp.argmax(share))
    return jnp.where((~t).any(), t, place != jnp.argmin(share))
