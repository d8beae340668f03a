"""The best threshold of every covariate in every node of a tree, in one pass over the units.

(1) Formula, shapes, cost
    A cut at code c of covariate j parts the units T of a node in L = {codes[k, j] <= c} and R. With
    weights w, W(T) = sum w and sd(T) the weighted standard deviation of y (divided by W),
    score[k, j] = max_c sd(T) - (W(L) sd(L) + W(R) sd(R)) / W(T)
    over the cuts that leave `minimum` units and more on either side. Reductions are compared as
    shares of sd(T) rounded to 1/2^30 (float32: 1/2^16): of equal ones the lowest code is taken, so
    that neither rounding nor row order decides.
n units, p covariates of r values, k nodes. Outcomes are centred in each node before squaring.
Histogram (r values): n p additions of 3 or 4 columns, then 20 k p r operations; 32 k p r bytes, or
256 MB where that is more than 256 MB, for some covariates at a time.
Sorted (any number of values): a sort of n units for each covariate unless `order` is given, and two
segmented scans, about 40 n p operations; 80 n p bytes. Steps (the same, all covariates of a
position at once, one position after the other): 90,000 x 20 in 24 nodes .07 s where the segmented
scans take .22 (float64, 2 cores).
"""

from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from jcausal_kernels.split_histogram import by_histogram, of_two_codes
from jcausal_kernels.split_score import Cuts, Scanned, level_of, scanned, sums_of
from jcausal_kernels.split_sorted import by_scans, by_steps

Implementation = Literal["auto", "reference", "histogram", "sorted", "steps"]
FEW_RUNGS = 256  # up to here histograms are quicker on a CPU
BYTES = 2**28  # of histograms that are made together


class Splits(NamedTuple):
    """The best cut of each of p covariates in each of k nodes.

    - `score` (k, p): what it takes off the standard deviation, in outcome units; -inf for no cut.
    - `level` (k, p): the same as a share of the node's, rounded; 0 for no cut.
    - `cut` (k, p): left are the units with codes up to this one.
    - `above` (k, p): the lowest code on the right.
    - `sd` (k,): the standard deviation of the node.
    """

    score: Float[Array, "k p"]
    level: Float[Array, "k p"]
    cut: Int[Array, "k p"]
    above: Int[Array, "k p"]
    sd: Float[Array, " k"]


# (2) The reference: the definition, every cut of every node by itself.


def _reference(codes: Int[Array, "n p"], units: Scanned, heights: int) -> Cuts:
    code, precision = jnp.arange(heights), lax.Precision.HIGHEST
    member = (units.place == jnp.arange(units.nodes)[:, None]).astype(units.columns.dtype)
    below = (codes[:, :, None] <= code).astype(member.dtype)
    sums = jnp.einsum("kn,npr,nc->kprc", member, below, units.columns, precision=precision)
    here = (codes[:, :, None] == code).astype(member.dtype)
    held = jnp.einsum("kn,npr->kpr", member, here, precision=precision) > 0
    of = sums_of(units.totals[:, None, None])
    level = jnp.where(held, level_of(of, sums_of(sums), units.minimum), 0)
    cut = level.argmax(2)
    above = jnp.where(held & (code > cut[..., None]), code, heights).min(2)
    return level.max(2), cut, above


# (3) The tuned versions: histograms over values, for two values one addition a unit
# (`split_histogram`), and sums along sorted units (`split_sorted`).


# (4) The choice: "auto" is the histogram for few values on a CPU, else the sorted version; on a CPU
# steps where the dtype is wide enough for long running sums.


def _by_size(heights: tuple[int, ...]) -> dict[int, list[int]]:
    """Covariates by the size of their histogram, a power of 4 or `FEW_RUNGS`; 0 for larger ones."""
    sizes: dict[int, list[int]] = {}
    for j, count in enumerate(heights):
        size = next((s for s in (2, 4, 16, 64, FEW_RUNGS) if count <= s), 0)
        sizes.setdefault(size, []).append(j)
    return sizes


def with_many_values(heights: tuple[int, ...]) -> list[int]:
    """The covariates whose units "auto" keeps sorted.

    **Arguments:** `heights` of each covariate. **Returns:** their places.
    """
    return _by_size(heights).get(0, [])


