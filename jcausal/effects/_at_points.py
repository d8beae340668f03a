"""Effects at points outside the sample, from groups that are made around them."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Array, Float, Int

from jcausal.data import new_points, to_device
from jcausal.effects._formulas import first_columns, group_means
from jcausal.effects._group_effects import EffectsOfGroups
from jcausal.effects._made_by import MadeBy
from jcausal.effects._residuals import own_predictions
from jcausal.effects._sums import summed
from jcausal.matching import RESULTS, Matcher, Matching, code, make_task, sentence
from jcausal.surfaces import for_both_arms, without_training


class PointEffects(NamedTuple):
    """Of m points: both outcomes (m, 2), units of their groups by arm (m, 2), how each ended (m,).

    Outcomes are NaN where a point has no group.
    """

    outcomes: Float[np.ndarray, "m 2"]
    sizes: Int[np.ndarray, "m 2"]
    status: Int[np.ndarray, " m"]

    @property
    def effect(self) -> Float[np.ndarray, " m"]:
        """The difference."""
        return self.outcomes[:, 1] - self.outcomes[:, 0]

    def frame(self) -> pd.DataFrame:
        """One row a point."""
        columns = dict(effect=self.effect, y0=self.outcomes[:, 0], y1=self.outcomes[:, 1])
        columns |= dict(n_control=self.sizes[:, 0], n_treated=self.sizes[:, 1])
        return pd.DataFrame(columns | dict(reason=[sentence(int(s)) for s in self.status]))


def effects_at(effects: EffectsOfGroups, made_by: MadeBy | None, x: Any) -> PointEffects:
    """Groups around new points in each fold, their means, and the mean over the folds.

    **Raises:** ValueError where the method is not known, makes no groups around points, or effects
    were adjusted by a model of their own; `DataError` for points that are none.
    """
    method = _method_of(made_by)
    points = new_points(effects.sample, x)
    folds, m = max(len(effects.surfaces), 1), len(points)
    if not m:
        none = np.zeros((0, 2))
        return PointEffects(none, none.astype(int), np.zeros(0, np.int32))
    task = make_task(
        effects.sample, effects.matching.fold, effects.estimand, at=np.tile(points, (folds, 1))
    )
    task = task._replace(
        query_fold=to_device(np.repeat(np.arange(folds, dtype=np.int32), m)),
        effect="group",
        key=None if made_by is None else made_by.key,
    )
    surfaces = [for_both_arms(without_training(one)) for one in effects.surfaces]
    found = method.run(task, surfaces, None)
    means, sizes, status = (
        a.reshape(folds, m, *a.shape[1:]) for a in _group_values(effects, found)
    )
    return _over_folds(means, sizes, status)


def _method_of(made_by: MadeBy | None) -> Matcher:
    """The method, where it can say something of points.

    **Raises:** ValueError.
    """
    if made_by is None:
        raise ValueError(
            "these effects were made of a matching at hand (or under jit), which does not tell how "
            "groups are made elsewhere: use jc.estimate(sample, METHOD).predict(x), or jc.match("
            "sample, METHOD, at=x) and jc.estimate."
        )
    if made_by.adjusted_beside:
        raise ValueError(
            "these effects were adjusted by a model beside the matching (adjust=), which is not "
            "kept: use adjust='auto' or None, or a learner, such as jc.DRLearner()."
        )
    return made_by.method


def _group_values(effects: EffectsOfGroups, found: Matching) -> tuple[np.ndarray, ...]:
    """Both means, both sizes and the status of each query."""
    prognosis = found.prognosis if effects.adjusted else None
    found, totals, _, centre = summed(found, prognosis, effects.adjusted)
    means = np.asarray(group_means(first_columns(totals, 3), centre, found.matched), np.float64)
    if prognosis is not None:
        means = means + np.asarray(own_predictions(found.sample, found.fold, prognosis))
    sizes = np.where(np.asarray(found.matched)[:, None], np.asarray(found.sizes), 0)
    return means, sizes, np.asarray(found.status)


def _over_folds(
    means: Float[np.ndarray, "k m 2"],
    sizes: Int[np.ndarray, "k m 2"],
    status: Int[np.ndarray, "k m"],
) -> PointEffects:
    """The mean over the folds in which a point has a group; the first fold's reason if in none."""
    there = (status == int(code(RESULTS.matched))) & np.isfinite(means).all(2)
    count = there.sum(0)
    total = np.where(there[:, :, None], means, 0).sum(0)
    outcomes = np.where(count[:, None] > 0, total / np.maximum(count, 1)[:, None], np.nan)
    ended = np.where(count > 0, int(code(RESULTS.matched)), status[0])
    return PointEffects(outcomes, sizes.sum(0), ended.astype(np.int32))


def as_effects(found: PointEffects, dtype: np.dtype) -> Float[Array, " m"]:
    """The effects in the dtype of the sample."""
    return to_device(found.effect.astype(dtype))
