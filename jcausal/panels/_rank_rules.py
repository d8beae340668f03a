"""Rules for the rank of a noisy matrix, from its largest singular values."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jcausal.panels._truncated_svd import product

GAP, PAPER = 0.3, 96.0  # default c_tau of the rules "gap" and "paper"
MOST = 20  # singular values looked at, at most, beside one more for the last gap


class Ranked(NamedTuple):
    """A rank and the threshold that it came from."""

    rank: Int[Array, ""]
    threshold: Float[Array, ""]


def looked_at(n: int, m: int, most: int | None) -> int:
    """The largest rank that a rule may choose: `most`, else 20 or a third of the smaller side."""
    limit = min(n, m) - 1
    return min(limit, max(1, min(MOST, min(n, m) // 3)) if most is None else most)


def by_gap(s: Float[Array, " k"], threshold: Float[Array, ""]) -> Ranked:
    """The last place whose singular value exceeds the next by the threshold; 0 without one."""
    wide = s[:-1] - s[1:] >= threshold
    place = jnp.arange(1, s.shape[0])
    return Ranked(jnp.where(wide, place, 0).max(), threshold)


def above(s: Float[Array, " k"], threshold: Float[Array, ""]) -> Ranked:
    """How many singular values exceed the threshold."""
    return Ranked((s > threshold).sum(), threshold)


def noise_edge(a: Float[Array, "n m"], s: Float[Array, " k"]) -> Float[Array, ""]:
    """Where singular values of noise of standard deviation tau end: tau (sqrt(n) + sqrt(m)).

    tau^2 is what the k largest leave of the sum of squares, over (n - k)(m - k).
    """
    (n, m), k = a.shape, s.shape[0]
    left = jnp.maximum((a**2).sum() - (s**2).sum(), 0) / ((n - k) * (m - k))
    return jnp.sqrt(left) * (n**0.5 + m**0.5)


def paper_threshold(
    observed: Bool[Array, "n m"], other: Bool[Array, "n m"], bound: Array, c: Array | float
) -> Float[Array, ""]:
    """The bound c K T, T = sqrt((m + n) log(m + n) / q): r_p = 1 and a row-homogeneous design."""
    n, m = observed.shape
    shares = [use.sum(1) / m for use in (observed, other)]
    q = jnp.stack([jnp.where(share > 0, share, 1).min() for share in shares]).min()
    return c * bound * jnp.sqrt((m + n) * jnp.log(m + n) / q)


def median_threshold(a: Float[Array, "n m"]) -> Float[Array, ""]:
    """omega(beta) times the median singular value, beta the shorter side over the longer.

    The one rule that needs all singular values: n m min(n, m) operations.

    Source: Gavish and Donoho (2014), IEEE Trans. Inf. Theory 60(8), noise level not known.
    """
    n, m = a.shape
    gram = product(a, a.T) if n <= m else product(a.T, a)
    values = jnp.sqrt(jnp.maximum(jnp.linalg.eigvalsh(gram), 0))
    return omega(min(n, m), max(n, m)) * jnp.median(values)


def omega(short: int, long: int) -> float:
    """.56 b^3 - .95 b^2 + 1.82 b + 1.43 with b the shorter side over the longer."""
    b = short / long
    return 0.56 * b**3 - 0.95 * b**2 + 1.82 * b + 1.43
