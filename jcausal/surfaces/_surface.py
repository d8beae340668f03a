"""Response surfaces: what a unit's outcome would be without and with the treatment."""

from abc import abstractmethod
from typing import Any, Literal, TypeVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jcausal.data import (
    DataError,
    Options,
    Sample,
    Shown,
    Trained,
    number_in_words,
    on_host,
)
from jcausal.surfaces._alignment import encoding_in, places
from jcausal.surfaces._encoding import Encoding
from jcausal.surfaces._quality import r_squared

LISTED = 10  # rules that a printed surface tells
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

    @abstractmethod
    def level_changes(
        self,
        centre: Float[Array, "m p"],
        column: Int[Array, " m"],
        level: Int[Array, "m k"],
        wanted: Bool[Array, "m k"],
    ) -> Float[Array, "m k 2"]:
        """How both outcomes change when category `column[i]` goes from `centre[i]` to `level`.

        Surfaces that know what a level adds read it; others are evaluated at all levels. What is
        not `wanted` may hold any numbers.
        """

    @abstractmethod
    def all_level_changes(
        self,
        centre: Float[Array, "m p"],
        columns: Int[np.ndarray, " c"],
        heights: Int[np.ndarray, " c"],
    ) -> Float[Array, "m c l 2"]:
        """The same for every level of categories of these heights; beyond one it is any number."""

    @abstractmethod
    def sees(self, p: int) -> Bool[Array, " p"]:
        """Which ordered covariates may matter: where False, the surface is the same all along.

        True for every category.
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


@on_host
def of_arms(
    lib: Any, t: Bool[Array, " n"], valid: Bool[Array, " n"], arms: Arms
) -> Bool[Array, " n"]:
    """Valid rows of the arms that are fitted."""
    return valid & dict(both=valid, treated=t, control=~t)[arms]


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
            encoding = encoding_in(sample, encoding, own)
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


def without_training(surface: S) -> S:
    """The surface without its memory of training rows, so that traces do not depend on it."""
    return eqx.tree_at(lambda s: s.trained, surface, None, is_leaf=lambda leaf: leaf is None)
