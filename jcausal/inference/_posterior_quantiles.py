"""Intervals for single queries: quantiles of a surface's posterior draws."""

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from jcausal.data import bucket, is_traced, pad_rows, to_device
from jcausal.effects import Effects
from jcausal.inference._interval import About, Interval, IntervalMethod, interval_of_draws
from jcausal.surfaces import ResponseSurface, aligned

BLOCK = 2048  # queries that are evaluated at once


class PosteriorQuantiles(IntervalMethod):
    """Credible intervals for tau(x) of every query: quantiles of f1 - f0 over a posterior's draws.

    The estimate is the mean of the draws of f1(x) - f0(x), the surface's own and not that of the
    query's group. Draws are by the surface that was trained without the query's fold.

    **Arguments:**

    - `surface`: one with draws, as `jc.fit(train, jc.BART(), key=0)` gives it, for all queries;
      None for those that the effects were made with. Both arms must have been fitted, which
      `jc.estimate` does for estimand "ate" or effect "group".
    - `level` of the interval.

    Queries at points outside the sample get none (NaN): ask `surface.draws(points)`.

    **Raises:** ValueError for surfaces without draws or with one arm, and under tracing.

    **Source:** Morucci et al. (2020), section 6.8, construction 6; Chipman, George and McCulloch
    (2010), Annals of Applied Statistics 4(1).
    """

    surface: ResponseSurface | None = None
    level: float = eqx.field(static=True, default=0.95)

    def of(self, effects: Effects, key: PRNGKeyArray | None) -> Interval:
        """One interval a query; NaN where the query is not matched."""
        if is_traced(effects):
            raise ValueError("jc.PosteriorQuantiles needs concrete arrays: take it outside of jit.")
        drawn = _drawn(effects, self.surface)
        rows = np.asarray(effects.matching.query)
        drawn[~np.asarray(effects.matched) | (rows < 0)] = np.nan
        none = np.zeros(rows.size, bool)
        words = f"posterior quantiles, {drawn.shape[1]:,} draws"
        about = About(self.level, "tau(x)", words, "a point outside the sample")
        mean = drawn.mean(1).astype(effects.sample.x.dtype)
        return interval_of_draws(
            to_device(mean), to_device(drawn.astype(mean.dtype)), to_device(none), about
        )


def _drawn(effects: Effects, given: ResponseSurface | None) -> Float[np.ndarray, "q b"]:
    """f1 - f0 under every draw at the query's covariates; 0 for queries of no fold."""
    surfaces = effects.surfaces if given is None else (aligned(given, effects.sample),)
    _check_draws(surfaces)
    matching = effects.matching
    rows, fold = np.asarray(matching.query), np.asarray(matching.query_fold)
    asked = (rows >= 0) & np.asarray(effects.matched)
    out: list[tuple[np.ndarray, np.ndarray]] = []
    for k, surface in enumerate(surfaces):
        mine = np.flatnonzero(asked & ((fold == k) if given is None else True))
        if mine.size:
            out.append((mine, _at(surface, np.asarray(effects.sample.x)[rows[mine]])))
    drawn = np.zeros((rows.size, max((values.shape[1] for _, values in out), default=1)))
    for mine, values in out:
        drawn[mine] = values
    return drawn


def _at(surface: ResponseSurface, x: Float[np.ndarray, "m p"]) -> Float[np.ndarray, "m b"]:
    """f1 - f0 under every draw, in blocks of points of few sizes."""
    parts = []
    for start in range(0, x.shape[0], BLOCK):
        some = x[start : start + BLOCK]
        padded = to_device(pad_rows(some, bucket(some.shape[0])))
        both: Array = surface.draws(padded)  # type: ignore[attr-defined]
        parts.append(np.diff(np.asarray(both)[:, : some.shape[0]], axis=2)[..., 0].T)
    found = np.concatenate(parts)
    if np.isnan(found).any():
        raise ValueError(
            "the surface was fitted to one arm, and f1 - f0 needs both: use estimand='ate' or "
            "effect='group' in jc.estimate, or give jc.PosteriorQuantiles(surface=...) one that "
            "jc.fit made of both."
        )
    return found


def _check_draws(surfaces: tuple[ResponseSurface, ...]) -> None:
    """Refuse surfaces that keep no draws of a posterior."""
    whose = [type(surface).__name__ for surface in surfaces if not hasattr(surface, "draws")]
    if whose or not surfaces:
        what = f"{whose[0]} keeps no draws of a posterior" if whose else "there is no surface"
        raise ValueError(
            f"{what}: use outcome=jc.BART() in the method, or give "
            "jc.PosteriorQuantiles(surface=...) a surface that jc.fit(train, jc.BART()) made."
        )
