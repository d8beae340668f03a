"""The verb `estimate`: effects from a matching, or a method cross-fitted from beginning to end."""

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, overload

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from jcausal.data import (
    FROM_FRAME,
    DataError,
    HonestyError,
    Sample,
    as_key,
    check_count,
    check_key,
    check_kind,
    check_object,
    is_traced,
    named,
    step_key,
)
from jcausal.effects._adjust import Adjust, adjustment
from jcausal.effects._average import Average, Population
from jcausal.effects._effects import Effects, effects_of
from jcausal.effects._group_effects import Partitions
from jcausal.effects._made_by import MadeBy
from jcausal.effects._notes import apart_words
from jcausal.effects._support import on_common_support
from jcausal.effects._words import poor_fit
from jcausal.effects.estimators import Estimator
from jcausal.matching import (
    EffectKind,
    Estimand,
    Matcher,
    Matching,
    Progress,
    arms_asked,
    check_same_rows,
    make_task,
    prefixed,
    raise_failed,
    raise_unusable,
    with_outcomes,
)
from jcausal.surfaces import (
    FitWarning,
    Function,
    OutcomeModel,
    deal_folds,
    fold_surface,
    most_of_fold,
)

Support = Literal["all", "common"]


class Ask(NamedTuple):
    """What is asked of a method, as in `estimate`."""

    estimand: Estimand
    folds: int
    query: Any = None
    effect: EffectKind = "own"
    adjust: Adjust = "auto"
    support: Support = "all"
    throw: bool = True


@overload
def estimate(
    sample: Sample,
    method: Estimator,
    *,
    estimand: Population = ...,
    folds: int = ...,
    key: PRNGKeyArray | Array | int | None = ...,
    progress: Progress | None = ...,
    throw: bool = ...,
) -> Average: ...


@overload
def estimate(
    sample: Sample,
    method: Matcher | Matching,
    *,
    estimand: Estimand = ...,
    folds: int = ...,
    repeats: int = ...,
    query: np.ndarray | Array | Sequence | None = ...,
    key: PRNGKeyArray | Array | int | None = ...,
    effect: EffectKind = ...,
    adjust: Adjust = ...,
    support: Support = ...,
    progress: Progress | None = ...,
    throw: bool = ...,
) -> Effects: ...