def _few(codes: Int[Array, "n p"], units: Scanned, heights: tuple[int, ...]) -> Cuts:
    """Histograms, one size after the other, of some covariates at a time."""
    (nodes, d), found = units.totals.shape, []
    for size, which in _by_size(heights).items():
        if size == 2:
            found.append(of_two_codes(codes[:, jnp.asarray(which)], units))
        elif size:
            most = max(1, BYTES // ((nodes + 1) * size * d * units.totals.dtype.itemsize))
            for first in range(0, len(which), most):
                some = jnp.asarray(which[first : first + most])
                found.append(by_histogram(codes[:, some], units, size))
    return _beside(found)


def _beside(found: list[tuple[Array, Array, Array]]) -> tuple[Array, Array, Array]:
    level, cut, above = (jnp.concatenate(part, axis=1) for part in zip(*found))
    return level, cut, above


def _auto(
    codes: Int[Array, "n p"],
    units: Scanned,
    heights: tuple[int, ...],
    order: Int[Array, "s n"] | None,
) -> Cuts:
    """Covariates of few values and of many, each in the way that suits the platform."""
    sizes = _by_size(heights)
    listed = [j for size, which in sizes.items() if size for j in which]
    found, features = [], listed + sizes.get(0, [])
    if listed:

        def sort(codes: Array, units: Scanned) -> Cuts:
            return by_scans(codes[:, jnp.asarray(listed)], units, None)

        few = partial(_few, heights=heights)
        found.append(lax.platform_dependent(codes, units, cpu=few, default=sort))
    if 0 in sizes:
        wide = units.columns.dtype == jnp.float64
        on_cpu, many = by_steps if wide else by_scans, codes[:, jnp.asarray(sizes[0])]
        found.append(lax.platform_dependent(many, units, order, cpu=on_cpu, default=by_scans))
    back = jnp.asarray(sorted(range(len(features)), key=features.__getitem__))
    level, cut, above = (part[:, back] for part in _beside(found))
    return level, cut, above


class _Given(NamedTuple):
    """The arrays of a scan: see the arguments of `split_scan`."""

    codes: Int[Array, "n p"]
    node: Int[Array, " n"]
    y: Float[Array, " n"]
    weight: Float[Array, " n"] | None
    minimum: Float[Array, ""]
    order: Int[Array, "s n"] | None


@partial(jax.jit, static_argnames=("nodes", "heights", "implementation"))
def _jitted(
    given: _Given, nodes: int, heights: tuple[int, ...], implementation: Implementation
) -> Splits:
    codes, order, highest = given.codes, given.order, max(heights, default=1)
    units = scanned(given.node, given.y, given.weight, given.minimum, nodes)
    if implementation == "reference":
        found = _reference(codes, units, highest)
    elif implementation == "histogram":
        found = by_histogram(codes, units, highest)
    elif implementation == "sorted":
        found = by_scans(codes, units, order)
    elif implementation == "steps":
        found = by_steps(codes, units, order)
    else:
        found = _auto(codes, units, heights, order)
    return _splits(found, sums_of(units.totals[:, None]).sd)


def _splits(cuts: Cuts, sd: Float[Array, "k 1"]) -> Splits:
    level, cut, above = cuts
    found = level > 0
    score = jnp.where(found, level * sd, -jnp.inf)
    return Splits(score, level, jnp.where(found, cut, 0), jnp.where(found, above, 0), sd[:, 0])


# (5) The public function.


def split_scan(
    codes: Int[Array, "n p"],
    node: Int[Array, " n"],
    y: Float[Array, " n"],
    weight: Float[Array, " n"] | None = None,
    *,
    nodes: int,
    heights: int | tuple[int, ...],
    minimum: int | Int[Array, ""],
    order: Int[Array, "s n"] | None = None,
    implementation: Implementation = "auto",
) -> Splits:
    """The largest reduction of the standard deviation by one cut, for each node and covariate.

    Works under jit and vmap; carries no gradient (a cut is a place on a ladder).

    **Arguments:** `codes` (n, p) from 0; `node` (n,) the node of each unit, a unit of another
    number than 0 to `nodes` - 1 is in none; `y` (n,) in any float type; `weight` (n,) above 0, None
    for 1; `heights` above any code, for all covariates or for each; `minimum` units (not weight)
    on either side of a cut; `order` (s, n) units so that those of a node stand together, in the
    same places in every row, by code (see `sorted_order`), for the covariates that are kept sorted
    (`with_many_values`; all of them with `implementation="sorted"` or "steps"): spares a sort.

    **Returns:** `Splits`.

    **Raises:** ValueError for `nodes` or `heights` below 1 or of another number than covariates, or
    an unknown `implementation`.
    """
    p = codes.shape[1]
    each = (heights,) * p if isinstance(heights, int) else tuple(heights)
    if nodes < 1 or min(each, default=1) < 1 or len(each) != p:
        raise ValueError(
            f"nodes is {nodes} and heights {heights}: at least 1 each, one for all or for each of "
            f"the {p} covariates."
        )
    names = ("auto", "reference", "histogram", "sorted", "steps")
    if implementation not in names:
        raise ValueError(f"implementation is {implementation!r}; use one of {', '.join(names)}.")
    given = _Given(codes, node, y, weight, jnp.asarray(minimum, y.dtype), order)
    return _jitted(given, nodes, each, implementation)
