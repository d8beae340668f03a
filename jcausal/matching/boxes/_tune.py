"""The verb `tune`: hyperparameters of a box method by validation loss."""

from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, Shaped

from jcausal.data import (
    FROM_FRAME,
    DataError,
    FrameKind,
    HonestyError,
    Sample,
    Shown,
    as_key,
    check_count,
    check_key,
    check_kind,
    check_object,
    is_traced,
    like,
    number_in_words,
    step_key,
)
from jcausal.matching._match import make_task, raise_failed
from jcausal.matching._matcher import Matcher, Progress, Task, prefixed
from jcausal.matching._matching import MatchError
from jcausal.matching.boxes._boxes import Boxes
from jcausal.matching.boxes._tune_grid import BoxMethod, in_words, settings_of, with_settings
from jcausal.matching.boxes.exact import ExactAHB
from jcausal.matching.boxes.fast import FastAHB
from jcausal.surfaces import OutcomeModel, ResponseSurface, deal_folds, fold_surface

Values = Sequence[Any] | Shaped[np.ndarray, " k"]
LEAST = 1e-9  # companions of less than this share of the unit's own weight: the digits end there


class Tuning(Shown, eqx.Module):
    """The settings that were tried, and the method with the best. Made by `jc.tune`.

    `best` is the method with the winning setting, ready for `jc.estimate`; `table` has one row a
    setting (its columns are told in `jc.tune`), `chosen` is the winner's row.
    """

    best: BoxMethod
    _table: pd.DataFrame
    chosen: int = eqx.field(static=True)
    home: FrameKind = eqx.field(static=True, default="pandas")

    @property
    def table(self) -> Any:
        """One row a setting, of the kind of frame that the sample was read from."""
        return like(self.home, self._table)

    def _shown(self) -> pd.DataFrame:
        return self._table

    def _said(self) -> str:
        """The winner in words, on one line."""
        row = self._table.iloc[self.chosen]
        names = list(self._table.columns)
        names = names[: names.index("loss")]
        loss, error = (number_in_words(float(row[name])) for name in ("loss", "error"))
        setting = in_words({name: row[name] for name in names})
        return (
            f"best of {len(self._table)} settings: {setting}; "
            f"loss {loss} (standard error {error}), {100 * row['alone']:.0f}% of the units alone, "
            f"{100 * row['unmatched']:.0f}% unmatched, {row['controls']:g} controls in the median "
            "box"
        )