def estimate(
    sample: Sample,
    method: Matcher | Matching | Estimator,
    *,
    estimand: Population = "att",
    folds: int = 2,
    repeats: int = 1,
    query: np.ndarray | Array | Sequence | None = None,
    key: PRNGKeyArray | Array | int | None = None,
    effect: EffectKind = "own",
    adjust: Adjust = "auto",
    support: Support = "all",
    progress: Progress | None = None,
    throw: bool = True,
) -> Effects | Average:
    """Effects of every query and on average.

    With a matching: the outcomes of `sample` averaged over its groups. With a method: rows are
    dealt to folds at random; the surfaces of fold k are trained on the other folds, and the queries
    of fold k are matched to fold k only, so that every query has one group and no group was shaped
    by the outcomes that it averages.

    **Arguments:**

    - `estimand`, `query`: as in `jc.match` (a matching brings its own).
    - `folds`: at least 2 when the method trains a surface on other folds; a method that is not
      honest makes no use of them.
    - `repeats`: number of random partitions; the one with the median average is returned, and
      `effects.partitions` holds the others' averages.
    - `key`: a JAX key or an int for the partitions, the surfaces' draws and the method's own.
    - `effect`: "own" (the paper's tau_b) or "group" (tau_a), see `jc.effects.Effects`.
    - `adjust`: "surface" averages residuals from the surface that guided the matching (see
      `Effects`), None plain outcomes, an outcome model (or a surface, or a function) residuals from
      that, cross-fitted on the same folds. "auto" is "surface" where there is one that has not
      seen the outcomes averaged, or a regression of the matching's own, else None.
    - `support`: "common" leaves queries out that lie outside the values which the other arm has in
      a covariate; the average is then of the others, and says so.
    - `progress`: called with (stage, done, total).
    - `throw`: as in `jc.match`; must be False under jit and vmap.

    **Returns:** `Effects`; of a method that makes no groups, such as `jc.AIPW()`, an `Average`.

    **Raises:** `DataError` without outcomes or when a fold lacks an arm; `HonestyError`,
    `MatchError`, ValueError.

    **Warns:** `FitWarning` when the trained surfaces of an arm explain nothing of the outcomes they
    have not seen (mean R2 over folds not above 0); UserWarning when a covariate tells all queries
    (of five and more) from the other arm.

    **Source:** honest splits after Athey and Imbens (2016); cross-fitting pools over queries.

    **Example:**

        >>> import jcausal as jc
        >>> sample = jc.datasets.lalonde("experiment")
        >>> effects = jc.estimate(sample, jc.AHB(outcome=jc.Ridge()), key=0)
        >>> effects.share_matched
        1.0
    """
    check_kind(sample, Sample, "estimate", FROM_FRAME)
    check_object(method)
    if sample.y is None:
        raise DataError("the sample has no outcome: attach it with sample.with_outcome(y).")
    if effect not in ("own", "group"):
        raise ValueError(f"effect is {effect!r}: use 'own' or 'group'.")
    if support not in ("all", "common"):
        raise ValueError(f"support is {support!r}: use 'all' or 'common'.")
    folds, repeats = check_count("folds", folds), check_count("repeats", repeats)
    if key is not None:
        check_key(key)
    if isinstance(method, Estimator):
        plain = query is None and (repeats, effect, adjust, support) == (1, "own", "auto", "all")
        if not plain:
            raise ValueError(
                f"jc.{type(method).__name__}() makes no groups: query, repeats, effect, adjust and "
                "support are for matchings."
            )
        return _without_groups(sample, method, estimand, folds, key, progress)
    if estimand == "ato":
        raise ValueError("estimand is 'ato': use 'att', 'atc' or 'ate', or jc.OverlapWeights().")
    ask = Ask(estimand, folds, query, effect, adjust, support, throw)
    if isinstance(method, Matching):
        effects = _of_matching(sample, method, ask, repeats, key)
        _warn_of_overlap(effects)
        return effects
    if not isinstance(method, Matcher):
        raise ValueError(_no_method(method))
    if not method.cross_fits:
        ask = ask._replace(folds=_one_fold(method, repeats))
    _check_folds(method, ask.folds)
    if not method.traceable and is_traced(sample, key):
        raise ValueError(_host_only(method))
    keys = [None] * repeats
    if ask.folds > 1 or key is not None:
        base = step_key(as_key(key, "estimate"), "estimate")
        keys = [jax.random.fold_in(base, r) for r in range(repeats)]
    if repeats > 1 and is_traced(sample, key):
        raise ValueError("repeats need concrete arrays: vmap over keys instead.")
    runs = []
    for r, one in enumerate(keys):
        told = prefixed(progress, f"partition {r + 1} of {repeats}: " if repeats > 1 else "")
        runs.append(_cross_fit(sample, method, ask, one, told))
    effects = runs[0] if repeats == 1 else _median(runs)
    _warn_of_fit(effects)
    _warn_of_overlap(effects)
    return effects


def _no_method(given: object) -> str:
    """What to write in place of what is no method."""
    is_ = named(given)
    if isinstance(given, OutcomeModel):
        model = type(given).__name__
        return f"estimate takes a matching method, not {is_}: write jc.AHB(outcome=jc.{model}())."
    return (
        f"estimate takes a matching method such as jc.AHB(), or a matching, not {is_}: write "
        "jc.estimate(sample, jc.AHB(), key=0)."
    )


def _of_matching(
    sample: Sample, matching: Matching, ask: Ask, repeats: int, key: PRNGKeyArray | Any
) -> Effects:
    """Effects from groups that are at hand."""
    check_same_rows(sample, matching)
    matching = with_outcomes(matching, sample)
    if repeats != 1 or ask.query is not None or ask.estimand not in ("att", matching.estimand):
        raise ValueError(
            "estimand, query and repeats are the matching's own: give them to jc.match, or "
            "pass the method itself."
        )
    base = None if key is None else step_key(as_key(key, "estimate"), "estimate")
    prognosis, adjusted = adjustment(sample, matching, ask.adjust, ask.effect, base)
    if ask.support == "common":
        matching = on_common_support(sample, matching)
        if ask.throw:
            raise_unusable(matching)
    effects = effects_of(matching, (), ask.effect, prognosis, adjusted=adjusted)
    if ask.throw and adjusted:
        raise_failed(effects.matching)
    return effects


