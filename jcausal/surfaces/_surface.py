"""Response surfaces: what a unit's outcome would be without and with the treatment."""

from abc import abstractmethod
from typing import Any, Literal, TypeVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jcausal.data import (
    DataError,
    Options,
    Sample,
    Schema,
    Shown,
    Trained,
    number_in_words,
    on_host,
)
from jcausal.surfaces._align import NOWHERE, level_codes, places
from jcausal.surfaces._quality import r_squared

LISTED = 10  # rules that a printed surface tells
LINES = 256  # up to here all lines are evaluated, wanted or not
Arms = Literal["both", "control", "treated"]
S = TypeVar("S", bound="ResponseSurface")
Noise = Float[Array, " 2"] | Float[np.ndarray, " 2"]


class ResponseSurface(Shown, eqx.Module):
    """f0 and f1 as one callable: points (m, p) in the covariates' own units -> (m, 2).

    Column 0 is the outcome without, column 1 with the treatment; the column of an arm that was
    not fitted is NaN. `trained` names the columns and rows it was trained on, or is None; `noise`
    (2,) is the variance of the outcome around each surface, 0 when nothing is known of it. Verbs
    find the columns of a sample by name and the levels of its categories by label.
    """

    trained: eqx.AbstractVar[Trained | None]
    noise: eqx.AbstractVar[Noise]

    @abstractmethod
    def __call__(self, x: Float[Array, "m p"]) -> Float[Array, "m 2"]:
        """Both outcomes at each point."""

    @abstractmethod
    def along(
        self,
        centre: Float[Array, "m p"],
        j: Int[Array, "#m k"],
        at: Float[Array, "m k g"],
        wanted: Bool[Array, "m k"] | None = None,
    ) -> Float[Array, "m k g 2"]:
        """How both outcomes change when covariate `j[i, k]` alone moves from `centre[i]` to `at`.

        f(centre with covariate j[i, k] at at[i, k, g]) - f(centre[i]); one row of `j` stands for
        all. j is not a category. Terms without covariate j cancel, so a surface may leave them out.
        Lines that are not `wanted` may hold any numbers.
        """

    def slab_variance(
        self,
        centre: Float[Array, "m p"],
        lo: Float[Array, " m"],
        hi: Float[Array, " m"],
        j: Int[Array, " m"],
        points: int,
    ) -> Float[Array, "m 2"]:
        """Variance of both outcomes over evenly spaced points of a line along one covariate.

        Row i runs from `lo[i]` to `hi[i]` (both included) in covariate `j[i]`, the others standing
        at `centre[i]`. Population variance, in squared outcome units.
        """
        share = line_offsets(points, 1)[:, 0].astype(lo.dtype)
        line = lo[:, None] + share * (hi - lo)[:, None]
        return self.along(centre, j[:, None], line[:, None])[:, 0].var(1)

    def r2(self, sample: Sample) -> Float[Array, " 2"]:
        """Share of the outcome's variance that the surface explains, by arm.

        1 - sum w (y - f_a(x))^2 / sum w (y - mean_a)^2 over the valid rows of arm a, w the
        sampling weight and mean_a the arm's weighted mean: 1 is perfect, 0 is what that mean would
        do, and worse is negative. Out of sample only if the surface was trained on other rows.

        **Arguments:** `sample` with outcomes; the surface is evaluated in blocks of rows.

        **Returns:** (2,) controls, treated; NaN for an arm that was not fitted, has fewer than two
        rows of positive weight or a constant outcome.

        **Raises:** `DataError` without outcomes, and for a sample of other columns or levels than
        those trained on.

        **Example:**

            >>> train, test = jc.split(jc.datasets.lalonde("experiment"), key=0)
            >>> jc.fit(train, jc.Ridge()).r2(test).shape
            (2,)
        """
        if sample.y is None:
            raise DataError("the sample has no outcome: attach it with sample.with_outcome(y).")
        return r_squared(aligned(self, sample).lean(), sample)

    @property
    def _single(self) -> bool:
        return np.ndim(self.noise) == 1

    def _said(self) -> str:
        """What it was trained on, the noise around it, and its rules where it has some."""
        seen = None if self.trained is None else self.trained.row
        rows = "not trained" if seen is None else f"trained on {len(seen):,} rows"
        sd = np.sqrt(np.asarray(self.noise, float))
        arms = zip(("controls", "treated"), sd)
        known = [f"{word} {number_in_words(float(v))}" for word, v in arms if np.isfinite(v)]
        head = f"{type(self).__name__}, {rows}; sd around it: {', '.join(known) or 'unknown'}"
        rules = getattr(self, "rules", list)()
        more = [f"and {len(rows_left):,} more leaves"] if (rows_left := rules[LISTED:]) else []
        return "\n".join([head, *rules[:LISTED], *more])

    @abstractmethod
    def lean(self) -> "ResponseSurface":
        """The same function with only the arrays that its evaluation needs."""


