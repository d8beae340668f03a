"""The space that boxes grow in: ladders, members and the list of possible expansions."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from jcausal.data import DataError, Sample, bucket, is_traced, pad_rows, rows_in_words
from jcausal_kernels import MISSING, Units


class Space(NamedTuple):
    """Arrays for the core. o ordered columns, c category columns, e levels to open in all.

    `units.codes` has one column more than o: 0 for members, -1 for everybody else.
    `place` is how far each code stands above the ladder's foot, as a sum of two numbers so that
    neighbours on a long ladder stay apart in float32; `span` is the ladder's length. `fill` is
    what stands in x where a number is missing.
    """

    units: Units
    x: Float[Array, "n p"]
    weight: Float[Array, " n"]
    sound: Bool[Array, ""]
    ladder: Float[Array, "o l"]
    place: Float[Array, "2 o l"]
    span: Float[Array, " o"]
    heights: Int[Array, " o"]
    fill: Float[Array, " p"]
    entry_rank: Float[Array, " e"]


class Layout(NamedTuple):
    """Which columns are which: static, hashable, free of names.

    `flags` are (number, flag) columns: at level 1 of the flag the number is missing.
    """

    kinds: tuple[str, ...]
    heights: tuple[int, ...]
    flags: tuple[tuple[int, int], ...] = ()

    @property
    def ordered(self) -> Int[np.ndarray, " o"]:
        """The columns that are ladders."""
        return np.flatnonzero([kind != "category" for kind in self.kinds])

    @property
    def categories(self) -> Int[np.ndarray, " c"]:
        """The columns that hold levels."""
        return np.flatnonzero([kind == "category" for kind in self.kinds])

    @property
    def entries(self) -> np.ndarray:
        """(slot, level) of every level of every category."""
        pairs = [(c, level) for c, height in enumerate(self.heights) for level in range(height)]
        return np.array(pairs, np.int32).reshape(-1, 2)

    @property
    def observed(self) -> np.ndarray:
        """(number, its ladder, flag, entry of the flag's level "observed") of each flag."""
        first = np.cumsum([0, *self.heights])
        ordered, categories = self.ordered.tolist(), self.categories.tolist()
        rows = [(j, ordered.index(j), f, first[categories.index(f)]) for j, f in self.flags]
        return np.array(rows, np.int32).reshape(-1, 4)

    def filled(self, x: Float[Array, "m p"], fill: Float[Array, " p"]) -> Float[Array, "m p"]:
        """The points with the fill in every number that their flag calls missing."""
        for j, flag in self.flags:
            x = x.at[:, j].set(jnp.where(x[:, flag] == 1, fill[j], x[:, j]))
        return x

    @property
    def tallest(self) -> int:
        """The largest number of levels."""
        return max(self.heights, default=1)


class Queries(NamedTuple):
    """What boxes grow around: values, places, first codes and own levels."""

    x: Float[Array, "q p"]
    place: Float[Array, "2 q o"]
    lower: Int[Array, "q o"]
    upper: Int[Array, "q o"]
    open: Bool[Array, "q c l"]


def layout(sample: Sample) -> Layout:
    """The static part of a sample's columns."""
    schema = sample.schema
    heights = tuple(len(schema.levels[j]) for j in schema.categories)
    return Layout(schema.kinds, heights, tuple(schema.flag_of.items()))


def pick(queries: Queries, rows: Int[Array, " r"] | Int[np.ndarray, " r"]) -> Queries:
    """Some of the queries."""
    return Queries(
        queries.x[rows],
        queries.place[:, rows],
        queries.lower[rows],
        queries.upper[rows],
        queries.open[rows],
    )


def make_space(sample: Sample, members: Bool[Array, " n"]) -> Space:
    """Lay out a sample: only `members` can be matched, all valid rows define the ladders.

    Concrete samples are padded to bucketed shapes, so that near sizes share one trace.
    """
    plan = layout(sample)
    rows = sample.n if is_traced(sample, members) else bucket(sample.n)

    def padded(array: Array, fill: float | int | bool) -> Array:
        if rows == array.shape[0]:
            return array
        return jnp.asarray(pad_rows(np.asarray(array), rows, fill))

    mass = jnp.where(members, sample.weight, 0)
    gate = jnp.where(members, 0, -1)[:, None].astype(jnp.int32)
    codes = jnp.concatenate([sample.codes[:, plan.ordered], gate], axis=1)
    finite = jnp.isfinite(sample.x).all(1) & jnp.isfinite(sample.weight)
    for j, height in zip(plan.categories, plan.heights):
        finite &= (sample.codes[:, j] >= 0) & (sample.codes[:, j] < height)
    ladder = sample.ladder[plan.ordered]
    return Space(
        units=Units(
            padded(codes, -1),
            padded(sample.codes[:, plan.categories], 0),
            padded(sample.t, False),
        ),
        x=padded(sample.x, 0),
        weight=padded(mass, 0),
        sound=(finite | ~sample.valid).all(),
        ladder=jnp.asarray(ladder, sample.x.dtype),
        place=_places(ladder, ladder, sample.x.dtype),
        span=jnp.asarray(ladder[:, -1] - ladder[:, 0], sample.x.dtype),
        heights=sample.heights[plan.ordered],
        fill=sample.fill,
        entry_rank=_popularity(sample, mass, plan),
    )


def unit_queries(sample: Sample, units: Int[Array, " q"]) -> Queries:
    """Queries that are units of the sample; a missing value starts with its whole ladder."""
    plan = layout(sample)
    ordered, ladder = plan.ordered, sample.ladder[plan.ordered]
    host = isinstance(ladder, np.ndarray) and not is_traced(sample.codes, units)
    ladder = ladder if host else jnp.asarray(ladder, sample.x.dtype)
    heights = sample.heights[ordered]
    lower, upper, levels = _of_units(sample.codes, units, heights, ordered, plan.categories)
    values = ladder[np.arange(len(ordered)), np.asarray(lower) if host else lower]
    place = jnp.swapaxes(_places(ladder, values.T, sample.x.dtype), 1, 2)
    return Queries(sample.x[units], place, lower, upper, _own_level(levels, plan))


@jax.jit
def _of_units(
    codes: Int[Array, "n p"],
    units: Int[Array, " q"],
    heights: ArrayLike,
    ordered: ArrayLike,
    categories: ArrayLike,
) -> tuple[Int[Array, "q o"], Int[Array, "q o"], Int[Array, "q c"]]:
    """First and last code of each unit's own box, and its levels."""
    own = codes[units]
    code, levels = own[:, ordered], own[:, categories]
    missing = code == MISSING
    return jnp.where(missing, 0, code), jnp.where(missing, jnp.asarray(heights) - 1, code), levels


def point_queries(sample: Sample, at: Float[np.ndarray, "q p"]) -> Queries:
    """Queries anywhere: between two values a box starts empty, with both within reach.

    Where a flag says that a number is missing, the number may be anything, NaN too.

    **Raises:** `DataError` for NaN, a wrong width, or a level that the sample does not have.
    """
    plan = layout(sample)
    names = sample.schema.names
    if at.ndim != 2 or at.shape[1] != sample.p:
        raise DataError(f"at has shape {at.shape}: it must be (q, {sample.p}), one row a point.")
    missing = missing_at(sample, at)
    at = np.where(missing, np.asarray(sample.fill), at)
    for j, name in enumerate(names):
        bad = np.flatnonzero(~np.isfinite(at[:, j]))
        if bad.size:
            raise DataError(
                f"at: {name!r} is not finite in {bad.size} points ({rows_in_words(bad)})."
            )
    for j, height in zip(plan.categories, plan.heights):
        bad = np.flatnonzero(~np.isin(at[:, j], np.arange(height)))
        if bad.size:
            raise DataError(
                f"at: category {names[j]!r} has no level {at[bad[0], j]:g} "
                f"({rows_in_words(bad)}): use the level numbers 0 to {height - 1}."
            )
    ladder, heights = np.asarray(sample.ladder), np.asarray(sample.heights)
    ordered = plan.ordered
    lower = np.stack([np.searchsorted(ladder[j, : heights[j]], at[:, j]) for j in ordered] or [[]])
    upper = [np.searchsorted(ladder[j, : heights[j]], at[:, j], "right") - 1 for j in ordered]
    place = jnp.swapaxes(_places(ladder[ordered], at[:, ordered].T, sample.x.dtype), 1, 2)
    levels = jnp.asarray(at[:, plan.categories], jnp.int32)
    q, gap = at.shape[0], missing[:, ordered]
    first = np.where(gap, 0, lower.reshape(-1, q).T)
    last = np.where(gap, heights[ordered] - 1, np.stack(upper or [[]]).reshape(-1, q).T)
    return Queries(
        jnp.asarray(at, sample.x.dtype),
        place,
        jnp.asarray(first, jnp.int32),
        jnp.asarray(last, jnp.int32),
        _own_level(levels, plan),
    )


def missing_at(sample: Sample, at: Float[np.ndarray, "q p"]) -> Bool[np.ndarray, "q p"]:
    """Which numbers of the points are missing, as their flag columns say."""
    missing = np.zeros(at.shape, bool)
    for j, flag in sample.schema.flag_of.items():
        missing[:, j] = at[:, flag] == 1
    return missing


def _places(ladder: np.ndarray | Array, values: np.ndarray | Array, dtype: jnp.dtype) -> Array:
    """How far `values` (o, k) stand above the ladders' feet, as two numbers that add up."""
    if isinstance(ladder, np.ndarray):
        above = np.asarray(values) - ladder[:, :1]
        first = above.astype(dtype)
        return jnp.stack([jnp.asarray(first), jnp.asarray((above - first).astype(dtype))])
    above = values - ladder[:, :1]
    return jnp.stack([above, jnp.zeros_like(above)]).astype(dtype)


def _own_level(levels: Int[Array, "q c"], plan: Layout) -> Bool[Array, "q c l"]:
    return levels[:, :, None] == jnp.arange(plan.tallest)


def _popularity(sample: Sample, mass: Float[Array, " n"], plan: Layout) -> Float[Array, " e"]:
    """Each level's place in [0, 1) by falling weight of its members: breaks ties of scores."""
    parts = [jnp.zeros(0, mass.dtype)]
    for j, height in zip(plan.categories, plan.heights):
        parts.append(jnp.zeros(height, mass.dtype).at[sample.codes[:, j]].add(mass))
    order = jnp.argsort(-jnp.concatenate(parts), stable=True)
    count = order.shape[0]
    return jnp.zeros(count).at[order].set(jnp.arange(count) / max(count, 1)).astype(mass.dtype)
