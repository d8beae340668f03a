"""The best subset of each query's candidates: every subset is looked at.

(1) Formula, shapes, cost
    A(S) = max_f |sum_{j in S} s_j d[j, f]| / (sum_{j in S} s_j for "mean", 1 for "sum")
    B(S) = max_{j in S} max_f |d[j, f]|
    out  = the nonempty set S of members with the least A and, of those, the least B;
           with a number alpha the one with the least alpha A + B
b queries, k candidates each, f features; d deviations, s weights of the candidates.
Ties: with D the largest |d| of the query's members, values within tolerance * D of the least
count as equal. Of equal sets the largest is taken, then the one that holds the earlier candidate
at the first difference: the order in which the caller puts the candidates decides.

The k candidates are cut in two halves, whose subsets' sums are laid out, so that the sum of a
subset costs one addition. Operations: 3 f 2^k b, and 4 passes over the 2^k b values of A.
Bytes: (2 f 2^(k/2) + 4 2^k) numbers a query, as many queries at once as `max_bytes` holds.
"""

from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from jcausal_kernels.blocks import cut

Implementation = Literal["auto", "reference", "xla"]
Balance = Literal["mean", "sum"]
MOST = 20  # candidates: 2^20 subsets a query
CHUNK = 8  # features whose sums are compared in one pass
BLOCK = 2**17  # subsets that are looked at together: they stay in the cache


class Subset(NamedTuple):
    """The set of each of b queries, of k candidates.

    - `chosen` (b, k): who is in it.
    - `balance`, `reach` (b,): its A and B, infinite if it is empty.
    """

    chosen: Bool[Array, "b k"]
    balance: Float[Array, " b"]
    reach: Float[Array, " b"]


# (2) The reference: all subsets in one array.


def _reference(d: Array, s: Array, delta: Array, alpha: Array | None, balance: Balance) -> Subset:
    k = d.shape[1]
    inside = (jnp.arange(2**k)[:, None] >> jnp.arange(k)[::-1]) & 1 == 1  # candidate 0: highest bit
    able = jnp.where(inside, (s > 0)[:, None], True).all(2) & inside.any(1)
    sums = jnp.abs((jnp.where(inside[None, :, :, None], (s[..., None] * d)[:, None], 0)).sum(2))
    total = jnp.where(inside, s[:, None], 0).sum(2) if balance == "mean" else 1
    a = jnp.where(able, sums.max(2, initial=0) / jnp.where(able, total, 1), jnp.inf)
    b = jnp.where(inside, jnp.abs(d).max(2, initial=0)[:, None], 0).max(2)
    best = _best(a[:, None], b[:, None], delta, alpha, k)
    return Subset(inside[best], *(jnp.take_along_axis(v, best[:, None], 1)[:, 0] for v in (a, b)))


def _best(a: Array, b: Array, delta: Array, alpha: Array | None, k: int) -> Array:
    """The place (q,) of the best of the subsets (q, high, low), 0 (the empty one) without any."""
    able = a < jnp.inf
    if alpha is None:
        near = able & (a <= a.min((1, 2), keepdims=True) + delta)
        value = jnp.where(near, b, jnp.inf)
    else:
        value = jnp.where(able, alpha * a + b, jnp.inf)
    tied = (value < jnp.inf) & (value <= value.min((1, 2), keepdims=True) + delta)
    place = jnp.arange(2**k, dtype=jnp.int32).reshape(a.shape[1:])
    key = (lax.population_count(place) << k) | place
    return jnp.where(tied, key, 0).max((1, 2)) & (2**k - 1)


# (3) The tuned version: sums of the subsets of either half, block by block of queries.


def _halves(columns: Array, k: int, first: int, last: int, join: str) -> Array:
    """Sums (or maxima) over the subsets of the candidates first..last: (..., k) -> (..., 2^m)."""
    out = jnp.zeros((*columns.shape[:-1], 1), columns.dtype)
    for j in range(last - 1, first - 1, -1):
        one = columns[..., j : j + 1]
        more = out + one if join == "sum" else jnp.maximum(out, one)
        out = jnp.concatenate([out, more], -1)
    return out


def _largest_sums(high: Array, low: Array) -> Array:
    """max_f |high + low|: (c, 8, q, h) and (c, 8, q, l) -> (q, h, l)."""

    def look(most: Array, parts: tuple[Array, Array]) -> tuple[Array, None]:
        for one, other in zip(*parts, strict=True):
            most = jnp.maximum(most, jnp.abs(one[:, :, None] + other[:, None, :]))
        return most, None

    none = jnp.zeros((*high.shape[2:], low.shape[3]), high.dtype)
    return lax.scan(look, none, (high, low))[0]


