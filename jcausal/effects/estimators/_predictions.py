"""Predictions of both outcomes by models that have not seen the fold that they predict."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jcausal.data import HonestyError, Sample, to_device
from jcausal.matching import Progress, foretell
from jcausal.surfaces import Arms, OutcomeModel, ResponseSurface, deal_folds, fold_surface

Outcome = OutcomeModel | ResponseSurface | Callable


class CrossFitted(NamedTuple):
    """What cross-fitting gives.

    - `fold` (n,): -1 for rows that count nothing.
    - `surfaces`: of each fold, trained on the others.
    - `predicted` (n, 2): each row's outcomes by the surface of its fold.
    """

    fold: Int[Array, " n"]
    surfaces: list[ResponseSurface]
    predicted: Float[Array, "n 2"]


def cross_fitted(
    sample: Sample,
    outcome: Outcome,
    arms: Arms,
    folds: int,
    key: PRNGKeyArray | None,
    progress: Progress | None,
) -> CrossFitted:
    """Deal folds, train the outcome model apart from each, and predict it.

    With the key of one partition the folds and surfaces are those that a matching method would
    get. A surface or function that is given may do with one fold.

    **Raises:** `HonestyError` for an outcome model with one fold; `DataError` when a fold lacks an
    arm.
    """
    trains = isinstance(outcome, OutcomeModel)
    if folds == 1 and trains:
        raise HonestyError(
            "with folds=1 the surface would be trained on the outcomes that are averaged: use at "
            "least 2 folds, or give a surface trained on other rows as the method's outcome."
        )
    fold, surfaces = deal_folds(sample, folds, key), []
    for k in range(folds):
        if progress is not None and trains:
            progress("training the surface", k, folds)
        surfaces.append(fold_surface(sample, outcome, arms, fold, k, key))
    predicted = foretell(sample, fold, to_device(np.zeros(0, np.int32)), surfaces).units
    return CrossFitted(fold, surfaces, predicted)
