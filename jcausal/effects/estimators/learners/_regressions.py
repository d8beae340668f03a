"""Samples for the regressions of a learner: one arm, other outcomes, other weights."""

from typing import Any, NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jcausal.data import DataError, FoldError, Sample, on_host, step_key, to_device
from jcausal.matching import foretell
from jcausal.surfaces import (
    Arms,
    OutcomeModel,
    Propensity,
    ResponseSurface,
    chances_by_folds,
    deal_folds,
    fold_surface,
)


def one_armed(
    sample: Sample, y: Float[Array, " n"] | None = None, weight: Float[Array, " n"] | None = None
) -> Sample:
    """The sample with every row a control, for a regression of all rows at once.

    `y` and `weight` (n,) in place of the sample's; what they are in rows that do not count is 0.
    """
    y = sample.y if y is None else y
    weight = sample.weight if weight is None else weight
    found = _regressed(sample.t, sample.valid, y, weight)
    return eqx.tree_at(lambda s: (s.t, s.y, s.weight), sample, found)


def with_targets(sample: Sample, y: Float[Array, " n"]) -> Sample:
    """The sample with other outcomes, both arms as they are."""
    return eqx.tree_at(lambda s: s.y, sample, _where_valid(sample.valid, y))


@on_host
def _regressed(
    lib: Any,
    t: Bool[Array, " n"],
    valid: Bool[Array, " n"],
    y: Float[Array, " n"],
    weight: Float[Array, " n"],
) -> tuple[Bool[Array, " n"], Float[Array, " n"], Float[Array, " n"]]:
    return lib.zeros_like(t), lib.where(valid, y, 0), lib.where(valid, weight, 0)


@on_host
def _where_valid(lib: Any, valid: Bool[Array, " n"], y: Float[Array, " n"]) -> Float[Array, " n"]:
    return lib.where(valid, y, 0)


class Nuisances(NamedTuple):
    """What is known of the rows of a sample by models that have not seen their parts.

    - `outcomes` (n, 2): foretold; of one arm in the first column.
    - `chance` (n,): of treatment, held within the bounds.
    - `surfaces`: of the outcome, one a part.
    """

    outcomes: Float[Array, "n 2"]
    chance: Float[Array, " n"]
    surfaces: tuple[ResponseSurface, ...]


class InnerFit(NamedTuple):
    """How nuisances are found: the two models, the number of parts and the bound of chances."""

    outcome: OutcomeModel
    propensity: Propensity
    parts: int
    clip: float | Array


def cross_nuisances(train: Sample, ask: InnerFit, arms: Arms, key: PRNGKeyArray) -> Nuisances:
    """Deal the rows to parts, and foretell each by models that are trained on the others.

    **Raises:** `DataError` when a part lacks an arm.
    """
    dealt = step_key(key, "inner")
    fold = _parts(train, ask.parts, dealt)
    rows = one_armed(train) if arms == "control" else train
    surfaces = [
        fold_surface(rows, ask.outcome, arms, fold, j, dealt).lean() for j in range(ask.parts)
    ]
    found = foretell(rows, fold, to_device(np.zeros(0, np.int32)), surfaces).units
    chance = chances_by_folds(train, ask.propensity, fold, ask.parts, dealt).chance
    return Nuisances(found, _held(chance, fold, ask.clip), tuple(surfaces))


def _parts(train: Sample, parts: int, key: PRNGKeyArray) -> Int[Array, " n"]:
    try:
        return deal_folds(train, parts, key)
    except FoldError as error:
        raise DataError(
            f"of the rows outside of a fold, dealt to inner={parts} parts for models of outcome "
            f"and treatment, {error.fact}: give more rows of that arm, or use jc.TLearner or "
            "jc.XLearner, which need no parts."
        ) from error


@on_host
def _held(
    lib: Any, chance: Float[Array, " n"], fold: Int[Array, " n"], clip: float | Array
) -> Float[Array, " n"]:
    """Chances within the bounds; a half for rows that count nothing."""
    return lib.where(fold >= 0, lib.clip(chance, clip, 1 - clip), 0.5).astype(chance.dtype)