def tune(
    sample: Sample,
    matcher: Matcher,
    grid: Mapping[str, Values] | Sequence[Mapping[str, Any]],
    *,
    folds: int = 2,
    key: PRNGKeyArray | Array | int | None = None,
    progress: Progress | None = None,
) -> Tuning:
    """Choose hyperparameters of a box method: the setting that foretells observed outcomes best.

    loss = sum_i w_i (y_i - m_i)^2 / sum_i w_i over the valid units i of both arms with weight
    w_i > 0, where m_i is the weighted mean outcome of i's own arm in i's box, without i itself. A
    unit without a companion of its arm in its box, or without a box, is alone: its m_i is the mean
    of all others of its arm in its fold.

    As in `jc.estimate` rows are dealt to folds, surfaces of fold k are trained on the other folds,
    and boxes of fold k hold fold k only. Surfaces are trained once and serve all settings. The
    chosen setting has seen all outcomes of `sample`: where effects must not depend on them even
    through the setting, tune on one part of `jc.split` and estimate on the other.

    **Arguments:**

    - `matcher`: a `jc.FastAHB` or `jc.ExactAHB`; fields that the grid does not name keep their
      values.
    - `grid`: {field: values}, every combination is tried (the last field varies fastest); or a
      list of {field: value}, one a setting. `outcome` is no field of a grid.
    - `folds`: at least 2 when the method trains a surface; with a surface or a function 1 will do.
    - `key`: a JAX key or an int for the folds and the surfaces' draws; not needed with 1 fold.
    - `progress`: called with (stage, done, total).

    **Returns:** a `Tuning`. Its table has one row a setting, in the order of the grid: the fields;
    `loss`; `error`, the loss's standard error over units (over clusters if there are any), with the
    boxes held fixed; `alone` and `unmatched`, the shares of units (the unmatched are among the
    alone); `controls` in the median box; for `jc.ExactAHB` also `proven`, the share of boxes shown
    to be the best. The least loss wins, of equal ones the earlier; a setting that matches nobody
    does not.

    **Raises:** ValueError for a bad grid or setting (named), another method, or under jit, vmap and
    grad; `DataError` without outcomes, or when a fold holds fewer than two units of an arm;
    `HonestyError`; `MatchError` when no setting matches anybody or a surface gives NaN.

    **Example:**

        >>> import jcausal as jc
        >>> sample = jc.datasets.lalonde("experiment")
        >>> grid = dict(caliper=[0.1, 0.447])
        >>> tuning = jc.tune(sample, jc.FastAHB(outcome=jc.Ridge()), grid, key=0)
        >>> tuning.best.caliper
        0.447
        >>> effects = jc.estimate(sample, tuning.best, key=1)

    **Source:** Morucci, Orlandi, Roy, Rudin and Volfovsky (UAI 2020), supplement 6.3, whose sum of
    squares is here a mean by weight; that a unit's own outcome is left out, also of its arm's mean,
    and the folds are ours.
    """
    method = _box_method(sample, matcher, folds, key)
    settings = settings_of(method, grid)
    methods = with_settings(method, settings)
    task, surfaces = _trained(sample, methods, folds, key, progress)
    rows = []
    for s, (one, setting) in enumerate(zip(methods, settings)):
        told = prefixed(progress, f"setting {s + 1} of {len(methods)}: ")
        boxes = one.run(task, surfaces, told)
        raise_failed(boxes)
        rows.append(setting | _judged(task, boxes))
    table = pd.DataFrame({name: _column([row[name] for row in rows]) for name in rows[0]})
    chosen = _winner(table)
    return Tuning(methods[chosen], table, chosen, sample.home)


def _box_method(sample: Sample, matcher: Matcher, folds: int, key: object) -> BoxMethod:
    """The matcher, once everything but the grid is known to be in order."""
    check_kind(sample, Sample, "tune", FROM_FRAME)
    check_object(matcher)
    if not isinstance(matcher, FastAHB | ExactAHB):
        raise ValueError(
            f"{type(matcher).__name__} cannot be tuned: use jc.FastAHB or jc.ExactAHB."
        )
    if is_traced(sample, matcher, key):
        raise ValueError(
            "jc.tune compares settings on the host and cannot be used under jit, vmap or grad."
        )
    if sample.y is None:
        raise DataError("the sample has no outcome: attach it with sample.with_outcome(y).")
    check_count("folds", folds)
    if key is not None:
        check_key(key)
    if folds == 1 and isinstance(matcher.outcome, OutcomeModel):
        raise HonestyError(
            "with folds=1 the surface would be trained on the outcomes that it is judged by: use "
            "at least 2 folds, or a surface trained on other rows as the method's outcome."
        )
    return matcher


def _trained(
    sample: Sample, methods: list[BoxMethod], folds: int, key: Any, progress: Progress | None
) -> tuple[Task, list[ResponseSurface]]:
    """The queries of all folds, and each fold's surfaces for every arm that a setting looks at."""
    base = step_key(as_key(key, "tune"), "tune") if folds > 1 else None
    fold, model = deal_folds(sample, folds, base, least=2), methods[0].outcome
    first = methods[0].arms("ate", "group")
    arms = first if all(one.arms("ate", "group") == first for one in methods) else "both"
    surfaces = []
    for k in range(folds):
        if progress is not None and isinstance(model, OutcomeModel):
            progress("training the surface", k, folds)
        surfaces.append(fold_surface(sample, model, arms, fold, k, base))
    rows = np.flatnonzero(np.asarray(sample.valid & (sample.weight > 0)))
    return make_task(sample, fold, "ate", rows), surfaces


