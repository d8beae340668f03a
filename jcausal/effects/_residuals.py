"""Residuals of outcomes from what a model foretells, and how much of the outcome it explains."""

from typing import Any, NamedTuple

from jaxtyping import Array, Bool, Float, Int

from jcausal.data import Sample, Values, on_host, weighted_moments
from jcausal.matching import Prognosis
from jcausal.surfaces import counted, share_explained


class Outcomes(NamedTuple):
    """By unit (n,): the outcome, the arm, whether it counts, its sampling weight."""

    y: Float[Array, " n"]
    t: Bool[Array, " n"]
    use: Bool[Array, " n"]
    weight: Float[Array, " n"]


def residuals(sample: Sample, fold: Int[Array, " n"], prognosis: Prognosis) -> Float[Array, " n"]:
    """Outcome less f(x) of each unit's own arm; the outcome as it is for rows of no fold."""
    assert sample.y is not None
    return _residuals(sample.y, sample.t, sample.valid, fold, prognosis.units)


def own_predictions(
    sample: Sample, fold: Int[Array, " n"], prognosis: Prognosis
) -> Float[Array, "q 2"]:
    """f0 and f1 at each query; an arm that was not fitted takes those of the other."""
    return _of_queries(prognosis.units, prognosis.queries, sample.valid, fold)


def drift_of(
    sample: Sample,
    own: Float[Array, "q 2"],
    foretold: Float[Array, "q 2"],
    treated: Bool[Array, " q"],
    matched: Bool[Array, " q"],
) -> Float[Array, " q"]:
    """Mean prediction in the arm of the partners minus the query's own, over the outcome's sd."""
    assert sample.y is not None
    about = Outcomes(sample.y, sample.t, sample.valid, sample.weight)
    return _drift(about, own, foretold, treated, matched)


def explained(
    sample: Sample, fold: Int[Array, " n"], prognosis: Prognosis, folds: int
) -> Float[Array, "k 2"]:
    """R2 of each fold's surface by arm, on the rows of that fold (see `ResponseSurface.r2`)."""
    assert sample.y is not None
    about = Outcomes(sample.y, sample.t, counted(sample), sample.weight)
    return _explained(about, fold, prognosis.units, folds)


def _filled(lib: Any, values: Values, units: Values, use: Values) -> Any:
    """Columns of arms that were not fitted replaced by the other one."""
    absent = (lib.isnan(units) | ~use[:, None]).all(0)
    return lib.where(absent, values[:, ::-1], values)


@on_host
def _residuals(
    lib: Any,
    y: Float[Array, " n"],
    t: Bool[Array, " n"],
    valid: Bool[Array, " n"],
    fold: Int[Array, " n"],
    units: Float[Array, "n 2"],
) -> Float[Array, " n"]:
    use = valid & (fold >= 0)
    both = _filled(lib, units, units, use)
    own = lib.where(t, both[:, 1], both[:, 0])
    return y - lib.where(use, own, 0).astype(y.dtype)


@on_host
def _of_queries(
    lib: Any,
    units: Float[Array, "n 2"],
    queries: Float[Array, "q 2"],
    valid: Bool[Array, " n"],
    fold: Int[Array, " n"],
) -> Float[Array, "q 2"]:
    return _filled(lib, queries, units, valid & (fold >= 0))


@on_host
def _drift(
    lib: Any,
    about: Outcomes,
    own: Float[Array, "q 2"],
    foretold: Float[Array, "q 2"],
    treated: Bool[Array, " q"],
    matched: Bool[Array, " q"],
) -> Float[Array, " q"]:
    gap = foretold - own
    sd = weighted_moments(lib, about.y, lib.where(about.use, about.weight, 0))[1]
    gap = lib.where(treated, gap[:, 0], gap[:, 1]) / lib.where(sd > 0, sd, 1)
    return lib.where(matched, gap, lib.nan)


@on_host
def _explained(
    lib: Any,
    about: Outcomes,
    fold: Int[Array, " n"],
    units: Float[Array, "n 2"],
    folds: int,
) -> Float[Array, "k 2"]:
    y, t, use, weight = about
    parts = [share_explained(lib, units, y, t, use & (fold == k), weight) for k in range(folds)]
    return lib.stack(parts)