def _without_groups(
    sample: Sample,
    method: Estimator,
    estimand: Population,
    folds: int,
    key: PRNGKeyArray | Any,
    progress: Progress | None,
) -> Average:
    """The average of a method that makes no groups, with the folds of the first partition."""
    if estimand not in method.estimands:
        *others, last = [repr(one) for one in method.estimands]
        listed = f"{', '.join(others)} or {last}" if others else last
        raise ValueError(
            f"estimand is {estimand!r}, and jc.{type(method).__name__}() averages over other "
            f"units: use estimand={listed}."
        )
    if not method.traceable and is_traced(sample, key):
        raise ValueError(_host_only(method))
    folds, one = folds if method.cross_fits else 1, None
    if folds > 1 or key is not None:
        one = jax.random.fold_in(step_key(as_key(key, "estimate"), "estimate"), 0)
    return method.run(sample, estimand, folds, one, progress)


def _host_only(method: Matcher | Estimator) -> str:
    """Why a method cannot be traced: itself, or its outcome model."""
    model = getattr(method, "outcome", None)
    if isinstance(model, OutcomeModel) and not model.traceable:
        return (
            f"{type(model).__name__} runs on the host and cannot be used under jit, vmap or grad: "
            "use jc.BoostedTrees(), jc.MLP(), jc.Ridge() or jc.Function as the outcome, or match "
            "outside."
        )
    return (
        f"{type(method).__name__} runs on the host and cannot be used under jit, vmap or grad: "
        "estimate outside, or use jc.AHB."
    )


def _warn_of_fit(effects: Effects) -> None:
    """Tell when a surface that was trained explains nothing; a function is taken on trust."""
    given = any(isinstance(surface, Function) for surface in effects.surfaces)
    if given or is_traced(effects.r2):
        return
    for text in poor_fit(effects):
        warnings.warn(text, FitWarning, stacklevel=3)


def _warn_of_overlap(effects: Effects) -> None:
    """Tell when a covariate tells every unit that is averaged from the units compared with."""
    if is_traced(effects):
        return
    text = apart_words(effects)
    if text is not None:
        warnings.warn(text, stacklevel=3)


def _one_fold(method: Matcher, repeats: int) -> int:
    """The folds of a method that makes no use of them."""
    if repeats != 1:
        raise ValueError(
            f"{type(method).__name__} as it is set draws no partition: repeats must be 1."
        )
    return 1


def _check_folds(method: Matcher, folds: int) -> None:
    if folds == 1 and method.cross_fits and isinstance(method.outcome, OutcomeModel):
        raise HonestyError(
            "with folds=1 the surface would be trained on the outcomes that are averaged: use at "
            "least 2 folds, or a surface trained on other rows as the method's outcome."
        )


def _cross_fit(
    sample: Sample,
    method: Matcher,
    ask: Ask,
    key: PRNGKeyArray | None,
    progress: Progress | None,
) -> Effects:
    """One partition: deal, train apart, match inside the folds, sum."""
    folds, fold = ask.folds, deal_folds(sample, ask.folds, key)
    task = make_task(sample, fold, ask.estimand, ask.query)
    whose = arms_asked(sample, ask.estimand, task.query, task.asked)
    surfaces, arms = [], method.arms(whose, ask.effect)
    for k in range(folds if method.cross_fits else 0):
        if progress is not None and isinstance(method.outcome, OutcomeModel):
            progress("training the surface", k, folds)
        surfaces.append(fold_surface(sample, method.outcome, arms, fold, k, key))
    task = task._replace(effect=ask.effect, most=most_of_fold(sample, folds))
    if key is not None:
        task = task._replace(key=step_key(key, "match"))
    found = method.run(task, surfaces, progress)
    if ask.throw:
        raise_unusable(found)
    if ask.support == "common":
        found = on_common_support(sample, found)
        if ask.throw:
            raise_unusable(found)
    prognosis, adjusted = adjustment(sample, found, ask.adjust, ask.effect, key, folds)
    used = tuple(surfaces)
    effects = effects_of(found, used, ask.effect, prognosis, adjusted=adjusted)
    if ask.throw:
        raise_failed(effects.matching)
    if is_traced(sample, key, effects.totals):
        return effects
    beside = not (ask.adjust is None or isinstance(ask.adjust, str))
    made_by = MadeBy(method, task.key, adjusted_beside=beside)
    return dataclasses.replace(effects, made_by=made_by)


def _median(runs: list[Effects]) -> Effects:
    """The run whose average is the (lower) median, with the averages of all."""
    averages = np.array([float(run.average) for run in runs])
    shown = int(np.argsort(averages, kind="stable")[(len(runs) - 1) // 2])
    chosen = runs[shown]
    return eqx.tree_at(
        lambda e: e.partitions,
        chosen,
        Partitions(averages, tuple(runs), shown),
        is_leaf=lambda leaf: leaf is None,
    )
