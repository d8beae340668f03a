"""Cross-fitting: surfaces that are trained without the fold whose outcomes are averaged."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Bool, Int, PRNGKeyArray

from jcausal.data import (
    FoldError,
    Sample,
    check_honest,
    clusters_of,
    deal,
    is_traced,
    on_host,
    step_key,
)
from jcausal.surfaces._fit import fit
from jcausal.surfaces._function import as_surface
from jcausal.surfaces._surface import Arms, OutcomeModel, ResponseSurface, aligned


def deal_folds(
    sample: Sample, folds: int, key: PRNGKeyArray | None, least: int = 1
) -> Int[Array, " n"]:
    """A fold for each valid row, -1 for padding; one fold needs no key.

    **Raises:** `DataError` when a fold holds fewer than `least` units of an arm.
    """
    dealt = 0
    if folds > 1:
        assert key is not None
        dealt = deal(sample, folds, step_key(key, "deal"))
    fold = _of_valid(sample.valid, dealt)
    _check_arms(sample, fold, folds, least)
    return fold


def most_of_fold(sample: Sample, folds: int) -> int | None:
    """The most rows that a dealt fold can hold, from shapes alone; None where clusters are dealt.

    Two arms dealt evenly: each fold holds less than n / folds + 2.
    """
    return None if sample.cluster is not None else min(sample.n, sample.n // folds + 2)


def fold_surface(
    sample: Sample,
    model: OutcomeModel | ResponseSurface | Callable,
    arms: Arms,
    fold: Int[Array, " n"],
    k: int,
    key: PRNGKeyArray | None,
) -> ResponseSurface:
    """The surface of fold k, trained without fold k; a given surface for the sample's columns.

    **Raises:** `HonestyError` when a given surface was trained on rows of fold k; `DataError` when
    it is one of other columns or levels.
    """
    if not isinstance(model, OutcomeModel):
        surface = aligned(as_surface(model), sample)
        check_honest(surface.trained, sample, _inside(fold, k))
        return surface
    assert key is not None
    train, one = sample.with_valid(_outside(fold, k)), jax.random.fold_in(step_key(key, "fit"), k)
    return fit(train, model, arms=arms, key=one)


@on_host
def _of_valid(lib: Any, valid: Bool[Array, " n"], fold: Int[Array, "*n"] | int) -> Int[Array, " n"]:
    return lib.where(valid, fold, -1).astype(np.int32)


@on_host
def _inside(lib: Any, fold: Int[Array, " n"], k: int) -> Bool[Array, " n"]:
    return fold == k


@on_host
def _outside(lib: Any, fold: Int[Array, " n"], k: int) -> Bool[Array, " n"]:
    return fold != k


def _check_arms(sample: Sample, fold: Int[Array, " n"], folds: int, least: int) -> None:
    """Every fold needs both arms, or its queries could not be matched."""
    if is_traced(sample, fold):
        return
    where, treated = np.asarray(fold), np.asarray(sample.t)
    where = np.where(np.asarray(sample.weight) > 0, where, -1)
    for k in range(folds):
        counts = int(((where == k) & ~treated).sum()), int(((where == k) & treated).sum())
        if min(counts) < least:
            arm = bool(np.argmin(counts))
            rows = (where >= 0) & (treated == arm)
            units, clusters = int(rows.sum()), clusters_of(sample, rows)
            needed = "" if least == 1 else f", and {least} of each are needed"
            raise FoldError(
                f"fold {k + 1} of {folds} holds {counts[0]} controls and {counts[1]} treated of "
                f"weight above 0{needed}",
                *(units, folds, least),
                clusters=clusters,
            )