class OutcomeModel(Options, eqx.Module):
    """A way to make a response surface from a sample; holds hyperparameters only.

    `traceable`: may be fitted under jit and vmap. `needs_key`: draws at random, so that `fit`
    gets a key; else it gets None.
    """

    traceable: eqx.AbstractVar[bool]
    needs_key: eqx.AbstractVar[bool]

    @abstractmethod
    def fit(self, sample: Sample, key: PRNGKeyArray | None, arms: Arms) -> ResponseSurface:
        """Train on the valid rows of a sample."""


def line_offsets(points: int, p: int) -> Float[Array, "g p"]:
    """Evenly spaced shares from 0 to 1, both ends included, the same in every column."""
    return jnp.tile(jnp.linspace(0.0, 1.0, points)[:, None], (1, p))


def evaluate_along(
    surface: ResponseSurface,
    centre: Float[Array, "m p"],
    j: Int[Array, "#m k"],
    at: Float[Array, "m k g"],
    wanted: Bool[Array, "m k"] | None = None,
) -> Float[Array, "m k g 2"]:
    """`along` by evaluating the surface: right for every surface.

    Many lines of which some are not wanted are evaluated block by block, the wanted ones first, and
    no block without any; the others are 0.
    """
    (m, k, g), here = at.shape, surface(centre)
    j = jnp.broadcast_to(j, (m, k)).ravel()
    lines = at.reshape(m * k, g)

    def ask(pairs: Int[Array, " b"]) -> Float[Array, "b g 2"]:
        moving = jnp.arange(centre.shape[1]) == j[pairs][:, None, None]
        points = jnp.where(moving, lines[pairs][..., None], centre[pairs // k][:, None])
        return surface(points.reshape(-1, centre.shape[1])).reshape(len(pairs), g, 2)

    if wanted is None or m * k <= LINES:
        return ask(jnp.arange(m * k)).reshape(m, k, g, 2) - here[:, None, None]
    block = max(LINES, -(-m * k // 4))
    room = -(-m * k // block) * block
    rank = jnp.cumsum(wanted.ravel()) - 1
    place = jnp.where(wanted.ravel(), rank, room)
    order = jnp.zeros(room, jnp.int32).at[place].set(jnp.arange(m * k), mode="drop")

    def more(carry: tuple[Array, Array]) -> tuple[Array, Array]:
        done, out = carry
        found = ask(lax.dynamic_slice_in_dim(order, done, block))
        return done + block, lax.dynamic_update_slice_in_dim(out, found, done, 0)

    none = jnp.zeros((room, g, 2), here.dtype)
    start = jnp.zeros((), rank.dtype)
    out = lax.while_loop(lambda carry: carry[0] <= rank[-1], more, (start, none))[1]
    there = out[jnp.maximum(rank, 0)].reshape(m, k, g, 2)
    return jnp.where(wanted[..., None, None], there - here[:, None, None], 0)


@on_host
def of_arms(
    lib: Any, t: Bool[Array, " n"], valid: Bool[Array, " n"], arms: Arms
) -> Bool[Array, " n"]:
    """Valid rows of the arms that are fitted."""
    return valid & dict(both=valid, treated=t, control=~t)[arms]


class Encoding(eqx.Module):
    """Covariates to features: ordered columns as they are, one 0/1 feature for each level.

    All levels get a feature, none is a base, so that renaming or reordering levels changes
    nothing. `feature` (p,) is that of an ordered covariate, `of_level` (p, l) those of the levels
    of a category; -1 is none.
    """

    column: Int[np.ndarray, " f"]
    level: Int[np.ndarray, " f"]
    feature: Int[np.ndarray, " p"]
    of_level: Int[np.ndarray, "p l"]

    def __init__(self, schema: Schema) -> None:
        rows = [(j, -1) for j in schema.ordered]
        rows += [(j, level) for j in schema.categories for level in range(len(schema.levels[j]))]
        table = np.array(rows, np.int32).reshape(-1, 2)
        self.column, self.level = table[:, 0], table[:, 1]
        self.feature, self.of_level = _looked_up(self.column, self.level, schema)

    def __call__(self, x: Float[Array, "m p"]) -> Float[Array, "m f"]:
        """Features of each point.

        **Raises:** ValueError for other numbers of columns than were trained on.
        """
        p = self.feature.shape[0]
        if len(x.shape) != 2 or x.shape[1] != p:
            raise ValueError(
                f"x has shape {tuple(x.shape)}: a surface takes (m, {p}), one row a point and the "
                f"{p} covariates of its training in their order."
            )
        return _encoded(x, self.column, self.level)


@on_host
def _encoded(
    lib: Any,
    x: Float[Array, "m p"],
    column: Int[np.ndarray, " f"] | Int[Array, " f"],
    level: Int[np.ndarray, " f"] | Int[Array, " f"],
) -> Float[Array, "m f"]:
    values = x[:, column]
    return lib.where(level < 0, values, (values == level).astype(x.dtype))


def _looked_up(
    column: Int[np.ndarray, " f"], level: Int[np.ndarray, " f"], schema: Schema
) -> tuple[Int[np.ndarray, " p"], Int[np.ndarray, "p l"]]:
    """The feature of each ordered covariate, and of each level of a category."""
    p = len(schema.names)
    feature, tallest = np.full(p, -1, np.int32), max(1, *map(len, schema.levels))
    of_level = np.full((p, tallest), -1, np.int32)
    for f, (j, code) in enumerate(zip(column.tolist(), level.tolist())):
        if code < 0:
            feature[j] = f
        elif code != NOWHERE:
            of_level[j, code] = f
    return feature, of_level


def aligned(surface: S, sample: Sample) -> S:
    """The surface as a function of a sample's points: columns by name, levels by label.

    A function without names takes the points as they are.

    **Raises:** `DataError` for other columns than it was trained on, and for rows of a level that
    it has not seen.
    """
    if surface.trained is None:
        return surface
    own, theirs, known = surface.trained.schema, sample.schema, vars(surface)
    if "encoding" in known:
        encoding = Encoding(own)
        if (own.names, own.levels) != (theirs.names, theirs.levels):
            encoding = _moved(encoding, own, sample)
        return eqx.tree_at(lambda s: s.encoding, surface, encoding)
    place = places(own.names, theirs.names)
    if "columns" in known:
        return eqx.tree_at(lambda s: s.columns, surface, place, is_leaf=lambda leaf: leaf is None)
    if (place != np.arange(place.size)).any():
        raise DataError(
            f"the surface is one of the covariates {', '.join(own.names)}, and the sample has "
            f"{', '.join(theirs.names)}: give both the same order with covariates=[...]."
        )
    return surface


def _moved(encoding: Encoding, own: Schema, sample: Sample) -> Encoding:
    """The features of a schema, found in a sample."""
    place, level = places(own.names, sample.schema.names), encoding.level.copy()
    for j, here in enumerate(place.tolist()):
        codes = level_codes(own, j, sample, here)
        if own.kinds[j] == "category":
            level[encoding.column == j] = codes
    column = place[encoding.column].astype(np.int32)
    parts = column, level, *_looked_up(column, level, sample.schema)
    return eqx.tree_at(lambda e: (e.column, e.level, e.feature, e.of_level), encoding, parts)