def _judged(task: Task, boxes: Boxes) -> dict[str, float]:
    """A setting's row of the table."""
    sample, rows = task.sample, np.asarray(task.query)
    weight = np.asarray(sample.weight, np.float64)[rows]
    mean, alone = predictions(task, boxes)
    lost = np.square(np.asarray(sample.y, np.float64)[rows] - mean)
    loss = weight @ lost / weight.sum()
    cluster = rows if sample.cluster is None else np.asarray(sample.cluster)[rows]
    matched = np.asarray(boxes.matched)
    controls = np.asarray(boxes.sizes)[matched, 0]
    found = dict(
        loss=float(loss),
        error=_error(weight, lost - loss, cluster),
        alone=float(alone.mean()),
        unmatched=float(1 - matched.mean()),
        controls=float(np.median(controls)) if controls.size else float("nan"),
    )
    if boxes.proof is not None:
        proven = boxes.proven[matched]
        found["proven"] = float(proven.mean()) if proven.size else float("nan")
    return found


def predictions(task: Task, boxes: Boxes) -> tuple[Float[np.ndarray, " q"], Bool[np.ndarray, " q"]]:
    """Each unit's outcome foretold by its own arm in its box without it; and who is alone."""
    sample, rows = task.sample, np.asarray(task.query)
    y, weight = (np.asarray(a, np.float64) for a in (sample.y, sample.weight))
    arm = np.asarray(sample.t)[rows].astype(int)
    centre = np.average(y[rows], weights=weight[rows])
    away = np.zeros(sample.n)
    away[rows] = y[rows] - centre
    with jax.enable_x64(True):  # the own outcome is taken out again: that needs the digits
        columns = jnp.asarray(np.stack([np.ones(sample.n), away], axis=1))
        sums = np.asarray(boxes.sums(columns))
    each, own = np.arange(rows.size), weight[rows]
    sums = sums[each, arm] - np.stack([own, own * away[rows]], axis=1)
    companions = np.asarray(boxes.sizes)[each, arm] - 1
    alone = ~np.asarray(boxes.matched) | (companions < 1) | (sums[:, 0] <= LEAST * own)
    group = 2 * np.asarray(task.query_fold) + arm
    mean = sums[:, 1] / np.where(alone, 1, sums[:, 0])
    return centre + np.where(alone, _mean_of_others(own, away[rows], group), mean), alone


def _mean_of_others(
    weight: Float[np.ndarray, " q"], values: Float[np.ndarray, " q"], group: Int[np.ndarray, " q"]
) -> Float[np.ndarray, " q"]:
    """The weighted mean of each unit's group without it, by sums from both ends."""
    mean = np.zeros(weight.size)
    for g in np.unique(group):
        mine = np.flatnonzero(group == g)
        total, mass = _sums_of_others(weight[mine] * values[mine]), _sums_of_others(weight[mine])
        mean[mine] = total / mass
    return mean


def _sums_of_others(values: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
    before, after = np.cumsum(values), np.cumsum(values[::-1])[::-1]
    return np.r_[0.0, before[:-1]] + np.r_[after[1:], 0.0]


def _error(
    weight: Float[np.ndarray, " q"], gap: Float[np.ndarray, " q"], cluster: Int[np.ndarray, " q"]
) -> float:
    """Standard error of a weighted mean, from units or clusters that vary by themselves."""
    label = np.unique(cluster, return_inverse=True)[1]
    parts = np.bincount(label, weight * gap)
    if parts.size < 2:
        return float("nan")
    return float(np.sqrt(parts @ parts * parts.size / (parts.size - 1)) / weight.sum())


def _column(values: list) -> pd.Series:
    """Values as they are: None stays None."""
    return pd.Series(values, dtype=object if any(v is None for v in values) else None)


def _winner(table: pd.DataFrame) -> int:
    """The row of the least loss, the first of equal ones, among settings that match somebody."""
    usable = table["unmatched"].to_numpy() < 1
    if not usable.any():
        raise MatchError(
            f"none of the {len(table)} settings matches anybody: ask for fewer controls and "
            "treated, or use fewer folds."
        )
    return int(np.argmin(np.where(usable, table["loss"].to_numpy(float), np.inf)))