def _blocked(d: Array, s: Array, delta: Array, alpha: Array | None, balance: Balance) -> Subset:
    """One block of queries."""
    q, k, f = d.shape
    half = k // 2
    more = CHUNK * max(-(-f // CHUNK), 1) - f
    each = jnp.pad(jnp.moveaxis(s[..., None] * d, 2, 0), [(0, more), (0, 0), (0, 0)])
    each = each.reshape(each.shape[0] // CHUNK, CHUNK, q, k)
    largest = jnp.abs(d).max(2, initial=0)

    def both(columns: Array, join: str) -> tuple[Array, Array]:
        return _halves(columns, k, 0, half, join), _halves(columns, k, half, k, join)

    def outer(pair: tuple[Array, Array], add: bool) -> Array:
        high, low = pair[0][:, :, None], pair[1][:, None, :]
        return high + low if add else jnp.maximum(high, low)

    a = _largest_sums(*both(each, "sum"))
    able = outer(both((s <= 0).astype(d.dtype), "max"), False) == 0
    able &= (jnp.arange(2**half)[:, None] > 0) | (jnp.arange(2 ** (k - half)) > 0)
    if balance == "mean":
        a = a / jnp.where(able, outer(both(s, "sum"), True), 1)
    a = jnp.where(able, a, jnp.inf)
    b = outer(both(largest, "max"), False)
    best = _best(a, b, delta, alpha, k)
    inside = (best[:, None] >> jnp.arange(k)[::-1]) & 1 == 1
    found = [jnp.take_along_axis(v.reshape(q, -1), best[:, None], 1)[:, 0] for v in (a, b)]
    return Subset(inside, *found)


# (4) The choice: "auto" is the blocked version on every platform.


class _Candidates(NamedTuple):
    """The k candidates of each of b queries: see the arguments of `subset_search`."""

    deviations: Float[Array, "b k f"]
    member: Bool[Array, "b k"]
    weight: Float[Array, "b k"] | None


@partial(jax.jit, static_argnames=("balance", "block", "implementation"))
def _search(
    candidates: _Candidates,
    alpha: Array | float | None,
    tolerance: Array | float,
    balance: Balance,
    block: int,
    implementation: Implementation,
) -> Subset:
    d, member, weight = candidates
    s = member.astype(d.dtype) if weight is None else jnp.where(member, weight, 0)
    alpha = None if alpha is None else jnp.asarray(alpha, d.dtype)
    tolerance = jnp.asarray(tolerance, d.dtype)
    use = (s > 0) & jnp.isfinite(s) & jnp.isfinite(d).all(2)
    s, d = jnp.where(use, s, 0), jnp.where(use[..., None], d, 0)
    delta = (tolerance * jnp.abs(d).max((1, 2), initial=0))[:, None, None]
    if implementation == "reference":
        found = _reference(d, s, delta, alpha, balance)
    else:
        q = d.shape[0]
        parts = [cut(each, block) for each in (d, s, delta)]
        found = lax.map(lambda part: _blocked(part[0], part[1], part[2], alpha, balance), parts)
        found = Subset(*(v.reshape(-1, *v.shape[2:])[:q] for v in found))
    empty = ~found.chosen.any(1)
    return found._replace(
        balance=jnp.where(empty, jnp.inf, found.balance),
        reach=jnp.where(empty, jnp.inf, found.reach),
    )


# (5) The public function.


def subset_search(
    deviations: Float[Array, "b k f"],
    member: Bool[Array, "b k"],
    *,
    weight: Float[Array, "b k"] | None = None,
    alpha: float | Float[Array, ""] | None = None,
    balance: Balance = "mean",
    tolerance: float = 1e-5,
    max_bytes: int = 2**26,
    implementation: Implementation = "auto",
) -> Subset:
    """The subset of each query's candidates whose mean is nearest to the query.

    **Arguments:** `deviations` (b, k, f) of the candidates from their query, weighted by feature
    and signed; `member` (b, k) which candidates count (one whose deviations or weight are not
    finite, or whose weight is not above 0, does not); `weight` (b, k) of the candidates in sums
    and means, default 1; `alpha` None for the lexicographic order, or a number (a large one needs
    float64: A is rounded before it is multiplied); `balance` "mean" or "sum"; `tolerance` what
    counts as equal, times the query's largest deviation; `max_bytes` the budget of working memory
    (one query is always looked at whole).

    **Returns:** `Subset`: chosen (b, k), balance A (b,), reach B (b,). A query without members has
    nobody chosen and infinite A and B.

    **Raises:** ValueError for no candidates or more than 20, an unknown `balance` or
    `implementation`, or a negative `alpha` or `tolerance`.

    **Source:** Yang and Noor-E-Alam (arXiv 2604.27307), program (11) and (12a-f); the
    lexicographic order, the ties and the enumeration are ours.
    """
    b, k, f = deviations.shape
    if not 1 <= k <= MOST:
        raise ValueError(f"there are {k} candidates a query: use 1 to {MOST}.")
    if balance not in ("mean", "sum"):
        raise ValueError(f"balance is {balance!r}: use 'mean' or 'sum'.")
    if implementation not in ("auto", "reference", "xla"):
        raise ValueError(f"implementation is {implementation!r}; use 'auto', 'reference' or 'xla'.")
    for name, value in (("alpha", alpha), ("tolerance", tolerance)):
        if isinstance(value, int | float) and not value >= 0:
            raise ValueError(f"{name} is {value}: it must not be negative.")
    row = deviations.dtype.itemsize * (4 * 2**k + 2 * (f + CHUNK) * 2 ** (k - k // 2))
    block = min(max_bytes // row, max(BLOCK >> k, 1), max(b, 1))
    candidates = _Candidates(deviations, member, weight)
    return _search(candidates, alpha, tolerance, balance, max(block, 1), implementation)
